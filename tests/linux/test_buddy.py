# SPDX-License-Identifier: GPL-2.0-or-later
"""Buddy lists: order of pages, merging, splitting, and the limits of merging."""

from __future__ import annotations

import errno

import pytest

from pagelab.linux import buddy, page_alloc, trace
from pagelab.linux.alloc_flags import ALLOC_CMA, ALLOC_HIGHATOMIC, ALLOC_NON_BLOCK
from pagelab.linux.migratetype import (
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.state import IN_FLIGHT, machine, mem_map, pageblock, pcp, zone
from tests.linux.lab import free_list, free_lists, free_pages, on_pcplist, recorded, zone_of


def test_refill_and_drain() -> None:
    """A refill takes pages in the order of their numbers; a drain gives them back from the tail and merges."""
    with zone_of(nr_pages=1024):
        free_pages((8, 3))
        pcp[0].batch = 4
        pcp[0].high = 16
        assert page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE) == 8
        assert on_pcplist(0, MIGRATE_MOVABLE) == [9, 10, 11]
        assert pcp[0].count == 3
        assert free_lists() == {2: [12]}
        assert zone.free_pages == 4

        for page, expected in [(11, {0: [11], 2: [12]}), (10, {1: [10], 2: [12]}), (9, {0: [9], 1: [10], 2: [12]})]:
            mem_map[page].state = IN_FLIGHT
            buddy.__free_one_page(page, 0, MIGRATE_MOVABLE, buddy.FPI_NONE)
            assert free_lists() == expected
        buddy.__free_one_page(8, 0, MIGRATE_MOVABLE, buddy.FPI_NONE)
        assert free_lists() == {3: [8]}
        assert zone.free_pages == 8


def test_page_that_will_merge_soon_goes_to_the_tail() -> None:
    with zone_of(nr_pages=1024):
        free_pages((12, 2), (100, 1), (200, 1))
        mem_map[10].state = IN_FLIGHT
        buddy.__free_one_page(10, 1, MIGRATE_MOVABLE, buddy.FPI_NONE)
        assert free_list(1) == [100, 200, 10]
        mem_map[300].state = IN_FLIGHT
        buddy.__free_one_page(300, 1, MIGRATE_MOVABLE, buddy.FPI_NONE)
        assert free_list(1) == [300, 100, 200, 10]
        mem_map[400].state = IN_FLIGHT
        buddy.__free_one_page(400, 1, MIGRATE_MOVABLE, buddy.FPI_TO_TAIL)
        assert free_list(1) == [300, 100, 200, 10, 400]


def test_expand_leaves_the_upper_halves() -> None:
    with zone_of(nr_pages=1024):
        free_pages((8, 3))
        with recorded(trace.mm_page_alloc_zone_locked) as seen:
            assert buddy.__rmqueue_smallest(1, 0, MIGRATE_MOVABLE) == 8
        assert free_lists() == {0: [9], 1: [10], 2: [12]}
        assert seen == [("mm_page_alloc_zone_locked", (1, 8, 0, MIGRATE_MOVABLE, 1))]


@pytest.mark.parametrize(
    ("order", "migratetype", "refill"),
    [(3, MIGRATE_MOVABLE, 1), (4, MIGRATE_MOVABLE, 0), (9, MIGRATE_MOVABLE, 1), (0, MIGRATE_CMA, 0)],
)
def test_zone_locked_says_whether_it_may_be_a_refill(order: int, migratetype: int, refill: int) -> None:
    with zone_of(nr_pages=1024):
        free_pages((0, 10), migratetype=migratetype)
        with recorded(trace.mm_page_alloc_zone_locked) as seen:
            buddy.__rmqueue_smallest(0, order, migratetype)
        assert seen == [("mm_page_alloc_zone_locked", (0, 0, order, migratetype, refill))]


