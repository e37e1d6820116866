# SPDX-License-Identifier: GPL-2.0-or-later
"""Say what the first divergence was: the event, what the model had said, and the model's lists at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import free_area, machine, mem_map, pcp, pcp_list
from pagelab.replay import tables
from pagelab.replay.result import Divergence

if TYPE_CHECKING:
    from pagelab.capture.directory import Capture
    from pagelab.lang.native import Program
    from pagelab.replay.zone import ReplayZone

AROUND = 8
#: Pages of a list that are shown from each end.
SHOWN = 6


def _pfn(zone_events: ReplayZone, page: int) -> str:
    return "no page" if page == NIL else f"pfn {zone_events.start_pfn + page:#x}"


def words_of(zone_events: ReplayZone, row: int) -> str:
    """One event of the zone, in a line."""
    columns = {name: int(array[row]) for name, array in zone_events.columns.items()}
    kind = Kind(columns["kind"])
    text = f"CPU {columns['cpu']} pid {columns['pid']} {kind.name.lower()}"
    if kind == Kind.ZONE_SET_PAGESET:
        return f"{text} high {columns['page']} batch {columns['arg']}"
    if kind == Kind.FREE_PCPPAGES_BULK:
        return f"{text} count {columns['arg']} from pcplist {columns['migratetype']}"
    if columns["page"] != NIL:
        text += f" {_pfn(zone_events, columns['page'])}"
    if columns["order"] >= 0:
        text += f" order {columns['order']}"
    if columns["migratetype"] >= 0:
        text += f" migratetype {columns['migratetype']}"
    return text


def _list(program: Program, zone_events: ReplayZone, head: int, tail: int) -> str:
    """A list from its head to its tail, its middle left out."""
    following = program.table(mem_map)["next"]
    pages: list[str] = []
    page = head
    while page != NIL and len(pages) < 2 * SHOWN:
        pages.append(f"{zone_events.start_pfn + page:x}")
        page = int(following[page])
    if page != NIL:
        pages = [*pages[:SHOWN], "...", f"{zone_events.start_pfn + tail:x}"]
    return " ".join(pages)


def lists_of(program: Program, zone_events: ReplayZone, cpu: int) -> list[str]:
    """The pcplists of a CPU and the free lists, as far as they are not empty."""
    sizes = program.table(pcp)[cpu]
    lines = [f"CPU {cpu}: count {sizes['count']}, high {sizes['high']}, batch {sizes['batch']}"]
    for pindex, row in enumerate(program.table(pcp_list)[cpu]):
        if row["head"] != NIL:
            lines.append(f"  pcplist {pindex}: {_list(program, zone_events, int(row['head']), int(row['tail']))}")
    areas = program.table(free_area)
    for order in range(machine.max_order):
        for migratetype, row in enumerate(areas[order]):
            if row["head"] != NIL and migratetype != MIGRATE_ISOLATE:
                pages = _list(program, zone_events, int(row["head"]), int(row["tail"]))
                lines.append(f"  free list order {order} type {migratetype} ({row['nr_free']}): {pages}")
    return lines


def events_around(capture: Capture, zone_events: ReplayZone, row: int) -> list[str]:
    """An event of the zone, marked, with some before and after it."""
    return [
        f"{'>' if i == row else ' '} {capture.events.time[zone_events.first[i]]} {words_of(zone_events, i)}"
        for i in range(max(row - AROUND, 0), min(row + AROUND, len(zone_events)))
    ]


def explain(program: Program, capture: Capture, zone_events: ReplayZone) -> Divergence | None:
    """The first divergence of a replay that has come to its end, or None."""
    verdict = program.table(tables.verdict)[()]
    row = int(verdict["event"])
    if row < 0:
        return None
    first = int(zone_events.first[row])
    kind = Kind(int(verdict["predicted_kind"]))
    page = int(verdict["predicted_page"])
    if kind == Kind.LOST:
        predicted = "nothing of the kind: the model's CPU has done all it would do"
    elif kind in (Kind.MOVE_FREEPAGES_BLOCK_DONE, Kind.ZONE_SET_PAGESET, Kind.FREE_PCPPAGES_BULK):
        predicted = f"{kind.name.lower()} with {int(verdict['predicted_value'])}"
    elif kind in (Kind.MM_PAGE_FREE, Kind.FREE_UNREF_PAGE_COMMIT):
        predicted = f"that {_pfn(zone_events, page)} is not in use as such a page"
    else:
        predicted = f"{kind.name.lower()} {_pfn(zone_events, page)} order {int(verdict['predicted_order'])}"
        predicted += f" migratetype {int(verdict['predicted_migratetype'])}"
    around = events_around(capture, zone_events, row)
    cpu = int(zone_events.columns["cpu"][row])
    return Divergence(
        event=first,
        time=int(capture.events.time[first]),
        cpu=cpu,
        pid=int(zone_events.columns["pid"][row]),
        kind=Kind(int(zone_events.columns["kind"][row])).name.lower(),
        observed=words_of(zone_events, row),
        predicted=predicted,
        around=around,
        lists=lists_of(program, zone_events, cpu),
    )
