# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the files of a capture speak of the same machine?"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from pagelab.capture.directory import Capture
from pagelab.capture.events import Events, Kind
from pagelab.capture.zoneinfo import Snapshot
from pagelab.errors import BadInput

_HINT = "The files of a capture have to come from one boot of one machine."

#: Kinds whose pfn is that of a page the buddy allocator has.
_PAGE_KINDS = (
    Kind.MM_PAGE_ALLOC,
    Kind.MM_PAGE_ALLOC_ZONE_LOCKED,
    Kind.MM_PAGE_FREE,
    Kind.MM_PAGE_FREE_BATCHED,
    Kind.MM_PAGE_PCPU_DRAIN,
    Kind.MM_PAGE_ALLOC_EXTFRAG,
)


def check_consistent(capture: Capture) -> None:
    """Every page of the trace lies in a zone of zoneinfo, every CPU has pcplists there, the snapshots agree.

    Memory that was onlined in between counts if the trace has the probe online_pages.

    :raises BadInput: a file is of another machine than the others; the sentence names it.
    """
    for snapshot in capture.zoneinfo:
        _check_zones(snapshot)
    for before, after in itertools.pairwise(capture.zoneinfo):
        _check_same_machine(before, after)
    _check_manifest(capture)
    _check_pagetypeinfo(capture)
    _check_cpus(capture)
    _check_pfns(capture)
    _check_hotplug(capture)
    _check_uname(capture)


def _check_zones(snapshot: Snapshot) -> None:
    if not any(zone.present for zone in snapshot.zones):
        raise BadInput(f"{snapshot.path}: no zone has any page", _HINT)
    for zone in snapshot.zones:
        if not zone.managed <= zone.present <= zone.spanned:
            raise BadInput(
                f"{snapshot.path}: {zone} has {zone.managed} managed, {zone.present} present and {zone.spanned} spanned"
                " pages, which no zone can have",
                _HINT,
            )


def _check_same_machine(before: Snapshot, after: Snapshot) -> None:
    names = [[str(zone) for zone in snapshot.zones] for snapshot in (before, after)]
    if names[0] != names[1]:
        raise BadInput(f"{after.path}: its zones are not those of {before.path.name}", _HINT)
    for old, new in zip(before.zones, after.zones, strict=True):
        # Memory that is plugged and unplugged can move ZONE_MOVABLE as a whole, but not the zones of the boot.
        apart = old.end_pfn <= new.start_pfn or new.end_pfn <= old.start_pfn
        if old.present and new.present and apart and old.name not in ("Movable", "Device"):
            raise BadInput(
                f"{after.path}: {new} spans the pfns {new.start_pfn} to {new.end_pfn}, in {before.path.name} it spans"
                f" {old.start_pfn} to {old.end_pfn}",
                _HINT,
            )


def _check_manifest(capture: Capture) -> None:
    """What ``record`` notes of the zone that the memory was onlined to."""
    guest = capture.manifest.get("guest", {})
    if not isinstance(guest, dict) or guest.get("zone") != "movable":
        return
    if not any(zone.name == "Movable" and zone.present for snapshot in capture.zoneinfo for zone in snapshot.zones):
        raise BadInput(
            f"{capture.zoneinfo[-1].path}: its zone Movable is empty, but capture.toml says that memory was onlined"
            " there",
            _HINT,
        )


def _check_pagetypeinfo(capture: Capture) -> None:
    zones = {(zone.node, zone.name) for snapshot in capture.zoneinfo for zone in snapshot.zones}
    for info in capture.pagetypeinfo:
        for node, name in info.free:
            if (node, name) not in zones:
                raise BadInput(f"{info.path}: Node {node}, zone {name} is no zone of zoneinfo", _HINT)


def _check_cpus(capture: Capture) -> None:
    path = capture.zoneinfo[0].path
    shown = {pageset.cpu for snapshot in capture.zoneinfo for zone in snapshot.zones for pageset in zone.pagesets}
    for cpu in np.unique(capture.events.cpu).tolist():
        if cpu >= 0 and cpu not in shown:
            raise BadInput(f"{path}: shows no pcplists of CPU {cpu}, which has events in {capture.trace.name}", _HINT)
    if capture.all_cpus and max(shown) >= capture.cpus:
        raise BadInput(
            f"{path}: shows the pcplists of CPU {max(shown)}, but {capture.trace.name} was recorded on"
            f" {capture.cpus} CPUs",
            _HINT,
        )


