# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allocation does when the lists of its migratetype are empty (mm/page_alloc.c).

Taking over pages of another migratetype is not modelled yet.  Where the kernel would find no page to take over, as
always in ZONE_MOVABLE, the model is exact; where it would find one, the model stops with a fault.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.alloc_flags import ALLOC_CMA, ALLOC_NOFRAGMENT
from pagelab.linux.buddy import __rmqueue_smallest
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_PCPTYPES
from pagelab.linux.state import free_area, machine, zone


def __rmqueue_fallback(order: int, start_migratetype: int, alloc_flags: int) -> bool:
    """Whether a page of another migratetype was put on the lists of this one: always False."""
    min_order = order
    if order < machine.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT:
        min_order = machine.pageblock_order
    for current_order in range(machine.max_order - 1, min_order - 1, -1):
        for fallback_mt in range(MIGRATE_PCPTYPES):
            if fallback_mt != start_migratetype:
                head = free_area[current_order, fallback_mt].head
                assert head == NIL, "fallback between migratetypes is not modelled for this design"
    return False


def __rmqueue(cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a page from the free lists; NIL if there is none.  zone.lock is held."""
    if machine.cma and alloc_flags & ALLOC_CMA:
        # Use CMA pageblocks first while they hold more than half of the free memory.
        if zone.free_cma_pages > zone.free_pages // 2:
            page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
            if page != NIL:
                return page
    page = __rmqueue_smallest(cpu, order, migratetype)
    if page == NIL:
        if machine.cma and alloc_flags & ALLOC_CMA:
            page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
        if page == NIL:
            __rmqueue_fallback(order, migratetype, alloc_flags)
    return page
