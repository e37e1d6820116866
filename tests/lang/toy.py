# SPDX-License-Identifier: GPL-2.0-or-later
"""A small model that uses every construct of the language once."""

from __future__ import annotations

from pagelab.lang.declare import (
    NIL,
    Constants,
    Lock,
    columns,
    i8,
    i32,
    i64,
    irqs_off,
    lock,
    record,
    table,
    tracepoint,
    trylock,
    unlock,
)

SIZE = 4


class Build(Constants):
    rows: int = 6
    deep: bool = False

    @property
    def twice(self) -> int:
        return 2 * self.rows


build = Build()


class Cell:
    next: i32 = NIL
    value: i8 = 0
    big: i64 = 7
    lock: Lock


class Grid:
    x: i32 = 0


class Total:
    lock: Lock
    sum: i64 = 0
    flag: bool = False


class Event:
    kind: i8 = 0
    pfn: i64 = 0


cell = table("cell", Cell, lambda: build.rows)
grid = table("grid", Grid, lambda: 3, lambda: SIZE)
total = record("total", Total)
event = columns("event", Event, lambda: build.rows)


@tracepoint
def seen(value: int) -> None: ...


def count_seen(value: int) -> None:
    total.sum += value


def arithmetic(a: int, b: int) -> int:
    c = (a + b) * 3 - (a & 255) + (b | 1) - (a ^ b)
    if b != 0:
        c += a // b + a % b
    return c + (a >> 2) + ((b & 15) << 3) + min(a, b) - max(a, -b) + ~a + (+b)


def logic(a: int, b: int) -> int:
    r = 0
    if a < b <= 10 or not a:
        r = r + 1
    if a > 0 and (b > 0 or a == 3) and not b == 5:  # noqa: SIM201 (`not` is what is tested)
        r += 2
    if a in (2, SIZE, -3) or b not in (1, 7):
        r += 8
    t = a >= b
    u = a if t else -b
    if t != (a == b):
        r += 4
    return r + u + (1 if 0 < a < 5 < b else 0) + bool(a) + (a and b != 2)


def loops(n: int) -> int:
    s = 0
    for i in range(n):
        if i == 3:
            continue
        if i > 7:
            break
        for j in range(5, 0, -2):
            s += i * j
            i = 100  # the loop goes on as if nothing had happened
    k = 0
    while True:
        k += 1
        if k > n:
            break
    last = 0
    for last in range(2, 9, 3):
        s += last
    return s * 1000 + k + last


def sections(n: int, row: int) -> int:
    with total.lock:  # noqa: SIM117 (nested sections are what is tested)
        with irqs_off(0), cell[row].lock:
            row = 0
            if n == 1:
                return 1
            for i in range(n):
                with cell[3 + i % 2].lock:
                    if i == 2:
                        break
                    if i == 1:
                        continue
                    total.sum += 1
    lock(cell[5].lock)
    unlock(cell[5].lock)
    if trylock(cell[1].lock):
        total.flag = True
        unlock(cell[1].lock)
    else:
        total.flag = False
    return row + total.sum


def tables(i: int, j: int, v: int) -> int:
    cell[i].value = v
    cell[i].next = i + 1
    cell[i].big += v * v
    grid[j, i % SIZE].x += cell[i].value
    seen(v)
    return helper(v=i, flag=True) + cell[i].big + grid[j, i % SIZE].x


def helper(v: int, flag: bool, more: int = 5) -> int:
    if flag:
        return v + more + build.twice
    return v


def folded() -> int:
    if build.deep:
        return undefined_name()  # type: ignore  # noqa: F821, PGH003
    return 1 if not build.deep else 2


def sum_events(n: int) -> int:
    s = 0
    for i in range(n):
        s += event[i].pfn * event[i].kind
    return s


def checked(a: int) -> int:
    assert a != 3, "three is not allowed"
    return a
