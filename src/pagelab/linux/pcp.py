# SPDX-License-Identifier: GPL-2.0-or-later
"""The pcplists: allocate from them, free to them, refill them, give back what is too much (mm/page_alloc.c).

``cpu`` executes; ``owner`` is the CPU whose pcplists are meant where that may be another one.  ``pindex`` numbers the
lists of a CPU: three migratetypes for each order up to ``machine.costly_order``, then those of huge pages.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL, atomic, irqs_off, trylock, unlock
from pagelab.linux.buddy import FPI_NONE, FPI_TRYLOCK, __free_one_page, split_large_buddy
from pagelab.linux.features import features
from pagelab.linux.lists import pcp_list_add, pcp_list_add_tail, pcp_list_del_head, pcp_list_del_tail
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from pagelab.linux.pcp_high import (
    clear_below_high,
    count_free,
    is_free_high,
    nr_pcp_alloc,
    nr_pcp_high_tuned,
)
from pagelab.linux.pcp_round_robin import free_pcppages_bulk_round_robin
from pagelab.linux.rmqueue import __rmqueue, begin_rmqueue
from pagelab.linux.state import (
    ALLOCATED,
    IN_FLIGHT,
    ON_PCPLIST,
    get_pageblock_migratetype,
    machine,
    mem_map,
    page_vec,
    pcp,
    pcp_auto,
    pcp_list,
    trylock_free,
    zone,
)
from pagelab.linux.trace import mm_page_free, mm_page_free_batched, mm_page_pcpu_drain


def pcp_allowed_order(order: int) -> bool:
    """Whether pages of this order have pcplists."""
    # Since Linux kernel commit 44042b449872 ("mm/page_alloc: allow high-order pages to be stored on the per-cpu lists")
    # (in v5.14)
    if not features.high_order_pcplists:
        return order == 0
    if order <= machine.costly_order:
        return True
    return machine.thp and order == machine.pageblock_order


def order_to_pindex(migratetype: int, order: int) -> int:
    """The pcplist for pages of a migratetype and an order."""
    # Since Linux kernel commit 44042b449872 ("mm/page_alloc: allow high-order pages to be stored on the per-cpu lists")
    # (in v5.14)
    if not features.high_order_pcplists:
        return migratetype
    if order > machine.costly_order:
        # Since Linux kernel commit bf14ed81f571 ("mm/page_alloc: Separate THP PCP into movable and non-movable
        # categories") (in v6.10, 6.1.97)
        if features.thp_lists_by_movability:
            return machine.nr_loworder_pcp_lists + (1 if migratetype == MIGRATE_MOVABLE else 0)
        return machine.nr_loworder_pcp_lists
    return MIGRATE_PCPTYPES * order + migratetype


def pindex_to_order(pindex: int) -> int:
    """The order of the pages on a pcplist."""
    if pindex >= machine.nr_loworder_pcp_lists:
        return machine.pageblock_order
    return pindex // MIGRATE_PCPTYPES


# ---- between pcplists and free lists: pcp->lock is held


def rmqueue_bulk(cpu: int, order: int, count: int, pindex: int, migratetype: int, alloc_flags: int) -> int:
    """Take up to ``count`` pages from the free lists to the tail of a pcplist; returns how many were found."""
    allocated = 0
    with irqs_off(cpu), zone.lock:
        begin_rmqueue(cpu)
        while allocated < count:
            page = __rmqueue(cpu, order, migratetype, alloc_flags)
            if page == NIL:
                break
            pcp_list_add_tail(page, cpu, pindex)
            mem_map[page].state = ON_PCPLIST
            allocated += 1
            # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
            if not features.list_helpers_account:
                if machine.cma and mem_map[page].index == MIGRATE_CMA:
                    zone.free_cma_pages -= 1 << order
        begin_rmqueue(cpu)
        # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
        if not features.list_helpers_account:
            zone.free_pages -= allocated << order
    return allocated


def free_pcppages_bulk(cpu: int, owner: int, count: int, pindex: int) -> None:
    """Give back at least ``count`` base pages, list after list from ``pindex`` on, each from its tail."""
    # Since Linux kernel commit d61372bc41cf ("mm/page_alloc: drain the requested list first during bulk free")
    # (in v5.18)
    if not features.drain_requested_list_first:
        free_pcppages_bulk_round_robin(cpu, owner, count)
        return
    count = min(pcp[owner].count, count)
    min_pindex = 0
    max_pindex = machine.nr_pcp_lists - 1
    pindex -= 1
    with irqs_off(cpu), zone.lock:
        # Since Linux kernel commit 17edeb5d3f76 ("mm: page_alloc: remove pcppage migratetype caching") (in v6.10)
        if not features.bulk_free_reads_type:
            isolated_pageblocks = zone.nr_isolate_pageblock != 0
        while count > 0:
            page = NIL
            while page == NIL:
                assert min_pindex <= max_pindex, "pcp->count says that there are pages, but all lists are empty"
                pindex += 1
                if pindex > max_pindex:
                    pindex = min_pindex
                page = pcp_list[owner, pindex].tail
                if page == NIL:
                    if pindex == max_pindex:
                        max_pindex -= 1
                    if pindex == min_pindex:
                        min_pindex += 1
            order = pindex_to_order(pindex)
            nr_pages = 1 << order
            while page != NIL:
                pcp_list_del_tail(page, owner, pindex)
                mem_map[page].state = IN_FLIGHT
                count -= nr_pages
                pcp[owner].count -= nr_pages
                # Since Linux kernel commit 17edeb5d3f76 ("mm: page_alloc: remove pcppage migratetype caching")
                # (in v6.10)
                if features.bulk_free_reads_type:
                    migratetype = get_pageblock_migratetype(page)
                else:
                    migratetype = mem_map[page].index
                    # The pageblock may have been isolated since its type was read.
                    if isolated_pageblocks:
                        migratetype = get_pageblock_migratetype(page)
                __free_one_page(page, order, migratetype, FPI_NONE)
                mm_page_pcpu_drain(cpu, page, order, migratetype)
                page = pcp_list[owner, pindex].tail if count > 0 else NIL


# ---- allocate


def __rmqueue_pcplist(cpu: int, order: int, migratetype: int, alloc_flags: int, pindex: int) -> int:
    """Take the first page of a pcplist, refilled if it is empty; NIL if there is none.  pcp->lock is held."""
    page = pcp_list[cpu, pindex].head
    if page == NIL:
        # Since Linux kernel commit c0a242394cb9 ("mm, page_alloc: scale the number of pages that are batch allocated")
        # (in v6.7)
        if features.alloc_factor:
            batch = nr_pcp_alloc(cpu, order)
        else:
            batch = pcp[cpu].batch
            # With a batch of 1 the pcplists are meant to store nothing.
            if batch > 1:
                batch = max(batch >> order, 2)
        alloced = rmqueue_bulk(cpu, order, batch, pindex, migratetype, alloc_flags)
        pcp[cpu].count += alloced << order
        page = pcp_list[cpu, pindex].head
        if page == NIL:
            return NIL
    pcp_list_del_head(page, cpu, pindex)
    mem_map[page].state = IN_FLIGHT
    pcp[cpu].count -= 1 << order
    return page


def pcp_trylock_rmqueue(cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """The body of rmqueue_pcplist()."""
    page = NIL
    if trylock(pcp[cpu].lock):
        # Since Linux kernel commit 6ccdcb6d3a74 ("mm, pcp: reduce detecting time of consecutive high order page
        # freeing") (in v6.7)
        if features.free_count:
            pcp_auto[cpu].free_count >>= 1
        else:
            pcp[cpu].free_factor >>= 1
        pindex = order_to_pindex(migratetype, order)
        page = __rmqueue_pcplist(cpu, order, migratetype, alloc_flags, pindex)
        unlock(pcp[cpu].lock)
    return page


def rmqueue_pcplist(cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """Take a page from the CPU's pcplists; NIL if they are locked, or empty and not to be refilled."""
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        with irqs_off(cpu):
            return __rmqueue_pcplist(cpu, order, migratetype, alloc_flags, order_to_pindex(migratetype, order))
    # Since Linux kernel commit 574907741599 ("mm/page_alloc: leave IRQs enabled for per-cpu page allocations")
    # (in v6.2, 6.1.57)
    if features.irqs_on_under_pcp_lock:
        return pcp_trylock_rmqueue(cpu, order, migratetype, alloc_flags)
    with irqs_off(cpu):
        return pcp_trylock_rmqueue(cpu, order, migratetype, alloc_flags)


