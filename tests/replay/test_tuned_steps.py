# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules for kernels whose pcplists size themselves: what is given back, by whom, and pages that are freed as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL, attached, table_of
from pagelab.linux.designs import design_named
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.pcp import order_to_pindex, put_on_pcplist
from pagelab.linux.state import IN_FLIGHT, ON_PCPLIST, TAIL, mem_map, pcp, pcp_auto, zone
from pagelab.replay import expect, irqs_off_steps, steps, tables, tuned_steps
from pagelab.replay.run import PROBES
from tests.linux.lab import configured, free_pages, zone_of


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with zone_of(nr_pages=64), configured(tables.capture, nr_events=3, stat_threshold=0):
        for one in (tables.cpu_replay, tables.left_over, tables.score, tables.verdict, tables.expected, tables.hotplug):
            table_of(one).reset()
        table_of(tables.high_doubt).reset()
        zone.free_pages = 1000  # far above the watermark
        yield


def events(*pids: int) -> None:
    table_of(tables.event).reset()
    for i, pid in enumerate(pids):
        tables.event[i].pid = pid


def test_single_pages_in_a_row_are_freed_as_one() -> None:
    for page in range(8, 12):
        mem_map[page].state = IN_FLIGHT
    tuned_steps.join_prepared(8, 2)
    assert [mem_map[page].state for page in range(8, 12)] == [IN_FLIGHT, TAIL, TAIL, TAIL]
    assert mem_map[8].compound_order == 2


def test_pages_of_which_one_is_elsewhere_are_not() -> None:
    for page in range(8, 12):
        mem_map[page].state = IN_FLIGHT
    mem_map[10].state = ON_PCPLIST
    tuned_steps.join_prepared(8, 2)
    assert mem_map[8].compound_order == 0
    assert mem_map[9].state == IN_FLIGHT


def test_who_was_come_upon_goes_on_with_what_he_has_still_to_give_back() -> None:
    events(7, 8)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 90
    tables.cpu_replay[0].give_back_from = 4
    tuned_steps.set_aside(1, 0)
    tables.cpu_replay[0].give_back = 5
    assert tuned_steps.goes_on(1, 0)
    tables.cpu_replay[0].give_back = 0
    assert tuned_steps.goes_on(0, 0)
    assert (tables.cpu_replay[0].give_back, tables.cpu_replay[0].give_back_from) == (90, 4)


def test_who_begins_anew_had_given_up() -> None:
    events(7, 8)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 90
    tuned_steps.set_aside(1, 0)
    tuned_steps.set_aside(0, 0)
    assert not tuned_steps.goes_on(0, 0)


@pytest.mark.parametrize(("high", "left"), [(690, 24), (9, 4)])
def test_who_frees_between_two_of_his_batches_goes_on_with_them_unless_that_is_too_much(high: int, left: int) -> None:
    """finish_task_switch() frees a stack before the task that was scheduled away goes on."""
    events(7, 7)
    tables.event[0].next = 1
    tables.event[1].kind = Kind.FREE_PCPPAGES_BULK
    tables.event[1].arg = left
    design_named("7.2").switch_on()
    pcp[0].batch = 4
    pcp[0].high = pcp_auto[0].high_min = pcp_auto[0].high_max = high
    for page in range(8):
        put_on_pcplist(0, page, order_to_pindex(MIGRATE_MOVABLE, 0), 0)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 24
    tables.cpu_replay[0].give_back_batch = 63
    tables.cpu_replay[0].in_batches = True
    tuned_steps.commit_tuned(0, 0, 8, 0, MIGRATE_MOVABLE)
    tuned_steps.bulk_tuned(1, 0)
    assert (tables.score[tables.SCORE_PAGESET].exact, tables.verdict.event) == (1, -1)
    assert tuned_steps.chunk_of(0) == left


