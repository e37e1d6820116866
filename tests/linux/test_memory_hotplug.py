# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory comes and goes."""

from __future__ import annotations

import errno

import pytest

from pagelab.lang.declare import attached
from pagelab.linux import drain, memory_hotplug, page_alloc, trace
from pagelab.linux.alloc_flags import ALLOC_CMA
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.linux.state import ALLOCATED, OFFLINE, cpu_state, mem_map, mm, pageblock, pcp, zone
from tests.linux.lab import SMALL, check_quiet_state, free_list, free_lists, recorded, zone_of


def migrate(cpu: int, page: int, end: int) -> None:
    """Move one allocation elsewhere, or give the task a signal if there is no room."""
    order = mem_map[page].compound_order
    if page_alloc.get_page_from_freelist(cpu, order, ALLOC_CMA, MIGRATE_MOVABLE) == -1:
        cpu_state[cpu].signal_pending = True
    else:
        page_alloc.free_the_page(cpu, page, order)


def test_online() -> None:
    """Each chunk goes to the tail of the ISOLATE list; the first block of a chunk takes the whole chunk back."""
    with zone_of(nr_pages=32768):
        with recorded(trace.mm_page_free, trace.move_freepages_block_done) as seen:
            memory_hotplug.online_pages(0, 0, 32768)
        freed = [args for name, args in seen if name == "mm_page_free"]
        assert freed == [(0, page, 10) for page in range(0, 32768, 1024)]
        moved = [args for name, args in seen if name == "move_freepages_block_done"]
        assert [args[3] for args in moved] == [1024, 0] * 32
        assert free_lists() == {10: list(range(0, 32768, 1024))}
        assert free_lists(MIGRATE_ISOLATE) == {}
        assert zone.free_pages == zone.managed_pages == zone.present_pages == zone.spanned_pages == 32768
        assert zone.nr_isolate_pageblock == 0
        assert (pcp[0].batch, zone.pageset_batch) == (7, 7)
        check_quiet_state()


def test_block_that_comes_online_goes_behind_those_before() -> None:
    with zone_of(online=64, **SMALL):
        memory_hotplug.online_pages(0, 192, 64)
        memory_hotplug.online_pages(0, 64, 64)
        assert free_list(4) == [0, 16, 32, 48, 192, 208, 224, 240, 64, 80, 96, 112]
        assert (zone.start_page, zone.spanned_pages, zone.present_pages) == (0, 256, 192)
        check_quiet_state()


def test_chunks_follow_the_alignment() -> None:
    with zone_of(**SMALL):
        with recorded(trace.mm_page_free) as seen:
            memory_hotplug.online_pages_begin(0, 40, 88)
            memory_hotplug.online_pages_range(0, 40, 88)
        assert [args[1:] for _, args in seen] == [(40, 3), *((page, 4) for page in range(48, 128, 16))]
        assert free_lists(MIGRATE_ISOLATE) == {3: [40], 4: [48, 64, 80, 96, 112]}


def test_memory_brought_online_twice_is_a_fault() -> None:
    with zone_of(online=64, **SMALL), pytest.raises(AssertionError, match="online twice"):
        memory_hotplug.online_pages(0, 32, 32)


def test_offline_free_memory() -> None:
    with zone_of(online=256, **SMALL):
        assert memory_hotplug.offline_pages(0, 64, 64) == 0
        assert zone.free_pages == zone.managed_pages == zone.present_pages == 192
        assert zone.spanned_pages == 256
        assert all(mem_map[page].state == OFFLINE for page in range(64, 128))
        assert pageblock[8].migratetype == MIGRATE_ISOLATE  # stale, and not counted
        assert not mm.pcp_batch_high_lock.held
        check_quiet_state()
        memory_hotplug.online_pages(0, 64, 64)
        check_quiet_state()
        assert zone.free_pages == 256


def test_offline_used_memory() -> None:
    with zone_of(online=256, **SMALL):
        pages = [page_alloc.get_page_from_freelist(0, order, ALLOC_CMA, MIGRATE_MOVABLE) for order in (0, 1, 2, 4, 3)]
        page_alloc.free_the_page(1, pages[0], 0)
        with attached({trace.do_migrate_range: migrate}):
            assert memory_hotplug.offline_pages(0, 0, 128) == 0
        assert zone.present_pages == 128
        drain.drain_all_pages(0, specific=True)
        check_quiet_state()
        in_use = [mem_map[p].compound_order for p in range(256) if mem_map[p].state == ALLOCATED]
        assert sorted(in_use) == [1, 2, 3, 4]
        assert zone.free_pages == 128 - sum(1 << order for order in in_use)


def test_offline_that_gets_a_signal_undoes_everything() -> None:
    with zone_of(online=64, **SMALL):
        page = page_alloc.get_page_from_freelist(0, 4, ALLOC_CMA, MIGRATE_MOVABLE)
        zone.pageset_high, zone.pageset_batch = 10, 2
        cpu_state[0].signal_pending = True
        assert memory_hotplug.offline_pages(0, 0, 32) == -errno.EINTR
        assert zone.nr_isolate_pageblock == 0
        assert {(p.high, p.batch) for p in pcp.rows} == {(10, 2)}
        check_quiet_state()
        page_alloc.free_the_page(0, page, 4)
        assert zone.free_pages == 64


def test_offline_of_isolated_memory_fails() -> None:
    with zone_of(online=64, **SMALL):
        zone.nr_isolate_pageblock += 1
        pageblock[2].migratetype = MIGRATE_ISOLATE
        assert memory_hotplug.offline_pages(0, 0, 32) == -errno.EBUSY
        assert not mm.mem_hotplug_lock.held
        assert zone.nr_isolate_pageblock == 1


def test_offline_of_memory_in_use_is_a_fault_without_the_test() -> None:
    with zone_of(online=64, **SMALL):
        page_alloc.get_page_from_freelist(0, 4, ALLOC_CMA, MIGRATE_MOVABLE)
        with pytest.raises(AssertionError, match="not free"):
            memory_hotplug.__offline_isolated_pages(0, 0, 32)


def test_zone_shrinks_to_what_is_online() -> None:
    with zone_of(online=256, **SMALL):
        assert memory_hotplug.offline_pages(0, 192, 64) == 0
        assert (zone.start_page, zone.spanned_pages) == (0, 192)
        assert memory_hotplug.offline_pages(0, 64, 64) == 0
        assert (zone.start_page, zone.spanned_pages) == (0, 192)
        assert memory_hotplug.offline_pages(0, 0, 64) == 0
        assert (zone.start_page, zone.spanned_pages) == (128, 64)
        assert memory_hotplug.offline_pages(0, 128, 64) == 0
        assert (zone.start_page, zone.spanned_pages, zone.present_pages) == (0, 0, 0)
        assert {(p.high, p.batch) for p in pcp.rows} == {(0, 1)}
        check_quiet_state()
        memory_hotplug.online_pages(0, 64, 64)
        assert (zone.start_page, zone.spanned_pages) == (64, 64)
        check_quiet_state()
