# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy lists: merge, split, move between migratetypes (mm/page_alloc.c, find_buddy_page_pfn() of mm/internal.h).

zone.lock is held in all procedures but split_free_page(), which takes it.

Not modelled: compaction_capture(), guard pages, page reporting, shuffling, bad and poisoned pages.
"""

from __future__ import annotations

from errno import ENOENT

from pagelab.lang.declare import NIL, irqs_off
from pagelab.linux.features import features
from pagelab.linux.lists import free_list_add, free_list_add_tail, free_list_del
from pagelab.linux.migratetype import (
    MIGRATE_CMA,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    migratetype_is_mergeable,
)
from pagelab.linux.state import (
    BUDDY,
    IN_FLIGHT,
    TAIL,
    free_area,
    get_pageblock_migratetype,
    machine,
    mem_map,
    set_pageblock_migratetype,
    type_without_isolation,
    zone,
)
from pagelab.linux.trace import mm_page_alloc_zone_locked, move_freepages_block_done

# How to free: fpi_flags.
FPI_NONE = 0
FPI_SKIP_REPORT_NOTIFY = 1
FPI_TO_TAIL = 2
FPI_TRYLOCK = 4  # do not wait for any lock


def __mod_zone_freepage_state(nr_pages: int, migratetype: int) -> None:
    """Count free pages; those on ISOLATE lists are not counted, which is the caller's business."""
    zone.free_pages += nr_pages
    if machine.cma and migratetype == MIGRATE_CMA:
        zone.free_cma_pages += nr_pages


def add_to_free_list(page: int, order: int, migratetype: int) -> None:
    """To the head: it is allocated next."""
    free_list_add(page, order, migratetype)
    free_area[order, migratetype].nr_free += 1


def add_to_free_list_tail(page: int, order: int, migratetype: int) -> None:
    """To the tail: it is allocated last."""
    free_list_add_tail(page, order, migratetype)
    free_area[order, migratetype].nr_free += 1


def account_freepages(nr_pages: int, migratetype: int) -> None:
    """Count free pages, but not those on ISOLATE lists."""
    if migratetype != MIGRATE_ISOLATE:
        __mod_zone_freepage_state(nr_pages, migratetype)


def move_to_free_list(page: int, order: int, migratetype: int) -> None:
    """From whichever list it is on to the tail of another one; before v6.10 its caller counts it."""
    old = mem_map[page].free_list
    free_list_del(page, order, old)
    free_area[order, old].nr_free -= 1
    # Since Linux kernel commit 293ffa5ebb9c ("mm/page_alloc: move pages to tail in move_to_free_list()") (in v5.10)
    if features.move_to_tail:
        free_list_add_tail(page, order, migratetype)
    else:
        free_list_add(page, order, migratetype)
    free_area[order, migratetype].nr_free += 1
    # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
    if features.list_helpers_account:
        account_freepages(-(1 << order), old)
        account_freepages(1 << order, migratetype)


def __del_page_from_free_list(page: int, order: int) -> None:
    """Off whichever list it is on; no longer PageBuddy."""
    migratetype = mem_map[page].free_list
    free_list_del(page, order, migratetype)
    mem_map[page].state = IN_FLIGHT
    mem_map[page].order = 0
    free_area[order, migratetype].nr_free -= 1


def del_page_from_free_list(page: int, order: int) -> None:
    """Off whichever list it is on; before v6.10 its caller counts it."""
    # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
    if features.list_helpers_account:
        account_freepages(-(1 << order), mem_map[page].free_list)
    __del_page_from_free_list(page, order)


def set_buddy_order(page: int, order: int) -> None:
    """PageBuddy from now on."""
    mem_map[page].order = order
    mem_map[page].state = BUDDY


def page_is_buddy(buddy: int, order: int) -> bool:
    """Whether this is a free page of just this order.  A pair is always in one zone: the zone's ends are aligned."""
    return mem_map[buddy].state == BUDDY and mem_map[buddy].order == order


