# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay keeps besides the state of the model: the events, what the model said will come, and the score."""

from __future__ import annotations

from pagelab.lang.declare import NIL, Constants, columns, i8, i16, i32, i64, record, table
from pagelab.linux.state import machine

#: Of mm/vmstat.c: no CPU keeps more than that to itself.
MAX_THRESHOLD = 125


class Capture(Constants):
    """What is known of a capture before it is replayed."""

    #: Events, for a run in CPython: one program serves captures of any length.
    nr_events: int = 0
    #: Whether the capture marks the entry of these functions; without them the replay infers from what follows.
    probe_rmqueue_bulk: bool = False
    probe_free_unref_page_commit: bool = False
    probe_free_pcppages_bulk: bool = False
    probe_zone_set_pageset: bool = False
    probe_online_pages: bool = False
    probe_move_freepages_block: bool = False
    probe_alloc_pages_bulk: bool = False
    probe_free_pages_counted: bool = False
    probe_zone_pcp_update: bool = False
    probe_split_large_buddy: bool = False
    #: Whether it shows each page that goes past the pcplists to the free lists, that is taken from a pcplist by a bulk
    #: allocation or another one, and that compaction takes from the free lists.
    probe_free_one_page: bool = False
    probe_alloc_pages_bulk_page: bool = False
    probe_rmqueue_pcplist_page: bool = False
    probe_isolate_free_page: bool = False
    #: Whether the kernel left out hits of probes: then the trace shows less than happened, nobody knows where.
    hits_left_out: bool = False
    #: Whether a task in the kernel can be scheduled away anywhere.
    preemptible: bool = False
    #: How far a CPU's share of NR_FREE_PAGES can be from what the zone's counter has of it.
    stat_threshold: int = MAX_THRESHOLD
    #: Without that probe: pages that come online together.  A memory block of x86-64 with less than 64 GiB: 128 MiB.
    block_order: int = 15
    #: A power of two above the largest number of pages that one hold of zone->lock moves.
    expected_size: int = 4096
    pending_size: int = 8
    late_size: int = 64


capture = Capture()

# event[i].note
NOTE_NONE = 0
# mm_page_free of a page of which the trace shows that, and when, it is put on a pcplist:
NOTE_COMMIT = 1  # freed by itself
NOTE_LIST = 2  # one of a list
# mm_page_alloc_zone_locked of a page that was first on its free list because compaction had put it there:
NOTE_SHOWN = 3

# cpu_replay[cpu].hold
HOLD_NONE = 0
HOLD_REFILL = 1  # rmqueue_bulk() was entered
HOLD_COMMIT = 2  # a page is being put on a pcplist that is full
HOLD_DRAIN = 3  # the CPU empties its pcplists itself
HOLD_GIVE_BACK = 4  # free_pcppages_bulk() is about to be entered, or was

# score[s]
SCORE_ALLOC = 0  # the page that an allocation got
SCORE_REFILL = 1  # pages taken from the free lists, one by one, in order
SCORE_DRAIN = 2  # pages given back from pcplists to the free lists, in order, with the migratetype
SCORE_FREE = 3  # frees of what the model holds for allocated
SCORE_ISOLATE = 4  # free pages moved when a pageblock is isolated or un-isolated
SCORE_PAGESET = 5  # values of high and batch
SCORE_FALLBACK = 6  # free pages taken over from another migratetype, and how many moved
SCORES = 7

# verdict.reason: why an event cannot be judged
REASON_NONE = 0
REASON_LOST = 1
REASON_DIVERGED = 2
REASON_RECLAIM = 3
REASON_HIGH = 4
REASON_UNMODELLED = 5
REASON_DRAIN = 6
REASON_START = 7
REASON_FAULT = 8
REASON_MOMENT = 9
REASON_BULK = 10
REASON_COMPACTION = 11
REASON_INTERRUPT = 12
REASON_LEFT_OUT = 13
REASONS = 14


class Event:
    """An event of the zone, or of no zone.  ``page`` is relative to the start of the zone."""

    kind: i8 = 0
    cpu: i16 = 0
    pid: i32 = 0
    context: i8 = 0
    order: i8 = 0
    migratetype: i8 = 0
    page: i32 = NIL
    arg: i64 = 0
    note: i8 = NOTE_NONE
    next: i32 = NIL  # the next event of the same CPU


