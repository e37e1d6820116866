# SPDX-License-Identifier: GPL-2.0-or-later
"""Take pageblocks out of use: nothing in them is allocated any more (mm/page_isolation.c).

Ranges are ``start`` to ``end``, ``end`` excluded.  Errors are returned as negative errno.
"""

from __future__ import annotations

from errno import EBUSY

from pagelab.lang.declare import NIL, irqs_off
from pagelab.linux.buddy import (
    FPI_NONE,
    __isolate_free_page,
    __mod_zone_freepage_state,
    __putback_isolated_page,
    move_freepages_block,
    move_freepages_block_isolate,
    page_is_buddy,
    split_free_page,
)
from pagelab.linux.drain import __drain_all_pages, drain_all_pages
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE
from pagelab.linux.pcp import free_what_others_left
from pagelab.linux.pcp_tuning import zone_pcp_disable, zone_pcp_enable
from pagelab.linux.rwsem import down_read, up_read
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    OFFLINE,
    get_pageblock_migratetype,
    machine,
    mem_map,
    set_pageblock_migratetype,
    type_without_isolation,
    zone,
)
from pagelab.linux.trace import alloc_contig_migrate_range, pages_tested
from pagelab.linux.trace import test_pages_isolated as trace_test_pages_isolated

# isol_flags
MEMORY_OFFLINE = 1
REPORT_FAILURE = 2


def compound_head(page: int) -> int:
    """The first page of the allocation that a page belongs to, or NIL if it belongs to none."""
    head = page
    for order in range(machine.max_order):
        head &= -1 << order
        if mem_map[head].state == ALLOCATED:
            return head if head + (1 << mem_map[head].compound_order) > page else NIL
    return NIL


def has_unmovable_pages(start: int, end: int, migratetype: int) -> int:
    """The first page of a range, within one pageblock, that cannot be migrated, or NIL.  zone.lock is held.

    Free pages count as movable wherever they are, on pcplists and in flight too.
    """
    if machine.cma and get_pageblock_migratetype(start) == MIGRATE_CMA:
        return NIL if migratetype == MIGRATE_CMA else start
    page = start
    while page < end:
        state = mem_map[page].state
        if state == OFFLINE:  # PageReserved
            return page
        if not machine.zone_movable:
            if state == BUDDY:
                page += (1 << mem_map[page].order) - 1
            else:
                head = compound_head(page)
                if head != NIL:
                    if not mem_map[head].movable:
                        return page
                    page = head + (1 << mem_map[head].compound_order) - 1
        page += 1
    return NIL


def drain_after_isolation(cpu: int) -> None:
    """What isolating a pageblock does to the pcplists, before that became the business of its callers."""
    # As proposed on 2020-09-10 ("Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.migratetype_with_irqs_off:
        __drain_all_pages(cpu, specific=True, force_all_cpus=True)
        return
    drain_all_pages(cpu, specific=True)


def set_migratetype_isolate(cpu: int, page: int, migratetype: int, start: int, end: int) -> int:
    """Isolate the pageblock of a page, of which only what lies in the range must be movable; 0 or -EBUSY."""
    with irqs_off(cpu), zone.lock:
        old = get_pageblock_migratetype(page)
        if old == MIGRATE_ISOLATE:  # somebody else was faster
            return -EBUSY
        block_end = (page & ~(machine.pageblock_nr_pages - 1)) + machine.pageblock_nr_pages
        if has_unmovable_pages(max(page, start), min(block_end, end), migratetype) != NIL:
            return -EBUSY
        # Since Linux kernel commit fd919a85cd55 ("mm: page_isolation: prepare for hygienic freelists") (in v6.10)
        if features.isolation_splits_buddies:
            if not move_freepages_block_isolate(cpu, page, MIGRATE_ISOLATE):
                return -EBUSY
            zone.nr_isolate_pageblock += 1
            return 0
        set_pageblock_migratetype(page, MIGRATE_ISOLATE)
        zone.nr_isolate_pageblock += 1
        # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
        if features.isolation_disables_pcplists:
            first = zone.nr_isolate_pageblock == 1
        nr_pages = move_freepages_block(cpu, page, MIGRATE_ISOLATE)
        __mod_zone_freepage_state(-nr_pages, old)
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        if first:
            zone_pcp_disable(cpu)
        return 0
    # Since Linux kernel commit 7612921f2376 ("mm, page_alloc: move draining pcplists to page isolation users")
    # (in v5.11)
    if not features.drain_by_isolation_users:
        drain_after_isolation(cpu)
    return 0


