# SPDX-License-Identifier: GPL-2.0-or-later
"""Random schedules, taken by the compiled machine and by CPython side by side: same tables, same refusals."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pagelab.check.cpython import CPythonRun, NotEnabled, differences
from pagelab.lang.declare import Table
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES

Steps = list[tuple[int, int]]


def rows_of(system: System, state: Any, table: Table[object]) -> Any:
    return system.rows(table, state)


def able(system: System, state: Any, thread: int) -> int:
    """What a step would return, without taking it."""
    return system.step(state.copy(), thread)


def walk(system: System, setup: Callable[[], object] | None, chance: random.Random, limit: int) -> tuple[int, int]:
    """Take up to ``limit`` random steps in both; then try what the compiled machine refuses.

    :returns: how many steps were taken, and how many were refused by both.
    """
    state = system.initial(setup)
    steps: Steps = []
    with CPythonRun.of(system) as run:
        while len(steps) < limit:
            results = {thread: able(system, state, thread) for thread in range(len(system.threads))}
            possible = [thread for thread, result in results.items() if result not in (BLOCKED, ENDED)]
            if not possible:
                break
            thread = chance.choice(possible)
            choice = chance.randrange(2) if results[thread] == MORE_CHOICES else 0
            if system.step(state, thread, choice) >= FAULTED:
                with pytest.raises(AssertionError):
                    run.step(thread, choice)
                return len(steps), 0
            run.step(thread, choice)
            steps.append((thread, choice))
            assert differences(system.tables, partial(rows_of, system, state)) == [], steps
        for thread in range(len(system.threads)):
            assert run.runners[thread].ended == system.ended(state, thread), steps
    return len(steps), refusals(system, setup, state, steps)


def refusals(system: System, setup: Callable[[], object] | None, state: Any, steps: Steps) -> int:
    """How many threads cannot take a step in a state; CPython agrees.  Its run may be over after a refusal."""
    blocked = [t for t in range(len(system.threads)) if able(system, state, t) in (BLOCKED, ENDED)]
    fresh = False
    for number, thread in enumerate(blocked):
        if not fresh:
            system.initial(setup)
            run = CPythonRun.of(system)
            run.__enter__()
            for step in steps:
                run.step(*step)
            fresh = True
        with pytest.raises(NotEnabled):
            run.step(thread)
        fresh = run.runners[thread].error is None
        if not fresh or number == len(blocked) - 1:
            run.__exit__(None, None, None)
    return len(blocked)
