# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that compiled code reads and writes by address."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from array import array
from collections.abc import Iterable

#: Of <linux/mman.h>; mmap has it since Python 3.13.
_MAP_NORESERVE = 0x4000


class Reserved:
    """Zeroed address space, of which only what is touched takes memory.

    It is given back when nobody refers to this object any more.

    :raises MemoryError: if there is not so much address space.
    """

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=flags)
        except (OSError, OverflowError, ValueError) as error:
            raise MemoryError(f"no address space for {size:,} bytes") from error
        # Few large pages instead of many small ones: what is looked up lies all over the place.
        if size >= 1 << 22 and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                self._map.madvise(mmap.MADV_HUGEPAGE)
        self._view = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._view)

    def release(self, begin: int, end: int) -> None:
        """Give back the memory of whole pages between two places; they are zero from then on."""
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if end > begin:
            self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def write(self, offset: int, data: bytes) -> None:
        """Copy bytes to a place."""
        self._map[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a place."""
        return self._map[offset : offset + size]


class Block:
    """Numbers of 64 bits."""

    def __init__(self, words: int) -> None:
        self.numbers = (ctypes.c_int64 * words)()
        self.address = ctypes.addressof(self.numbers)

    def __getitem__(self, index: int) -> int:
        return self.numbers[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.numbers[index] = value


class Shorts:
    """Numbers of 16 bits, from 0."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = array("H", numbers)
        self.address = self.numbers.buffer_info()[0]


class Bytes:
    """Bytes that are not to change."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        self.address = ctypes.addressof(self.data)


class Numbers:
    """Numbers of 64 bits that are not to change."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = array("q", numbers)
        self.address = self.numbers.buffer_info()[0]
