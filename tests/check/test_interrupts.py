# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks and interrupts of a CPU: one of them runs at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagelab.check import actors, ghost, small_zone
from pagelab.check.model_file import load_file
from pagelab.check.search import Outcome, Search
from pagelab.errors import BadInput
from pagelab.lang.declare import Lock, atomic, attached, i8, irqs_off, local_irq_disable, record, trylock, unlock
from pagelab.lang.stepped import System, Thread
from pagelab.lang.subset import SubsetError
from pagelab.linux.designs import DESIGNS
from tests.check.lockstep import walk
from tests.constants import constants_kept


class Shared:
    lock: Lock
    a: i8 = 0
    b: i8 = 0
    torn: bool = False
    failed: i8 = 0
    cpu: i8 = 0


shared = record("shared", Shared)


def add() -> None:
    a = shared.a
    shared.a = a + 1


def add_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu):
        add()


def add_if_lock_is_free() -> None:
    if trylock(shared.lock):
        add()
        unlock(shared.lock)
    else:
        shared.failed += 1


def add_locked() -> None:
    with shared.lock:
        add()


def add_locked_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu), shared.lock:
        add()


def both(times: int) -> None:
    for _ in range(times):
        shared.a += 1
        shared.b += 1


def both_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu):
        both(1)


def look() -> None:
    with atomic():
        shared.torn = shared.torn or shared.a != shared.b


def stores(times: int) -> None:
    """Steps of a task that change nothing."""
    for _ in range(times):
        shared.failed = 0


def irqs_of_a_cpu_in_a_field() -> None:
    with irqs_off(shared.cpu):
        add()
    shared.cpu = 1 - shared.cpu


def disable_irqs_of_a_cpu_in_a_field() -> None:
    local_irq_disable(shared.cpu)


def never_torn() -> bool:
    return not shared.torn


def search(threads: list[Thread], *invariants: Callable[[], bool], exclusive: bool = True) -> Outcome:
    system = System(threads, invariants, [shared], cpus=2, exclusive_cpus=exclusive)
    return Search(system, system.initial()).run()


def endings(threads: list[Thread], *, exclusive: bool = True) -> set[tuple[int, int]]:
    """(a, failed) in the states in which all threads have ended."""
    system = System(threads, (), [shared], cpus=2, exclusive_cpus=exclusive)
    initial = system.initial()
    seen, todo, found = {initial.tobytes()}, [initial], set()
    while todo:
        state = todo.pop()
        if system.idle(state):
            row = system.rows(shared, state)
            found.add((int(row["a"]), int(row["failed"])))
        for thread in range(len(threads)):
            following = state.copy()
            if system.step(following, thread) == 1 and following.tobytes() not in seen:
                seen.add(following.tobytes())
                todo.append(following)
    return found


def interrupt(function: Callable[..., object], *args: int, cpu: int = 0, name: str = "irq") -> Thread:
    return Thread(name, function, args, cpu=cpu, interrupt=True)


def task(function: Callable[..., object], *args: int, cpu: int = 0, name: str = "task") -> Thread:
    return Thread(name, function, args, cpu=cpu)


def test_an_update_is_lost_to_an_interrupt_unless_irqs_are_off() -> None:
    assert endings([task(add), interrupt(add)]) == {(1, 0), (2, 0)}
    assert endings([task(add_with_irqs_off, 0), interrupt(add)]) == {(2, 0)}
    assert endings([task(add_with_irqs_off, 1, cpu=1), interrupt(add)]) == {(1, 0), (2, 0)}, "on another CPU"


def test_irqs_off_keep_other_tasks_of_the_cpu_from_any_step_only_if_asked() -> None:
    threads = [task(both_with_irqs_off, 0), task(look, name="other")]
    assert search(threads, never_torn).verdict == "holds"
    assert search(threads, never_torn, exclusive=False).verdict == "violated"
    threads = [task(both_with_irqs_off, 0), task(look, cpu=1, name="other")]
    assert search(threads, never_torn).verdict == "violated"


