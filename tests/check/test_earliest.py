# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads are held up as early as can be; schedules go into JSON and come back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pagelab.check.counterexample import schedule_of, tell
from pagelab.check.earliest import earliest, ending
from pagelab.check.explore import How, explore
from pagelab.check.fewest import costs, fewest_preemptions
from pagelab.check.model_file import Model
from pagelab.errors import BadInput
from pagelab.lang.stepped import Thread
from tests.report import models


def lost_update() -> Model:
    threads = [Thread("one", models.add_and_say_so), Thread("two", models.add_and_note)]
    return Model("lost", threads, None, [models.nothing_is_lost], 0)


def test_a_schedule_costs_the_same_and_ends_the_same() -> None:
    system = lost_update().system()
    initial = system.initial()
    outcome = explore(system, initial, How(unreduced=True))
    cheap = fewest_preemptions(system, initial, outcome.states, 1 << 30)
    assert cheap is not None
    early = earliest(system, initial, cheap)
    assert costs(system, initial, early) == costs(system, initial, cheap)
    assert ending(system, initial, early.steps) == ending(system, initial, cheap.steps) is not None


def test_nobody_could_be_held_up_earlier() -> None:
    system = lost_update().system()
    initial = system.initial()
    outcome = explore(system, initial, How(unreduced=True))
    assert outcome.schedule is not None
    steps = earliest(system, initial, outcome.schedule).steps
    end = next(i for i, step in enumerate(steps) if step[0] != steps[0][0])
    again = next(i for i in range(end, len(steps)) if steps[i][0] == steps[0][0])
    for kept in range(1, end):
        trial = steps[:kept] + steps[end:again] + steps[kept:end] + steps[again:]
        assert ending(system, initial, trial) != ending(system, initial, steps)


def test_a_step_that_cannot_be_taken_ends_nothing() -> None:
    threads = [Thread("one", models.first_then_second), Thread("two", models.second_then_first)]
    system = Model("locks", threads, None, [], 0).system()
    assert ending(system, system.initial(), [(0, 0), (0, 0), (1, 0)]) is None


def document() -> dict[str, Any]:
    model = lost_update()
    system = model.system()
    initial = system.initial()
    outcome = explore(system, initial, How(unreduced=True))
    assert outcome.schedule is not None
    told = tell(model, system, initial, outcome, outcome.schedule)
    found: dict[str, Any] = json.loads(json.dumps({"verdict": "violated", "counterexample": told.to_json()}))
    assert schedule_of(found, "x.json") == told.schedule
    return found


def test_json_holds_what_a_schedule_is_made_of() -> None:
    found = document()
    system = lost_update().system()
    initial = system.initial()
    results, _ = ending(system, initial, schedule_of(found, "x.json").steps) or ((), 0)
    assert results == (0,)
    assert [thread["function"] for thread in found["counterexample"]["threads"]] == ["add_and_say_so", "add_and_note"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counterexample": None, "verdict": "holds"}, "the verdict is 'holds', so there is no counterexample"),
        ({"counterexample": {"steps": [{}], "threads": []}}, "this is no counterexample"),
        ({"counterexample": {"steps": [{"index": 3, "choice": 0}], "threads": [{}]}}, "not among the threads"),
        ({"counterexample": 5}, "this is no counterexample"),
    ],
)
def test_other_documents_are_bad_input(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        schedule_of(document() | change, "x.json")
