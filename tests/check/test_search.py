# SPDX-License-Identifier: GPL-2.0-or-later
"""The search against a plain search in Python, and its schedules against CPython."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagelab.check import engine_code, search
from pagelab.check.cpython import CPythonRun, NotEnabled, differences
from pagelab.check.fewest import costs, fewest_preemptions
from pagelab.check.search import Schedule, Search
from pagelab.lang.declare import Record, Table, table_of
from pagelab.lang.stepped import System, Thread
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE
from tests.check import shelf

SYSTEMS = {
    "lost update": [Thread("a", shelf.add, (2,)), Thread("b", shelf.add, (2,))],
    "locked": [Thread("a", shelf.add_locked, (2,)), Thread("b", shelf.add_locked, (1,)), Thread("c", shelf.add, (1,))],
    "irqs": [Thread(f"t{i}", shelf.add_with_irqs_off, (i % 2,)) for i in range(3)],
    "trylock": [Thread("a", shelf.try_it, (0,)), Thread("b", shelf.add_with_irqs_off, (0,))],
    "look": [
        Thread("a", shelf.add_with_irqs_off, (1,)),
        Thread("b", shelf.add_locked, (1,)),
        Thread("c", shelf.look, (1,)),
    ],
    "wait": [Thread("a", shelf.take_when, (2,), daemon=True), Thread("b", shelf.add_locked, (3,))],
}
TABLES = (shelf.counter, shelf.per_cpu)


def build(threads: list[Thread], *invariants: object) -> System:
    return System(threads, invariants, TABLES, cpus=2)  # type: ignore[arg-type]


def reference(system: System) -> tuple[int, int, int]:
    """States, transitions and deadlocks, found by a search of a few lines."""
    initial = system.initial()
    seen, queue = {initial.tobytes()}, deque([initial])
    transitions = deadlocks = 0
    while queue:
        state = queue.popleft()
        enabled = 0
        for thread in range(len(system.threads)):
            choice = 0
            while True:
                following = state.copy()
                result = system.step(following, thread, choice)
                if result in (BLOCKED, ENDED, NO_CHOICE):
                    assert following.tobytes() == state.tobytes(), "the engine goes on with it"
                    break
                enabled += 1
                transitions += 1
                if result >= FAULTED:
                    break
                if following.tobytes() not in seen:
                    seen.add(following.tobytes())
                    queue.append(following)
                if result != MORE_CHOICES:
                    break
                choice += 1
        deadlocks += enabled == 0 and not system.idle(state)
    return len(seen), transitions, deadlocks


def rows_of(system: System, state: Any, table: Table[object]) -> Any:
    return system.rows(table, state)


@pytest.mark.parametrize("name", SYSTEMS)
def test_all_states_are_found(name: str) -> None:
    system = build(SYSTEMS[name])
    outcome = Search(system, system.initial()).run()
    assert outcome.verdict == "holds"
    assert (outcome.states, outcome.transitions, 0) == reference(system)


@pytest.mark.parametrize("shared_from", [1, 20, 1 << 20])
def test_two_workers_meet_at_the_end_of_each_level(shared_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WORTH_SHARING", shared_from)
    for threads in (*SYSTEMS.values(), [Thread(f"t{i}", shelf.add, (3,)) for i in range(4)]):
        system = build(threads)
        one, two = (Search(system, system.initial(), workers=workers).run() for workers in (1, 2))
        assert (one.states, one.transitions, one.depth) == (two.states, two.transitions, two.depth)


def test_a_worker_does_not_wait_for_one_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WORTH_SHARING", 1)
    system = build([Thread(f"t{i}", shelf.add, (4,)) for i in range(5)])
    explore = engine_code.function("explore")
    calls = 0

    def function(name: str) -> Callable[..., int]:
        return interrupted if name == "explore" else engine_code.function(name)

    def interrupted(shared: int, own: int) -> int:
        nonlocal calls
        calls += 1
        if threading.current_thread() is threading.main_thread() and calls > 1:
            raise KeyboardInterrupt
        return explore(shared, own)

    monkeypatch.setattr(search, "function", function)
    outcome = Search(system, system.initial(), workers=2).run()
    assert outcome.interrupted
    assert outcome.verdict == "inconclusive"


def test_an_invariant_is_violated_as_soon_as_it_can_be() -> None:
    system = build([Thread("a", shelf.add, (4,)), Thread("b", shelf.add, (1,))], shelf.value_below_three)
    outcome = Search(system, system.initial()).run()
    assert (outcome.verdict, outcome.violation) == ("violated", "value_below_three does not hold")
    assert outcome.schedule is not None
    assert len(outcome.schedule.steps) == 6, "three times load and store, by whom does not matter"


def test_properties_see_locks_and_irqs() -> None:
    threads = [Thread(f"t{i}", shelf.add_with_irqs_off, (i,)) for i in range(2)]
    system = build(threads, shelf.nobody_sees_both)
    assert Search(system, system.initial()).run().verdict == "holds", "nobody takes counter.lock"
    system = build([*threads, Thread("b", shelf.add_locked, (1,))], shelf.nobody_sees_both)
    outcome = Search(system, system.initial()).run()
    assert outcome.violation == "nobody_sees_both does not hold"
    assert outcome.schedule is not None
    assert sorted(outcome.schedule.steps) == [(0, 0), (1, 0), (2, 0)]


def test_deadlock() -> None:
    system = build([Thread("a", shelf.two_locks, (0,)), Thread("b", shelf.two_locks, (1,))])
    outcome = Search(system, system.initial()).run()
    assert outcome.violation == "deadlock"
    assert outcome.schedule is not None
    assert sorted(outcome.schedule.steps) == [(0, 0), (1, 0)]


def test_an_assertion_and_its_schedule_in_cpython() -> None:
    threads = [Thread("a", shelf.try_it, (0,)), Thread("b", shelf.assert_seen, (3,))]
    system = build(threads)
    initial = system.initial()
    outcome = Search(system, initial).run()
    assert outcome.violation.startswith("it was seen (assert_seen, ")
    assert outcome.schedule is not None
    assert outcome.schedule.steps == ((0, 2), (0, 0), (1, 0)), "the lock and with it the choice; the store; the look"
    system.initial()
    with CPythonRun(threads, system.tables) as run:
        *before, last = outcome.schedule.steps
        for thread, choice in before:
            run.step(thread, choice)
        with pytest.raises(AssertionError, match="it was seen") as caught:
            run.step(*last)
    assert caught.traceback[-1].name == "assert_seen"


def test_limits_are_inconclusive() -> None:
    system = build([Thread(f"t{i}", shelf.add, (4,)) for i in range(6)])
    outcome = Search(system, system.initial(), max_states=50_000).run()
    assert outcome.verdict == "inconclusive"
    assert outcome.states >= 50_000
    assert Search(system, system.initial(), max_memory=1 << 20).run().verdict == "inconclusive"


@pytest.mark.parametrize("name", SYSTEMS)
def test_random_schedules_do_the_same_in_cpython(name: str) -> None:
    threads = SYSTEMS[name]
    system = build(threads)
    chance = random.Random(name)
    for _ in range(30):
        state = system.initial()
        with CPythonRun(threads, system.tables) as run:
            while True:
                able = []
                for thread in range(len(threads)):
                    following = state.copy()
                    result = system.step(following, thread)
                    if result not in (BLOCKED, ENDED):
                        able.append((thread, result))
                if not able:
                    break
                thread, result = chance.choice(able)
                choice = chance.randrange(3) if result == MORE_CHOICES else 0
                system.step(state, thread, choice)
                run.step(thread, choice)
                assert differences(system.tables, partial(rows_of, system, state)) == []
            for thread in range(len(threads)):
                assert run.runners[thread].ended == system.ended(state, thread)


def test_a_step_that_is_not_enabled_is_refused() -> None:
    threads = [Thread("a", shelf.add_locked, (1,)), Thread("b", shelf.add_locked, (1,))]
    system = build(threads)
    system.initial()
    with CPythonRun(threads, system.tables) as run:
        run.step(0)
        with pytest.raises(NotEnabled, match="the lock is held"):
            run.step(1)


def test_tables_are_plain_again_afterwards() -> None:
    system = build(SYSTEMS["lost update"])
    system.initial()
    with CPythonRun(SYSTEMS["lost update"], system.tables) as run:
        run.step(0)
    found = table_of(shelf.counter)
    assert isinstance(found, Record)
    assert type(shelf.counter) is found.row_class
    shelf.add(1)


def test_values_that_do_not_fit_a_state() -> None:
    def too_large() -> None:
        shelf.counter.value = 1000

    system = build(SYSTEMS["lost update"])
    with pytest.raises(ValueError, match=r"counter\[0\]\.value is 1000 at the start"):
        system.initial(too_large)


def test_states_are_small() -> None:
    system = build(SYSTEMS["irqs"])
    assert system.bytes <= 32
    assert np.count_nonzero(system.initial()) == len(system.threads), "only the places where the threads stand"


@pytest.mark.parametrize("threads", [SYSTEMS["lost update"], [Thread(f"t{i}", shelf.add, (2,)) for i in range(3)]])
def test_the_schedule_shown_has_the_fewest_preemptions(threads: list[Thread]) -> None:
    """Against all schedules of as many steps, tried one by one."""
    system = build(threads, shelf.value_below_three)
    initial = system.initial()
    outcome = Search(system, initial).run()
    schedule = fewest_preemptions(system, initial, outcome.states, 1 << 30)
    assert schedule is not None
    best = costs(system, initial, schedule)
    state = initial.copy()
    for thread, choice in schedule.steps:
        system.step(state, thread, choice)
    assert system.good(state, 0) == 0
    found = [costs(system, initial, Schedule(tuple(steps))) for steps in violating(system, initial, best[2])]
    assert best == min(found)


def violating(system: System, initial: Any, limit: int) -> Iterator[list[tuple[int, int]]]:
    """All schedules of at most ``limit`` steps whose last state is the first that breaks the invariant."""
    todo: list[tuple[Any, list[tuple[int, int]]]] = [(initial, [])]
    while todo:
        state, steps = todo.pop()
        for thread in range(len(system.threads)):
            following = state.copy()
            if len(steps) < limit and system.step(following, thread) not in (BLOCKED, ENDED):
                taken = [*steps, (thread, 0)]
                if system.good(following, 0) == 0:
                    yield taken
                else:
                    todo.append((following, taken))


def test_fewest_preemptions_to_a_failed_assertion() -> None:
    threads = [Thread("a", shelf.try_it, (0,)), Thread("b", shelf.assert_seen, (3,)), Thread("c", shelf.add, (1,))]
    system = build(threads)
    initial = system.initial()
    outcome = Search(system, initial).run()
    schedule = fewest_preemptions(system, initial, outcome.states, 1 << 30)
    assert schedule is not None
    assert costs(system, initial, schedule) == (0, 1, 4), "a runs to its end, then b looks"


def test_the_engines_are_compiled_on_two_cores_where_nothing_is_kept(tmp_path: Path) -> None:
    """The first run of all, and a second one that finds everything in the cache."""
    program = (
        "from pagelab.check import engine_code as code; code.prepare(); code.function('explore'); "
        "started = code._other_core is not None; code.function('components'); print(started)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    for started in ("True\n", "False\n"):
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert (run.stdout, run.stderr, run.returncode) == (started, "", 0)
    assert len(list((tmp_path / "pagelab" / "code").glob("*.o"))) == len(engine_code.FUNCTIONS)
