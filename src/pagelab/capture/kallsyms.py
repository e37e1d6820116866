# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/kallsyms: which functions and variables a kernel has, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pagelab.capture.files import read_lines
from pagelab.errors import BadInput

_SYMBOL = re.compile(r"([0-9a-fA-F]{1,16}) [A-Za-z?-] (\S+)(?:\t\[\S+\]| +\[\S+\])?$")


class Symbols:
    """The names a kernel has, with addresses if the file has them.

    Names may stand for several addresses (static functions of different files); :meth:`address` gives the first.
    """

    def __init__(self, addresses: dict[str, int]) -> None:
        self._addresses = addresses

    def __contains__(self, name: object) -> bool:
        return name in self._addresses

    def __len__(self) -> int:
        return len(self._addresses)

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def address(self, name: str) -> int | None:
        """Where ``name`` lies; ``None`` if it does not exist or its address was hidden (kptr_restrict)."""
        return self._addresses.get(name) or None


def read_kallsyms(path: Path) -> Symbols:
    """A copy of /proc/kallsyms, or a list of names, one a line.

    :raises BadInput: a line is neither; the sentence names it.
    """
    addresses: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), 1):
        if match := _SYMBOL.match(line):
            addresses.setdefault(match[2], int(match[1], 16))
        elif line and " " not in line and "\t" not in line:
            addresses.setdefault(line, 0)
        elif line:
            raise BadInput(
                f"{path}: line {number}: this is no line of kallsyms: {line[:60]!r}",
                "It has to be a copy of /proc/kallsyms of the machine that was traced, or a list of names.",
            )
    return Symbols(addresses)
