# SPDX-License-Identifier: GPL-2.0-or-later
"""Free lists that compaction has turned, and pages that it takes one by one and frees as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL, attached, lock, table_of
from pagelab.linux.designs import design_named
from pagelab.linux.migratetype import MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from pagelab.linux.state import ALLOCATED, TAIL, mem_map, pcp, pcp_auto, zone
from pagelab.replay import contig_steps, steps, tables
from pagelab.replay.compaction_steps import set_first_as_shown
from pagelab.replay.run import PROBES, STATE
from tests.linux.lab import configured, free_list, free_pages, zone_of


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with zone_of(nr_pages=128), configured(tables.capture, nr_events=16, stat_threshold=0):
        design_named("7.2").switch_on()
        for one in (*STATE, tables.event):
            table_of(one).reset()
        tables.verdict.compacted = True
        zone.free_pages = 1000
        yield


def taken(*pages: int, order: int = 0) -> None:
    """CPU 0 takes them under one hold of zone->lock."""
    for i, page in enumerate(pages):
        tables.event[i].kind, tables.event[i].page, tables.event[i].order = Kind.MM_PAGE_ALLOC_ZONE_LOCKED, page, order
        tables.event[i].migratetype, tables.event[i].arg = MIGRATE_MOVABLE, int(order == 0)
        tables.event[i].next = i + 1
    tables.event[len(pages)].kind = Kind.RMQUEUE_PCPLIST_PAGE


def notes(count: int) -> list[int]:
    return [tables.event[i].note for i in range(count)]


def test_what_was_searched_is_behind_the_rest() -> None:
    free_pages((0, 2), (4, 2), (8, 2), (12, 2))
    taken(8)
    set_first_as_shown(0)
    assert free_list(2) == [8, 12, 0, 4]
    assert notes(1) == [tables.NOTE_SHOWN]


def test_a_list_that_is_as_the_model_has_it_stays() -> None:
    free_pages((0, 2), (4, 2), (8, 2))
    taken(0, 1, 2, 3, 4)
    set_first_as_shown(0)
    assert free_list(2) == [0, 4, 8]
    assert notes(5) == [tables.NOTE_NONE] * 5


def test_each_order_has_a_first_page_of_its_own_and_the_next_ones_follow_it() -> None:
    free_pages((0, 1), (2, 1), (4, 1), (16, 2), (20, 2), (24, 2))
    taken(4, 5, 2, 3, 20, 21)
    set_first_as_shown(0)
    assert free_list(1) == [4, 2, 0]
    assert free_list(2) == [20, 24, 16]
    assert notes(6) == [3, 0, 3, 0, 3, 0]


def test_without_compaction_another_page_is_a_miss() -> None:
    tables.verdict.compacted = False
    free_pages((0, 2), (4, 2))
    taken(4)
    set_first_as_shown(0)
    assert free_list(2) == [0, 4]


def test_lists_of_other_types_are_not_turned() -> None:
    free_pages((0, 2), (4, 2), migratetype=MIGRATE_UNMOVABLE)
    taken(4)
    set_first_as_shown(0)
    assert free_list(2, MIGRATE_UNMOVABLE) == [0, 4]


def test_only_the_event_that_tells_is_unknown() -> None:
    free_pages((0, 0), (1, 0), (2, 0), (8, 3))
    pcp[0].batch, pcp[0].high = 2, 8
    pcp_auto[0].high_min = pcp_auto[0].high_max = 8
    taken(1, 2)
    with attached(PROBES):
        for i in range(2):
            steps.step_zone_locked(i, 0)
    refill = tables.score[tables.SCORE_REFILL]
    assert (refill.total, refill.exact, refill.unknown) == (2, 1, 1)
    assert tables.reason[tables.REASON_COMPACTION].count == 1
    assert (tables.verdict.reason, tables.verdict.event) == (tables.REASON_NONE, NIL)


@pytest.mark.parametrize(("compacted", "order"), [(True, 2), (False, 0)])
def test_pages_that_compaction_took_may_be_freed_as_one(compacted: bool, order: int) -> None:
    tables.verdict.compacted = compacted
    for page in range(8, 12):
        mem_map[page].state, mem_map[page].compound_order = ALLOCATED, 0
    contig_steps.join_taken(8, 2)
    assert mem_map[8].compound_order == order
    assert mem_map[9].state == (TAIL if compacted else ALLOCATED)


def test_a_batch_that_found_nothing_is_over_when_its_cpu_takes_pages() -> None:
    free_pages((0, 0), (1, 0))
    pcp[0].batch, pcp[0].high = 2, 8
    pcp_auto[0].high_min = pcp_auto[0].high_max = 8
    taken(0, 1)
    tables.cpu_replay[0].hold, tables.cpu_replay[0].give_back = tables.HOLD_GIVE_BACK, 1
    tables.cpu_replay[0].in_batches = True
    lock(pcp[0].lock)
    with attached(PROBES):
        for i in range(2):
            steps.step_zone_locked(i, 0)
    assert (tables.score[tables.SCORE_REFILL].exact, tables.verdict.event) == (2, NIL)
    assert pcp[0].count == 1  # a refill of two, of which one was taken
