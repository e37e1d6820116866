# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiny models for the tests of liveness: threads that spin, that wait for a lock, that give way to each other."""

from __future__ import annotations

from pagelab.lang.declare import Lock, atomic, choose, i8, irqs_off, record, trylock, unlock, wait_until


class Shared:
    lock: Lock
    other: Lock
    done: bool = False
    work: bool = False
    turn: i8 = 0
    readers: i8 = 0


shared = record("waiting", Shared)


def finish() -> None:
    shared.done = True


def finish_under_lock() -> None:
    with shared.lock:
        shared.done = True


def spin() -> None:
    while not shared.done:
        pass


def spin_under_lock() -> None:
    """Looks again and again, and gives the lock back each time."""
    done = False
    while not done:
        with shared.lock:
            done = shared.done


def spin_under_trylock() -> None:
    """Never waits for the lock, and takes it whenever it is free."""
    done = False
    while not done:
        if trylock(shared.lock):
            done = shared.done
            unlock(shared.lock)


def spin_with_irqs_off(cpu: int) -> None:
    done = False
    while not done:
        with irqs_off(cpu):
            done = shared.done


def finish_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu):
        shared.done = True


def hog_with_irqs_off(cpu: int) -> None:
    with irqs_off(cpu):
        while not shared.done:
            pass


def sleep_unless_done() -> None:
    """Loses a wakeup that comes between the look and the wait."""
    if not shared.done:
        with atomic():
            wait_until(shared.work)


def wake_up() -> None:
    """Wakes up who waits now; nobody hears it later."""
    shared.done = True
    shared.work = True
    shared.work = False


def take_both(first: int) -> None:
    """A polite philosopher: who does not get the second fork puts the first one back and tries again."""
    fed = False
    while not fed:
        if first == 0:
            if trylock(shared.lock):
                if trylock(shared.other):
                    fed = True
                    unlock(shared.other)
                unlock(shared.lock)
        else:
            if trylock(shared.other):
                if trylock(shared.lock):
                    fed = True
                    unlock(shared.lock)
                unlock(shared.other)


def toss() -> None:
    """Ends only if it chooses so."""
    again = 1
    while again != 0:
        with atomic():
            again = choose(0, 2)


def tick() -> None:
    """For daemons: always something to do."""
    while True:
        shared.turn = 1 - shared.turn


def give_way(me: int) -> None:
    """Goes on when it is its turn, of two."""
    for _ in range(2):
        with atomic():
            wait_until(shared.turn == me)
            shared.turn = 1 - me


def die() -> None:
    assert shared.done, "it was not done"


def die_when_done() -> None:
    with atomic():
        wait_until(shared.done)
    assert not shared.done, "it was done"


def down_read() -> None:
    with atomic():
        wait_until(not shared.work)
        shared.readers += 1


def read_once() -> None:
    down_read()
    shared.done = True
    with atomic():
        shared.readers -= 1


def write_again_and_again() -> None:
    while not shared.done:
        with atomic():
            wait_until(shared.readers == 0)
            shared.work = True
        shared.work = False


def wait_for_work() -> None:
    with atomic():
        wait_until(not shared.work)
        shared.done = True
