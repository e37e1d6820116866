# SPDX-License-Identifier: GPL-2.0-or-later
"""Fair cycles and shortest lassos of small random graphs, against all sets of states and all ways tried one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagelab.check.fair_cycles import FAIRNESS, demands_of, fair_components
from pagelab.check.lasso import Steps, from_demand_to_demand, shortest_lasso, way_to
from pagelab.check.state_graph import StateGraph

Step = tuple[int, int]  # thread, target


class Plain:
    """A graph as plain Python: the steps of each state, and what a thread that cannot take one waits for."""

    def __init__(self, steps: list[list[Step]], lacks_cpu: list[set[int]], at_lock: list[set[int]]) -> None:
        order = [0]
        for state in order:
            order += [j for j in dict.fromkeys(j for _, j in steps[state]) if j not in order]
        number = {state: i for i, state in enumerate(order)}
        self.threads = 3
        self.steps = [[(t, number[j]) for t, j in sorted(steps[i])] for i in order]
        self.enabled = [{t for t, _ in some} for some in self.steps]
        self.lacks_cpu = [lacks_cpu[i] - self.enabled[number[i]] for i in order]
        self.at_lock = [at_lock[i] for i in order]
        self.states = range(len(order))
        self.depth = [0] * len(order)
        for j in self.states[1:]:
            self.depth[j] = 1 + min(self.depth[i] for i in self.states[:j] if any(k == j for _, k in self.steps[i]))

    def graph(self) -> StateGraph:
        def sets(some: list[set[int]]) -> Any:
            return np.array([sum(1 << t for t in one) for one in some], np.uint32)

        flat = [step for some in self.steps for step in some]
        return StateGraph(
            self.threads,
            len(self.states),
            np.array([0, *np.cumsum([len(some) for some in self.steps])], np.int64),
            np.array([j for _, j in flat], np.uint32),
            np.array([t for t, _ in flat], np.uint16),
            sets(self.enabled),
            sets([set()] * len(self.states)),
            sets(self.at_lock),
            sets(self.lacks_cpu),
            sets([set()] * len(self.states)),
            np.array(self.depth, np.uint32),
        )

    def is_fair(self, visited: frozenset[int], stepped: frozenset[int], fairness: str) -> bool:
        """Whether a cycle through some states with steps of some threads is fair, as the documentation has it."""
        for t in set(range(self.threads)) - stepped:
            could = {i for i in visited if t in self.enabled[i]}
            only_lacks_its_turn = all(t in self.enabled[i] or t in self.lacks_cpu[i] for i in visited)
            if fairness != "none" and could and only_lacks_its_turn:
                return False
            if fairness == "fifo-locks" and any(t in self.at_lock[i] for i in could):
                return False
        return True

    def on_fair_cycles(self, fairness: str) -> set[int]:
        """States on fair cycles: all sets of states are tried, with all steps between them."""
        found: set[int] = set()
        for size in range(1, len(self.states) + 1):
            for some in combinations(self.states, size):
                inside = frozenset(some)
                stepped = frozenset(t for i in inside for t, j in self.steps[i] if j in inside)
                if stepped and self.is_connected(inside) and self.is_fair(inside, stepped, fairness):
                    found |= inside
        return found

    def is_connected(self, inside: frozenset[int]) -> bool:
        for start in inside:
            seen, todo = {start}, [start]
            while todo:
                new = {j for _, j in self.steps[todo.pop()] if j in inside} - seen
                seen |= new
                todo += new
            if seen != inside:
                return False
        return True

    def shortest_cycle(self, start: int, fairness: str) -> int | None:
        """The length of the shortest fair way round, by what was visited and who took steps."""
        first = (start, frozenset([start]), frozenset[int]())
        seen, queue = {first}, deque([(first, 0)])
        while queue:
            (state, visited, stepped), length = queue.popleft()
            for t, j in self.steps[state]:
                following = (j, visited | {j}, stepped | {t})
                if j == start and self.is_fair(following[1], following[2], fairness):
                    return length + 1
                if following not in seen:
                    seen.add(following)
                    queue.append((following, length + 1))
        return None

    def ways(self, goal: int, state: int = 0) -> Iterator[list[Step]]:
        """All shortest ways to a state."""
        if state == goal:
            yield []
        for t, j in self.steps[state]:
            if self.depth[j] == self.depth[state] + 1 <= self.depth[goal]:
                for rest in self.ways(goal, j):
                    yield [(t, j), *rest]

    def cost(self, way: list[Step], following: int) -> tuple[int, int]:
        """Preemptions and switches of a way that another thread's step follows."""
        preemptions = switches = 0
        for (t, j), u in zip(way, [*(t for t, _ in way[1:]), following], strict=False):
            switches += t != u
            preemptions += t != u and t in self.enabled[j]
        return preemptions, switches

    def follow(self, steps: Steps, state: int) -> list[Step]:
        """The states that steps lead to; ``choice`` counts nothing here, so a thread has one step to a state."""
        taken = []
        for t, _ in steps:
            (state,) = {j for u, j in self.steps[state] if u == t}
            taken.append((t, state))
        return taken


