# SPDX-License-Identifier: GPL-2.0-or-later
"""Object files made executable without LLVM, whose import takes longer than most searches.

LLVM's large code model, which is that of code compiled for this very process, refers to everything by absolute
addresses of 64 bits: what has to be done is to copy the sections to their places and to add those up.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from typing import NamedTuple

#: Of <elf.h>.
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian
_RELOCATABLE, _X86_64 = 1, 62
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8
_WRITE, _ALLOC = 1, 2
_R_X86_64_64 = 1


class Unsupported(Exception):
    """The file asks for more than is done here: another processor, code of others, data that can be written."""


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


class Code:
    """The code of an object file, in memory of its own for as long as this object lives.

    :raises Unsupported: see there.
    """

    def __init__(self, file: bytes) -> None:
        self._file = file
        self._sections = self._read_sections()
        self._places: dict[int, int] = {}
        used = 0
        for number, section in enumerate(self._sections):
            if not section.flags & _ALLOC or not section.size:
                continue
            if section.kind == _NOBITS or section.flags & _WRITE:
                raise Unsupported("data that can be written")
            if section.kind == _PROGBITS:  # and not what only debuggers and exceptions need
                used = -(-used // max(section.align, 1)) * max(section.align, 1)
                self._places[number] = used
                used += section.size
        self._map = mmap.mmap(-1, max(used, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = ctypes.c_char.from_buffer(self._map)
        self._base = ctypes.addressof(self._view)
        for number, place in self._places.items():
            section = self._sections[number]
            self._map[place : place + section.size] = file[section.offset : section.offset + section.size]
        self._symbols: dict[str, int] = {}
        for section in self._sections:
            if section.kind == _SYMTAB:
                self._read_symbols(section)
        for section in self._sections:
            if section.kind == _RELA and section.info in self._places:
                self._relocate(section)
        if ctypes.CDLL(None).mprotect(
            ctypes.c_void_p(self._base), ctypes.c_size_t(used), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise Unsupported("memory that may not be executed")

    def get_function_address(self, name: str) -> int:
        """Where a function begins.

        :raises KeyError: if there is none of that name.
        """
        return self._symbols[name]

    def _read_sections(self) -> list[_Section]:
        if self._file[:7] != _MAGIC:
            raise Unsupported("not an ELF file of 64 bits, little endian")
        header = _HEADER.unpack_from(self._file)
        kind, machine, offset, count = header[1], header[2], header[6], header[12]
        if kind != _RELOCATABLE or machine != _X86_64:
            raise Unsupported("not an object file for x86-64")
        table = self._file[offset : offset + count * _SECTION.size]
        return [_Section(*fields) for fields in _SECTION.iter_unpack(table)]

    def _bytes(self, section: _Section) -> bytes:
        return self._file[section.offset : section.offset + section.size]

    def _read_symbols(self, section: _Section) -> None:
        names = self._bytes(self._sections[section.link])
        self._addresses: list[int | None] = []
        for name, _, _, where, value, _ in _SYMBOL.iter_unpack(self._bytes(section)):
            known = where in self._places
            self._addresses.append(self._base + self._places[where] + value if known else None)
            if known and name:
                self._symbols[names[name : names.index(0, name)].decode()] = self._base + self._places[where] + value

    def _relocate(self, section: _Section) -> None:
        place = self._places[section.info]
        for offset, info, addend in _RELOCATION.iter_unpack(self._bytes(section)):
            address = self._addresses[info >> 32]
            if info & 0xFFFFFFFF != _R_X86_64_64 or address is None:
                raise Unsupported("an address of another kind, or of what others define")
            struct.pack_into("<Q", self._map, place + offset, address + addend)
