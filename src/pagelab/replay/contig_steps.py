# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow alloc_contig_range(): a range is isolated, tested, taken off the free lists and un-isolated by one task.

Isolation itself, of one pageblock after the other, is followed in hotplug_steps, as for memory that goes offline.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.buddy import split_free_page
from pagelab.linux.contig import isolate_freepages_range, outer_start_of
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.page_isolation import __test_page_isolated_in_pageblock
from pagelab.linux.state import ALLOCATED, OFFLINE, TAIL, get_pageblock_migratetype, machine, mem_map, zone
from pagelab.replay.expect import count_exact, diverge, give_up
from pagelab.replay.tables import REASON_UNMODELLED, SCORE_ISOLATE, capture, contig, event, hotplug, verdict


def contig_of(pid: int) -> int:
    """The slot of the range that a task isolates; NIL if it does not."""
    for slot in range(capture.pending_size):
        if contig[slot].end != 0 and contig[slot].pid == pid:
            return slot
    return NIL


def step_contig(i: int, cpu: int, kind: int) -> bool:
    """Follow an event of a task that isolates a range; False if the event is of another sort."""
    if kind == Kind.START_ISOLATE_PAGE_RANGE:
        begin_range(i)
    elif kind == Kind.START_ISOLATE_PAGE_RANGE_DONE:
        check_isolated(i)
    elif kind == Kind.TEST_PAGES_ISOLATED:
        step_test(i, cpu)
    elif kind == Kind.UNDO_ISOLATE_PAGE_RANGE and contig_of(event[i].pid) != NIL:
        contig[contig_of(event[i].pid)].end = 0
    elif kind == Kind.SPLIT_FREE_PAGE:
        begin_split(i)
    elif kind == Kind.SPLIT_FREE_PAGE_PART:
        step_split_part(i, cpu)
    elif kind == Kind.ADJUST_MANAGED_PAGE_COUNT:
        if not hotplug.online and not hotplug.offline:  # otherwise the model counts them itself
            zone.managed_pages += event[i].arg
    else:
        if kind == Kind.OFFLINE_PAGES_DONE and contig_of(event[i].pid) != NIL:
            contig[contig_of(event[i].pid)].end = 0
        elif kind == Kind.UNSET_MIGRATETYPE_ISOLATE:
            note_ended(i)
        return False
    return True


def begin_range(i: int) -> None:
    """A task enters start_isolate_page_range(): for alloc_contig_range(), or to take memory offline."""
    slot = contig_of(event[i].pid)
    if slot == NIL:
        slot = 0
        while contig[slot].end != 0:
            slot += 1
            if slot == capture.pending_size:
                give_up(REASON_UNMODELLED)
                return
    contig[slot].pid = event[i].pid
    contig[slot].start = event[i].page
    contig[slot].end = event[i].arg
    contig[slot].next = NIL
    contig[slot].split_page = NIL
    contig[slot].ended = False


def note_ended(i: int) -> None:
    """A pageblock is given back: maybe one that somebody else has isolated."""
    for slot in range(capture.pending_size):
        within = contig[slot].start <= event[i].page < contig[slot].end
        if within and contig[slot].pid != event[i].pid:
            contig[slot].ended = True


def check_isolated(i: int) -> None:
    """start_isolate_page_range() returns: if with success, the model must have isolated all of the range."""
    slot = contig_of(event[i].pid)
    if slot == NIL or event[i].arg != 0:
        return
    page = first_not_isolated(contig[slot].start, contig[slot].end)
    if page < contig[slot].end and not contig[slot].ended:
        diverge(i, SCORE_ISOLATE, Kind.START_ISOLATE_PAGE_RANGE_DONE, page, NIL, NIL, 0)


def goes_offline(slot: int) -> bool:
    """Whether a range is isolated to take it offline."""
    same = contig[slot].start == hotplug.start and contig[slot].end == hotplug.start + hotplug.nr_pages
    return hotplug.offline and same


