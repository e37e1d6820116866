# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong in the last state of a counterexample of the kernel model, property by property, with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pagelab.check.ghost import block_ghost
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_TYPES
from pagelab.linux.state import BUDDY, OFFLINE, ON_PCPLIST, free_area, machine, mem_map, pageblock, pcp, pcp_list, zone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.lang.stepped import System
    from pagelab.report.trail import Trail


class View:
    """The tables of one state: ``view.get(mem_map, "next", page)``."""

    def __init__(self, system: System, state: npt.NDArray[np.uint8]) -> None:
        self.system, self.state = system, state

    def get(self, table: object, field: str, *index: int) -> int:
        """A value; the index of a record is empty."""
        rows: Any = self.system.rows(table, self.state)
        return int(rows[index][field])

    def chain(self, head: int) -> Iterator[int]:
        """The pages of a list; ends where it comes back to a page, or leaves the zone."""
        seen: set[int] = set()
        page = head
        while 0 <= page < machine.nr_pages and page not in seen:
            seen.add(page)
            yield page
            page = self.get(mem_map, "next", page)

    def listed(self) -> Iterator[tuple[int, int]]:
        """CPU and page of all pages that pcplists lead to."""
        for owner in range(machine.nr_cpus):
            for pindex in range(machine.nr_pcp_lists):
                for page in self.chain(self.get(pcp_list, "head", owner, pindex)):
                    yield owner, page

    def free_lists(self) -> Iterator[tuple[int, int, int]]:
        """Order, migratetype and first page of all that the free lists lead to."""
        for order in range(machine.max_order):
            for migratetype in range(MIGRATE_TYPES):
                for page in self.chain(self.get(free_area, "head", order, migratetype)):
                    yield order, migratetype, page

    def isolated_blocks(self) -> list[int]:
        """Pageblocks that are isolated and online."""
        return [
            block
            for block in range(machine.nr_pageblocks)
            if self.get(pageblock, "migratetype", block) == MIGRATE_ISOLATE
            and self.get(mem_map, "state", block << machine.pageblock_order) != OFFLINE
        ]


def _stray(view: View) -> str:
    stray = [
        (owner, page)
        for owner, page in view.listed()
        if view.get(block_ghost, "isolated", page >> machine.pageblock_order)
    ]
    if len(stray) == 1:
        owner, page = stray[0]
        return f"page {page} is stray: on a pcplist of CPU {owner}, in an isolated pageblock"
    pages = ", ".join(f"{page} (CPU {owner})" for owner, page in stray)
    return f"pages {pages} are stray: on pcplists, in isolated pageblocks" if stray else ""


def _disabled_not_empty(view: View) -> str:
    left = [f"CPU {owner} holds page {page}" for owner, page in view.listed()]
    return f"the pcplists are said to be disabled, and {', '.join(left)}" if left else ""


def _free_pages_counted(view: View) -> str:
    listed = sum(1 << order for order, migratetype, _ in view.free_lists() if migratetype != MIGRATE_ISOLATE)
    return f"NR_FREE_PAGES is {view.get(zone, 'free_pages')}, and the lists hold {listed}"


def _pcp_counted(view: View) -> str:
    wrong = []
    for owner in range(machine.nr_cpus):
        count, listed = view.get(pcp, "count", owner), sum(1 for one, _ in view.listed() if one == owner)
        if count != listed:
            wrong.append(f"pcp[{owner}].count is {count}, and its lists hold {listed}")
    return ", ".join(wrong)


def _isolated_counted(view: View) -> str:
    blocks = view.isolated_blocks()
    named = f" ({', '.join(map(str, blocks))})" if blocks else ""
    counted = view.get(zone, "nr_isolate_pageblock")
    return f"nr_isolate_pageblock is {counted}, and {len(blocks)} of the pageblocks are isolated{named}"


def _restored(view: View) -> str:
    high, batch = view.get(zone, "pageset_high"), view.get(zone, "pageset_batch")
    wrong = [
        f"pcp[{owner}] has high {view.get(pcp, 'high', owner)} and batch {view.get(pcp, 'batch', owner)}"
        for owner in range(machine.nr_cpus)
        if (view.get(pcp, "high", owner), view.get(pcp, "batch", owner)) != (high, batch)
    ]
    return f"{', '.join(wrong)}, and the zone's are {high} and {batch}" if wrong else ""


def _on_one_list(view: View) -> str:
    free = [page for _, _, page in view.free_lists()]
    wrong = _on_one(free, view, BUDDY, "free list")
    wrong = wrong or _on_one([page for _, page in view.listed()], view, ON_PCPLIST, "pcplist")
    return wrong or "a list is not linked as it should be"


def _on_one(listed: list[int], view: View, state: int, what: str) -> str:
    for page in range(machine.nr_pages):
        times = listed.count(page)
        if times > 1:
            return f"page {page} is on {times} {what}s"
        if times != (view.get(mem_map, "state", page) == state):
            return f"page {page} is on {'a' if times else 'no'} {what}, and its state says otherwise"
    return ""


ENDS: Mapping[str, Callable[[View], str]] = {
    "stray": _stray,
    "P1": _on_one_list,
    "P2": _free_pages_counted,
    "P3": _pcp_counted,
    "P6": _disabled_not_empty,
    "P7": _isolated_counted,
    "P9": _restored,
}


def conclusion(trail: Trail, name: str) -> str:
    """A clause about the last state; "" where nothing better than the property's own words is known."""
    if trail.kind != "invariant" or name not in ENDS:
        return ""
    return ENDS[name](View(trail.system, trail.states[-1]))
