# SPDX-License-Identifier: GPL-2.0-or-later
"""Long work told as timed steps on stderr: a spinner while one runs on a terminal, a line when it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


class Steps:
    """``with Steps(console, "title") as steps: steps.begin("first"); ...; steps.begin("second"); ...``

    The title, if there is one, stands above its steps, and its own line with the sum follows them.
    """

    def __init__(self, console: Console, title: str = "") -> None:
        self._console = console
        self._title = title
        self._indent = "  " if title else ""
        self._start = time.monotonic()
        self._now: tuple[str, float, Status | None] | None = None

    def __enter__(self) -> Steps:
        if self._title:
            self._console.print(self._title, highlight=False, markup=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.end(failed=kind is not None)
        if self._title and kind is None:
            self._say(f"{self._title} … {time.monotonic() - self._start:.1f} s")

    def begin(self, name: str) -> None:
        """End the step before, if any, and begin this one."""
        self.end()
        status = None
        if self._console.is_terminal:
            status = self._console.status(f"{self._indent}{name} …")
            status.start()
        self._now = (name, time.monotonic(), status)

    def end(self, *, failed: bool = False) -> None:
        """End the current step, if any."""
        if self._now is None:
            return
        name, begin, status = self._now
        self._now = None
        if status is not None:
            status.stop()
        self._say(f"{self._indent}{name} … {'failed after ' if failed else ''}{time.monotonic() - begin:.1f} s")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