def first_not_isolated(start: int, end: int) -> int:
    """The first pageblock of a range that is not isolated, or the end."""
    page = start
    while page < end and (mem_map[page].state == OFFLINE or get_pageblock_migratetype(page) == MIGRATE_ISOLATE):
        page += machine.pageblock_nr_pages
    return min(page, end)


def step_test(i: int, cpu: int) -> None:
    """A range was tested, under zone->lock, and this is told after that: what was free and isolated then is so now.

    Unless somebody else has ended the isolation since, and then anything may have happened to the range.  And a page
    that was in the way may have become free: only one that the model holds for in use, before that, is a miss.
    """
    slot = contig_of(event[i].pid)
    if slot == NIL or goes_offline(slot):
        return
    end = contig[slot].end
    start = outer_start_of(contig[slot].start)
    told = event[i].arg
    not_isolated = first_not_isolated(start, end)
    not_free = __test_page_isolated_in_pageblock(start, end)
    if not_isolated < end and contig[slot].ended:
        if told == not_isolated:
            count_exact(SCORE_ISOLATE)
    elif not_isolated < end or start != event[i].page or not_free < min(told, end):
        diverge(i, SCORE_ISOLATE, Kind.TEST_PAGES_ISOLATED, start, NIL, NIL, min(not_isolated, not_free))
    elif told >= end:
        count_exact(SCORE_ISOLATE)
        contig[slot].next = start
        if not capture.probe_isolate_free_page:
            isolate_freepages_range(cpu, start, end)
    elif told == not_free:
        count_exact(SCORE_ISOLATE)


def next_of_range(i: int) -> int:
    """The page that a task takes off the free lists next, if it takes a range; NIL if it chooses otherwise."""
    slot = contig_of(event[i].pid)
    return contig[slot].next if slot != NIL else NIL


def took_of_range(i: int) -> None:
    """A task has taken the page of event ``i``."""
    slot = contig_of(event[i].pid)
    if slot != NIL and contig[slot].next != NIL:
        contig[slot].next += 1 << event[i].order


def begin_split(i: int) -> None:
    """A free page was seen to reach across the end of a range: it is split, if it is still there under zone->lock."""
    slot = contig_of(event[i].pid)
    if slot != NIL:
        contig[slot].split_page = event[i].page
        contig[slot].split_order = event[i].order
        contig[slot].split_offset = event[i].arg


def step_split_part(i: int, cpu: int) -> None:
    """A part of a split page goes back to the free lists, under zone->lock; the first part stands for all."""
    slot = contig_of(event[i].pid)
    if slot == NIL or contig[slot].split_page == NIL:
        return
    page = contig[slot].split_page
    contig[slot].split_page = NIL
    verdict.zone_events += 1
    if split_free_page(cpu, page, contig[slot].split_order, contig[slot].split_offset) == 0:
        count_exact(SCORE_ISOLATE)
    else:
        diverge(i, SCORE_ISOLATE, Kind.SPLIT_FREE_PAGE, page, mem_map[page].order, NIL, mem_map[page].state)


def join_taken(page: int, order: int) -> None:
    """Pages that were taken one by one are freed as one.

    That is so if alloc_contig_range() took them and the order is one that no free list has, or if compaction did.
    """
    # Since Linux kernel commit 733aea0b3a7b ("mm/compaction: add support for >0 order folio memory compaction.")
    # (in v6.9)
    may_be = order >= machine.max_order or (order > 0 and verdict.compacted)
    if not may_be or mem_map[page].state != ALLOCATED or mem_map[page].compound_order != 0:
        return
    for tail in range(page + 1, page + (1 << order)):
        if mem_map[tail].state != ALLOCATED or mem_map[tail].compound_order != 0:
            return
    for tail in range(page + 1, page + (1 << order)):
        mem_map[tail].state = TAIL
    mem_map[page].compound_order = order
