# SPDX-License-Identifier: GPL-2.0-or-later
"""The race of September 2020 is found where it was, and not where it was closed."""

from __future__ import annotations

import pytest

from pagelab.check.explore import How
from pagelab.check.kernel_model import kernel_model
from pagelab.check.properties import property_named
from pagelab.check.scenario import scenario_named
from pagelab.check.verdicts import counterexample, judge
from pagelab.errors import BadInput

STRAY = property_named("stray")
RACE = scenario_named("offline-free")


@pytest.mark.parametrize("design", ["rfc", "5.11", "6.1"])
def test_designs_that_close_the_race(design: str) -> None:
    judgement = judge(design, RACE, [STRAY])
    assert [one.verdict for one in judgement.verdicts] == ["holds"]
    assert judgement.outcome.states > 1000


def test_the_race_of_the_mail() -> None:
    judgement = judge("5.9-rc5", RACE)
    assert [one.property for one in judgement.verdicts if one.verdict == "violated"] == ["P5", "stray"]
    assert judgement.outcome.complete, "it goes on after a violation"
    told = counterexample(judgement, RACE, STRAY, How())
    assert told.raised is None, "a property of states is violated, nothing is raised"
    assert any("pageblock[0].migratetype = 1" in step.effect for step in told.steps if step.thread == "freer")
    assert any(step.effect == "pageblock[0].migratetype: 1 → 5" for step in told.steps if step.thread == "offliner")


def test_a_property_that_the_design_does_not_claim_holds_and_says_so() -> None:
    (verdict,) = judge("5.10", RACE, [property_named("P6")]).verdicts
    assert (verdict.verdict, verdict.claimed) == ("holds", False)
    (verdict,) = judge("5.11", RACE, [property_named("P6")]).verdicts
    assert (verdict.verdict, verdict.claimed) == ("holds", True)


def test_kworkers_are_there_only_where_drains_need_them() -> None:
    assert [t.name for t in kernel_model("5.10", RACE).threads] == ["offliner", "freer", "kworker/0", "kworker/1"]
    assert [t.name for t in kernel_model("6.1", RACE).threads] == ["offliner", "freer"]


def test_properties_are_named() -> None:
    with pytest.raises(BadInput, match="there is no property 'P99'"):
        property_named("P99")
