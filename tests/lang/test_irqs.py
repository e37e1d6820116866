# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections with irqs off, and local_irq_disable(): what changes something, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pagelab.check.cpython import CPythonRun, NotEnabled
from pagelab.lang.declare import Lock, atomic, i8, irqs_off, local_irq_disable, local_irq_enable, lock, record, unlock
from pagelab.lang.flatten import Flattener
from pagelab.lang.graph import Do
from pagelab.lang.parse import parse
from pagelab.lang.stepped import System, Thread
from pagelab.lang.stepped_text import BLOCKED, STEPPED
from pagelab.lang.subset import SubsetError


class Shared:
    lock: Lock
    value: i8 = 0


shared = record("shared", Shared)


def plain(cpu: int) -> None:
    local_irq_disable(cpu)
    shared.value = 1
    local_irq_disable(cpu)
    local_irq_enable(cpu)


def section_after_disable(cpu: int) -> None:
    local_irq_disable(cpu)
    with irqs_off(cpu):
        shared.value = 1
    shared.value = 2
    local_irq_enable(cpu)


def disable_in_a_callee(cpu: int) -> None:
    with irqs_off(cpu):
        plain(cpu)


def enable_too_often(cpu: int) -> None:
    local_irq_enable(cpu)


def on_one_way_only(cpu: int) -> None:
    if shared.value:
        local_irq_disable(cpu)
    shared.value = 0


def all_in_one_step(cpu: int) -> None:
    with atomic():
        shared.value = 1
        local_irq_disable(cpu)
        lock(shared.lock)
        shared.value = 2
    with atomic():
        unlock(shared.lock)
        local_irq_enable(cpu)


def program(function: Callable[..., object], *args: int) -> Flattener:
    return Flattener(parse([function])[function], args)


@pytest.mark.parametrize("function", [plain, section_after_disable])
def test_only_the_first_and_the_last_change_anything(function: Callable[[int], None]) -> None:
    nodes = program(function, 0).nodes
    assert [sum(node.do is do for node in nodes) for do in (Do.IRQS_OFF, Do.IRQS_ON)] == [1, 1]
    inside = [node for node in nodes if node.do is Do.STORE]
    assert inside
    assert all(node.irqs_off == 0 for node in inside)
    assert program(function, 0).end.irqs_off is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (disable_in_a_callee, r"local_irq_disable\(\) in a section"),
        (enable_too_often, r"local_irq_enable\(\) where the thread has not"),
        (on_one_way_only, "on one way to here and on on another"),
    ],
)
def test_calls_that_do_not_fit_are_refused(function: Callable[[int], None], message: str) -> None:
    with pytest.raises(SubsetError, match=message) as caught:
        program(function, 0)
    assert str(caught.value.filename) == __file__
    assert caught.value.lineno


@pytest.mark.parametrize("first", [0, 1])
def test_a_section_that_is_one_step_waits_as_a_whole(first: int) -> None:
    """For the irqs of its CPU, or for the lock; the other thread may then go on."""
    threads = [Thread("a", all_in_one_step, (0,)), Thread("b", all_in_one_step, (first,))]
    system = System(threads, cpus=2)
    state = system.initial()
    with CPythonRun(threads, system.tables) as run:
        assert system.step(state, 0) == STEPPED
        run.step(0)
        assert system.step(state.copy(), 1) == BLOCKED
        assert system.step(state, 0) == STEPPED
        run.step(0)
        assert system.step(state, 1) == STEPPED
        run.step(1)
        assert system.rows(shared, state)["value"] == shared.value == 2
        assert shared.lock.held
    system.initial()
    with CPythonRun(threads, system.tables) as run:
        run.step(0)
        with pytest.raises(NotEnabled):
            run.step(1)
