# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow __alloc_pages_bulk(), which takes pages from a pcplist and announces none of them.

How many it took is what it returns (columns of the replay: :mod:`pagelab.replay.zone`); which, only the model says, and
it is held to it when they are freed.
"""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.highatomic import highatomic
from pagelab.linux.page_alloc import prep_new_page
from pagelab.linux.pcp import __rmqueue_pcplist, order_to_pindex
from pagelab.linux.state import machine, mem_map, pcp_list, zone
from pagelab.replay.context import context_of
from pagelab.replay.expect import doubt, give_up
from pagelab.replay.fallback_steps import alloc_flags_of_hold
from pagelab.replay.tables import REASON_BULK, bulk, capture, cpu_replay, event

#: How far off the watermark check may be, by CPU: what it has not added to NR_FREE_PAGES yet.
STAT_THRESHOLD = 125


def same_task(i: int, j: int) -> bool:
    """Whether two events are by the same task in the same context."""
    return event[i].pid == event[j].pid and context_of(i) == context_of(j)


def zone_is_full_enough(nr_pages: int) -> bool:
    """Whether the zone is for certain above the low watermark, boosted or not, so that a bulk allocation uses it."""
    boost = max(machine.pageblock_nr_pages, zone.watermark_high * 3 // 2)
    least = zone.watermark_low + boost + nr_pages + STAT_THRESHOLD * machine.nr_cpus
    return zone.free_pages - highatomic.nr_reserved_highatomic > least


def start_bulk(i: int) -> None:
    """A task enters __alloc_pages_bulk(); it takes no page before it may have been scheduled away."""
    for k in range(capture.pending_size):
        if bulk[k].event == NIL:
            bulk[k].event = i
            bulk[k].left = event[i].arg
            return
    assert False, "more bulk allocations under way than there is room for"  # noqa: B011, PT015 (a model fault)


def bulk_of(i: int) -> int:
    """Which bulk allocation the task of event ``i`` is in; NIL if it is in none."""
    for k in range(capture.pending_size):
        if bulk[k].event != NIL and same_task(bulk[k].event, i):
            return k
    return NIL


def is_disturbed(k: int, i: int, cpu: int) -> bool:
    """Whether the pages may have been taken before or after something else that its CPU did before event ``i``.

    A task that other tasks replace has taken none yet: without kernel preemption that is in prepare_alloc_pages().
    """
    at = bulk[k].event
    entered = event[at].cpu
    if entered != cpu:
        return bool(capture.preemptible)
    at = event[at].next
    while at != NIL and at < i:
        if event[at].pid == event[i].pid and not same_task(at, i):
            return True
        if event[at].pid != event[i].pid and capture.preemptible:
            return True
        at = event[at].next
    return False


def take_listed(k: int, cpu: int, in_doubt: bool) -> None:
    """As many pages as a bulk allocation still wants and the pcplist has."""
    migratetype = event[bulk[k].event].migratetype
    pindex = order_to_pindex(migratetype, 0)
    while bulk[k].left > 0 and pcp_list[cpu, pindex].head != NIL:
        take_one(k, cpu, 0, in_doubt)


def take_one(k: int, cpu: int, flags: int, in_doubt: bool) -> None:
    """A page from the pcplist, refilled if it is empty."""
    migratetype = event[bulk[k].event].migratetype
    page = __rmqueue_pcplist(cpu, 0, migratetype, flags, order_to_pindex(migratetype, 0))
    if page != NIL:
        prep_new_page(page, migratetype)
        bulk[k].left -= 1
        if in_doubt:
            doubt(page)


def bulk_before_refill(i: int, cpu: int) -> None:
    """Event ``i`` enters rmqueue_bulk(): if a bulk allocation needs it, that has taken all that was on the pcplist."""
    k = bulk_of(i)
    if k != NIL and event[i].order == 0:
        take_listed(k, cpu, is_disturbed(k, i, cpu))
        cpu_replay[cpu].hold_bulk = k


def bulk_refill(i: int, cpu: int, asked: int) -> None:
    """The pcplist is refilled, and nobody else gets at it before the bulk allocation has had its pages."""
    k = cpu_replay[cpu].hold_bulk
    cpu_replay[cpu].hold_bulk = NIL
    take_one(k, cpu, alloc_flags_of_hold(i, asked), False)
    take_listed(k, cpu, False)


def has_listed(cpu: int, migratetype: int, nr_pages: int) -> bool:
    """Whether a pcplist holds at least so many pages."""
    page = pcp_list[cpu, order_to_pindex(migratetype, 0)].head
    while page != NIL and nr_pages > 0:
        page = mem_map[page].next
        nr_pages -= 1
    return nr_pages == 0


def finish_bulk(i: int, cpu: int) -> None:
    """A task leaves __alloc_pages_bulk(): by now it has had all its pages, from one zone."""
    k = bulk_of(i)
    if k == NIL:
        return
    entry = bulk[k].event
    left = bulk[k].left
    refilled = left < event[entry].arg
    if has_listed(cpu, event[entry].migratetype, left):
        if refilled or left == 0 or zone_is_full_enough(left):
            take_listed(k, cpu, is_disturbed(k, i, cpu))
        else:
            give_up(REASON_BULK)
    elif refilled:
        give_up(REASON_BULK)  # otherwise it was another zone: from this one there would have been a refill
    bulk[k].event = NIL
