# SPDX-License-Identifier: GPL-2.0-or-later
"""Choose the zone of a capture that can be replayed, and bring its events into the columns of the replay.

A zone that was empty when the trace began is known completely: each page that it ever got shows up in the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pagelab.capture.events import CONTEXT_HARDIRQ, CONTEXT_NMI, CONTEXT_SOFTIRQ, Events, Kind
from pagelab.errors import BadInput
from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.capture.directory import Capture
    from pagelab.capture.zoneinfo import Zone

#: Kinds whose pfn says which zone they belong to.
OF_PAGE = (
    Kind.MM_PAGE_ALLOC,
    Kind.MM_PAGE_ALLOC_ZONE_LOCKED,
    Kind.MM_PAGE_FREE,
    Kind.MM_PAGE_FREE_BATCHED,
    Kind.MM_PAGE_PCPU_DRAIN,
    Kind.MM_PAGE_ALLOC_EXTFRAG,
    Kind.TEST_PAGES_ISOLATED,
    Kind.MOVE_FREEPAGES_BLOCK,
    Kind.START_ISOLATE_PAGE_RANGE,
    Kind.UNDO_ISOLATE_PAGE_RANGE,
    Kind.OFFLINE_ISOLATED_PAGES,
    Kind.OFFLINE_PAGES,
    Kind.ONLINE_PAGES,
    Kind.UNSET_MIGRATETYPE_ISOLATE,
    Kind.FREE_UNREF_PAGE_COMMIT,
    Kind.SPLIT_LARGE_BUDDY,
    Kind.MOVE_FREEPAGES_BLOCK_ISOLATE,
    Kind.FREE_ONE_PAGE,
    Kind.ALLOC_PAGES_BULK_PAGE,
    Kind.RMQUEUE_PCPLIST_PAGE,
    Kind.ISOLATE_FREE_PAGE,
    Kind.ADJUST_MANAGED_PAGE_COUNT,
    Kind.SPLIT_FREE_PAGE,
    Kind.SPLIT_FREE_PAGE_PART,
)
#: Kinds whose arg2 is the address of the zone, or 0 for all zones.
OF_ZONE = (
    Kind.ZONE_PCP_DISABLE,
    Kind.ZONE_PCP_ENABLE,
    Kind.ZONE_PCP_UPDATE,
    Kind.DRAIN_ALL_PAGES,
    Kind.DRAIN_PAGES_ZONE,
    Kind.FREE_PCPPAGES_BULK,
    Kind.RMQUEUE_BULK,
    Kind.ZONE_SET_PAGESET,
    Kind.DRAIN_LOCAL_PAGES,
    Kind.FREE_PAGES_COUNTED,
    Kind.DECAY_PCP_HIGH,
)
#: A return, and the entry that it belongs to, by the same task: it may have moved to another CPU meanwhile.
RETURNS = {
    Kind.MOVE_FREEPAGES_BLOCK_DONE: Kind.MOVE_FREEPAGES_BLOCK,
    Kind.ONLINE_PAGES_DONE: Kind.ONLINE_PAGES,
    Kind.OFFLINE_PAGES_DONE: Kind.OFFLINE_PAGES,
    Kind.ISOLATE_FREE_PAGE_DONE: Kind.ISOLATE_FREE_PAGE,
    Kind.START_ISOLATE_PAGE_RANGE_DONE: Kind.START_ISOLATE_PAGE_RANGE,
}
#: Kinds that concern every zone.
OF_ALL = (Kind.LOST, Kind.WAKE_KSWAPD, Kind.KSWAPD_SLEEP)
#: A bulk allocation, of which neither event says which zone its pages come from.
BULK = (Kind.ALLOC_PAGES_BULK, Kind.ALLOC_PAGES_BULK_DONE)
#: What tells a task and the interrupts upon it apart.
CONTEXT_MASK = CONTEXT_HARDIRQ | CONTEXT_SOFTIRQ | CONTEXT_NMI
#: gfp flags that tell which zones an allocation may use, as x86-64 has numbered them since v3.x.
GFP_DMA, GFP_HIGHMEM, GFP_DMA32, GFP_MOVABLE = 0x01, 0x02, 0x04, 0x08
#: Kinds that of any zone tell that their CPU has gone on.
SHOW_PROGRESS = (Kind.MM_PAGE_ALLOC, Kind.MM_PAGE_FREE, Kind.MM_PAGE_FREE_BATCHED)
#: Kinds that name the zone's address beside a pfn.
NAMES_ZONE = (
    Kind.ONLINE_PAGES,
    Kind.OFFLINE_PAGES,
    Kind.MOVE_FREEPAGES_BLOCK,
    Kind.FREE_UNREF_PAGE_COMMIT,
    Kind.FREE_ONE_PAGE,
)
#: Zones that GFP_USER allocations may use; the watermarks depend on them.
USER_ZONES = ("DMA", "DMA32", "Normal")
#: A zone of more pages than this is no zone (1 PiB).
MAX_PAGES = 1 << 38


@dataclass(frozen=True, slots=True)
class ReplayZone:
    """A zone, what is known of it, and its events.

    ``first``: number of each event in the trace.  ``columns``: arrays for :data:`pagelab.replay.tables.event`.
    ``start_known``: whether the zone was empty when the trace began.  Sizes in pages.
    """

    name: str
    node: int
    start_pfn: int
    nr_pages: int
    nr_cpus: int
    start_known: bool
    others: list[tuple[int, int, bool]]  # managed, high watermark, whether user pages go there
    probes: frozenset[Kind]
    first: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.generic]]

    def __len__(self) -> int:
        return len(self.first)


def _spans(capture: Capture) -> dict[tuple[int, str], tuple[int, int]]:
    """The pfns that each zone spans at any time that a snapshot shows."""
    spans: dict[tuple[int, str], tuple[int, int]] = {}
    for snapshot in capture.zoneinfo:
        for zone in snapshot.zones:
            if zone.spanned and zone.start_pfn >= 0:
                low, high = spans.get((zone.node, zone.name), (zone.start_pfn, zone.end_pfn))
                spans[zone.node, zone.name] = min(low, zone.start_pfn), max(high, zone.end_pfn)
    return spans


def choose_zone(capture: Capture, max_order_pages: int) -> tuple[Zone, int, int, bool]:
    """The zone to replay, its first pfn, its number of pages, and whether it was empty at the start.

    :raises BadInput: if the snapshots do not say where any zone lies.
    """
    if not capture.zoneinfo:
        raise BadInput(
            f"{capture.path}: there is no zoneinfo, so it is not known which pages belong to a zone",
            "copy /proc/zoneinfo to zoneinfo/00-start.txt before, and to zoneinfo/99-end.txt after tracing",
        )
    spans = _spans(capture)
    before = {(z.node, z.name): z for z in capture.zoneinfo[0].zones}
    touched = capture.events.pfn[np.isin(capture.events.kind, (Kind.MM_PAGE_ALLOC, Kind.MM_PAGE_FREE))]
    candidates = []
    for key, (low, high) in spans.items():
        events = int(np.count_nonzero((touched >= low) & (touched < high)))
        empty = key not in before or before[key].managed == 0
        candidates.append((empty and events > 0, events, key, low, high))
    if not candidates:
        raise BadInput(f"{capture.path}: zoneinfo shows no zone with pages", "copy it while memory is online")
    empty, _, key, low, high = max(candidates)
    zone = next(z for s in reversed(capture.zoneinfo) for z in s.zones if (z.node, z.name) == key and z.spanned)
    start = low - low % max_order_pages
    pages = -(-(high - start) // max_order_pages) * max_order_pages
    if not 0 < pages < MAX_PAGES:
        raise BadInput(f"{capture.path}: zoneinfo gives {zone} {pages} pages, which is no size of a zone")
    return zone, start, pages, empty


def prepare_zone(capture: Capture, *, max_order: int, has_cma: bool) -> ReplayZone:
    """Choose a zone and select its events.

    :param max_order: exclusive, as the kernel of the capture has it.
    :param has_cma: whether MIGRATE_CMA is a type of that kernel; without it MIGRATE_ISOLATE is one less.
    :raises BadInput: if the files do not say where the zone lies, or contradict the trace.
    """
    zone, start, pages, empty = choose_zone(capture, 1 << (max_order - 1))
    events = capture.events
    in_zone = (events.pfn >= start) & (events.pfn < start + pages)
    keep = _of_zone(events, in_zone)
    arg = events.arg
    if not (events.kind == Kind.ALLOC_PAGES_BULK_PAGE).any():
        arg, keep = _bulk_allocations(events, keep, zone.name)
    rows = np.flatnonzero(keep)
    columns = _columns(events, rows, in_zone, start)
    columns["arg"] = arg[rows]
    for kind, pfn in ((Kind.START_ISOLATE_PAGE_RANGE, events.arg), (Kind.TEST_PAGES_ISOLATED, events.arg2)):
        of_kind = columns["kind"] == kind
        columns["arg"][of_kind] = pfn[rows[of_kind]] - start  # the end of the range, and where the test ended
    if not has_cma:
        columns["migratetype"][columns["migratetype"] == MIGRATE_CMA] = MIGRATE_ISOLATE
    nr_cpus = max(capture.cpus, int(events.cpu.max(initial=0)) + 1)
    others = [
        (z.managed, z.high, z.name in USER_ZONES)
        for z in capture.zoneinfo[0].zones
        if (z.node, z.name) != (zone.node, zone.name)
    ]
    probes = frozenset(Kind(int(k)) for k in np.unique(capture.events.kind))
    return ReplayZone(zone.name, zone.node, start, pages, nr_cpus, empty, others, probes, rows, columns)


def _columns(
    events: Events, rows: npt.NDArray[np.int64], in_zone: npt.NDArray[np.bool_], start: int
) -> dict[str, npt.NDArray[Any]]:
    """The columns of some rows but ``arg``, one after the other: of a long trace there is no room for two copies."""
    migratetype, order, context = _pcplist_pages(events)
    columns: dict[str, npt.NDArray[Any]] = {
        "kind": events.kind[rows].astype(np.int8),
        "cpu": events.cpu[rows],
        "pid": events.pid[rows],
        "context": context[rows].view(np.int8),
        "order": order[rows],
        "migratetype": migratetype[rows],
        "page": np.full(len(rows), -1, np.int32),
        "note": np.zeros(len(rows), np.int8),
        "next": np.full(len(rows), -1, np.int32),
    }
    of_zone = np.isin(columns["kind"], OF_PAGE) & in_zone[rows]
    columns["page"][of_zone] = events.pfn[rows[of_zone]] - start
    high = columns["kind"] == Kind.ZONE_SET_PAGESET
    columns["page"][high] = np.clip(events.pfn[rows[high]], -1, 2**31 - 1)
    return columns


def _context(events: Events) -> npt.NDArray[np.uint8]:
    """The context of each event.  A probe by breakpoint shows NMI and hardirq on top of that of its function."""
    breakpoint_bits = np.uint8(CONTEXT_NMI | CONTEXT_HARDIRQ)
    by_breakpoint = (events.kind >= Kind.ZONE_PCP_DISABLE) & (events.context & CONTEXT_NMI != 0)
    return np.where(by_breakpoint, events.context & ~breakpoint_bits, events.context)


def _pcplist_pages(
    events: Events,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], npt.NDArray[np.uint8]]:
    """Migratetype, order and context of all events, with those of each page that was taken from a pcplist.

    Of a bulk allocation: as its entry by the same task says.  Otherwise as the next mm_page_alloc of that page says.
    """
    migratetype, order, context = events.migratetype.copy(), events.order.copy(), _context(events)
    rows = np.flatnonzero(np.isin(events.kind, (Kind.ALLOC_PAGES_BULK, Kind.ALLOC_PAGES_BULK_PAGE)))
    rows = rows[np.lexsort((rows, context[rows] & CONTEXT_MASK, events.pid[rows]))]
    entry = np.maximum.accumulate(np.where(events.kind[rows] == Kind.ALLOC_PAGES_BULK, np.arange(len(rows)), 0))
    pages = events.kind[rows] == Kind.ALLOC_PAGES_BULK_PAGE
    migratetype[rows[pages]] = events.migratetype[rows[entry[pages]]]
    order[rows[pages]] = 0
    rows = np.flatnonzero(np.isin(events.kind, (Kind.RMQUEUE_PCPLIST_PAGE, Kind.MM_PAGE_ALLOC)))
    rows = rows[np.lexsort((rows, events.pfn[rows]))]
    taken, logged = rows[:-1], rows[1:]
    pairs = (events.kind[taken] == Kind.RMQUEUE_PCPLIST_PAGE) & (events.kind[logged] == Kind.MM_PAGE_ALLOC)
    pairs &= events.pfn[taken] == events.pfn[logged]
    taken, logged = taken[pairs], logged[pairs]
    migratetype[taken], order[taken] = events.migratetype[logged], events.order[logged]
    context[taken] = events.context[logged]  # that of a probe by breakpoint hides a hardirq
    return migratetype, order, context


def _bulk_allocations(
    events: Events, keep: npt.NDArray[np.bool_], zone: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """``arg`` with the number of pages that each bulk allocation took from a pcplist, and which events to keep.

    A bulk allocation for one page, and one that could not get the first page so, allocates a page in the usual way,
    with the usual events: those are left out.  So are those that cannot have used this zone.
    """
    arg, keep = events.arg, keep.copy()
    some = np.isin(events.kind, BULK)
    if not some.any():
        return arg, keep
    arg = arg.copy()
    pids = np.unique(events.pid[some])
    rows = np.flatnonzero(some | ((events.kind == Kind.MM_PAGE_ALLOC) & np.isin(events.pid, pids)))
    context = _context(events)[rows] & CONTEXT_MASK
    by_task = np.lexsort((rows, context, events.pid[rows]))
    rows, context = rows[by_task], context[by_task]
    entry, back = rows[:-1], rows[1:]
    pairs = (events.kind[entry] == Kind.ALLOC_PAGES_BULK) & (events.kind[back] == Kind.ALLOC_PAGES_BULK_DONE)
    pairs &= (events.pid[entry] == events.pid[back]) & (context[:-1] == context[1:])
    pairs &= (events.arg[entry] > 1) & (events.arg[back] > 0)
    gfp = events.arg2[entry]
    movable_only = GFP_HIGHMEM | GFP_MOVABLE
    if zone == "Movable":
        pairs &= gfp & movable_only == movable_only
    elif zone == "Normal":
        pairs &= gfp & (GFP_DMA | GFP_DMA32) == 0
    arg[entry[pairs]] = events.arg[back[pairs]]
    keep[some] = False
    keep[entry[pairs]] = keep[back[pairs]] = True
    return arg, keep


def _of_zone(events: Events, in_zone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which events concern the zone."""
    kind = events.kind
    keep = np.isin(kind, OF_PAGE) & in_zone
    addresses = np.unique(events.arg2[keep & np.isin(kind, NAMES_ZONE) & (events.arg2 != 0)])
    of_zone = np.flatnonzero(np.isin(kind, OF_ZONE))
    address = events.arg2[of_zone]
    keep[of_zone[np.isin(address, addresses) | (address == 0)]] = True
    for back, entry in RETURNS.items():
        pair = np.flatnonzero((kind == back) | (kind == entry))
        for pid in np.unique(events.pid[pair]):
            of_task = pair[events.pid[pair] == pid]
            follows = keep[of_task[:-1]] & (kind[of_task[:-1]] == entry) & (kind[of_task[1:]] == back)
            keep[of_task[1:][follows]] = True
    keep |= np.isin(kind, (Kind.COMPACTION, Kind.COMPACTION_BEGIN)) & (
        in_zone | (events.pfn < 0)
    )  # text does not say where
    keep[np.isin(kind, OF_ALL) | np.isin(kind, SHOW_PROGRESS)] = True
    return keep
