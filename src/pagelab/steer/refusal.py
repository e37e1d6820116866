# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a counterexample cannot be forced: the changes of CPU that it is made of, and what keeps a kernel from each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.check.search import Schedule
    from pagelab.lang.stepped import System
    from pagelab.steer.points import Points


def refusals(system: System, points: Points, initial: npt.NDArray[np.uint8], schedule: Schedule) -> list[str]:
    """What keeps a kernel from taking a schedule: CPUs that would have to run two threads first, then the places."""
    state = initial.copy()
    begin = [system.pc(state, thread) for thread in range(len(system.threads))]
    shared: list[str] = []
    between: list[str] = []
    last: tuple[int, int] | None = None  # the thread that took the last step, and its stop before
    stops = list(begin)  # before the last step of each thread
    steps = schedule.steps
    for number, (thread, choice) in enumerate(steps):
        if last is None or last[0] != thread:
            later = any(other == last[0] for other, _ in steps[number:]) if last is not None else False
            if last is not None and later and _goes_on(system, state, last[0]):
                between += _between(system, points, state, last, number)
            cpu = system.threads[thread].cpu
            for other, named in enumerate(system.threads):
                begun = not named.daemon and system.pc(state, other) != begin[other]
                if other != thread and named.cpu == cpu and begun and _goes_on(system, state, other):
                    shared.append(_shared(system, points, thread, other, stops[other], number))
        before = system.pc(state, thread)
        if system.step(state, thread, choice) >= FAULTED:
            break
        last = thread, before
        stops[thread] = before
    return list(dict.fromkeys([*shared[:1], *between]))


def _goes_on(system: System, state: npt.NDArray[np.uint8], thread: int) -> bool:
    """Whether a thread could go on now: then it has to be held, or is preempted."""
    return system.step(state.copy(), thread) not in (BLOCKED, ENDED)


def _shared(system: System, points: Points, thread: int, held: int, stop: int, number: int) -> str:
    one, other = system.threads[thread], system.threads[held]
    who = "an interrupt" if one.interrupt else one.name
    return (
        f"after step {number} {who} would have to run on CPU {one.cpu} while {other.name} is in the middle of "
        f"{_function(system, points, held, stop)}() there, and a CPU that is held runs nothing else"
    )


def _between(
    system: System, points: Points, state: npt.NDArray[np.uint8], last: tuple[int, int], number: int
) -> list[str]:
    thread, before = last
    after = system.pc(state, thread)
    if points.between(thread, before, after):
        return []
    why = "; ".join(one.words for one in points.refused(thread, before, after)) or "the next step is in it as well"
    function = _function(system, points, thread, before)
    return [f"after step {number} {system.threads[thread].name} stands between two instructions of {function}(): {why}"]


def _function(system: System, points: Points, thread: int, stop: int) -> str:
    """The innermost function of the kernel that a thread stands in."""
    node = system.slots[thread].entries[stop - 1]
    names = [name for name in points.names(node.frames) if name]
    return names[-1] if names else node.frames[-1][0]