@pytest.mark.parametrize(("steps", "irq_steps"), [(1, 1), (2, 3), (5, 4)])
def test_an_interrupt_runs_to_its_end(steps: int, irq_steps: int) -> None:
    """The task stands still meanwhile, so that the numbers of states and transitions follow by counting."""
    outcome = search([task(stores, steps), interrupt(stores, irq_steps)])
    assert outcome.states == (steps + 1) * (irq_steps + 2)
    assert outcome.transitions == 2 * steps + (steps + 1) * (irq_steps + 1)


def test_tasks_of_its_cpu_never_see_an_interrupt_half_done() -> None:
    assert search([task(look), interrupt(both, 2)], never_torn).verdict == "holds"
    assert search([task(look, cpu=1), interrupt(both, 2)], never_torn).verdict == "violated"
    twice = [interrupt(both, 1, name="first"), interrupt(both, 1, name="second"), task(look)]
    assert search(twice, never_torn).verdict == "holds", "one interrupt at a time, so no update is lost either"


def test_trylock_fails_in_an_interrupt_of_the_cpu_whose_task_holds_the_lock() -> None:
    assert endings([task(add_locked), interrupt(add_if_lock_is_free)]) == {(2, 0), (1, 1)}
    assert endings([task(add_locked_with_irqs_off, 0), interrupt(add_if_lock_is_free)]) == {(2, 0)}


def test_a_lock_that_the_interrupted_task_holds_is_a_deadlock() -> None:
    outcome = search([task(add_locked), interrupt(add_locked)])
    assert outcome.violation == "deadlock"
    assert outcome.schedule is not None
    assert outcome.schedule.steps == ((0, 0), (1, 0)), "the task takes the lock, the interrupt arrives"
    assert search([task(add_locked_with_irqs_off, 0), interrupt(add_locked)]).verdict == "holds"


def test_irqs_go_off_on_another_cpu_only_between_interrupts() -> None:
    """As when a CPU goes away: nothing of it may be half done."""
    threads = [interrupt(both, 1, cpu=1), task(add_with_irqs_off, 1, cpu=0), task(look, cpu=1, name="look")]
    for seed in range(20):
        system = System(threads, (), [shared], cpus=2, exclusive_cpus=True)
        walk(system, None, random.Random(seed), 8)
    assert endings([interrupt(add, cpu=1), task(add_with_irqs_off, 1, cpu=0)]) == {(2, 0)}


