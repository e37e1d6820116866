# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiny models that end badly, each in its own way."""

from __future__ import annotations

from pagelab.lang.declare import Lock, atomic, held, i8, irqs_off, record, wait_until


class Shared:
    first: Lock
    second: Lock
    value: i8 = 0
    other: i8 = 0
    left: i8 = -1
    right: i8 = -1
    done: bool = False


shared = record("shared", Shared)


def add() -> None:
    """A load, then a store: what somebody else adds in between is lost."""
    before = shared.value
    shared.value = before + 1


def add_and_say_so() -> None:
    before = shared.value
    shared.value = before + 1
    shared.done = True


def nothing_is_lost() -> bool:
    return not shared.done or shared.other == 0 or shared.value == 2


def add_and_note() -> None:
    before = shared.value
    shared.value = before + 1
    shared.other = 1


def first_then_second() -> None:
    with shared.first, shared.second:
        shared.value = 1


def second_then_first() -> None:
    with shared.second, shared.first:
        shared.value = 2


def set_value() -> None:
    with irqs_off(0):
        shared.value = 1


def see_no_value() -> None:
    seen = shared.value
    assert seen == 0, "it was seen"


def store_left_read_right() -> None:
    shared.value = 1
    shared.left = shared.other


def store_right_read_left() -> None:
    shared.other = 1
    shared.right = shared.value


def one_saw_the_other() -> bool:
    return shared.left != 0 or shared.right != 0


def wait_for_value() -> None:
    with atomic():
        wait_until(shared.value == 1)
        shared.value = 2


def value_is_small() -> bool:
    return shared.value < 2


def miscount() -> None:
    """The sum is wrong by one; nobody looks before the lock is given back."""
    with shared.first:
        shared.value += 1
        shared.other += 2


def sums_are_equal() -> bool:
    return held(shared.first) or shared.value == shared.other


def value_is_one() -> bool:
    return shared.value == 1
