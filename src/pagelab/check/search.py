# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore all states of a system: grow as needed, stop at the first violation, give the shortest way to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pagelab.check import engine
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import FAULTED

if TYPE_CHECKING:
    import numpy.typing as npt

#: States expanded between two looks at the clock and the keyboard.
SLICE = 1 << 17
FIRST_CAPACITY = 1 << 16


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps from the initial state to a violation: (thread, choice) each."""

    steps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    ``verdict``: "holds", "violated" or "inconclusive"; ``violation``: what was violated, in words, "" if nothing.
    ``states`` are distinct states, ``depth`` the number of steps to the farthest; ``memory_bytes`` what was reserved.
    """

    verdict: str
    violation: str
    states: int
    transitions: int
    depth: int
    finished: int
    seconds: float
    memory_bytes: int
    schedule: Schedule | None


class Search:
    """A breadth-first search of one system from one initial state.

    :param max_states: stop as inconclusive when so many states are stored.
    :param max_memory: stop as inconclusive when more bytes would be reserved.
    """

    def __init__(
        self,
        system: System,
        initial: npt.NDArray[np.uint8],
        *,
        max_states: int = 1 << 31,
        max_memory: int = 1 << 34,
    ) -> None:
        self.system = system
        self.words = system.bytes // 8
        self.max_states, self.max_memory = max_states, max_memory
        self.counters = np.zeros(engine.COUNTERS, np.int64)
        self.counters[engine.COUNT] = 1
        self.counters[engine.LEVEL_END] = 1
        self.daemons = np.array([thread.daemon for thread in system.threads], np.bool_)
        self.capacity = 0
        self.arena = np.zeros(self.words, np.uint64)
        self.parent = np.zeros(1, np.uint32)
        self.via = np.zeros(1, np.uint16)
        self.arena[:] = initial.view(np.uint64)
        self._grow(FIRST_CAPACITY)

    @property
    def memory_bytes(self) -> int:
        """What is reserved."""
        return sum(a.nbytes for a in (self.arena, self.parent, self.via, self.table, self.tags))

    def _bytes_for(self, capacity: int) -> int:
        slots = self._slots_for(capacity)
        return capacity * (self.words * 8 + 4 + 2) + slots * (4 + 2)

    @staticmethod
    def _slots_for(capacity: int) -> int:
        """A power of two, at most three quarters full."""
        return 1 << max(int(np.ceil(np.log2(capacity * 4 / 3))), 4)

    def _grow(self, capacity: int) -> None:
        count = int(self.counters[engine.COUNT])
        for name, per_state in (("arena", self.words), ("parent", 1), ("via", 1)):
            old = getattr(self, name)
            new = np.zeros(capacity * per_state, old.dtype)
            new[: count * per_state] = old[: count * per_state]
            setattr(self, name, new)
        slots = self._slots_for(capacity)
        self.table = np.zeros(slots, np.uint32)
        self.tags = np.zeros(slots, np.uint16)
        engine.rehash(self.arena, self.words, count, self.table, self.tags)
        self.capacity = capacity

    def run(self, progress: Callable[[Outcome], None] = lambda outcome: None) -> Outcome:
        """Search to the end, to the first violation, or to a limit; Ctrl-C ends it with what it has."""
        begin = time.perf_counter()
        result = self._invariants_at_start()
        try:
            while result not in (engine.DONE, engine.VIOLATED):
                result = self._explore()
                if result == engine.FULL and not self._make_room():
                    break
                progress(self.outcome("inconclusive", time.perf_counter() - begin))
        except KeyboardInterrupt:
            result = engine.PAUSED
        verdict = {engine.DONE: "holds", engine.VIOLATED: "violated"}.get(result, "inconclusive")
        return self.outcome(verdict, time.perf_counter() - begin)

    def _invariants_at_start(self) -> int:
        for k in range(len(self.system.invariants)):
            verdict = self.system.good(self.arena[: self.words].view(np.uint8), k)
            if verdict != 1:
                self.counters[engine.FOUND] = engine.INVARIANT
                self.counters[engine.FOUND_THREAD], self.counters[engine.FOUND_RESULT] = k, verdict
                return engine.VIOLATED
        return engine.PAUSED

    def _explore(self) -> int:
        return int(
            engine.explore(
                self.system.address["step"],
                self.system.address["good"],
                len(self.system.threads),
                len(self.system.invariants),
                self.daemons,
                self.words,
                self.arena,
                self.arena.ctypes.data,
                self.table,
                self.tags,
                self.parent,
                self.via,
                self.capacity,
                self.counters,
                SLICE,
            )
        )

    def _make_room(self) -> bool:
        """Twice the room, or as much as the limits allow; False if that is none."""
        count = int(self.counters[engine.COUNT])
        if count >= self.max_states:
            return False
        capacity = self.capacity * 2
        # While it grows, old and new exist side by side.
        if self._bytes_for(capacity) + self.memory_bytes > self.max_memory:
            return False
        self._grow(capacity)
        return True

    def outcome(self, verdict: str, seconds: float) -> Outcome:
        """What is known by now."""
        counters = [int(c) for c in self.counters]
        violated = verdict == "violated"
        return Outcome(
            verdict=verdict,
            violation=self._violation() if violated else "",
            states=counters[engine.COUNT],
            transitions=counters[engine.TRANSITIONS],
            depth=counters[engine.DEPTH],
            finished=counters[engine.FINISHED],
            seconds=seconds,
            memory_bytes=self.memory_bytes,
            schedule=self.schedule() if violated else None,
        )

    def _violation(self) -> str:
        kind, which, result = (int(self.counters[c]) for c in (engine.FOUND, engine.FOUND_THREAD, engine.FOUND_RESULT))
        if kind == engine.DEADLOCK:
            return "deadlock"
        if result >= FAULTED:
            fault = self.system.faults[result - FAULTED]
            return f"{fault.what} ({fault.frame[0]}, {fault.frame[1]}:{fault.frame[2]})"
        return f"{self.system.invariants[which].__name__} does not hold"

    def schedule(self) -> Schedule:
        """The steps to the violation; breadth-first search makes them as few as possible."""
        steps = []
        if int(self.counters[engine.FOUND]) == engine.FAULT:
            steps.append((int(self.counters[engine.FOUND_THREAD]), int(self.counters[engine.FOUND_CHOICE])))
        state = int(self.counters[engine.FOUND_STATE])
        while state:
            via = int(self.via[state])
            steps.append((via % 256, via // 256))
            state = int(self.parent[state])
        return Schedule(tuple(reversed(steps)))
