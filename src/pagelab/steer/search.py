# SPDX-License-Identifier: GPL-2.0-or-later
"""Among the schedules that can be forced, the one to the violation with the fewest changes of the CPU that runs.

Dijkstra's algorithm over states in which all CPUs are held; see :mod:`pagelab.steer.walk`.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

from pagelab.steer.walk import IDLE, Broken, Held, Run, Walker

#: How much is tried before it is given up.
MOST_HELD = 60_000
MOST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Leg:
    """A CPU that ran without a hold; ``thread`` is the one that it began with, ``runs`` are from point to point."""

    cpu: int
    thread: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """``legs`` end in the violation; None if there is no such schedule, or ``gave_up`` says that too much was tried."""

    legs: tuple[Leg, ...] | None
    held: int
    gave_up: bool


@dataclass(slots=True)
class _Node:
    held: Held
    cpu: int
    switches: int
    steps: int
    parent: int
    thread: int = IDLE
    run: Run | None = None
    new_leg: bool = False


def search(walker: Walker, start: Held, wrong: Callable[[Run], bool], most_seconds: float = MOST_SECONDS) -> Found:
    """The cheapest schedule to a run that is ``wrong``: fewest switches, then fewest steps."""
    nodes = [_Node(start, IDLE, 0, 0, -1)]
    best: dict[tuple[Held, int], tuple[int, int]] = {(start, IDLE): (0, 0)}
    heap = [(0, 0, 0)]
    until = time.monotonic() + most_seconds
    while heap:
        switches, steps, number = heapq.heappop(heap)
        node = nodes[number]
        if best[node.held, node.cpu] < (switches, steps):
            continue
        if node.run is not None and wrong(node.run):
            return Found(_legs(nodes, number), len(best), False)
        if node.run is not None and node.run.broken is Broken.FAULT:
            continue
        if len(best) > MOST_HELD or time.monotonic() > until:
            return Found(None, len(best), True)
        for cpu in range(walker.cpus):
            for thread, new in list(walker.moves(node.held, cpu)):
                run = walker.run(node.held, cpu, thread)
                if run is None:
                    continue
                new_leg = cpu != node.cpu or new
                price = switches + new_leg, steps + len(run.steps)
                key = run.then, cpu
                if price < best.get(key, (1 << 30, 0)):
                    best[key] = price
                    nodes.append(_Node(run.then, cpu, *price, number, thread, run, new_leg))
                    heapq.heappush(heap, (*price, len(nodes) - 1))
    return Found(None, len(best), False)


def _legs(nodes: list[_Node], number: int) -> tuple[Leg, ...]:
    way = []
    while number > 0:
        way.append(nodes[number])
        number = nodes[number].parent
    legs: list[Leg] = []
    for node in reversed(way):
        assert node.run is not None
        if node.new_leg or not legs:
            legs.append(Leg(node.cpu, node.thread, (node.run,)))
        else:
            legs[-1] = Leg(legs[-1].cpu, legs[-1].thread, (*legs[-1].runs, node.run))
    return tuple(legs)
