# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts of structs and parameters of functions, from a kernel's BTF (Documentation/bpf/btf.rst).

BTF is what /sys/kernel/btf/vmlinux holds.  Written here because it is one table; the parsers that exist are bound to
libbpf or to a debugger.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from pagelab.errors import BadInput

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_PAIR = struct.Struct("<II")
_ARRAY = struct.Struct("<III")
_INT, _PTR, _ARRAY_KIND, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC, _FUNC_PROTO = 1, 2, 3, 4, 5, 6, 8, 12, 13
_DATASEC, _ENUM64, _LAST = 15, 19, 19
#: volatile, const, restrict, typedef and type tags say nothing about where things are.
_TRANSPARENT = frozenset([_TYPEDEF, 9, 10, 11, 18])
#: Bytes behind a type of each kind: once, and for each of its parts.
_ONCE = {_INT: 4, _ARRAY_KIND: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}


@dataclass(frozen=True, slots=True)
class Field:
    """Where a member is: bytes from the start of the struct, its size, and how many of that size (arrays)."""

    offset: int
    size: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of a function: ``type`` as ``struct page *`` or ``unsigned long``."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class _Type:
    name: int
    kind: int
    parts: int
    bits: bool
    value: int  # a size, or the number of another type
    at: int  # of what is behind it


class Btf:
    """A parsed BTF.

    :raises BadInput: ``data`` is none.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            magic, _, _, length, type_at, type_size, self._strings, _ = _HEADER.unpack_from(data)
            if magic != _MAGIC:
                raise BadInput("this is no BTF of an x86-64 kernel", "it should be a copy of /sys/kernel/btf/vmlinux")
            self._strings += length
            self._types = [_Type(0, 0, 0, False, 0, 0), *self._parse(length + type_at, type_size)]
        except struct.error as error:
            raise BadInput("the kernel's BTF ends too early", "copy /sys/kernel/btf/vmlinux again") from error

    def _parse(self, at: int, size: int) -> list[_Type]:
        types = []
        end = at + size
        while at < end:
            name, info, value = _TYPE.unpack_from(self._data, at)
            kind, parts = info >> 24 & 31, info & 0xFFFF
            if not 1 <= kind <= _LAST:
                raise BadInput(f"the kernel's BTF has types of kind {kind}, which nobody knew in 2026")
            at += _TYPE.size
            types.append(_Type(name, kind, parts, bool(info >> 31), value, at))
            at += _ONCE.get(kind, 0) + _EACH.get(kind, 0) * parts
        return types

    def _name(self, offset: int) -> str:
        at = self._strings + offset
        return self._data[at : self._data.index(b"\0", at)].decode("utf-8", "replace")

    @cached_property
    def _structs(self) -> dict[str, int]:
        return {self._name(t.name): n for n, t in enumerate(self._types) if t.kind in (_STRUCT, _UNION) and t.name}

    @cached_property
    def _functions(self) -> dict[str, int]:
        return {self._name(t.name): t.value for t in self._types if t.kind == _FUNC}

    @cached_property
    def _enumerators(self) -> dict[str, int]:
        found = {}
        for kind in self._types:
            if kind.kind in (_ENUM, _ENUM64):
                each = _EACH[kind.kind]
                for at in range(kind.at, kind.at + each * kind.parts, each):
                    name, value = _PAIR.unpack_from(self._data, at)
                    found[self._name(name)] = value
        return found

    def enumerator(self, name: str) -> int | None:
        """The value of a constant of any enum (its lower 32 bits), ``None`` if there is none of that name."""
        return self._enumerators.get(name)

    def size(self, name: str) -> int:
        """Bytes of a struct.

        :raises BadInput: the kernel has none of that name.
        """
        return self._types[self._struct(name)].value

    def has(self, name: str, path: str) -> bool:
        """Whether a struct has such a member."""
        try:
            self.field(name, path)
        except BadInput:
            return False
        return True

    def field(self, name: str, path: str) -> Field:
        """A member of a struct; ``path`` goes through members that are structs themselves: ``pcp.lists``.

        Members of unnamed structs and unions are found as in C.

        :raises BadInput: there is none.
        """
        number, offset = self._struct(name), 0
        for part in path.split("."):
            found = self._member(self._plain(number), part)
            if found is None:
                raise BadInput(f"struct {name} of this kernel has no {path}", "pagelab knows other kernels")
            number, offset = found[0], offset + found[1]
        count = 1
        number = self._plain(number)
        while self._types[number].kind == _ARRAY_KIND:
            element, _, length = _ARRAY.unpack_from(self._data, self._types[number].at)
            number, count = self._plain(element), count * length
        return Field(offset, self._size(number), count)

    def parameters(self, function: str) -> tuple[Parameter, ...] | None:
        """Of a function, in the order of the calling convention; ``None`` if BTF does not tell."""
        number = self._functions.get(function)
        if number is None or self._types[number].kind != _FUNC_PROTO:
            return None
        proto = self._types[number]
        pairs = (_PAIR.unpack_from(self._data, proto.at + 8 * i) for i in range(proto.parts))
        return tuple(Parameter(self._name(name), self._words(kind)) for name, kind in pairs)

    def _struct(self, name: str) -> int:
        if name not in self._structs:
            raise BadInput(f"this kernel has no struct {name}", "pagelab knows other kernels")
        return self._structs[name]

    def _plain(self, number: int) -> int:
        while self._types[number].kind in _TRANSPARENT:
            number = self._types[number].value
        return number

    def _size(self, number: int) -> int:
        kind = self._types[number]
        return 8 if kind.kind == _PTR else kind.value

    def _member(self, number: int, name: str) -> tuple[int, int] | None:
        """Type and offset of a member."""
        parent = self._types[number]
        if parent.kind not in (_STRUCT, _UNION):
            return None
        unnamed = []
        for at in range(parent.at, parent.at + 12 * parent.parts, 12):
            its_name, kind, offset = _MEMBER.unpack_from(self._data, at)
            byte = (offset & 0xFFFFFF if parent.bits else offset) // 8
            if its_name == 0:
                unnamed.append((self._plain(kind), byte))
            elif self._name(its_name) == name:
                return kind, byte
        for kind, byte in unnamed:
            found = self._member(kind, name)
            if found is not None:
                return found[0], found[1] + byte
        return None

    def _words(self, number: int) -> str:
        while self._types[number].kind in _TRANSPARENT - {_TYPEDEF}:
            number = self._types[number].value
        kind = self._types[number]
        if kind.kind == _PTR:
            return f"{self._words(kind.value)} *".replace("* *", "**")
        name = self._name(kind.name) if number else "void"
        return f"struct {name}" if kind.kind in (_STRUCT, 7) else name
