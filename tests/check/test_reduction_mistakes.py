# SPDX-License-Identifier: GPL-2.0-or-later
"""What a reduction may get wrong: each mistake is made here, and has to show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pagelab.check import footprint, search
from pagelab.check.counterexample import confirm
from pagelab.check.independence import Independence
from pagelab.check.kernel_model import kernel_model
from pagelab.check.model_file import Model
from pagelab.check.properties import PROPERTIES
from pagelab.check.reduction import Reduction
from pagelab.check.scenario import parse_scenario, scenario_named
from pagelab.check.search import Outcome, Search
from pagelab.check.touches import ALL, stops_of
from pagelab.check.verdicts import build
from pagelab.lang.declare import attached, held, irqs_are_off
from pagelab.lang.graph import Do
from pagelab.lang.stepped import System, Thread
from pagelab.lang.stepped_text import BLOCKED, ENDED
from pagelab.linux.state import cpu_state, pcp, pcp_list
from tests.check import shelf
from tests.check.test_reduction import TABLES, random_system, what_it_found


def blink() -> None:
    """Three is there for a moment, and nobody else looks."""
    shelf.counter.value = 3
    shelf.counter.value = 0


def blink_locked() -> None:
    with shelf.counter.lock:
        shelf.counter.value = 3
        shelf.counter.value = 0


def below_three_unless_locked() -> bool:
    return held(shelf.counter.lock) or shelf.counter.value < 3


def test_cpython_says_whether_the_property_is_violated(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [Thread("a", blink)]
    model = Model("blink", threads, None, [shelf.value_below_three], 2)
    system = model.system()
    outcome = searched(system, reduced=False)
    assert confirm(model, system, outcome) is None
    monkeypatch.setattr(System, "good", lambda *_: 1)
    with pytest.raises(RuntimeError, match="disagree about value_below_three in the last state"):
        confirm(model, system, outcome)


def store_behind_the_lock() -> None:
    """The lock is given back too early."""
    with shelf.counter.lock:
        pass
    shelf.counter.value = 1
    shelf.counter.value = 2


def see_a_one() -> None:
    with shelf.counter.lock:
        value = shelf.counter.value
    assert value != 1, "a one"


def nobody_locks() -> bool:
    return not held(shelf.counter.lock)


def irqs_stay_on() -> bool:
    return not irqs_are_off(0)


def searched(system: System, *, reduced: bool) -> Outcome:
    return Search(system, system.initial(), go_on=True, reduce=Reduction(system) if reduced else None).run()


def test_a_moment_that_a_property_notices_is_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System([Thread("a", blink), Thread("b", shelf.look, (0,))], [shelf.value_below_three], TABLES, cpus=2)
    assert searched(system, reduced=False).verdict == searched(system, reduced=True).verdict == "violated"
    monkeypatch.setattr(Independence, "_noticed", staticmethod(lambda *_: 0))
    assert searched(system, reduced=True).verdict == "holds", "the mistake: nobody asks in between"


def test_a_property_that_says_nothing_while_the_lock_is_held_does_not_notice() -> None:
    threads = [Thread("a", blink_locked), Thread("b", blink_locked)]
    states = {}
    for one, verdict in ((below_three_unless_locked, "holds"), (shelf.value_below_three, "violated")):
        system = System(threads, [one], TABLES, cpus=2)
        assert searched(system, reduced=False).verdict == verdict
        outcome = searched(system, reduced=True)
        assert outcome.verdict == verdict
        states[verdict] = outcome.states
    assert states["holds"] < states["violated"]


def test_what_comes_after_a_section_is_not_protected_by_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System([Thread("a", store_behind_the_lock), Thread("b", see_a_one)], (), TABLES, cpus=2)
    assert searched(system, reduced=False).verdict == searched(system, reduced=True).verdict == "violated"
    facts_after = footprint._facts_after

    def wrong(node: Any, lock: int, tries: Any, cells: Any) -> Iterator[Any]:
        for then, (after, tried) in facts_after(node, lock, tries, cells):
            yield then, (after | lock if node.do is Do.UNLOCK else after, tried)

    monkeypatch.setattr(footprint, "_facts_after", wrong)
    monkeypatch.setattr("pagelab.check.independence.locks_held", footprint.locks_held)
    assert searched(system, reduced=True).verdict == "holds", "the mistake: the lock counts as held for ever"


def asked_always(system: System) -> list[int]:
    return [ALL] * (len(system.programs) * stops_of(system))


@pytest.mark.parametrize("seed", range(20))
def test_properties_that_are_asked_less_often_are_violated_as_soon(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = random_system(seed)[1].threads
    system = System(threads, [shelf.value_below_three, nobody_locks, irqs_stay_on], TABLES, cpus=2)
    some = searched(system, reduced=False)
    monkeypatch.setattr(search, "properties_touched", asked_always)
    every = searched(system, reduced=False)
    lengths = [[(v.kind, v.which, len(v.schedule.steps)) for v in one.violations] for one in (some, every)]
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize(("design", "scenario"), [("5.9-rc5", "offline-free"), ("6.1", "offline-free")])
def test_the_kernel_with_and_without(design: str, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = kernel_model(design, scenario_named(scenario), [one for one in PROPERTIES if one.kind != "liveness"])
    with attached(model.probes):
        system, initial = build(model)
        whole = Search(system, initial, go_on=True).run()
        reduction = Reduction(system)
        reduced = Search(system, initial, go_on=True, reduce=reduction).run()
        assert what_it_found(whole, counted=True) == what_it_found(reduced, counted=reduction.alike is None)
        assert reduced.states * 3 < whole.states * 2
        monkeypatch.setattr(search, "properties_touched", asked_always)
        every = Search(system, initial, go_on=True).run()
        assert what_it_found(whole, counted=True) == what_it_found(every, counted=True)


DRAIN = """
name = "mine"
about = "CPU 2 drains all pcplists, and only CPU 1 has a page"
cpus = 3
zone = { pageblocks = 2, pageblock_order = 1, batch = 1, high = 2 }
pages.pcplists = [[], [3], []]
[[thread]]
name = "drainer"
cpu = 2
run = "drain_all_pages"
"""


def test_cpus_may_not_change_places_in_the_middle_of_a_drain() -> None:
    """CPU 0 and CPU 1, on which nothing runs: the same before the drain, and not the same once it has seen CPU 0."""
    model = kernel_model("6.1", parse_scenario(DRAIN, "mine.toml"), [])
    with attached(model.probes):
        system, initial = build(model)

    def pages_left(state: npt.NDArray[np.uint8]) -> int:
        """On pcplists, when the drain has ended."""
        while system.step(state, 0) not in (BLOCKED, ENDED):
            pass
        assert system.ended(state, 0)
        return int(system.rows(pcp, state)["count"].sum())

    def swapped(state: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        state = state.copy()
        for table in (pcp, pcp_list, cpu_state):
            rows = system.rows(table, state)
            rows[[0, 1]] = rows[[1, 0]]
        return state

    state, left = initial.copy(), []
    for _ in range(7):
        assert pages_left(state.copy()) == 0
        left.append(pages_left(swapped(state)))
        system.step(state, 0)
    assert left == [0, 0, 0, 1, 1, 1, 1], "from the step on that reads pcp[0].count"