# ---- free


def free_pages_prepare(cpu: int, page: int, order: int) -> None:
    """What comes before any free; bad and poisoned pages are not modelled."""
    mm_page_free(cpu, page, order)
    assert mem_map[page].state == ALLOCATED, "page freed that is not allocated"
    assert mem_map[page].compound_order == order, "page freed with another order than it was allocated with"
    mem_map[page].state = IN_FLIGHT


def leave_for_others(page: int, order: int) -> None:
    """add_page_to_zone_llist(): whoever frees past the pcplists next, and may wait for zone->lock, frees it."""
    mem_map[page].compound_order = order
    with atomic():
        mem_map[page].next = trylock_free.first
        trylock_free.first = page


def free_what_others_left(fpi_flags: int) -> None:
    """Free the pages for which others could not take zone->lock, the newest first.  zone.lock is held."""
    with atomic():
        page = trylock_free.first
        trylock_free.first = NIL
    while page != NIL:
        following = mem_map[page].next
        split_large_buddy(page, mem_map[page].compound_order, fpi_flags)
        page = following


def free_one_page_nolock(cpu: int, page: int, order: int) -> None:
    """free_one_page() of who must not wait for zone->lock."""
    with irqs_off(cpu):
        if trylock(zone.lock):
            split_large_buddy(page, order, FPI_TRYLOCK)
            unlock(zone.lock)
        else:
            leave_for_others(page, order)


