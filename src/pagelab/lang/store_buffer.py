# SPDX-License-Identifier: GPL-2.0-or-later
"""Store buffers, as x86 has them (x86-TSO): stores of a CPU reach memory in their order, but later than they are made.

Each CPU has a buffer of a few entries, which all its threads share; a thread on no CPU has one of its own.

* A plain store, an unlock() too, goes into the buffer; it waits while the buffer is full.
* A load sees the newest entry for its place in its own CPU's buffer, or memory; others see memory only.
* Whatever takes a lock or tries to, switches irqs off or on, begins or ends an interrupt, or stores within
  ``with atomic():``, empties the buffer first, in the same step, and acts on memory.
* The oldest entry reaches memory at any time: a daemon for each buffer does that, in steps of its own.
* Properties see memory.  Tables that only properties know (``ghost=True``) have no part in this.

An entry is the place, as its byte in the state plus 1, and the value; entries that are not used are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pagelab.errors import BadInput
from pagelab.lang.declare import write_back
from pagelab.lang.graph import Do, Place

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.lang.flatten import FlatNode, Flattener
    from pagelab.lang.layout import Layout
    from pagelab.lang.stepped import Thread

#: Entries of a buffer.
ENTRIES = 3


def store_buffer(number: int) -> None:
    """What a store buffer does by itself."""
    while True:
        write_back(number)


def is_buffered(node: FlatNode) -> bool:
    """Whether a node is a store that goes through the buffer."""
    return (
        node.do in (Do.STORE, Do.UNLOCK) and node.begins_step and node.place is not None and not node.place.table.ghost
    )


class Buffer(NamedTuple):
    """The buffer of a CPU.  ``name``: of its owner, for people; ``fields``: the tables and fields it may hold."""

    number: int
    name: str
    cpu: int
    fields: frozenset[tuple[str, str]]

    def may_hold(self, place: Place) -> bool:
        """Whether there may be an entry for a place."""
        return (place.table.name, place.field.name) in self.fields


def buffers_of(threads: Sequence[Thread], programs: Sequence[Flattener]) -> list[Buffer | None]:
    """For each thread the buffer that its stores go through; None if neither it nor its CPU has any."""
    fields: dict[int, set[tuple[str, str]]] = {}
    for number, program in enumerate(programs):
        for node in program.nodes:
            if is_buffered(node):
                assert node.place is not None
                fields.setdefault(_owner(threads, number), set()).add((node.place.table.name, node.place.field.name))
    made: dict[int, Buffer] = {}
    for owner in sorted(fields):
        cpu = owner if owner < _NO_CPU else -1
        name = f"CPU {cpu}" if cpu >= 0 else threads[owner - _NO_CPU].name
        made[owner] = Buffer(len(made), name, cpu, frozenset(fields[owner]))
    return [made.get(_owner(threads, number)) for number in range(len(threads))]


#: Owners of buffers from here on are threads on no CPU.
_NO_CPU = 1 << 16


def _owner(threads: Sequence[Thread], number: int) -> int:
    cpu = threads[number].cpu
    return cpu if cpu >= 0 else _NO_CPU + number


class StoreBuffers:
    """Where the buffers lie in a state, and the code that works on them.

    :param owned: for each thread its buffer.
    :param base: the first byte behind all others.
    :raises BadInput: for a state so large that its places have no numbers.
    """

    def __init__(self, owned: Sequence[Buffer | None], layout: Layout, base: int, entries: int = ENTRIES) -> None:
        self.owned = list(owned)
        self.buffers = sorted({buffer for buffer in owned if buffer is not None})
        self.base, self.entries = base, entries
        self.place_bytes = 1 if layout.bytes < 255 else 2
        if layout.bytes >= 1 << 16:
            raise BadInput(f"a state of {layout.bytes} bytes is too large for store buffers", "check a smaller model")
        self.entry_bytes = self.place_bytes + 1
        self.bytes = len(self.buffers) * entries * self.entry_bytes

    def contents(self, state: npt.NDArray[np.uint8] | bytearray, number: int) -> list[tuple[int, int]]:
        """The entries of a buffer, oldest first: byte in the state, value."""
        found = []
        for k in range(self.entries):
            at = self._at(number, k)
            place = int.from_bytes(bytes(state[at : at + self.place_bytes]), "little")
            if place:
                value = int(state[at + self.place_bytes])
                found.append((place - 1, value - 256 if value > 127 else value))
        return found

    def seen(self, state: npt.NDArray[np.uint8] | bytearray, thread: int, byte: int) -> int:
        """The value that a thread sees at a byte of the tables."""
        buffer = self.owned[thread] if thread < len(self.owned) else None
        value = int(state[byte])
        value = value - 256 if value > 127 else value
        for place, stored in self.contents(state, buffer.number) if buffer is not None else ():
            if place == byte:
                value = stored
        return value

    def _at(self, number: int, entry: int) -> int:
        return self.base + (number * self.entries + entry) * self.entry_bytes

    # ---- code

    def text(self) -> list[str]:
        """Functions over the state, four a buffer; places are bytes in the state.

        ``i64 @seen.N(ptr, i64 place)``; ``i1 @put.N(ptr, i64 place, i8 value)``: false if it is full; ``void
        @empty.N(ptr)``; ``i1 @write_back.N(ptr)``: the oldest entry, false if there is none.
        """
        lines = []
        for buffer in self.buffers:
            for write in (self._seen, self._put, self._empty, self._write_back):
                lines += [*write(_Lines(self, buffer.number)).lines, "}"]
        return lines

    def _seen(self, out: _Lines) -> _Lines:
        out.begin("i64", "seen", "i64 %place")
        x = out.load("i8", out.byte("%place"))
        wanted = out.value("add i64 %place, 1")
        for k in range(self.entries):
            same = out.value(f"icmp eq i64 {out.place(k)}, {wanted}")
            x = out.value(f"select i1 {same}, i8 {out.load('i8', out.entry_value(k))}, i8 {x}")
        out.emit(f"ret i64 {out.value(f'sext i8 {x} to i64')}")
        return out

    def _put(self, out: _Lines) -> _Lines:
        out.begin("i1", "put", "i64 %place, i8 %value")
        used = "0"
        for k in range(self.entries):
            in_use = out.value(f"icmp ne i64 {out.place(k)}, 0")
            used = out.value(f"add i64 {used}, {out.value(f'zext i1 {in_use} to i64')}")
        room = out.value(f"icmp ult i64 {used}, {self.entries}")
        out.emit(f"br i1 {room}, label %room, label %full")
        out.lines += ["full:", "  ret i1 0", "room:"]
        first = out.byte(str(self._at(out.number, 0)))
        behind = out.value(f"mul i64 {used}, {self.entry_bytes}")
        at = out.value(f"getelementptr i8, ptr {first}, i64 {behind}")
        number = out.value("add i64 %place, 1")
        out.emit(f"store {out.kind} {out.value(f'trunc i64 {number} to {out.kind}')}, ptr {at}, align 1")
        out.emit(f"store i8 %value, ptr {out.value(f'getelementptr i8, ptr {at}, i64 {self.place_bytes}')}")
        out.emit("ret i1 1")
        return out

    def _empty(self, out: _Lines) -> _Lines:
        out.begin("void", "empty")
        for k in range(self.entries):
            place = out.place(k)
            out.emit(f"br i1 {out.value(f'icmp eq i64 {place}, 0')}, label %done, label %write{k}")
            out.lines.append(f"write{k}:")
            out.to_memory(place, k)
            out.clear(k)
        out.emit("br label %done")
        out.lines += ["done:", "  ret void"]
        return out

    def _write_back(self, out: _Lines) -> _Lines:
        out.begin("i1", "write_back")
        place = out.place(0)
        out.emit(f"br i1 {out.value(f'icmp eq i64 {place}, 0')}, label %none, label %some")
        out.lines += ["none:", "  ret i1 0", "some:"]
        out.to_memory(place, 0)
        for k in range(1, self.entries):
            following = out.load(out.kind, out.entry(k))
            out.emit(f"store {out.kind} {following}, ptr {out.entry(k - 1)}, align 1")
            out.emit(f"store i8 {out.load('i8', out.entry_value(k))}, ptr {out.entry_value(k - 1)}")
        out.clear(self.entries - 1)
        out.emit("ret i1 1")
        return out


class _Lines:
    """Text of one function of a buffer."""

    def __init__(self, buffers: StoreBuffers, number: int) -> None:
        self.buffers, self.number = buffers, number
        self.kind = f"i{8 * buffers.place_bytes}"
        self.lines: list[str] = []
        self.count = 0

    def begin(self, result: str, name: str, more: str = "") -> None:
        params = f", {more}" if more else ""
        self.lines.append(f"define internal {result} @{name}.{self.number}(ptr %s{params}) nounwind {{")

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str) -> str:
        self.count += 1
        self.emit(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def byte(self, offset: str) -> str:
        return self.value(f"getelementptr i8, ptr %s, i64 {offset}")

    def load(self, kind: str, at: str) -> str:
        return self.value(f"load {kind}, ptr {at}, align 1")

    def entry(self, k: int) -> str:
        return self.byte(str(self.buffers._at(self.number, k)))

    def entry_value(self, k: int) -> str:
        return self.byte(str(self.buffers._at(self.number, k) + self.buffers.place_bytes))

    def place(self, k: int) -> str:
        """The place of an entry plus 1, an i64; 0 if it is not used."""
        return self.value(f"zext {self.kind} {self.load(self.kind, self.entry(k))} to i64")

    def to_memory(self, place: str, k: int) -> None:
        x = self.load("i8", self.entry_value(k))
        self.emit(f"store i8 {x}, ptr {self.byte(self.value(f'sub i64 {place}, 1'))}")

    def clear(self, k: int) -> None:
        self.emit(f"store {self.kind} 0, ptr {self.entry(k)}, align 1")
        self.emit(f"store i8 0, ptr {self.entry_value(k)}")


#: What a verdict says of the memory model.
WORDS: Mapping[str, str] = {
    "sc": "sequentially consistent",
    "tso": f"x86-TSO, store buffers of {ENTRIES} entries: a store into a full one waits",
}
