# SPDX-License-Identifier: GPL-2.0-or-later
"""Bring memory online and take it offline (mm/memory_hotplug.c, parts of mm/page_alloc.c).

online_pages() and offline_pages() do it all.  Who follows a trace calls their parts at the moments it shows:

* online: online_pages_begin(), generic_online_page() for each chunk, online_pages_present(),
  unset_migratetype_isolate() for each pageblock, init_per_zone_wmark_min();
* offline: zone_pcp_disable(), start_isolate_page_range() or its parts, __offline_isolated_pages(),
  offline_pages_uncount(), zone_pcp_enable(), offline_pages_end().

Not modelled: the LRU and its pagevecs, hugetlb pages, PageOffline and poisoned pages, notifiers, migration itself.
"""

from __future__ import annotations

from errno import EBUSY, EINTR

from pagelab.lang.declare import NIL, irqs_off
from pagelab.linux.buddy import FPI_TO_TAIL, __del_page_from_free_list, __ffs
from pagelab.linux.drain import drain_all_pages
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.linux.page_alloc import free_the_page
from pagelab.linux.page_isolation import start_isolate_page_range, test_pages_isolated, undo_isolate_page_range
from pagelab.linux.pcp import __free_pages_ok
from pagelab.linux.pcp_tuning import (
    setup_zone_pageset,
    zone_pcp_disable,
    zone_pcp_enable,
    zone_pcp_reset,
    zone_pcp_update,
)
from pagelab.linux.rwsem import down_read, up_read
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    OFFLINE,
    TAIL,
    cpu_state,
    machine,
    mem_map,
    mm,
    set_pageblock_migratetype,
    zone,
)
from pagelab.linux.trace import do_migrate_range, range_isolated, range_released
from pagelab.linux.watermarks import init_per_zone_wmark_min


def init_pageblock_migratetype(page: int, migratetype: int) -> None:
    """A pageblock that comes online; where isolation is a bit, it is movable beside that."""
    # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
    if features.isolate_bit:
        set_pageblock_migratetype(page, MIGRATE_MOVABLE)
    set_pageblock_migratetype(page, migratetype)


def move_pfn_range_to_zone(start: int, nr_pages: int, migratetype: int) -> None:
    """Make the zone span a range, whose pageblocks get a type; no counter of pages changes."""
    old_end = zone.start_page + zone.spanned_pages
    if zone.spanned_pages == 0 or start < zone.start_page:
        zone.start_page = start
    zone.spanned_pages = max(start + nr_pages, old_end) - zone.start_page
    page = start
    while page < start + nr_pages:
        assert mem_map[page].state == OFFLINE, "memory brought online twice"
        init_pageblock_migratetype(page, migratetype)
        page += machine.pageblock_nr_pages


def isolate_onlining_pages(cpu: int, nr_pages: int) -> bool:
    """The pageblocks count as isolated from now on; whether none was before."""
    # As proposed on 2020-09-09 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.onlining_disables_pcplists:
        down_read()
    with irqs_off(cpu), zone.lock:
        nr_isolate_pageblock = zone.nr_isolate_pageblock
        zone.nr_isolate_pageblock = nr_isolate_pageblock + (nr_pages >> machine.pageblock_order)
    return nr_isolate_pageblock == 0


def online_pages_begin(cpu: int, start: int, nr_pages: int) -> None:
    """The range belongs to the zone, isolated, and the zone has pcplists."""
    # Since Linux kernel commit b30c59279d68 ("mm/memory_hotplug: mark pageblocks MIGRATE_ISOLATE while onlining
    # memory") (in v5.10)
    if features.isolate_while_onlining:
        move_pfn_range_to_zone(start, nr_pages, MIGRATE_ISOLATE)
        first = isolate_onlining_pages(cpu, nr_pages)
    else:
        move_pfn_range_to_zone(start, nr_pages, MIGRATE_MOVABLE)
        first = False
    if zone.present_pages == 0:
        setup_zone_pageset()
    # As proposed on 2020-09-09 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.onlining_disables_pcplists:
        if first:
            zone_pcp_disable(cpu)


def __free_pages_core(cpu: int, page: int, order: int) -> None:
    """Give pages that never were free to the tails of the free lists."""
    for i in range(1, 1 << order):
        mem_map[page + i].state = TAIL
    mem_map[page].compound_order = order
    mem_map[page].state = ALLOCATED
    zone.managed_pages += 1 << order
    # Since Linux kernel commit 7fef431be9c9 ("mm/page_alloc: place pages to tail in __free_pages_core()") (in v5.10)
    if features.core_pages_to_tail:
        __free_pages_ok(cpu, page, order, FPI_TO_TAIL)
    else:
        free_the_page(cpu, page, order)


def generic_online_page(cpu: int, page: int, order: int) -> None:
    """One chunk of memory that comes online."""
    __free_pages_core(cpu, page, order)


def online_pages_range(cpu: int, start: int, nr_pages: int) -> None:
    """Bring a range online in the largest chunks that it is aligned to."""
    page = start
    while page < start + nr_pages:
        order = __ffs(page | machine.max_order_nr_pages, 0)
        generic_online_page(cpu, page, order)
        page += 1 << order


def online_pages_present(nr_pages: int) -> None:
    """All chunks are online."""
    zone.present_pages += nr_pages


def size_pcplists() -> None:
    """The number of pages changed; since high depends on the low watermark, it changes with the watermarks."""
    # Since Linux kernel commit b92ca18e8ca5 ("mm/page_alloc: disassociate the pcp->high from pcp->batch") (in v5.14)
    if not features.high_from_low_watermark:
        zone_pcp_update(0)