def free_one_page(cpu: int, page: int, order: int, migratetype: int, fpi_flags: int) -> None:
    """Give a page to the free lists, past the pcplists."""
    # Since Linux kernel commit 8c57b687e833 ("mm, bpf: Introduce free_pages_nolock()") (in v6.15)
    if features.free_pages_nolock:
        if fpi_flags & FPI_TRYLOCK:
            free_one_page_nolock(cpu, page, order)
            return
    with irqs_off(cpu), zone.lock:
        # Since Linux kernel commit 8c57b687e833 ("mm, bpf: Introduce free_pages_nolock()") (in v6.15)
        if features.free_pages_nolock:
            free_what_others_left(fpi_flags)
        # Since Linux kernel commit 55612e80e722 ("mm: page_alloc: close migratetype race between freeing and stealing")
        # (in v6.10)
        if features.direct_free_reads_type:
            # Since Linux kernel commit e98337d11bbd ("mm/contig_alloc: support __GFP_COMP") (in v6.12) by pageblock.
            split_large_buddy(page, order, fpi_flags)
        else:
            if zone.nr_isolate_pageblock != 0 or migratetype == MIGRATE_ISOLATE:
                migratetype = get_pageblock_migratetype(page)
            __free_one_page(page, order, migratetype, fpi_flags)


def __free_pages_ok(cpu: int, page: int, order: int, fpi_flags: int) -> None:
    """Free a page of an order that has no pcplists."""
    free_pages_prepare(cpu, page, order)
    migratetype = get_pageblock_migratetype(page)
    free_one_page(cpu, page, order, migratetype, fpi_flags)


def free_unref_page_prepare(cpu: int, page: int, order: int) -> None:
    """Note the pageblock's type in the page; it may be another one before the page is on a list."""
    free_pages_prepare(cpu, page, order)
    mem_map[page].index = get_pageblock_migratetype(page)