def _known_ranges(capture: Capture) -> npt.NDArray[np.int64]:
    """Disjoint ranges of pfns [start, end) that zones span at some time, ascending."""
    events = capture.events
    ranges = [
        (zone.start_pfn, zone.end_pfn) for snapshot in capture.zoneinfo for zone in snapshot.zones if zone.present
    ]
    rows = np.flatnonzero(events.kind == Kind.ONLINE_PAGES)
    ranges += [
        (start, start + pages)
        for start, pages in zip(events.pfn[rows].tolist(), events.arg[rows].tolist(), strict=True)
        if start >= 0 and pages > 0
    ]
    merged: list[list[int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return np.array(merged, np.int64).reshape(len(merged), 2)


def _check_pfns(capture: Capture) -> None:
    ranges = _known_ranges(capture)
    events = capture.events
    page_kind = np.zeros(256, np.bool_)
    page_kind[list(_PAGE_KINDS)] = True
    step = 1 << 20  # rows at a time: a capture may have 20 million
    for first in range(0, len(events), step):
        pfn = events.pfn[first : first + step]
        wanted = page_kind[events.kind[first : first + step]] & (pfn >= 0)
        index = np.searchsorted(ranges[:, 0], pfn, side="right") - 1
        bad = wanted & ((index < 0) | (pfn >= ranges[index, 1]))
        if bad.any():
            row = first + int(np.argmax(bad))
            kind = Kind(int(events.kind[row])).name.lower()
            raise BadInput(
                f"{capture.zoneinfo[0].path}: no zone has the pfn {int(events.pfn[row])}, which is in event {row}"
                f" ({kind}) of {capture.trace.name}",
                _HINT,
            )


def _hotplugged(events: Events) -> list[tuple[int, int]]:
    """(time, pages): what went online (positive) and offline (negative) with success, by the probes."""
    started: dict[int, tuple[int, int]] = {}  # by pid: kind, pages
    changes = []
    kinds = (Kind.ONLINE_PAGES, Kind.ONLINE_PAGES_DONE, Kind.OFFLINE_PAGES, Kind.OFFLINE_PAGES_DONE)
    rows = np.flatnonzero(np.isin(events.kind, kinds))
    columns = (events.time[rows], events.pid[rows], events.kind[rows], events.arg[rows])
    for time, pid, kind, arg in zip(*(column.tolist() for column in columns), strict=True):
        if kind in (Kind.ONLINE_PAGES, Kind.OFFLINE_PAGES):
            started[pid] = kind, arg
        elif pid in started:
            which, pages = started.pop(pid)
            if arg == 0:
                changes.append((time, pages if which == Kind.ONLINE_PAGES else -pages))
    return changes


def _check_hotplug(capture: Capture) -> None:
    """From one snapshot to the next, as many pages come and go as the trace has onlined and offlined between them."""
    times = capture.snapshot_times
    if capture.lost or not times:
        return  # then it is not known what happened, or when the snapshots were taken
    changes = _hotplugged(capture.events)
    if not changes:
        return
    offlined = bool((capture.events.kind == Kind.OFFLINE_PAGES).any())
    dated: list[tuple[int, int, Snapshot]] = []
    for snapshot in capture.zoneinfo:
        name = snapshot.path.stem
        if name in times:
            dated.append((*times[name], snapshot))
        elif not dated:
            dated.append((-1, -1, snapshot))  # taken before tracing was switched on
    dated.sort(key=lambda item: item[:2])
    for (_, end, before), (start, last, after) in itertools.pairwise(dated):
        if any(start <= time <= last for time, _ in changes):
            continue  # something changed while the snapshot was read
        expected = sum(pages for time, pages in changes if end < time < start)
        found = sum(zone.present for zone in after.zones) - sum(zone.present for zone in before.zones)
        if found < expected and not offlined:
            continue  # there was no probe for it
        if found != expected:
            raise BadInput(
                f"{after.path}: has {found} pages more than {before.path.name}, but between them {capture.trace.name}"
                f" onlines {expected} (offlined ones are subtracted)",
                _HINT,
            )


def _check_uname(capture: Capture) -> None:
    words = capture.trace_uname.split()
    if capture.release and len(words) >= 3 and capture.release not in words:
        raise BadInput(
            f"{capture.root / 'uname.txt'}: names the kernel {capture.release}, but {capture.trace.name} was recorded"
            f" on {words[2]}",
            _HINT,
        )