def online_pages(cpu: int, start: int, nr_pages: int) -> None:
    """Bring a range online, whole pageblocks; at the end it can be allocated as MIGRATE_MOVABLE."""
    with mm.mem_hotplug_lock:
        online_pages_begin(cpu, start, nr_pages)
        online_pages_range(cpu, start, nr_pages)
        online_pages_present(nr_pages)
        # As proposed on 2020-09-09 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
        if not features.onlining_disables_pcplists:
            size_pcplists()
        # Since Linux kernel commit b30c59279d68 ("mm/memory_hotplug: mark pageblocks MIGRATE_ISOLATE while onlining
        # memory") (in v5.10)
        if features.isolate_while_onlining:
            undo_isolate_page_range(cpu, start, start + nr_pages, MIGRATE_MOVABLE)
        # As proposed on 2020-09-09 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
        if features.onlining_disables_pcplists:
            size_pcplists()
        init_per_zone_wmark_min(cpu)


def scan_movable_pages(start: int, end: int) -> int:
    """The first page of a range that can be migrated, or NIL; without a lock."""
    for page in range(start, end):
        if mem_map[page].state == ALLOCATED and mem_map[page].movable:
            return page
    return NIL


def __offline_isolated_pages(cpu: int, start: int, end: int) -> None:
    """Take all pages of an isolated, free range off the free lists for good."""
    with irqs_off(cpu), zone.lock:
        page = start
        while page < end:
            assert mem_map[page].state == BUDDY, "BUG: memory goes offline that is not free"
            order = mem_map[page].order
            # Whichever list it is on, it is taken for an isolated page: nothing is counted.
            __del_page_from_free_list(page, order)
            for i in range(1 << order):
                mem_map[page + i].state = OFFLINE
            page += 1 << order


def offline_pages_uncount(cpu: int, nr_pages: int) -> None:
    """The pageblocks keep their type ISOLATE, but count no longer."""
    with irqs_off(cpu), zone.lock:
        # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
        if features.isolation_disables_pcplists:
            last = zone.nr_isolate_pageblock == nr_pages >> machine.pageblock_order
        zone.nr_isolate_pageblock -= nr_pages >> machine.pageblock_order
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        if last:
            zone_pcp_enable()
        up_read()


def remove_pfn_range_from_zone(start: int, nr_pages: int) -> None:
    """shrink_zone_span(): the zone ends where its first and its last online pages are.

    The kernel looks at one page in each 2 MiB, which on x86-64 is a pageblock.
    """
    low = zone.start_page
    high = low + zone.spanned_pages
    step = machine.pageblock_nr_pages
    if start == low:
        while low < high and mem_map[low].state == OFFLINE:
            low += step
    elif start + nr_pages == high:
        while high > low and mem_map[high - step].state == OFFLINE:
            high -= step
    zone.start_page = low if low < high else 0
    zone.spanned_pages = high - low if low < high else 0


def offline_pages_end(cpu: int, start: int, nr_pages: int) -> None:
    """Count the pages out and size the pcplists anew."""
    zone.managed_pages -= nr_pages
    zone.present_pages -= nr_pages
    init_per_zone_wmark_min(cpu)
    if zone.present_pages == 0:
        zone_pcp_reset()
    else:
        size_pcplists()
    remove_pfn_range_from_zone(start, nr_pages)


def drain_in_offline(cpu: int) -> None:
    """Not all pages were free: some may be on pcplists."""
    # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
    if not features.zone_pcp_disable:
        # Since Linux kernel commit 968318261221 ("mm/memory_hotplug: drain per-cpu pages again during memory offline")
        # (in v5.9)
        if features.drain_again_in_offline:
            drain_all_pages(cpu, specific=True)


def offline_isolated(cpu: int, start: int, end: int) -> int:
    """Wait until an isolated range is free; 0, or -EINTR if the task gets a signal first.

    Migration is done by a probe at do_migrate_range(), or by nobody: then others have to free the pages.
    """
    ret = -EBUSY
    while ret != 0:
        page = start
        while page != NIL:
            if cpu_state[cpu].signal_pending:
                return -EINTR
            page = scan_movable_pages(page, end)
            if page != NIL:
                do_migrate_range(cpu, page, end)
        ret = test_pages_isolated(cpu, start, end)
        if ret != 0:
            drain_in_offline(cpu)
    return 0


def isolate_and_offline(cpu: int, start: int, end: int) -> int:
    """Isolate a range and take its pages off the free lists; 0, or -EBUSY or -EINTR with everything undone."""
    ret = start_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE)
    if ret == 0:
        range_isolated(cpu, start, end)
        ret = offline_isolated(cpu, start, end)
        range_released(cpu, start, end)
        if ret == 0:
            __offline_isolated_pages(cpu, start, end)
            offline_pages_uncount(cpu, end - start)
        else:
            undo_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE)
    return ret


def offline_pages(cpu: int, start: int, nr_pages: int) -> int:
    """Take a range offline, whole pageblocks; 0, or -EBUSY or -EINTR with everything undone."""
    end = start + nr_pages
    with mm.mem_hotplug_lock:
        # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
        if features.zone_pcp_disable:
            # zone_pcp_disable() to zone_pcp_enable()
            with mm.pcp_batch_high_lock:
                zone_pcp_disable(cpu)
                ret = isolate_and_offline(cpu, start, end)
                zone_pcp_enable()
        else:
            ret = isolate_and_offline(cpu, start, end)
        if ret == 0:
            offline_pages_end(cpu, start, nr_pages)
    return ret
