# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a CPU is held at the end of a leg: the function, and which call of it is meant.

The model's zone has a few pageblocks where the kernel's has hundreds, so calls are not counted but told apart by their
page or pageblock where that is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pagelab.lang.declare import NIL
from pagelab.lang.graph import FOLD
from pagelab.lang.stepped_text import FAULTED
from pagelab.steer.plan import At, Stop
from pagelab.steer.seen import pages_of_interest

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.scenario import Scenario
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.graph import Expr
    from pagelab.lang.stepped import System
    from pagelab.steer.points import Point, Points
    from pagelab.steer.search import Leg
    from pagelab.steer.walk import Held

#: Functions whose page stands for its pageblock.
OF_PAGEBLOCKS = frozenset(
    [
        "set_migratetype_isolate",
        "unset_migratetype_isolate",
        "isolate_single_pageblock",
        "move_freepages_block",
        "move_freepages_block_isolate",
        "set_pageblock_migratetype",
    ]
)


def stop_of(system: System, points: Points, scenario: Scenario, held: Held, leg: Leg) -> Stop | None:
    """Where a leg ends; None if its thread ended, or sleeps."""
    arrivals = list(_arrivals(system, points, scenario, held, leg))
    if not arrivals or leg.runs[-1].last is None:
        return None
    at_end = arrivals[-1]
    before = [stop for stops in arrivals[:-1] for stop in stops]
    counted = [_nth(stop, 1 + before.count(stop)) for stop in at_end]
    # The outermost function comes first: what is inside of it may be called more often in the kernel.
    return min(counted, key=lambda stop: (stop.nth > 1, stop.function.startswith("_raw_spin")))


def _nth(stop: Stop, nth: int) -> Stop:
    return Stop(stop.function, stop.at, stop.caller, stop.page, stop.pageblock, nth)


def _arrivals(system: System, points: Points, scenario: Scenario, held: Held, leg: Leg) -> Iterator[list[Stop]]:
    """For each run of a leg that comes to points, the stops that would hold it there."""
    state: npt.NDArray[np.uint8] = np.frombuffer(bytearray(held.state), np.uint8)
    for run in leg.runs:
        before = state.copy()
        stood = None
        for thread in run.steps:
            if run.last is not None and thread == run.last[0] and system.pc(state, thread) == run.last[1]:
                before, stood = state.copy(), system.node(state, thread)
            if system.step(state, thread) >= FAULTED:
                break
        if run.last is None or stood is None:
            continue
        thread = run.last[0]
        yield [
            _stop(system, scenario, point, thread, *((before, stood) if point.at is At.RETURN else (state, after)))
            for after in (system.slots[thread].entries[run.last[2] - 1],)
            for point in points.between(*run.last)
        ]


def _stop(
    system: System, scenario: Scenario, point: Point, thread: int, state: npt.NDArray[np.uint8], node: FlatNode
) -> Stop:
    page = NIL
    if "page" in point.given:
        page = value_of(system, point.given["page"], thread, state, node)
    if page == NIL:
        return Stop(point.function, point.at, point.caller)
    of_range = point.model == "get_pageblock_migratetype" and "free" not in point.caller
    if of_range or point.model in OF_PAGEBLOCKS or page not in pages_of_interest(scenario):
        return Stop(point.function, point.at, point.caller, pageblock=page >> scenario.zone.pageblock_order)
    return Stop(point.function, point.at, point.caller, page=page)


def value_of(system: System, e: Expr, thread: int, state: npt.NDArray[np.uint8], node: FlatNode) -> int:
    """The value of an expression where a thread stands at a node; NIL if a local of it is not kept any more."""
    if isinstance(e, int):
        return e
    if isinstance(e, str):
        slots = system.slots[thread]
        if e not in slots.slot or e not in slots.live[node.id]:
            return NIL
        at = system.bases[thread] + system.pc_bytes + slots.slot[e]
        return int(state[at : at + 1].view("i1")[0])
    a, b = value_of(system, e.a, thread, state, node), value_of(system, e.b, thread, state, node)
    return NIL if NIL in (a, b) else int(FOLD[e.op](a, b))
