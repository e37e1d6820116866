# SPDX-License-Identifier: GPL-2.0-or-later
"""The search engine: breadth first over states of fixed size, each stored whole.

It knows nothing of the model, which comes in as two code addresses, so numba compiles it once and keeps it.  A state is
``words`` 64-bit words; state ``i`` lies at ``arena[i * words]``.  The visited set is a table of state numbers with open
addressing, and 16 more bits of the hash beside each, so that most probes touch no state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types, uint64
from numba.extending import intrinsic

from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE

# counters[...]
NEXT, COUNT, TRANSITIONS, DEADLOCKS, FINISHED = 0, 1, 2, 3, 4
#: The first violation: what, the state it was found in, the thread and the choice that led to it, the step's result.
FOUND, FOUND_STATE, FOUND_THREAD, FOUND_CHOICE, FOUND_RESULT = 5, 6, 7, 8, 9
LEVEL_END, DEPTH = 10, 11
COUNTERS = 12

# counters[FOUND]
NOTHING, FAULT, INVARIANT, DEADLOCK = 0, 1, 2, 3

# What explore() returns.
DONE, FULL, VIOLATED, PAUSED = 0, 1, 2, 3


def _call_step(typing_context: Any, address: Any, state: Any, which: Any, choice: Any) -> Any:
    """``i32 f(ptr, i32, i32)`` at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        small, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(small, [pointer, small, small])
        function = builder.inttoptr(args[0], kind.as_pointer())
        numbers = [builder.trunc(a, small) for a in args[2:]]
        return builder.call(function, [builder.inttoptr(args[1], pointer), *numbers])

    return types.int32(types.int64, types.int64, types.int64, types.int64), generate


call_step: Any = intrinsic(_call_step)


@njit(inline="always")
def hash_words(arena: Any, base: Any, words: Any) -> Any:
    """A 64-bit hash of a state."""
    h = uint64(0x9E3779B97F4A7C15)
    for k in range(words):
        h = (h ^ arena[base + k]) * uint64(0xFF51AFD7ED558CCD)
        h ^= h >> uint64(32)
    return h


@njit(cache=True)
def rehash(arena: Any, words: Any, count: Any, table: Any, tags: Any) -> None:
    """Enter all states into an empty, larger table."""
    mask = uint64(table.size - 1)
    for i in range(count):
        h = hash_words(arena, i * words, words)
        slot = h & mask
        while table[slot] != 0:
            slot = (slot + uint64(1)) & mask
        table[slot] = i + 1
        tags[slot] = h >> uint64(48)


@njit(cache=True, nogil=True)
def explore(
    step: Any,
    good: Any,
    threads: Any,
    invariants: Any,
    daemons: Any,
    words: Any,
    arena: Any,
    address: Any,
    table: Any,
    tags: Any,
    parent: Any,
    via: Any,
    capacity: Any,
    counters: Any,
    expand: Any,
) -> Any:
    """Expand up to ``expand`` more states, breadth first.

    ``address`` is that of the arena, ``capacity`` how many states fit; ``via`` holds thread and choice (in 256ths) of
    the step that led to a state from its ``parent``.  ``daemons`` says of each thread whether it need not end.
    """
    mask = uint64(table.size - 1)
    count, i = counters[COUNT], counters[NEXT]
    stop = i + expand
    room = threads * 8
    while i < count:
        if i >= stop:
            counters[COUNT], counters[NEXT] = count, i
            return PAUSED
        if count + room >= capacity or (count + room) * 4 >= table.size * 3:
            counters[COUNT], counters[NEXT] = count, i
            return FULL
        if i == counters[LEVEL_END]:
            counters[LEVEL_END] = count
            counters[DEPTH] += 1
        enabled = 0
        waiting = 0
        for t in range(threads):
            choice = 0
            while True:
                base = count * words
                source = i * words
                for k in range(words):
                    arena[base + k] = arena[source + k]
                result = call_step(step, address + base * 8, t, choice)
                if result == BLOCKED:
                    if not daemons[t]:
                        waiting += 1
                    break
                if result in (ENDED, NO_CHOICE):
                    break
                enabled += 1
                counters[TRANSITIONS] += 1
                if result >= FAULTED:
                    if counters[FOUND] == NOTHING:
                        counters[FOUND], counters[FOUND_STATE], counters[FOUND_THREAD] = FAULT, i, t
                        counters[FOUND_CHOICE], counters[FOUND_RESULT] = choice, result
                    break
                h = hash_words(arena, base, words)
                slot = h & mask
                tag = h >> uint64(48)
                new = False
                while True:
                    entry = table[slot]
                    if entry == 0:
                        new = True
                        break
                    if tags[slot] == tag:
                        other = (np.int64(entry) - 1) * words
                        same = True
                        for k in range(words):
                            if arena[other + k] != arena[base + k]:
                                same = False
                                break
                        if same:
                            break
                    slot = (slot + uint64(1)) & mask
                if new:
                    table[slot] = count + 1
                    tags[slot] = tag
                    parent[count] = i
                    via[count] = t + 256 * choice
                    for k in range(invariants):
                        verdict = call_step(good, address + base * 8, k, 0)
                        if verdict != 1 and counters[FOUND] == NOTHING:
                            counters[FOUND], counters[FOUND_STATE], counters[FOUND_THREAD] = INVARIANT, count, k
                            counters[FOUND_CHOICE], counters[FOUND_RESULT] = 0, verdict
                    count += 1
                if result != MORE_CHOICES:
                    break
                choice += 1
        if enabled == 0:
            if waiting == 0:
                counters[FINISHED] += 1
            else:
                counters[DEADLOCKS] += 1
                if counters[FOUND] == NOTHING:
                    counters[FOUND], counters[FOUND_STATE] = DEADLOCK, i
        i += 1
        if counters[FOUND] != NOTHING:
            counters[COUNT], counters[NEXT] = count, i
            return VIOLATED
    counters[COUNT], counters[NEXT] = count, i
    return DONE
