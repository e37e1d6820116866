# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow allocations: the page that a task takes from a pcplist or from the free lists, until mm_page_alloc logs it."""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.features import features
from pagelab.linux.page_alloc import prep_new_page
from pagelab.linux.pcp import __rmqueue_pcplist, order_to_pindex, pcp_allowed_order, rmqueue_pcplist
from pagelab.linux.state import IN_FLIGHT, ON_PCPLIST, machine, mem_map, pcp_list
from pagelab.replay.context import context_of
from pagelab.replay.expect import count_exact, count_unknown, diverge, give_up
from pagelab.replay.tables import (
    REASON_BULK,
    REASON_INTERRUPT,
    SCORE_ALLOC,
    capture,
    cpu_replay,
    event,
    pending,
)


def push_pending(i: int, cpu: int, page: int, order: int, migratetype: int) -> None:
    """A page left the lists on behalf of the task of event ``i``; mm_page_alloc comes when it is prepared."""
    for k in range(capture.pending_size):
        if pending[cpu, k].page == NIL:
            pending[cpu, k].page = page
            pending[cpu, k].pid = event[i].pid
            pending[cpu, k].context = context_of(i)
            pending[cpu, k].order = order
            pending[cpu, k].migratetype = migratetype
            cpu_replay[cpu].pending += 1
            return
    assert False, "more allocations under way on one CPU than there is room for"  # noqa: B011, PT015 (a model fault)


def pop_pending(i: int, cpu: int) -> int:
    """The page that was taken for the allocation of event ``i``, or NIL if none was yet."""
    if cpu_replay[cpu].pending == 0:
        return NIL
    context = context_of(i)
    for k in range(capture.pending_size):
        page = pending[cpu, k].page
        same_task = pending[cpu, k].pid == event[i].pid and pending[cpu, k].context == context
        if page != NIL and same_task and pending[cpu, k].order == event[i].order:
            pending[cpu, k].page = NIL
            cpu_replay[cpu].pending -= 1
            return page
    return NIL


def pcplist_is_empty(cpu: int, order: int, migratetype: int) -> bool:
    """Whether the model has nothing on the pcplist that serves such an allocation."""
    return pcp_list[cpu, order_to_pindex(migratetype, order)].head == NIL


def take_from_pcplist(cpu: int, order: int, migratetype: int, alloc_flags: int, in_bulk: bool) -> int:
    """A page from a pcplist; a bulk allocation holds pcp->lock all the time and leaves free_factor alone."""
    if in_bulk:
        cpu_replay[cpu].hold_bulk = NIL
        return __rmqueue_pcplist(cpu, order, migratetype, alloc_flags, order_to_pindex(migratetype, order))
    return rmqueue_pcplist(cpu, order, migratetype, alloc_flags)


def step_take(i: int, cpu: int) -> None:
    """A page is taken from a pcplist, for the mm_page_alloc of its task."""
    order = event[i].order
    migratetype = event[i].migratetype
    page = pop_pending(i, cpu)  # that of a refill
    if page == NIL and not pcplist_is_empty(cpu, order, migratetype):
        page = rmqueue_pcplist(cpu, order, migratetype, 0)
    if page == NIL or page != event[i].page:
        diverge(i, SCORE_ALLOC, Kind.RMQUEUE_PCPLIST_PAGE, page, order, migratetype, 0)
        return
    push_pending(i, cpu, page, order, migratetype)


def step_alloc(i: int, cpu: int) -> None:
    """An allocation is done.  Without a page taken under zone->lock it came from a pcplist."""
    order = event[i].order
    migratetype = event[i].migratetype
    page = pop_pending(i, cpu)
    for other in range(machine.nr_cpus):
        # The task may have moved to another CPU meanwhile.
        if page == NIL and other != cpu:
            page = pop_pending(i, other)
    in_bulk = event[i].kind == Kind.ALLOC_PAGES_BULK_PAGE
    may_take = in_bulk or not capture.probe_rmqueue_pcplist_page
    if page == NIL and may_take and pcp_allowed_order(order) and not pcplist_is_empty(cpu, order, migratetype):
        page = take_from_pcplist(cpu, order, migratetype, 0, in_bulk)
    if page != event[i].page and may_be_behind_bulk(i, order):
        give_up(REASON_BULK)
        count_unknown(SCORE_ALLOC)
        return
    if page != event[i].page and may_be_behind_interrupt(i, cpu):
        give_up(REASON_INTERRUPT)
        count_unknown(SCORE_ALLOC)
        return
    if page == NIL or page != event[i].page:
        diverge(i, SCORE_ALLOC, event[i].kind, page, order, migratetype, 0)
        return
    prep_new_page(page, migratetype)
    count_exact(SCORE_ALLOC)


def may_take_silently() -> bool:
    """Whether pages may leave a pcplist without any event."""
    # Since Linux kernel commit 387ba26fb1cb ("mm/page_alloc: add a bulk page allocator") (in v5.13)
    if not features.alloc_pages_bulk:
        return False
    return not machine.zone_movable and not capture.probe_alloc_pages_bulk


def may_be_behind_bulk(i: int, order: int) -> bool:
    """Whether the page of event ``i`` is in use because it went silently, or is next because others did.

    Only where no probe tells of those.
    """
    if order != 0 or not may_take_silently():
        return False
    page = event[i].page
    state = mem_map[page].state
    return state in (ON_PCPLIST, IN_FLIGHT) and mem_map[page].compound_order == 0


def may_be_behind_interrupt(i: int, cpu: int) -> bool:
    """Whether the page of event ``i`` may have been taken before an interrupt that changed the pcplists."""
    before = cpu_replay[cpu].before
    if before == NIL or capture.probe_rmqueue_pcplist_page:
        return False
    return context_of(before) & ~context_of(i) != 0