@st.composite
def plains(draw: st.DrawFn) -> Plain:
    """Graphs of up to six states and three threads; each thread has at most one step in a state."""
    states = draw(st.integers(1, 6))
    targets = st.none() | st.integers(0, states - 1)
    steps = [
        [(t, j) for t, j in enumerate(draw(st.tuples(targets, targets, targets))) if j is not None]
        for _ in range(states)
    ]
    some = st.sets(st.integers(0, 2))
    return Plain(steps, [draw(some) for _ in range(states)], [draw(some) for _ in range(states)])


@pytest.mark.parametrize("fairness", FAIRNESS)
@settings(max_examples=120, deadline=None)
@given(plain=plains())
def test_states_on_fair_cycles(fairness: str, plain: Plain) -> None:
    graph = plain.graph()
    labels = fair_components(graph, demands_of(graph, fairness), np.ones(graph.states, np.bool_))
    assert set(np.flatnonzero(labels).tolist()) == plain.on_fair_cycles(fairness)


@pytest.mark.parametrize("fairness", FAIRNESS)
@settings(max_examples=120, deadline=None)
@given(plain=plains())
def test_lassos_are_fair_and_as_short_as_can_be(fairness: str, plain: Plain) -> None:
    graph = plain.graph()
    demands = demands_of(graph, fairness)
    labels = fair_components(graph, demands, np.ones(graph.states, np.bool_))
    if not labels.any():
        return
    way = shortest_lasso(graph, labels, demands)
    assert way.shortest
    assert way.entry == ([0] + [j for _, j in plain.follow(way.prefix, 0)])[-1]
    taken = plain.follow(way.cycle, way.entry)
    assert taken[-1][1] == way.entry
    assert plain.is_fair(frozenset(j for _, j in taken), frozenset(t for t, _ in taken), fairness)
    cycles = {i: plain.shortest_cycle(i, fairness) for i in plain.states}
    best = min(plain.depth[i] + length for i, length in cycles.items() if length is not None)
    assert len(way.prefix) + len(way.cycle) == best


@pytest.mark.parametrize("fairness", FAIRNESS)
@settings(max_examples=80, deadline=None)
@given(plain=plains())
def test_cycles_that_go_from_demand_to_demand_are_fair(fairness: str, plain: Plain) -> None:
    graph = plain.graph()
    demands = demands_of(graph, fairness)
    labels = fair_components(graph, demands, np.ones(graph.states, np.bool_))
    for start in np.flatnonzero(labels).tolist():
        taken = plain.follow(from_demand_to_demand(graph, labels, demands, start), start)
        assert taken[-1][1] == start
        assert plain.is_fair(frozenset(j for _, j in taken), frozenset(t for t, _ in taken), fairness)
        inside = {i for i in plain.states if labels[i] == labels[start]}
        assert {j for _, j in taken} <= inside


@settings(max_examples=80, deadline=None)
@given(plain=plains(), following=st.integers(0, 2))
def test_ways_have_the_fewest_preemptions_among_the_shortest(plain: Plain, following: int) -> None:
    graph = plain.graph()
    for goal in plain.states:
        way = plain.follow(way_to(graph, goal, following), 0)
        assert len(way) == plain.depth[goal]
        assert plain.cost(way, following) == min(plain.cost(other, following) for other in plain.ways(goal))


def test_a_limit_of_work_makes_a_lasso_that_may_not_be_the_shortest() -> None:
    plain = Plain([[(0, 1)], [(0, 2)], [(0, 3), (1, 2)], [(0, 1)]], [set()] * 4, [set()] * 4)
    graph = plain.graph()
    demands = demands_of(graph, "none")
    labels = fair_components(graph, demands, np.ones(graph.states, np.bool_))
    assert len(shortest_lasso(graph, labels, demands).cycle) == 1
    way = shortest_lasso(graph, labels, demands, work=0)
    assert not way.shortest
    assert len(way.cycle) == 3
