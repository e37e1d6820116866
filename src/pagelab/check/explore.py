# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore a system as well as it can be done: with a reduction where that pays, on the cores there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagelab.check import engine_layout
from pagelab.check.search import MOST_STATES, Outcome, Search
from pagelab.check.visited import VISITED

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.lang.stepped import System

#: Programs of so many stops are looked through in less time than the search then saves.
SMALL_PROGRAMS = 300
#: Larger ones are worth it when a search without reduction has stored so many states and is not through.
WORTH_REDUCING = 200_000


def cores() -> int:
    """Cores that this process may use, as many as the engine can."""
    return min(len(os.sched_getaffinity(0)), engine_layout.MAX_WORKERS)


@dataclass(frozen=True, slots=True)
class How:
    """How to explore.

    :param unreduced: every interleaving, whatever it takes.
    :param max_states: give up at so many states.
    :param max_memory: give up when more bytes would be used.
    :param workers: how many cores to use; 0: as many as there are.
    :param visited: what to keep of states that were visited: "full", "compressed" or "bitstate".
    :param fairness: what to assume where it matters: "none", "weak" or "fifo-locks".
    :param memory: "sc" or "tso", for whoever builds the system; see :mod:`pagelab.lang.store_buffer`.
    """

    unreduced: bool = False
    max_states: int = MOST_STATES
    max_memory: int = 1 << 34
    workers: int = 0
    visited: str = "full"
    memory: str = "sc"
    fairness: str = "fifo-locks"


DEFAULT = How()


def explore(
    system: System,
    initial: npt.NDArray[uint8] | bytearray,
    how: How = DEFAULT,
    *,
    go_on: bool = False,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Search a system.

    :param go_on: whether to explore all there is after something was violated.
    :param progress: told now and then how far it is.
    """
    max_states, workers = how.max_states, how.workers or cores()

    def search(most: int, reduce: bool) -> Outcome:
        reduction = None
        if reduce:
            from pagelab.check.reduction import Reduction

            reduction = Reduction(system)
        return Search(
            system,
            initial,
            max_states=most,
            max_memory=how.max_memory,
            workers=workers,
            reduce=reduction,
            go_on=go_on,
            visited=VISITED[how.visited],
        ).run(progress)

    if how.unreduced or system.memory != "sc":
        return search(max_states, False)
    if sum(len(slots.entries) for slots in system.slots) > SMALL_PROGRAMS:
        first = search(min(WORTH_REDUCING, max_states), False)
        through = first.complete if go_on else first.verdict != "inconclusive"
        if through or first.states < min(WORTH_REDUCING, max_states) or first.interrupted:
            return first
        if first.states >= max_states:
            return first
    return search(max_states, True)
