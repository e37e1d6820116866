# SPDX-License-Identifier: GPL-2.0-or-later
"""Counterexamples that the tests look at from all sides: the race of September 2020, and tiny ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from pagelab.check.counterexample import Told, tell
from pagelab.check.explore import How, explore
from pagelab.check.model_file import Model
from pagelab.check.properties import property_named
from pagelab.check.scenario import scenario_named
from pagelab.check.verdicts import counterexample, judge
from pagelab.lang.stepped import Thread
from pagelab.report.case import Case, Title, case_of
from tests.constants import constants_kept


@pytest.fixture(scope="package", autouse=True)
def constants() -> Iterator[None]:
    """What a design switches on is switched off again."""
    with constants_kept():
        yield


def kernel_case(design: str, scenario: str, name: str) -> tuple[Told, Case]:
    """The counterexample of a property in a scenario under a design."""
    one, where = property_named(name), scenario_named(scenario)
    judgement = judge(design, where, [one])
    told = counterexample(judgement, where, one, How())
    (verdict,) = judgement.verdicts
    title = Title(design, scenario, name, verdict.said, {"states": str(judgement.outcome.states), **judgement.label})
    case = case_of(title, told.system, told.initial, told.schedule, repeats_from=told.repeats_from)
    return told, case


def tiny_case(
    threads: Sequence[Thread], invariants: Sequence[Callable[[], bool]] = (), cpus: int = 0, memory: str = "sc"
) -> tuple[Told, Case]:
    """The shortest counterexample of a model of the tests."""
    model = Model("tiny", list(threads), None, list(invariants), cpus, memory=memory)
    system = model.system()
    initial = system.initial()
    outcome = explore(system, initial, How(unreduced=True))
    assert outcome.schedule is not None
    told = tell(model, system, initial, outcome, outcome.schedule)
    return told, case_of(Title("tiny", "", "", outcome.violation, {}), system, initial, told.schedule)


@pytest.fixture(scope="package")
def race(constants: None) -> tuple[Told, Case]:
    """The race of the mail."""
    return kernel_case("5.9-rc5", "offline-free", "stray")


@pytest.fixture(scope="package")
def endless(constants: None) -> tuple[Told, Case]:
    """What the race leads to: offlining goes round for ever."""
    return kernel_case("5.9-rc5", "offline-free", "P5")
