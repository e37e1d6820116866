# SPDX-License-Identifier: GPL-2.0-or-later
"""The captures that come along are predicted to the last page, and what is no such capture is told in a sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pagelab.capture import directory
from pagelab.capture.archive import unpack
from pagelab.capture.events import Events, Kind
from pagelab.cli import main as frame
from pagelab.cli.replay import report
from pagelab.replay import tables
from pagelab.replay.result import Result
from pagelab.replay.run import replay_capture
from tests.constants import constants_kept

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*.tar.zst"))
BY_KERNEL = {path.name.split("-")[0]: path for path in CAPTURES}


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    """A replay sets constants of the model; other tests want those that they know."""
    with constants_kept(tables.capture):
        yield


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    target = tmp_path / "capture"
    target.mkdir()
    return unpack(BY_KERNEL["6.1"], target)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_all_is_exact(capture: Path) -> None:
    assert capture.stat().st_size <= 300 << 10
    result = replay_capture(capture)
    assert result.exact
    assert result.status == 0
    assert result.unknown_reasons == {}
    assert result.scores["alloc"].total > 10_000
    # A movable zone has nothing to fall back to.  No probe tells the values of high and batch of 5.10.
    silent = {"fallback", "pageset"} if result.design == "5.10" else {"fallback"}
    assert {name for name, score in result.scores.items() if score.total == 0} == silent
    assert capture.name.startswith(f"{result.design}-")


def replayed_with(monkeypatch: pytest.MonkeyPatch, change: object, kernel: str = "6.1") -> Result:
    """Replay the bundled capture of a kernel with its events changed."""
    read = directory.read_capture

    def changed(path: Path) -> directory.Capture:
        capture = read(path)
        return replace(capture, events=change(capture.events))  # type: ignore[operator]

    monkeypatch.setattr(directory, "read_capture", changed)
    return replay_capture(BY_KERNEL[kernel])


@pytest.mark.parametrize(
    ("kernel", "kind", "column", "by"),
    [
        ("6.1", Kind.MM_PAGE_ALLOC, "pfn", 1),
        ("6.1", Kind.MM_PAGE_ALLOC_ZONE_LOCKED, "pfn", 1),
        ("6.1", Kind.MM_PAGE_PCPU_DRAIN, "pfn", 1),
        ("6.1", Kind.MM_PAGE_PCPU_DRAIN, "migratetype", -1),
        ("6.1", Kind.MOVE_FREEPAGES_BLOCK_DONE, "arg", 1),
        ("6.1", Kind.ZONE_SET_PAGESET, "pfn", 1),
        ("5.10", Kind.MM_PAGE_ALLOC, "pfn", 1),
        ("5.10", Kind.MM_PAGE_ALLOC_ZONE_LOCKED, "pfn", 1),
        ("5.10", Kind.MM_PAGE_PCPU_DRAIN, "pfn", 1),
        ("5.10", Kind.MM_PAGE_PCPU_DRAIN, "migratetype", -1),
        ("5.10", Kind.MOVE_FREEPAGES_BLOCK_DONE, "arg", 1),
        ("5.10", Kind.FREE_UNREF_PAGE_COMMIT, "migratetype", 1),
    ],
)
def test_one_changed_event_is_the_first_divergence(
    kernel: str, kind: Kind, column: str, by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = -1

    def change(events: Events) -> Events:
        nonlocal where
        rows = np.flatnonzero(events.kind == kind)
        if kind < Kind.ZONE_PCP_DISABLE or kind == Kind.FREE_UNREF_PAGE_COMMIT:
            rows = rows[events.pfn[rows] >= 0x100000]
        elif kind == Kind.ZONE_SET_PAGESET:
            rows = rows[events.arg2[rows] == events.arg2[events.kind == Kind.ONLINE_PAGES][0]]
        where = int(rows[len(rows) // 3])
        values = getattr(events, column).copy()
        values[where] += by
        return replace(events, **{column: values})

    result = replayed_with(monkeypatch, change, kernel)
    assert result.status == 1
    assert result.missed == 1
    assert result.first_divergence is not None
    assert result.first_divergence.event == where
    assert result.unknown > 0, "nothing after it is judged"


def test_after_lost_events_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(events: Events) -> Events:
        kind = events.kind.copy()
        kind[len(kind) // 2] = Kind.LOST
        return replace(events, kind=kind)

    result = replayed_with(monkeypatch, lose)
    assert (result.status, result.missed) == (4, 0)
    assert result.unknown > 1000
    assert [reason.split(" before")[0] for reason in result.unknown_reasons] == ["events were lost"]


@pytest.mark.parametrize(
    ("name", "words"), [("pageset", "every page is as predicted"), ("alloc", "not all could be judged")]
)
def test_the_verdict_tells_pages_from_numbers(name: str, words: str) -> None:
    result = replay_capture(BY_KERNEL["7.2"])
    score = result.scores[name]
    doubted = replace(result, scores=result.scores | {name: replace(score, exact=score.exact - 1, unknown=1)})
    console = Console(file=io.StringIO(), width=200)
    report(doubted, console)
    assert doubted.status == 4
    assert words in console.file.getvalue()  # type: ignore[attr-defined]


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = frame.main(["replay", *argv])
    return status, capsys.readouterr().err


def test_bad_captures_are_told_in_a_sentence(
    unpacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for argv, words in (
        ((str(tmp_path / "none"),), "there is no such directory or file"),
        ((str(tmp_path / "empty"),), "the directory is empty"),
        ((str(BY_KERNEL["6.1"]), "--design", "6.2"), "there is no design '6.2'"),
    ):
        status, err = told(capsys, *argv)
        assert status == 2
        assert words in err
        assert "Traceback" not in err
    whole = (unpacked / "trace.dat").read_bytes()
    for cut in (0, 5, 4000, len(whole) // 2, len(whole) - 1):
        (unpacked / "trace.dat").write_bytes(whole[:cut])
        status, err = told(capsys, str(unpacked))
        assert (status, "Traceback" in err) == (2, False), cut
        assert "trace.dat" in err


def test_kernels_with_unknown_features_are_refused(unpacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (unpacked / "kallsyms.txt.gz").unlink()
    status, err = told(capsys, str(unpacked))
    assert status == 2
    assert "there is no kallsyms.txt" in err
    (unpacked / "kallsyms.txt").write_text("zone_pcp_disable\nfree_unref_folios\n")
    status, err = told(capsys, str(unpacked))
    assert status == 2
    assert "free_unref_folios: the kernel frees folios in batches, as kernels since v6.10 do" in err
    assert told(capsys, str(unpacked), "--design", "6.1")[0] == 0


def test_another_design_is_a_question_and_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(["replay", str(BY_KERNEL["6.1"]), "--design", "5.10"]) == 0
    shown = capsys.readouterr().out
    for words in ("What if Linux 6.1", "drains of all CPUs", "what this cannot know"):
        assert words in shown
    assert frame.main(["replay", str(BY_KERNEL["6.1"]), "--design", "rfc", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["design"] == document["what_if"]["other"]["design"] == "rfc"
    assert document["alloc"]["total"] > 0, "the contract holds whatever is asked"
    assert document["what_if"]["recorded"]["design"] == "6.1"


def test_a_zone_that_was_not_empty_is_not_judged(unpacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (unpacked / "zoneinfo" / "00-boot.txt").unlink()
    status, err = told(capsys, str(unpacked), "--json")
    assert status == 4, err