def find_buddy_page_pfn(page: int, order: int) -> int:
    """The buddy of a page if it is free and of the same order, otherwise NIL."""
    buddy = page ^ (1 << order)
    return buddy if page_is_buddy(buddy, order) else NIL


def buddy_merge_likely(page: int, buddy: int, order: int) -> bool:
    """Whether the next higher pair waits for just the other half, so that it is better not to be allocated soon."""
    if order >= machine.max_order - 2:
        return False
    return find_buddy_page_pfn(page & buddy, order + 1) != NIL


def change_pageblock_range(page: int, start_order: int, migratetype: int) -> None:
    """Set the type of all pageblocks of a free page."""
    for block in range(1 << (start_order - machine.pageblock_order)):
        set_pageblock_migratetype(page + (block << machine.pageblock_order), migratetype)


def match_type(buddy: int, order: int, migratetype: int) -> None:
    """A free page of at least a pageblock merges with one of another type: its pageblocks get that type."""
    # Since Linux kernel commit e6cf9e1c4cde ("mm: page_alloc: fix up block types when merging compatible blocks")
    # (in v6.10)
    if features.merge_sets_type:
        # Since Linux kernel commit 7838a4eb8a1d ("mm/page_alloc: change all pageblocks migrate type on coalescing")
        # (in v6.19, 6.12.65)
        if features.merge_sets_all_types:
            change_pageblock_range(buddy, order, migratetype)
        else:
            set_pageblock_migratetype(buddy, migratetype)


def __free_one_page(page: int, order: int, migratetype: int, fpi_flags: int) -> None:
    """Give a page back, merged with its buddies as far as that goes."""
    if migratetype != MIGRATE_ISOLATE:
        __mod_zone_freepage_state(1 << order, migratetype)

    buddy = 0
    while order < machine.max_order - 1:
        buddy = page ^ (1 << order)
        if not page_is_buddy(buddy, order):
            break
        if order >= machine.pageblock_order:
            # Merging CMA, HIGHATOMIC or ISOLATE with others would spoil their accounting.
            buddy_mt = get_pageblock_migratetype(buddy)
            # Since Linux kernel commit 1dd214b8f21c ("mm: page_alloc: avoid merging non-fallbackable pageblocks with
            # others") (in v5.18)
            if features.merge_checked_always:
                if migratetype != buddy_mt:
                    if not migratetype_is_mergeable(migratetype) or not migratetype_is_mergeable(buddy_mt):
                        break
            elif zone.nr_isolate_pageblock != 0:
                if migratetype != buddy_mt and MIGRATE_ISOLATE in (migratetype, buddy_mt):
                    break
            if migratetype != buddy_mt:
                match_type(buddy, order, migratetype)
        __del_page_from_free_list(buddy, order)
        mem_map[page | buddy].state = TAIL
        page = page & buddy
        order += 1

    set_buddy_order(page, order)
    if fpi_flags & FPI_TO_TAIL or buddy_merge_likely(page, buddy, order):
        add_to_free_list_tail(page, order, migratetype)
    else:
        add_to_free_list(page, order, migratetype)


def split_large_buddy(page: int, order: int, fpi_flags: int) -> None:
    """Give back a page, pageblock by pageblock, each to the lists of its own type."""
    end = page + (1 << order)
    order = min(order, machine.pageblock_order)
    while page < end:
        mem_map[page].state = IN_FLIGHT
        __free_one_page(page, order, get_pageblock_migratetype(page), fpi_flags)
        page += 1 << order


def split_free_page(cpu: int, page: int, order: int, split_pfn_offset: int) -> int:
    """Split a free page in two at an offset and give back the parts, each to the list of its own pageblock.

    :returns: 0, or -ENOENT if it is no longer a free page of that order.
    """
    if split_pfn_offset == 0:
        return 0
    with irqs_off(cpu), zone.lock:
        if not page_is_buddy(page, order):
            return -ENOENT
        migratetype = get_pageblock_migratetype(page)
        if migratetype != MIGRATE_ISOLATE:
            __mod_zone_freepage_state(-(1 << order), migratetype)
        del_page_from_free_list(page, order)
        pfn = page
        while pfn < page + (1 << order):
            migratetype = get_pageblock_migratetype(pfn)
            free_page_order = min(__ffs(pfn, order), __fls(split_pfn_offset))
            mem_map[pfn].state = IN_FLIGHT
            __free_one_page(pfn, free_page_order, migratetype, FPI_NONE)
            pfn += 1 << free_page_order
            split_pfn_offset -= 1 << free_page_order
            if split_pfn_offset == 0:  # the first part is done
                split_pfn_offset = (1 << order) - (pfn - page)
    return 0


