# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore all states of a system, level by level, and give the shortest way to each violation."""

from __future__ import annotations

import ctypes
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pagelab.check import engine_layout as at
from pagelab.check.engine_code import function
from pagelab.check.memory import Block, Numbers, Reserved, Shorts
from pagelab.check.touches import properties_touched, stops_of
from pagelab.check.visited import BITSTATE, FULL, SLOT_BYTES, Visited
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import FAULTED

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.check.reduction import Reduction

#: States expanded by a worker between two looks at the clock and the keyboard.
SLICE = 1 << 16
#: Seconds between two reports of progress.
LOOK_EVERY = 0.1
#: A level of fewer states is not worth a second thread.
WORTH_SHARING = 1 << 12
FIRST_SLOTS = 1 << 12
#: The visited set grows when this share of its slots is taken, by that factor.
FULL_AT, GROWTH = 0.72, 1.5
#: Parent and step of a state.
PATH_BYTES = 4 + 2
#: State numbers have 32 bits, and one is kept for "none".
MOST_STATES = (1 << 32) - 2
#: Address space that is reserved at most: nobody has so much memory, and it costs nothing.
MOST_RESERVED = 1 << 42


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps from the initial state to a violation: (thread, choice) each."""

    steps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Violation:
    """What was violated: ``kind`` "invariant", "deadlock" or "fault", and the invariant's or fault's number ``which``.

    ``schedule`` has the fewest steps that lead there, if nothing was reduced.
    """

    kind: str
    which: int
    words: str
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    ``verdict``: "holds", "violated" or "inconclusive"; ``violation`` and ``schedule`` are those of the first of the
    ``violations``, "" and None if there are none.  ``states`` are distinct states, ``depth`` the number of levels,
    ``memory_bytes`` what was used.  ``reduction`` says in words what was left out because it makes no difference.
    ``interrupted``: by Ctrl-C.  ``complete``: all states were explored.  ``fairness`` and ``fairness_needed``: of a
    property of runs, see :mod:`pagelab.check.liveness`.
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
    violations: tuple[Violation, ...] = ()
    reduction: str = "none"
    odds: str = ""
    deadlocks: int = 0
    interrupted: bool = False
    complete: bool = False
    fairness: str = ""
    fairness_needed: str = ""


def in_parallel(work: Callable[[int], int], workers: int, give_up: Callable[[], None] = lambda: None) -> list[int]:
    """What the work of each worker returned; the first of them is this thread.

    :param give_up: called if this thread is interrupted, for the others not to wait for it.
    """
    results = [0] * workers

    def keep(number: int) -> None:
        results[number] = work(number)

    others: list[threading.Thread] = []
    try:
        for number in range(1, workers):
            other = threading.Thread(target=keep, args=(number,))
            other.start()
            others.append(other)
        keep(0)
    except BaseException:
        give_up()
        raise
    finally:
        for other in others:
            other.join()
    return results


class Search:
    """A breadth-first search of one system from one initial state.

    :param max_states: stop as inconclusive when so many states are stored.
    :param max_memory: stop as inconclusive when more bytes would be used.
    :param workers: how many cores to use.
    :param reduce: what to leave out; None: every interleaving is explored.
    :param go_on: whether to explore all there is after something was violated.
    :param visited: what to keep of states that were visited.
    """

    def __init__(
        self,
        system: System,
        initial: npt.NDArray[uint8] | bytearray,
        *,
        max_states: int = MOST_STATES,
        max_memory: int = 1 << 34,
        workers: int = 1,
        reduce: Reduction | None = None,
        go_on: bool = False,
        visited: Visited = FULL,
    ) -> None:
        self.system, self.reduce, self.go_on, self.visited = system, reduce, go_on, visited
        self.max_states, self.max_memory = max_states, max_memory
        # Bits are set without locking the bus.
        self.workers = min(workers, at.MAX_WORKERS) if visited is not BITSTATE else 1
        self.bytes = system.bytes
        self.invariants = len(system.invariants)
        self._released = 0
        self.initial = initial.copy()  # which numpy's arrays and bytearrays have
        self.region = self._room()
        states = self.region * self.workers
        self.arena = Reserved(states * self.bytes)
        self.parent, self.via = Reserved(states * 4), Reserved(states * 2)
        self.shared = Block(at.SHARED_WORDS)
        self._found: list[Block] = []
        self._rings: list[Block] = []
        self._kept: list[object] = []
        self.own = [self._worker(number) for number in range(self.workers)]
        self._describe()
        self.slots, self.table = 0, Reserved(1)
        self._grow(FIRST_SLOTS if visited is not BITSTATE else self._words_of_bits())
        self._begin(bytes(initial))

    # ---- memory

    def _room(self) -> int:
        """States that fit the limits, a worker."""
        least = PATH_BYTES + (self.bytes + SLOT_BYTES if self.visited.whole else 0)
        states = min(self.max_memory // least, MOST_STATES, MOST_RESERVED // (self.bytes + PATH_BYTES))
        return max(states // self.workers, 2 * at.RING_SIZE)

    def _words_of_bits(self) -> int:
        """64-bit words of a table of bits: a power of two, at most a quarter of the memory."""
        return 1 << max((self.max_memory // 4 // SLOT_BYTES).bit_length() - 1, 10)

    def _worker(self, number: int) -> Block:
        own = Block(at.OWN_WORDS)
        ring = Block(at.RING_SIZE * (self.bytes // 8 + at.RING_ENTRY_WORDS))
        found = Block(at.FOUND_WORDS * (self.invariants + 1 + len(self.system.faults)))
        own[at.NUMBER], own[at.RING], own[at.FOUND] = number, ring.address, found.address
        self.shared[at.OWNS + number] = own.address
        self._found.append(found)
        self._rings.append(ring)
        return own

    def _describe(self) -> None:
        """Tell the engine of the system."""
        system, shared = self.system, self.shared
        idle = [at.NEVER_IDLE] * len(system.threads)
        for t, thread in enumerate(system.threads):
            if thread.daemon:
                idle[t] = system.pc(self.initial, t)
        for name, numbers in ((at.IDLE, idle), (at.BASES, system.bases)):
            block = Shorts(numbers)
            self._kept.append(block)
            shared[name] = block.address
        shared[at.WORDS], shared[at.THREADS] = self.bytes // 8, len(system.threads)
        shared[at.INVARIANTS], shared[at.WORKERS] = self.invariants, self.workers
        shared[at.ARENA], shared[at.PARENT], shared[at.VIA] = (
            block.address for block in (self.arena, self.parent, self.via)
        )
        shared[at.PC_MASK] = (1 << 8 * system.pc_bytes) - 1
        steps = Numbers(system.steps)
        self._kept.append(steps)
        shared[at.STEPS], shared[at.GOOD] = steps.address, system.address["good"]
        shared[at.REGION], shared[at.STORE] = self.region, self.visited.code
        shared[at.SHARED_FROM], shared[at.GO_ON] = WORTH_SHARING, self.go_on
        shared[at.STEP_BY_STEP] = not self.visited.whole
        shared[at.YIELD] = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
        touched = array("I", properties_touched(system))
        self._kept.append(touched)
        shared[at.TOUCHED], shared[at.STOPS] = touched.buffer_info()[0], stops_of(system)
        if self.reduce is not None:
            self.reduce.describe(shared, self._kept)

    def _grow(self, slots: int) -> None:
        """A larger table, with what the old one holds."""
        table = Reserved(slots * SLOT_BYTES)
        old, shares = self.slots, self.workers if self.slots >= WORTH_SHARING else 1

        def share(number: int) -> int:
            begin, end = old * number // shares, old * (number + 1) // shares
            return function("rehash")(self.table.address, begin, end, table.address, slots)

        in_parallel(share, shares)
        self.table, self.slots = table, slots
        self.shared[at.TABLE], self.shared[at.SLOTS] = table.address, slots
        self._share_room()

    def _share_room(self) -> None:
        """How many states each worker may store before the table, or a limit, is full."""
        most = self.max_states + 2 * at.RING_SIZE * self.workers
        if self.visited is not BITSTATE:
            most = min(int(self.slots * FULL_AT), most)
        room = max(most - self.states, 0) // self.workers
        for own in self.own:
            own[at.LIMIT] = min(own[at.COUNT] + room, self.region)

    @property
    def depth(self) -> int:
        """Levels that were expanded."""
        return self.shared[at.DEPTH]

    @property
    def states(self) -> int:
        """States stored."""
        return sum(own[at.COUNT] for own in self.own)

    @property
    def memory_bytes(self) -> int:
        """What is used: states, how they were reached, the table."""
        kept = self.states if self.visited.whole else self.states - self._released
        return kept * self.bytes + self.states * PATH_BYTES + self.slots * SLOT_BYTES

    def _make_room(self) -> bool:
        """More room, if the limits allow."""
        if (
            self.visited is BITSTATE
            or self.states >= self.max_states
            or any(own[at.COUNT] + at.RING_SIZE >= self.region for own in self.own)
        ):
            return False
        slots = int(self.slots * GROWTH)
        # While it grows, old and new exist side by side.
        if self.memory_bytes + slots * SLOT_BYTES > self.max_memory:
            return False
        try:
            self._grow(slots)
        except MemoryError:
            return False
        return True

    # ---- the search

    def _begin(self, initial: bytes) -> None:
        """Store the initial state, or the one that safe steps lead to from there."""
        ctypes.memmove(self._rings[0].address + 8 * at.RING_ENTRY_WORDS, initial, self.bytes)
        self._failed_at_once = function("begin")(self.shared.address, self.own[0].address) >= FAULTED

    def run(self, progress: Callable[[Outcome], None] = lambda outcome: None) -> Outcome:
        """Search to the end, to the first violation, or to a limit; Ctrl-C ends it with what it has."""
        begin = shown = time.perf_counter()
        verdict = "inconclusive"

        def look() -> None:
            nonlocal shown
            if time.perf_counter() - shown > LOOK_EVERY:
                shown = time.perf_counter()
                progress(self.outcome("inconclusive", begin))

        try:
            while True:
                if self._anything_found() and not self.go_on:
                    break
                if not self._next_level():
                    verdict = "holds"
                    break
                if not self._levels(look):
                    break
        except KeyboardInterrupt:
            return replace(self.outcome(verdict, begin), interrupted=True)
        return self.outcome(verdict, begin)

    def _next_level(self) -> bool:
        """The states found since the last level began are the next one; False if there are none."""
        if not self.visited.whole:
            self._release()
        return function("next_level")(self.shared.address) != 0

    def _release(self) -> None:
        """Forget the states of the level that has been expanded."""
        for own in self.own:
            number = own[at.NUMBER]
            first = number * self.region
            end = max(self.shared[at.ENDS + number], first)
            self.arena.release(first * self.bytes, end * self.bytes)
        self._released = sum(
            max(self.shared[at.ENDS + own[at.NUMBER]] - own[at.NUMBER] * self.region, 0) for own in self.own
        )

    def _levels(self, look: Callable[[], None]) -> bool:
        """Expand all states of the level, and of those after it that need no decision; False if a limit came first."""
        size = sum(self.shared[at.ENDS + w] - self.shared[at.CURSORS + w] for w in range(self.workers))
        active = self.own if size >= WORTH_SHARING else self.own[:1]
        while True:
            for own in active:
                own[at.BUDGET] = SLICE
            self.shared[at.ACTIVE], self.shared[at.ARRIVED], self.shared[at.LEAVE] = len(active), 0, 0
            results = in_parallel(
                lambda number: function("explore")(self.shared.address, active[number].address),
                len(active),
                self._call_back,
            )
            look()
            if at.FULL in results:
                self._share_room()
                if any(own[at.LIMIT] <= own[at.COUNT] + at.RING_SIZE for own in active) and not self._make_room():
                    return False
            elif at.PAUSED not in results:
                self.shared[at.DEPTH] += 1
                return True

    def _call_back(self) -> None:
        """Have the workers return."""
        self.shared[at.LEAVE] = 1

    def stored(self) -> Iterator[npt.NDArray[uint8]]:
        """All states that were stored, one after the other."""
        import numpy as np

        for own in self.own:
            first = own[at.NUMBER] * self.region
            for i in range(first, first + own[at.COUNT]):
                yield np.frombuffer(self.arena.read(i * self.bytes, self.bytes), np.uint8)

    # ---- what was found

    def _anything_found(self) -> bool:
        return any(own[at.NOTED] for own in self.own)

    @property
    def _kinds(self) -> int:
        return self.invariants + 1 + len(self.system.faults)

    def violations(self) -> tuple[Violation, ...]:
        """The first violation of each kind, those with the fewest steps first."""
        some = []
        for which in range(self._kinds):
            for found in self._found:
                base = at.FOUND_WORDS * which
                if found[base]:
                    state, thread, choice, _ = (found[base + k] for k in range(1, 5))
                    some.append(self._violation(which, state, thread, choice))
                    break
        return tuple(sorted(some, key=lambda violation: len(violation.schedule.steps)))

    def _violation(self, which: int, state: int, thread: int, choice: int) -> Violation:
        steps = self._steps_to(state)
        if which < self.invariants:
            name = self.system.invariants[which].__name__
            return Violation("invariant", which, f"{name} does not hold", self._schedule(steps))
        if which == self.invariants:
            return Violation("deadlock", 0, "deadlock", self._schedule(steps))
        number = which - self.invariants - 1
        fault = self.system.faults[number]
        if not self._failed_at_once:
            steps.append((thread, choice))
        words = f"{fault.what} ({fault.frame[0]}, {fault.frame[1]}:{fault.frame[2]})"
        return Violation("fault", number, words, self._schedule(steps))

    def _steps_to(self, state: int) -> list[tuple[int, int]]:
        """The steps to a stored state, without the safe ones that were taken at once."""
        steps = []
        while state:
            via = int.from_bytes(self.via.read(2 * state, 2), "little")
            steps.append((via % 256, via // 256))
            state = int.from_bytes(self.parent.read(4 * state, 4), "little")
        steps.reverse()
        return steps

    def _schedule(self, steps: list[tuple[int, int]]) -> Schedule:
        if self.reduce is not None:
            import numpy as np

            steps = self.reduce.fill_in(np.frombuffer(self.initial, np.uint8), steps)
        return Schedule(tuple(steps))

    def outcome(self, verdict: str, begin: float) -> Outcome:
        """What is known by now."""
        done = verdict != "inconclusive" or self._anything_found()
        violations = self.violations() if done and self._anything_found() else ()
        first = violations[0] if violations else None
        return Outcome(
            verdict="violated" if violations else verdict,
            violation=first.words if first else "",
            states=self.states,
            transitions=sum(own[at.TRANSITIONS] for own in self.own),
            depth=max(self.depth - 1, 0) if verdict == "holds" else self.depth,
            finished=sum(own[at.FINISHED] for own in self.own),
            seconds=time.perf_counter() - begin,
            memory_bytes=self.memory_bytes,
            schedule=first.schedule if first else None,
            violations=violations,
            reduction="none" if self.reduce is None else self.reduce.words,
            odds=self.visited.odds(self.states, self.slots * 64),
            deadlocks=sum(own[at.DEADLOCKS] for own in self.own),
            complete=verdict == "holds",
        )
