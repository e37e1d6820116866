# SPDX-License-Identifier: GPL-2.0-or-later
"""pcp->high where flags of the zone and vain refills, which no event shows, may have changed it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL, attached, table_of
from pagelab.linux.designs import design_named
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE
from pagelab.linux.pcp import order_to_pindex, put_on_pcplist
from pagelab.linux.state import machine, pcp, pcp_auto, set_pageblock_migratetype, zone, zone_auto
from pagelab.replay import high_in_doubt, tables, tuned_steps
from pagelab.replay.fallback_steps import taken_over_by
from pagelab.replay.run import PROBES, STATE
from tests.linux.lab import configured, free_pages, zone_of

HIGH_MIN, HIGH, HIGH_MAX, BATCH = 20, 40, 100, 4


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with zone_of(nr_pages=128), configured(tables.capture, nr_events=8, stat_threshold=12):
        design_named("7.2").switch_on()
        for one in (*STATE, tables.event):
            table_of(one).reset()
        tables.verdict.nr_events = 8
        zone.free_pages = 1000
        zone.watermark_high = 100
        for cpu in range(machine.nr_cpus):
            pcp[cpu].batch, pcp[cpu].high = BATCH, HIGH
            pcp_auto[cpu].high_min, pcp_auto[cpu].high_max = HIGH_MIN, HIGH_MAX
        yield


def fill(pages: int, first: int = 0) -> None:
    for page in range(first, first + pages):
        put_on_pcplist(0, page, order_to_pindex(MIGRATE_MOVABLE, 0), 0)


def events(*kinds: tuple[Kind, int]) -> None:
    """All by one task on CPU 0."""
    for i, (kind, arg) in enumerate(kinds):
        tables.event[i].kind, tables.event[i].arg, tables.event[i].pid = kind, arg, 7
        tables.event[i].next = i + 1 if i + 1 < len(kinds) else NIL


def commit(page: int) -> None:
    """A page is freed, and no event follows."""
    events((Kind.FREE_UNREF_PAGE_COMMIT, 0))
    tuned_steps.commit_tuned(0, 0, page, 0, MIGRATE_MOVABLE)


def commit_and_give_back(listed: int, asked: int) -> None:
    """A page is freed where ``listed`` pages are on the pcplist, and free_pcppages_bulk() is asked for some."""
    fill(listed)
    events((Kind.FREE_UNREF_PAGE_COMMIT, 0), (Kind.FREE_PCPPAGES_BULK, asked))
    tuned_steps.commit_tuned(0, 0, listed, 0, MIGRATE_MOVABLE)
    tuned_steps.bulk_tuned(1, 0)


def maybe_below() -> bool:
    return tables.verdict.maybe_below


def range_of_high() -> tuple[int, int]:
    return tables.high_doubt[0].low, tables.high_doubt[0].top


def test_there_is_no_doubt_while_memory_is_ample() -> None:
    commit(0)
    assert range_of_high() == (NIL, 0)


def test_boosted_watermarks_and_lagging_counters_count() -> None:
    zone.free_pages = 100 + 12 * machine.nr_cpus
    assert not high_in_doubt.memory_is_ample()
    zone.free_pages += 1
    assert high_in_doubt.memory_is_ample()
    tables.verdict.boosted = True
    assert not high_in_doubt.memory_is_ample()


def test_while_kswapd_is_awake_high_may_fall_with_each_free() -> None:
    tables.verdict.kswapd = True
    commit(0)
    assert range_of_high() == (HIGH - BATCH, HIGH)
    for page in range(1, 8):
        commit(page)
    assert range_of_high() == (HIGH_MIN, HIGH)


def test_what_is_given_back_while_kswapd_is_awake_tells_of_the_flag() -> None:
    tables.verdict.kswapd = True
    commit_and_give_back(4 * BATCH - 1, BATCH)
    assert (tables.score[tables.SCORE_PAGESET].unknown, tables.verdict.event) == (1, NIL)
    assert tables.reason[tables.REASON_HIGH].count == 1
    assert tables.verdict.reason == tables.REASON_NONE  # the pages are predicted all the same


def test_what_no_flag_explains_is_missed_even_in_doubt() -> None:
    tables.verdict.kswapd = True
    commit_and_give_back(2, 3)
    assert (tables.score[tables.SCORE_PAGESET].unknown, tables.verdict.event) == (0, 1)


def test_kswapd_that_sleeps_explains_nothing() -> None:
    tables.verdict.maybe_below = True
    commit_and_give_back(4 * BATCH - 1, BATCH)
    assert tables.verdict.event == 1


def test_more_than_a_task_has_still_to_give_back_is_not_what_it_had_left() -> None:
    """It was scheduled away between two batches and gave up; now it finds the pcplists full once more."""
    tables.verdict.kswapd = True
    fill(4 * BATCH - 1)
    kinds = [(Kind.FREE_UNREF_PAGE_COMMIT, 0), *[(Kind.FREE_PCPPAGES_BULK, BATCH)] * 3]
    events(*kinds)
    pcp_auto[0].free_count = 2 * BATCH
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 2 * BATCH
    tuned_steps.commit_tuned(0, 0, 4 * BATCH - 1, 0, MIGRATE_MOVABLE)
    assert tables.cpu_replay[0].give_back == NIL  # not known before free_pcppages_bulk() is entered
    pcp_auto[0].free_count = 3 * BATCH
    tuned_steps.bulk_tuned(1, 0)
    assert tables.cpu_replay[0].give_back == 3 * BATCH


def test_a_full_pcplist_of_which_nothing_is_given_back_has_a_higher_limit() -> None:
    fill(HIGH - 1)
    tables.high_doubt[0].low, tables.high_doubt[0].top = HIGH, HIGH + 2
    commit(HIGH - 1)
    assert range_of_high() == (HIGH + 1, HIGH + 2)
    commit(HIGH)
    assert range_of_high() == (NIL, HIGH + 2)  # it is one value, and memory is ample
    assert pcp[0].high == HIGH + 2


def test_few_values_tell_as_much_as_all_of_them_where_nothing_is_given_back() -> None:
    """Against the search of all values, for random limits, flags and histories."""
    rng = random.Random(1)
    fitted = 0
    for _ in range(2000):
        tables.verdict.kswapd, tables.verdict.maybe_below = rng.random() < 0.5, rng.random() < 0.5
        pcp[0].batch = rng.randint(1, 8)
        pcp_auto[0].high_min = rng.randint(1, 30)
        pcp_auto[0].high_max = rng.randint(pcp_auto[0].high_min, 80)
        pcp_auto[0].free_count = rng.randint(0, 30)
        pcp[0].count = rng.randint(1, 90)
        low = rng.randint(0, 80)
        top = rng.randint(low, 90)
        tables.high_doubt[0].low, tables.high_doubt[0].top = low, top
        order = rng.randint(0, 3)
        fits = high_in_doubt.narrow(0, order, False, 0, 0)
        few = tables.high_doubt[0].new_low, tables.high_doubt[0].new_top
        tables.high_doubt[0].new_low = NIL
        for high in range(low, top + 1):
            high_in_doubt.try_factors(0, order, False, high, 0, 0)
        if fits == high_in_doubt.FITS_NOT:
            assert tables.high_doubt[0].new_low == NIL
        else:
            assert few == (tables.high_doubt[0].new_low, tables.high_doubt[0].new_top)
            fitted += 1
    assert 500 < fitted < 1900


def test_below_the_watermark_ends_with_a_bulk_free_above_it() -> None:
    zone.free_pages = 90
    high_in_doubt.look_at_watermark()
    assert maybe_below()
    assert high_in_doubt.may_be(high_in_doubt.FLAG_BELOW)
    assert high_in_doubt.may_be(0)
    high_in_doubt.clear_maybe_below()
    assert maybe_below()
    zone.free_pages = 1000
    zone_auto.below_high = True
    high_in_doubt.clear_maybe_below()
    assert not maybe_below()
    assert not high_in_doubt.may_be(high_in_doubt.FLAG_BELOW)


def test_an_allocation_that_got_its_page_elsewhere_may_have_raised_high() -> None:
    high_in_doubt.look_for_silent_refill(0, 0, MIGRATE_MOVABLE)
    assert range_of_high() == (HIGH, HIGH_MAX)
    assert tables.high_doubt[0].factor_top == machine.pcp_batch_scale_max


@pytest.mark.parametrize(
    ("then", "free_pages_there", "free_count"),
    [(Kind.RMQUEUE_PCPLIST_PAGE, 1000, 4), (Kind.ALLOC_PAGES_BULK_PAGE, 1000, 8), (Kind.RMQUEUE_PCPLIST_PAGE, 90, 8)],
    ids=["twice at once", "in bulk", "perhaps not from this zone, the first time"],
)
def test_an_allocation_tries_without_fragmenting_memory_first(
    then: Kind, free_pages_there: int, free_count: int
) -> None:
    events((Kind.MM_PAGE_ALLOC_ZONE_LOCKED, 0), (then, 0))
    zone.free_pages = free_pages_there
    pcp_auto[0].free_count = 8
    high_in_doubt.tried_before(0, 0, 0, MIGRATE_RECLAIMABLE)
    assert pcp_auto[0].free_count == free_count


@pytest.mark.parametrize("migratetype", [MIGRATE_MOVABLE, MIGRATE_HIGHATOMIC])
def test_it_has_not_where_there_was_a_page_or_no_pcplist(migratetype: int) -> None:
    free_pages((0, 0))
    high_in_doubt.look_for_silent_refill(0, 0, migratetype)
    assert range_of_high() == (NIL, 0)


def test_an_alloc_factor_in_doubt_halves_as_pages_are_freed_and_shows_in_a_refill() -> None:
    free_pages((32, 5), (64, 5))
    high_in_doubt.look_for_silent_refill(0, 0, MIGRATE_RECLAIMABLE)
    for page in range(3):
        commit(page)
    assert tables.high_doubt[0].factor_top == machine.pcp_batch_scale_max >> 3 == 0
    tables.high_doubt[0].factor_top = 2
    pcp[0].count = 0
    assert high_in_doubt.narrow(0, 0, True, 2 * BATCH, 2 * BATCH) == high_in_doubt.FITS
    assert pcp_auto[0].alloc_factor == 1
    high_in_doubt.settle(0, True)
    assert pcp_auto[0].alloc_factor == tables.high_doubt[0].factor_top == 2
    assert high_in_doubt.narrow(0, 0, True, 999, 999) == high_in_doubt.FITS_NOT


@pytest.mark.parametrize("pages", [BATCH // 2, BATCH])
def test_a_refill_that_took_all_there_was_tells_little(pages: int) -> None:
    locked = [(Kind.MM_PAGE_ALLOC_ZONE_LOCKED, 0)] * pages
    events(*locked, (Kind.RMQUEUE_PCPLIST_PAGE, 0))
    free_pages((32, pages.bit_length() - 1))
    high_in_doubt.look_for_silent_refill(0, 0, MIGRATE_RECLAIMABLE)
    tables.high_doubt[0].low, tables.high_doubt[0].top = HIGH, HIGH
    with attached(PROBES):
        assert tuned_steps.refill_tuned(0, 0, 0, MIGRATE_MOVABLE, 0) == 32
    assert pcp[0].count == pages - 1
    assert range_of_high() == (HIGH_MIN, HIGH_MAX)


@pytest.mark.parametrize(("shown", "low", "top"), [(0, 60, 88), (5, 55, 55), (17, 44, 88)])
def test_what_decays_tells_what_high_is(shown: int, low: int, top: int) -> None:
    """From 50..100 to 44..88; with a count of 60 up to 16 pages are too many."""
    pcp[0].count = 60
    tables.high_doubt[0].low, tables.high_doubt[0].top = 50, 100
    assert high_in_doubt.decay_in_doubt(0, shown) == min(shown, 16)
    assert (pcp[0].high, tables.high_doubt[0].top) == (low, top)


def test_a_claimed_pageblock_tells_whose_it_is_after_its_first_page() -> None:
    kinds = (Kind.MOVE_FREEPAGES_BLOCK, Kind.MOVE_FREEPAGES_BLOCK_DONE, Kind.MM_PAGE_ALLOC_ZONE_LOCKED)
    events(*((kind, 0) for kind in (*kinds, Kind.MM_PAGE_ALLOC_EXTFRAG)))
    tables.event[0].page = 0
    assert taken_over_by(0) == 3
    design_named("6.1").switch_on()
    assert taken_over_by(0) == NIL
    design_named("7.2").switch_on()
    set_pageblock_migratetype(0, MIGRATE_HIGHATOMIC)  # it is given back, and somebody else takes pages
    assert taken_over_by(0) == NIL


def test_a_limit_that_is_set_before_the_cpu_goes_on_may_be_the_one_that_was_read() -> None:
    """zone_pcp_enable(), then zone_pcp_update(), while a free reads the limits: it may have found either."""
    for number, (cpu, kind, high) in enumerate(
        ((0, Kind.FREE_UNREF_PAGE_COMMIT, 0), (1, Kind.ZONE_SET_PAGESET, 40), (1, Kind.ZONE_SET_PAGESET, 30))
    ):
        tables.event[number].cpu, tables.event[number].kind, tables.event[number].page = cpu, kind, high
    tables.event[3].cpu = 0
    tables.event[4].cpu, tables.event[4].kind, tables.event[4].page = 1, Kind.ZONE_SET_PAGESET, 10
    pcp[0].high = pcp_auto[0].high_min = pcp_auto[0].high_max = 0
    pcp[0].batch = 1
    tables.hotplug.old_high, tables.hotplug.old_high_max, tables.hotplug.old_batch = 40, 100, BATCH
    tuned_steps.commit_tuned(0, 0, 0, 0, MIGRATE_MOVABLE)
    assert range_of_high() == (30, 40)


@pytest.mark.parametrize(
    ("gone_on", "shown", "range_then"),
    [(False, BATCH, (HIGH + BATCH, HIGH + 11 + BATCH)), (True, BATCH, (NIL, 0)), (False, 1, (NIL, 0))],
    ids=["perhaps not written yet", "who sets them has gone on", "the old ones would have had another result"],
)
def test_limits_that_are_just_being_set_may_not_be_in_force(
    gone_on: bool, shown: int, range_then: tuple[int, int]
) -> None:
    """A refill raises pcp->high to high_min first: to that of before, if its CPU does not see the new one."""
    free_pages((32, 5), (64, 5))
    locked = [(Kind.MM_PAGE_ALLOC_ZONE_LOCKED, 0)] * shown
    events((Kind.ZONE_SET_PAGESET, 0), (Kind.ADJUST_MANAGED_PAGE_COUNT, 0), *locked, (Kind.RMQUEUE_PCPLIST_PAGE, 0))
    tables.event[0].pid, tables.event[1].pid = 9, 9 if gone_on else 8
    tables.hotplug.set_at = 0
    tables.hotplug.old_high, tables.hotplug.old_high_max, tables.hotplug.old_batch = HIGH + 11, HIGH_MAX, BATCH
    if shown == 1:
        tables.hotplug.old_batch, pcp[0].batch = BATCH, 1
    with attached(PROBES):
        assert tuned_steps.refill_tuned(2, 0, 0, MIGRATE_MOVABLE, 0) == 32
    assert range_of_high() == range_then
    assert pcp[0].high == HIGH + pcp[0].batch
    assert (pcp_auto[0].high_min, pcp_auto[0].high_max) == (HIGH_MIN, HIGH_MAX)


def test_no_event_is_looked_at_twice_for_who_sets_limits() -> None:
    """Or a task that never shows anything again would make a long trace take the square of its length."""
    events(*[(Kind.MM_PAGE_ALLOC, 0)] * 6)
    for i, pid in enumerate((9, 8, 9, 8, 8, 9)):
        tables.event[i].pid = pid
    tables.hotplug.set_at = 2
    assert tuned_steps.are_being_set(3)
    assert tables.hotplug.looked == 4
    assert tuned_steps.are_being_set(4)
    assert not tuned_steps.are_being_set(5)
    assert tables.hotplug.set_at == NIL


def test_a_free_that_gives_nothing_back_may_have_been_held_to_the_old_limits() -> None:
    events((Kind.ZONE_SET_PAGESET, 0), (Kind.FREE_UNREF_PAGE_COMMIT, 0), (Kind.MM_PAGE_FREE, 0))
    tables.event[0].pid = 9
    tables.hotplug.set_at = 0
    tables.hotplug.old_high, tables.hotplug.old_high_max, tables.hotplug.old_batch = HIGH + 11, HIGH_MAX, BATCH
    tuned_steps.commit_tuned(1, 0, 5, 0, MIGRATE_MOVABLE)
    assert range_of_high() == (HIGH, HIGH + 11)
