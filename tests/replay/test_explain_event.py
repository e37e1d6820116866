# SPDX-License-Identifier: GPL-2.0-or-later
"""One event explained: how it is judged, by which rule, with the model's lists before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.capture.archive import unpack
from pagelab.cli import main as frame
from pagelab.errors import BadInput
from pagelab.replay import rules
from pagelab.replay.explain_event import explain_event
from pagelab.replay.result import REASONS
from pagelab.replay.run import replay_capture

CAPTURE = Path(__file__).parents[2] / "captures" / "6.1-churn-2cpu.tar.zst"


@pytest.fixture
def not_empty(tmp_path: Path) -> Path:
    """A capture whose zone was not empty when the trace began."""
    directory = unpack(CAPTURE, tmp_path)
    (directory / "zoneinfo" / "00-boot.txt").unlink()
    return directory


def test_an_allocation_that_is_exact_got_the_head_of_its_pcplist() -> None:
    one = explain_event(CAPTURE, None, 30_000)
    assert (one.judged, one.status) == ("exact", 0)
    pfn = one.observed.split("pfn 0x")[1].split()[0]
    heads = [line.split(": ")[1].split()[0] for line in one.lists if line.strip().startswith("pcplist")]
    assert pfn in heads
    assert sum(line.startswith(">") for line in one.around) == 1
    assert "head of the pcplist" in one.rule


def test_what_is_unknown_is_told_with_what_would_decide_it(not_empty: Path) -> None:
    one = explain_event(not_empty, None, 30_000)
    assert (one.judged, one.status) == ("unknown", 4)
    assert one.reason == "the zone was not empty when the trace began"
    assert "offline and online again" in one.decides


def test_the_score_says_where_the_unknown_begins(not_empty: Path) -> None:
    assert set(replay_capture(not_empty).unknown_from.values()) == {-1}
    assert replay_capture(CAPTURE).unknown_from == {}


def test_every_reason_has_a_rule() -> None:
    assert set(REASONS) <= set(rules.UNKNOWN)


@pytest.mark.parametrize("number", [-1, 10**9])
def test_an_event_that_is_not_there(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="is not one of the"):
        explain_event(CAPTURE, None, number)
    assert frame.main(["replay", str(CAPTURE), "--explain", str(number)]) == 2
    assert "hint: the next one is" in capsys.readouterr().err
