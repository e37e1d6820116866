# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab steer``, with a guest that does what the plan says, or does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pagelab.guest.steered
import pagelab.steer.code
import pagelab.steer.force
from pagelab.cli.main import main
from pagelab.errors import GuestFailed
from pagelab.steer.evidence import Event
from pagelab.steer.gates import CannotPlay
from pagelab.steer.plan import Arrival, PageSeen, Plan, Reason, Seen, Steered, Where
from tests.constants import constants_kept
from tests.steer.kernels import K5_10

Guest = Callable[[Plan], Steered]


def obedient(plan: Plan) -> Steered:
    """A kernel that does all that the model says."""
    arrivals = tuple(Arrival(n, True, None, "", 0.1, move.expected) for n, move in enumerate(plan.moves))
    return Steered("5.10.0-1", {0: 0x100010}, plan.initial, arrivals, True, "", Seen(), 3.0)


def mended(plan: Plan) -> Steered:
    """A kernel in which the page ends on a free list."""
    steered = obedient(plan)
    last = steered.arrivals[-1]
    seen = replace(last.seen, pages={0: PageSeen(Where.BUDDY, 5)})
    return replace(steered, arrivals=(*steered.arrivals[:-1], replace(last, seen=seen)))


def waiting(plan: Plan) -> Steered:
    """A kernel that needs the CPU that is held."""
    words = "CPU 0 waits in flush_work() for CPU 1"
    return replace(obedient(plan), arrivals=(Arrival(0, False, Reason.NEEDED, words, 9.0, Seen()),))


def unplayable(plan: Plan) -> Steered:
    raise CannotPlay("nobody can offline_pages on this kernel")


def dead(plan: Plan) -> Steered:
    raise GuestFailed("the guest hung", "try again")


@pytest.fixture(autouse=True, scope="module")
def _constants() -> Iterator[None]:
    with constants_kept():
        yield


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Callable[[Guest], None]:
    """Call it with what a guest does."""
    monkeypatch.setattr(pagelab.steer.code, "code_of", lambda kernel: K5_10)
    trace = [Event("test", 0, "test_pages_isolated: ret=fail", 0x100000, False)]
    monkeypatch.setattr(pagelab.steer.force, "evidence_of", lambda directory, frames: trace)

    def use(does: Guest) -> None:
        monkeypatch.setattr(pagelab.guest.steered, "steer", lambda plan, *more, **others: does(plan))

    return use


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The race of the mail, as check prints it."""
    import contextlib
    import io

    file = tmp_path_factory.mktemp("steer") / "race.json"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["check", "5.10", "--scenario", "offline-free", "--property", "stray", "--json"]) == 1
    file.write_text(out.getvalue(), "utf-8")
    return file


@pytest.mark.parametrize(
    ("does", "status", "outcome"),
    [
        (obedient, 1, "reproduced"),
        (mended, 0, "not reproduced"),
        (waiting, 4, "cannot be forced"),
        (unplayable, 4, "cannot be forced"),
    ],
)
def test_the_exit_status_and_the_document_say_what_came_of_it(
    does: Guest,
    status: int,
    outcome: str,
    guest: Callable[[Guest], None],
    race: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guest(does)
    assert main(["steer", str(race), "--kernel", "5.10", "--json"]) == status
    (document,) = json.loads(capsys.readouterr().out)
    assert document["outcome"] == outcome
    assert document["reason"]
    assert [move["thread"] for move in document["moves"]] == ["freer", "offliner", "freer"]
    assert document["moves"][0]["reached"] is {"reproduced": True, "not reproduced": True}.get(
        outcome, False if does is waiting else None
    )


def test_the_terminal_shows_the_plan_the_moves_the_trace_and_the_verdict(
    guest: Callable[[Guest], None], race: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest(mended)
    assert main(["steer", str(race), "--kernel", "5.10", "--times", "2"]) == 0
    said = capsys.readouterr().out
    for words in (
        "1  CPU 1  freer      runs to the entry of free_unref_page_commit() for page 0",
        "4  all CPUs run on",
        "2 of 2  not reproduced",
        "other than the model says: page 0 is on a free list of ISOLATE, not on a pcplist of CPU 1",
        "test_pages_isolated: ret=fail",
        "not reproduced, 0 of 2 times  on 5.10.0-1: after move 3",
    ):
        assert words in said


def test_the_page_has_three_columns_and_needs_nothing_else(
    guest: Callable[[Guest], None], race: Path, tmp_path: Path
) -> None:
    guest(obedient)
    file = tmp_path / "race.html"
    assert main(["steer", str(race), "--kernel", "5.10", "--html", str(file)]) == 1
    text = file.read_text("utf-8")
    for words in (
        "What the checker said",
        "What the kernel did",
        "Where they agree",
        "ret=fail",
        "free_unref_page_commit",
    ):
        assert words in text
    assert "http://" not in text
    assert "https://" not in text


def test_only_the_plan_boots_nothing(
    guest: Callable[[Guest], None], race: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest(dead)
    assert main(["steer", str(race), "--kernel", "5.10", "--plan"]) == 0
    assert "runs to the return of start_isolate_page_range()" in capsys.readouterr().out
    assert main(["steer", str(race), "--kernel", "5.10", "--plan", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["times"], told["release"]) == ("planned", 0, None)


def test_a_guest_that_fails_is_told_in_a_sentence(
    guest: Callable[[Guest], None], race: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest(dead)
    assert main(["steer", str(race), "--kernel", "5.10"]) == 3
    assert "pagelab: the guest hung" in capsys.readouterr().err


def test_check_steers_what_it_finds_violated(
    guest: Callable[[Guest], None], capsys: pytest.CaptureFixture[str]
) -> None:
    guest(obedient)
    some = ["check", "5.10", "--scenario", "offline-free", "--property", "stray", "--property", "P7"]
    assert main([*some, "--json", "--steer", "5.10"]) == 1
    documents: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [one["verdict"] for one in documents] == ["violated", "holds"]
    assert documents[0]["steered"]["outcome"] == "reproduced"
    assert "steered" not in documents[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kernel", "4.4"], "no kernel is called '4.4'"),
        (["--kernel", "5.10", "--times", "0"], "--times 0"),
        (["--kernel", "5.10", "--html", "/nowhere/a.html"], "there is no directory /nowhere"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_done(
    arguments: list[str], words: str, race: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["steer", str(race), *arguments]) == 2
    assert words in capsys.readouterr().err