def prepare_and_read_type(cpu: int, page: int, order: int) -> int:
    """Prepare a page for its free; returns the type that its pageblock has now."""
    # Since Linux kernel commit 17edeb5d3f76 ("mm: page_alloc: remove pcppage migratetype caching") (in v6.10)
    if features.bulk_free_reads_type:
        free_pages_prepare(cpu, page, order)
        return get_pageblock_migratetype(page)
    free_unref_page_prepare(cpu, page, order)
    return mem_map[page].index


def nr_pcp_free(cpu: int, high: int, batch: int, free_high: bool) -> int:
    """How many base pages to give back; ``free_factor`` doubles it with each free in a row."""
    # Since Linux kernel commit 3b12e7e97938 ("mm/page_alloc: scale the number of pages that are batch freed")
    # (in v5.14)
    if not features.free_factor:
        return batch
    if free_high:
        # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
        if features.high_auto_tuning:
            return min(pcp[cpu].count, batch << machine.pcp_batch_scale_max)
        return pcp[cpu].count
    # The pcplists are disabled, or those of boot.
    if high < batch:
        return 1
    min_nr_free = batch
    max_nr_free = high - batch
    # Since Linux kernel commit 6ccdcb6d3a74 ("mm, pcp: reduce detecting time of consecutive high order page freeing")
    # (in v6.7)
    if features.free_count:
        return min(max(pcp_auto[cpu].free_count, min_nr_free), max_nr_free)
    free_factor = pcp[cpu].free_factor
    batch <<= free_factor
    # Since Linux kernel commit 52166607ecc9 ("mm: restrict the pcp batch scale factor to avoid too long latency")
    # (in v6.7, 6.1.104)
    if batch < max_nr_free and (not features.pcp_batch_scale_max or free_factor < machine.pcp_batch_scale_max):
        pcp[cpu].free_factor = free_factor + 1
    return min(max(batch, min_nr_free), max_nr_free)


def nr_pcp_high(cpu: int, free_high: bool) -> int:
    """How many base pages the pcplists may hold just now."""
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        return nr_pcp_high_tuned(cpu, free_high)
    high = pcp[cpu].high
    if high == 0 or free_high:
        return 0
    # Since Linux kernel commit c49c2c47dab6 ("mm/page_alloc: limit the number of pages on PCP lists when reclaim is
    # active") (in v5.14)
    if not features.high_limited_in_reclaim:
        return high
    if not zone.reclaim_active:
        return high
    return min(pcp[cpu].batch << 2, high)


def nr_to_give_back(cpu: int, order: int) -> int:
    """How many base pages to give back after a page of an order was put on a pcplist; 0 if none."""
    # Pages of higher orders fragment memory while they wait here.
    free_high = False
    # Since Linux kernel commit f26b3fa04611 ("mm/page_alloc: limit number of high-order pages on PCP during bulk free")
    # (in v5.18)
    if features.free_high:
        free_high = is_free_high(cpu, order)
    count_free(cpu, order)
    high = nr_pcp_high(cpu, free_high)
    if pcp[cpu].count < high:
        return 0
    return nr_pcp_free(cpu, high, pcp[cpu].batch, free_high)


def put_on_pcplist(cpu: int, page: int, pindex: int, order: int) -> None:
    """Put a page at the head of a pcplist."""
    # Since Linux kernel commit c0a242394cb9 ("mm, page_alloc: scale the number of pages that are batch allocated")
    # (in v6.7)
    if features.alloc_factor:
        pcp_auto[cpu].alloc_factor >>= 1
    pcp_list_add(page, cpu, pindex)
    mem_map[page].state = ON_PCPLIST
    pcp[cpu].count += 1 << order


def give_back_in_batches(cpu: int, nr_pages: int, pindex: int) -> bool:
    """Give back base pages, a batch in each hold of pcp->lock; whether it is held in the end."""
    batch = pcp[cpu].batch
    locked = True
    while locked and nr_pages > 0 and pcp[cpu].count > 0:
        chunk = min(nr_pages, batch)
        free_pcppages_bulk(cpu, cpu, chunk, pindex)
        nr_pages -= chunk
        if nr_pages == 0 or pcp[cpu].count == 0:
            break
        unlock(pcp[cpu].lock)
        locked = trylock(pcp[cpu].lock)
    return locked


