# SPDX-License-Identifier: GPL-2.0-or-later
"""ELF for the guest: wrap generated machine code as a static program.

Written here, in some forty lines, because what is needed is two fixed headers and one table; a library would be a
dependency for that alone.
"""

from __future__ import annotations

import struct

from pagelab.errors import BadInput

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")

_LOAD_ADDRESS = 0x400000
_PT_LOAD = 1
_SHT_RELA = 4
_DATA = (".data", ".rodata", ".bss")


def text_of_object(obj: bytes) -> bytes:
    """The bytes of ``.text`` of a relocatable x86-64 object without relocations.

    :raises BadInput: not such an object, or one with relocations or initialised data (it cannot be wrapped as it is).
    """
    if obj[:5] != b"\x7fELF\x02":
        raise BadInput("not a 64-bit ELF object", "the code generator is expected to target x86_64 Linux")
    header = _HEADER.unpack_from(obj)
    start, size, count, names_at = header[6], header[11], header[12], header[13]
    sections = [_SECTION.unpack_from(obj, start + i * size) for i in range(count)]
    names = sections[names_at]
    text = b""
    for section in sections:
        name, kind, flags, offset, length = _string(obj, names[4] + section[0]), *section[1:3], *section[4:6]
        if name == ".text":
            text = obj[offset : offset + length]
        elif (kind == _SHT_RELA and name == ".rela.text") or (flags & 2 and length and name.startswith(_DATA)):
            raise BadInput(f"generated code has a section {name}", "it must be free of relocations and of data")
    if not text:
        raise BadInput("generated object has no code")
    return text


def static_program(text: bytes) -> bytes:
    """A static x86-64 executable of one read-only, executable segment whose first instruction is the entry."""
    offset = _HEADER.size + _SEGMENT.size
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = _LOAD_ADDRESS + offset
    header = _HEADER.pack(ident, 2, 62, 1, entry, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0)
    length = offset + len(text)
    segment = _SEGMENT.pack(_PT_LOAD, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, length, length, 0x1000)
    return header + segment + text


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "surrogateescape")
