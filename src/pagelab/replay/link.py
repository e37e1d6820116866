# SPDX-License-Identifier: GPL-2.0-or-later
"""What the replay knows of the events before it follows them: which belong together, and which follow each other."""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.state import machine
from pagelab.replay.expect import count_unknown
from pagelab.replay.tables import (
    NOTE_COMMIT,
    NOTE_LIST,
    NOTE_NONE,
    SCORE_ALLOC,
    SCORE_DRAIN,
    SCORE_FREE,
    SCORE_ISOLATE,
    SCORE_REFILL,
    capture,
    cpu_replay,
    event,
    last_free,
    verdict,
)


def link_events(count: int) -> None:
    """Before the replay: which frees are shown to reach a pcplist, and which event a CPU shows next."""
    verdict.nr_events = count
    for i in range(count):
        kind = event[i].kind
        page = event[i].page
        if page != NIL:
            if kind == Kind.MM_PAGE_FREE:
                last_free[page].event = i
            elif kind in (Kind.MM_PAGE_FREE_BATCHED, Kind.FREE_UNREF_PAGE_COMMIT):
                j = last_free[page].event
                if j != NIL:
                    if kind == Kind.MM_PAGE_FREE_BATCHED:
                        event[j].note = NOTE_LIST
                    elif event[j].note == NOTE_NONE:
                        event[j].note = NOTE_COMMIT
                    event[i].arg = j
                    if kind == Kind.FREE_UNREF_PAGE_COMMIT:
                        event[i].context = event[j].context  # that of a probe by breakpoint hides a hardirq
                    if kind == Kind.FREE_UNREF_PAGE_COMMIT or not capture.probe_free_unref_page_commit:
                        last_free[page].event = NIL
            elif kind == Kind.FREE_ONE_PAGE and last_free[page].event != NIL:
                event[i].context = event[last_free[page].event].context
                last_free[page].event = NIL
        cpu = event[i].cpu
        before = cpu_replay[cpu].last
        if before != NIL:
            event[before].next = i
        cpu_replay[cpu].last = i
    for cpu in range(machine.nr_cpus):
        cpu_replay[cpu].last = NIL


def skip(i: int) -> None:
    """An event that cannot be judged."""
    kind = event[i].kind
    if kind == Kind.MOVE_FREEPAGES_BLOCK_DONE:
        count_unknown(SCORE_ISOLATE)
    elif event[i].page == NIL:
        pass  # of another zone
    elif kind in (Kind.MM_PAGE_ALLOC, Kind.ALLOC_PAGES_BULK_PAGE):
        count_unknown(SCORE_ALLOC)
    elif kind in (Kind.MM_PAGE_ALLOC_ZONE_LOCKED, Kind.ISOLATE_FREE_PAGE):
        count_unknown(SCORE_REFILL)
    elif kind == Kind.MM_PAGE_PCPU_DRAIN:
        count_unknown(SCORE_DRAIN)
    elif kind == Kind.MM_PAGE_FREE:
        count_unknown(SCORE_FREE)
