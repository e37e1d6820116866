# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow fallbacks between migratetypes: what an allocation was allowed to take, and which pageblocks changed type.

Two things are not in any event and have to be read off what happened.  Whether an allocation came with
ALLOC_NOFRAGMENT: it did unless it takes a free page that is smaller than a pageblock.  And how many pages of a
pageblock can be migrated (PageLRU): where that decides over the pageblock's type, the trace says what was decided.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.alloc_flags import ALLOC_NOFRAGMENT
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.linux.state import ALLOCATED, get_pageblock_migratetype, machine, mem_map, set_pageblock_migratetype
from pagelab.replay.expect import expect
from pagelab.replay.tables import cpu_replay, event, hotplug, verdict

# event[i].arg of mm_page_alloc_extfrag: capture.wanted.PACKED_FIELDS.
MIGRATETYPE_BIT = 8
CHANGED_BIT = 16
ORDER_MASK = 0xFF


def is_isolation(i: int) -> bool:
    """Whether free pages move because their pageblock is isolated or un-isolated."""
    if features.isolation_splits_buddies and hotplug.moved != NIL:
        return True  # the model has done it already
    migratetype = event[i].migratetype
    old_type = get_pageblock_migratetype(event[i].page)
    return MIGRATE_ISOLATE in (migratetype, old_type)


def taken_over_by(i: int) -> int:
    """The mm_page_alloc_extfrag that event ``i`` is or leads to; NIL if free pages move for another reason."""
    if event[i].kind == Kind.MM_PAGE_ALLOC_EXTFRAG:
        return i
    if get_pageblock_migratetype(event[i].page) == MIGRATE_HIGHATOMIC:
        return NIL
    following = event[i].next
    if following != NIL and event[following].kind == Kind.MOVE_FREEPAGES_BLOCK_DONE:
        following = event[following].next
    # Since Linux kernel commit e0932b6c1f94 ("mm: page_alloc: consolidate free page accounting") (in v6.10)
    took_first = features.list_helpers_account  # the page of a pageblock that was claimed is taken before that is told
    if took_first and following != NIL and event[following].kind == Kind.MM_PAGE_ALLOC_ZONE_LOCKED:
        following = event[following].next
    if following != NIL and event[following].kind == Kind.MM_PAGE_ALLOC_EXTFRAG:
        return following
    return NIL


def alloc_flags_of_hold(i: int, asked: int) -> int:
    """How a CPU may take ``asked`` pages in the hold of zone->lock that shows event ``i`` first."""
    if machine.zone_movable:
        return 0  # there is nothing to fall back to
    while i != NIL and asked > 0:
        kind = event[i].kind
        if kind == Kind.MM_PAGE_ALLOC_ZONE_LOCKED:
            asked -= 1
        elif kind == Kind.MM_PAGE_ALLOC_EXTFRAG:
            if event[i].arg & ORDER_MASK < machine.pageblock_order:
                return 0
        elif kind not in (Kind.MOVE_FREEPAGES_BLOCK, Kind.MOVE_FREEPAGES_BLOCK_DONE):
            break
        i = event[i].next
    return ALLOC_NOFRAGMENT


def nr_pages_in_use(block: int) -> int:
    """Pages of a pageblock that are allocated: of so many it can depend which of them can be migrated."""
    used = 0
    page = block
    while page < block + machine.pageblock_nr_pages:
        if mem_map[page].state == ALLOCATED:
            used += 1 << mem_map[page].compound_order
            page += 1 << mem_map[page].compound_order
        else:
            page += 1
    return used


def is_open(cpu: int, page: int, migratetype: int) -> bool:
    """Whether it depends on the pages that can be migrated if the pageblock changed its type."""
    half = machine.pageblock_nr_pages // 2
    free = cpu_replay[cpu].stolen_pages
    used = nr_pages_in_use(page & ~(machine.pageblock_nr_pages - 1))
    if migratetype == MIGRATE_MOVABLE:
        return free < half <= free + used
    return cpu_replay[cpu].stolen_type == MIGRATE_MOVABLE and used > half


def shown_next(cpu: int) -> int:
    """The event that will be compared with what is expected next; NIL if the trace ends before."""
    shown = cpu_replay[cpu].last
    for _k in range(cpu_replay[cpu].pushed - cpu_replay[cpu].popped):
        if shown != NIL:
            shown = event[shown].next
    return shown


def on_extfrag(
    cpu: int,
    page: int,
    alloc_order: int,
    fallback_order: int,
    alloc_migratetype: int,
    fallback_migratetype: int,
    change_ownership: int,
) -> None:
    """Probe of mm_page_alloc_extfrag."""
    if cpu_replay[cpu].stolen:
        cpu_replay[cpu].stolen = False
        shown = shown_next(cpu)
        if shown != NIL and event[shown].kind == Kind.MM_PAGE_ALLOC_EXTFRAG and is_open(cpu, page, alloc_migratetype):
            change_ownership = event[shown].arg >> CHANGED_BIT
            old_type = cpu_replay[cpu].stolen_type
            set_pageblock_migratetype(page, alloc_migratetype if change_ownership != 0 else old_type)
    if fallback_order < machine.pageblock_order:
        verdict.boosted = True
    value = fallback_order | fallback_migratetype << MIGRATETYPE_BIT | change_ownership << CHANGED_BIT
    expect(cpu, Kind.MM_PAGE_ALLOC_EXTFRAG, page, alloc_order, alloc_migratetype, value)
