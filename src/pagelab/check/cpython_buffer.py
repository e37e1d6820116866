# SPDX-License-Identifier: GPL-2.0-or-later
"""A store buffer for runs in CPython; see :mod:`pagelab.lang.store_buffer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: A field of a row, or a lock, by identity.
Place = tuple[int, int]


class _Entry(NamedTuple):
    place: Place
    value: object
    write: Callable[[], None]


class CPythonBuffer:
    """What the CPU has stored and memory does not have yet, oldest first."""

    def __init__(self, entries: int) -> None:
        self.room = entries
        self.entries: list[_Entry] = []

    @property
    def full(self) -> bool:
        """Whether the next store must wait."""
        return len(self.entries) == self.room

    def put(self, place: Place, value: object, write: Callable[[], None]) -> None:
        """A store; ``write`` does it in memory."""
        self.entries.append(_Entry(place, value, write))

    def seen(self, place: Place, memory: object) -> object:
        """What the CPU sees at a place where memory has the value given."""
        return next((entry.value for entry in reversed(self.entries) if entry.place == place), memory)

    def write_back(self) -> None:
        """The oldest entry reaches memory."""
        self.entries.pop(0).write()

    def empty(self) -> None:
        """All of them do."""
        while self.entries:
            self.write_back()
