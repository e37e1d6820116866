# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernels before 6.0 do differently: pcplists without a lock, drains by work items, sizes, isolation, hotplug."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.lang.declare import ModelFault, attached
from pagelab.linux import contig, drain, memory_hotplug, page_alloc, page_isolation, pcp_tuning, rwsem, trace
from pagelab.linux import pcp as pcp_procedures
from pagelab.linux.alloc_flags import ALLOC_CMA
from pagelab.linux.designs import design_named
from pagelab.linux.features import FEATURES, features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from pagelab.linux.pcp_round_robin import take_pages_in_turn
from pagelab.linux.state import (
    ALLOCATED,
    OFFLINE,
    WORK_QUEUED,
    cpu_state,
    drain_work,
    machine,
    mem_map,
    mm,
    page_vec,
    pageblock,
    pcp,
    pcp_batch_high_rwsem,
    zone,
)
from tests.linux.lab import SMALL, check_quiet_state, free_list, on_pcplist, recorded, zone_of
from tests.linux.test_pcp import fill

OLDER = ["5.9-rc5", "5.9", "rfc-v1", "rfc", "alt", "5.10", "5.11"]
BEFORE_5_10 = {"5.9-rc5", "5.9", "rfc-v1"}
LARGEST = 16  # pages of the largest free page


