# SPDX-License-Identifier: GPL-2.0-or-later
"""What changed after 6.1: each test holds with a feature of 6.12 or 7.2, and fails without it."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from pagelab.linux import (
    buddy,
    drain,
    fallback_claim,
    free_folios,
    highatomic,
    page_alloc,
    page_isolation,
    pcp_high,
    pcp_tuning,
    rmqueue,
    trace,
    watermarks,
)
from pagelab.linux import pcp as pcplists
from pagelab.linux.alloc_flags import ALLOC_NOFRAGMENT
from pagelab.linux.designs import design_named
from pagelab.linux.features import FEATURES, features
from pagelab.linux.highatomic import highatomic as reserve
from pagelab.linux.migratetype import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    IN_FLIGHT,
    ON_PCPLIST,
    get_pageblock_migratetype,
    machine,
    mem_map,
    mm,
    other_zone,
    page_vec,
    pageblock,
    pcp,
    pcp_auto,
    trylock_free,
    zone,
    zone_auto,
)
from tests.linux.lab import (
    SMALL,
    check_quiet_state,
    configured,
    free_list,
    free_lists,
    free_pages,
    on_pcplist,
    recorded,
    zone_of,
)

M, U, R = MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE
set_limits = pcp_tuning.set_pageset_limits
rmqueue_ = rmqueue.__dict__["__rmqueue"]
free_one = buddy.__dict__["__free_one_page"]


@pytest.fixture(autouse=True, params=["6.12", "7.2"])
def design(request: pytest.FixtureRequest) -> Iterator[str]:
    before = {feature.name: getattr(features, feature.name) for feature in FEATURES}
    design_named(request.param).switch_on()
    yield request.param
    features.configure(**before)


def allocate(order: int = 0) -> int:
    page = page_alloc.get_page_from_freelist(0, order, 0, M)
    assert page >= 0
    return page


# ---- how many pages move: eras that tune pcp->high themselves


def test_refills_grow_until_a_page_is_freed() -> None:
    with zone_of(nr_pages=1 << 14, zone_movable=True):
        set_limits(400, 4000, 63)
        sizes, highs = [], []
        for _ in range(6):
            sizes.append(pcp_high.nr_pcp_alloc(0, 0))
            highs.append(pcp[0].high)
        assert sizes == [63, 126, 252, 504, 1008, 2016]
        assert highs == [463, 589, 841, 1345, 2353, 4000]
        assert pcp_auto[0].alloc_factor == 5
        mem_map[7].state = IN_FLIGHT
        pcplists.put_on_pcplist(0, 7, pcplists.order_to_pindex(M, 0), 0)
        assert pcp_auto[0].alloc_factor == 2


def test_disabled_pcplists_get_one_page_at_a_time() -> None:
    with zone_of(nr_pages=64):
        pcp[0].high = 300
        set_limits(0, 0, 1)
        assert (pcp_high.nr_pcp_alloc(0, 0), pcp[0].high) == (1, 0)


def test_high_does_not_grow_where_the_sysctl_sets_it_or_memory_is_short() -> None:
    with zone_of(nr_pages=64):
        set_limits(300, 300, 15)
        pcp_high.nr_pcp_alloc(0, 0)
        assert pcp[0].high == 300
        set_limits(300, 900, 15)
        zone_auto.below_high = True
        pcp_high.nr_pcp_alloc(0, 0)
        assert pcp[0].high == 300


def test_a_free_gives_back_as_much_as_was_freed_in_a_row() -> None:
    with zone_of(nr_pages=64):
        set_limits(400, 400, 63)
        pcp_auto[0].free_count = 200
        assert pcplists.nr_pcp_free(0, 400, 63, False) == 200
        pcp_auto[0].free_count = 1000
        assert pcplists.nr_pcp_free(0, 400, 63, False) == 400 - 63


def test_an_allocation_halves_what_counts_as_freed_in_a_row() -> None:
    with zone_of(online=64, **SMALL):
        pcp_auto[0].free_count = 9
        allocate()
        assert pcp_auto[0].free_count == 4


def test_high_falls_with_time() -> None:
    with zone_of(nr_pages=64):
        set_limits(100, 5000, 10)
        pcp[0].high = 1600
        pcp[0].count = 900
        assert drain.decay_high(0) == 900 - 1400
        assert pcp[0].high == 1400
        pcp[0].high = 104
        assert drain.decay_high(0) == 900 - 580
        assert pcp[0].high == 580, "what a decay gives back is limited"


def bulk_frees(module: ModuleType) -> list[int]:
    """The counts with which a module gives pages back, once it does."""
    counts: list[int] = []
    original = module.free_pcppages_bulk

    def counted(cpu: int, owner: int, count: int, pindex: int) -> None:
        counts.append(count)
        original(cpu, owner, count, pindex)

    module.free_pcppages_bulk = counted  # type: ignore[attr-defined]
    return counts


@pytest.fixture
def as_it_was() -> Iterator[None]:
    original = pcplists.free_pcppages_bulk
    yield
    for module in (drain, pcplists):
        vars(module)["free_pcppages_bulk"] = original


@pytest.mark.usefixtures("as_it_was")
def test_decay_gives_back_batch_by_batch() -> None:
    with zone_of(online=128, **SMALL):
        for page in [allocate() for _ in range(20)]:
            mem_map[page].state = IN_FLIGHT
            pcplists.put_on_pcplist(0, page, pcplists.order_to_pindex(M, 0), 0)
        set_limits(4, 4, 3)
        pcp[0].high = 4
        counts = bulk_frees(drain)
        too_many = pcp[0].count - 4
        drain.decay_pcp_high(0)
        assert counts == [3] * (too_many // 3) + [too_many % 3][: too_many % 3]


def free_high_after(*orders: int, design: str) -> bool:
    """Whether the last of these frees empties the pcplists."""
    pcp[0].batch = 2
    pcp_auto[0].free_count = 100
    return [pcp_high.is_free_high(0, order) for order in orders][-1]


def test_high_orders_empty_the_pcplists_only_if_freed_one_after_the_other(design: str) -> None:
    with zone_of(nr_pages=64):
        assert not free_high_after(0, 1, design=design)
        assert free_high_after(1, 1, design=design)
        pcp_auto[0].free_high_batch = True
        pcp[0].count = 1
        assert not free_high_after(1, 1, design=design), "a CPU with a large cache keeps a batch"


def test_half_of_high_min_counts_since_7_2(design: str) -> None:
    with zone_of(nr_pages=64):
        pcp_auto[0].high_min = 250
        assert free_high_after(1, 1, design=design) == (design == "6.12")


def test_below_the_high_watermark_is_noted_and_forgotten() -> None:
    with zone_of(online=64, **SMALL):
        zone.watermark_high = 64
        pcp_high.note_below_high(0)
        seen = [bool(zone_auto.below_high)]
        zone.watermark_high = 10
        pcp_high.clear_below_high()
        seen.append(bool(zone_auto.below_high))
        assert seen == [True, False]
        zone.watermark_high = 0
        pcp_high.note_below_high(5)
        assert zone_auto.below_high, "there is no free page of that order"


def test_the_zone_keeps_two_limits() -> None:
    with zone_of(nr_pages=1 << 15):
        zone.present_pages = zone.managed_pages = 1 << 15
        zone.watermark_low = 300
        pcp_tuning.zone_pcp_update(0)
        assert (pcp_auto[1].high_min, pcp_auto[1].high_max, pcp[1].batch) == (150, (1 << 15) // 8 // 2, 7)
        assert pcp[1].high == 0, "its CPU sets it when it next looks"
        pcp_tuning.zone_pcp_disable(0)
        assert (pcp_auto[1].high_min, pcp_auto[1].high_max, pcp[1].batch) == (0, 0, 1)
        pcp_tuning.zone_pcp_enable()
        assert (pcp_auto[1].high_min, pcp_auto[1].high_max, pcp[1].batch) == (150, (1 << 15) // 8 // 2, 7)
        assert pcp_tuning.percpu_pagelist_high_fraction_sysctl_handler(100) == 0
        assert pcp_auto[1].high_min == pcp_auto[1].high_max == (1 << 15) // 100 // 2


def test_the_movable_zone_has_a_minimum_of_its_own() -> None:
    with zone_of(nr_pages=1 << 17, nr_other_zones=2):
        zone.managed_pages = 1 << 17
        other_zone[0].managed_pages = 100_000
        mm.min_free_kbytes = 4096
        watermarks.__dict__["__setup_per_zone_wmarks"](0)
        assert zone.watermark_min == 128
        minimum = 1024 * (1 << 17) // 100_000
        assert zone.watermark_low - zone.watermark_min == minimum >> 2
        zone.managed_pages = 1 << 14
        watermarks.__dict__["__setup_per_zone_wmarks"](0)
        assert zone.watermark_min == 32


# ---- types


def test_a_page_leaves_its_pcplist_for_the_type_that_its_pageblock_has_by_then() -> None:
    with zone_of(online=64, **SMALL):
        page = allocate()
        page_alloc.free_the_page(0, page, 0)
        set_limits(8, 8, 1)
        other = allocate()
        page_alloc.free_the_page(0, other, 0)
        assert mem_map[other].state == ON_PCPLIST
        pageblock[other >> 3].migratetype = R
        for free in list(free_lists()):
            for one in free_list(free):
                if one >> 3 == other >> 3:
                    buddy.move_to_free_list(one, free, R)
        with recorded(trace.mm_page_pcpu_drain) as seen:
            drain.drain_pages_zone(0, 0)
        assert seen[0][1][3] == R


def test_a_page_past_the_pcplists_gets_the_type_of_its_pageblock() -> None:
    with zone_of(nr_pages=64, pageblock_order=3, max_order=5):
        mem_map[0].state = IN_FLIGHT
        pageblock[0].migratetype = U
        pcplists.free_one_page(0, 0, 0, M, buddy.FPI_NONE)
        assert mem_map[0].free_list == U


def test_pages_of_several_pageblocks_are_freed_one_by_one() -> None:
    with zone_of(nr_pages=64, pageblock_order=3, max_order=5):
        mem_map[0].state = IN_FLIGHT
        pageblock[1].migratetype = MIGRATE_HIGHATOMIC
        buddy.split_large_buddy(0, 4, buddy.FPI_NONE)
        assert (free_list(3, M), free_list(3, MIGRATE_HIGHATOMIC)) == ([0], [8])


def test_pageblocks_that_merge_get_one_type() -> None:
    with zone_of(nr_pages=64, pageblock_order=2, max_order=5):
        pageblock[2].migratetype = U
        pageblock[3].migratetype = U
        free_pages((8, 3), migratetype=U)
        mem_map[0].state = IN_FLIGHT
        free_one(0, 3, M, buddy.FPI_NONE)
        assert free_lists() == {4: [0]}
        assert [pageblock[b].migratetype for b in range(4)] == [M, M, M, M], "all of the buddy's pageblocks"


def test_a_page_isolated_for_compaction_takes_its_pageblock_along() -> None:
    with zone_of(nr_pages=64, pageblock_order=3, max_order=5):
        pageblock[0].migratetype = U
        free_pages((0, 2), (4, 1), migratetype=U)
        assert buddy.__isolate_free_page(0, 0, 2) == 4
        assert (pageblock[0].migratetype, free_lists()) == (M, {1: [4]})
        assert zone.free_pages == 2


def test_moves_are_counted_with_the_lists() -> None:
    with zone_of(nr_pages=64, pageblock_order=3, max_order=5):
        free_pages((0, 2), (4, 1))
        assert buddy.move_freepages_block(0, 0, MIGRATE_ISOLATE) == 6
        assert zone.free_pages == 0
        assert get_pageblock_migratetype(0) == MIGRATE_ISOLATE


# ---- isolation


def test_isolation_splits_the_free_page_that_a_pageblock_is_a_part_of() -> None:
    with zone_of(online=64, **SMALL):
        assert page_isolation.set_migratetype_isolate(0, 8, M, 8, 16) == 0
        assert (free_list(3, MIGRATE_ISOLATE), free_list(3)) == ([8], [0])
        check_quiet_state()
        page_isolation.unset_migratetype_isolate(0, 8, M)
        assert 0 in free_list(4)
        check_quiet_state()


def test_an_allocation_across_the_end_of_a_range_is_not_migrated() -> None:
    with zone_of(online=64, **SMALL):
        page = allocate(4)
        with recorded(trace.alloc_contig_migrate_range) as moved:
            assert page_isolation.start_isolate_page_range(0, page + 8, page + 16, M) < 0
        assert moved == []
        assert zone.nr_isolate_pageblock == 0


def test_an_isolated_pageblock_keeps_its_type_since_7_2(design: str) -> None:
    with zone_of(nr_pages=64, pageblock_order=3, max_order=5):
        pageblock[1].migratetype = U
        free_pages((8, 3), migratetype=U)
        assert page_isolation.set_migratetype_isolate(0, 8, U, 8, 16) == 0
        assert get_pageblock_migratetype(8) == MIGRATE_ISOLATE
        assert (pageblock[1].migratetype == U) == (design == "7.2")
        page_isolation.unset_migratetype_isolate(0, 8, M)
        assert get_pageblock_migratetype(8) == (U if design == "7.2" else M)
        check_quiet_state()


# ---- lists of folios


def test_folios_of_all_orders_are_freed_in_one_hold() -> None:
    with zone_of(online=128, **SMALL):
        set_limits(100, 100, 4)
        pages = [allocate(), allocate(1), allocate(2), allocate()]
        for i, page in enumerate(pages):
            page_vec[0, i].page = page
        with recorded(trace.mm_page_free, trace.mm_page_free_batched) as seen:
            free_folios.release_pages(0, 4)
        names = [name for name, _ in seen]
        assert names == ["mm_page_free"] * 4 + ["mm_page_free_batched"] * 3
        assert mem_map[pages[2]].state != ON_PCPLIST, "order 2 has no pcplists here"
        check_quiet_state()


def test_the_type_is_read_when_the_turn_of_a_folio_comes() -> None:
    with zone_of(online=64, **SMALL), recorded(trace.mm_page_free_batched) as seen:
        page = allocate()
        block = page & ~7
        assert page_isolation.set_migratetype_isolate(0, block, M, block, block + 8) == 0
        assert free_folios.prepare_folio(0, page), "it waits for its turn although its pageblock is isolated"
        assert mem_map[page].state == IN_FLIGHT
        assert not free_folios.free_folio(0, page, False)
        assert mem_map[block].free_list == MIGRATE_ISOLATE
        assert seen == []
        check_quiet_state()


# ---- fallbacks


def kernel_zone(*types: int) -> None:
    zone.spanned_pages = 4 * 512
    for block, migratetype in enumerate(types):
        pageblock[block].migratetype = migratetype


KERNEL = {"nr_pages": 4 * 512, "zone_movable": False}


def test_a_pageblock_is_claimed_if_half_of_it_suits() -> None:
    with zone_of(**KERNEL), recorded(trace.mm_page_alloc_extfrag) as seen:
        kernel_zone(M, M, M, M)
        free_pages((0, 8), (256, 2), migratetype=M)
        assert rmqueue_(0, 0, U, 0) == 256
        assert pageblock[0].migratetype == U
        assert free_lists(M) == {}
        assert seen == [("mm_page_alloc_extfrag", (0, 256, 0, 8, U, M, 1))]
        assert zone.free_pages == 256 + 4 - 1


def test_what_is_left_of_a_stolen_page_stays_on_its_list() -> None:
    with zone_of(**KERNEL), recorded(trace.mm_page_alloc_zone_locked, trace.mm_page_alloc_extfrag) as seen:
        kernel_zone(U, U, U, U)
        free_pages((4, 2), migratetype=U)
        assert rmqueue_(0, 0, M, ALLOC_NOFRAGMENT) == -1
        assert rmqueue_(0, 0, M, 0) == 4
        assert free_lists(U) == {0: [5], 1: [6]}
        assert free_lists(M) == {}
        assert [name for name, _ in seen] == ["mm_page_alloc_extfrag"]


def test_the_smallest_page_is_stolen() -> None:
    with zone_of(**KERNEL):
        kernel_zone(M, M, M, M)
        free_pages((0, 5), (64, 1), migratetype=M)
        for page in range(512):
            if mem_map[page].state != BUDDY and not 0 <= page < 32 and page not in (64, 65):
                mem_map[page].state, mem_map[page].movable = ALLOCATED, True
        assert rmqueue_(0, 0, U, 0) == 64
        assert free_list(5, M) == [0]
        with configured(features, claim_or_steal=False):
            assert rmqueue_(0, 0, U, 0) == 0, "before, it was taken from the largest"


def test_a_free_pageblock_is_taken_as_a_whole() -> None:
    with zone_of(**KERNEL), recorded(trace.mm_page_alloc_zone_locked) as seen:
        kernel_zone(M, M, M, M)
        free_pages((512, 10), migratetype=M)
        assert rmqueue_(0, 0, U, ALLOC_NOFRAGMENT) == 512
        assert [pageblock[b].migratetype for b in range(4)] == [M, U, U, M]
        assert seen == []
        assert free_lists(M) == {}


def test_a_refill_that_steals_goes_on_stealing() -> None:
    with zone_of(**KERNEL):
        kernel_zone(M, M, M, M)
        free_pages((0, 1), (8, 0), (16, 0), migratetype=R)
        rmqueue.begin_rmqueue(0)
        assert rmqueue_(0, 0, M, 0) == 8
        free_pages((100, 0), migratetype=M)
        assert rmqueue_(0, 0, M, 0) == 16, "it does not look at its own list again"
        rmqueue.begin_rmqueue(0)
        assert rmqueue_(0, 0, M, 0) == 100


def test_reserves_round_up_and_small_zones_have_none() -> None:
    with zone_of(**KERNEL):
        zone.managed_pages = 4 * 512
        assert highatomic.max_reserved_highatomic() == 0
        zone.managed_pages = 60_000
        assert highatomic.max_reserved_highatomic() == 2 * 512
        kernel_zone(M, M, M, M)
        free_pages((0, 3), migratetype=M)
        zone.managed_pages = 60_000
        highatomic.reserve_highatomic_pageblock(0, 100)
        assert (free_list(3, MIGRATE_HIGHATOMIC), reserve.nr_reserved_highatomic) == ([0], 512)
        reserve.nr_reserved_highatomic = 0


def test_every_movable_allocation_uses_the_pcplists() -> None:
    with zone_of(online=64, **SMALL, cma=True):
        assert page_alloc.may_use_pcplist(0, M)


def test_try_to_claim_leaves_reserved_pageblocks_alone() -> None:
    with zone_of(**KERNEL):
        kernel_zone(MIGRATE_HIGHATOMIC, M, M, M)
        free_pages((0, 8), migratetype=R)
        assert fallback_claim.try_to_claim_block(0, 0, 8, 0, U) == -1


# ---- 7.2


@pytest.mark.usefixtures("as_it_was")
def test_a_free_gives_back_batch_by_batch_and_lets_go_in_between(design: str) -> None:
    with zone_of(online=128, **SMALL):
        set_limits(12, 12, 3)
        pages = [allocate() for _ in range(14)]
        drain.drain_pages_zone(0, 0)
        pcp[0].high = 12
        counts = bulk_frees(pcplists)
        for page in pages[:12]:
            page_alloc.free_the_page(0, page, 0)
        assert counts == ([3, 3, 3] if design == "7.2" else [9])
        assert not pcp[0].lock.held


def test_who_must_not_wait_leaves_a_page_to_the_next_one(design: str) -> None:
    if design == "6.12":
        features.configure(free_pages_nolock=True)
    with zone_of(online=64, **SMALL):
        first, second, third = (allocate(2) for _ in range(3))
        with zone.lock:
            page_alloc.free_pages_nolock(0, first, 2)
            page_alloc.free_pages_nolock(0, second, 2)
        assert (trylock_free.first, mem_map[second].next) == (second, first)
        assert mem_map[first].state == IN_FLIGHT
        page_alloc.free_the_page(0, third, 2)
        assert trylock_free.first == -1
        assert {mem_map[p].state for p in (first, second, third)} & {IN_FLIGHT} == set()
        check_quiet_state()


def test_a_page_freed_without_waiting_stays_on_disabled_pcplists(design: str) -> None:
    if design == "6.12":
        features.configure(free_pages_nolock=True)
    with zone_of(online=64, **SMALL):
        page = allocate()
        pcp_tuning.zone_pcp_disable(0)
        page_alloc.free_pages_nolock(0, page, 0)
        assert on_pcplist(0, pcplists.order_to_pindex(M, 0)) == [page]
        assert machine.nr_cpus == 2
