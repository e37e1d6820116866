# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer of the compiled model in numba: what a Python programmer would write for speed.

The same as peer.c, for pages of one migratetype and of order 0 on the pcplists; one int32 array holds everything, which
is the fastest form that numba has been found to take (arrays of records, and several arrays, are slower).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba import njit

State = npt.NDArray[np.int32]
jit = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", njit)

NIL, MAX_ORDER, SCALE_MAX = -1, 11, 5
BUDDY, ON_PCPLIST, ALLOCATED, IN_FLIGHT, TAIL = 1, 2, 3, 4, 5
# Fixed places of the array: those of a pcplist, then head, tail and count of each order, then four numbers a page.
HEAD, LAST, COUNT, HIGH, BATCH, FACTOR, LOCKED, FREE_PAGES, SEED, NR_LIVE, NR_PAGES = range(11)
AREAS = 16
PAGES = AREAS + 3 * MAX_ORDER + 15  # so that no page crosses a cache line
NEXT, PREV, ORDER, STATE = PAGES, PAGES + 1, PAGES + 2, PAGES + 3


@jit
def add_free(s: State, page: int, order: int, to_tail: bool) -> None:
    area = AREAS + 3 * order
    if to_tail:
        other = s[area + 1]
        s[NEXT + 4 * page] = NIL
        s[PREV + 4 * page] = other
        if other == NIL:
            s[area] = page
        else:
            s[NEXT + 4 * other] = page
        s[area + 1] = page
    else:
        other = s[area]
        s[NEXT + 4 * page] = other
        s[PREV + 4 * page] = NIL
        if other == NIL:
            s[area + 1] = page
        else:
            s[PREV + 4 * other] = page
        s[area] = page
    s[ORDER + 4 * page] = order
    s[STATE + 4 * page] = BUDDY
    s[area + 2] += 1


@jit
def del_free(s: State, page: int, order: int) -> None:
    area = AREAS + 3 * order
    after, before = s[NEXT + 4 * page], s[PREV + 4 * page]
    if before == NIL:
        s[area] = after
    else:
        s[NEXT + 4 * before] = after
    if after == NIL:
        s[area + 1] = before
    else:
        s[PREV + 4 * after] = before
    s[STATE + 4 * page] = IN_FLIGHT
    s[ORDER + 4 * page] = 0
    s[area + 2] -= 1


@jit
def is_free(s: State, page: int, order: int) -> bool:
    return bool(s[STATE + 4 * page] == BUDDY and s[ORDER + 4 * page] == order)


@jit
def give_back(s: State, page: int, order: int) -> None:
    s[FREE_PAGES] += 1 << order
    buddy = 0
    while order < MAX_ORDER - 1:
        buddy = page ^ (1 << order)
        if not is_free(s, buddy, order):
            break
        del_free(s, buddy, order)
        s[STATE + 4 * (page | buddy)] = TAIL
        page = page & buddy
        order += 1
    likely = order < MAX_ORDER - 2 and is_free(s, (page & buddy) ^ (2 << order), order + 1)
    add_free(s, page, order, likely)


@jit
def take(s: State, order: int) -> int:
    for current in range(order, MAX_ORDER):
        page = int(s[AREAS + 3 * current])
        if page != NIL:
            del_free(s, page, current)
            while current > order:
                current -= 1
                add_free(s, page + (1 << current), current, False)
            return page
    return NIL


@jit
def refill(s: State) -> None:
    count = max(s[BATCH], 2) if s[BATCH] > 1 else 1
    for _ in range(count):
        page = take(s, 0)
        if page == NIL:
            break
        other = s[LAST]
        s[NEXT + 4 * page] = NIL
        s[PREV + 4 * page] = other
        if other == NIL:
            s[HEAD] = page
        else:
            s[NEXT + 4 * other] = page
        s[LAST] = page
        s[STATE + 4 * page] = ON_PCPLIST
        s[COUNT] += 1
        s[FREE_PAGES] -= 1


@jit
def bulk_free(s: State, count: int) -> None:
    for _ in range(min(count, s[COUNT])):
        page = s[LAST]
        before = s[PREV + 4 * page]
        s[LAST] = before
        if before == NIL:
            s[HEAD] = NIL
        else:
            s[NEXT + 4 * before] = NIL
        s[STATE + 4 * page] = IN_FLIGHT
        s[COUNT] -= 1
        give_back(s, page, 0)