@pytest.mark.parametrize(("listed", "first_missed"), [(0, -1), (1, 1)])
def test_batches_may_find_pcplists_that_another_cpu_has_emptied(listed: int, first_missed: int) -> None:
    """decay_pcp_high() is scheduled away between two of them, and memory goes offline meanwhile."""
    events(7, 7, 7)
    for i in range(3):
        tables.event[i].kind = Kind.FREE_PCPPAGES_BULK
        tables.event[i].arg = 1
    design_named("7.2").switch_on()
    for page in range(listed):
        put_on_pcplist(0, page, order_to_pindex(MIGRATE_MOVABLE, 0), 0)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 4
    tables.cpu_replay[0].in_batches = True
    with attached(PROBES):
        for i in range(3):
            steps.step_bulk(i, 0)
    assert tables.verdict.event == first_missed
    if first_missed == NIL:
        assert (tables.score[tables.SCORE_PAGESET].exact, tables.verdict.reason) == (3, tables.REASON_NONE)


@pytest.mark.parametrize(("shown", "is_refill"), [(Kind.RMQUEUE_PCPLIST_PAGE, True), (Kind.MM_PAGE_ALLOC, False)])
def test_a_single_page_is_a_refill_if_the_probe_shows_it_on_the_pcplist(shown: Kind, is_refill: bool) -> None:
    """high and batch were read while the pcplists were disabled, and zone_pcp_enable() came before zone->lock."""
    events(7, 7)
    tables.event[0].kind = Kind.MM_PAGE_ALLOC_ZONE_LOCKED
    tables.event[0].next = 1
    tables.event[1].kind = shown
    design_named("7.2").switch_on()
    pcp[0].batch = 63
    pcp[0].high = pcp_auto[0].high_min = pcp_auto[0].high_max = 252
    assert tuned_steps.is_refill(0, 0, 0) == is_refill


def test_a_refill_may_have_read_the_limits_of_disabled_pcplists_two_writes_ago() -> None:
    """zone_pcp_enable(), then zone_pcp_update(), before zone->lock is taken."""
    events(7, 7)
    tables.event[0].kind = Kind.MM_PAGE_ALLOC_ZONE_LOCKED
    tables.event[0].next = 1
    tables.event[1].kind = Kind.RMQUEUE_PCPLIST_PAGE
    design_named("7.2").switch_on()
    free_pages((0, 2))
    pcp[0].batch = tables.hotplug.old_batch = 4
    pcp_auto[0].high_min = pcp_auto[0].high_max = tables.hotplug.old_high = tables.hotplug.old_high_max = 16
    with attached(PROBES):
        assert tuned_steps.refill_tuned(0, 0, 0, MIGRATE_MOVABLE, 0) == 0
    assert (pcp[0].count, pcp[0].batch, pcp_auto[0].high_max) == (0, 4, 16)


def test_a_task_that_drains_may_go_on_elsewhere() -> None:
    events(7, 8)
    tables.cpu_replay[0].draining = 1
    tables.cpu_replay[0].draining_pid = 7
    tuned_steps.drainer_moved(1, 1)
    assert tables.cpu_replay[1].draining == -1
    tuned_steps.drainer_moved(0, 1)
    assert (tables.cpu_replay[0].draining, tables.cpu_replay[1].draining) == (-1, 1)


def test_a_task_that_moves_between_two_drains_is_done_with_the_first() -> None:
    events(7, 7)
    tables.event[0].kind, tables.event[0].cpu, tables.event[0].arg = Kind.DRAIN_PAGES_ZONE, 1, 1
    tables.event[1].kind, tables.event[1].cpu = Kind.FREE_PCPPAGES_BULK, 1
    design_named("7.2").switch_on()
    tables.cpu_replay[0].draining = 0
    tables.cpu_replay[0].draining_pid = 7
    steps.step(0)
    steps.step_bulk(1, 1)
    assert (tables.cpu_replay[0].draining, tables.cpu_replay[1].draining) == (NIL, 1)


@pytest.mark.parametrize(("shown", "batch"), [(2, 2), (6, 6), (1, 1), (4, 2)])
def test_a_refill_of_5_10_may_have_read_an_old_batch_that_was_larger(shown: int, batch: int) -> None:
    """A memory block went offline, and high and batch follow the zone's size; 4 pages are two refills."""
    with configured(tables.capture, nr_events=8):
        table_of(tables.event).reset()
        for i in range(shown):
            tables.event[i].kind, tables.event[i].next = Kind.MM_PAGE_ALLOC_ZONE_LOCKED, i + 1
        tables.event[shown].kind = Kind.MM_PAGE_ALLOC
        design_named("5.10").switch_on()
        pcp[0].batch, tables.hotplug.old_batch = 2, 6
        assert irqs_off_steps.batch_as_read(0, 0) == batch


