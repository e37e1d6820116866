# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolation: what moves, what is split, what is undone."""

from __future__ import annotations

import errno

import pytest

from pagelab.lang.declare import attached
from pagelab.linux import buddy, page_alloc, page_isolation, trace
from pagelab.linux.alloc_flags import ALLOC_CMA
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from pagelab.linux.state import mem_map, pageblock, zone
from tests.linux.lab import SMALL, check_quiet_state, free_lists, recorded, zone_of


def alloc(order: int, migratetype: int = MIGRATE_MOVABLE) -> int:
    page = page_alloc.get_page_from_freelist(0, order, ALLOC_CMA, migratetype)
    assert page >= 0
    return page


def test_isolating_a_block_in_the_middle_of_a_free_page_splits_it_and_undoing_merges_it() -> None:
    with zone_of(online=256, **SMALL):
        before = free_lists()
        assert page_isolation.start_isolate_page_range(0, 40, 48, MIGRATE_MOVABLE) == 0
        check_quiet_state()
        assert free_lists(MIGRATE_ISOLATE) == {3: [40]}
        assert zone.free_pages == 248
        page_isolation.undo_isolate_page_range(0, 40, 48, MIGRATE_MOVABLE)
        check_quiet_state()
        assert {order: sorted(pages) for order, pages in free_lists().items()} == before


def test_range_is_rounded_to_pageblocks() -> None:
    with zone_of(online=256, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 45, 61, MIGRATE_MOVABLE) == 0
        assert [b for b in range(32) if pageblock[b].migratetype == MIGRATE_ISOLATE] == [5, 6, 7]
        check_quiet_state()
        page_isolation.undo_isolate_page_range(0, 45, 61, MIGRATE_MOVABLE)
        assert zone.nr_isolate_pageblock == 0
        check_quiet_state()


def test_isolated_block_fails_a_second_isolation_which_undoes_its_own() -> None:
    with zone_of(online=256, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 64, 72, MIGRATE_MOVABLE) == 0
        for start, end in [(32, 96), (64, 96), (32, 72), (64, 72)]:
            assert page_isolation.start_isolate_page_range(0, start, end, MIGRATE_MOVABLE) == -errno.EBUSY
            assert [b for b in range(32) if pageblock[b].migratetype == MIGRATE_ISOLATE] == [8]
            check_quiet_state()


def test_isolation_of_the_whole_zone() -> None:
    with zone_of(online=256, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 0, 256, MIGRATE_MOVABLE) == 0
        assert zone.free_pages == 0
        assert page_isolation.test_pages_isolated(0, 0, 256) == 0
        check_quiet_state()


def test_pages_isolated_names_the_first_page_that_is_not_free() -> None:
    with zone_of(online=256, **SMALL):
        page = alloc(4)
        assert page == 0
        with recorded(trace.test_pages_isolated) as seen:
            assert page_isolation.test_pages_isolated(1, 16, 64) == -errno.EBUSY  # not isolated
            assert page_isolation.start_isolate_page_range(1, 0, 64, MIGRATE_MOVABLE) == 0
            assert page_isolation.test_pages_isolated(1, 0, 64) == -errno.EBUSY
            assert page_isolation.test_pages_isolated(1, 16, 64) == 0
            page_alloc.free_the_page(0, page, 4)
            assert page_isolation.test_pages_isolated(1, 0, 64) == 0
        assert [args for _, args in seen] == [(1, 16, 64, 16), (1, 0, 64, 0), (1, 16, 64, 64), (1, 0, 64, 64)]


def test_page_freed_in_an_isolated_block_joins_it() -> None:
    with zone_of(online=256, **SMALL):
        page = alloc(2)
        assert page_isolation.start_isolate_page_range(0, 0, 8, MIGRATE_MOVABLE) == 0
        page_alloc.free_the_page(0, page, 2)
        assert free_lists(MIGRATE_ISOLATE) == {3: [0]}
        check_quiet_state()


def test_allocation_across_the_boundary_is_migrated_first() -> None:
    with zone_of(online=256, **SMALL):
        page = alloc(4)
        assert page_isolation.start_isolate_page_range(0, 8, 16, MIGRATE_MOVABLE) == -errno.EBUSY
        check_quiet_state()
        with attached(
            {trace.alloc_contig_migrate_range: lambda cpu, start, end: page_alloc.free_the_page(cpu, start, 4)}
        ):
            assert page_isolation.start_isolate_page_range(0, 8, 16, MIGRATE_MOVABLE) == 0
        assert page == 0
        assert free_lists(MIGRATE_ISOLATE) == {3: [8]}
        check_quiet_state()


