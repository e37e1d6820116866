# SPDX-License-Identifier: GPL-2.0-or-later
"""A counterexample with all there is to know about it: each state, each step, what it read and changed.

The story, the diagram and the page are made from it.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pagelab.check.counterexample import Step, Teller
from pagelab.lang.graph import Do, Place
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, NO_CHOICE
from pagelab.lang.store_buffer import is_buffered, store_buffer

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.search import Schedule
    from pagelab.lang.declare import Table
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System
    from pagelab.lang.store_buffer import Buffer

_WAIT = re.compile(r"\bwait_until\((.*)\)")
#: Results of a step that was not taken.
NOT_TAKEN = (BLOCKED, ENDED, NO_CHOICE)


class Cell(NamedTuple):
    """One value of a state: a field of a row, or whether a CPU has its irqs off (``table`` is None, kind "irqs")."""

    byte: int
    table: Table[object] | None
    row: tuple[int, ...]
    field: str
    kind: str

    def __str__(self) -> str:
        if self.table is None:
            return f"irqs of CPU {self.row[0]}"
        return f"{self.table.name}{list(self.row) if self.row else ''}.{self.field}"


class Change(NamedTuple):
    """A step gave a cell another value."""

    cell: Cell
    old: int
    new: int


class Read(NamedTuple):
    """A step read a cell."""

    cell: Cell
    value: int


@dataclass(frozen=True, slots=True)
class Moved:
    """One step: what the teller says of it, the node of the program, what was read and changed.

    ``puts``: what went into a store buffer and is not in memory yet; ``same``: a store that changed nothing.
    ``switch``: whether another thread took the step before; ``wait``: "" if that one could have gone on, otherwise why
    it could not: "has ended", or "waits for ...".
    """

    told: Step
    thread: int
    choice: int
    node: FlatNode
    reads: tuple[Read, ...]
    changes: tuple[Change, ...]
    puts: tuple[Change, ...]
    same: tuple[Change, ...]
    fault: str
    switch: bool
    wait: str

    @property
    def number(self) -> int:
        """From 1 on; the step leads from state ``number - 1`` to state ``number``."""
        return self.told.step


class Trail:
    """The steps of a schedule and the states between them.

    :param repeats_from: of a lasso: the state (0 is the initial one) that the last step leads back to; -1 if none.
    """

    def __init__(
        self, system: System, initial: npt.NDArray[np.uint8], schedule: Schedule, repeats_from: int = -1
    ) -> None:
        self.system = system
        self.repeats_from = repeats_from
        self.cells = cells_of(system)
        self.teller = Teller(system)
        self.states = [initial.copy()]
        self.steps: list[Moved] = []
        told = self.teller.tell(initial, schedule)
        for step, (thread, choice) in zip(told, schedule.steps, strict=True):
            self._follow(step, thread, choice)
        self.kind, self.invariant = self._ending()

    def _follow(self, told: Step, thread: int, choice: int) -> None:
        before = self.states[-1]
        node = self.system.node(before, thread)
        after = before.copy()
        result = self.system.step(after, thread, choice)
        last = self.steps[-1].thread if self.steps else thread
        self.steps.append(
            Moved(
                told,
                thread,
                choice,
                node,
                self._reads(node, thread, before),
                self._changes(before, after),
                self._puts(node, thread, before, after),
                self._same(node, thread, before, after),
                self.system.faults[result - FAULTED].what if result >= FAULTED else "",
                last != thread,
                self.waits(before, last) if last != thread else "",
            )
        )
        self.states.append(after)

    def _ending(self) -> tuple[str, int]:
        """How it ends: "fault", "invariant" with its number, "lasso" or "deadlock"."""
        if self.steps and self.steps[-1].fault:
            return "fault", -1
        for k in range(len(self.system.invariants)):
            if self.system.good(self.states[-1], k) != 1:
                return "invariant", k
        return ("lasso" if self.repeats_from >= 0 else "deadlock"), -1

    # ---- cells

    def value(self, cell: Cell, state: int) -> int:
        """What a cell holds in state ``state``."""
        return _signed(self.states[state][cell.byte])

    def cell_at(self, place: Place, thread: int, state: npt.NDArray[np.uint8]) -> Cell | None:
        """The cell that a node names where a thread stands; None if the index is wild."""
        laid = self.system.layout.tables[place.table]
        row = 0
        for index, size in zip(place.indices, laid.shape, strict=True):
            i = self.teller.value(index, thread, state)
            if not 0 <= i < size:
                return None
            row = row * size + i
        return self.cells[laid.offset + row * laid.row_bytes + laid.fields[place.field.name][0]]

    def _reads(self, node: FlatNode, thread: int, before: npt.NDArray[np.uint8]) -> tuple[Read, ...]:
        if node.do not in (Do.LOAD, Do.TRYLOCK) or node.place is None:
            return ()
        cell = self.cell_at(node.place, thread, before)
        return () if cell is None else (Read(cell, self.seen(cell, thread, before)),)

    def seen(self, cell: Cell, thread: int, state: npt.NDArray[np.uint8]) -> int:
        """What a thread sees in a cell: what is in its store buffer, or in memory."""
        if self.system.memory == "sc" or cell.table is None:
            return _signed(state[cell.byte])
        return self.system.buffers.seen(state, thread, cell.byte)

    def _puts(
        self, node: FlatNode, thread: int, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]
    ) -> tuple[Change, ...]:
        if self.system.memory == "sc" or node.place is None or not is_buffered(node):
            return ()
        cell = self.cell_at(node.place, thread, before)
        if cell is None or self.system.buffers.owned[thread] is None:
            return ()
        return (Change(cell, self.seen(cell, thread, before), self.seen(cell, thread, after)),)

    def _same(
        self, node: FlatNode, thread: int, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]
    ) -> tuple[Change, ...]:
        if node.do is not Do.STORE or node.place is None or self._puts(node, thread, before, after):
            return ()
        cell = self.cell_at(node.place, thread, before)
        if cell is None or before[cell.byte] != after[cell.byte]:
            return ()
        return (Change(cell, _signed(before[cell.byte]), _signed(after[cell.byte])),)

    def put(self, step: Moved, cell: Cell) -> Moved | None:
        """Of a step that writes a store buffer back: the step that put there what reaches a cell now."""
        if step.node.do is not Do.WRITE_BACK:
            return None
        owners = {t for t, buffer in enumerate(self.system.buffers.owned) if self._writes_back(step, buffer)}
        waiting: list[Moved] = []
        for earlier in self.steps[: step.number]:
            if earlier.thread in owners and any(put.cell is cell for put in earlier.puts):
                waiting.append(earlier)
            elif waiting and any(change.cell is cell for change in earlier.changes) and earlier is not step:
                waiting.pop(0)
        return waiting[0] if waiting else None

    def actor(self, step: Moved, cell: Cell) -> int:
        """The thread that a change is due to: not a store buffer, but who stored."""
        put = self.put(step, cell)
        return step.thread if put is None else put.thread

    def _writes_back(self, step: Moved, buffer: Buffer | None) -> bool:
        return buffer is not None and self.system.threads[step.thread].args == (buffer.number,)

    def _changes(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> tuple[Change, ...]:
        differ = np.flatnonzero(before != after).tolist()
        return tuple(
            Change(self.cells[byte], _signed(before[byte]), _signed(after[byte]))
            for byte in differ
            if byte in self.cells
        )

    def values_like(self, cell: Cell) -> list[int]:
        """Values that a field has in any row and any state, and the next ones."""
        alike = [one.byte for one in self.cells.values() if (one.table, one.field) == (cell.table, cell.field)]
        found = {_signed(state[byte]) for state in self.states for byte in alike}
        return sorted({value + more for value in found for more in ((-1, 0, 1) if cell.kind == "int" else (0,))})

    # ---- threads

    def waits(self, state: npt.NDArray[np.uint8], thread: int) -> str:
        """Why a thread can take no step in a state: "has ended", "waits for ..."; "" if it can take one."""
        result = self.system.step(state.copy(), thread)
        if result == ENDED:
            return "has ended"
        return f"waits {self.waits_for(state, thread)}" if result in NOT_TAKEN else ""

    def waits_for(self, state: npt.NDArray[np.uint8], thread: int) -> str:
        """What a thread that can take no step waits for: a lock, the irqs of a CPU, a condition in the source."""
        node = self.system.node(state, thread)
        if node.do is Do.LOCK and node.place is not None:
            cell = self.cell_at(node.place, thread, state)
            if cell is not None and state[cell.byte]:
                return f"for {cell}"
        cpu = self.system.threads[thread].cpu
        if node.do is Do.IRQS_OFF:
            cpu = self.teller.value(node.value, thread, state)
        if node.do is Do.IRQS_OFF or (cpu >= 0 and self._irqs(state, cpu)):
            return f"for CPU {cpu}"
        condition = _condition(node)
        return f"until {condition}" if condition else f"in {node.frames[-1][0]}()"

    def _irqs(self, state: npt.NDArray[np.uint8], cpu: int) -> bool:
        return bool(state[self.system.layout.bytes + cpu])

    def who(self, thread: int) -> str:
        """What to call a thread: its CPU, if no other thread of the story runs there; otherwise its name."""
        named = self.system.threads[thread]
        company = [
            t
            for t in self.taking_part()
            if self.system.threads[t].cpu == named.cpu and self.system.threads[t].function is not store_buffer
        ]
        return f"CPU {named.cpu}" if named.cpu >= 0 and company == [thread] else named.name

    def taking_part(self) -> list[int]:
        """The threads that take steps, by CPU; before them, of a deadlock, those that wait."""
        some = {step.thread for step in self.steps}
        if self.kind in ("deadlock", "lasso"):
            waiting = {t for t, named in enumerate(self.system.threads) if not named.daemon}
            some |= {t for t in waiting if not self.system.ended(self.states[-1], t)}
        return sorted(some, key=lambda t: (self.system.threads[t].cpu, t))

    # ---- what if

    def alone(self, thread: int, state: int, most: int, cell: Cell | None = None, value: int = 0) -> list[Deed]:
        """What a thread would do if from a state on it ran alone, and its first step found ``value`` in a cell."""
        now = self.states[state].copy()
        if cell is not None:
            truly = now[cell.byte]
            now[cell.byte] = value & 255
        choices = [step.choice for step in self.steps[state:] if step.thread == thread]
        deeds: list[Deed] = []
        for number in range(most):
            node = self.system.node(now, thread)
            before = now.copy()
            result = self.system.step(now, thread, choices[number] if number < len(choices) else 0)
            if result in NOT_TAKEN or result >= FAULTED:
                deeds.append(Deed(node, (), stuck=result != ENDED))
                break
            puts = self._puts(node, thread, before, now)
            if number == 0 and cell is not None and now[cell.byte] == before[cell.byte]:
                now[cell.byte] = before[cell.byte] = truly
            deeds.append(Deed(node, self._changes(before, now) + puts))
        return deeds

    def holds_with(self, changed: Sequence[tuple[Cell, int]]) -> bool:
        """Whether the invariant that is violated would hold in the last state with other values in some cells."""
        trial = self.states[-1].copy()
        for cell, value in changed:
            trial[cell.byte] = value & 255
        return self.system.good(trial, self.invariant) == 1


class Deed(NamedTuple):
    """A step of a thread that runs alone, with what it put into a store buffer, too; ``stuck``: it could not be taken,
    or failed."""

    node: FlatNode
    changes: tuple[Change, ...]
    stuck: bool = False


def cells_of(system: System) -> dict[int, Cell]:
    """All cells of a system's states by their byte."""
    found = {}
    for table, laid in system.layout.tables.items():
        for row, index in enumerate(np.ndindex(laid.shape)):
            for name, (within, _) in laid.fields.items():
                byte = laid.offset + row * laid.row_bytes + within
                found[byte] = Cell(byte, table, tuple(index), name, table.fields[name].kind)
    for cpu in range(system.cpus):
        byte = system.layout.bytes + cpu
        found[byte] = Cell(byte, None, (cpu,), "irqs_off", "irqs")
    return found


def _condition(node: FlatNode) -> str:
    """The condition of the wait_until() that comes first in a section that is one step."""
    todo, seen = [node], {node.id}
    while todo:
        now = todo.pop(0)
        if now.do is Do.WAIT:
            _, file, line = now.frames[-1]
            found = _WAIT.search(linecache.getline(file, line))
            return found[1] if found else ""
        for successor in now.successors():
            if successor.id not in seen and not successor.begins_step:
                seen.add(successor.id)
                todo.append(successor)
    return ""


def _signed(byte: np.uint8) -> int:
    value = int(byte)
    return value - 256 if value > 127 else value
