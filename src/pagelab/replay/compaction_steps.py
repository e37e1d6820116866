# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow compaction's free scanner, which takes free pages to move others there.  Probes tell which and when.

alloc_contig_range() uses it to take all free pages of its range, and the migrate scanner before that: that is no
compaction of the zone.

Both scanners also search the free lists of MOVABLE pages, and put what they have searched behind the rest
(move_freelist_head() and move_freelist_tail()), so that another page is first by then.  No event tells which; the first
page that is taken from such a list shows it.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.buddy import __isolate_free_page
from pagelab.linux.lists import free_list_add_tail, free_list_del
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.page_alloc import prep_new_page
from pagelab.linux.state import BUDDY, free_area, machine, mem_map, zone
from pagelab.replay.context import next_by_task, takes_pages
from pagelab.replay.contig_steps import contig_of, next_of_range, took_of_range
from pagelab.replay.expect import believe, count_exact, diverge, give_up
from pagelab.replay.tables import (
    NOTE_SHOWN,
    REASON_COMPACTION,
    SCORE_ISOLATE,
    SCORE_REFILL,
    capture,
    event,
    taken,
    verdict,
)


def step_compaction(i: int) -> None:
    """A scanner has been at work."""
    if contig_of(event[i].pid) == NIL:
        verdict.compacted = True
    if event[i].arg > 0 and not capture.probe_isolate_free_page and next_of_range(i) == NIL:
        give_up(REASON_COMPACTION)


def set_first_as_shown(i: int) -> None:
    """A hold of zone->lock takes pages from event ``i`` on: have the MOVABLE free lists begin as they show.

    Only where compaction was at work; the event of the page that was not first by the model's count gets a note.
    """
    if not verdict.compacted:
        return
    for order in range(machine.max_order):
        taken[order].page = NIL
    while i != NIL and takes_pages(i):
        page = event[i].page
        if page != NIL and mem_map[page].state == BUDDY and mem_map[page].free_list == MIGRATE_MOVABLE:
            order = mem_map[page].order
            last = taken[order].page
            first = free_area[order, MIGRATE_MOVABLE].head if last == NIL else mem_map[last].next
            if page != first and is_behind(first, page):
                put_behind(first, page, order)
                event[i].note = NOTE_SHOWN
            taken[order].page = page
        i = event[i].next


def is_behind(first: int, page: int) -> bool:
    """Whether a page comes after another one on their free list."""
    while first not in (NIL, page):
        first = mem_map[first].next
    return first == page


def put_behind(first: int, page: int, order: int) -> None:
    """Put the free pages from ``first`` to the one before ``page`` behind the rest of their list."""
    while first != page:
        following = mem_map[first].next
        free_list_del(first, order, MIGRATE_MOVABLE)
        free_list_add_tail(first, order, MIGRATE_MOVABLE)
        first = following


def step_isolate_free_page(i: int, cpu: int) -> None:
    """__isolate_free_page() is called, under zone->lock, and has taken the page unless it returns 0.

    The free scanner chooses by pfn, so it is not predicted which page it takes, but that it is free, with that order;
    of a range, it takes one after the other.
    """
    done = next_by_task(i)
    if done == NIL or event[done].kind != Kind.ISOLATE_FREE_PAGE_DONE or event[done].arg == 0:
        return
    page = event[i].page
    order = event[i].order
    wanted = next_of_range(i)
    which = SCORE_REFILL if wanted == NIL else SCORE_ISOLATE
    if wanted not in (NIL, page) or mem_map[page].state != BUDDY or mem_map[page].order != order:
        diverge(i, which, Kind.ISOLATE_FREE_PAGE, page, mem_map[page].order, NIL, mem_map[page].state)
        return
    count_exact(which)
    took_of_range(i)
    believe(page)
    verdict.zone_events += 1
    # Whether there was enough free memory, the kernel has decided.
    watermark_min = zone.watermark_min
    zone.watermark_min = -(1 << order) - 1
    __isolate_free_page(cpu, page, order)
    zone.watermark_min = watermark_min
    # split_map_pages() comes later, and none of them is freed before it.
    for part in range(page, page + (1 << order)):
        mem_map[part].compound_order = 0
        prep_new_page(part, MIGRATE_MOVABLE)
