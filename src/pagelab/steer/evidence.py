# SPDX-License-Identifier: GPL-2.0-or-later
"""What the trace of a steered run says about isolation: ranges that are tested, drains, stray pages that come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pagelab.capture.directory import Capture

#: More lines than this nobody reads; drains in a row are counted in one.
MOST_LINES = 40


@dataclass(frozen=True, slots=True)
class Event:
    """One line of evidence.

    :param kind: "isolate", "drain all", "test", "drained isolated", "offlined", "end isolation" or "offline ends".
    :param pfn: the page, or the first one of the range; -1 if it is about none.
    :param good: of a test whether it succeeded; of the end of an operation likewise.
    """

    kind: str
    cpu: int
    words: str
    pfn: int = -1
    good: bool = True


def evidence_of(directory: Path, page_frames: Mapping[int, int] | None = None) -> list[Event]:
    """The events of a capture from the first isolation on.

    :param page_frames: of the scenario's pages, to name them.
    :raises BadInput: if it is no capture.
    """
    from pagelab.capture.directory import read_capture

    return events_of(read_capture(directory), page_frames or {})


def events_of(capture: Capture, page_frames: Mapping[int, int]) -> list[Event]:
    """The same, of a capture that was read."""
    from pagelab.capture.events import Kind
    from pagelab.linux.migratetype import MIGRATE_CMA, MIGRATE_ISOLATE

    wanted = {
        Kind.TEST_PAGES_ISOLATED,
        Kind.MM_PAGE_PCPU_DRAIN,
        Kind.DRAIN_ALL_PAGES,
        Kind.START_ISOLATE_PAGE_RANGE,
        Kind.UNDO_ISOLATE_PAGE_RANGE,
        Kind.OFFLINE_ISOLATED_PAGES,
        Kind.OFFLINE_PAGES_DONE,
    }
    # Without CONFIG_CMA it has the number that MIGRATE_CMA has with it.
    isolate = MIGRATE_ISOLATE if capture.config.get("CONFIG_CMA") == "y" else MIGRATE_CMA
    pages = {frame: page for page, frame in page_frames.items()}
    events, found = capture.events, []
    for row in range(len(events)):
        kind = events.kind[row]
        if kind not in wanted:
            continue
        migratetype = int(events.migratetype[row])
        if kind == Kind.MM_PAGE_PCPU_DRAIN and migratetype != isolate:
            continue
        numbers = int(events.pfn[row]), int(events.arg[row]), int(events.arg2[row])
        event = _event(Kind(kind), int(events.cpu[row]), numbers, migratetype)
        if event.kind == "drained isolated" and event.pfn in pages:
            event = replace(event, words=f"{event.words}, page {pages[event.pfn]} of the scenario")
        found.append(event)
    first = next((i for i, event in enumerate(found) if event.kind == "isolate"), 0)
    return found[first:]


def _event(kind: int, cpu: int, numbers: tuple[int, int, int], migratetype: int) -> Event:
    from pagelab.capture.events import Kind

    pfn, arg, arg2 = numbers
    if kind == Kind.TEST_PAGES_ISOLATED:
        good = arg2 >= arg
        said = "success" if good else "fail"
        words = f"test_pages_isolated: start_pfn={pfn:#x} end_pfn={arg:#x} fin_pfn={arg2:#x} ret={said}"
        return Event("test", cpu, words, pfn, good)
    if kind == Kind.MM_PAGE_PCPU_DRAIN:
        words = f"mm_page_pcpu_drain: pfn={pfn:#x} migratetype={migratetype} (ISOLATE)"
        return Event("drained isolated", cpu, words, pfn)
    if kind == Kind.DRAIN_ALL_PAGES:
        return Event("drain all", cpu, "drain_all_pages()")
    if kind == Kind.START_ISOLATE_PAGE_RANGE:
        return Event("isolate", cpu, f"start_isolate_page_range({pfn:#x}, {arg:#x})", pfn)
    if kind == Kind.UNDO_ISOLATE_PAGE_RANGE:
        return Event("end isolation", cpu, f"undo_isolate_page_range({pfn:#x}, {arg:#x})", pfn)
    if kind == Kind.OFFLINE_ISOLATED_PAGES:
        return Event("offlined", cpu, f"__offline_isolated_pages({pfn:#x}, {arg:#x})", pfn)
    return Event("offline ends", cpu, f"offline_pages() returns {arg}", good=arg == 0)


def lines(events: Sequence[Event]) -> list[str]:
    """For people; the same thing many times in a row is one line."""
    found: list[str] = []
    at = 0
    while at < len(events) and len(found) < MOST_LINES:
        event, times = events[at], 1
        while at + times < len(events) and _same(events[at + times], event):
            times += 1
        found.append(f"CPU {event.cpu}  {event.words}" + (f"  ({times} times)" if times > 1 else ""))
        at += times
    if at < len(events):
        found.append(f"and {len(events) - at} more")
    return found


def _same(one: Event, other: Event) -> bool:
    return (one.kind, one.cpu, one.words) == (other.kind, other.cpu, other.words)
