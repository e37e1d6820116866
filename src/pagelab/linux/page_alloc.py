# SPDX-License-Identifier: GPL-2.0-or-later
"""Where allocations and frees enter (mm/page_alloc.c).

Watermarks, reclaim and the choice of a zone are the caller's business: an allocation here has chosen this zone.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL, irqs_off, trylock, unlock
from pagelab.linux.alloc_flags import ALLOC_CMA, ALLOC_HIGHATOMIC, ALLOC_NON_BLOCK, ALLOC_OOM
from pagelab.linux.buddy import FPI_NONE, FPI_TRYLOCK, __mod_zone_freepage_state, __rmqueue_smallest
from pagelab.linux.fallback import zone_locked_as_requested
from pagelab.linux.features import features
from pagelab.linux.highatomic import reserve_highatomic_pageblock
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE
from pagelab.linux.pcp import (
    __free_frozen_pages,
    __free_pages_ok,
    __rmqueue_pcplist,
    free_unref_page,
    order_to_pindex,
    pcp_allowed_order,
    rmqueue_pcplist,
)
from pagelab.linux.pcp_high import note_below_high
from pagelab.linux.rmqueue import __rmqueue, begin_rmqueue
from pagelab.linux.state import ALLOCATED, TAIL, machine, mem_map, page_vec, pcp, zone


def rmqueue_buddy(cpu: int, order: int, alloc_flags: int, migratetype: int) -> int:
    """Take a page from the free lists, past the pcplists; NIL if there is none."""
    with irqs_off(cpu), zone.lock:
        page = NIL
        if alloc_flags & ALLOC_HIGHATOMIC:
            page = __rmqueue_smallest(cpu, order, MIGRATE_HIGHATOMIC)
            if page != NIL:
                zone_locked_as_requested(cpu, page, order, migratetype)
        if page == NIL:
            begin_rmqueue(cpu)
            page = __rmqueue(cpu, order, migratetype, alloc_flags)
            begin_rmqueue(cpu)
            # Failing now is worse than failing an atomic allocation of a higher order later.
            if page == NIL and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
                page = __rmqueue_smallest(cpu, order, MIGRATE_HIGHATOMIC)
            if page == NIL:
                return NIL
        # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
        if not features.list_helpers_account:
            __mod_zone_freepage_state(-(1 << order), mem_map[page].index)
    return page


def may_use_pcplist(alloc_flags: int, migratetype: int) -> bool:
    """Whether an allocation may have any page of its pcplist: the MOVABLE one may hold CMA pages."""
    # Since Linux kernel commit f945116e4e19 ("mm: page_alloc: remove stale CMA guard code") (in v6.7)
    if features.cma_guard_removed:
        return True
    return not machine.cma or alloc_flags & ALLOC_CMA != 0 or migratetype != MIGRATE_MOVABLE


def rmqueue(cpu: int, order: int, alloc_flags: int, migratetype: int) -> int:
    """Take a page from the pcplists or else from the free lists; NIL if there is none."""
    if pcp_allowed_order(order):
        if may_use_pcplist(alloc_flags, migratetype):
            page = rmqueue_pcplist(cpu, order, migratetype, alloc_flags)
            # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
            if not features.pcp_spinlock:
                return page
            if page != NIL:
                return page
    return rmqueue_buddy(cpu, order, alloc_flags, migratetype)


def prep_new_page(page: int, migratetype: int) -> None:
    """The page has a reference from now on.  Movable allocations count as migratable at once."""
    mem_map[page].movable = migratetype == MIGRATE_MOVABLE
    mem_map[page].state = ALLOCATED


def get_page_from_freelist(cpu: int, order: int, alloc_flags: int, migratetype: int) -> int:
    """Allocate ``1 << order`` pages; returns the first, or NIL."""
    note_below_high(order)
    page = rmqueue(cpu, order, alloc_flags, migratetype)
    if page != NIL:
        prep_new_page(page, migratetype)
        # ZONE_MOVABLE serves no allocation that may use the reserve.
        if not machine.zone_movable and alloc_flags & ALLOC_HIGHATOMIC:
            reserve_highatomic_pageblock(cpu, page)
    return page


def alloc_pages_bulk_pcp(cpu: int, nr_pages: int, alloc_flags: int, migratetype: int) -> int:
    """The part of __alloc_pages_bulk() that holds pcp->lock; returns how many pages it put into page_vec[cpu]."""
    nr_populated = 0
    if trylock(pcp[cpu].lock):
        pindex = order_to_pindex(migratetype, 0)
        while nr_populated < nr_pages:
            page = __rmqueue_pcplist(cpu, 0, migratetype, alloc_flags, pindex)
            if page == NIL:
                break
            prep_new_page(page, migratetype)
            page_vec[cpu, nr_populated].page = page
            nr_populated += 1
        unlock(pcp[cpu].lock)
    return nr_populated


def __alloc_pages_bulk(cpu: int, nr_pages: int, alloc_flags: int, migratetype: int) -> int:
    """Allocate up to ``nr_pages`` single pages into page_vec[cpu], at least one if there is any; returns how many."""
    nr_populated = 0
    # Since Linux kernel commit 387ba26fb1cb ("mm/page_alloc: add a bulk page allocator") (in v5.13)
    if features.alloc_pages_bulk and nr_pages > 1:
        # Since Linux kernel commit 574907741599 ("mm/page_alloc: leave IRQs enabled for per-cpu page allocations")
        # (in v6.2, 6.1.57)
        if features.irqs_on_under_pcp_lock:
            nr_populated = alloc_pages_bulk_pcp(cpu, nr_pages, alloc_flags, migratetype)
        else:
            with irqs_off(cpu):
                nr_populated = alloc_pages_bulk_pcp(cpu, nr_pages, alloc_flags, migratetype)
    if nr_populated == 0 and nr_pages > 0:
        page = get_page_from_freelist(cpu, 0, alloc_flags, migratetype)
        if page != NIL:
            page_vec[cpu, 0].page = page
            nr_populated = 1
    return nr_populated


def free_the_page(cpu: int, page: int, order: int) -> None:
    """Free an allocation: the last reference is gone."""
    if pcp_allowed_order(order):
        free_unref_page(cpu, page, order)
    else:
        __free_pages_ok(cpu, page, order, FPI_NONE)


def free_pages_nolock(cpu: int, page: int, order: int) -> None:
    """Free an allocation without waiting for any lock, as BPF programs do, in NMIs too; since v6.15."""
    if pcp_allowed_order(order):
        __free_frozen_pages(cpu, page, order, FPI_TRYLOCK)
    else:
        __free_pages_ok(cpu, page, order, FPI_TRYLOCK)


def split_page(page: int, order: int) -> None:
    """Turn an allocation into ``1 << order`` allocations of one page each."""
    for i in range(1 << order):
        if i != 0:
            assert mem_map[page + i].state == TAIL, "split_page() of something that is not one allocation"
            mem_map[page + i].movable = mem_map[page].movable
        mem_map[page + i].compound_order = 0
        mem_map[page + i].state = ALLOCATED


def free_contig_range(cpu: int, page: int, nr_pages: int) -> None:
    """Free single pages in a row."""
    for i in range(nr_pages):
        free_the_page(cpu, page + i, 0)
