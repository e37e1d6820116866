# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine of :mod:`pagelab.check.fewest`: Dijkstra's algorithm over pairs of a state and who took the last step.

Compiled once, as :mod:`pagelab.check.engine` is, and like it on memory by address.
"""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

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
    STORE_BUFFER,
    SWITCH,
    TABLE,
    THREADS,
    VIA,
    WORDS,
)
from pagelab.check.raw import call_step, compiled, exported, get, load8, load32, put, store8, store16, store32, store64
from pagelab.check.words import copy_state, hash_state, same_state
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE


@compiled
def _push(block: Any, size: Any, key: Any, node: Any) -> Any:
    heap, keys = get(block, HEAP), get(block, KEYS)
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if get(keys, up) <= key:
            break
        put(keys, i, get(keys, up))
        put(heap, i, get(heap, up))
        i = up
    put(keys, i, key)
    put(heap, i, node)
    return size + 1


@compiled
def _pop(block: Any, size: Any) -> Any:
    """Take out the smallest, which the caller has read from the front."""
    heap, keys = get(block, HEAP), get(block, KEYS)
    size -= 1
    key, node = get(keys, size), get(heap, size)
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and get(keys, down + 1) < get(keys, down):
            down += 1
        if get(keys, down) >= key:
            break
        put(keys, i, get(keys, down))
        put(heap, i, get(heap, down))
        i = down
    put(keys, i, key)
    put(heap, i, node)
    return size


@compiled
def _result(block: Any, state: Any, thread: Any, choice: Any) -> Any:
    """The node before the violation, the thread and the choice of the last step (-1: the state itself is bad)."""
    put(block, RESULT, state)
    put(block, RESULT + 1, thread)
    put(block, RESULT + 2, choice)
    return 0


@compiled
def _find(block: Any, at: Any, words: Any, new: Any) -> Any:
    """The node whose state is at an address; ``new`` if there was none, and from now on there is."""
    table, arena, mask = get(block, TABLE), get(block, ARENA), get(block, MASK)
    slot = int64(hash_state(at, words) & uint64(mask))
    node = int64(load32(table + 4 * slot)) - 1
    while node >= 0:
        if same_state(arena + node * words * 8, at, words):
            return node
        slot = (slot + 1) & mask
        node = int64(load32(table + 4 * slot)) - 1
    store32(table + 4 * slot, uint64(new + 1))
    return new


@compiled
def bad_state(block: Any, state: Any) -> Any:
    """1 if an invariant does not hold, else 0."""
    good = get(block, GOOD)
    for k in range(get(block, INVARIANTS)):
        if call_step(good, state, k, 0) != 1:
            return int64(1)
    return int64(0)


@compiled
def who_can(block: Any, source: Any, scratch: Any) -> Any:
    """Note which threads can take a step from a state; -1 if none can and one of them should."""
    words, threads, step = get(block, WORDS), get(block, THREADS), get(block, STEP)
    able, daemons = get(block, ABLE), get(block, DAEMONS)
    waiting = enabled = int64(0)
    for t in range(threads):
        copy_state(scratch, source, words)
        result = call_step(step, scratch, t, 0)
        can = result not in (BLOCKED, ENDED, NO_CHOICE)
        store8(able + t, uint64(can))
        if can:
            enabled += 1
        elif result == BLOCKED and load8(daemons + t) == 0:
            waiting += 1
    return int64(-1) if enabled == 0 and waiting > 0 else enabled


@exported
def fewest(block: Any) -> Any:
    """From the state at the start of the arena, one word longer for the thread that took the last step."""
    words, threads, step = get(block, WORDS), get(block, THREADS), get(block, STEP)
    arena, cost, able = get(block, ARENA), get(block, COST), get(block, ABLE)
    parent, via = get(block, PARENT), get(block, VIA)
    capacity, daemons = get(block, CAPACITY), get(block, DAEMONS)
    cheapest_fault = int64(INFINITE)
    store64(arena + 8 * (words - 1), uint64(threads))  # nobody yet
    _find(block, arena, words, 0)
    put(cost, 0, 0)
    count = int64(1)
    size = _push(block, int64(0), int64(0), int64(0))
    while size > 0:
        i, key = get(get(block, HEAP), 0), get(get(block, KEYS), 0)
        if cheapest_fault <= key:
            return int64(FOUND)  # nothing cheaper waits
        size = _pop(block, size)
        if key != get(cost, i):
            continue  # a cheaper way was found meanwhile
        if count + threads * 8 + 8 >= capacity or size + threads * 8 + 8 >= 2 * capacity:
            return int64(FULL)
        source, scratch = arena + i * words * 8, arena + count * words * 8
        last = get(source, words - 1)
        if bad_state(block, source) != 0 or who_can(block, source, scratch) < 0:
            _result(block, i, -1, 0)
            return int64(FOUND)
        for t in range(threads):
            if load8(able + t) == 0:
                continue
            price = key + STEP_COST
            turn = int64(t)
            if load8(daemons + t) == STORE_BUFFER:
                turn = last  # nobody's turn ends when a store reaches memory
            elif last != threads and t != last:
                price += SWITCH
                if load8(able + last) != 0:
                    price += PREEMPTION
            choice = 0
            while True:
                at = arena + count * words * 8
                copy_state(at, source, words)
                outcome = call_step(step, at, t, choice)
                if outcome in (BLOCKED, ENDED, NO_CHOICE):
                    break
                if outcome >= FAULTED:
                    if price < cheapest_fault:
                        cheapest_fault = price
                        _result(block, i, t, choice)
                    break
                put(at, words - 1, turn)
                node = _find(block, at, words, count)
                if node == count:
                    put(cost, node, INFINITE)
                    count += 1
                if price < get(cost, node):
                    put(cost, node, price)
                    store32(parent + 4 * node, uint64(i))
                    store16(via + 2 * node, uint64(t + 256 * choice))
                    size = _push(block, size, price, node)
                if outcome != MORE_CHOICES:
                    break
                choice += 1
    return int64(FOUND if cheapest_fault < INFINITE else EXHAUSTED)
