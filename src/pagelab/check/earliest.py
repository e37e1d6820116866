# SPDX-License-Identifier: GPL-2.0-or-later
"""Among schedules that cost the same, the one in which each thread is held up as early as it can be.

What a thread did last before it was held up is then what had to come before: the read of a value that is stale
afterwards, for example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pagelab.check.fewest import costs
from pagelab.check.search import Schedule
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, NO_CHOICE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.lang.stepped import System

#: Longer schedules stay as they are: there are too many places to try.
MOST_STEPS = 600


def earliest(system: System, initial: npt.NDArray[np.uint8], schedule: Schedule) -> Schedule:
    """Take the turn from threads earlier, where all steps remain possible and what is violated in the end stays so."""
    steps = list(schedule.steps)
    if len(steps) > MOST_STEPS:
        return schedule
    wanted = ending(system, initial, steps)
    price = costs(system, initial, schedule)
    end = 0
    while end < len(steps):
        begin = end
        end = _end_of_turn(steps, begin)
        again = next((i for i in range(end, len(steps)) if steps[i][0] == steps[begin][0]), None)
        if again is None:
            continue
        for kept in range(begin + 1, end):
            trial = steps[:kept] + steps[end:again] + steps[kept:end] + steps[again:]
            if ending(system, initial, trial) == wanted and costs(system, initial, Schedule(tuple(trial))) <= price:
                steps, end = trial, kept
                break
    return Schedule(tuple(steps))


def _end_of_turn(steps: Sequence[tuple[int, int]], begin: int) -> int:
    """The first step from ``begin`` on that another thread takes."""
    end = begin
    while end < len(steps) and steps[end][0] == steps[begin][0]:
        end += 1
    return end


def ending(
    system: System, initial: npt.NDArray[np.uint8], steps: Sequence[tuple[int, int]]
) -> tuple[tuple[int, ...], int] | None:
    """The results of all invariants in the last state, and that of the last step; None if a step is impossible."""
    state = initial.copy()
    result = 0
    for number, (thread, choice) in enumerate(steps, 1):
        result = system.step(state, thread, choice)
        if result in (BLOCKED, ENDED, NO_CHOICE) or (result >= FAULTED and number < len(steps)):
            return None
    if result >= FAULTED:
        return (), result
    good = tuple(system.good(state, k) for k in range(len(system.invariants)))
    if all(one == 1 for one in good) and any(
        system.step(state.copy(), thread) not in (BLOCKED, ENDED, NO_CHOICE) for thread in range(len(system.threads))
    ):
        return None  # no deadlock any more
    return good, 0
