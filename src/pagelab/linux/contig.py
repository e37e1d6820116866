# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocate a range of pages by its place, for CMA or virtio-mem (mm/page_alloc.c, mm/compaction.c).

Not modelled: migration, which is done by a probe at alloc_contig_migrate_range() or by nobody.
"""

from __future__ import annotations

from errno import EBUSY

from pagelab.lang.declare import irqs_off
from pagelab.linux.buddy import __isolate_free_page
from pagelab.linux.drain import drain_all_pages
from pagelab.linux.features import features
from pagelab.linux.page_alloc import free_contig_range
from pagelab.linux.page_isolation import start_isolate_page_range, test_pages_isolated, undo_isolate_page_range
from pagelab.linux.state import ALLOCATED, BUDDY, machine, mem_map, zone
from pagelab.linux.trace import alloc_contig_migrate_range, range_isolated, range_released


def isolation_start(start: int) -> int:
    """First page to isolate: pfn_max_align_down() before isolation worked with single pageblocks."""
    # Since Linux kernel commit b2c9e2fbba32 ("mm: make alloc_contig_range work at pageblock granularity") (in v5.19)
    if features.isolate_at_pageblocks:
        return start
    return start & ~(max(machine.max_order_nr_pages, machine.pageblock_nr_pages) - 1)


def isolation_end(end: int) -> int:
    """Page after the last one to isolate: pfn_max_align_up(); there is nothing after the end of memory."""
    # Since Linux kernel commit b2c9e2fbba32 ("mm: make alloc_contig_range work at pageblock granularity") (in v5.19)
    if features.isolate_at_pageblocks:
        return end
    size = max(machine.max_order_nr_pages, machine.pageblock_nr_pages)
    return min((end + size - 1) & ~(size - 1), machine.nr_pages)


def outer_start_of(start: int) -> int:
    """First page of the free page that ``start`` is in, found without the lock, or ``start``."""
    page = start
    order = 0
    while mem_map[page].state != BUDDY:
        order += 1
        if order >= machine.max_order:
            return start
        page &= -1 << order
    if page != start and page + (1 << mem_map[page].order) <= start:
        return start
    return page


def isolate_freepages_range(cpu: int, start: int, end: int) -> int:
    """Take the free pages of a range, a pageblock in each hold of zone.lock, as allocations of one page each.

    :returns: the page after the last one taken, or 0 if not all were free; then what was taken is freed again.
    """
    page = start
    free = True
    while page < end and free:
        block_end = min((page & ~(machine.pageblock_nr_pages - 1)) + machine.pageblock_nr_pages, end)
        with irqs_off(cpu), zone.lock:
            while page < block_end and free:
                free = mem_map[page].state == BUDDY
                if free:
                    order = mem_map[page].order
                    free = __isolate_free_page(cpu, page, order) != 0
                    if free:
                        for i in range(1 << order):
                            mem_map[page + i].compound_order = 0
                            mem_map[page + i].movable = False
                            mem_map[page + i].state = ALLOCATED
                        page += 1 << order
    if not free:
        free_contig_range(cpu, start, page - start)
        return 0
    return page


def alloc_contig_isolated(cpu: int, start: int, end: int) -> int:
    """What alloc_contig_range() does with an isolated range: 0 or -EBUSY."""
    # Since Linux kernel commit 7612921f2376 ("mm, page_alloc: move draining pcplists to page isolation users")
    # (in v5.11)
    if features.drain_by_isolation_users:
        drain_all_pages(cpu, specific=True)
    range_isolated(cpu, start, end)
    alloc_contig_migrate_range(cpu, start, end)
    outer_start = outer_start_of(start)
    if test_pages_isolated(cpu, outer_start, end) != 0:
        return -EBUSY
    outer_end = isolate_freepages_range(cpu, outer_start, end)
    if outer_end == 0:
        return -EBUSY
    free_contig_range(cpu, outer_start, start - outer_start)
    free_contig_range(cpu, end, outer_end - end)
    return 0


def alloc_contig_range(cpu: int, start: int, end: int, migratetype: int) -> int:
    """Allocate the pages from ``start`` to before ``end``, each an allocation of its own; 0 or -EBUSY.

    :param migratetype: what the pageblocks get back.
    """
    first = isolation_start(start)
    after = isolation_end(end)
    ret = start_isolate_page_range(cpu, first, after, migratetype)
    # Since Linux kernel commit b2c9e2fbba32 ("mm: make alloc_contig_range work at pageblock granularity") (in v5.19)
    if not features.isolate_at_pageblocks:
        if ret != 0:
            return ret
    # As proposed on 2026-11-25 ("mm/page_alloc: alloc_contig_range: do not undo the isolation of somebody else")
    if features.contig_keeps_others_isolated:
        if ret != 0:
            return ret
    if ret == 0:
        ret = alloc_contig_isolated(cpu, start, end)
        range_released(cpu, start, end)
    # Even if the isolation failed, which may have been because somebody else isolated one of the pageblocks.
    undo_isolate_page_range(cpu, first, after, migratetype)
    return ret
