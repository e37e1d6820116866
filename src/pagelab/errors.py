# SPDX-License-Identifier: GPL-2.0-or-later
"""What pagelab says when it cannot go on: one sentence of fact, and one of advice.

Libraries raise; only the command layer prints and exits.  Each class carries the exit status of the command line
contract: 2 usage or bad input, 3 the environment lacks something, 4 inconclusive.
"""

from __future__ import annotations


class PagelabError(Exception):
    """Base of all errors that are told to a person instead of shown as a traceback.

    :param message: what is wrong and where (file, line, field), one sentence, no trailing full stop.
    :param hint: what to do about it, one sentence; empty if the message says it all.
    """

    status = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class BadInput(PagelabError):
    """A file, a directory or an argument is not what it has to be (exit status 2)."""

    status = 2


class MissingTool(PagelabError):
    """The machine lacks a program, a permission, disk space or memory (exit status 3)."""

    status = 3


class GuestFailed(PagelabError):
    """A guest hung, panicked or was killed, so there is no result (exit status 3)."""

    status = 3


class Inconclusive(PagelabError):
    """A limit was reached before the answer was known (exit status 4)."""

    status = 4
