# SPDX-License-Identifier: GPL-2.0-or-later
"""What is counted when recorded work is done under another design, and which page it has for a recorded one."""

from __future__ import annotations

from pagelab.lang.declare import NIL, i8, i16, i32, i64, record, table
from pagelab.linux.state import machine

#: Bins of holds[]: bin b counts holds of zone->lock in which 2**b to 2**(b + 1) - 1 base pages were freed.
BINS = 24
#: Room for pages that a migration has allocated and not used yet: a power of two.
TARGETS = 1 << 12


class Held:
    """A base page of the recorded kernel, or of the model: the one that stands for it on the other side, if in use."""

    page: i32 = NIL  # recorded page -> the model's
    recorded: i32 = NIL  # the model's page -> the recorded one


class Holds:
    """How often so many pages were freed from pcplists in one hold of zone->lock."""

    count: i64 = 0


class Counts:
    """What happened."""

    allocations: i64 = 0
    allocations_failed: i64 = 0  # the zone had no such page under this design
    frees: i64 = 0
    frees_unmatched: i64 = 0  # of pages whose allocation the trace does not show, or that failed here
    zone_lock: i64 = 0  # how often zone->lock was taken
    pcp_lock: i64 = 0
    drains: i64 = 0  # times that a CPU's pcplists were emptied for isolation
    refilled: i64 = 0  # pages that went from the free lists to pcplists, or past them
    given_back: i64 = 0  # pages that went from pcplists to the free lists
    hold: i64 = 0  # zone_lock when the last page was freed under it
    hold_pages: i64 = 0  # pages freed in that hold
    most_in_hold: i64 = 0
    on_pcplists: i64 = 0  # pages of ranges that were on pcplists when offlining began
    stray: i64 = 0  # pages that were put on a pcplist while their pageblock was isolated
    stray_left: i64 = 0  # pages of an isolated range that were on pcplists after all that was to empty them
    tests_failed: i64 = 0  # times that an isolated range was looked at and was not free
    migrated: i64 = 0
    onlined: i64 = 0  # ranges of memory
    offlined: i64 = 0
    offline_failed: i64 = 0  # could not be taken offline by the time the recorded one was
    offline_given_up: i64 = 0  # the recorded kernel gave up, for reasons that the trace does not show


class Target:
    """A page that the recorded kernel allocated to migrate another one to: a ring."""

    page: i32 = NIL
    order: i8 = 0


class Offlining:
    """The range that goes offline."""

    pid: i32 = NIL  # task that does it, or brings memory online
    start: i32 = NIL
    targets: i32 = 0  # pages allocated to migrate to, so far
    sources: i32 = 0  # of which so many have taken the place of another
    nr_pages: i32 = 0
    isolated: i16 = 0  # whether isolation succeeded
    recorded: i16 = 0  # whether the recorded kernel succeeded


held = table("held", Held, lambda: machine.nr_pages)
holds = table("holds", Holds, lambda: BINS)
counts = record("counts", Counts)
targets = table("targets", Target, lambda: TARGETS)
offlining = record("offlining", Offlining)
#: What is counted, by name.
COUNTED = frozenset(Counts.__annotations__)
