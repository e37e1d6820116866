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
#: Changes of the CPU that runs; how deep in the kernel's functions the holds are; steps.
Price = tuple[int, int, int]
_TOO_MUCH: Price = (1 << 30, 0, 0)


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
    price: Price
    parent: int
    thread: int = IDLE
    run: Run | None = None
    new_leg: bool = False

    @property
    def key(self) -> tuple[Held, int, Broken | None]:
        """What makes it another node than others: a fault may leave the state as it was."""
        return self.held, self.cpu, self.run.broken if self.run is not None else None


def search(walker: Walker, start: Held, wrong: Callable[[Run], bool], most_seconds: float = MOST_SECONDS) -> Found:
    """The cheapest schedule to a run that is ``wrong``: fewest switches, then the plainest holds, then fewest steps."""
    nodes = [_Node(start, IDLE, (0, 0, 0), -1)]
    best = {nodes[0].key: nodes[0].price}
    heap = [(nodes[0].price, 0)]
    until = time.monotonic() + most_seconds
    while heap:
        price, number = heapq.heappop(heap)
        node = nodes[number]
        if best[node.key] < price:
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
                depth = walker.depth(node.run) if new_leg and node.run is not None else 0
                total = price[0] + new_leg, price[1] + depth, price[2] + len(run.steps)
                following = _Node(run.then, cpu, total, number, thread, run, new_leg)
                if total < best.get(following.key, _TOO_MUCH):
                    best[following.key] = total
                    nodes.append(following)
                    heapq.heappush(heap, (total, len(nodes) - 1))
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