def __ffs(word: int, if_zero: int) -> int:
    """Number of the lowest bit that is set; page 0 of the zone is aligned to anything."""
    if word == 0:
        return if_zero
    bit = 0
    while word >> bit & 1 == 0:
        bit += 1
    return bit


def __fls(word: int) -> int:
    """Number of the highest bit that is set."""
    bit = 0
    while word >> (bit + 1) != 0:
        bit += 1
    return bit


def expand(page: int, low: int, high: int, migratetype: int) -> None:
    """Halve a page of order ``high`` down to order ``low``; the upper halves go to the heads of the free lists."""
    size = 1 << high
    while high > low:
        high -= 1
        size >>= 1
        add_to_free_list(page + size, high, migratetype)
        set_buddy_order(page + size, high)


def page_del_and_expand(page: int, low: int, high: int, migratetype: int) -> None:
    """Take a page of order ``low`` out of a free one of order ``high``."""
    __del_page_from_free_list(page, high)
    expand(page, low, high, migratetype)
    mem_map[page].compound_order = low
    # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
    if features.list_helpers_account:
        account_freepages(-(1 << low), migratetype)
    # Since Linux kernel commit 17edeb5d3f76 ("mm: page_alloc: remove pcppage migratetype caching") (in v6.10)
    if not features.bulk_free_reads_type:
        mem_map[page].index = migratetype


def __rmqueue_smallest(cpu: int, order: int, migratetype: int) -> int:
    """Take a page from the smallest free page of a migratetype that is large enough; NIL if there is none."""
    for current_order in range(order, machine.max_order):
        page = free_area[current_order, migratetype].head
        if page == NIL:
            continue
        page_del_and_expand(page, order, current_order, migratetype)
        # Since Linux kernel commit 10e0f7530205 ("mm/page_alloc: fix tracepoint mm_page_alloc_zone_locked()")
        # (in v5.19)
        if features.zone_locked_shows_list:
            # pcp_allowed_order()
            refill = migratetype < MIGRATE_PCPTYPES and (
                order <= machine.costly_order or (machine.thp and order == machine.pageblock_order)
            )
            mm_page_alloc_zone_locked(cpu, page, order, migratetype, refill)
        return page
    return NIL


def zone_spans_pfn(page: int) -> bool:
    """Whether a page lies between the first and the last page of the zone."""
    start = zone.start_page
    return start <= page and page < start + zone.spanned_pages


def move_freepages(start: int, end: int, migratetype: int) -> int:
    """Move the free pages that begin in a range, end included, to the tails of a migratetype's lists."""
    pages_moved = 0
    page = start
    while page <= end:
        if mem_map[page].state != BUDDY:
            page += 1
            continue
        order = mem_map[page].order
        move_to_free_list(page, order, migratetype)
        page += 1 << order
        pages_moved += 1 << order
    return pages_moved


def __move_freepages_block(cpu: int, start: int, migratetype: int) -> int:
    """Give a pageblock a type, and move its free pages along; returns how many base pages moved."""
    moved = move_freepages(start, start + machine.pageblock_nr_pages - 1, migratetype)
    move_freepages_block_done(cpu, start, migratetype, moved)
    set_pageblock_migratetype(start, migratetype)
    return moved


def prep_move_freepages_block(page: int) -> bool:
    """Whether all of a page's pageblock is in the zone."""
    start = page & ~(machine.pageblock_nr_pages - 1)
    return zone_spans_pfn(start) and zone_spans_pfn(start + machine.pageblock_nr_pages - 1)


