# SPDX-License-Identifier: GPL-2.0-or-later
"""Give back pages of the pcplists as kernels before v5.18 do: from all lists in turn (mm/page_alloc.c)."""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.buddy import FPI_NONE, __free_one_page
from pagelab.linux.lists import pcp_list_del_tail
from pagelab.linux.migratetype import MIGRATE_PCPTYPES
from pagelab.linux.state import IN_FLIGHT, get_pageblock_migratetype, mem_map, pcp, pcp_list, zone
from pagelab.linux.trace import mm_page_pcpu_drain


def take_pages_in_turn(owner: int, count: int) -> int:
    """Take ``count`` pages off the pcplists, linked by mem_map[].next; returns the first.

    Each list that is visited adds one to what may be taken before going on to the next, and empty lists count too.
    """
    first = NIL
    last = NIL
    migratetype = 0
    batch_free = 0
    while count > 0:
        page = NIL
        visited = 0
        while page == NIL:
            assert visited < MIGRATE_PCPTYPES, "pcp->count says that there are pages, but all lists are empty"
            visited += 1
            batch_free += 1
            migratetype = (migratetype + 1) % MIGRATE_PCPTYPES
            page = pcp_list[owner, migratetype].tail
        # Only this list has pages.
        if batch_free == MIGRATE_PCPTYPES:
            batch_free = count
        while page != NIL:
            pcp_list_del_tail(page, owner, migratetype)
            mem_map[page].state = IN_FLIGHT
            pcp[owner].count -= 1
            if last == NIL:
                first = page
            else:
                mem_map[last].next = page
            last = page
            count -= 1
            batch_free -= 1
            page = pcp_list[owner, migratetype].tail if count > 0 and batch_free > 0 else NIL
    if last != NIL:
        mem_map[last].next = NIL
    return first


def free_pcppages_bulk_round_robin(cpu: int, owner: int, count: int) -> None:
    """free_pcppages_bulk(): the pages are on no list until zone.lock is taken.  Irqs are off on the owner's CPU."""
    count = min(pcp[owner].count, count)
    page = take_pages_in_turn(owner, count)
    with zone.lock:
        isolated_pageblocks = zone.nr_isolate_pageblock != 0
        while page != NIL:
            following = mem_map[page].next
            migratetype = mem_map[page].index
            # The pageblock may have been isolated since its type was read.
            if isolated_pageblocks:
                migratetype = get_pageblock_migratetype(page)
            __free_one_page(page, 0, migratetype, FPI_NONE)
            mm_page_pcpu_drain(cpu, page, 0, migratetype)
            page = following