def may_merge_outside(page: int, order: int) -> bool:
    """Whether an isolated free page has a buddy that is not isolated."""
    # Since Linux kernel commit 2484be0f88dc ("mm/page_isolation: do not isolate the max order page") (in v5.11)
    if features.max_order_not_isolated and order >= machine.max_order - 1:
        return False
    buddy = page ^ (1 << order)
    # Since Linux kernel commit 8170ac4700d2 ("mm: wrap __find_buddy_pfn() with a necessary buddy page validation")
    # (in v5.19)
    if features.buddy_validated and not page_is_buddy(buddy, order):
        return False
    # pfn_valid_within() is always true on x86-64; what lies outside of the zone is never isolated.
    return not 0 <= buddy < machine.nr_pages or get_pageblock_migratetype(buddy) != MIGRATE_ISOLATE


def unisolate_block(cpu: int, page: int, migratetype: int) -> None:
    """Move the free pages of a pageblock that was isolated to the lists of its new type.  zone.lock is held."""
    # Since Linux kernel commit fd919a85cd55 ("mm: page_isolation: prepare for hygienic freelists") (in v6.10)
    if features.isolation_splits_buddies:
        move_freepages_block_isolate(cpu, page, migratetype)
        return
    nr_pages = move_freepages_block(cpu, page, migratetype)
    __mod_zone_freepage_state(nr_pages, migratetype)
    set_pageblock_migratetype(page, migratetype)


def unset_migratetype_isolate(cpu: int, page: int, migratetype: int) -> None:
    """Give the pageblock that begins with a page back to a migratetype."""
    with irqs_off(cpu), zone.lock:
        if get_pageblock_migratetype(page) != MIGRATE_ISOLATE:
            return
        isolated_page = False
        order = 0
        # A free page of at least a pageblock could not merge with a buddy outside: take it out and put it back.
        if mem_map[page].state == BUDDY:
            order = mem_map[page].order
            if order >= machine.pageblock_order and may_merge_outside(page, order):
                isolated_page = __isolate_free_page(cpu, page, order) != 0
        if isolated_page:
            migratetype = type_without_isolation(page, migratetype)
            set_pageblock_migratetype(page, migratetype)
            __putback_isolated_page(page, order, migratetype)
        else:
            unisolate_block(cpu, page, migratetype)
        zone.nr_isolate_pageblock -= 1
        # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
        if features.isolation_disables_pcplists:
            last = zone.nr_isolate_pageblock == 0
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        if last:
            zone_pcp_enable()


def find_large_buddy(page: int) -> int:
    """The first page of the free page that a page belongs to, found without the lock, or NIL."""
    head = page
    for order in range(machine.max_order):
        head &= -1 << order
        if mem_map[head].state == BUDDY:
            return head
    return NIL


def migrate_across_boundary(cpu: int, head: int) -> bool:
    """Have an allocation that reaches across the boundary migrated; False if it cannot be."""
    if not mem_map[head].movable:
        return False
    end = head + (1 << mem_map[head].compound_order)
    migratetype = get_pageblock_migratetype(head)
    # Nobody else shall get the page that becomes free.
    isolate_page = migratetype != MIGRATE_ISOLATE
    if isolate_page and set_migratetype_isolate(cpu, head, migratetype, head, end) != 0:
        return False
    alloc_contig_migrate_range(cpu, head, end)
    migrated = mem_map[head].state != ALLOCATED
    if isolate_page:
        unset_migratetype_isolate(cpu, head, migratetype)
    return migrated


def split_across_boundary(cpu: int, start: int, boundary: int) -> bool:
    """Without the lock, split the free page that reaches across a boundary; an allocation is first migrated.

    Allocations of more than one page count as compound pages.

    :returns: False if an allocation is in the way.
    """
    page = start
    while page < boundary:
        state = mem_map[page].state
        if state == BUDDY:
            order = mem_map[page].order
            if page + (1 << order) > boundary:
                # Since Linux kernel commit fd919a85cd55 ("mm: page_isolation: prepare for hygienic freelists")
                # (in v6.10)
                if features.isolation_splits_buddies:
                    return False
                if split_free_page(cpu, page, order, boundary - page) != 0:
                    continue  # it changed meanwhile: look again
            page += 1 << order
            continue
        if state == ALLOCATED:
            after = page + (1 << mem_map[page].compound_order)
            if after <= boundary:
                page = after
                continue
            # Since Linux kernel commit fd919a85cd55 ("mm: page_isolation: prepare for hygienic freelists") (in v6.10)
            if features.isolation_splits_buddies:
                return False
            if not migrate_across_boundary(cpu, page):
                return False
            page = find_large_buddy(page)
            if page == NIL:
                return False
            continue
        page += 1
    return True


