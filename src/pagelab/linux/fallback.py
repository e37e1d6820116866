# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allocation does when the lists of its migratetype are empty (mm/page_alloc.c, before v6.10).

Free pages of another migratetype are put on the lists of this one, at best together with all others of their pageblock,
which may change its migratetype; then the allocation tries again.  zone.lock is held in all procedures.

Not modelled: page_group_by_mobility_disabled, which only zones of less than 12 MiB set, and boost_watermark(), which
wakes kswapd but changes no list.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.alloc_flags import ALLOC_NOFRAGMENT
from pagelab.linux.buddy import (
    change_pageblock_range,
    move_freepages_block,
    move_to_free_list,
)
from pagelab.linux.features import features
from pagelab.linux.migratetype import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.state import (
    ALLOCATED,
    free_area,
    get_pageblock_migratetype,
    machine,
    mem_map,
    set_pageblock_migratetype,
)
from pagelab.linux.trace import mm_page_alloc_extfrag, mm_page_alloc_zone_locked


def fallbacks(migratetype: int, i: int) -> int:
    """The first (``i`` is 0) or second (1) migratetype to fall back to."""
    assert 0 <= migratetype < MIGRATE_PCPTYPES, "only a type that has pcplists falls back to others"
    if i == 0:
        return MIGRATE_UNMOVABLE if migratetype == MIGRATE_RECLAIMABLE else MIGRATE_RECLAIMABLE
    return MIGRATE_UNMOVABLE if migratetype == MIGRATE_MOVABLE else MIGRATE_MOVABLE


def can_steal_fallback(order: int, start_migratetype: int) -> bool:
    """Whether to take all free pages of the pageblock: a mixed one is worst where the pages cannot be moved."""
    return order >= machine.pageblock_order // 2 or start_migratetype in (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE)


def find_suitable_fallback(order: int, migratetype: int) -> int:
    """The first migratetype to fall back to that has a free page of just this order; NIL if none has."""
    for i in range(2):
        fallback_mt = fallbacks(migratetype, i)
        if free_area[order, fallback_mt].head != NIL:
            return fallback_mt
    return NIL


def nr_movable_pages(block: int) -> int:
    """Pages in use in a pageblock that can be migrated: those move_freepages() counts as PageLRU or __PageMovable."""
    movable = 0
    page = block
    while page < block + machine.pageblock_nr_pages:
        if mem_map[page].state == ALLOCATED:
            if mem_map[page].movable:
                movable += 1 << mem_map[page].compound_order
            page += 1 << mem_map[page].compound_order
        else:
            page += 1
    return movable


def steal_whole_block(cpu: int, page: int, start_type: int, old_block_type: int) -> bool:
    """Move all free pages of a pageblock, and its type too if at least half of it suits; False if none moved."""
    movable_pages = nr_movable_pages(page & ~(machine.pageblock_nr_pages - 1))
    free_pages = move_freepages_block(cpu, page, start_type)
    alike_pages = 0
    if start_type == MIGRATE_MOVABLE:
        alike_pages = movable_pages
    elif old_block_type == MIGRATE_MOVABLE:
        # What is in use and not movable is like this allocation.
        alike_pages = machine.pageblock_nr_pages - (free_pages + movable_pages)
    if free_pages == 0:  # the zone ends within the pageblock
        return False
    if free_pages + alike_pages >= machine.pageblock_nr_pages // 2:
        set_pageblock_migratetype(page, start_type)
    return True


def steal_suitable_fallback(cpu: int, page: int, start_type: int, whole_block: bool) -> None:
    """Put a free page of another migratetype on the lists of this one, perhaps with the rest of its pageblock."""
    current_order = mem_map[page].order
    old_block_type = get_pageblock_migratetype(page)
    # A free page may be on a list of another type than that of its pageblock.
    if old_block_type != MIGRATE_HIGHATOMIC:
        if current_order >= machine.pageblock_order:
            change_pageblock_range(page, current_order, start_type)
        elif whole_block and steal_whole_block(cpu, page, start_type, old_block_type):
            return
    move_to_free_list(page, current_order, start_type)


def __rmqueue_fallback(cpu: int, order: int, start_migratetype: int, alloc_flags: int) -> bool:
    """Whether free pages of another migratetype are on the lists of this one now."""
    min_order = order
    if order < machine.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT:
        min_order = machine.pageblock_order
    # The largest free page comes from the pageblock with the most free pages, more or less.
    for current_order in range(machine.max_order - 1, min_order - 1, -1):
        fallback_mt = find_suitable_fallback(current_order, start_migratetype)
        if fallback_mt == NIL:
            continue
        fallback_order = current_order
        can_steal = can_steal_fallback(fallback_order, start_migratetype)
        if not can_steal and start_migratetype == MIGRATE_MOVABLE and fallback_order > order:
            # It would not get the pageblock, so it splits the smallest free page and not the largest.
            fallback_order = order
            fallback_mt = find_suitable_fallback(fallback_order, start_migratetype)
            while fallback_mt == NIL:
                fallback_order += 1
                fallback_mt = find_suitable_fallback(fallback_order, start_migratetype)
            can_steal = can_steal_fallback(fallback_order, start_migratetype)
        page = free_area[fallback_order, fallback_mt].head
        steal_suitable_fallback(cpu, page, start_migratetype, can_steal)
        changed = get_pageblock_migratetype(page) == start_migratetype
        mm_page_alloc_extfrag(cpu, page, order, fallback_order, start_migratetype, fallback_mt, changed)
        return True
    return False


def zone_locked_as_requested(cpu: int, page: int, order: int, migratetype: int) -> None:
    """The tracepoint of kernels that tell the migratetype which was asked for, not that of the list."""
    # Since Linux kernel commit 10e0f7530205 ("mm/page_alloc: fix tracepoint mm_page_alloc_zone_locked()") (in v5.19)
    if not features.zone_locked_shows_list:
        mm_page_alloc_zone_locked(cpu, page, order, migratetype, order == 0)
