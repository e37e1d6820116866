# SPDX-License-Identifier: GPL-2.0-or-later
"""Who an event is by: a task, or an interrupt, which carries the number of the task that it came upon."""

from __future__ import annotations

from pagelab.capture.events import CONTEXT_HARDIRQ, CONTEXT_NMI, CONTEXT_SOFTIRQ, Kind
from pagelab.lang.declare import NIL
from pagelab.replay.tables import event, verdict

#: What tells a task, a softirq, a hardirq and an NMI on one CPU apart.
CONTEXT_MASK = CONTEXT_HARDIRQ | CONTEXT_SOFTIRQ | CONTEXT_NMI


def context_of(i: int) -> int:
    """The context of an event."""
    return event[i].context & CONTEXT_MASK


def next_in_context(i: int, context: int) -> int:
    """The next event of the same CPU in a context, interrupts left out; NIL if there is none."""
    following = event[i].next if i != NIL else NIL
    while following != NIL and context_of(following) != context:
        following = event[following].next
    return following


def next_by_task(i: int) -> int:
    """The next event of the same CPU by the same task, in the same context; NIL if there is none."""
    context = context_of(i)
    following = next_in_context(i, context)
    while following != NIL and event[following].pid != event[i].pid:
        following = next_in_context(following, context)
    return following


def next_of_task(i: int) -> int:
    """The next event by the same task, in the same context, on whatever CPU it runs by then; NIL if there is none."""
    context = context_of(i)
    pid = event[i].pid
    for following in range(i + 1, verdict.nr_events):
        if event[following].pid == pid and context_of(following) == context:
            return following
    return NIL


def takes_pages(i: int) -> bool:
    """Whether an event is about taking pages under zone->lock."""
    return event[i].kind in (
        Kind.MM_PAGE_ALLOC_ZONE_LOCKED,
        Kind.MM_PAGE_ALLOC_EXTFRAG,
        Kind.MOVE_FREEPAGES_BLOCK,
        Kind.MOVE_FREEPAGES_BLOCK_DONE,
    )


def after_zone_lock(i: int) -> int:
    """The next event of the same CPU by the same task that is not about taking pages under zone->lock; NIL if none."""
    following = next_by_task(i)
    while following != NIL and takes_pages(following):
        following = next_by_task(following)
    return following
