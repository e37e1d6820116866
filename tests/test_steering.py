# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of violations that were tried on kernels: nothing is left out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import steering
from tools.steering import main, table

ELEMENT = {"design": "5.10", "scenario": "offline-free", "property": "stray", "verdict": "violated"}


def result(**values: Any) -> dict[str, Any]:
    return (
        ELEMENT
        | {
            "kernel": "5.10",
            "release": "5.10.0-1",
            "outcome": "reproduced",
            "reason": "page 0 is stray",
            "reasons": [],
            "times": 2,
            "reproduced": 1,
            "evidence": ["CPU 0  test_pages_isolated: ret=fail", "CPU 0  drain_all_pages()"],
        }
        | values
    )


def test_a_row_has_the_outcome_how_often_and_what_shows_it() -> None:
    text = table([result()])
    assert "| 5.10 | offline-free | stray | reproduced | 1 of 2 | page 0 is stray" in text
    assert "page 0 is stray<br>`CPU 0  test_pages_isolated: ret=fail` |" in text


def test_what_cannot_be_forced_has_its_reason_and_all_outcomes_are_counted() -> None:
    cannot = result(outcome="cannot be forced", times=0, reasons=["the window has no address"], release=None)
    text = table([result(), cannot, result(outcome="inconclusive", trouble="the guest hung")])
    assert "| cannot be forced | – | the window has no address |" in text
    assert "| inconclusive | 1 of 2 | the guest hung |" in text
    assert "- reproduced: 1\n- not reproduced: 0\n- cannot be forced: 1\n- inconclusive: 1\n" in text


def test_what_was_steered_is_kept_and_trouble_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steering, "KEPT", tmp_path / "kept")
    holds = ELEMENT | {"property": "P1", "verdict": "holds"}
    (tmp_path / "5.10.json").write_text(json.dumps([ELEMENT, holds]), "utf-8")
    answers = [(3, "", "pagelab: no kernel\n"), (1, json.dumps([result()]), "")]
    monkeypatch.setattr(steering, "run", lambda *arguments: answers.pop(0))
    some = ["--kernel", "5.10", "--checked", str(tmp_path)]
    assert main(some) == 3
    assert "| inconclusive | – | no kernel |" in capsys.readouterr().out
    assert main(some) == 0
    assert main(some) == 0
    assert not answers
    page = tmp_path / "page.md"
    page.write_text(f"# Steering\n{steering.MARK}old\n", "utf-8")
    assert main([*some, "--kept", "--page", str(page)]) == 0
    assert page.read_text("utf-8").startswith(f"# Steering\n{steering.MARK}\n| kernel |")
