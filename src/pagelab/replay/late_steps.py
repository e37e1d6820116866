# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow frees that go past the pcplists.

A probe may tell when they get to the free lists.  Otherwise the trace shows that they were announced, and no more: when
they get to the free lists is inferred from what their CPU shows next; a page is in doubt as long as that is open.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.buddy import FPI_NONE, FPI_TO_TAIL
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.pcp import free_one_page
from pagelab.linux.state import IN_FLIGHT, get_pageblock_migratetype, mem_map, zone
from pagelab.replay.context import context_of
from pagelab.replay.expect import believe, diverge, doubt, give_up
from pagelab.replay.tables import (
    NOTE_COMMIT,
    REASON_MOMENT,
    SCORE_FREE,
    capture,
    cpu_replay,
    event,
    late,
    verdict,
)


def settle_direct(i: int, cpu: int) -> None:
    """The CPU has gone on, so the page that it freed last is on the free lists: as assumed, if nobody changed them."""
    page = cpu_replay[cpu].direct_page
    context = cpu_replay[cpu].direct_context
    if page != NIL and (context == context_of(i) or context & ~context_of(i) != 0):
        cpu_replay[cpu].direct_page = NIL
        if cpu_replay[cpu].direct_zone_events == verdict.zone_events:
            believe(page)


def step_free_one_page(i: int, cpu: int) -> None:
    """A page whose free was announced gets to the free lists, past the pcplists, under zone->lock."""
    if event[i].arg & FPI_TO_TAIL:
        return  # memory that comes online
    page = event[i].page
    order = event[i].order
    migratetype = event[i].migratetype
    here = get_pageblock_migratetype(page)
    as_read = here if zone.nr_isolate_pageblock != 0 else mem_map[page].index
    # The type may have been read after the announcement.
    if mem_map[page].state != IN_FLIGHT or migratetype not in (as_read, here):
        diverge(i, SCORE_FREE, Kind.FREE_ONE_PAGE, page, mem_map[page].compound_order, as_read, mem_map[page].state)
        return
    verdict.zone_events += 1
    free_one_page(cpu, page, order, migratetype, FPI_NONE)


def push_late(i: int, cpu: int) -> None:
    """The page of event ``i`` goes to the free lists when its turn comes."""
    end = cpu_replay[cpu].late_end
    if end - cpu_replay[cpu].late_first == capture.late_size:
        give_up(REASON_MOMENT)
        return
    slot = end & (capture.late_size - 1)
    late[cpu, slot].page = event[i].page
    late[cpu, slot].event = i
    late[cpu, slot].order = event[i].order
    late[cpu, slot].context = context_of(i)
    late[cpu, slot].zone_events = verdict.zone_events
    late[cpu, slot].freeing = False
    cpu_replay[cpu].late_end = end + 1
    doubt(event[i].page)


def is_past_late(i: int, cpu: int) -> bool:
    """Whether the task of event ``i`` has come past the oldest page that its CPU frees past the pcplists.

    The pages of a list are all announced before the first is freed, and freed in the same order.
    """
    slot = cpu_replay[cpu].late_first & (capture.late_size - 1)
    if late[cpu, slot].context != context_of(i):
        return False
    kind = event[i].kind
    page = event[i].page
    if kind in (Kind.MM_PAGE_FREE_BATCHED, Kind.FREE_UNREF_PAGE_COMMIT):
        late[cpu, slot].freeing = True
        return page != NIL and event[i].arg > late[cpu, slot].event
    if kind == Kind.MM_PAGE_FREE:
        if event[i].note == NOTE_COMMIT:
            return True  # that one is of no list, so the one before is done
        # Announced next to it: then the type of its pageblock has been read by now, and it may be another one.
        isolated = get_pageblock_migratetype(late[cpu, slot].page) == MIGRATE_ISOLATE
        return isolated or bool(late[cpu, slot].freeing)
    return kind not in (Kind.FREE_PCPPAGES_BULK, Kind.MM_PAGE_PCPU_DRAIN)


def free_after_interrupts(i: int, cpu: int) -> None:
    """Who shows an event runs, so an interrupt that had come upon him is over, and so are its frees."""
    first = cpu_replay[cpu].late_first
    end = cpu_replay[cpu].late_end
    context = context_of(i)
    while first != end and late[cpu, first & (capture.late_size - 1)].context & ~context == 0:
        first += 1
    cpu_replay[cpu].late_end = first
    while first != end:
        free_late_in(cpu, first & (capture.late_size - 1))
        first += 1


def free_late(cpu: int) -> None:
    """The oldest free that went past the pcplists is over by now."""
    first = cpu_replay[cpu].late_first
    cpu_replay[cpu].late_first = first + 1
    free_late_in(cpu, first & (capture.late_size - 1))


def free_late_in(cpu: int, slot: int) -> None:
    """The page of a slot gets to the free lists: in doubt when, if others have changed them since it was announced."""
    page = late[cpu, slot].page
    if late[cpu, slot].zone_events == verdict.zone_events:
        believe(page)
    verdict.zone_events += 1
    # free_one_page() looks for itself while any pageblock is isolated.
    free_one_page(cpu, page, late[cpu, slot].order, mem_map[page].index, FPI_NONE)
