# SPDX-License-Identifier: GPL-2.0-or-later
"""Partial order reduction: steps that can be taken at once because their order among others makes no difference.

A step of a thread is *safe* where no other thread may, before it, do anything that matters to it or that it matters to.
What the others may do before it is all that they can reach without a lock, or a section with irqs off, that the thread
holds; so most steps within critical sections are safe, while a release stays visible to those who only try to take the
lock.  A step that a property could notice is not safe, unless the property says nothing while those locks are held.

The engine takes safe steps at once and stores only the states in which there is none.  In each of these all threads
take their next step, so no thread is left out for ever.  Verdicts, deadlocks and final states stay the same
(Godefroid, Partial-Order Methods for the Verification of Concurrent Systems, 1996: persistent sets of one step;
Lipton, Reduction: a method of proving properties of parallel programs, 1975).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.check import engine_layout as at
from pagelab.check.footprint import Cells, Effect, Explorer, locks_held
from pagelab.check.memory import Bytes, Shorts
from pagelab.check.touches import stops_of
from pagelab.lang.graph import Do
from pagelab.lang.slots import Slots

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.check.memory import Block
    from pagelab.lang.contexts import Context
    from pagelab.lang.flatten import FlatNode, Flattener
    from pagelab.lang.stepped import System

#: Cells read and cells written.
Footprint = tuple[int, int]


class _Program:
    """What is known of a thread's steps, for each set of locks that somebody else may hold."""

    def __init__(self, program: Flattener, slots: Slots, cells: Cells, context: Context) -> None:
        self.stops: list[FlatNode] = slots.entries
        self.end = program.end
        self.cells, self.context = cells, context
        self.explorer = Explorer(cells, slots.live, program.end)
        self.held = locks_held(program.entry, cells)
        self.effects = {stop.id: self._effect(stop, 0) for stop in self.stops}

    def locks(self, stop: FlatNode) -> int:
        """What the thread surely holds where it stops: locks, irqs, its CPU if it is an interrupt under way."""
        under_way = self.context.interrupt and stop.do is not Do.IRQ_ENTER
        return self.held.get(stop.id, 0) | (self.cells.interrupt(self.context.cpu) if under_way else 0)

    def _effect(self, stop: FlatNode, held: int) -> Effect:
        """What the step from a stop may do, with what it waits for before its first operation."""
        if stop is self.end:
            return Effect()
        effect = self.explorer.effect(stop, held)
        context, cpu = self.context, self.context.cpu
        needs = 0
        if context.waits_for_irqs(stop):
            needs |= self.cells.token(cpu, {})
        if context.waits_for_interrupts(stop):
            needs |= self.cells.interrupt(cpu)
        possible = 0
        if context.stops_interrupts(stop) and isinstance(stop.value, int):
            needs |= self.cells.interrupt(stop.value)
        elif context.stops_interrupts(stop):
            for other in range(self.cells.cpus):
                possible |= self.cells.interrupt(other)
        effect.reads |= needs | possible
        effect.waits = effect.waits or needs | possible != 0
        effect.passes = effect.passes and not needs & held
        if stop.do is Do.IRQ_ENTER or (context.interrupt and self.end.id in effect.next):
            effect.writes |= self.cells.interrupt(cpu)
        return effect

    def future(self, held: int) -> dict[int, Footprint]:
        """By id of a stop, what the thread may touch from there on before it needs a lock of ``held``."""
        steps = {}
        before: dict[int, list[int]] = {stop.id: [] for stop in self.stops}
        for stop in self.stops:
            effect = self.effects[stop.id]
            if effect.reads & held:
                effect = self._effect(stop, held)
            steps[stop.id] = effect
            if effect.passes:
                for following in effect.next:
                    before[following].append(stop.id)
        future = {n: (step.reads, step.writes) if step.passes else (0, 0) for n, step in steps.items()}
        todo = list(future)
        while todo:
            number = todo.pop()
            reads, writes = future[number]
            for earlier in before[number]:
                old_reads, old_writes = future[earlier]
                both = (old_reads | reads, old_writes | writes)
                if both != (old_reads, old_writes):
                    future[earlier] = both
                    todo.append(earlier)
        return future


