# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model did, against what the trace shows: expectations, scores, the first divergence.

The probes below are attached to the model's tracepoints.  What the model does under zone->lock is queued by CPU and has
to come up in the trace in just that order; the trace is never asked before the model has spoken.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import get_pageblock_migratetype
from pagelab.replay.tables import (
    NOTE_NONE,
    NOTE_SHOWN,
    REASON_COMPACTION,
    REASON_DIVERGED,
    REASON_LEFT_OUT,
    REASON_MOMENT,
    REASON_NONE,
    SCORE_DRAIN,
    SCORE_FALLBACK,
    SCORE_REFILL,
    capture,
    cpu_replay,
    event,
    expected,
    hotplug,
    last_free,
    reason,
    score,
    verdict,
)


def expect(cpu: int, kind: int, page: int, order: int, migratetype: int, value: int) -> None:
    """Queue what this CPU's next event under zone->lock must be."""
    pushed = cpu_replay[cpu].pushed
    assert pushed - cpu_replay[cpu].popped < capture.expected_size, "more pages in one lock hold than there is room for"
    slot = pushed & (capture.expected_size - 1)
    expected[cpu, slot].kind = kind
    expected[cpu, slot].page = page
    expected[cpu, slot].order = order
    expected[cpu, slot].migratetype = migratetype
    expected[cpu, slot].value = value
    cpu_replay[cpu].pushed = pushed + 1


def on_zone_locked(cpu: int, page: int, order: int, migratetype: int, percpu_refill: int) -> None:
    """Probe of mm_page_alloc_zone_locked."""
    expect(cpu, Kind.MM_PAGE_ALLOC_ZONE_LOCKED, page, order, migratetype, NIL)


def on_drain(cpu: int, page: int, order: int, migratetype: int) -> None:
    """Probe of mm_page_pcpu_drain."""
    expect(cpu, Kind.MM_PAGE_PCPU_DRAIN, page, order, migratetype, NIL)


def on_moved(cpu: int, page: int, migratetype: int, moved: int) -> None:
    """Probe of move_freepages_block_done: a pageblock is isolated or un-isolated, or taken over by another type."""
    old_type = get_pageblock_migratetype(page)
    if MIGRATE_ISOLATE in (migratetype, old_type):
        hotplug.moved = moved
        return
    cpu_replay[cpu].stolen = True
    cpu_replay[cpu].stolen_type = old_type
    cpu_replay[cpu].stolen_pages = moved
    if capture.probe_move_freepages_block:
        expect(cpu, Kind.MOVE_FREEPAGES_BLOCK, page, NIL, migratetype, NIL)
        expect(cpu, Kind.MOVE_FREEPAGES_BLOCK_DONE, NIL, NIL, NIL, moved)


def count_exact(which: int) -> None:
    """One more event, predicted as it happened."""
    score[which].total += 1
    score[which].exact += 1


def count_unknown(which: int) -> None:
    """One more event that cannot be judged."""
    score[which].total += 1
    score[which].unknown += 1
    reason[verdict.reason].count += 1


def count_undecided(which: int, why: int) -> None:
    """One more event that the trace decides itself; what follows is judged."""
    score[which].total += 1
    score[which].unknown += 1
    reason[why].count += 1
    if reason[why].first == NIL:
        reason[why].first = verdict.current


def diverge(i: int, which: int, kind: int, page: int, order: int, migratetype: int, value: int) -> None:
    """Event ``i`` is not what the model said: count it as missed; nothing after it can be judged.

    Unless a page is in doubt, or the kernel left out hits of probes.  Compaction excuses nothing: lists that it may
    have turned begin as the trace shows before the model is asked (set_first_as_shown()), so that only pages which no
    turn brings to the front come here.
    """
    if verdict.doubts > 0 or capture.hits_left_out:
        give_up(REASON_MOMENT if verdict.doubts > 0 else REASON_LEFT_OUT)
        count_unknown(which)
        return
    score[which].total += 1
    verdict.diverged += 1
    if verdict.event < 0:
        verdict.event = i
        verdict.predicted_kind = kind
        verdict.predicted_page = page
        verdict.predicted_order = order
        verdict.predicted_migratetype = migratetype
        verdict.predicted_value = value
    verdict.reason = REASON_DIVERGED


def doubt(page: int) -> None:
    """When this page gets to the free lists, the trace does not show: it matters if others change them meanwhile."""
    if not last_free[page].doubt:
        last_free[page].doubt = True
        verdict.doubts += 1


def believe(page: int) -> None:
    """The page was where the model had it, or it does not matter any more."""
    if last_free[page].doubt:
        last_free[page].doubt = False
        verdict.doubts -= 1


def give_up(why: int) -> None:
    """From here on the state is not known."""
    if verdict.reason == REASON_NONE:
        verdict.reason = why
        reason[why].first = verdict.current


def waits(cpu: int) -> bool:
    """Whether the trace still owes what the model did on this CPU."""
    return cpu_replay[cpu].popped < cpu_replay[cpu].pushed


def pages_owed(cpu: int) -> int:
    """Base pages that the model has moved on this CPU and the trace has still to show."""
    pages = 0
    for number in range(cpu_replay[cpu].popped, cpu_replay[cpu].pushed):
        pages += 1 << expected[cpu, number & (capture.expected_size - 1)].order
    return pages


def score_of(kind: int) -> int:
    """Which score an event under zone->lock counts for."""
    if kind == Kind.MM_PAGE_PCPU_DRAIN:
        return SCORE_DRAIN
    if kind in (Kind.MM_PAGE_ALLOC_EXTFRAG, Kind.MOVE_FREEPAGES_BLOCK, Kind.MOVE_FREEPAGES_BLOCK_DONE):
        return SCORE_FALLBACK
    return SCORE_REFILL


def check_expected(i: int) -> None:
    """Compare an event under zone->lock with the oldest expectation of its CPU."""
    cpu = event[i].cpu
    kind = event[i].kind
    which = score_of(kind)
    if not waits(cpu):
        diverge(i, which, NOTE_NONE, -1, -1, -1, 0)
        return
    popped = cpu_replay[cpu].popped
    slot = popped & (capture.expected_size - 1)
    cpu_replay[cpu].popped = popped + 1
    predicted_kind = expected[cpu, slot].kind
    page = expected[cpu, slot].page
    order = expected[cpu, slot].order
    migratetype = expected[cpu, slot].migratetype
    value = expected[cpu, slot].value
    shown = event[i].arg
    same = predicted_kind == kind and page == event[i].page and value in (NIL, shown)
    verdict.zone_events += 1
    if same and order == event[i].order and migratetype == event[i].migratetype:
        if event[i].note == NOTE_SHOWN:
            count_undecided(which, REASON_COMPACTION)
        else:
            count_exact(which)
        if page != NIL:
            believe(page)
    else:
        diverge(i, which, predicted_kind, page, order, migratetype, value)
