# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be steered: documents of ``check --json``, and what is told of anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pagelab.check.engine_code import prepare
from pagelab.check.explore import DEFAULT
from pagelab.check.properties import property_named
from pagelab.check.scenario import scenario_named
from pagelab.check.verdicts import counterexample, judge
from pagelab.errors import BadInput
from pagelab.steer.source import cases_of, read_cases


@pytest.fixture(scope="module")
def element() -> dict[str, Any]:
    """The race of the mail, as ``check --json`` has it."""
    prepare()
    scenario, one = scenario_named("offline-free"), property_named("stray")
    judged = judge("5.10", scenario, [one])
    told = counterexample(judged, scenario, one, DEFAULT)
    document: dict[str, Any] = json.loads(json.dumps(judged.document(judged.verdicts[0], told.to_json())))
    return document


def test_a_list_or_its_element_is_a_case(element: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "race.json"
    for content in (element, [element], [element | {"verdict": "holds", "counterexample": None}, element]):
        file.write_text(json.dumps(content), "utf-8")
        ((case, given),) = read_cases(str(file))
        assert (case.design, case.scenario.name, case.property.name) == ("5.10", "offline-free", "stray")
        assert case.schedule is not None
        assert len(case.schedule.steps) == len(element["counterexample"]["steps"])
        assert given == element


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is empty"),
        ('[{"design": "5.10", "verd', "this is no JSON, or not all of it"),
        ('{"kernel": "6.1"}', "this is no verdict of a check"),
        ("[]", "this is no verdict of a check"),
        ('[{"design": "5.10", "verdict": "holds"}]', r"nothing in it is violated \(holds\)"),
        ('[{"design": "5.10", "verdict": "violated"}]', "does not say of which design and property"),
        ('[{"design": "5.10", "verdict": "violated", "property": "P1", "scenario": null}]', "a model in a file"),
        ('[{"design": "rfc", "verdict": "violated", "property": "P1", "scenario": "offline-free"}]', "never became"),
        ('[{"design": "9.9", "verdict": "violated", "property": "P1", "scenario": "offline-free"}]', "9.9"),
        ('[{"design": "5.10", "verdict": "violated", "property": "P1", "scenario": "offline-free"}]', "counterexample"),
    ],
)
def test_anything_else_is_told_in_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=words):
        read_cases(str(file))


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_cases(str(tmp_path / "none.json"))
    with pytest.raises(BadInput, match="directory"):
        read_cases(str(tmp_path))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not text"):
        read_cases(str(tmp_path / "bytes"))


def test_a_scenario_that_changed_since_is_noticed(element: dict[str, Any]) -> None:
    threads = [one | {"name": one["name"] + "-then"} for one in element["counterexample"]["threads"]]
    changed = element | {"counterexample": element["counterexample"] | {"threads": threads}}
    with pytest.raises(BadInput, match="its threads are offliner-then, freer-then, but"):
        cases_of([changed], "race.json")