@pytest.fixture(params=OLDER)
def design(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each older design, with nobody to do queued work but the one who waits for it."""
    before = {feature.name: getattr(features, feature.name) for feature in FEATURES}
    design_named(request.param).switch_on()
    with attached({trace.flush_drain_work: drain.drain_work_now}):
        yield request.param
    features.configure(**before)


@pytest.mark.parametrize("design", ["5.10"], indirect=True)
@pytest.mark.parametrize(
    ("lists", "count", "expected"),
    [
        ([[10, 11], [20, 21, 22], [30]], 6, [22, 30, 11, 21, 10, 20]),
        ([[10, 11], [20, 21, 22], []], 5, [22, 11, 10, 21, 20]),
        ([[10, 11, 12, 13], [20], []], 5, [20, 13, 12, 11, 10]),
        ([[], [], [30, 31]], 1, [31]),
        ([[10], [20], [30]], 0, []),
    ],
)
def test_pages_are_taken_from_all_lists_in_turn(
    design: str, lists: list[list[int]], count: int, expected: list[int]
) -> None:
    with zone_of(nr_pages=64):
        for migratetype, pages in zip((MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE), lists, strict=True):
            fill(0, migratetype, *pages)
        page = take_pages_in_turn(0, count)
        taken = []
        while page != -1:
            taken.append(page)
            page = mem_map[page].next
        assert taken == expected
        assert pcp[0].count == sum(map(len, lists)) - count


def test_more_pages_than_there_are(design: str) -> None:
    with zone_of(nr_pages=64, online=64, **{k: v for k, v in SMALL.items() if k != "nr_pages"}):
        pcp[0].count = 1
        with pytest.raises(AssertionError, match="all lists are empty"):
            take_pages_in_turn(0, 1)


def test_a_batch_is_given_back_when_high_is_reached(design: str) -> None:
    with zone_of(online=128, **SMALL):
        pcp_tuning.__dict__["__zone_set_pageset_high_and_batch"](3, 2)
        pages = [page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE) for _ in range(4)]
        assert pcp[0].count == 0, "refills of two"
        with recorded(trace.mm_page_pcpu_drain) as seen:
            for page in pages[:3]:
                page_alloc.free_the_page(0, page, 0)
        assert [event[1] for _, event in seen] == pages[:2], "the oldest ones"
        assert on_pcplist(0, MIGRATE_MOVABLE) == [pages[2]]
        check_quiet_state()


def test_only_single_pages_have_pcplists(design: str) -> None:
    with zone_of(online=64, **SMALL):
        assert machine.nr_pcp_lists == 3
        page = page_alloc.get_page_from_freelist(0, 1, 0, MIGRATE_MOVABLE)
        page_alloc.free_the_page(0, page, 1)
        assert pcp[0].count == 0


def test_a_free_past_the_pcplists(design: str) -> None:
    with zone_of(online=64, **SMALL):
        page = page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        drain.drain_all_pages(0, specific=True)
        pageblock[page >> 3].migratetype = MIGRATE_ISOLATE
        zone.nr_isolate_pageblock = 1
        page_alloc.free_the_page(0, page, 0)
        assert pcp[0].count == 0
        assert mem_map[page].free_list == MIGRATE_ISOLATE


def test_boot_pagesets_hold_nothing(design: str) -> None:
    with zone_of(online=64, **SMALL):
        assert (pcp[0].high, pcp[0].batch) == (0, 1), "a zone of less than 32 MiB"
        page = page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        assert pcp[0].count == 0
        page_alloc.free_the_page(0, page, 0)
        assert pcp[0].count == 0


def test_high_is_six_batches_unless_the_sysctl_says_otherwise(design: str) -> None:
    with zone_of(nr_pages=1 << 15):
        zone.present_pages = zone.managed_pages = 1 << 15
        pcp_tuning.zone_pcp_update(0)
        assert (pcp[1].high, pcp[1].batch) == (42, 7)
        assert pcp_tuning.percpu_pagelist_high_fraction_sysctl_handler(100) == 0
        assert (pcp[1].high, pcp[1].batch) == (327, 81)
        assert pcp_tuning.percpu_pagelist_high_fraction_sysctl_handler(7) < 0
        cached = features.pageset_cached_in_zone
        assert (zone.pageset_high, zone.pageset_batch) == ((327, 81) if cached else (0, 1))


def test_stores_of_pageset_update(design: str) -> None:
    with zone_of(nr_pages=64):
        stores: list[tuple[str, int]] = []

        class Watched(type(pcp[0])):  # type: ignore[misc]
            __slots__ = ()

            def __setattr__(self, name: str, value: int) -> None:
                stores.append((name, value))
                super().__setattr__(name, value)

        pcp[0].__class__ = Watched
        pcp_tuning.pageset_update(0, 12, 3)
        two = [("batch", 3), ("high", 12)]
        three = [("batch", 1), ("high", 12), ("batch", 3)]
        assert stores == (two if design == "5.11" else three)


# ---- drains


def test_a_drain_queues_work_where_there_seem_to_be_pages(design: str) -> None:
    with zone_of(online=64, **SMALL):
        pcp_tuning.__dict__["__zone_set_pageset_high_and_batch"](8, 2)
        for _ in range(3):
            page_alloc.get_page_from_freelist(1, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        flushed: list[int] = []

        def flush(cpu: int, owner: int) -> None:
            flushed.append(owner)
            drain.drain_work_now(cpu, owner)

        with attached({trace.flush_drain_work: flush}):
            drain.drain_all_pages(0, specific=True)
            assert (flushed, pcp[1].count) == ([1], 0)
            drain.__dict__["__drain_all_pages"](0, specific=True, force_all_cpus=True)
            assert flushed == [1, 0, 1]


def test_without_a_worker_a_drain_does_not_end(design: str) -> None:
    with zone_of(online=64, **SMALL), attached({trace.flush_drain_work: lambda cpu, owner: None}):
        with pytest.raises(ModelFault, match="waits for what only another thread could bring about"):
            drain.__dict__["__drain_all_pages"](0, specific=True, force_all_cpus=True)
        assert drain_work[0].state == WORK_QUEUED


def test_work_of_a_cpu_that_went_away_is_done_elsewhere(design: str) -> None:
    with zone_of(online=64, **SMALL):
        pcp_tuning.__dict__["__zone_set_pageset_high_and_batch"](8, 2)
        for cpu in range(2):
            page_alloc.get_page_from_freelist(cpu, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        cpu_state[1].online = False
        drain.drain_local_pages_wq(1)
        assert [pcp[cpu].count for cpu in range(2)] == [0, 1]
        pcp_tuning.page_alloc_cpu_dead(0, 1)
        assert pcp[1].count == 0


# ---- isolation and hotplug


def test_online_and_offline_again(design: str) -> None:
    with zone_of(online=128, **SMALL), recorded(trace.range_isolated, trace.range_released) as seen:
        assert zone.nr_isolate_pageblock == 0
        assert memory_hotplug.offline_pages(0, 64, 64) == 0
        assert [name for name, _ in seen] == ["range_isolated", "range_released"]
        check_quiet_state()
        assert (pcp_batch_high_rwsem.readers, pcp_batch_high_rwsem.writer) == (0, False)
        memory_hotplug.online_pages(0, 64, 64)
        check_quiet_state()
        assert mem_map[64].state != OFFLINE
        assert pageblock[8].migratetype == MIGRATE_MOVABLE


def test_a_range_that_fails_half_way_is_given_back(design: str) -> None:
    with zone_of(online=128, **SMALL):
        pageblock[11].migratetype = MIGRATE_ISOLATE  # somebody else's
        zone.nr_isolate_pageblock = 1
        assert memory_hotplug.offline_pages(0, 64, 64) < 0
        assert [pageblock[b].migratetype for b in range(8, 12)] == [MIGRATE_MOVABLE] * 3 + [MIGRATE_ISOLATE]
        assert zone.nr_isolate_pageblock == 1
        assert not mm.pcp_batch_high_lock.held
        assert pcp_batch_high_rwsem.readers == 0


def test_a_signal_ends_offlining(design: str) -> None:
    with zone_of(online=128, **SMALL):
        mem_map[page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)].movable = True
        cpu_state[0].signal_pending = True
        assert memory_hotplug.offline_pages(0, 0, 128) < 0
        assert zone.nr_isolate_pageblock == 0
        assert (pcp[0].high, pcp[0].batch) == (0, 1)


def test_moved_pages_go_to_the_head_before_5_10(design: str) -> None:
    with zone_of(online=128, **SMALL):
        assert page_isolation.start_isolate_page_range(0, 0, 64, MIGRATE_MOVABLE) == 0
        pages = free_list(4, MIGRATE_ISOLATE)
        assert pages == ([48, 32, 16, 0] if design in BEFORE_5_10 else [0, 16, 32, 48])


def test_isolation_disables_the_pcplists_in_the_proposal(design: str) -> None:
    with zone_of(online=128, **SMALL):
        zone.pageset_high, zone.pageset_batch = 8, 2
        pcp_tuning.__dict__["__zone_set_pageset_high_and_batch"](8, 2)
        page_alloc.get_page_from_freelist(1, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        assert pcp[1].count == 1
        assert page_isolation.start_isolate_page_range(0, 64, 80, MIGRATE_MOVABLE) == 0
        rfc = design in ("rfc-v1", "rfc")
        assert (pcp[1].high, pcp[1].batch) == ((0, 1) if rfc else (8, 2))
        assert pcp[1].count == (1 if design == "5.11" else 0)
        page_isolation.undo_isolate_page_range(0, 64, 80, MIGRATE_MOVABLE)
        assert (pcp[1].high, pcp[1].batch) == (8, 2)
        assert pcp_batch_high_rwsem.readers == 0


# ---- a range by its place; 6.1 too


@pytest.mark.parametrize("newest", [False, True])
def test_alloc_contig_range(design: str, newest: bool) -> None:
    if newest:
        design_named("6.1").switch_on()
    with zone_of(online=128, **SMALL):
        with recorded(trace.range_isolated, trace.mm_page_alloc_zone_locked) as seen:
            assert contig.alloc_contig_range(0, 20, 29, MIGRATE_MOVABLE) == 0
        assert [name for name, _ in seen] == ["range_isolated"], "no allocation is traced"
        assert [page for page in range(128) if mem_map[page].state == ALLOCATED] == list(range(20, 29))
        check_quiet_state()
        page_alloc.free_contig_range(0, 20, 9)
        check_quiet_state()


@pytest.mark.parametrize("newest", [False, True])
def test_alloc_contig_range_that_is_in_use(design: str, newest: bool) -> None:
    if newest:
        design_named("6.1").switch_on()
    with zone_of(online=128, **SMALL):
        page = page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE)
        assert contig.alloc_contig_range(0, page, page + 8, MIGRATE_MOVABLE) < 0
        assert zone.nr_isolate_pageblock == 0
        check_quiet_state()


def test_what_is_isolated_for_a_range() -> None:
    with zone_of(nr_pages=120, **{k: v for k, v in SMALL.items() if k != "nr_pages"}):
        assert (contig.isolation_start(20), contig.isolation_end(21)) == (20, 21), "start_isolate_page_range() rounds"
        features.configure(isolate_at_pageblocks=False)
        try:
            assert (contig.isolation_start(20), contig.isolation_end(21)) == (16, 32)
            assert contig.isolation_end(119) == 120, "there is no more memory"
        finally:
            features.configure(isolate_at_pageblocks=True)


# ---- the semaphore


def test_rwsem() -> None:
    with zone_of(nr_pages=64):
        rwsem.down_read()
        rwsem.down_read()
        with pytest.raises(ModelFault):
            rwsem.down_write()
        assert pcp_batch_high_rwsem.waiting_writers == 1
        with pytest.raises(ModelFault):
            rwsem.down_read()
        rwsem.up_read()
        rwsem.up_read()
        with pytest.raises(AssertionError, match="without down_read"):
            rwsem.up_read()
        pcp_batch_high_rwsem.waiting_writers = 0
        rwsem.down_write()
        with pytest.raises(ModelFault):
            rwsem.down_read()
        rwsem.up_write()
        rwsem.down_read()


def test_a_list_of_pages_is_prepared_before_irqs_go_off(design: str) -> None:
    with zone_of(online=128, **SMALL), recorded(trace.mm_page_free, trace.mm_page_free_batched) as seen:
        seen.clear()
        pages = [page_alloc.get_page_from_freelist(0, 0, ALLOC_CMA, MIGRATE_MOVABLE) for _ in range(6)]
        for i, page in enumerate(pages):
            page_vec[0, i].page = page
        pcp_procedures.free_unref_page_list(0, 6)
        assert [name for name, _ in seen] == ["mm_page_free"] * 6 + ["mm_page_free_batched"] * 6
        check_quiet_state()
