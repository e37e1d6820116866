# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeded faults: a choice of them is tried here, all of them by ``make mutants``."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from pagelab.check.counterexample import tell
from pagelab.check.kernel_model import kernel_model
from pagelab.check.properties import property_named
from pagelab.check.search import Search
from pagelab.lang.declare import attached
from pagelab.linux import pcp
from tests.constants import constants_kept
from tools import mutants
from tools.mutants import DESIGNS, NAMES, Case, Mutant, claims, try_case

KINDS = {
    "a lock left out, kept, or taken the wrong way",
    "a drain left out",
    "two stores, or two steps, swapped",
    "a recheck left out",
    "a transition off by one",
}
#: Each property once, each design at least once: (mutant, the property that catches it or "", design).
CHOICE = [
    ("free-without-zone-lock", "P1", "5.10"),
    ("refill-counts-after-the-lock", "P2", "alt"),
    ("refill-counts-what-it-asked-for", "P3", "6.1"),
    ("give-back-by-the-old-type", "P4", "rfc-v1"),
    ("isolation-is-looked-up-before-zone-lock", "P4", "5.9"),
    ("offlining-does-not-drain-again", "P5", "5.9"),
    ("drained-before-disabled", "P6", "5.11"),
    ("offlined-pageblocks-stay-counted", "P7", "5.9-rc5"),
    ("enabled-at-minus-one", "P9", "rfc"),
    ("drain-believes-the-count", "stray", "alt"),
    ("disabled-at-the-second", "stray", "rfc"),
    ("more-than-there-is", "bug", "5.11"),
    ("pcp-lock-kept", "deadlock", "6.1"),
    ("high-one-while-disabled", "", "5.11"),
    ("moved-before-the-type-is-set", "", "5.10"),
]


@pytest.fixture(autouse=True)
def the_machine_as_it_was() -> Iterator[None]:
    with constants_kept():
        yield


def named(name: str) -> Mutant:
    return next(one for one in mutants.mutants() if one.name == name)


@pytest.mark.parametrize(("name", "by", "design"), CHOICE, ids=lambda one: one or "survives")
def test_the_verdict_on_a_seeded_fault_is_what_its_table_says(name: str, by: str, design: str) -> None:
    case = next(case for case in named(name).cases if case.by == by and design in case.designs)
    problem, found = try_case(named(name), case, design)
    assert problem == ""
    assert (found is not None) == (by != "")


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_a_fault_changes_the_code_of_a_procedure_and_is_gone_afterwards(mutant: Mutant) -> None:
    def code() -> dict[str, CodeType]:
        return {name: one.__code__ for name, one in vars(mutant.module()).items() if isinstance(one, FunctionType)}

    before = code()
    with mutant.seeded():
        assert code() != before
        assert mutant.new in "".join(linecache.getlines(str(mutant.module().__file__)))
    assert code() == before
    assert mutant.old in "".join(linecache.getlines(str(mutant.module().__file__)))


def test_every_design_has_a_fault_for_every_property_that_it_claims() -> None:
    caught = {(case.by, design) for one in mutants.mutants() for case in one.cases for design in case.designs}
    assert [(name, design) for name in NAMES for design in DESIGNS if claims(design, name)] == [
        (name, design) for name in NAMES for design in DESIGNS if (name, design) in caught
    ]


def test_every_design_has_a_caught_fault_of_every_kind() -> None:
    caught = {
        (one.kind, design) for one in mutants.mutants() for case in one.cases if case.by for design in case.designs
    }
    assert {(kind, design) for kind in KINDS for design in DESIGNS} <= caught


def test_every_survivor_has_a_reason() -> None:
    assert all(case.because for one in mutants.mutants() for case in one.cases if not case.by)


def test_the_page_names_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "mutants.md").read_text("utf-8")
    assert [one.name for one in mutants.mutants() if f"| `{one.name}` | {one.fault} |" not in page] == []


@pytest.mark.parametrize(
    ("name", "case", "says"),
    [
        ("high-one-while-disabled", Case(("5.11",), "offline-free", "P6", ""), "P6 does not catch it"),
        ("drained-before-disabled", Case(("5.11",), "offline-free", "", "none"), "it is caught by P5, P6, stray"),
        ("free-without-zone-lock", Case(("5.9",), "offline-free", "stray", ""), "violated without the fault, too"),
        ("disabled-at-the-second", Case(("5.11",), "offline-free", "", "none"), "makes no difference to the program"),
    ],
)
def test_a_table_that_says_what_is_not_so_is_found_out(name: str, case: Case, says: str) -> None:
    problem, _ = try_case(named(name), case, case.designs[0])
    assert says in problem


def test_old_text_that_is_not_there_just_once_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="its old text is 0 times"),
        replace(named("pcp-lock-kept"), old="no such text").seeded(),
    ):
        pass


def test_a_counterexample_shows_the_changed_source_and_runs_in_cpython() -> None:
    mutant = named("free-without-zone-lock")
    with mutant.seeded():
        model = kernel_model("6.1", mutants.scenario("offline-free"), [property_named("P1")])
        with attached(model.probes):
            system = model.system()
            initial = system.initial(model.setup)
            outcome = Search(system, initial).run()
            assert outcome.schedule is not None
            told = tell(model, system, initial, outcome, outcome.schedule)
    source = [step.source for step in told.steps if step.function == "free_one_page"]
    assert "with irqs_off(cpu):" in source
    assert "with irqs_off(cpu), zone.lock:" not in source
    assert "zone.lock" in "".join(linecache.getlines(str(pcp.__file__)))
