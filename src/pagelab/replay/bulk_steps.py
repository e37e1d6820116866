# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow __alloc_pages_bulk(), which takes pages from a pcplist and announces none of them.

A probe may show each of them; then they are followed like any other allocation.  Otherwise: how many it took is what it
returns (columns of the replay: :mod:`pagelab.replay.zone`); which, only the model says, and it is held to it when they
are freed.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.highatomic import highatomic
from pagelab.linux.page_alloc import prep_new_page
from pagelab.linux.pcp import __rmqueue_pcplist, order_to_pindex
from pagelab.linux.state import machine, mem_map, pcp_list, zone
from pagelab.replay.context import after_zone_lock, context_of
from pagelab.replay.expect import doubt, give_up
from pagelab.replay.fallback_steps import alloc_flags_of_hold
from pagelab.replay.tables import REASON_BULK, bulk, capture, cpu_replay, event, verdict

#: Whether the watermark lets a bulk allocation use the zone.
NO = 0
YES = 1
MAYBE = 2


def same_task(i: int, j: int) -> bool:
    """Whether two events are by the same task in the same context."""
    return event[i].pid == event[j].pid and context_of(i) == context_of(j)


def fls(word: int) -> int:
    """Number of the highest bit that is set, counted from 1; 0 for 0."""
    bit = 0
    while word >> bit != 0:
        bit += 1
    return bit


def stat_threshold() -> int:
    """calculate_normal_threshold(): how many pages a CPU may not have added to NR_FREE_PAGES yet."""
    chunks_of_128m = zone.managed_pages >> (27 - machine.page_shift)
    return min(2 * fls(machine.nr_cpus) * (1 + fls(chunks_of_128m)), 125)


def is_above_watermark(nr_pages: int) -> int:
    """zone_watermark_fast() of a bulk allocation: YES, NO or MAYBE.

    It sees NR_FREE_PAGES without what the CPUs have not added yet.  The low watermark is boosted after fallbacks, up to
    half as much again as the high one, and nothing shows how soon kswapd takes that back.
    """
    off = stat_threshold() * machine.nr_cpus
    above = zone.free_pages - highatomic.nr_reserved_highatomic - zone.watermark_low - nr_pages
    boost = 0
    if verdict.boosted:
        boost = max(machine.pageblock_nr_pages, zone.watermark_high * 3 // 2)
    if above > boost + off:
        return YES
    return NO if above <= -off else MAYBE


def start_bulk(i: int) -> None:
    """A task enters __alloc_pages_bulk(); it takes no page before it may have been scheduled away."""
    for k in range(capture.pending_size):
        if bulk[k].event == NIL:
            bulk[k].event = i
            bulk[k].left = event[i].arg
            bulk[k].above = is_above_watermark(event[i].arg)
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


def is_for_bulk_page(i: int) -> bool:
    """Whether the first page of the refill of event ``i`` goes to a bulk allocation, as a probe shows."""
    following = after_zone_lock(i)
    return following != NIL and event[following].kind == Kind.ALLOC_PAGES_BULK_PAGE


def bulk_before_refill(i: int, cpu: int) -> None:
    """Event ``i`` enters rmqueue_bulk(): if a bulk allocation needs it, that has taken all that was on the pcplist."""
    if capture.probe_alloc_pages_bulk_page:
        if is_for_bulk_page(i):
            cpu_replay[cpu].hold_bulk = 0
        return
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
        above = is_above_watermark(left)
        if refilled or left == 0 or (above == YES and bulk[k].above == YES):
            take_listed(k, cpu, is_disturbed(k, i, cpu))
        elif above != NO or bulk[k].above != NO:
            give_up(REASON_BULK)
    elif refilled:
        give_up(REASON_BULK)  # otherwise it was another zone: from this one there would have been a refill
    bulk[k].event = NIL
