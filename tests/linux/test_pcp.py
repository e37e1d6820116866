# SPDX-License-Identifier: GPL-2.0-or-later
"""pcplists: which page, which list, how many at once; and drains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.linux import drain, lists, page_alloc, pcp_tuning, trace
from pagelab.linux import pcp as pcp_procedures
from pagelab.linux.alloc_flags import ALLOC_CMA
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from pagelab.linux.state import (
    ALLOCATED,
    ON_PCPLIST,
    cpu_state,
    machine,
    mem_map,
    mm,
    page_vec,
    pageblock,
    pcp,
    zone,
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


def fill(cpu: int, pindex: int, *pages: int) -> None:
    """Put pages on a pcplist, head first."""
    order = pcp_procedures.pindex_to_order(pindex)
    for page in pages:
        lists.pcp_list_add_tail(page, cpu, pindex)
        mem_map[page].index = MIGRATE_UNMOVABLE if pindex % 3 == 0 else MIGRATE_MOVABLE
        mem_map[page].state = ON_PCPLIST
        mem_map[page].compound_order = order
        pcp[cpu].count += 1 << order


def allocated(*pages: int, order: int = 0) -> None:
    """Make pages allocations."""
    for page in pages:
        mem_map[page].state = ALLOCATED
        mem_map[page].compound_order = order


@pytest.fixture
def three_lists() -> Iterator[None]:
    with zone_of(nr_pages=1024):
        fill(0, 0, 1, 2)
        fill(0, 1, 3, 4, 5)
        fill(0, 4, 8, 10)
        assert pcp[0].count == 9
        yield


@pytest.mark.usefixtures("three_lists")
@pytest.mark.parametrize(
    ("count", "pindex", "order_of_pages"),
    [
        (9, 0, [2, 1, 5, 4, 3, 10, 8]),
        (99, 0, [2, 1, 5, 4, 3, 10, 8]),
        (4, 4, [10, 8]),
        (6, 4, [10, 8, 2, 1]),
        (1, 4, [10]),
        (0, 4, []),
    ],
)
def test_free_pcppages_bulk(count: int, pindex: int, order_of_pages: list[int]) -> None:
    with recorded(trace.mm_page_pcpu_drain) as seen:
        pcp_procedures.free_pcppages_bulk(1, 0, count, pindex)
    assert [args[1] for _, args in seen] == order_of_pages
    assert {args[0] for _, args in seen} <= {1}
    assert pcp[0].count == 9 - sum(1 << args[2] for _, args in seen)


def test_count_without_pages_is_a_fault() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].count = 1
        with pytest.raises(AssertionError, match="all lists are empty"):
            pcp_procedures.free_pcppages_bulk(0, 0, 1, 0)


def test_free_factor_doubles_with_each_free() -> None:
    with zone_of(nr_pages=1024):
        freed = [pcp_procedures.nr_pcp_free(0, 400, 63, False) for _ in range(5)]
        assert freed == [63, 126, 252, 337, 337]
        assert pcp[0].free_factor == 3
        free_pages((0, 5))
        page_alloc.rmqueue(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        assert pcp[0].free_factor == 1


@pytest.mark.parametrize(("scale_max", "grown"), [(True, 5), (False, 8)])
def test_free_factor_has_a_limit(scale_max: bool, grown: int) -> None:
    with configured(features, pcp_batch_scale_max=scale_max), zone_of(nr_pages=1024):
        for _ in range(20):
            pcp_procedures.nr_pcp_free(0, 10000, 63, False)
        assert pcp[0].free_factor == grown


@pytest.mark.parametrize(
    ("high", "batch", "free_high", "expected"), [(0, 1, False, 1), (3, 4, False, 1), (4, 4, False, 0), (9, 4, True, 7)]
)
def test_nr_pcp_free_at_the_edges(high: int, batch: int, free_high: bool, expected: int) -> None:
    with zone_of(nr_pages=1024):
        pcp[0].count = 7
        assert pcp_procedures.nr_pcp_free(0, high, batch, free_high) == expected


def test_disabled_pcplist_passes_pages_on() -> None:
    with zone_of(nr_pages=1024):
        pageblock[0].migratetype = MIGRATE_MOVABLE
        zone.nr_isolate_pageblock = 1
        allocated(40)
        points = trace.mm_page_free, trace.mm_page_pcpu_drain
        with recorded(*points) as seen:
            page_alloc.free_the_page(0, 40, 0)
        assert seen == [("mm_page_free", (0, 40, 0)), ("mm_page_pcpu_drain", (0, 40, 0, MIGRATE_MOVABLE))]
        assert (pcp[0].count, free_list(0)) == (0, [40])


def test_page_of_an_isolated_block_passes_the_pcplists() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        pageblock[0].migratetype = MIGRATE_ISOLATE
        zone.nr_isolate_pageblock = 1
        allocated(40)
        with recorded(trace.mm_page_free, trace.mm_page_pcpu_drain) as seen:
            page_alloc.free_the_page(0, 40, 0)
        assert [name for name, _ in seen] == ["mm_page_free"]
        assert (pcp[0].count, free_list(0, MIGRATE_ISOLATE)) == (0, [40])
        assert zone.free_pages == 0


def test_type_read_before_the_isolation_is_read_again() -> None:
    """The race: the freeing CPU reads MOVABLE, the block is isolated and drained, and then the page is committed."""
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        allocated(40)
        pcp_procedures.free_unref_page_prepare(0, 40, 0)
        pageblock[0].migratetype = MIGRATE_ISOLATE
        zone.nr_isolate_pageblock = 1
        drain.drain_all_pages(1, specific=True)
        pcp_procedures.free_unref_page_commit(0, 40, mem_map[40].index, 0, 0)
        assert on_pcplist(0, MIGRATE_MOVABLE) == [40]  # stray
        drain.drain_all_pages(1, specific=True)
        assert free_list(0, MIGRATE_ISOLATE) == [40]


@pytest.mark.parametrize(
    ("order", "migratetype", "pindex"),
    [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 3), (3, 2, 11), (9, 0, 12), (9, 2, 12), (9, 1, 13)],
)
def test_pindex(order: int, migratetype: int, pindex: int) -> None:
    assert machine.nr_pcp_lists == 14
    assert pcp_procedures.order_to_pindex(migratetype, order) == pindex
    assert pcp_procedures.pindex_to_order(pindex) == order


def test_one_list_for_huge_pages_before_6_1_97() -> None:
    with configured(features, thp_lists_by_movability=False), zone_of(nr_pages=1024):
        assert machine.nr_pcp_lists == 13
        assert {pcp_procedures.order_to_pindex(mt, 9) for mt in range(3)} == {12}
    with zone_of(nr_pages=1024, thp=False):
        assert machine.nr_pcp_lists == 12
        assert [pcp_procedures.pcp_allowed_order(order) for order in (3, 4, 9)] == [True, False, False]


def test_refill_scales_with_the_order() -> None:
    for order, batch, expected in [(0, 7, 7), (2, 63, 15), (3, 7, 2), (9, 63, 2), (3, 1, 1)]:
        with zone_of(nr_pages=16384):
            free_pages(*[(page, 10) for page in range(0, 16384, 1024)])
            pcp[0].batch = batch
            with recorded(trace.mm_page_alloc_zone_locked) as seen:
                page_alloc.rmqueue(0, order, ALLOC_CMA, MIGRATE_MOVABLE)
            assert len(seen) == expected
            assert pcp[0].count == (expected - 1) << order


def test_movable_without_cma_passes_the_pcplists() -> None:
    for cma, count in [(True, 0), (False, 3)]:
        with zone_of(nr_pages=1024, cma=cma):
            free_pages((0, 4))
            pcp[0].batch = 4
            assert page_alloc.rmqueue(0, 0, 0, MIGRATE_MOVABLE) == 0
            assert pcp[0].count == count


@pytest.mark.parametrize(("own_list", "migratetype"), [(True, MIGRATE_CMA), (False, MIGRATE_MOVABLE)])
def test_cma_page_that_finds_the_pcplist_locked(own_list: bool, migratetype: int) -> None:
    with configured(features, cma_highatomic_to_own_list=own_list), zone_of(nr_pages=1024):
        pageblock[0].migratetype = MIGRATE_CMA
        allocated(40)
        pcp[0].lock.held = True
        page_alloc.free_the_page(0, 40, 0)
        assert free_list(0, migratetype) == [40]
        assert zone.free_cma_pages == (1 if own_list else 0)


def test_cma_page_keeps_its_type_on_the_movable_pcplist() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        pageblock[0].migratetype = MIGRATE_CMA
        allocated(40)
        page_alloc.free_the_page(0, 40, 0)
        assert on_pcplist(0, MIGRATE_MOVABLE) == [40]
        drain.drain_local_pages(0)
        assert (free_list(0, MIGRATE_CMA), zone.free_cma_pages) == ([40], 1)


def test_locked_pcplist_sends_both_ways_to_the_free_lists() -> None:
    with zone_of(nr_pages=1024):
        free_pages((0, 4))
        pcp[0].high, pcp[0].batch = 100, 4
        pcp[0].lock.held = True
        page = page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        assert (page, pcp[0].count, zone.free_pages) == (0, 0, 15)
        page_alloc.free_the_page(0, page, 0)
        assert (pcp[0].count, zone.free_pages) == (0, 16)


def test_high_order_frees_in_a_row_empty_the_pcplists() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        fill(0, 1, 1, 3)
        allocated(16, 32, order=2)
        page_alloc.free_the_page(0, 16, 2)
        assert pcp[0].count == 6
        pcp[0].free_factor = 1
        with recorded(trace.mm_page_pcpu_drain) as seen:
            page_alloc.free_the_page(0, 32, 2)
        assert [args[1] for _, args in seen] == [16, 32, 3, 1]
        assert pcp[0].count == 0


def test_reclaim_shortens_the_pcplists() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        assert pcp_procedures.nr_pcp_high(0, False) == 100
        zone.reclaim_active = True
        assert pcp_procedures.nr_pcp_high(0, False) == 16
        assert pcp_procedures.nr_pcp_high(0, True) == 0
        pcp[0].high = 7
        assert pcp_procedures.nr_pcp_high(0, False) == 7


def test_order_without_pcplist() -> None:
    with zone_of(nr_pages=1024):
        allocated(0, order=10)
        page_alloc.free_the_page(0, 0, 10)
        assert free_lists() == {10: [0]}


@pytest.mark.parametrize("irqs_on", [True, False])
def test_free_unref_page_list(irqs_on: bool) -> None:
    with configured(features, irqs_on_under_pcp_lock=irqs_on), zone_of(nr_pages=1024, swap_cluster_max=4):
        pcp[0].high, pcp[0].batch = 100, 4
        pageblock[1].migratetype = MIGRATE_ISOLATE
        zone.nr_isolate_pageblock = 1
        pages = [3, 700, 5, 7, 701, 9, 11, 13, 15, 17, 19, 21]
        allocated(*pages)
        for i, page in enumerate(pages):
            page_vec[0, i].page = page
        with recorded(trace.mm_page_free, trace.mm_page_free_batched) as seen:
            pcp_procedures.free_unref_page_list(0, len(pages))
        kept = [page for page in pages if page < 512]
        assert [args[1] for name, args in seen if name == "mm_page_free"] == pages
        assert [args[1] for name, args in seen if name == "mm_page_free_batched"] == kept
        assert on_pcplist(0, MIGRATE_MOVABLE) == kept[::-1]
        assert free_lists(MIGRATE_ISOLATE) == {1: [700]}
        assert not pcp[0].lock.held


def test_free_unref_page_list_with_the_lock_taken() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        allocated(3, 5)
        page_vec[0, 0].page, page_vec[0, 1].page = 3, 5
        pcp[0].lock.held = True
        with recorded(trace.mm_page_free_batched) as seen:
            pcp_procedures.free_unref_page_list(0, 2)
        assert seen == []
        assert free_list(0) == [5, 3]


def test_bulk_allocation() -> None:
    with zone_of(online=1024, nr_pages=1024):
        pcp_tuning.__zone_set_pageset_high_and_batch(50, 4)
        assert page_alloc.__alloc_pages_bulk(1, 6, ALLOC_CMA, MIGRATE_MOVABLE) == 6
        assert [page_vec[1, i].page for i in range(6)] == [0, 1, 2, 3, 4, 5]
        assert (pcp[1].count, zone.free_pages) == (2, 1016)
        pcp[1].lock.held = True
        assert page_alloc.__alloc_pages_bulk(1, 6, ALLOC_CMA, MIGRATE_MOVABLE) == 1
        assert page_vec[1, 0].page == 8
        pcp[1].lock.held = False
        check_quiet_state()


def test_double_free_is_a_fault() -> None:
    with zone_of(nr_pages=1024):
        allocated(3)
        page_alloc.free_the_page(0, 3, 0)
        with pytest.raises(AssertionError, match="not allocated"):
            page_alloc.free_the_page(0, 3, 0)


def test_split_page() -> None:
    with zone_of(online=256, **SMALL):
        page = page_alloc.get_page_from_freelist(0, 2, ALLOC_CMA, MIGRATE_MOVABLE)
        with pytest.raises(AssertionError, match="another order"):
            page_alloc.free_the_page(0, page, 0)
        mem_map[page].state = ALLOCATED
        page_alloc.split_page(page, 2)
        check_quiet_state()
        page_alloc.free_contig_range(0, page, 4)
        drain.drain_all_pages(0, specific=True)
        check_quiet_state()
        assert zone.free_pages == 256


# ---- drains


DRAINS: list[dict[str, int]] = [
    {},
    {"irqs_on_under_pcp_lock": False},
    {"drain_count_under_lock": False},
    {"drain_count_under_lock": False, "drain_in_chunks": False},
]


@pytest.mark.parametrize("with_features", DRAINS)
def test_drain_pages_zone(with_features: dict[str, int]) -> None:
    with configured(features, **with_features), zone_of(nr_pages=1024, pcp_batch_scale_max=1):
        fill(1, 1, *range(1, 20, 2))
        pcp[1].batch = 2
        with recorded(trace.mm_page_pcpu_drain) as seen:
            drain.drain_pages_zone(0, 1)
        assert [args[:2] for _, args in seen] == [(0, page) for page in range(19, 0, -2)]
        assert (pcp[1].count, zone.free_pages) == (0, 10)
        drain.drain_pages_zone(0, 1)


def test_drain_trusts_a_count_of_zero_unless_forced() -> None:
    with zone_of(nr_pages=1024):
        zone.present_pages = 1024
        fill(1, 1, 1, 3)
        pcp[1].count = 0  # as if a refill were about to count
        drain.drain_all_pages(0, specific=True)
        assert on_pcplist(1, 1) == [1, 3]
        assert not cpu_state[1].with_pcps
        pcp[1].count = 2
        drain.__drain_all_pages(0, specific=True, force_all_cpus=True)
        assert on_pcplist(1, 1) == []
        assert cpu_state[0].with_pcps


def test_drain_of_all_zones_gives_up_if_one_is_under_way() -> None:
    with zone_of(nr_pages=1024):
        fill(1, 1, 1, 3)
        mm.pcpu_drain_mutex.held = True
        drain.drain_all_pages(0, specific=False)
        assert pcp[1].count == 2


def test_offline_cpu_is_not_drained_but_when_it_dies() -> None:
    with zone_of(nr_pages=1024):
        zone.present_pages = zone.managed_pages = 1024
        fill(1, 1, 1, 3)
        cpu_state[1].online = False
        drain.drain_all_pages(0, specific=True)
        assert pcp[1].count == 2
        pcp_tuning.page_alloc_cpu_dead(0, 1)
        assert pcp[1].count == 0


def test_vmstat_drains_quiet_cpus_of_other_nodes() -> None:
    with zone_of(nr_pages=1024):
        pcp[1].batch = 2
        cpu_state[1].local = False
        fill(1, 1, 1, 3, 5)
        drain.refresh_cpu_vm_stats(1, folded=True)
        drain.refresh_cpu_vm_stats(1, folded=False)
        assert pcp[1].count == 3
        drain.refresh_cpu_vm_stats(1, folded=False)
        assert (pcp[1].count, pcp[1].expire) == (1, 0)
        drain.refresh_cpu_vm_stats(1, folded=False)
        assert pcp[1].count == 1
        fill(0, 1, 7)
        drain.refresh_cpu_vm_stats(0, folded=True)
        assert (pcp[0].count, pcp[0].expire) == (1, 0)


@pytest.mark.parametrize(
    ("now", "passed", "nr_isolated", "goes_to"),
    [
        (MIGRATE_ISOLATE, MIGRATE_MOVABLE, 1, MIGRATE_ISOLATE),  # isolated since
        (MIGRATE_MOVABLE, MIGRATE_ISOLATE, 0, MIGRATE_MOVABLE),  # given back since
        (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 0, MIGRATE_MOVABLE),  # stolen since: nobody looks
        (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 1, MIGRATE_UNMOVABLE),
    ],
)
def test_free_one_page_trusts_the_type_it_is_given_unless_blocks_are_isolated(
    now: int, passed: int, nr_isolated: int, goes_to: int
) -> None:
    with zone_of(nr_pages=1024):
        pageblock[0].migratetype = now
        zone.nr_isolate_pageblock = nr_isolated
        pcp_procedures.free_one_page(0, 40, 0, passed, 0)
        assert free_list(0, goes_to) == [40]


def test_pcplists_are_cut_as_soon_as_high_is_reached() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 3, 1
        allocated(1, 3, 5)
        page_alloc.free_the_page(0, 1, 0)
        page_alloc.free_the_page(0, 3, 0)
        assert pcp[0].count == 2
        page_alloc.free_the_page(0, 5, 0)
        assert pcp[0].count == 2
        assert free_list(0) == [1]


def test_single_pages_freed_in_a_row_stay() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch, pcp[0].free_factor = 100, 4, 3
        allocated(1)
        page_alloc.free_the_page(0, 1, 0)
        assert pcp[0].count == 1


def test_list_with_cma_pages() -> None:
    with zone_of(nr_pages=1024):
        pcp[0].high, pcp[0].batch = 100, 4
        pageblock[0].migratetype = MIGRATE_CMA
        allocated(40)
        page_vec[0, 0].page = 40
        pcp_procedures.free_unref_page_list(0, 1)
        assert on_pcplist(0, MIGRATE_MOVABLE) == [40]
