# SPDX-License-Identifier: GPL-2.0-or-later
"""The shortest way into a fair cycle and once round it, or to a state in which nothing goes on.

The length of a lasso is that of the way to the cycle and the cycle together.  For each state on fair cycles, those
nearest to the initial state first, the shortest fair way back to it is searched, for as long as that can make a
shorter lasso than the best one so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pagelab.check import liveness_layout as at
from pagelab.check.engine_code import function
from pagelab.check.memory import Block

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.fair_cycles import Demands
    from pagelab.check.state_graph import StateGraph

    Labels = npt.NDArray[np.uint32]

#: Pairs of a state and what threads have seen that are kept at once, and edges that are looked at altogether.
ENTRIES, WORK = 1 << 20, 1 << 25

Steps = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Way:
    """Steps (thread, choice) from the initial state to state ``entry``, and from there round and back to it.

    Without ``cycle`` nothing goes on in ``entry``.  ``shortest``: it is proven that there is none with fewer steps.
    """

    prefix: Steps
    cycle: Steps
    entry: int
    shortest: bool


class _RoundTrips:
    """Searches for shortest fair ways from a state back to it."""

    def __init__(self, graph: StateGraph, labels: Labels, demands: Demands, entries: int) -> None:
        self.graph = graph.block()
        slots = 1 << (2 * entries - 1).bit_length()
        self.parents, self.places = (np.empty(entries, np.uint32) for _ in range(2))
        self.keys, self.steps = np.empty(entries, np.uint64), np.empty(entries, np.uint16)
        self.seen = np.zeros(slots, np.uint64)
        self.block = Block(at.SEARCH_WORDS)
        for name, array in (
            (at.LABELS, labels),
            (at.COULD, demands.could),
            (at.OTHERWISE, demands.otherwise),
            (at.IN_TURN, demands.in_turn),
            (at.KEYS, self.keys),
            (at.PARENTS, self.parents),
            (at.STEPS, self.steps),
            (at.PLACES, self.places),
            (at.SEEN, self.seen),
        ):
            self.block[name] = array.ctypes.data
        self.block[at.EVERYBODY] = graph.everybody
        self.block[at.SEEN_SLOTS], self.block[at.ENTRIES] = slots, entries

    @property
    def work(self) -> int:
        """Edges looked at so far."""
        return self.block[at.WORK]

    def shortest(self, start: int, bound: int) -> int:
        """Its length, NONE if there is none of at most ``bound`` steps, NO_ROOM if that is not known."""
        return function("round_trip")(self.graph.address, self.block.address, start, bound)

    def way(self) -> Steps:
        """The steps of the one that was found last."""
        vias = [self.block[at.LAST_STEP]]
        entry = self.block[at.LAST_ENTRY]
        while entry:
            vias.append(int(self.steps[entry]))
            entry = int(self.parents[entry])
        return _steps(reversed(vias))


def shortest_lasso(
    graph: StateGraph, labels: Labels, demands: Demands, *, entries: int = ENTRIES, work: int = WORK
) -> Way:
    """The shortest lasso whose cycle is fair.

    :param labels: by :func:`~pagelab.check.fair_cycles.fair_components`; not all are 0.
    :param entries: bounds the memory of an exact search.
    :param work: bounds its time, in edges.  With too many threads, or beyond these bounds, a cycle goes from one demand
        to the nearest next one.
    """
    candidates = np.flatnonzero(labels)
    depth = graph.depth
    nearest = int(candidates[0])
    best, entry = 1 << 62, nearest
    cycle: Steps = ()
    exact = graph.threads <= at.MOST_THREADS
    if exact:
        trips = _RoundTrips(graph, labels, demands, max(entries, 256 * graph.threads + 2))
        for start in candidates.tolist():
            before = int(depth[start])
            if before + 1 >= best or not exact:
                break
            length = trips.shortest(start, min(best - before - 1, 1 << 40))
            if length > 0:
                best, cycle, entry = before + length, trips.way(), start
            exact = length != at.NO_ROOM and trips.work <= work
    if not cycle:
        cycle = from_demand_to_demand(graph, labels, demands, nearest)
    return Way(way_to(graph, entry, cycle[0][0]), cycle, entry, exact)


def way_to(graph: StateGraph, goal: int, following: int = -1) -> Steps:
    """The shortest way to a state; of those the one with the fewest preemptions, then switches.

    :param following: the thread that goes on from there, -1 if none does.
    """
    costs = np.zeros((goal + 1, graph.threads), np.uint32)
    if following >= 0:
        costs[goal] = at.INFINITE
        costs[goal, following] = 0
    block = graph.block()
    function("readable")(block.address, goal, costs.ctypes.data)
    state = 0
    thread = int(costs[0].argmin())
    vias = []
    while state != goal:
        via, state, thread = _cheapest_step(graph, costs, state, thread)
        vias.append(via)
    return _steps(vias)


def _cheapest_step(graph: StateGraph, costs: Labels, state: int, thread: int) -> tuple[int, int, int]:
    """A step of the thread that keeps to the costs: what it is, where it leads, who goes on from there."""
    found = []
    goal = len(costs) - 1
    for via, target in graph.edges(state):
        if via & 0xFF == thread and target <= goal and graph.depth[target] == graph.depth[state] + 1:
            able = int(graph.enabled[target]) >> thread & 1
            for following in range(graph.threads):
                if costs[target, following] != at.INFINITE:
                    change = 0 if following == thread else at.SWITCH + at.PREEMPTION * able
                    found.append((int(costs[target, following]) + change, via, target, following))
    return min(found)[1:]


def from_demand_to_demand(graph: StateGraph, labels: Labels, demands: Demands, start: int) -> Steps:
    """Some fair way round: to the nearest of what is still demanded, from there to the next, and back."""
    inside = np.flatnonzero(labels == labels[start])
    could = int(np.bitwise_or.reduce(demands.could[inside] | demands.in_turn[inside]))
    steppers = could & _steppers(graph, labels == labels[start])
    waiters = could & ~steppers
    vias: list[int] = []
    state = start
    while True:
        waiters &= ~int(demands.otherwise[state])
        last = not steppers and not waiters
        goal = start if last else graph.states
        if last and state == start and vias:
            return _steps(vias)
        part, state = _nearest(graph, labels, state, goal, steppers, waiters, demands.otherwise)
        vias += part
        steppers &= ~(1 << (part[-1] & 0xFF))


def _steppers(graph: StateGraph, inside: npt.NDArray[np.bool_]) -> int:
    """Who takes steps from one to another of some states."""
    edges = np.repeat(inside, np.diff(graph.offsets)) & inside[graph.targets]
    return sum(1 << int(thread) for thread in np.unique(graph.vias[edges] & 0xFF))


def _nearest(
    graph: StateGraph, labels: Labels, start: int, goal: int, steppers: int, waiters: int, otherwise: Labels
) -> tuple[list[int], int]:
    """The shortest way to a state, a step or a wait that is wanted, and where it leads."""
    scratch = np.zeros((2, graph.states + 1), np.uint32)
    via = np.empty(graph.states + 1, np.uint16)
    arrays = (otherwise.ctypes.data, scratch.ctypes.data, via.ctypes.data)
    block = graph.block()
    wanted = (start, goal, steppers, waiters)
    reached = function("nearest")(block.address, labels.ctypes.data, *wanted, *arrays)
    assert reached >= 0, "a component is connected, and has all that is demanded"
    queue, before = scratch
    vias, state = [], graph.states
    while True:
        vias.append(int(via[state]))
        place = int(before[state])
        state = int(queue[place - 1])
        if place == 1:
            return vias[::-1], reached


def _steps(vias: Iterable[int]) -> Steps:
    return tuple((via & 0xFF, via >> 8) for via in vias)