def free_unref_page_commit(cpu: int, page: int, migratetype: int, order: int, fpi_flags: int) -> bool:
    """Put a page at the head of a pcplist, and give pages back if there are too many.

    pcp->lock is held; whether it still is in the end.  Called free_frozen_page_commit() since v6.14.
    """
    pindex = order_to_pindex(migratetype, order)
    put_on_pcplist(cpu, page, pindex, order)
    # Since Linux kernel commit 8c57b687e833 ("mm, bpf: Introduce free_pages_nolock()") (in v6.15)
    if features.free_pages_nolock:
        if fpi_flags & FPI_TRYLOCK:
            return True  # zone->lock would be needed
    nr_pages = nr_to_give_back(cpu, order)
    locked = True
    if nr_pages > 0:
        # Since Linux kernel commit 91e691296646 ("mm/page_alloc: batch page freeing in free_frozen_page_commit")
        # (in v6.19)
        if features.free_in_batches:
            locked = give_back_in_batches(cpu, nr_pages, pindex)
        else:
            free_pcppages_bulk(cpu, cpu, nr_pages, pindex)
        clear_below_high()
    return locked


def pcp_trylock_free(cpu: int, page: int, pcpmigratetype: int, migratetype: int, order: int, fpi_flags: int) -> None:
    """To a pcplist if its lock is free, otherwise to the free lists."""
    if trylock(pcp[cpu].lock):
        # As proposed on 2026-11-25 ("mm/page_alloc: free_pages_nolock: keep off disabled pcplists")
        if features.nolock_keeps_off_disabled:
            if fpi_flags & FPI_TRYLOCK and pcp_auto[cpu].high_max == 0:
                unlock(pcp[cpu].lock)
                free_one_page(cpu, page, order, migratetype, fpi_flags)
                return
        if free_unref_page_commit(cpu, page, pcpmigratetype, order, fpi_flags):
            unlock(pcp[cpu].lock)
    else:
        free_one_page(cpu, page, order, migratetype, fpi_flags)


def free_unref_page_commit_irqs_off(cpu: int, page: int) -> None:
    """free_unref_page_commit() of kernels whose pcplists have no lock: irqs are off, and the page may go past them."""
    migratetype = mem_map[page].index
    if migratetype >= MIGRATE_PCPTYPES:
        if migratetype == MIGRATE_ISOLATE:
            free_one_page(cpu, page, 0, migratetype, FPI_NONE)
            return
        migratetype = MIGRATE_MOVABLE
    free_unref_page_commit(cpu, page, migratetype, 0, FPI_NONE)


def free_unref_page_irqs_off(cpu: int, page: int) -> None:
    """free_unref_page() of kernels whose pcplists have no lock."""
    # As proposed on 2020-09-10 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.migratetype_with_irqs_off:
        free_pages_prepare(cpu, page, 0)
        with irqs_off(cpu):
            mem_map[page].index = get_pageblock_migratetype(page)
            free_unref_page_commit_irqs_off(cpu, page)
        return
    free_unref_page_prepare(cpu, page, 0)
    with irqs_off(cpu):
        free_unref_page_commit_irqs_off(cpu, page)


def free_unref_page(cpu: int, page: int, order: int) -> None:
    """Free a page of an order that has pcplists."""
    __free_frozen_pages(cpu, page, order, FPI_NONE)


