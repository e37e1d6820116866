# SPDX-License-Identifier: GPL-2.0-or-later
"""Take a page from the free lists, of whichever migratetype (mm/page_alloc.c).  zone.lock is held."""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.alloc_flags import ALLOC_CMA, ALLOC_NOFRAGMENT
from pagelab.linux.buddy import __rmqueue_smallest
from pagelab.linux.fallback import __rmqueue_fallback, zone_locked_as_requested
from pagelab.linux.fallback_claim import __rmqueue_claim, __rmqueue_fallback_once, __rmqueue_steal
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_CMA
from pagelab.linux.state import machine, rmqueue_hold, zone

# enum rmqueue_mode: where to begin the search
RMQUEUE_NORMAL = 0
RMQUEUE_CMA = 1
RMQUEUE_CLAIM = 2
RMQUEUE_STEAL = 3


def begin_rmqueue(cpu: int) -> None:
    """A hold of zone->lock begins or ends: forget where pages were found."""
    # Since Linux kernel commit 90abee6d7895 ("mm: page_alloc: speed up fallbacks in rmqueue_bulk()")
    # (in v6.15, 6.12.29)
    if features.rmqueue_mode:
        if not machine.zone_movable:
            rmqueue_hold[cpu].mode = RMQUEUE_NORMAL


def mode_of_hold(cpu: int) -> int:
    """Where to begin the search for a page."""
    # Since Linux kernel commit 90abee6d7895 ("mm: page_alloc: speed up fallbacks in rmqueue_bulk()")
    # (in v6.15, 6.12.29)
    if features.rmqueue_mode:
        if not machine.zone_movable:
            return rmqueue_hold[cpu].mode
    return RMQUEUE_NORMAL


def remember_mode(cpu: int, mode: int) -> None:
    """Where a page was found."""
    # Since Linux kernel commit 90abee6d7895 ("mm: page_alloc: speed up fallbacks in rmqueue_bulk()")
    # (in v6.15, 6.12.29)
    if features.rmqueue_mode:
        if not machine.zone_movable:
            rmqueue_hold[cpu].mode = mode


def rmqueue_or_claim(cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """__rmqueue() since v6.10, after CMA pageblocks had their turn."""
    # Since Linux kernel commit c2f6ea38fc1b ("mm: page_alloc: don't steal single pages from biggest buddy")
    # (in v6.15, 6.12.29)
    if not features.claim_or_steal:
        page = __rmqueue_smallest(cpu, order, migratetype)
        if page == NIL and machine.cma and alloc_flags & ALLOC_CMA:
            page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
        if page == NIL:
            page = __rmqueue_fallback_once(cpu, order, migratetype, alloc_flags)
        return page
    mode = mode_of_hold(cpu)
    if mode == RMQUEUE_NORMAL:
        page = __rmqueue_smallest(cpu, order, migratetype)
        if page != NIL:
            return page
    if machine.cma and mode <= RMQUEUE_CMA and alloc_flags & ALLOC_CMA:
        page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
        if page != NIL:
            remember_mode(cpu, RMQUEUE_CMA)
            return page
    if mode <= RMQUEUE_CLAIM:
        page = __rmqueue_claim(cpu, order, migratetype, alloc_flags)
        if page != NIL:
            remember_mode(cpu, RMQUEUE_NORMAL)
            return page
    if alloc_flags & ALLOC_NOFRAGMENT:
        return NIL
    page = __rmqueue_steal(cpu, order, migratetype)
    if page != NIL:
        remember_mode(cpu, RMQUEUE_STEAL)
    return page


def __rmqueue(cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a page from the free lists; NIL if there is none."""
    if machine.cma and alloc_flags & ALLOC_CMA:
        # Use CMA pageblocks first while they hold more than half of the free memory.
        if zone.free_cma_pages > zone.free_pages // 2:
            page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
            if page != NIL:
                zone_locked_as_requested(cpu, page, order, migratetype)
                return page
    # Since Linux kernel commit c0cd6f557b90 ("mm: page_alloc: fix freelist movement during block conversion")
    # (in v6.10)
    if features.block_conversion_moves_all:
        return rmqueue_or_claim(cpu, order, migratetype, alloc_flags)
    page = __rmqueue_smallest(cpu, order, migratetype)
    while page == NIL:
        if machine.cma and alloc_flags & ALLOC_CMA:
            page = __rmqueue_smallest(cpu, order, MIGRATE_CMA)
        if page == NIL:
            if not __rmqueue_fallback(cpu, order, migratetype, alloc_flags):
                break
            page = __rmqueue_smallest(cpu, order, migratetype)
    if page != NIL:
        zone_locked_as_requested(cpu, page, order, migratetype)
    return page