@pytest.mark.parametrize(
    ("thread", "exclusive", "message"),
    [
        (Thread("t", add, cpu=2), True, r"thread t runs on CPU 2: there are 2, from 0 on"),
        (Thread("t", add, interrupt=True), True, "thread t is an interrupt and runs on no CPU"),
        (Thread("t", add, cpu=0, interrupt=True), False, "contexts of a CPU do not exclude each other"),
    ],
)
def test_threads_that_cannot_be(thread: Thread, exclusive: bool, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        System([thread], (), [shared], cpus=2, exclusive_cpus=exclusive)


def test_the_cpu_of_a_section_may_be_known_only_when_it_begins() -> None:
    assert endings([task(irqs_of_a_cpu_in_a_field), interrupt(add)]) == {(2, 0)}
    assert endings([task(irqs_of_a_cpu_in_a_field), interrupt(add, cpu=1)]) == {(1, 0), (2, 0)}
    with pytest.raises(SubsetError, match=r"local_irq_disable\(\) takes a CPU that is a constant"):
        System([task(disable_irqs_of_a_cpu_in_a_field)], cpus=2, exclusive_cpus=True)


PROGRAMS = {
    "plain": [task(add), interrupt(both, 2), task(add_with_irqs_off, 0, name="other")],
    "locks": [task(add_locked), interrupt(add_if_lock_is_free), task(add_if_lock_is_free, cpu=1, name="other")],
    "deadlock": [task(add_locked), interrupt(add_locked), interrupt(both, 1, name="second")],
    "two cpus": [
        task(add_locked_with_irqs_off, 0),
        interrupt(add_locked),
        task(add_locked_with_irqs_off, 1, cpu=1, name="other"),
        interrupt(add_if_lock_is_free, cpu=1, name="second"),
        task(add_with_irqs_off, 1, name="stopper"),
    ],
    "any cpu": [
        task(irqs_of_a_cpu_in_a_field, cpu=1),
        task(irqs_of_a_cpu_in_a_field, name="other"),
        interrupt(irqs_of_a_cpu_in_a_field, cpu=1),
        interrupt(add),
    ],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_cpython_takes_and_refuses_the_same_steps(name: str) -> None:
    chance = random.Random(name)
    system = System(PROGRAMS[name], (), [shared], cpus=2, exclusive_cpus=True)
    found = [walk(system, None, chance, chance.randrange(1, 25)) for _ in range(100)]
    assert sum(steps for steps, _ in found) > 700
    assert sum(refused for _, refused in found) > 20


@pytest.fixture
def constants() -> Iterator[None]:
    with constants_kept():
        yield


def kernel(design: str, memory: str, *more: Thread) -> tuple[System, Callable[[], None]]:
    """Two tasks and an interrupt on CPU 0 of a kernel; the pages in use are 0, 2 and 3."""
    DESIGNS[design].switch_on()
    small_zone.configure(pageblocks=2, pageblock_order=1, cpus=2, batch=1, high=2)
    threads = [
        Thread("offliner", actors.offliner, (0, 0, 1), cpu=0),
        Thread("freer", actors.freer, (0, 0), cpu=0),
        Thread("irq", actors.freer, (0, 2), cpu=0, interrupt=True),
        *[Thread(f"kworker/{cpu}", actors.kworker, (cpu,), daemon=True, cpu=cpu) for cpu in range(2)],
        *more,
    ]
    system = System(threads, (), [ghost.ghost, ghost.block_ghost], cpus=2, exclusive_cpus=True, memory=memory)
    return system, lambda: small_zone.setup(2, allocated=(0, 2, 3))


@pytest.mark.usefixtures("constants")
@pytest.mark.parametrize(("design", "memory"), [("5.9", "sc"), ("5.11", "tso"), ("6.1", "sc"), ("6.1", "tso")])
def test_the_kernel_in_cpython_too(design: str, memory: str) -> None:
    chance = random.Random(design)
    with attached(ghost.PROBES):
        system, setup = kernel(design, memory, Thread("far", actors.freer, (1, 3), cpu=1))
        found = [walk(system, setup, chance, chance.randrange(20, 200)) for _ in range(10)]
    assert sum(steps for steps, _ in found) > 500
    assert sum(refused for _, refused in found) > 10


MODEL = """
from pagelab.lang.declare import i8, record
from pagelab.lang.stepped import Thread
class Counter:
    value: i8 = 0
counter = record("counter", Counter)
def add() -> None:
    counter.value += 1
def cpus() -> int:
    return 1
def threads() -> list[Thread]:
    return [Thread("task", add, cpu=0), Thread("irq", add, cpu=0, interrupt=True)]
"""


def test_a_model_file_asks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text(MODEL + "def exclusive_cpus() -> bool:\n    return True\n")
    assert load_file(file, []).system().exclusive_cpus
    file.write_text(MODEL)
    with pytest.raises(BadInput, match="let the model define exclusive_cpus"):
        load_file(file, []).system()


def fails_with_the_lock_held() -> None:
    with shared.lock:
        assert shared.a != 0, "nothing was added"


def test_what_fails_within_a_section_is_told_at_once() -> None:
    """Leaving the section takes no step."""
    system = System([task(fails_with_the_lock_held)], (), [shared], cpus=1)
    assert walk(system, None, random.Random(0), 5) == (1, 0)
