# SPDX-License-Identifier: GPL-2.0-or-later
"""A tiny system for the tests of the checker: threads that add, sections that exclude, a choice."""

from __future__ import annotations

from pagelab.lang.declare import (
    Constants,
    Lock,
    atomic,
    choose,
    held,
    i8,
    irqs_are_off,
    irqs_off,
    record,
    table,
    trylock,
    unlock,
    wait_until,
)


class Size(Constants):
    cpus: int = 2


class Counter:
    lock: Lock
    value: i8 = 0
    seen: i8 = 0


class PerCpu:
    lock: Lock
    value: i8 = 0


size = Size()
counter = record("counter", Counter)
per_cpu = table("per_cpu", PerCpu, lambda: size.cpus)


def add(times: int) -> None:
    """Loses updates: a load, then a store."""
    for _ in range(times):
        before = counter.value
        counter.value = before + 1


def add_locked(times: int) -> None:
    for _ in range(times):
        with counter.lock:
            counter.value += 1


def add_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu):
        per_cpu[cpu].value += 1
        add_inner(cpu)


def add_inner(cpu: int) -> None:
    with irqs_off(cpu), per_cpu[cpu].lock:
        counter.value = counter.value + per_cpu[cpu].value


def try_it(cpu: int) -> None:
    if trylock(per_cpu[cpu].lock):
        counter.seen = choose(1, 4)
        unlock(per_cpu[cpu].lock)
    else:
        counter.seen = -1


def take_when(value: int) -> None:
    with atomic():
        wait_until(counter.value >= value)
        counter.value -= value
        counter.seen += 1


def assert_seen(value: int) -> None:
    seen = counter.seen
    assert seen != value, "it was seen"


def look(cpu: int) -> None:
    if held(counter.lock):
        counter.seen = 1
    if irqs_are_off(cpu):
        counter.seen = 2


def nobody_sees_both() -> bool:
    return not (held(counter.lock) and irqs_are_off(0) and irqs_are_off(1))


def value_below_three() -> bool:
    return counter.value < 3


def two_locks(first: int) -> None:
    with per_cpu[first].lock, per_cpu[1 - first].lock:
        pass