@pytest.mark.parametrize(
    ("mine", "other", "merges"),
    [
        (MIGRATE_MOVABLE, MIGRATE_MOVABLE, True),
        (MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, True),
        (MIGRATE_MOVABLE, MIGRATE_ISOLATE, False),
        (MIGRATE_ISOLATE, MIGRATE_MOVABLE, False),
        (MIGRATE_ISOLATE, MIGRATE_ISOLATE, True),
        (MIGRATE_CMA, MIGRATE_MOVABLE, False),
        (MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE, False),
        (MIGRATE_CMA, MIGRATE_CMA, True),
    ],
)
def test_pageblocks_that_merge(mine: int, other: int, merges: bool) -> None:
    with zone_of(nr_pages=1024):
        pageblock[0].migratetype = mine
        pageblock[1].migratetype = other
        free_pages((512, 9), migratetype=other)
        mem_map[0].state = IN_FLIGHT
        buddy.__free_one_page(0, 9, mine, buddy.FPI_NONE)
        assert free_lists(mine).get(10, []) == ([0] if merges else [])


def test_block_next_to_an_isolated_one_is_not_counted_with_it() -> None:
    with zone_of(nr_pages=1024):
        pageblock[1].migratetype = MIGRATE_ISOLATE
        mem_map[512].state = mem_map[0].state = IN_FLIGHT
        buddy.__free_one_page(512, 9, MIGRATE_ISOLATE, buddy.FPI_NONE)
        assert zone.free_pages == 0
        buddy.__free_one_page(0, 9, MIGRATE_MOVABLE, buddy.FPI_NONE)
        assert zone.free_pages == 512
        assert (free_lists(), free_lists(MIGRATE_ISOLATE)) == ({9: [0]}, {9: [512]})


def test_split_free_page() -> None:
    with zone_of(nr_pages=2048):
        free_pages((1024, 10))
        pageblock[3].migratetype = MIGRATE_ISOLATE
        assert buddy.split_free_page(0, 1024, 9, 256) == -errno.ENOENT
        assert buddy.split_free_page(0, 1024, 10, 0) == 0
        assert free_lists() == {10: [1024]}
        assert buddy.split_free_page(0, 1024, 10, 512) == 0
        assert (free_lists(), free_lists(MIGRATE_ISOLATE)) == ({9: [1024]}, {9: [1536]})
        assert zone.free_pages == 512


def test_free_page_of_the_zone_start_is_split() -> None:
    with zone_of(nr_pages=1024):
        free_pages((0, 10))
        pageblock[1].migratetype = MIGRATE_ISOLATE
        assert buddy.split_free_page(0, 0, 10, 512) == 0
        assert (free_lists(), free_lists(MIGRATE_ISOLATE)) == ({9: [0]}, {9: [512]})


def test_move_freepages_block_moves_only_what_begins_there() -> None:
    with zone_of(nr_pages=2048):
        free_pages((0, 10), (1024, 3), (1040, 4), (1536, 0))
        with recorded(trace.move_freepages_block_done) as seen:
            assert buddy.move_freepages_block(0, 512, MIGRATE_ISOLATE) == 0
            assert buddy.move_freepages_block(1, 1030, MIGRATE_ISOLATE) == 24
            assert buddy.move_freepages_block(0, 0, MIGRATE_ISOLATE) == 1024
        assert [args[1:] for _, args in seen] == [
            (512, MIGRATE_ISOLATE, 0),
            (1030, MIGRATE_ISOLATE, 24),
            (0, MIGRATE_ISOLATE, 1024),
        ]
        assert free_lists() == {0: [1536]}
        assert free_lists(MIGRATE_ISOLATE) == {3: [1024], 4: [1040], 10: [0]}


def test_cma_is_used_first_while_it_holds_most_of_the_free_memory() -> None:
    with zone_of(nr_pages=2048):
        pageblock[2].migratetype = MIGRATE_CMA
        free_pages((0, 4))
        free_pages((1024, 5), migratetype=MIGRATE_CMA)
        zone.free_cma_pages = 32
        assert page_alloc.rmqueue(0, 4, ALLOC_CMA, MIGRATE_MOVABLE) == 1024
        assert (zone.free_pages, zone.free_cma_pages) == (32, 16)
        assert page_alloc.rmqueue(0, 4, ALLOC_CMA, MIGRATE_MOVABLE) == 0
        assert page_alloc.rmqueue(0, 4, 0, MIGRATE_MOVABLE) == -1
        assert page_alloc.rmqueue(0, 4, ALLOC_CMA, MIGRATE_MOVABLE) == 1040
        assert (zone.free_pages, zone.free_cma_pages) == (0, 0)


