# SPDX-License-Identifier: GPL-2.0-or-later
"""Fallback between migratetypes: which free page is taken, what moves with it, and which pageblock changes its type."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.linux import fallback, page_alloc, trace
from pagelab.linux import highatomic as reserve
from pagelab.linux import rmqueue as rmqueue_module
from pagelab.linux.alloc_flags import ALLOC_HIGHATOMIC, ALLOC_NOFRAGMENT
from pagelab.linux.highatomic import highatomic
from pagelab.linux.migratetype import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.state import ALLOCATED, TAIL, mem_map, pageblock, zone
from tests.linux.lab import configured, free_lists, free_pages, recorded, zone_of

U, M, R, H = MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC
BLOCK = 512
rmqueue = rmqueue_module.__dict__["__rmqueue"]


@pytest.fixture(autouse=True)
def kernel_zone() -> Iterator[None]:
    with zone_of(nr_pages=4 * BLOCK, zone_movable=False):
        zone.spanned_pages = 4 * BLOCK
        yield
        highatomic.nr_reserved_highatomic = 0


def types() -> list[int]:
    return [pageblock[b].migratetype for b in range(4)]


def set_types(*migratetypes: int) -> None:
    for block, migratetype in enumerate(migratetypes):
        pageblock[block].migratetype = migratetype


def in_use(first: int, count: int, *, movable: bool = False, order: int = 0) -> None:
    """Allocations in a row."""
    for page in range(first, first + (count << order), 1 << order):
        mem_map[page].state, mem_map[page].movable, mem_map[page].compound_order = ALLOCATED, movable, order
        for tail in range(page + 1, page + (1 << order)):
            mem_map[tail].state = TAIL


@pytest.mark.parametrize(("start", "order_of_types"), [(U, (R, M)), (M, (R, U)), (R, (U, M))])
def test_each_type_has_two_to_fall_back_to_in_a_fixed_order(start: int, order_of_types: tuple[int, int]) -> None:
    assert tuple(fallback.fallbacks(start, i) for i in range(2)) == order_of_types
    assert fallback.find_suitable_fallback(3, start) == -1
    for page, migratetype in zip((8, 16), reversed(order_of_types), strict=True):
        free_pages((page, 3), migratetype=migratetype)
        assert fallback.find_suitable_fallback(3, start) == migratetype
        assert fallback.find_suitable_fallback(2, start) == -1


@pytest.mark.parametrize(
    ("order", "start", "whole"), [(3, M, False), (4, M, True), (0, U, True), (0, R, True), (9, M, True), (10, U, True)]
)
def test_a_movable_allocation_takes_a_whole_pageblock_only_for_a_large_page(
    order: int, start: int, whole: bool
) -> None:
    assert fallback.can_steal_fallback(order, start) == whole


def test_a_free_page_of_a_pageblock_takes_its_type_along() -> None:
    set_types(U, U, M, M)
    free_pages((0, 9), migratetype=U)
    with recorded(trace.mm_page_alloc_extfrag, trace.mm_page_alloc_zone_locked) as seen:
        assert rmqueue(0, 0, M, 0) == 0
    assert seen == [
        ("mm_page_alloc_extfrag", (0, 0, 0, 9, M, U, 1)),
        ("mm_page_alloc_zone_locked", (0, 0, 0, M, 1)),
    ]
    assert types() == [M, U, M, M]
    assert free_lists(U) == {}
    assert free_lists(M) == {order: [1 << order] for order in range(9)}


def test_a_free_page_of_two_pageblocks_takes_both_along() -> None:
    set_types(U, U, U, U)
    free_pages((2 * BLOCK, 10), migratetype=U)
    assert rmqueue(0, 3, R, ALLOC_NOFRAGMENT) == 2 * BLOCK
    assert types() == [U, U, R, R]


def test_a_small_page_is_split_on_the_list_of_the_other_type() -> None:
    set_types(U, M, M, M)
    free_pages((4, 2), migratetype=U)
    with recorded(trace.mm_page_alloc_extfrag) as seen:
        assert rmqueue(0, 0, M, 0) == 4
    assert seen == [("mm_page_alloc_extfrag", (0, 4, 0, 2, M, U, 0))]
    assert types()[0] == U
    assert free_lists(M) == {0: [5], 1: [6]}
    assert free_lists(U) == {}


def test_a_movable_allocation_that_gets_no_pageblock_splits_the_smallest_page() -> None:
    set_types(U, R, M, M)
    free_pages((8, 3), (32, 1), (36, 1), migratetype=U)
    free_pages((BLOCK, 2), migratetype=R)
    assert rmqueue(0, 0, M, 0) == 32
    assert free_lists(U) == {1: [36], 3: [8]}
    assert free_lists(R) == {2: [BLOCK]}


def test_an_unmovable_allocation_takes_the_largest_page_and_all_of_its_pageblock() -> None:
    free_pages((0, 2), (BLOCK, 3), (BLOCK + 8, 0), (BLOCK + 16, 1), migratetype=M)
    in_use(BLOCK + 18, 256, movable=True)
    with recorded(trace.mm_page_alloc_extfrag) as seen:
        assert rmqueue(0, 0, U, 0) == BLOCK + 8  # smallest first: not the page that was chosen
    assert seen == [("mm_page_alloc_extfrag", (0, BLOCK, 0, 3, U, M, 1))]
    assert free_lists(U) == {1: [BLOCK + 16], 3: [BLOCK]}
    assert free_lists(M) == {2: [0]}
    assert types() == [M, U, M, M]


@pytest.mark.parametrize(("movable", "changes"), [(256, True), (257, False)])
def test_half_a_pageblock_that_cannot_be_moved_is_enough_for_an_unmovable_allocation(
    movable: int, changes: bool
) -> None:
    free_pages((0, 3), migratetype=M)
    in_use(8, movable, movable=True)
    with recorded(trace.mm_page_alloc_extfrag) as seen:
        rmqueue(0, 3, U, 0)
    assert seen[0][1][-1] == changes
    assert types()[0] == (U if changes else M)


@pytest.mark.parametrize(("movable", "changes"), [(240, True), (239, False)])
def test_half_a_pageblock_free_or_movable_is_enough_for_a_movable_allocation(movable: int, changes: bool) -> None:
    set_types(U, M, M, M)
    free_pages((16, 4), migratetype=U)
    in_use(32, movable, movable=True)
    rmqueue(0, 4, M, 0)
    assert types()[0] == (M if changes else U)


@pytest.mark.parametrize(("order", "changes"), [(8, True), (7, False)])
def test_between_unmovable_and_reclaimable_only_free_pages_count(order: int, changes: bool) -> None:
    set_types(R, M, M, M)
    free_pages((0, order), migratetype=R)
    in_use(256, 256)
    rmqueue(0, 0, U, 0)
    assert types()[0] == (U if changes else R)


def test_pages_of_a_higher_order_count_whole() -> None:
    in_use(0, 3, movable=True, order=2)
    in_use(12, 1, movable=True)
    in_use(16, 1, order=4)
    assert fallback.nr_movable_pages(0) == 13


def test_without_fragmentation_only_whole_pageblocks_are_taken() -> None:
    free_pages((0, 8), migratetype=U)
    assert rmqueue(0, 0, M, ALLOC_NOFRAGMENT) == -1
    assert free_lists(U) == {8: [0]}
    free_pages((BLOCK, 9), migratetype=R)
    assert rmqueue(0, 0, M, ALLOC_NOFRAGMENT) == BLOCK


def test_a_pageblock_that_the_zone_has_only_in_part_is_not_taken_whole() -> None:
    set_types(M, M, M, M)
    free_pages((3 * BLOCK, 2), (3 * BLOCK + 8, 1), migratetype=M)
    zone.spanned_pages = 3 * BLOCK + 100
    assert rmqueue(0, 2, U, 0) == 3 * BLOCK
    assert free_lists(M) == {1: [3 * BLOCK + 8]}
    assert types()[3] == M


def test_a_page_of_the_reserve_on_another_list_is_taken_alone() -> None:
    set_types(H, M, M, M)
    free_pages((0, 9), (BLOCK, 9), migratetype=M)
    assert rmqueue(0, 9, U, 0) == 0
    assert types() == [H, M, M, M]
    free_pages((8, 5), (64, 5), migratetype=R)
    assert rmqueue(0, 5, U, 0) == BLOCK  # the largest first


def test_before_v5_10_what_moves_is_allocated_first() -> None:
    from pagelab.linux.features import features

    with configured(features, move_to_tail=False):
        set_types(U, M, M, M)
        free_pages((0, 5), (64, 5), (128, 5), migratetype=U)
        in_use(256, 256)
        assert rmqueue(0, 5, R, 0) == 128
        assert free_lists(R) == {5: [64, 0]}


def test_an_atomic_allocation_of_a_higher_order_reserves_its_pageblock() -> None:
    zone.managed_pages = 4 * BLOCK
    free_pages((0, 4), (32, 2), migratetype=M)
    free_pages((BLOCK, 4), (BLOCK + 64, 4), migratetype=U)
    set_types(M, U, M, M)
    assert page_alloc.get_page_from_freelist(0, 4, ALLOC_HIGHATOMIC, U) == BLOCK
    assert types() == [M, H, M, M]
    assert free_lists(H) == {4: [BLOCK + 64]}
    assert highatomic.nr_reserved_highatomic == BLOCK
    # The next one is served from there, and the limit, a hundredth and one pageblock, is not reached yet.
    assert page_alloc.get_page_from_freelist(0, 4, ALLOC_HIGHATOMIC, U) == BLOCK + 64
    assert highatomic.nr_reserved_highatomic == BLOCK
    reserve.reserve_highatomic_pageblock(0, 0)
    reserve.reserve_highatomic_pageblock(0, 2 * BLOCK)
    assert types() == [H, H, M, M]


def test_the_last_pageblock_of_the_reserve_is_only_given_back_by_force() -> None:
    set_types(M, H, M, M)
    free_pages((BLOCK, 3), (BLOCK + 16, 0), migratetype=H)
    highatomic.nr_reserved_highatomic = BLOCK
    assert not reserve.unreserve_highatomic_pageblock(0, R, False)
    assert reserve.unreserve_highatomic_pageblock(0, R, True)
    assert types() == [M, R, M, M]
    assert free_lists(R) == {0: [BLOCK + 16], 3: [BLOCK]}
    assert highatomic.nr_reserved_highatomic == 0
    assert not reserve.unreserve_highatomic_pageblock(0, R, True)