def isolate_single_pageblock(
    cpu: int, boundary: int, isolate_before: bool, skip_isolation: bool, migratetype: int
) -> int:
    """Isolate the pageblock before or after a boundary, so that no free page reaches across; 0 or -EBUSY."""
    isolate_pageblock = boundary - machine.pageblock_nr_pages if isolate_before else boundary
    start = max(isolate_pageblock & ~(machine.max_order_nr_pages - 1), zone.start_page)
    if not skip_isolation:
        end = isolate_pageblock + machine.pageblock_nr_pages
        ret = set_migratetype_isolate(cpu, isolate_pageblock, migratetype, isolate_pageblock, end)
        if ret != 0:
            return ret
    # Nothing reaches across if there is nothing on the other side.
    other_side = boundary if isolate_before else boundary - 1
    if not 0 <= other_side < machine.nr_pages:
        return 0
    if mem_map[other_side].state == OFFLINE:
        return 0
    if not split_across_boundary(cpu, start, boundary):
        if not skip_isolation:
            unset_migratetype_isolate(cpu, isolate_pageblock, migratetype)
        return -EBUSY
    return 0


def start_isolate_whole_pageblocks(cpu: int, start: int, end: int, migratetype: int) -> int:
    """start_isolate_page_range() of kernels before v5.19: the range consists of whole pageblocks, one after the other.

    The proposals of September 2020 return with pcp_batch_high_lock held, until undo_isolate_page_range().
    """
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        down_read()
    page = start
    while page < end:
        if mem_map[page].state != OFFLINE:
            block_end = page + machine.pageblock_nr_pages
            if set_migratetype_isolate(cpu, page, migratetype, page, block_end) != 0:
                undo_isolate_page_range(cpu, start, page, migratetype)
                return -EBUSY
        page += machine.pageblock_nr_pages
    return 0


def start_isolate_page_range(cpu: int, start: int, end: int, migratetype: int) -> int:
    """Isolate a range, rounded to pageblocks; 0, or -EBUSY with everything undone.

    The first and the last pageblock come first, then those between.

    :param migratetype: what the pageblocks get back if it fails.
    """
    # Since Linux kernel commit b2c9e2fbba32 ("mm: make alloc_contig_range work at pageblock granularity") (in v5.19)
    if not features.isolate_at_pageblocks:
        return start_isolate_whole_pageblocks(cpu, start, end, migratetype)
    isolate_start = start & ~(machine.pageblock_nr_pages - 1)
    isolate_end = (end + machine.pageblock_nr_pages - 1) & ~(machine.pageblock_nr_pages - 1)
    last = isolate_end - machine.pageblock_nr_pages
    ret = isolate_single_pageblock(cpu, isolate_start, False, False, migratetype)
    if ret != 0:
        return ret
    ret = isolate_single_pageblock(cpu, isolate_end, True, isolate_start == last, migratetype)
    if ret != 0:
        unset_migratetype_isolate(cpu, isolate_start, migratetype)
        return ret
    page = isolate_start + machine.pageblock_nr_pages
    while page < last:
        if mem_map[page].state != OFFLINE and set_migratetype_isolate(cpu, page, migratetype, start, end) != 0:
            undo_isolate_page_range(cpu, isolate_start, page, migratetype)
            unset_migratetype_isolate(cpu, last, migratetype)
            return -EBUSY
        page += machine.pageblock_nr_pages
    return 0


def undo_isolate_page_range(cpu: int, start: int, end: int, migratetype: int) -> None:
    """Give the pageblocks of a range back, one by one."""
    page = start & ~(machine.pageblock_nr_pages - 1)
    while page < end:
        if mem_map[page].state != OFFLINE and get_pageblock_migratetype(page) == MIGRATE_ISOLATE:
            unset_migratetype_isolate(cpu, page, migratetype)
        page += machine.pageblock_nr_pages
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        up_read()


def __test_page_isolated_in_pageblock(start: int, end: int) -> int:
    """The first page of a range that is not part of a free page on a free list.  zone.lock is held.

    Which list that is, nobody looks at.
    """
    page = start
    while page < end and mem_map[page].state == BUDDY:
        page += 1 << mem_map[page].order
    return page


def test_pages_isolated(cpu: int, start: int, end: int) -> int:
    """Whether all of a range is isolated and on the free lists: 0 or -EBUSY."""
    page = start
    while page < end:
        if mem_map[page].state != OFFLINE and get_pageblock_migratetype(page) != MIGRATE_ISOLATE:
            break
        page += machine.pageblock_nr_pages
    ret = -EBUSY
    if page >= end:
        with irqs_off(cpu), zone.lock:
            # As proposed on 2026-11-25 ("mm/page_alloc: free_pages_nolock: keep off disabled pcplists")
            if features.nolock_keeps_off_disabled:
                free_what_others_left(FPI_NONE)
            page = __test_page_isolated_in_pageblock(start, end)
            pages_tested(cpu, start, end, page)
        ret = -EBUSY if page < end else 0
    trace_test_pages_isolated(cpu, start, end, page)
    return ret