class Independence:
    """The safe steps of a system, for :class:`~pagelab.check.search.Search`."""

    def __init__(self, system: System) -> None:
        cells = Cells(system)
        self.threads = len(system.threads)
        programs = [
            _Program(program, slots, cells, context)
            for program, slots, context in zip(system.programs, system.slots, system.contexts, strict=True)
        ]
        held = sorted({program.locks(stop) for program in programs for stop in program.stops})
        futures = [{locks: program.future(locks) for locks in held} for program in programs]
        noticed = {locks: self._noticed(system, cells, locks) for locks in held}
        self.stops = stops_of(system)
        self._number_futures(programs, futures, held)
        self._number_steps(programs, held, noticed)
        self._compare(held)

    @staticmethod
    def _noticed(system: System, cells: Cells, held: int) -> int:
        """Cells that make a property fail or hold while those locks are held."""
        noticed = 0
        for program in system.checked:
            noticed |= Explorer(cells, Slots(program).live, program.end).effect(program.entry, held).decisive
        return noticed

    def _number_futures(
        self, programs: list[_Program], futures: list[dict[int, dict[int, Footprint]]], held: list[int]
    ) -> None:
        """Stops from which the same may happen share a column."""
        self.columns: dict[tuple[Footprint, ...], int] = {}
        self.other = [0] * (self.threads * self.stops)
        for t, program in enumerate(programs):
            for i, stop in enumerate(program.stops, 1):
                key = tuple(futures[t][locks][stop.id] for locks in held)
                self.other[t * self.stops + i] = self.columns.setdefault(key, len(self.columns))

    def _number_steps(self, programs: list[_Program], held: list[int], noticed: dict[int, int]) -> None:
        """Steps that touch the same and hold the same locks share a row; row 0 is for those that never are safe."""
        self.rows: dict[tuple[Footprint, int], int] = {}
        self.actor = [0] * (self.threads * self.stops)
        for t, program in enumerate(programs):
            for i, stop in enumerate(program.stops, 1):
                effect, locks = program.effects[stop.id], program.locks(stop)
                if stop is program.end or effect.chooses or (effect.waits and not effect.waits_first):
                    continue
                if effect.writes & noticed[locks]:
                    continue
                key = ((effect.reads, effect.writes), held.index(locks))
                self.actor[t * self.stops + i] = self.rows.setdefault(key, 1 + len(self.rows))

    def _compare(self, held: list[int]) -> None:
        self.safe = bytearray(len(self.columns) * (1 + len(self.rows)))
        futures = list(self.columns)
        for (step, locks), row in self.rows.items():
            reads, writes = step
            touched = reads | writes
            base = row * len(self.columns)
            for column, future in enumerate(futures):
                may_read, may_write = future[locks]
                self.safe[base + column] = not (writes & may_read or touched & may_write)

    # ---- for the search

    def describe(self, shared: Block, kept: list[object]) -> None:
        """Tell the engine; what it reads by address is put into ``kept``."""
        actor, other, safe = Shorts(self.actor), Shorts(self.other), Bytes(self.safe)
        kept += [actor, other, safe]
        shared[at.REDUCED] = 1
        shared[at.ACTOR], shared[at.OTHER], shared[at.SAFE] = actor.address, other.address, safe.address
        shared[at.OTHERS] = len(self.columns)

    def is_safe(self, system: System, state: npt.NDArray[uint8], thread: int) -> bool:
        """Whether the next step of a thread is safe, if it can be taken."""
        row = self.actor[thread * self.stops + system.pc(state, thread)] * len(self.columns)
        return row != 0 and all(
            self.safe[row + self.other[u * self.stops + system.pc(state, u)]]
            for u in range(self.threads)
            if u != thread
        )