class Expected:
    """What the model did under zone->lock and the trace must show next on this CPU: a ring."""

    kind: i8 = 0
    order: i8 = 0
    migratetype: i8 = 0
    page: i32 = NIL
    value: i64 = 0  # the event's arg, where it matters


class Pending:
    """A page that was taken from the lists; its mm_page_alloc is still to come."""

    pid: i32 = 0
    page: i32 = NIL
    context: i8 = 0
    order: i8 = 0
    migratetype: i8 = 0


class CpuReplay:
    """Where the replay stands on a CPU."""

    pushed: i64 = 0  # expectations so far
    popped: i64 = 0  # of which the trace has shown
    pending: i32 = 0
    hold: i8 = HOLD_NONE  # what waits for zone->lock, with the CPU's own pcp->lock held
    hold_context: i8 = 0
    hold_page: i32 = NIL
    hold_order: i8 = 0
    hold_migratetype: i8 = 0
    hold_high: i32 = 0  # pcp->high and pcp->batch when it began
    hold_batch: i32 = 1
    hold_asked: i64 = NIL  # pages that the kernel asked for or gives back there, as a probe tells
    hold_zone_events: i64 = 0  # verdict.zone_events when it began
    hold_kswapd: bool = False  # verdict.kswapd when it began
    draining: i16 = NIL  # CPU whose pcplists drain_pages_zone() empties from here
    draining_pid: i32 = 0
    draining_context: i8 = 0
    drain_waits: bool = False  # for zone->lock, with the pcp->lock of that CPU held; an interrupt may begin a hold
    locked: i16 = NIL  # CPU whose pcp->lock a drain from here still holds
    direct_page: i32 = NIL  # announced, of an order without pcplists, and freed at once for all that the trace tells
    direct_context: i8 = 0
    direct_zone_events: i64 = 0  # verdict.zone_events when it was announced
    stolen: bool = False  # the free pages of a pageblock have moved, its type may change next
    stolen_type: i8 = 0  # its type before
    stolen_pages: i32 = 0  # base pages that moved
    hold_bulk: i16 = NIL  # the bulk allocation that a refill is for
    give_back: i32 = 0  # base pages that are still to be given back; NIL: not known yet
    give_back_from: i8 = 0  # the pcplist to begin with
    give_back_batch: i32 = 1
    give_back_pid: i32 = 0
    give_back_context: i8 = 0
    give_back_decays: bool = False  # because pcp->high decays, not because of a page that was freed
    give_back_doubt: bool = False  # how many is what the trace shows: the model would allow other numbers, too
    in_batches: bool = False  # each batch in a hold of its own
    late_first: i32 = 0  # number of the oldest in late[cpu]
    late_end: i32 = 0  # number after that of the newest
    last: i32 = NIL  # newest event of this CPU
    before: i32 = NIL  # the one before that
    directs: i8 = 0  # pages in direct[cpu]


class Direct:
    """A page of an order without pcplists that was announced and is not yet on the free lists; one a context."""

    page: i32 = NIL
    order: i8 = 0
    zone_events: i64 = 0  # verdict.zone_events when it was announced


class Late:
    """A page that went past the pcplists, at a moment that the trace does not show: a ring by CPU, oldest first."""

    page: i32 = NIL
    event: i32 = NIL  # its mm_page_free
    order: i8 = 0
    context: i8 = 0
    zone_events: i64 = 0  # verdict.zone_events when it was announced
    freeing: bool = False  # the list that it is in is being freed, not announced any more


class LeftOver:
    """What somebody has still to give back of a CPU's pcplists while another does the same there."""

    pages: i32 = 0  # base pages; 0: an empty slot
    start: i8 = 0  # the pcplist to begin with
    batch: i32 = 1
    decays: bool = False
    doubt: bool = False
    pid: i32 = 0
    context: i8 = 0


class Bulk:
    """A bulk allocation that is under way."""

    event: i32 = NIL  # its entry
    left: i32 = 0  # pages that it has still to take
    above: i8 = 0  # whether the zone was above its watermark when it began


class Taken:
    """Of the free list of an order, for MOVABLE: the last page that a hold of zone->lock takes from it."""

    page: i32 = NIL


class LastFree:
    """The newest mm_page_free of a page."""

    event: i32 = NIL
    doubt: bool = False  # it gets to the free lists at a moment that the trace leaves open, and has not shown up since