def __free_frozen_pages(cpu: int, page: int, order: int, fpi_flags: int) -> None:
    """The same, and perhaps without waiting for any lock; free_unref_page() itself before v6.15."""
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        free_unref_page_irqs_off(cpu, page)
        return
    migratetype = prepare_and_read_type(cpu, page, order)
    pcpmigratetype = migratetype
    if migratetype >= MIGRATE_PCPTYPES:
        if migratetype == MIGRATE_ISOLATE:
            free_one_page(cpu, page, order, migratetype, fpi_flags)
            return
        pcpmigratetype = MIGRATE_MOVABLE
        # Since Linux kernel commit 7b086755fb8c ("mm: page_alloc: fix CMA and HIGHATOMIC landing on the wrong buddy
        # list") (in v6.6, 6.1.57)
        if not features.cma_highatomic_to_own_list:
            migratetype = MIGRATE_MOVABLE
    # Since Linux kernel commit 574907741599 ("mm/page_alloc: leave IRQs enabled for per-cpu page allocations")
    # (in v6.2, 6.1.57)
    if features.irqs_on_under_pcp_lock:
        pcp_trylock_free(cpu, page, pcpmigratetype, migratetype, order, fpi_flags)
    else:
        with irqs_off(cpu):
            pcp_trylock_free(cpu, page, pcpmigratetype, migratetype, order, fpi_flags)


# ---- free a list of order-0 pages: the first ``nr`` of page_vec[cpu]


def free_unref_page_list_prepare(cpu: int, page: int) -> bool:
    """First pass, for one page; False if the page went to the free lists at once, because its pageblock is isolated."""
    free_unref_page_prepare(cpu, page, 0)
    migratetype = mem_map[page].index
    if migratetype == MIGRATE_ISOLATE:
        free_one_page(cpu, page, 0, migratetype, FPI_NONE)
        return False
    return True


def free_unref_page_list_commit(cpu: int, page: int) -> None:
    """Second pass, for one page.  pcp->lock is held."""
    migratetype = mem_map[page].index
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE
    mm_page_free_batched(cpu, page)
    free_unref_page_commit(cpu, page, migratetype, 0, FPI_NONE)


def free_unref_page_list_some(cpu: int, first: int, nr: int) -> None:
    """Second pass, for as many pages as may be freed before the lock has to be given back."""
    for i in range(first, min(first + machine.swap_cluster_max, nr)):
        free_unref_page_list_commit(cpu, page_vec[cpu, i].page)


def free_unref_page_list_irqs_off(cpu: int, nr: int) -> None:
    """free_unref_page_list() of kernels whose pcplists have no lock: all pages are prepared first, irqs on."""
    for i in range(nr):
        free_unref_page_prepare(cpu, page_vec[cpu, i].page, 0)
    first = 0
    while first < nr:
        with irqs_off(cpu):
            for i in range(first, min(first + machine.swap_cluster_max, nr)):
                page = page_vec[cpu, i].page
                # As proposed on 2020-09-10 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
                if features.migratetype_with_irqs_off:
                    if zone.nr_isolate_pageblock != 0:
                        mem_map[page].index = get_pageblock_migratetype(page)
                mm_page_free_batched(cpu, page)
                free_unref_page_commit_irqs_off(cpu, page)
        first += machine.swap_cluster_max


def free_unref_page_list(cpu: int, nr: int) -> None:
    """Free a list of order-0 pages, many of them in one hold of pcp->lock."""
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        free_unref_page_list_irqs_off(cpu, nr)
        return
    kept = 0
    for i in range(nr):
        page = page_vec[cpu, i].page
        if free_unref_page_list_prepare(cpu, page):
            page_vec[cpu, kept].page = page
            kept += 1
    first = 0
    while first < kept:
        # Since Linux kernel commit 574907741599 ("mm/page_alloc: leave IRQs enabled for per-cpu page allocations")
        # (in v6.2, 6.1.57)
        if features.irqs_on_under_pcp_lock:
            if trylock(pcp[cpu].lock):
                free_unref_page_list_some(cpu, first, kept)
                unlock(pcp[cpu].lock)
                first += machine.swap_cluster_max
            else:
                page = page_vec[cpu, first].page
                free_one_page(cpu, page, 0, mem_map[page].index, FPI_NONE)
                first += 1
        else:
            with irqs_off(cpu), pcp[cpu].lock:
                free_unref_page_list_some(cpu, first, kept)
            first += machine.swap_cluster_max