def test_highatomic_list_is_for_those_who_may() -> None:
    with zone_of(nr_pages=1024):
        free_pages((0, 4))
        free_pages((512, 4), migratetype=MIGRATE_HIGHATOMIC)
        assert page_alloc.rmqueue(0, 4, ALLOC_HIGHATOMIC, MIGRATE_MOVABLE) == 512
        assert page_alloc.rmqueue(0, 4, ALLOC_HIGHATOMIC, MIGRATE_MOVABLE) == 0
        free_pages((512, 4), migratetype=MIGRATE_HIGHATOMIC)
        assert page_alloc.rmqueue(0, 4, 0, MIGRATE_MOVABLE) == -1
        assert page_alloc.rmqueue(0, 4, ALLOC_NON_BLOCK, MIGRATE_MOVABLE) == 512
        assert machine.nr_pageblocks == 2


def test_split_into_several_parts() -> None:
    """Each part is as large as its own alignment and what is left up to the offset, or behind it, allow."""
    with zone_of(nr_pages=1024, pageblock_order=3):
        free_pages((32, 5))
        pageblock[5].migratetype = MIGRATE_ISOLATE
        pageblock[7].migratetype = MIGRATE_CMA  # must not matter: 48 to 63 stay one part
        assert buddy.split_free_page(0, 32, 5, 8) == 0
        assert (free_lists(), free_lists(MIGRATE_ISOLATE)) == ({3: [32], 4: [48]}, {3: [40]})
        free_pages((64, 5))
        pageblock[11].migratetype = MIGRATE_ISOLATE
        assert buddy.split_free_page(0, 64, 5, 24) == 0
        # 80 and 88 go to the tail: what they would merge to has its buddy, 64, on the lists already.
        assert (free_list(4), free_list(3)) == ([64, 48], [32, 80])
        assert free_list(3, MIGRATE_ISOLATE) == [40, 88]


def test_isolate_free_page_obeys_the_watermark() -> None:
    with zone_of(nr_pages=1024):
        free_pages((0, 4), (64, 4))
        zone.watermark_min = 16
        assert buddy.__isolate_free_page(0, 0, 4) == 0
        zone.watermark_min = 15
        assert buddy.__isolate_free_page(0, 0, 4) == 16
        assert (free_lists(), zone.free_pages) == ({4: [64]}, 16)
        buddy.__putback_isolated_page(0, 4, MIGRATE_MOVABLE)
        assert (free_lists(), zone.free_pages) == ({4: [64, 0]}, 32)


def test_isolate_free_page_makes_its_pageblock_movable_if_it_is_half_of_it() -> None:
    for order, migratetype, after in [
        (7, MIGRATE_UNMOVABLE, MIGRATE_UNMOVABLE),
        (8, MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),
        (8, MIGRATE_CMA, MIGRATE_CMA),
    ]:
        with zone_of(nr_pages=1024):
            pageblock[0].migratetype = migratetype
            free_pages((0, order), (512, 9), migratetype=migratetype)
            assert buddy.__isolate_free_page(0, 0, order) == 1 << order
            assert pageblock[0].migratetype == after


def test_pageblock_at_the_ends_of_the_zone() -> None:
    with zone_of(nr_pages=1024):
        free_pages((4, 2), (8, 0), (600, 0))
        zone.start_page, zone.spanned_pages = 4, 1000
        assert (
            buddy.move_freepages_block(0, 8, MIGRATE_ISOLATE) == 1
        )  # from the page on, since the block begins outside
        assert buddy.move_freepages_block(0, 600, MIGRATE_ISOLATE) == 0  # the block ends outside
        assert free_lists() == {0: [600], 2: [4]}
