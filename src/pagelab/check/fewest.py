# SPDX-License-Identifier: GPL-2.0-or-later
"""Among all schedules to a violation, the one with the fewest preemptions, then switches, then steps.

A preemption takes the turn from a thread that could have gone on; a switch is any change of the thread that takes
steps.  Such schedules are the ones that people believe.  Found by Dijkstra's algorithm over pairs of a state and the
thread that took the last step, with the costs above in one number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

from pagelab.check.engine import hash_state
from pagelab.check.raw import call_step
from pagelab.check.search import Schedule
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE

#: Costs: preemptions << 42 | switches << 21 | steps.
PREEMPTION, SWITCH, STEP = 1 << 42, 1 << 21, 1

FOUND, FULL, EXHAUSTED = 0, 1, 2


@njit(inline="always")
def _push(heap: Any, keys: Any, size: Any, key: Any, node: Any) -> Any:
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if keys[up] <= key:
            break
        keys[i], heap[i] = keys[up], heap[up]
        i = up
    keys[i], heap[i] = key, node
    return size + 1


@njit(inline="always")
def _pop(heap: Any, keys: Any, size: Any) -> Any:
    """Take out the smallest, which the caller has read from the front."""
    size -= 1
    key, node = keys[size], heap[size]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and keys[down + 1] < keys[down]:
            down += 1
        if keys[down] >= key:
            break
        keys[i], heap[i] = keys[down], heap[down]
        i = down
    keys[i], heap[i] = key, node
    return size


@njit(cache=True, nogil=True)
def search(
    step: Any,
    good: Any,
    threads: Any,
    invariants: Any,
    daemons: Any,
    words: Any,
    arena: Any,
    address: Any,
    table: Any,
    cost: Any,
    parent: Any,
    via: Any,
    heap: Any,
    keys: Any,
    result: Any,
) -> Any:
    """From the state at the start of the arena; ``words`` counts one more word, for the thread that took the last step.

    ``result``: the node before the violation, the thread and the choice of the last step (-1: the state itself is bad).
    """
    mask = uint64(table.size - 1)
    capacity = cost.size - threads * 8 - 8
    arena[words - 1] = threads  # nobody yet
    table[hash_state(address, words) & mask] = 1
    cost[0] = 0
    count, size = 1, _push(heap, keys, 0, 0, 0)
    able = np.zeros(threads, np.bool_)
    while size:
        i = heap[0]
        key = keys[0]
        size = _pop(heap, keys, size)
        if key != cost[i]:
            continue  # a cheaper way was found meanwhile
        if count >= capacity or size >= keys.size - threads * 8 - 8:
            return FULL
        source = i * words
        last = np.int64(arena[source + words - 1])
        for k in range(invariants):
            if call_step(good, address + source * 8, k, 0) != 1:
                result[0], result[1], result[2] = i, -1, 0
                return FOUND
        scratch = count * words
        waiting = enabled = 0
        for t in range(threads):
            for k in range(words):
                arena[scratch + k] = arena[source + k]
            first = call_step(step, address + scratch * 8, t, 0)
            able[t] = first != BLOCKED and first != ENDED and first != NO_CHOICE
            enabled += able[t]
            waiting += first == BLOCKED and not daemons[t]
        if enabled == 0 and waiting:
            result[0], result[1], result[2] = i, -1, 0
            return FOUND
        for t in range(threads):
            if not able[t]:
                continue
            price = key + STEP
            if last != threads and t != last:
                price += SWITCH + (PREEMPTION if able[last] else 0)
            choice = 0
            while True:
                base = count * words
                for k in range(words):
                    arena[base + k] = arena[source + k]
                outcome = call_step(step, address + base * 8, t, choice)
                if outcome in (BLOCKED, ENDED, NO_CHOICE):
                    break
                if outcome >= FAULTED:
                    # The turn is taken at the front of the queue only if nothing cheaper waits: queue it as an end.
                    arena[base] = uint64(0xFFFFFFFFFFFFFFFF)
                    for k in range(1, words):
                        arena[base + k] = uint64(0)
                arena[base + words - 1] = t
                slot = hash_state(address + base * 8, words) & mask
                node: Any = np.int64(-1)
                while table[slot] != 0:
                    other = np.int64(table[slot]) - 1
                    same = True
                    for k in range(words):
                        if arena[other * words + k] != arena[base + k]:
                            same = False
                            break
                    if same:
                        node = other
                        break
                    slot = (slot + uint64(1)) & mask
                if node < 0:
                    node = count
                    table[slot] = count + 1
                    cost[node] = 1 << 62
                    count += 1
                if price < cost[node]:
                    cost[node] = price
                    parent[node] = i
                    via[node] = t + 256 * choice
                    size = _push(heap, keys, size, price, node)
                if outcome >= FAULTED:
                    result[3] = min(result[3], price)
                    if price == result[3]:
                        result[0], result[1], result[2] = i, t, choice
                    break
                if outcome != MORE_CHOICES:
                    break
                choice += 1
        # A fault is final once nothing cheaper is left in the queue.
        if result[3] < (1 << 62) and (size == 0 or keys[0] >= result[3]):
            return FOUND
    return EXHAUSTED


def fewest_preemptions(system: System, initial: Any, states: int, max_memory: int) -> Schedule | None:
    """The schedule to a violation that people believe most easily; None if that takes more memory than allowed.

    :param states: how many states the search stored that found the violation: a measure of what will be needed.
    """
    words = system.bytes // 8 + 1
    capacity = max(states * 2 * len(system.threads), 1 << 12)
    per_node = words * 8 + 8 + 4 + 2 + 2 * (4 + 8) + 2 * 4
    if capacity * per_node > max_memory:
        return None
    arena = np.zeros((capacity + 8) * words, np.uint64)
    arena[: words - 1] = initial.view(np.uint64)
    parent, via = np.zeros(capacity, np.uint32), np.zeros(capacity, np.uint16)
    result = np.array([0, 0, 0, 1 << 62], np.int64)
    found = search(
        system.address["step"],
        system.address["good"],
        len(system.threads),
        len(system.invariants),
        np.array([thread.daemon for thread in system.threads], np.bool_),
        words,
        arena,
        arena.ctypes.data,
        np.zeros(1 << int(np.ceil(np.log2(capacity * 1.5))), np.uint32),
        np.zeros(capacity, np.int64),
        parent,
        via,
        np.zeros(capacity * 2, np.int32),
        np.zeros(capacity * 2, np.int64),
        result,
    )
    if found != FOUND:
        return None
    steps = [(int(result[1]), int(result[2]))] if result[1] >= 0 else []
    node = int(result[0])
    while node:
        steps.append((int(via[node]) % 256, int(via[node]) // 256))
        node = int(parent[node])
    return Schedule(tuple(reversed(steps)))


def costs(system: System, initial: Any, schedule: Schedule) -> tuple[int, int, int]:
    """Preemptions, switches and steps of a schedule."""
    state = initial.copy()
    preemptions = switches = 0
    last = -1
    for thread, choice in schedule.steps:
        if last not in (-1, thread):
            switches += 1
            trial = state.copy()
            preemptions += system.step(trial, last) not in (BLOCKED, ENDED, NO_CHOICE)
        system.step(state, thread, choice)
        last = thread
    return preemptions, switches, len(schedule.steps)
