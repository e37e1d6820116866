# SPDX-License-Identifier: GPL-2.0-or-later
"""A plan forced on a real kernel in QEMU."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pagelab.capture.events import Events, Kind
from pagelab.capture.trace_dat import read_trace_dat
from pagelab.errors import GuestFailed
from pagelab.guest import qemu, stage
from pagelab.guest.places import NoSuchPlace
from pagelab.guest.steered import steer
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.steer.gates import CannotPlay
from pagelab.steer.plan import Actor, At, Move, PageSeen, Plan, Reason, Seen, Stop, Where
from tests.guest.test_boot import guests

pytestmark = [pytest.mark.guest, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> None:
    qemu.find_qemu()


def race(*moves: Move, actors: tuple[Actor, ...] = ()) -> Plan:
    """The race of September 2020 on Linux 5.10: a page is freed while its memory block goes offline."""
    offliner, freer = Actor("offliner", 0, "offline_pages", (0, 1)), Actor("freer", 1, "free_page", (0,))
    initial = Seen(pages={0: PageSeen(Where.ALLOCATED)}, pcp_high={0: 2, 1: 2})
    return Plan("5.10", "5.10", "offline-free", "stray", 2, 1, 1, (offliner, freer, *actors), initial, moves)


def move(thread: str, cpu: int, function: str, at: At, page: int = -1) -> Move:
    return Move(thread, cpu, Stop(function, at, page=page), 1, 0, Seen())


def words_of(events: Events, cpu_page: int) -> list[str]:
    """What of the events tells of the race, from the beginning of the isolation on."""
    told = []
    for i in range(len(events)):
        kind = events.kind[i]
        if kind == Kind.TEST_PAGES_ISOLATED:
            told.append("success" if events.arg[i] == events.arg2[i] else "fail")
        elif kind == Kind.DRAIN_ALL_PAGES and told:
            told.append("drain")
        elif kind == Kind.MM_PAGE_PCPU_DRAIN and events.pfn[i] == cpu_page and told:
            told.append(f"page drained with type {events.migratetype[i]}")
    return told


def test_the_race_of_the_mail_is_forced(tmp_path: Path) -> None:
    plan = race(
        move("freer", 1, "free_unref_page_commit", At.ENTRY, page=0),
        move("offliner", 0, "start_isolate_page_range", At.RETURN),
    )
    steered = steer(plan, tmp_path / "capture")
    assert [(arrival.reached, arrival.words) for arrival in steered.arrivals] == [(True, ""), (True, "")]
    assert steered.ended, steered.words
    assert steered.initial.isolated[0] is False
    before, isolated = (arrival.seen for arrival in steered.arrivals)
    assert (before.pages[0], before.isolated[0]) == (PageSeen(Where.IN_FLIGHT), False)
    # All pageblocks are isolated and drained, and the page is still to come.
    assert (isolated.pages[0], isolated.isolated[0]) == (PageSeen(Where.IN_FLIGHT), True)
    assert (isolated.nr_isolate_pageblock, isolated.isolated_pageblocks) == (64, 64)
    assert (isolated.free_pages, isolated.pcp_count[1]) == (0, 0)
    assert (isolated.pcp_high, isolated.pcp_batch) == ({0: 2, 1: 2}, {0: 1, 1: 1})
    assert steered.final.pages[0] == PageSeen(Where.OFFLINE)
    assert steered.final.nr_isolate_pageblock == 0
    trace = read_trace_dat(tmp_path / "capture" / "trace.dat")
    told = words_of(trace.events, steered.page_frames[0])
    assert told == ["fail", "drain", "page drained with type 4", "success"]  # 4: MIGRATE_ISOLATE without CMA
    assert MIGRATE_ISOLATE == 5


def test_a_held_cpu_that_is_needed_is_named(tmp_path: Path) -> None:
    """CPU 0 is told to wait for a function that it reaches only after work on CPU 1, which is held."""
    plan = race(
        move("freer", 1, "free_unref_page_commit", At.ENTRY, page=0),
        move("offliner", 0, "__offline_isolated_pages", At.ENTRY),
    )
    steered = steer(plan, tmp_path / "capture")
    late = steered.arrivals[-1]
    assert (late.move, late.reached, late.why) == (1, False, Reason.NEEDED)
    assert late.words.startswith("CPU 0 waits in ")
    assert late.words.endswith("CPU 1 is held in free_unref_page_commit()")
    assert steered.ended  # all were released
    assert (tmp_path / "capture" / "trace.dat").is_file()


def test_a_kernel_that_gives_up_while_a_cpu_is_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on CPU 0 makes the kernel panic while CPU 1 is held."""
    roles = stage._role
    crash = stage.Role("crash", 0, "write", 0, ("/proc/sysrq-trigger", "c"))
    monkeypatch.setattr(stage, "_role", lambda plan, actor: crash if actor.name == "crash" else roles(plan, actor))
    plan = race(
        move("freer", 1, "free_unref_page_commit", At.ENTRY, page=0),
        move("crash", 0, "start_isolate_page_range", At.ENTRY),
    )
    plan = replace(plan, actors=(plan.actors[1], Actor("crash", 0, "signal", (0,))))
    steered = steer(plan, tmp_path / "capture")
    assert [(arrival.reached, arrival.why) for arrival in steered.arrivals] == [(True, None), (False, Reason.PANIC)]
    assert steered.arrivals[1].words == "Kernel panic - not syncing: sysrq triggered crash"
    assert not steered.ended
    assert not (tmp_path / "capture").exists()


def test_a_qemu_that_is_killed_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)

    def kill(step: str, seconds: float | None) -> None:
        if step == "work" and seconds is None:
            for machine in guests(scratch):
                os.kill(machine, signal.SIGKILL)

    with pytest.raises(GuestFailed, match=r"ended before its work was done|QEMU is gone"):
        steer(race(), tmp_path / "capture", kill)
    assert not guests(scratch)
    assert not any(scratch.iterdir())
    assert not (tmp_path / "capture").exists()


def test_a_function_that_is_inlined_away_is_told_before_a_kernel_boots(tmp_path: Path) -> None:
    plan = race(move("freer", 1, "drain_pages_zone", At.ENTRY))
    with pytest.raises(NoSuchPlace, match=r"has no function drain_pages_zone\(\): it is inlined"):
        steer(plan, tmp_path / "capture")
    assert not (tmp_path / "capture").exists()


def test_what_nobody_can_play_is_told_before_a_kernel_boots(tmp_path: Path) -> None:
    plan = race(actors=(Actor("bpf", 1, "free_page_nolock", (1,)),))
    with pytest.raises(CannotPlay, match="it has no free_pages_nolock"):
        steer(plan, tmp_path / "capture")