@jit
def allocate(s: State) -> int:
    s[LOCKED] = 1
    s[FACTOR] >>= 1
    if s[HEAD] == NIL:
        refill(s)
    page = int(s[HEAD])
    if page != NIL:
        after = s[NEXT + 4 * page]
        s[HEAD] = after
        if after == NIL:
            s[LAST] = NIL
        else:
            s[PREV + 4 * after] = NIL
        s[STATE + 4 * page] = ALLOCATED
        s[COUNT] -= 1
    s[LOCKED] = 0
    return page


@jit
def release(s: State, page: int) -> None:
    s[LOCKED] = 1
    before = s[HEAD]
    s[PREV + 4 * page] = NIL
    s[NEXT + 4 * page] = before
    if before == NIL:
        s[LAST] = page
    else:
        s[PREV + 4 * before] = page
    s[HEAD] = page
    s[STATE + 4 * page] = ON_PCPLIST
    s[COUNT] += 1
    if s[COUNT] >= s[HIGH]:
        high, batch = s[HIGH], s[BATCH]
        count = 1
        if high >= batch:
            count = batch << s[FACTOR]
            if count < high - batch and s[FACTOR] < SCALE_MAX:
                s[FACTOR] += 1
            count = min(max(count, batch), high - batch)
        bulk_free(s, count)
    s[LOCKED] = 0


@jit
def next_slot(s: State) -> int:
    seed = (np.int64(s[SEED]) * 1103515245 + 12345) & 0x7FFFFFFF
    s[SEED] = seed
    return int((seed >> 8) & (s[NR_LIVE] - 1))


@jit
def fast(s: State, n: int) -> int:
    seen = 0
    for _ in range(n):
        page = allocate(s)
        seen ^= page
        release(s, page)
    return seen


@jit
def fill(s: State) -> int:
    live = PAGES + 4 * s[NR_PAGES]
    for i in range(0, s[NR_LIVE], 2):
        s[live + i] = allocate(s)
    return 0


@jit
def toggle(s: State, n: int) -> int:
    live = PAGES + 4 * s[NR_PAGES]
    seen = 0
    for _ in range(n):
        slot = live + next_slot(s)
        page = int(s[slot])
        if page == NIL:
            page = allocate(s)
            s[slot] = page
        else:
            release(s, page)
            s[slot] = NIL
        seen ^= page
    return seen


@jit
def bursts(s: State, n: int, length: int) -> int:
    live = PAGES + 4 * s[NR_PAGES]
    seen = 0
    for _ in range(n):
        done = 0
        while done < length:
            slot = live + next_slot(s)
            page = int(s[slot])
            if page != NIL:
                release(s, page)
                s[slot] = NIL
                done += 1
        done = 0
        while done < length:
            slot = live + next_slot(s)
            if s[slot] == NIL:
                page = allocate(s)
                s[slot] = page
                seen ^= page
                done += 1
    return seen


@jit
def setup(s: State) -> None:
    for page in range(s[NR_PAGES]):
        s[STATE + 4 * page] = TAIL
    for page in range(0, s[NR_PAGES], 1 << (MAX_ORDER - 1)):
        add_free(s, page, MAX_ORDER - 1, True)
        s[FREE_PAGES] += 1 << (MAX_ORDER - 1)


class NumbaPeer:
    """The zone and the calls."""

    def __init__(self, nr_pages: int, high: int, batch: int) -> None:
        memory = np.full(PAGES + 5 * nr_pages + 16, NIL, np.int32)
        skip = -memory.ctypes.data // 4 % 16
        self.state = memory[skip : skip + PAGES + 5 * nr_pages]
        self.state[2:AREAS] = 0
        for place, value in ((HIGH, high), (BATCH, batch), (SEED, 1), (NR_LIVE, nr_pages), (NR_PAGES, nr_pages)):
            self.state[place] = value
        for order in range(MAX_ORDER):
            self.state[AREAS + 3 * order + 2] = 0
        setup(self.state)

    def call(self, name: str, *args: int) -> int:
        function = {"fast": fast, "fill": fill, "toggle": toggle, "bursts": bursts}[name]
        return int(function(self.state, *args))

    def live(self) -> State:
        return self.state[PAGES + 4 * int(self.state[NR_PAGES]) :]

    def free_pages(self) -> int:
        return int(self.state[FREE_PAGES])
