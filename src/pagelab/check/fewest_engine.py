# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine of :mod:`pagelab.check.fewest`: Dijkstra's algorithm over pairs of a state and who took the last step.

Compiled once, as :mod:`pagelab.check.engine` is, and like it on memory by address.
"""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

from pagelab.check.engine import _copy, _get, _put, _same, hash_state
from pagelab.check.fewest_layout import (
    ABLE,
    ARENA,
    CAPACITY,
    COST,
    DAEMONS,
    EXHAUSTED,
    FOUND,
    FULL,
    GOOD,
    HEAP,
    INFINITE,
    INVARIANTS,
    KEYS,
    MASK,
    PARENT,
    PREEMPTION,
    RESULT,
    STEP,
    STEP_COST,
    SWITCH,
    TABLE,
    THREADS,
    VIA,
    WORDS,
)
from pagelab.check.raw import call_step, compiled, inlined, load8, load32, store8, store16, store32, store64
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE


@inlined
def _push(block: Any, size: Any, key: Any, node: Any) -> Any:
    heap, keys = _get(block, HEAP), _get(block, KEYS)
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if _get(keys, up) <= key:
            break
        _put(keys, i, _get(keys, up))
        _put(heap, i, _get(heap, up))
        i = up
    _put(keys, i, key)
    _put(heap, i, node)
    return size + 1


@inlined
def _pop(block: Any, size: Any) -> Any:
    """Take out the smallest, which the caller has read from the front."""
    heap, keys = _get(block, HEAP), _get(block, KEYS)
    size -= 1
    key, node = _get(keys, size), _get(heap, size)
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and _get(keys, down + 1) < _get(keys, down):
            down += 1
        if _get(keys, down) >= key:
            break
        _put(keys, i, _get(keys, down))
        _put(heap, i, _get(heap, down))
        i = down
    _put(keys, i, key)
    _put(heap, i, node)
    return size


@inlined
def _result(block: Any, state: Any, thread: Any, choice: Any) -> None:
    """The node before the violation, the thread and the choice of the last step (-1: the state itself is bad)."""
    _put(block, RESULT, state)
    _put(block, RESULT + 1, thread)
    _put(block, RESULT + 2, choice)


@inlined
def _find(block: Any, at: Any, words: Any, new: Any) -> Any:
    """The node whose state is at an address; ``new`` if there was none, and from now on there is."""
    table, arena, mask = _get(block, TABLE), _get(block, ARENA), _get(block, MASK)
    slot = int64(hash_state(at, words) & uint64(mask))
    node = int64(load32(table + 4 * slot)) - 1
    while node >= 0:
        if _same(arena + node * words * 8, at, words):
            return node
        slot = (slot + 1) & mask
        node = int64(load32(table + 4 * slot)) - 1
    store32(table + 4 * slot, uint64(new + 1))
    return new


@compiled
def bad_state(block: Any, state: Any) -> Any:
    """1 if an invariant does not hold, else 0."""
    good = _get(block, GOOD)
    for k in range(_get(block, INVARIANTS)):
        if call_step(good, state, k, 0) != 1:
            return int64(1)
    return int64(0)


@compiled
def who_can(block: Any, source: Any, scratch: Any) -> Any:
    """Note which threads can take a step from a state; -1 if none can and one of them should."""
    words, threads, step = _get(block, WORDS), _get(block, THREADS), _get(block, STEP)
    able, daemons = _get(block, ABLE), _get(block, DAEMONS)
    waiting = enabled = int64(0)
    for t in range(threads):
        _copy(scratch, source, words)
        result = call_step(step, scratch, t, 0)
        can = result not in (BLOCKED, ENDED, NO_CHOICE)
        store8(able + t, uint64(can))
        if can:
            enabled += 1
        elif result == BLOCKED and load8(daemons + t) == 0:
            waiting += 1
    return int64(-1) if enabled == 0 and waiting > 0 else enabled


@compiled
def fewest(block: Any) -> Any:
    """From the state at the start of the arena, one word longer for the thread that took the last step."""
    words, threads, step = _get(block, WORDS), _get(block, THREADS), _get(block, STEP)
    arena, cost, able = _get(block, ARENA), _get(block, COST), _get(block, ABLE)
    parent, via = _get(block, PARENT), _get(block, VIA)
    capacity = _get(block, CAPACITY)
    cheapest_fault = int64(INFINITE)
    store64(arena + 8 * (words - 1), uint64(threads))  # nobody yet
    _find(block, arena, words, 0)
    _put(cost, 0, 0)
    count = int64(1)
    size = _push(block, int64(0), int64(0), int64(0))
    while size > 0:
        i, key = _get(_get(block, HEAP), 0), _get(_get(block, KEYS), 0)
        if cheapest_fault <= key:
            return int64(FOUND)  # nothing cheaper waits
        size = _pop(block, size)
        if key != _get(cost, i):
            continue  # a cheaper way was found meanwhile
        if count + threads * 8 + 8 >= capacity or size + threads * 8 + 8 >= 2 * capacity:
            return int64(FULL)
        source, scratch = arena + i * words * 8, arena + count * words * 8
        last = _get(source, words - 1)
        if bad_state(block, source) != 0 or who_can(block, source, scratch) < 0:
            _result(block, i, -1, 0)
            return int64(FOUND)
        for t in range(threads):
            if load8(able + t) == 0:
                continue
            price = key + STEP_COST
            if last != threads and t != last:
                price += SWITCH
                if load8(able + last) != 0:
                    price += PREEMPTION
            choice = 0
            while True:
                at = arena + count * words * 8
                _copy(at, source, words)
                outcome = call_step(step, at, t, choice)
                if outcome in (BLOCKED, ENDED, NO_CHOICE):
                    break
                if outcome >= FAULTED:
                    if price < cheapest_fault:
                        cheapest_fault = price
                        _result(block, i, t, choice)
                    break
                _put(at, words - 1, t)
                node = _find(block, at, words, count)
                if node == count:
                    _put(cost, node, INFINITE)
                    count += 1
                if price < _get(cost, node):
                    _put(cost, node, price)
                    store32(parent + 4 * node, uint64(i))
                    store16(via + 2 * node, uint64(t + 256 * choice))
                    size = _push(block, size, price, node)
                if outcome != MORE_CHOICES:
                    break
                choice += 1
    return int64(FOUND if cheapest_fault < INFINITE else EXHAUSTED)