def move_freepages_block(cpu: int, page: int, migratetype: int) -> int:
    """Move the free pages of a page's pageblock to the lists of a migratetype; returns how many base pages moved.

    A free page that begins in an earlier pageblock stays where it is.  Since v6.10 the pageblock gets that type, and -1
    is returned if not all of it is in the zone.
    """
    start = page & ~(machine.pageblock_nr_pages - 1)
    # Since Linux kernel commit c0cd6f557b90 ("mm: page_alloc: fix freelist movement during block conversion")
    # (in v6.10)
    if features.block_conversion_moves_all:
        if not prep_move_freepages_block(page):
            return -1
        return __move_freepages_block(cpu, start, migratetype)
    end = start + machine.pageblock_nr_pages - 1
    if not zone_spans_pfn(start):
        start = page
    moved = 0
    if zone_spans_pfn(end):
        moved = move_freepages(start, end, migratetype)
    move_freepages_block_done(cpu, page, migratetype, moved)
    return moved


def find_straddling_buddy(start: int) -> int:
    """The first page of the free page that reaches from before ``start`` across it, or ``start``."""
    page = start
    order = 0
    while mem_map[page].state != BUDDY:
        order += 1
        if order >= machine.max_order:
            return start
        page &= -1 << order
    return page if page + (1 << mem_map[page].order) > start else start


def move_freepages_block_isolate(cpu: int, page: int, migratetype: int) -> bool:
    """Isolate a pageblock, or give it back: a free page that is larger is split into pageblocks.  False: zone's end."""
    if not prep_move_freepages_block(page):
        return False
    start = page & ~(machine.pageblock_nr_pages - 1)
    if migratetype != MIGRATE_ISOLATE:
        migratetype = type_without_isolation(start, migratetype)
    buddy = find_straddling_buddy(start)
    if mem_map[buddy].state == BUDDY and mem_map[buddy].order > machine.pageblock_order:
        order = mem_map[buddy].order
        del_page_from_free_list(buddy, order)
        set_pageblock_migratetype(start, migratetype)
        split_large_buddy(buddy, order, FPI_NONE)
        return True
    __move_freepages_block(cpu, start, migratetype)
    return True


def __isolate_free_page(cpu: int, page: int, order: int) -> int:
    """Take a free page off its list; returns its number of base pages, 0 if the zone is too low on free memory."""
    migratetype = get_pageblock_migratetype(page)
    if migratetype != MIGRATE_ISOLATE:
        # zone_watermark_ok() of an order-0 request that may use CMA; lowmem_reserve and HIGHATOMIC are not modelled.
        if zone.free_pages <= zone.watermark_min + (1 << order):
            return 0
        # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
        if not features.list_helpers_account:
            __mod_zone_freepage_state(-(1 << order), migratetype)
    del_page_from_free_list(page, order)
    if order >= machine.pageblock_order - 1:
        block = page
        while block < page + (1 << order) - 1:
            if migratetype_is_mergeable(get_pageblock_migratetype(block)):
                # Since Linux kernel commit b54ccd3c6bac ("mm: page_alloc: move free pages when converting block during
                # isolation") (in v6.10)
                if features.isolate_free_page_moves_block:
                    move_freepages_block(cpu, block, MIGRATE_MOVABLE)
                else:
                    set_pageblock_migratetype(block, MIGRATE_MOVABLE)
            block += machine.pageblock_nr_pages
    return 1 << order


def __putback_isolated_page(page: int, order: int, migratetype: int) -> None:
    """Give back a page that __isolate_free_page() took."""
    # Since Linux kernel commit 47b6a24a2382 ("mm/page_alloc: place pages to tail in __putback_isolated_page()")
    # (in v5.10)
    if features.putback_to_tail:
        __free_one_page(page, order, migratetype, FPI_SKIP_REPORT_NOTIFY | FPI_TO_TAIL)
    else:
        __free_one_page(page, order, migratetype, FPI_SKIP_REPORT_NOTIFY)
