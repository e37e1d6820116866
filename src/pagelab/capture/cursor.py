# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a binary header that may be cut or damaged: each read says what it expects, and never goes past the end."""

from __future__ import annotations

import struct
from typing import NoReturn

from pagelab.errors import BadInput

CUT_HINT = "The file was cut short or damaged; copy it again from the machine that wrote it."


class Cursor:
    """A position in bytes of a file.

    :param data: the bytes, of the file or of a section that was compressed.
    :param name: the file, and the section if ``data`` is not the file itself.
    """

    def __init__(self, data: memoryview, name: str, at: int = 0) -> None:
        self.data = data
        self.name = name
        self.at = at

    def fail(self, message: str, at: int | None = None, hint: str = CUT_HINT) -> NoReturn:
        """:raises BadInput: always, with the file and the byte."""
        raise BadInput(f"{self.name}: byte {self.at if at is None else at}: {message}", hint)

    def take(self, size: int, what: str) -> memoryview:
        """The next ``size`` bytes.  :raises BadInput: fewer are left."""
        left = len(self.data) - self.at
        if size > left or left < 0:
            self.fail(f"expected {what} ({size} bytes), but the data end {max(left, 0)} bytes further on")
        part = self.data[self.at : self.at + size]
        self.at += size
        return part

    def _number(self, code: str, what: str) -> int:
        size = struct.calcsize(code)
        value: int = struct.unpack(code, self.take(size, what))[0]
        return value

    def u8(self, what: str) -> int:
        return self._number("<B", what)

    def u16(self, what: str) -> int:
        return self._number("<H", what)

    def u32(self, what: str) -> int:
        return self._number("<I", what)

    def u64(self, what: str) -> int:
        return self._number("<Q", what)

    def literal(self, expected: bytes, what: str) -> None:
        """Skips bytes that must be ``expected``."""
        start = self.at
        found = bytes(self.take(len(expected), what))
        if found != expected:
            self.fail(f"expected {what} {expected!r}, found {found!r}", start)

    def string(self, what: str, limit: int = 4096) -> str:
        """A string that ends in a zero byte."""
        start = self.at
        window = bytes(self.data[self.at : self.at + limit])
        end = window.find(0)
        if end < 0:
            self.fail(f"expected {what} (a string that ends in a zero byte within {limit} bytes)", start)
        self.at += end + 1
        return window[:end].decode(errors="backslashreplace")

    def text(self, size: int, what: str) -> str:
        """``size`` bytes of text.  Bytes that are no UTF-8 are kept as escapes: comms and paths may hold any."""
        return bytes(self.take(size, what)).decode(errors="backslashreplace")
