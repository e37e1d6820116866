# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a capture as columns: one numpy array a field, one row an event, in the order of the trace.

The kinds are the kmem tracepoints of include/trace/events/kmem.h and the probes that ``pagelab record`` places on
functions of mm/.  A reader fills the columns; ``replay`` consumes them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Kind(enum.IntEnum):
    """What happened.  The comment beside each kind says which columns it fills besides time, cpu, pid and context."""

    LOST = 0  # arg: events the ring buffer of this CPU dropped here, -1 when the tracer did not say how many
    MM_PAGE_ALLOC = 1  # pfn (-1: failed), order, migratetype (requested), arg: gfp flags (-1: text trace, not decoded)
    MM_PAGE_ALLOC_ZONE_LOCKED = 2  # pfn, order, migratetype, arg: percpu_refill
    MM_PAGE_FREE = 3  # pfn, order
    MM_PAGE_FREE_BATCHED = 4  # pfn
    MM_PAGE_PCPU_DRAIN = 5  # pfn, order, migratetype
    MM_PAGE_ALLOC_EXTFRAG = 6  # pfn, order, migratetype, arg: fallback_order | fallback_migratetype << 8 | change << 16
    TEST_PAGES_ISOLATED = 7  # pfn: start, arg: end_pfn, arg2: fin_pfn
    # Probes.  zone is the address of struct zone as the kernel printed it (arg2), 0 where the function has none.
    ZONE_PCP_DISABLE = 16  # entry; arg2: zone
    ZONE_PCP_DISABLE_DONE = 17  # return
    ZONE_PCP_ENABLE = 18  # entry; arg2: zone
    ZONE_PCP_UPDATE = 19  # entry; arg: cpu_online, arg2: zone
    DRAIN_ALL_PAGES = 20  # entry of __drain_all_pages; arg: force, arg2: zone (0: all)
    DRAIN_PAGES_ZONE = 21  # entry of drain_pages_zone; arg: cpu, arg2: zone
    FREE_PCPPAGES_BULK = 22  # entry, under pcp->lock; arg: count, arg2: zone, migratetype: pindex
    RMQUEUE_BULK = 23  # entry; order, migratetype, arg: count, arg2: zone
    MOVE_FREEPAGES_BLOCK = 24  # entry, under zone->lock; pfn, migratetype, arg2: zone
    MOVE_FREEPAGES_BLOCK_DONE = 25  # return, under zone->lock; arg: pages moved
    START_ISOLATE_PAGE_RANGE = 26  # entry; pfn: start, arg: end pfn, migratetype
    START_ISOLATE_PAGE_RANGE_DONE = 27  # return; arg: errno (0 or negative)
    UNDO_ISOLATE_PAGE_RANGE = 28  # entry; pfn: start, arg: end pfn, migratetype
    OFFLINE_ISOLATED_PAGES = 29  # entry of __offline_isolated_pages; pfn: start, arg: end pfn
    OFFLINE_PAGES = 30  # entry; pfn: start, arg: number of pages, arg2: zone
    OFFLINE_PAGES_DONE = 31  # return; arg: errno
    ONLINE_PAGES = 32  # entry; pfn: start, arg: number of pages, arg2: zone
    ONLINE_PAGES_DONE = 33  # return; arg: errno
    DRAIN_LOCAL_PAGES = 34  # entry; arg2: zone (0: all)
    ZONE_SET_PAGESET = 35  # entry of __zone_set_pageset_high_and_batch; pfn: high, arg: batch, arg2: zone
    UNSET_MIGRATETYPE_ISOLATE = 36  # entry, before zone->lock; pfn, migratetype
    FREE_UNREF_PAGE_COMMIT = 37  # entry, under pcp->lock; pfn, order, migratetype (of the pcplist), arg2: zone
    #: __free_one_page called past the pcplists, under zone->lock; pfn, order, migratetype, arg: fpi_flags, arg2: zone
    FREE_ONE_PAGE = 38
    ALLOC_PAGES_BULK = 39  # entry of __alloc_pages_bulk; migratetype, arg: pages wanted, arg2: gfp flags
    WAKE_KSWAPD = 40  # mm_vmscan_kswapd_wake
    KSWAPD_SLEEP = 41  # mm_vmscan_kswapd_sleep
    COMPACTION = 42  # any other compaction event; pfn, arg: pages taken, if it is about free pages taken silently
    ALLOC_PAGES_BULK_DONE = 43  # return; arg: pages that the caller has now
    FREE_PAGES_COUNTED = 44  # free pages are counted, under zone->lock; arg: how many more, at least 2, arg2: zone
    ALLOC_PAGES_BULK_PAGE = 45  # __alloc_pages_bulk takes a page from a pcplist, under pcp->lock; pfn
    ISOLATE_FREE_PAGE = 46  # __isolate_free_page called by compaction, under zone->lock; pfn, order
    ISOLATE_FREE_PAGE_DONE = 47  # return, under zone->lock; arg: pages that it took, or 0
    RMQUEUE_PCPLIST_PAGE = 48  # an allocation takes a page from a pcplist, under pcp->lock; pfn
    # Of kernels since v6.10.
    SPLIT_LARGE_BUDDY = 51  # entry, under zone->lock: a page goes to the free lists past the pcplists; pfn, order
    DECAY_PCP_HIGH = 52  # entry, by the vmstat worker of this CPU; arg2: zone
    MOVE_FREEPAGES_BLOCK_ISOLATE = (
        53  # entry, under zone->lock; pfn, migratetype or arg: whether to isolate, arg2: zone
    )
    COMPACTION_BEGIN = 54  # mm_compaction_begin: a zone is being compacted; pfn: of the zone
    ADJUST_MANAGED_PAGE_COUNT = 55  # entry; pfn: a page of the zone, arg: how many more pages it has, or fewer
    SPLIT_FREE_PAGE = 56  # entry, before zone->lock; pfn, order, arg: where to split it, counted from pfn
    SPLIT_FREE_PAGE_PART = 57  # __free_one_page called by it, under zone->lock; pfn, order, migratetype


CONTEXT_HARDIRQ = 1
CONTEXT_SOFTIRQ = 2
CONTEXT_NMI = 4
CONTEXT_IRQS_OFF = 8
#: bits 4..7 of ``context``: preempt_count as the trace shows it, at most 15.
CONTEXT_PREEMPT_SHIFT = 4


@dataclass(frozen=True, slots=True)
class Events:
    """Columns of equal length, sorted as the trace orders them (by timestamp, then by CPU buffer).

    ``time`` is in units of the trace clock (ns, TSC ticks or a counter), ``pfn`` is absolute, ``order`` and
    ``migratetype`` are -1 where a kind has none, ``kind`` holds a :class:`Kind`.
    """

    time: npt.NDArray[np.int64]
    cpu: npt.NDArray[np.int16]
    pid: npt.NDArray[np.int32]
    context: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    order: npt.NDArray[np.int8]
    migratetype: npt.NDArray[np.int8]
    pfn: npt.NDArray[np.int64]
    arg: npt.NDArray[np.int64]
    arg2: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_]) -> Events:
        return Events(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})
