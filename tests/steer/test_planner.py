# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans for kernels whose symbols are known, against the model that they come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagelab.check.counterexample import confirm
from pagelab.check.engine_code import prepare
from pagelab.check.explore import DEFAULT
from pagelab.check.scenario import scenario_named
from pagelab.check.search import Outcome, Schedule
from pagelab.check.verdicts import build, counterexample, judge
from pagelab.lang.declare import attached
from pagelab.lang.stepped_text import BLOCKED, ENDED
from pagelab.steer.plan import At, Stop, Where
from pagelab.steer.planner import Case, Planned, case_named, model_of, plan_for
from tests.steer.kernels import K5_10, K6_1, KnownCode


@pytest.fixture(autouse=True, scope="module")
def _engine() -> None:
    prepare()


def case(scenario: str, design: str = "5.10", name: str = "stray") -> Case:
    return case_named(design, scenario_named(scenario), name)


def stops(planned: Planned) -> list[tuple[str, Stop | None]]:
    assert planned.plan is not None
    return [(move.thread, move.until) for move in planned.plan.moves]


RACE = [
    ("freer", Stop("free_unref_page_commit", At.ENTRY, "free_unref_page", page=0)),
    ("offliner", Stop("start_isolate_page_range", At.RETURN, "offline_pages")),
    ("freer", Stop("free_unref_page", At.RETURN, page=0)),
]


def test_the_race_of_the_mail_is_planned_as_it_was_forced_by_hand() -> None:
    planned = plan_for(case("offline-free"), "5.10", K5_10)
    assert stops(planned) == RACE
    assert planned.plan is not None
    seen = planned.plan.moves[-1].expected
    page = seen.pages[0]
    assert page is not None
    assert (page.where, page.cpu) == (Where.PCPLIST, 1)
    assert seen.isolated == {0: True, 1: False}
    assert seen.nr_isolate_pageblock == seen.isolated_pageblocks == 1
    assert seen.free_pages == 0


@pytest.mark.parametrize("scenario", ["offline-free", "contig-same"])
def test_the_schedule_of_a_plan_breaks_the_same_property_in_compiled_code_and_in_cpython(scenario: str) -> None:
    one = case(scenario)
    planned = plan_for(one, "5.10", K5_10)
    assert planned.schedule is not None
    model = model_of(one)
    with attached(model.probes):
        system, initial = build(model)
        state = initial.copy()
        good = []
        for thread, choice in planned.schedule.steps:
            assert system.step(state, thread, choice) not in (BLOCKED, ENDED)
            good.append(system.good(state, 0))
        assert good[0] == 1
        assert good[-1] == 0
        found = Outcome("violated", "", 0, 0, 0, 0, 0.0, 0, planned.schedule)
        assert confirm(model, system, found) is None


def test_the_moves_of_a_plan_are_all_steps_of_its_schedule_after_the_gates() -> None:
    planned = plan_for(case("offline-free"), "5.10", K5_10)
    assert planned.plan is not None
    assert planned.schedule is not None
    assert len(planned.steps) == len(planned.schedule.steps)
    after = planned.plan.moves[0].first - 1
    for move in planned.plan.moves:
        assert move.first == after + 1
        assert {step.cpu for step in planned.steps[move.first - 1 : move.last]} == {move.cpu}
        after = move.last
    assert after == len(planned.steps)


def test_the_same_plan_is_made_for_a_kernel_that_has_the_fix() -> None:
    assert stops(plan_for(case("offline-free"), "6.1", K6_1)) == RACE


def test_a_cpu_that_would_have_to_run_two_threads_is_the_reason_that_there_is_no_plan() -> None:
    one = case("offline-vmstat")
    judged = judge("5.10", one.scenario, [one.property])
    told = counterexample(judged, one.scenario, one.property, DEFAULT)
    planned = plan_for(replace(one, schedule=told.schedule), "5.10", K5_10)
    assert planned.plan is None
    assert not planned.gave_up
    assert "kworker/1 would have to run on CPU 1 while freer is in the middle of" in planned.reasons[0]
    assert "get_pfnblock_flags_mask() is inlined in free_unref_page()" in planned.reasons[1]


def test_without_the_function_in_the_window_there_is_no_plan() -> None:
    without = KnownCode(
        K5_10.functions - {"free_unref_page_commit"},
        {key: times for key, times in K5_10.called.items() if "free_unref_page_commit" not in key},
        frozenset(key for key in K5_10.reached if "free_unref_page_commit" not in key),
    )
    planned = plan_for(replace(case("offline-free"), schedule=Schedule(())), "5.10", without)
    assert planned.plan is None
    assert planned.reasons == ()


def test_threads_that_the_violation_does_not_need_are_left_out() -> None:
    planned = plan_for(case("offline-signal"), "5.10", K5_10)
    assert planned.left_out == ("ctrl-c",)
    assert planned.plan is not None
    assert [actor.name for actor in planned.plan.actors] == ["offliner", "freer"]


def test_pageblocks_that_are_not_counted_are_planned_for_a_kernel_with_the_defect() -> None:
    planned = plan_for(case("offline-contig-same", "6.1", "P7"), "6.1", K6_1)
    assert planned.plan is not None
    last = planned.plan.moves[-1].expected
    assert last.nr_isolate_pageblock is not None
    assert last.isolated_pageblocks is not None
    assert last.nr_isolate_pageblock < last.isolated_pageblocks or last.nr_isolate_pageblock < 0


def test_a_step_that_fails_is_planned_although_it_leaves_the_state_as_it_was() -> None:
    one = case("offline-contig-allocate", "6.1", "bug")
    planned = plan_for(one, "6.1", K6_1)
    assert (
        [move.thread for move in planned.plan.moves]
        if planned.plan
        else []
        == [
            "offliner",
            "contig",
            "allocator",
            "offliner",
        ]
    )
    assert not planned.seen_at_hold
