# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether threads come to their end in every fair run, and if not, a run that goes round for ever.

See docs/explanation/liveness.md for what fairness means here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagelab.check.search import MOST_STATES, Outcome, Schedule, Search

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import bool_, uint8, uint32

    from pagelab.check.lasso import Way
    from pagelab.check.model_file import Model
    from pagelab.check.state_graph import StateGraph
    from pagelab.lang.stepped import System

#: The share of the memory that is for the states; the rest is for what is worked out of them.
STATES_SHARE = 3


@dataclass(frozen=True, slots=True)
class Lasso:
    """A run in which threads do not end: ``prefix`` once, then ``cycle`` for ever.

    ``kind``: "cycle", or, where ``cycle`` is empty, "deadlock", or "fault" if there is nothing else.  ``starving``: the
    threads that do not end.  ``words``: who they are, where they wait or go round, and who else takes steps.
    ``shortest``: it is proven that there is no run of this kind with fewer steps in both together.
    """

    kind: str
    prefix: Schedule
    cycle: Schedule
    starving: tuple[int, ...]
    words: str
    shortest: bool


@dataclass(frozen=True, slots=True)
class LivenessOutcome:
    """What was found.

    ``verdict``: "holds", "violated" or "inconclusive" under ``fairness``.  ``fairness_needed``: the weakest fairness
    under which it holds; "" if it holds under none, or that is not known.  ``complete``: all states were explored.  The
    numbers are those of :class:`~pagelab.check.search.Outcome`.
    """

    verdict: str
    fairness: str
    fairness_needed: str
    states: int
    transitions: int
    depth: int
    seconds: float
    memory_bytes: int
    lasso: Lasso | None = None
    interrupted: bool = False
    complete: bool = False