def test_unmovable_allocation_across_the_boundary_fails_it() -> None:
    with zone_of(online=256, **SMALL):
        mem_map[alloc(4)].movable = False
        assert page_isolation.start_isolate_page_range(0, 8, 16, MIGRATE_MOVABLE) == -errno.EBUSY
        check_quiet_state()


@pytest.mark.parametrize(("zone_movable", "error"), [(True, 0), (False, -errno.EBUSY)])
def test_unmovable_page(zone_movable: bool, error: int) -> None:
    with zone_of(online=256, zone_movable=zone_movable, **SMALL):
        page = alloc(1)
        mem_map[page].movable = False
        assert page_isolation.start_isolate_page_range(0, 0, 32, MIGRATE_MOVABLE) == error
        assert page_isolation.start_isolate_page_range(0, 32, 64, MIGRATE_MOVABLE) == 0
        check_quiet_state()


def test_only_what_lies_in_the_range_must_be_movable() -> None:
    with zone_of(online=256, zone_movable=False, **SMALL):
        mem_map[alloc(1)].movable = False
        assert page_isolation.has_unmovable_pages(2, 8, MIGRATE_MOVABLE) == -1
        assert page_isolation.has_unmovable_pages(1, 8, MIGRATE_MOVABLE) == 1
        assert page_isolation.has_unmovable_pages(0, 8, MIGRATE_MOVABLE) == 0


@pytest.mark.parametrize(("start", "end", "error"), [(0, 8, -errno.EBUSY), (0, 1, -errno.EBUSY), (2, 16, 0)])
def test_pageblock_is_searched_only_within_the_range(start: int, end: int, error: int) -> None:
    with zone_of(online=256, zone_movable=False, **SMALL):
        mem_map[alloc(1)].movable = False
        assert page_isolation.set_migratetype_isolate(0, 0, MIGRATE_MOVABLE, start, end) == error
        check_quiet_state()


def test_cma_block_is_for_cma_only() -> None:
    with zone_of(online=256, **SMALL):
        pageblock[2].migratetype = MIGRATE_CMA
        assert page_isolation.has_unmovable_pages(16, 24, MIGRATE_MOVABLE) == 16
        assert page_isolation.has_unmovable_pages(16, 24, MIGRATE_CMA) == -1


def test_memory_that_is_not_online_is_not_isolated() -> None:
    with zone_of(online=128, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 120, 136, MIGRATE_MOVABLE) == -errno.EBUSY
        assert page_isolation.start_isolate_page_range(0, 96, 128, MIGRATE_MOVABLE) == 0
        check_quiet_state()


def test_block_given_back_merges_only_if_the_zone_has_enough_free_memory() -> None:
    """A free page outside is taken off its list to merge; that obeys the watermark, one inside does not."""
    with zone_of(online=256, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 8, 16, MIGRATE_MOVABLE) == 0
        zone.watermark_min = 1000
        page_isolation.undo_isolate_page_range(0, 8, 16, MIGRATE_MOVABLE)
        assert free_lists(MIGRATE_ISOLATE) == {}
        assert 0 in free_lists()[4]
        check_quiet_state()
        assert buddy.__isolate_free_page(0, 0, 4) == 0


def test_unisolated_as_another_type() -> None:
    with zone_of(online=256, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 0, 32, MIGRATE_MOVABLE) == 0
        page_isolation.undo_isolate_page_range(0, 0, 32, MIGRATE_UNMOVABLE)
        assert free_lists(MIGRATE_UNMOVABLE) == {4: [0, 16]}
        assert zone.free_pages == 256
        check_quiet_state()


def test_free_page_of_four_pageblocks_merges_again_behind_the_split() -> None:
    """What 6.1 does where a free page can be larger than two pageblocks, which it cannot on x86-64.

    The last pageblock is isolated before those between.  The split at the end of the range leaves a part whose first
    pageblock is not isolated yet; that one merges with the rest, and reaches across the end ever after.
    """
    with zone_of(online=256, **(SMALL | {"max_order": 6})):
        assert page_isolation.start_isolate_page_range(0, 0, 48, MIGRATE_MOVABLE) == 0
        assert free_lists(MIGRATE_ISOLATE)[5] == [0, 32]
        assert [pageblock[b].migratetype == MIGRATE_ISOLATE for b in (4, 5, 6, 7)] == [True, True, False, False]
