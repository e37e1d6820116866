# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of whole CPUs through a model: one CPU goes on until it comes to a place where it can be held.

What is let go and held on a real machine is a CPU, not a thread.  While it runs, the thread that it was in goes on;
only when that sleeps or ends another thread of the CPU has its turn, a kworker for example.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pagelab.lang.graph import Do
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED
from pagelab.steer.code import LOCKS
from pagelab.steer.plan import At
from pagelab.steer.points import SPINNING, Points

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System

#: A thread that takes more steps than this on its way from one point to the next goes round for ever.
MOST_STEPS = 4000
#: Steps of these files are the property's, not the kernel's: they happen at once.
_GHOST = "ghost.py"
IDLE = -1
_DEEPEST = 20


class Broken(Enum):
    """How a run shows the violation."""

    SEEN = "in the last state"
    BETWEEN = "in a state before the last"
    FAULT = "by its last step"


@dataclass(frozen=True, slots=True)
class Held:
    """All CPUs are held.  ``current``: the thread that each CPU is in the middle of, IDLE for none."""

    state: bytes
    current: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What a CPU did until it came to a point, or had nothing to do.

    :param steps: the threads that took a step, one after the other.
    :param last: the thread that is held, with the stops before and after its last step; None if the CPU is idle.
    :param broken: the violation, if there is one.
    """

    steps: tuple[int, ...]
    then: Held
    last: tuple[int, int, int] | None
    broken: Broken | None


class Walker:
    """Moves the CPUs of a system.

    :param invariant: number of the invariant whose violation is looked for, -1 for a fault or none.
    :param actors: numbers of the threads that take part, beside daemons.
    """

    def __init__(self, system: System, points: Points, invariant: int, actors: Sequence[int]) -> None:
        self.system, self.points, self.invariant = system, points, invariant
        self.actors = frozenset(actors)
        self.cpus = max((thread.cpu for thread in system.threads), default=0) + 1
        self._buffer = bytearray(system.bytes)
        self._memory = (ctypes.c_char * system.bytes).from_buffer(self._buffer)
        self._address = ctypes.addressof(self._memory)
        self._ghost = [
            {number for number, node in enumerate(slots.entries, 1) if node.frames[-1][1].endswith(_GHOST)}
            for slots in system.slots
        ]
        self._begin: list[int] = []

    # ---- single steps, in the buffer

    def load(self, state: bytes) -> None:
        self._buffer[:] = state

    @property
    def state(self) -> bytes:
        return bytes(self._buffer)

    def step(self, thread: int) -> int:
        return int(self.system._step(self._address, thread, 0))

    def pc(self, thread: int) -> int:
        base = self.system.bases[thread]
        if self.system.pc_bytes == 1:
            return self._buffer[base]
        return self._buffer[base] | self._buffer[base + 1] << 8

    def node(self, thread: int) -> FlatNode:
        return self.system.slots[thread].entries[self.pc(thread) - 1]

    def good(self) -> bool:
        return self.invariant < 0 or int(self.system._good(self._address, self.invariant, 0)) == 1

    def ended(self, thread: int) -> bool:
        return self.node(thread) is self.system.programs[thread].end

    # ---- threads and CPUs

    def begin(self, state: bytes) -> None:
        """From which state on a thread counts as started once it moved."""
        self.load(state)
        self._begin = [self.pc(thread) for thread in range(len(self.system.threads))]

    def started(self, thread: int) -> bool:
        """In the state of the buffer: a thread that its CPU runs by itself."""
        daemon = self.system.threads[thread].daemon
        return daemon or (thread in self.actors and self.pc(thread) != self._begin[thread])

    def spins(self, thread: int) -> bool:
        """Whether a thread that cannot take its step would wait for it with its CPU busy."""
        node = self.node(thread)
        if node.do is Do.LOCK and node.place is not None:
            return node.place.table.name in SPINNING
        return node.do is not Do.ATOMIC  # it waits for another context of its CPU

    def moves(self, held: Held, cpu: int) -> Iterator[tuple[int, bool]]:
        """The threads that a CPU may run, each with whether that begins a new thread."""
        if held.current[cpu] != IDLE:
            yield held.current[cpu], False
            return
        self.load(held.state)
        for thread, named in enumerate(self.system.threads):
            if named.cpu == cpu and not self.ended(thread):
                if self.started(thread):
                    yield thread, False
                elif thread in self.actors and not named.interrupt:
                    yield thread, True

    def run(self, held: Held, cpu: int, thread: int) -> Run | None:
        """Let a CPU go until it comes to a point; None if it cannot move, or spins for a lock that is held."""
        self.load(held.state)
        steps: list[int] = []
        broken: Broken | None = None
        while len(steps) < MOST_STEPS:
            before = self.pc(thread)
            result = self.step(thread)
            if result in (BLOCKED, ENDED):
                if result == BLOCKED and self.spins(thread):
                    return None
                other = self._other(cpu, thread)
                if other is None:
                    return self._ran(held, cpu, steps, IDLE, None, broken) if steps else None
                thread = other
                continue
            steps.append(thread)
            if result >= FAULTED:
                return self._ran(held, cpu, steps, thread, None, Broken.FAULT)
            self._pass_ghosts(thread, steps)
            if not self.good():
                broken = Broken.BETWEEN
            after = self.pc(thread)
            if self.points.between(thread, before, after):
                return self._ran(held, cpu, steps, thread, (thread, before, after), broken)
        return None

    def _ran(
        self,
        held: Held,
        cpu: int,
        steps: list[int],
        thread: int,
        last: tuple[int, int, int] | None,
        broken: Broken | None,
    ) -> Run:
        if broken is not Broken.FAULT and not self.good():
            broken = Broken.SEEN
        current = list(held.current)
        current[cpu] = thread
        if thread != IDLE and broken is not Broken.FAULT and self.ended(thread):
            current[cpu] = IDLE
        return Run(tuple(steps), Held(self.state, tuple(current)), last, broken)

    def _pass_ghosts(self, thread: int, steps: list[int]) -> None:
        while self.pc(thread) in self._ghost[thread] and self.step(thread) not in (BLOCKED, ENDED):
            steps.append(thread)

    def _other(self, cpu: int, asleep: int) -> int | None:
        """Another thread of a CPU that can go on by itself."""
        state = self.state
        for thread, named in enumerate(self.system.threads):
            if thread != asleep and named.cpu == cpu and self.started(thread):
                result = self.step(thread)
                self.load(state)
                if result not in (BLOCKED, ENDED):
                    return thread
        return None

    def depth(self, run: Run) -> int:
        """How deep in functions of the model the point is at which a run ended; a lock is deeper than any of them."""
        if run.last is None:
            return 0
        point = min(self.points.between(*run.last), key=lambda one: (one.function in LOCKS, one.depth))
        # Before that test pages are migrated, which the model leaves out, and which needs all CPUs.
        migrated = point.model == "test_pages_isolated" and point.at is At.ENTRY
        return point.depth + (_DEEPEST if point.function in LOCKS or migrated else 0)

    # ---- all CPUs

    def run_on(self, state: bytes) -> bool:
        """Whether all threads can come to their end once nothing is held, whoever gets ahead of whom."""
        threads = [n for n, named in enumerate(self.system.threads) if named.daemon or n in self.actors]
        return any(
            self._all_end(state, order, turn)
            for order in (threads, threads[::-1])
            for turn in (1, 500)  # steps a thread takes before the next has its turn
        )

    def _all_end(self, state: bytes, order: Sequence[int], turn: int) -> bool:
        self.load(state)
        seen = set()
        while (now := self.state) not in seen:
            seen.add(now)
            for thread in order:
                for _ in range(turn):
                    if self.step(thread) in (BLOCKED, ENDED):
                        break
            if all(self.ended(thread) for thread in self.actors):
                return True
        return False
