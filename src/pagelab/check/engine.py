# SPDX-License-Identifier: GPL-2.0-or-later
"""The search engine: breadth first over states of fixed size, each stored whole, on one core or two.

It knows nothing of the model, which comes in as code addresses, so it is compiled once and kept.  All that it works on
is memory by address.  State ``i`` is ``words`` 64-bit words at ``arena + i * words * 8``; each worker stores its states
in a region of its own.  The visited set is one table with open addressing: 8 bytes a slot, a state's number plus 1 in
the low half, the high half of its hash in the other, which also says where the search for a slot begins.  Successors
wait in a ring until the cache lines that they need have come in.

``shared`` is an array of 64-bit numbers for all workers, ``own`` one for each, indexed by the names below.
"""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

from pagelab.check.engine_layout import (
    ACTIVE,
    ACTOR,
    ALIKE,
    ARENA,
    ARRIVED,
    BASES,
    BITS,
    BITS_A_STATE,
    BUDGET,
    CHUNK,
    CHUNK_END,
    COUNT,
    CURSORS,
    DEADLOCKS,
    DEPTH,
    DONE,
    ENDS,
    FINISHED,
    FOUND,
    FOUND_WORDS,
    FULL,
    GENERATION,
    GO_ON,
    GOOD,
    HASHES,
    IDLE,
    INVARIANTS,
    LEAVE,
    LIMIT,
    MAX_CHAIN,
    NEVER_IDLE,
    NOTED,
    NUMBER,
    OTHER,
    OTHERS,
    OWNS,
    PARENT,
    PATIENCE,
    PAUSED,
    PC_MASK,
    REDUCED,
    REGION,
    RING,
    RING_ENTRY_WORDS,
    RING_SIZE,
    SAFE,
    SHARED_FROM,
    SLOTS,
    STATE_CHUNK,
    STEP_BY_STEP,
    STEPS,
    STOPS,
    STORE,
    TABLE,
    THREADS,
    TOUCHED,
    TRANSITIONS,
    VIA,
    WORDS,
    WORKERS,
    YIELD,
)
from pagelab.check.raw import (
    call_plain,
    call_step,
    call_thread,
    compiled,
    exported,
    fetch_add,
    get,
    hashing,
    load8,
    load16,
    load32,
    load64,
    prefetch,
    put,
    read_shared,
    store8,
    store16,
    store32,
    store64,
    swap_zero,
)
from pagelab.check.words import copy_state, hash_state, same_state, slot_of
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE


@exported
def rehash(old: Any, begin: Any, end: Any, new: Any, new_slots: Any) -> Any:
    """Enter what some slots of a table hold into a larger one, into which others may be entering the rest."""
    for i in range(begin, end):
        entry = load64(old + 8 * i)
        if entry != 0:
            slot = slot_of(entry >> uint64(32), new_slots)
            while swap_zero(new + 8 * slot, entry) != 0:
                slot += 1
                if slot == new_slots:
                    slot = 0
    return 0


@compiled
def _note(own: Any, which: Any, state: Any, thread: Any, choice: Any, result: Any) -> Any:
    """Remember the first violation of its kind."""
    at = get(own, FOUND) + 8 * FOUND_WORDS * which
    if load64(at) == 0:
        put(own, NOTED, get(own, NOTED) + 1)
        store64(at, uint64(1))
        store64(at + 8, uint64(state))
        store64(at + 16, uint64(thread))
        store64(at + 24, uint64(choice))
        store64(at + 32, uint64(result))
    return 0


@compiled
def _stop_of(shared: Any, state: Any, thread: Any) -> Any:
    """The number of the stop that a thread stands at."""
    return int64(load16(state + int64(load16(get(shared, BASES) + 2 * thread)))) & get(shared, PC_MASK)


@hashing
def _touched(shared: Any, state: Any, thread: Any) -> Any:
    """The properties that a thread's next step may change, as bits."""
    pc = _stop_of(shared, state, thread)
    return uint64(load32(get(shared, TOUCHED) + 4 * (thread * get(shared, STOPS) + pc)))


@compiled
def _is_safe(shared: Any, state: Any, thread: Any, threads: Any) -> Any:
    """Whether nothing that others may do before it matters to the next step of a thread, nor it to them."""
    pcs = get(shared, STOPS)
    pc = _stop_of(shared, state, thread)
    actor = int64(load16(get(shared, ACTOR) + 2 * (thread * pcs + pc)))
    if actor == 0:
        return 0
    row = get(shared, SAFE) + actor * get(shared, OTHERS)
    other = get(shared, OTHER)
    for u in range(threads):
        if u != thread:
            pc = _stop_of(shared, state, u)
            if load8(row + int64(load16(other + 2 * (u * pcs + pc)))) == 0:
                return 0
    return 1


@compiled
def follow(shared: Any, state: Any, last: Any, counts: Any) -> Any:
    """Take safe steps for as long as there are any, in place; 0, or what a step that faulted returned.

    ``counts``: its first number becomes how many steps were taken, its second the properties that they may change.
    """
    threads, steps = get(shared, THREADS), get(shared, STEPS)
    taken = 0
    touched = uint64(0)
    thread = last
    while taken < MAX_CHAIN:
        moved = False
        for _ in range(threads):
            if _is_safe(shared, state, thread, threads):
                bits = _touched(shared, state, thread)
                result = call_thread(get(steps, thread), state, 0)
                if result == BLOCKED:  # at its first operation, so the state is as it was
                    thread += 1
                    if thread == threads:
                        thread = 0
                    continue
                taken += 1
                touched |= bits
                if result >= FAULTED:
                    put(counts, 0, taken)
                    return result
                moved = True
                break
            thread += 1
            if thread == threads:
                thread = 0
        if not moved:
            break
    put(counts, 0, taken)
    store64(counts + 8, touched)
    return int64(0)


@compiled
def _before(one: Any, other: Any, length: Any) -> Any:
    """Whether bytes come before others, as bytes of Python do: 1 or 0."""
    for k in range(length):
        x, y = int64(load8(one + k)), int64(load8(other + k))
        if x != y:
            return int64(x < y)
    return 0


@compiled
def in_order(groups: Any, state: Any) -> Any:
    """Have the threads of each group stand in order, in place."""
    at = groups + 8
    for _ in range(get(groups, 0)):
        size, length = get(at, 0), get(at, 1)
        for i in range(1, size):
            j = i
            while j > 0 and _before(state + get(at, 2 + j), state + get(at, 1 + j), length):
                one, other = state + get(at, 2 + j), state + get(at, 1 + j)
                for k in range(length):
                    x, y = load8(one + k), load8(other + k)
                    store8(one + k, y)
                    store8(other + k, x)
                j -= 1
        at += 8 * (2 + size)
    return 0


@compiled
def _keep(shared: Any, own: Any, i: Any, at: Any) -> Any:
    """Keep how a new state was reached, and ask the properties that the step may have changed."""
    state = at + 8 * RING_ENTRY_WORDS
    store32(get(shared, PARENT) + 4 * i, load64(at + 16))
    store16(get(shared, VIA) + 2 * i, load64(at + 24))
    ask = load64(at + 32)
    k = 0
    while ask != 0:
        if ask & uint64(1) != 0:
            verdict = call_step(get(shared, GOOD), state, k, 0)
            if verdict != 1:
                _note(own, k, i, 0, 0, verdict)
        ask >>= uint64(1)
        k += 1
    return 0


@compiled
def _set_bits(table: Any, bits: Any, at: Any) -> Any:
    """Set the bits of a hash; 1 if one of them was not set before."""
    h = load64(at + 8)
    step = (h >> uint64(32)) | uint64(1)
    new = int64(0)
    for _ in range(BITS_A_STATE):
        bit = int64(h & uint64(bits - 1))
        byte = int64(load8(table + (bit >> 3)))
        if byte >> (bit & 7) & 1 == 0:
            store8(table + (bit >> 3), uint64(byte | 1 << (bit & 7)))
            new = int64(1)
        h += step * uint64(0x9E3779B97F4A7C15)
    return new


@compiled
def flush_bits(shared: Any, own: Any, pending: Any) -> Any:
    """flush() where the visited set is bits."""
    words, arena, ring = get(shared, WORDS), get(shared, ARENA), get(own, RING)
    stride = 8 * (words + RING_ENTRY_WORDS)
    count = get(own, COUNT)
    for e in range(pending):
        at = ring + e * stride
        if _set_bits(get(shared, TABLE), get(shared, SLOTS) * 64, at):
            copy_state(arena + count * words * 8, at + 8 * RING_ENTRY_WORDS, words)
            _keep(shared, own, count, at)
            count += 1
    put(own, COUNT, count)
    return 0


@compiled
def flush(shared: Any, own: Any, pending: Any) -> Any:
    """Look up the successors in the ring, in order, and store those that are new."""
    if get(shared, STORE) == BITS:
        return flush_bits(shared, own, pending)
    hashes = get(shared, STORE) == HASHES
    words, arena = get(shared, WORDS), get(shared, ARENA)
    table, slots = get(shared, TABLE), get(shared, SLOTS)
    ring, number = get(own, RING), get(own, NUMBER)
    alone = get(shared, WORKERS) == 1
    stride = 8 * (words + RING_ENTRY_WORDS)
    if not hashes:
        for e in range(pending):
            entry = load64(table + 8 * int64(load64(ring + e * stride)))
            if entry >> uint64(32) == load64(ring + e * stride + 8) >> uint64(32):
                prefetch(arena + (int64(entry & uint64(0xFFFFFFFF)) - 1) * words * 8)
    count = get(own, COUNT)
    first = number * get(shared, REGION)
    for e in range(pending):
        at = ring + e * stride
        slot, h = int64(load64(at)), load64(at + 8)
        tag = h >> uint64(32)
        state = at + 8 * RING_ENTRY_WORDS
        written = False
        i = first + count
        while True:
            entry = load64(table + 8 * slot)
            if entry == 0:
                if not written:
                    copy_state(arena + i * words * 8, state, words)
                    written = True
                new = h if hashes else (tag << uint64(32)) | uint64(i + 1)
                if alone:
                    store64(table + 8 * slot, new)
                else:
                    entry = swap_zero(table + 8 * slot, new)
                if entry == 0:
                    _keep(shared, own, i, at)
                    count += 1
                    break
            if hashes:
                if entry == h:
                    break
            elif entry >> uint64(32) == tag:
                other = arena + (int64(entry & uint64(0xFFFFFFFF)) - 1) * words * 8
                if same_state(other, state, words):
                    break
            slot += 1
            if slot == slots:
                slot = 0
    put(own, COUNT, count)
    return 0


@compiled
def expand(shared: Any, own: Any, i: Any, pending: Any) -> Any:
    """Put the successors of state ``i`` into the ring; how many are in it then."""
    words, slots, table = get(shared, WORDS), get(shared, SLOTS), get(shared, TABLE)
    steps, threads, invariants = get(shared, STEPS), get(shared, THREADS), get(shared, INVARIANTS)
    ring = get(own, RING)
    stride = 8 * (words + RING_ENTRY_WORDS)
    source = get(shared, ARENA) + i * words * 8
    reduced, alike, bits = get(shared, REDUCED), get(shared, ALIKE), get(shared, STORE) == BITS
    transitions = enabled = waiting = 0
    fresh = False  # whether the state in the next entry is the source still
    for t in range(threads):
        choice = 0
        touched = _touched(shared, source, t)
        while True:
            at = ring + pending * stride
            state = at + 8 * RING_ENTRY_WORDS
            if not fresh:
                copy_state(state, source, words)
                fresh = True
            result = call_thread(get(steps, t), state, choice)
            if result == BLOCKED:
                idle = int64(load16(get(shared, IDLE) + 2 * t))
                if idle == NEVER_IDLE or idle != _stop_of(shared, source, t):
                    waiting += 1
                break
            if result in (ENDED, NO_CHOICE):
                break
            fresh = False
            enabled += 1
            transitions += 1
            if result >= FAULTED:
                _note(own, invariants + 1 + result - FAULTED, i, t, choice, result)
                break
            failed = int64(0)
            ask = touched
            if reduced != 0:
                failed = follow(shared, state, t, at)
                transitions += get(at, 0)
                ask = touched | load64(at + 8)
                if failed >= FAULTED:
                    _note(own, invariants + 1 + failed - FAULTED, i, t, choice, failed)
            if failed == 0:
                if alike != 0:
                    in_order(alike, state)
                h = hash_state(state, words)
                slot = slot_of(h >> uint64(32), slots)
                prefetch(table + (int64(h & uint64(slots * 64 - 1)) >> 3 if bits else 8 * slot))
                store64(at, uint64(slot))
                store64(at + 8, h)
                store64(at + 16, uint64(i))
                store64(at + 24, uint64(t + 256 * choice))
                store64(at + 32, ask)
                pending += 1
                if pending == RING_SIZE:
                    flush(shared, own, pending)
                    pending = 0
            if result != MORE_CHOICES:
                break
            choice += 1
    if enabled == 0:
        if waiting == 0:
            put(own, FINISHED, get(own, FINISHED) + 1)
        else:
            put(own, DEADLOCKS, get(own, DEADLOCKS) + 1)
            _note(own, invariants, i, 0, 0, 0)
    put(own, TRANSITIONS, get(own, TRANSITIONS) + transitions)
    return pending


@exported
def begin(shared: Any, own: Any) -> Any:
    """Store the state in the first entry of the ring after its safe steps; 0, or what a step that faulted returned."""
    words, at = get(shared, WORDS), get(own, RING)
    state = at + 8 * RING_ENTRY_WORDS
    failed = int64(0)
    if get(shared, REDUCED) != 0:
        failed = follow(shared, state, 0, at)
        put(own, TRANSITIONS, get(at, 0))
    if failed >= FAULTED:
        _note(own, get(shared, INVARIANTS) + 1 + failed - FAULTED, 0, 0, 0, failed)
        return failed
    if get(shared, ALIKE) != 0:
        in_order(get(shared, ALIKE), state)
    h = hash_state(state, words)
    store64(at, uint64(slot_of(h >> uint64(32), get(shared, SLOTS))))
    store64(at + 8, h)
    store64(at + 16, uint64(0))
    store64(at + 24, uint64(0))
    store64(at + 32, (uint64(1) << uint64(get(shared, INVARIANTS))) - uint64(1))
    flush(shared, own, 1)
    return failed


@compiled
def _next_chunk(shared: Any, own: Any) -> Any:
    """Get some states of this level to expand; False if there are none left."""
    workers, number = get(shared, WORKERS), get(own, NUMBER)
    for k in range(workers):
        region = number + k
        if region >= workers:
            region -= workers
        end = get(shared, ENDS + region)
        if get(shared, CURSORS + region) < end:
            begin = fetch_add(shared + 8 * (CURSORS + region), STATE_CHUNK)
            if begin < end:
                put(own, CHUNK, begin)
                put(own, CHUNK_END, min(begin + STATE_CHUNK, end))
                return 1
    return 0


@exported
def next_level(shared: Any) -> Any:
    """Make the states found since the level began the next one; how many they are."""
    size = 0
    for w in range(get(shared, WORKERS)):
        own, first = get(shared, OWNS + w), w * get(shared, REGION)
        begin, end = max(get(shared, ENDS + w), first), first + get(own, COUNT)
        put(shared, CURSORS + w, begin)
        put(shared, ENDS + w, end)
        put(own, CHUNK, 0)
        put(own, CHUNK_END, 0)
        size += end - begin
    return size


@compiled
def _goes_on(shared: Any) -> Any:
    """Whether the same workers can go on with the next level, without asking the caller."""
    if get(shared, STEP_BY_STEP) != 0:
        return 0
    workers = get(shared, WORKERS)
    size = 0
    for w in range(workers):
        own, first = get(shared, OWNS + w), w * get(shared, REGION)
        if get(own, NOTED) != 0 and get(shared, GO_ON) == 0:
            return 0
        size += first + get(own, COUNT) - max(get(shared, ENDS + w), first)
    if size == 0 or (workers > 1 and (size >= get(shared, SHARED_FROM)) != (get(shared, ACTIVE) > 1)):
        return 0
    return 1


@compiled
def _meet(shared: Any) -> Any:
    """Wait for the other workers at the end of a level; whether there is another level to work on."""
    generation = read_shared(shared + 8 * GENERATION)
    if fetch_add(shared + 8 * ARRIVED, 1) == get(shared, ACTIVE) - 1:
        if read_shared(shared + 8 * LEAVE) == 0:
            if _goes_on(shared):
                next_level(shared)
                put(shared, DEPTH, get(shared, DEPTH) + 1)
                put(shared, ARRIVED, 0)
            else:
                fetch_add(shared + 8 * LEAVE, 1)
        fetch_add(shared + 8 * GENERATION, 1)
    looks = 0
    while read_shared(shared + 8 * GENERATION) == generation and read_shared(shared + 8 * LEAVE) == 0:
        looks += 1
        if looks > PATIENCE:
            call_plain(get(shared, YIELD))
    # If one has left by now, it was in the next level, and this one has to be called again anyway.
    return int64(read_shared(shared + 8 * LEAVE) == 0)


@compiled
def _level(shared: Any, own: Any) -> Any:
    """Expand states of this level until there are none left (DONE), no room (FULL) or no budget (PAUSED)."""
    limit = get(own, LIMIT)
    pending = 0
    outcome = int64(DONE)
    while True:
        if get(own, BUDGET) == 0:
            outcome = int64(PAUSED)
            break
        if get(own, COUNT) + RING_SIZE > limit:
            outcome = int64(FULL)
            break
        if get(own, CHUNK) == get(own, CHUNK_END) and not _next_chunk(shared, own):
            break
        i = get(own, CHUNK)
        pending = expand(shared, own, i, pending)
        put(own, CHUNK, i + 1)
        put(own, BUDGET, get(own, BUDGET) - 1)
    flush(shared, own, pending)
    return outcome


@exported
def explore(shared: Any, own: Any) -> Any:
    """Expand level after level: until the caller is to decide what comes next (DONE), until there is no room (FULL) or
    no budget (PAUSED) left.
    """
    while True:
        outcome = _level(shared, own)
        if outcome != DONE:
            fetch_add(shared + 8 * LEAVE, 1)
            return outcome
        if not _meet(shared):
            return outcome