class Score:
    """How many events of a sort there are, and how many of them the model predicted."""

    total: i64 = 0
    exact: i64 = 0
    unknown: i64 = 0


class Reason:
    """How many events could not be judged, by reason, and at which event that began."""

    count: i64 = 0
    first: i64 = NIL


class Verdict:
    """Where the replay is, and what went wrong first."""

    nr_events: i64 = 0
    current: i64 = NIL  # the event that is being followed
    reason: i8 = REASON_NONE
    event: i64 = NIL  # the first divergence
    predicted_kind: i8 = 0
    predicted_page: i32 = NIL
    predicted_order: i8 = NIL
    predicted_migratetype: i8 = NIL
    predicted_value: i64 = 0
    diverged: i64 = 0
    zone_events: i64 = 0  # pages that came from or got to the free lists
    doubts: i64 = 0  # pages in doubt
    boosted: bool = False  # whether a fallback may have boosted the watermarks
    compacted: bool = False  # whether compaction was at work: then free lists may have been put in another order
    kswapd: bool = False  # whether kswapd is awake: then it may have lowered the limit of the pcplists
    maybe_below: bool = False  # whether ZONE_BELOW_HIGH may be set


class HighDoubt:
    """What pcp->high and alloc_factor of a CPU can be, where the trace does not tell."""

    low: i32 = NIL  # of pcp->high; NIL: there is no doubt
    top: i32 = 0
    factor_top: i8 = 0  # of alloc_factor; the model has the lowest
    fits: i32 = 0  # a pcp->high that explains what the kernel does now,
    factor: i8 = 0  # with this alloc_factor
    flags: i8 = 0  # and these flags of the zone
    factor_after: i8 = 0  # what alloc_factor would be after it
    new_low: i32 = NIL  # what they can be after that
    new_top: i32 = 0
    new_factor_low: i8 = 0
    new_factor_top: i8 = 0
    agreed: bool = True  # whether all of them explain it


class Hotplug:
    """Memory that is coming online or going offline."""

    start: i32 = NIL
    nr_pages: i64 = 0
    online: bool = False  # within online_pages()
    offline: bool = False  # within offline_pages()
    settled: bool = True  # whether high and batch follow the zone's number of pages
    disabled: bool = False  # between zone_pcp_disable() and zone_pcp_enable()
    enabling: bool = False
    old_high: i32 = 0  # what __zone_set_pageset_high_and_batch() last wrote over
    old_high_max: i32 = 0
    old_batch: i32 = 1
    set_at: i32 = NIL  # the event that high and batch are being set; NIL: whoever does that has gone on since
    looked: i32 = 0  # the first event that was not looked at yet for that
    moved: i64 = NIL  # base pages that the model's last move_freepages_block() moved


class Contig:
    """A range that a task isolates, to allocate it or to take it offline."""

    pid: i32 = 0
    start: i32 = NIL
    end: i64 = 0  # 0: an empty slot
    ended: bool = False  # whether somebody else has given back a pageblock of it
    next: i64 = NIL  # the page that it takes off the free lists next, once all of the range is free
    split_page: i32 = NIL  # a free page that it is about to split
    split_order: i8 = 0
    split_offset: i64 = 0


event = columns("event", Event, lambda: capture.nr_events)
expected = table("expected", Expected, lambda: machine.nr_cpus, lambda: capture.expected_size)
pending = table("pending", Pending, lambda: machine.nr_cpus, lambda: capture.pending_size)
cpu_replay = table("cpu_replay", CpuReplay, lambda: machine.nr_cpus)
direct = table("direct", Direct, lambda: machine.nr_cpus, lambda: 4)
late = table("late", Late, lambda: machine.nr_cpus, lambda: capture.late_size)
left_over = table("left_over", LeftOver, lambda: machine.nr_cpus, lambda: capture.pending_size)
bulk = table("bulk", Bulk, lambda: capture.pending_size)
taken = table("taken", Taken, lambda: machine.max_order)
last_free = table("last_free", LastFree, lambda: machine.nr_pages)
score = table("score", Score, lambda: SCORES)
reason = table("reason", Reason, lambda: REASONS)
high_doubt = table("high_doubt", HighDoubt, lambda: machine.nr_cpus)
verdict = record("verdict", Verdict)
hotplug = record("hotplug", Hotplug)
contig = table("contig", Contig, lambda: capture.pending_size)