def check_liveness(
    system: System,
    initial: npt.NDArray[uint8],
    fairness: str,
    targets: Sequence[int] | None = None,
    *,
    max_states: int = MOST_STATES,
    max_memory: int = 1 << 34,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> LivenessOutcome:
    """Check that every fair run brings threads to their end; every interleaving is explored.

    :param fairness: "none", "weak" or "fifo-locks".
    :param targets: the threads that have to end; all that are no daemons if it is None.
    :raises BadInput: for more threads than a set has room for.
    """
    from pagelab.check.state_graph import bytes_needed, graph_of

    begin = time.perf_counter()
    search = Search(
        system, initial, max_states=max_states, max_memory=max_memory // STATES_SHARE, workers=1, go_on=True
    )
    found = search.run(progress)
    memory = found.memory_bytes + bytes_needed(found.states, found.transitions)

    def outcome(
        verdict: str, needed: str = "", lasso: Lasso | None = None, *, stopped: bool = False, complete: bool = False
    ) -> LivenessOutcome:
        seconds = time.perf_counter() - begin
        numbers = (found.states, found.transitions, found.depth, seconds, memory)
        return LivenessOutcome(verdict, fairness, needed, *numbers, lasso, stopped, complete)

    if found.interrupted or memory > max_memory:
        return outcome("inconclusive", stopped=found.interrupted)
    if targets is None:
        targets = [t for t, thread in enumerate(system.threads) if not thread.daemon]
    try:
        judged = _Judge(system, initial, graph_of(search, found.transitions), targets)
        needed, lasso = judged.judge(fairness)
    except KeyboardInterrupt:
        return outcome("inconclusive", stopped=True)
    if lasso is not None:
        return outcome("violated", needed, lasso, complete=judged.everything)
    return outcome("holds" if judged.everything else "inconclusive", needed, complete=judged.everything)


class _Judge:
    """Looks for runs of a graph in which the targets do not end."""

    def __init__(self, system: System, initial: npt.NDArray[uint8], graph: StateGraph, targets: Sequence[int]) -> None:
        self.system, self.initial, self.graph = system, initial, graph
        self.targets = sum(1 << t for t in targets)
        self.everything = graph.complete == graph.states
        #: States in which not all of them have ended.
        self.going: npt.NDArray[bool_] = graph.ended & self.targets != self.targets
        self.going[graph.complete :] = False

    def judge(self, fairness: str) -> tuple[str, Lasso | None]:
        """The weakest fairness under which they end, if that is known, and a lasso if it is not this one."""
        from pagelab.check.fair_cycles import FAIRNESS, demands_of, fair_components
        from pagelab.check.lasso import shortest_lasso

        stuck = self._deadlock()
        if stuck is not None:
            return "", stuck
        fails = self._fault()
        within = self.going
        lasso = None
        for kind in FAIRNESS:
            demands = demands_of(self.graph, kind)
            labels: npt.NDArray[uint32] = fair_components(self.graph, demands, within)
            if not labels.any():
                return (kind if self.everything and fails is None else ""), lasso or fails
            if kind == fairness:
                lasso = self._lasso("cycle", shortest_lasso(self.graph, labels, demands))
            within = labels != 0  # what a weaker fairness rules out, a stronger one does too
        return "", lasso

    def _deadlock(self) -> Lasso | None:
        """The nearest state in which nothing goes on, though not all have ended."""
        import numpy as np

        from pagelab.check.lasso import Way, way_to

        stuck = np.flatnonzero(self.going & (self.graph.enabled == 0))
        if not len(stuck):
            return None
        state = int(stuck[0])
        return self._lasso("deadlock", Way(way_to(self.graph, state), (), state, True))

    def _fault(self) -> Lasso | None:
        """The nearest step that faults before all have ended; what other properties are about, if there is a cycle."""
        import numpy as np

        from pagelab.check.lasso import Way, way_to
        from pagelab.lang.stepped_text import FAULTED

        failing = np.flatnonzero(self.going & (self.graph.failing != 0))
        if not len(failing):
            return None
        state = int(failing[0])
        thread = (int(self.graph.failing[state]) & -int(self.graph.failing[state])).bit_length() - 1
        way = way_to(self.graph, state, thread)
        before = self.initial.copy()
        for other, choice in way:
            self.system.step(before, other, choice)
        choice = next(c for c in range(256) if self.system.step(before.copy(), thread, c) >= FAULTED)
        return self._lasso("fault", Way((*way, (thread, choice)), (), state, True))

    def _lasso(self, kind: str, way: Way) -> Lasso:
        from pagelab.check.lasso_words import tell

        missing = self.targets & ~int(self.graph.ended[way.entry])
        starving = tuple(t for t in range(self.graph.threads) if missing >> t & 1)
        words = tell(self.system, self.initial, kind, way, starving)
        return Lasso(kind, Schedule(way.prefix), Schedule(way.cycle), starving, words, way.shortest)


def confirm_lasso(model: Model, system: System, lasso: Lasso) -> None:
    """Run a lasso in CPython, twice round, comparing all tables after each step.

    :raises RuntimeError: if it is none, or CPython and the compiled machine disagree: a defect of pagelab.
    """
    from pagelab.check.cpython import CPythonRun, NotEnabled, differences
    from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, NO_CHOICE

    state = system.initial(model.setup)
    with CPythonRun.of(system) as run:
        entered = None
        for part in (lasso.prefix, lasso.cycle, lasso.cycle):
            for thread, choice in part.steps:
                result = system.step(state, thread, choice)
                if result in (BLOCKED, ENDED, NO_CHOICE):
                    raise RuntimeError(f"{system.threads[thread].name} cannot take a step of the run that was found")
                try:
                    run.step(thread, choice)
                except NotEnabled as error:
                    raise RuntimeError(f"CPython cannot take a step of the run that was found: {error}") from error
                except AssertionError:
                    if result < FAULTED:
                        raise
                if result >= FAULTED:
                    return
                unequal = differences(system.tables, lambda table: system.rows(table, state))
                if unequal:
                    raise RuntimeError(f"CPython and compiled code disagree: {unequal[0]}")
            if entered is not None and state.tobytes() != entered:
                raise RuntimeError("the cycle that was found does not end where it began")
            entered = state.tobytes()