@pytest.mark.parametrize(("kind", "free_count"), [(Kind.RMQUEUE_PCPLIST_PAGE, 4), (Kind.ALLOC_PAGES_BULK_PAGE, 8)])
def test_a_refill_for_a_bulk_allocation_leaves_free_count_alone(kind: Kind, free_count: int) -> None:
    design_named("7.2").switch_on()
    free_pages((0, 3), (8, 3))
    pcp[0].batch, pcp[0].high = 4, 16
    pcp_auto[0].high_min = pcp_auto[0].high_max = 16
    pcp_auto[0].free_count = 8
    with configured(tables.capture, nr_events=8):
        table_of(tables.event).reset()
        for i in range(4):
            tables.event[i].kind, tables.event[i].next = Kind.MM_PAGE_ALLOC_ZONE_LOCKED, i + 1
        tables.event[4].kind = kind
        assert tuned_steps.refill_tuned(0, 0, 0, MIGRATE_MOVABLE, 0) != NIL
    assert pcp_auto[0].free_count == free_count


@pytest.mark.parametrize(
    ("locked", "shown", "pages"),
    [(0, 5, 5), (0, 8, 8), (0, 10, 10), (0, 11, 5), (NIL, 8, 5), (1, 8, 5)],
    ids=["all taken by then", "three", "all to come", "more than that", "no drain", "of another CPU's pcplists"],
)
def test_high_decays_while_another_cpu_takes_pages_from_the_pcplists(locked: int, shown: int, pages: int) -> None:
    """That CPU has still to show 5 base pages, the model has taken them from pcp->count already."""
    design_named("7.2").switch_on()
    pcp[0].count, pcp[0].high, pcp[0].batch = 5, 0, 63
    tables.cpu_replay[1].locked = locked
    for order in (0, 2):
        expect.expect(1, Kind.MM_PAGE_PCPU_DRAIN, 0, order, MIGRATE_MOVABLE, NIL)
    events(7, 7)
    tables.event[0].next = 1
    tables.event[1].kind, tables.event[1].arg = Kind.FREE_PCPPAGES_BULK, shown
    assert tuned_steps.decay_during_drain(0, 0) == pages
    assert (pcp[0].count, pcp[0].high) == (5, 0)


def test_high_decays_by_what_count_was_then() -> None:
    design_named("7.2").switch_on()
    pcp[0].count, pcp[0].high, pcp[0].batch = 50, 24, 1
    pcp_auto[0].high_min = 8
    tables.cpu_replay[1].locked = 0
    for page in range(5):
        expect.expect(1, Kind.MM_PAGE_PCPU_DRAIN, page, 0, MIGRATE_MOVABLE, NIL)
    events(7, 7)
    tables.event[0].next = 1
    tables.event[1].kind, tables.event[1].arg = Kind.FREE_PCPPAGES_BULK, 32
    assert tuned_steps.decay_during_drain(0, 0) == 32
    assert (pcp[0].count, pcp[0].high) == (50, 21)


@pytest.mark.parametrize(("kind", "pages"), [(Kind.ZONE_PCP_ENABLE, 1), (Kind.WAKE_KSWAPD, 0)])
def test_a_free_may_have_read_the_limits_of_disabled_pcplists(kind: Kind, pages: int) -> None:
    """They were enabled, and high and batch set once more, before it got to giving pages back."""
    design_named("7.2").switch_on()
    put_on_pcplist(0, 5, order_to_pindex(MIGRATE_MOVABLE, 0), 0)
    pcp[0].high, pcp[0].batch = 0, 63
    pcp_auto[0].high_min = pcp_auto[0].high_max = 252
    tables.hotplug.old_high, tables.hotplug.old_high_max, tables.hotplug.old_batch = 252, 252, 63
    events(7, 8, 7)
    tables.event[1].kind, tables.event[1].cpu = kind, 1
    tables.event[2].kind, tables.event[2].arg = Kind.FREE_PCPPAGES_BULK, 1
    tables.cpu_replay[0].hold_migratetype = MIGRATE_MOVABLE
    tuned_steps.decide(2, 0)
    assert tables.cpu_replay[0].give_back == pages
    assert (pcp_auto[0].high_min, pcp[0].batch) == (252, 63)
