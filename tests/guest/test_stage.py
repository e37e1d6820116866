# SPDX-License-Identifier: GPL-2.0-or-later
"""Which program plays which actor, and where the pages of a plan are."""

from __future__ import annotations

import pytest

from pagelab.check.actors import PROCEDURES
from pagelab.errors import GuestFailed
from pagelab.guest.detours import contig_range
from pagelab.guest.stage import CURTAIN, Stage, guest_files, place_of, roles_of, shell_cpu
from pagelab.steer.plan import Actor, PageSeen, Plan, Seen, Where

BLOCK = 1 << 15


def plan(*actors: Actor, initial: Seen | None = None, kernel: str = "5.10") -> Plan:
    return Plan(kernel, kernel, "made", "stray", 2, 1, 1, actors, initial or Seen(), ())


OFFLINER, FREER = Actor("offliner", 0, "offline_pages", (0, 1)), Actor("freer 1", 1, "free_page", (0,))


def test_who_has_pages_starts_before_who_takes_them_offline() -> None:
    roles = list(roles_of(plan(OFFLINER, FREER)).values())
    assert [role.mode for role in roles] == ["free", "write", "wait"]
    assert roles[0].line() == "freer-1 0 free 1 1 64"
    assert roles[1].line() == "offliner 0 write 0 state offline"
    assert roles[-1].name == CURTAIN


def test_the_shell_runs_where_nobody_frees() -> None:
    assert shell_cpu(plan(OFFLINER, FREER)) == 0
    assert shell_cpu(plan(Actor("freer", 0, "free_page", (0,)))) == 1


@pytest.mark.parametrize("run", PROCEDURES)
def test_every_procedure_of_a_scenario_can_be_played(run: str) -> None:
    values = {"cpu": 1, "thread": 0, "number": 2}
    parameters = tuple(values.get(kind, 1) for kind in PROCEDURES[run].parameters.values())
    assert len(roles_of(plan(OFFLINER, Actor("it", 1, run, parameters)))) == 3


def test_a_signal_goes_to_who_takes_memory_offline() -> None:
    roles = roles_of(plan(OFFLINER, Actor("killer", 1, "signal", (0,))))
    assert roles["killer"].line() == "killer 0 kill 1 pid:offliner"
    assert list(roles) == ["offliner", "killer", CURTAIN]


def test_pages_that_are_on_a_pcplist_at_the_start_are_put_there() -> None:
    initial = Seen(pages={2: PageSeen(Where.ALLOCATED), 3: PageSeen(Where.PCPLIST, 1, 1)})
    roles = roles_of(plan(OFFLINER, initial=initial))
    assert roles["stock-1-99"].line() == "stock-1-99 99 stock 1 1 64"
    assert roles["stock-1-99"].pages == (3,)


def test_memory_that_comes_or_goes_is_a_block_of_its_own() -> None:
    two = plan(Actor("a", 0, "offline_pages", (0, 2)), Actor("b", 1, "online_pages", (2, 1)))
    assert [place_of(two, block) for block in range(4)] == [0, 0, 2, 99]


def heard(stage: Stage, of: Plan, *lines: str) -> Stage:
    for line in lines:
        word, _, rest = line.partition(" ")
        stage.hear(word, rest, roles_of(of))
    return stage


def test_the_guest_says_where_the_pages_are() -> None:
    of = plan(OFFLINER, FREER)
    stage = heard(Stage(), of, "online 32 33", "place 0 32", "actor freer-1 217 8180000000100123", "actor offliner 220")
    assert stage.page_frames == {0: 0x100123}
    assert stage.playing["freer 1"].pid == 217
    assert stage.pageblock_frame(0, of) == 0x100123
    assert stage.pageblock_frame(1, of) == 33 * BLOCK + 512  # not in the block that goes offline


def test_a_page_that_the_guest_does_not_find_is_told() -> None:
    with pytest.raises(GuestFailed, match="where the pages of freer 1 are"):
        heard(Stage(), plan(FREER), "actor freer-1 217 0000000000000000")


@pytest.mark.parametrize(
    ("page", "count", "start", "pages"), [(2, 2, 0x100400, 512), (1, 2, 0x100300, 512), (0, 4, 0x100200, 1024)]
)
def test_a_range_of_the_scenario_is_one_of_larger_pageblocks(page: int, count: int, start: int, pages: int) -> None:
    contig = Actor("contig", 0, "alloc_contig_range", (page, count))
    freer = Actor("freer 1", 1, "free_page", (2,))
    of = plan(contig, freer)
    stage = heard(Stage(), of, "online 32 33", "place 99 32", "actor freer-1 217 8180000000100456")
    assert contig_range(of, contig, stage) == (start, start + pages)


def test_the_guest_gets_a_program_a_script_and_the_actors() -> None:
    files = guest_files(roles_of(plan(OFFLINER, FREER)))
    assert files["bin/actor"][:4] == b"\x7fELF"
    assert files["bin/play"].startswith(b"#!/bin/busybox sh")
    assert files["etc/actors"].splitlines()[-1] == b"curtain 0 wait 0 0 64"
