# SPDX-License-Identifier: GPL-2.0-or-later
"""BTF made for tests."""

from __future__ import annotations

import struct

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, CONST, FUNC, FUNC_PROTO = 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13
ENUM64 = 19


class MadeBtf:
    """Adds types one by one; each ``add`` returns the number of the type."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, value: int, behind: bytes = b"", parts: int = 0, flag: int = 0) -> int:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | parts, value) + behind
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.add(INT, name, size, struct.pack("<I", size * 8))

    def pointer(self, to: int) -> int:
        return self.add(PTR, "", to)

    def array(self, of: int, count: int, index: int) -> int:
        return self.add(ARRAY, "", 0, struct.pack("<III", of, index, count))

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]], kind: int = STRUCT) -> int:
        """Members: name, type, offset in bytes."""
        behind = b"".join(struct.pack("<III", self.name(n), kind_, at * 8) for n, kind_, at in members)
        return self.add(kind, name, size, behind, len(members))

    def enum(self, name: str, values: dict[str, int]) -> int:
        behind = b"".join(struct.pack("<II", self.name(n), value) for n, value in values.items())
        return self.add(ENUM, name, 4, behind, len(values))

    def function(self, name: str, parameters: list[tuple[str, int]]) -> int:
        behind = b"".join(struct.pack("<II", self.name(n), kind) for n, kind in parameters)
        proto = self.add(FUNC_PROTO, "", 0, behind, len(parameters))
        return self.add(FUNC, name, proto)

    def data(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings
