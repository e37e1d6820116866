# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine of :mod:`pagelab.check.liveness`: edges between states, strongly connected components, shortest ways.

Compiled once, as :mod:`pagelab.check.engine` is, and like it on memory by address.
"""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

from pagelab.check.liveness_layout import (
    ARENA,
    COULD,
    DEPTH,
    DONE,
    ENABLED,
    ENTRIES,
    EVERYBODY,
    FAILING,
    FULL,
    IN_TURN,
    INFINITE,
    KEYS,
    LABELS,
    LAST_ENTRY,
    LAST_STEP,
    LINKED,
    NO_ROOM,
    NONE,
    OFFSETS,
    OTHERWISE,
    PARENTS,
    PAUSED,
    PLACES,
    PREEMPTION,
    ROOM,
    SEEN,
    SEEN_SLOTS,
    SLOTS,
    STATES,
    STEP,
    STEPS,
    SWITCH,
    TABLE,
    TARGETS,
    THREADS,
    USED,
    VIAS,
    WORDS,
    WORK,
)
from pagelab.check.raw import (
    call_step,
    exported,
    get,
    inlined,
    load16,
    load32,
    load64,
    put,
    store16,
    store32,
    store64,
)
from pagelab.check.words import copy_state, hash_state, same_state, slot_of
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, MORE_CHOICES, NO_CHOICE


@inlined
def _get32(array: Any, i: Any) -> Any:
    return int64(load32(array + 4 * i))


@inlined
def _put32(array: Any, i: Any, value: Any) -> None:
    store32(array + 4 * i, uint64(value))


@inlined
def _find(graph: Any, state: Any) -> Any:
    """The number of a state, or -1 if it was not stored."""
    words, arena, table, slots = get(graph, WORDS), get(graph, ARENA), get(graph, TABLE), get(graph, SLOTS)
    tag = hash_state(state, words) >> uint64(32)
    slot = slot_of(tag, slots)
    found = int64(-1)
    while True:
        entry = load64(table + 8 * slot)
        if entry == 0:
            break
        if entry >> uint64(32) == tag:
            number = int64(entry & uint64(0xFFFFFFFF)) - 1
            if same_state(arena + number * words * 8, state, words):
                found = number
                break
        slot += 1
        if slot == slots:
            slot = 0
    return found


@exported
def link(graph: Any, scratch: Any, budget: Any) -> Any:
    """Find the edges of up to ``budget`` more states.  FULL: the next state has a successor that was not stored."""
    words, step, threads = get(graph, WORDS), get(graph, STEP), get(graph, THREADS)
    offsets, targets, vias = get(graph, OFFSETS), get(graph, TARGETS), get(graph, VIAS)
    states, room = get(graph, STATES), get(graph, ROOM)
    i = get(graph, LINKED)
    stop = min(i + budget, states)
    edges = get(offsets, i)
    complete = True
    while i < stop and complete:
        source = get(graph, ARENA) + i * words * 8
        enabled = failing = int64(0)
        for t in range(threads):
            choice = 0
            while complete:
                copy_state(scratch, source, words)
                result = call_step(step, scratch, t, choice)
                if result in (BLOCKED, ENDED, NO_CHOICE):
                    break
                enabled |= int64(1) << t
                if result >= FAULTED:
                    failing |= int64(1) << t
                    break
                target = _find(graph, scratch)
                if target < 0 or edges == room:
                    complete = False
                    break
                _put32(targets, edges, target)
                store16(vias + 2 * edges, uint64(t + 256 * choice))
                edges += 1
                if result != MORE_CHOICES:
                    break
                choice += 1
        if complete:
            _put32(get(graph, ENABLED), i, enabled)
            _put32(get(graph, FAILING), i, failing)
            i += 1
            put(offsets, i, edges)
    put(graph, LINKED, i)
    if not complete:
        return int64(FULL)
    return int64(DONE) if i == states else int64(PAUSED)


@exported
def components(graph: Any, region: Any, component: Any, index: Any, low: Any, stack: Any, calls: Any, edge: Any) -> Any:
    """Number the strongly connected components (Tarjan 1972, without recursion); how many there are.

    ``region``: 32 bits a state, 0 for states that are left out; an edge counts if it stays within one region.
    ``component``: 32 bits a state, 0 at first.  The rest is scratch: 32 bits a state, of which ``index`` is 0 at first,
    and 64 bits a state for ``edge``.
    """
    states, offsets, targets = get(graph, STATES), get(graph, OFFSETS), get(graph, TARGETS)
    found = visited = on_stack = 0
    for root in range(states):
        if _get32(region, root) == 0 or _get32(index, root) != 0:
            continue
        depth = 0
        entering = int64(root)
        while True:
            if entering >= 0:
                visited += 1
                _put32(index, entering, visited)
                _put32(low, entering, visited)
                _put32(stack, on_stack, entering)
                on_stack += 1
                _put32(calls, depth, entering)
                depth += 1
                put(edge, entering, get(offsets, entering))
                entering = int64(-1)
            v = _get32(calls, depth - 1)
            e = get(edge, v)
            if e < get(offsets, v + 1):
                put(edge, v, e + 1)
                w = _get32(targets, e)
                if _get32(region, w) != _get32(region, v):
                    continue
                if _get32(index, w) == 0:
                    entering = w
                elif _get32(component, w) == 0:
                    _put32(low, v, min(_get32(low, v), _get32(index, w)))
                continue
            depth -= 1
            if _get32(low, v) == _get32(index, v):
                found += 1
                while True:
                    on_stack -= 1
                    w = _get32(stack, on_stack)
                    _put32(component, w, found)
                    if w == v:
                        break
            if depth == 0:
                break
            u = _get32(calls, depth - 1)
            _put32(low, u, min(_get32(low, u), _get32(low, v)))
    return found


@inlined
def _seen(search: Any, status: Any, thread: Any, state: Any) -> Any:
    """What threads have seen after a step to a state: four sets of 8 bits each.

    The lowest: who took a step; then who waited for something else than its turn; who could have taken a step; who
    could have, after waiting in a queue.  What does not matter any more is left out.
    """
    everybody = get(search, EVERYBODY)
    stepped = (status & 0xFF) | ((int64(1) << thread) if thread >= 0 else int64(0))
    in_turn = ((status >> 24) | _get32(get(search, IN_TURN), state)) & everybody & ~stepped
    otherwise = (((status >> 8) & 0xFF) | _get32(get(search, OTHERWISE), state)) & everybody & ~stepped & ~in_turn
    could = ((status >> 16) & 0xFF) | _get32(get(search, COULD), state)
    could &= everybody & ~stepped & ~in_turn & ~otherwise
    return stepped | (otherwise << 8) | (could << 16) | (in_turn << 24)


@inlined
def _enter(search: Any, key: Any, parent: Any, step: Any) -> None:
    """Append an entry unless it is known; whether there is room, the caller has made sure."""
    seen, mask = get(search, SEEN), get(search, SEEN_SLOTS) - 1
    h = key * uint64(0x9E3779B97F4A7C15)
    slot = int64((h ^ (h >> uint64(32))) & uint64(mask))
    while True:
        there = load64(seen + 8 * slot)
        if there == key:
            return
        if there == 0:
            break
        slot = (slot + 1) & mask
    used = get(search, USED)
    store64(seen + 8 * slot, key)
    store64(get(search, KEYS) + 8 * used, key)
    _put32(get(search, PARENTS), used, parent)
    store16(get(search, STEPS) + 2 * used, uint64(step))
    _put32(get(search, PLACES), used, slot)
    put(search, USED, used + 1)


@exported
def round_trip(graph: Any, search: Any, start: Any, bound: Any) -> Any:
    """The length of the shortest fair way from a state back to it, of at most ``bound`` steps, within its component.

    Breadth first over pairs of a state and what threads have seen on the way.  Fair: who could take a step on the way
    takes one, or waits somewhere for something else than its turn; and who waited in a queue and could, takes one.
    """
    offsets, targets, vias = get(graph, OFFSETS), get(graph, TARGETS), get(graph, VIAS)
    threads, labels = get(graph, THREADS), get(search, LABELS)
    for i in range(get(search, USED)):
        put(get(search, SEEN), _get32(get(search, PLACES), i), 0)
    put(search, USED, 0)
    begin = _seen(search, int64(0), int64(-1), start)
    _enter(search, (uint64(begin) << uint64(32)) | uint64(start + 1), 0, 0)
    head = length = 0
    level_end = 1
    work = get(search, WORK)
    while head < get(search, USED):
        if head == level_end:
            length += 1
            level_end = get(search, USED)
        if length == bound:
            break
        key = load64(get(search, KEYS) + 8 * head)
        state, status = int64(key & uint64(0xFFFFFFFF)) - 1, int64(key >> uint64(32))
        if get(search, USED) + threads * 256 > get(search, ENTRIES):
            put(search, WORK, work)
            return int64(NO_ROOM)
        for e in range(get(offsets, state), get(offsets, state + 1)):
            work += 1
            target = _get32(targets, e)
            if _get32(labels, target) != _get32(labels, start):
                continue
            via = int64(load16(vias + 2 * e))
            now = _seen(search, status, via & 0xFF, target)
            if target == start and now >> 16 == 0:
                put(search, LAST_ENTRY, head)
                put(search, LAST_STEP, via)
                put(search, WORK, work)
                return int64(length + 1)
            _enter(search, (uint64(now) << uint64(32)) | uint64(target + 1), head, via)
        head += 1
    put(search, WORK, work)
    return int64(NONE)


@exported
def nearest(
    graph: Any, labels: Any, start: Any, goal: Any, steppers: Any, waiters: Any, otherwise: Any, scratch: Any, via: Any
) -> Any:
    """The end of the shortest way of at least one step within a component to what is wanted, or -1; breadth first.

    Wanted is the state ``goal``, a step of one of ``steppers``, or a state in which one of ``waiters`` is among
    ``otherwise``.  ``scratch``: 32 bits a state for the queue, then as many, 0 at first, for the place in the queue of
    the state before, plus 1; ``via`` 16 bits a state.  The last step and where it comes from are kept for state
    ``states``, one beyond the last.
    """
    offsets, targets, vias = get(graph, OFFSETS), get(graph, TARGETS), get(graph, VIAS)
    queue = scratch
    before = scratch + 4 * (get(graph, STATES) + 1)
    end = get(graph, STATES)
    _put32(queue, 0, start)
    head, used = 0, 1
    while head < used:
        state = _get32(queue, head)
        head += 1
        for e in range(get(offsets, state), get(offsets, state + 1)):
            target = _get32(targets, e)
            if _get32(labels, target) != _get32(labels, start):
                continue
            step = load16(vias + 2 * e)
            stepper = int64(1) << int64(step & uint64(0xFF))
            if target == goal or stepper & steppers or _get32(otherwise, target) & waiters:
                _put32(before, end, head)
                store16(via + 2 * end, step)
                return target
            if target != start and _get32(before, target) == 0:
                _put32(before, target, head)
                store16(via + 2 * target, step)
                _put32(queue, used, target)
                used += 1
    return int64(-1)


@exported
def readable(graph: Any, goal: Any, costs: Any) -> Any:
    """What the shortest ways to a state cost that go on from each state with a step of each thread.

    ``costs``: 32 bits for [state, thread], up to the goal, whose row is given; preemptions count most, then switches.
    """
    offsets, targets, vias = get(graph, OFFSETS), get(graph, TARGETS), get(graph, VIAS)
    threads, depth = get(graph, THREADS), get(graph, DEPTH)
    last = _get32(depth, goal)
    for i in range(goal - 1, -1, -1):
        row = costs + 4 * i * threads
        for t in range(threads):
            _put32(row, t, INFINITE)
        if _get32(depth, i) >= last:
            continue
        for e in range(get(offsets, i), get(offsets, i + 1)):
            target = _get32(targets, e)
            if target > goal or _get32(depth, target) != _get32(depth, i) + 1:
                continue
            t = int64(load16(vias + 2 * e)) & 0xFF
            able = _get32(get(graph, ENABLED), target) >> t & 1
            best = _get32(row, t)
            for u in range(threads):
                cost = _get32(costs, target * threads + u)
                if cost != INFINITE:
                    if u != t:
                        cost += SWITCH + PREEMPTION * able
                    best = min(best, cost)
            _put32(row, t, best)
    return int64(0)
