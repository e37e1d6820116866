# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allocation does when the lists of its migratetype are empty (mm/page_alloc.c, since v6.10).

Either it claims a pageblock, whose free pages all change their lists then, or it takes one page and leaves the rest
where it is.  zone.lock is held in all procedures.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.alloc_flags import ALLOC_NOFRAGMENT
from pagelab.linux.buddy import (
    __move_freepages_block,
    __rmqueue_smallest,
    account_freepages,
    change_pageblock_range,
    del_page_from_free_list,
    expand,
    page_del_and_expand,
    prep_move_freepages_block,
)
from pagelab.linux.fallback import can_steal_fallback, find_suitable_fallback, nr_movable_pages
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE
from pagelab.linux.state import BUDDY, free_area, get_pageblock_migratetype, machine, mem_map
from pagelab.linux.trace import mm_page_alloc_extfrag


def nr_free_pages_of(block: int) -> int:
    """Free pages that begin in a pageblock, as prep_move_freepages_block() counts them."""
    free = 0
    page = block
    while page < block + machine.pageblock_nr_pages:
        if mem_map[page].state == BUDDY:
            free += 1 << mem_map[page].order
            page += 1 << mem_map[page].order
        else:
            page += 1
    return free


def take_block(page: int, current_order: int, order: int, start_type: int) -> None:
    """Take a page out of a free one of at least a pageblock; all its pageblocks get the type of the allocation."""
    del_page_from_free_list(page, current_order)
    change_pageblock_range(page, current_order, start_type)
    expand(page, order, current_order, start_type)
    account_freepages((1 << current_order) - (1 << order), start_type)
    mem_map[page].compound_order = order


def is_block_claimed(block: int, block_type: int, start_type: int) -> bool:
    """Whether enough pages of a pageblock are free or like the allocation, so that it may have the pageblock."""
    free_pages = nr_free_pages_of(block)
    movable_pages = nr_movable_pages(block)
    alike_pages = 0
    if start_type == MIGRATE_MOVABLE:
        alike_pages = movable_pages
    elif block_type == MIGRATE_MOVABLE:
        # What is in use and not movable is like this allocation.
        alike_pages = machine.pageblock_nr_pages - (free_pages + movable_pages)
    return free_pages + alike_pages >= machine.pageblock_nr_pages // 2


def try_to_claim_block(cpu: int, page: int, current_order: int, order: int, start_type: int) -> int:
    """Claim the pageblock of a free page; returns a page of it, or NIL.  Called try_to_steal_block() in v6.12.y."""
    block_type = get_pageblock_migratetype(page)
    if block_type == MIGRATE_HIGHATOMIC:
        return NIL
    if current_order >= machine.pageblock_order:
        take_block(page, current_order, order, start_type)
        return page
    if not prep_move_freepages_block(page):
        return NIL
    block = page & ~(machine.pageblock_nr_pages - 1)
    if not is_block_claimed(block, block_type, start_type):
        return NIL
    __move_freepages_block(cpu, block, start_type)
    return __rmqueue_smallest(cpu, order, start_type)


def claim_min_order(order: int, alloc_flags: int) -> int:
    """The smallest free page of another type that an allocation may look at."""
    if order < machine.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT:
        return machine.pageblock_order
    return order


def report_fallback(cpu: int, page: int, order: int, current_order: int, start_type: int, fallback_type: int) -> None:
    """mm_page_alloc_extfrag of a page that was taken."""
    changed = get_pageblock_migratetype(page) == start_type
    mm_page_alloc_extfrag(cpu, page, order, current_order, start_type, fallback_type, changed)


def __rmqueue_claim(cpu: int, order: int, start_migratetype: int, alloc_flags: int) -> int:
    """Claim the pageblock of the largest free page of another type; returns a page, or NIL."""
    min_order = claim_min_order(order, alloc_flags)
    for current_order in range(machine.max_order - 1, min_order - 1, -1):
        fallback_mt = find_suitable_fallback(current_order, start_migratetype)
        if fallback_mt == NIL:
            continue
        if not can_steal_fallback(current_order, start_migratetype):
            break
        page = free_area[current_order, fallback_mt].head
        page = try_to_claim_block(cpu, page, current_order, order, start_migratetype)
        if page != NIL:
            report_fallback(cpu, page, order, current_order, start_migratetype, fallback_mt)
            return page
    return NIL


def steal_one(cpu: int, order: int, current_order: int, start_migratetype: int, fallback_mt: int) -> int:
    """Take a page of another type; what is left of the free page stays on the lists of that type."""
    page = free_area[current_order, fallback_mt].head
    page_del_and_expand(page, order, current_order, fallback_mt)
    report_fallback(cpu, page, order, current_order, start_migratetype, fallback_mt)
    return page


def __rmqueue_steal(cpu: int, order: int, start_migratetype: int) -> int:
    """Take the smallest page of another type; NIL if there is none."""
    for current_order in range(order, machine.max_order):
        fallback_mt = find_suitable_fallback(current_order, start_migratetype)
        if fallback_mt != NIL:
            return steal_one(cpu, order, current_order, start_migratetype, fallback_mt)
    return NIL


def __rmqueue_fallback_once(cpu: int, order: int, start_migratetype: int, alloc_flags: int) -> int:
    """__rmqueue_fallback() of v6.10 to v6.14: one search, from the largest free page on, for both ways."""
    min_order = claim_min_order(order, alloc_flags)
    for current_order in range(machine.max_order - 1, min_order - 1, -1):
        fallback_mt = find_suitable_fallback(current_order, start_migratetype)
        if fallback_mt == NIL:
            continue
        if not can_steal_fallback(current_order, start_migratetype):
            if start_migratetype == MIGRATE_MOVABLE and current_order > order:
                # It would not get the pageblock, so it splits the smallest free page and not the largest.
                return fall_back_to_smallest(cpu, order, start_migratetype)
            return steal_one(cpu, order, current_order, start_migratetype, fallback_mt)
        return claim_or_take(cpu, order, current_order, start_migratetype, fallback_mt)
    return NIL


def claim_or_take(cpu: int, order: int, current_order: int, start_migratetype: int, fallback_mt: int) -> int:
    """steal_suitable_fallback() of v6.10 to v6.14: the pageblock, or else one page of this order's list."""
    page = free_area[current_order, fallback_mt].head
    page = try_to_claim_block(cpu, page, current_order, order, start_migratetype)
    if page == NIL:
        return steal_one(cpu, order, current_order, start_migratetype, fallback_mt)
    report_fallback(cpu, page, order, current_order, start_migratetype, fallback_mt)
    return page


def fall_back_to_smallest(cpu: int, order: int, start_migratetype: int) -> int:
    """The smallest free page of another type, with its pageblock if that is large enough after all."""
    for current_order in range(order, machine.max_order):
        fallback_mt = find_suitable_fallback(current_order, start_migratetype)
        if fallback_mt != NIL:
            if can_steal_fallback(current_order, start_migratetype):
                return claim_or_take(cpu, order, current_order, start_migratetype, fallback_mt)
            return steal_one(cpu, order, current_order, start_migratetype, fallback_mt)
    return NIL
