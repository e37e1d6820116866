# SPDX-License-Identifier: GPL-2.0-or-later
# ruff: noqa: SIM110 (generator expressions are outside the language)
"""Protocol P: per-CPU page lists against page isolation, small enough to be written in other checkers' languages too.

Its number of reachable states is a property of the protocol's text, so that searches can be held against each other.
Each line of the protocol, named in a comment, is one step: a plain access to shared state, or a ``with atomic():``.

Designs: 1 one drain, 2 drain again until the block is free, 3 ``high`` is 0 while a block is isolated, 4 an API that
switches the lists off.
"""

from __future__ import annotations

from collections.abc import Callable

from pagelab.lang.declare import (
    NIL,
    Constants,
    Lock,
    atomic,
    choose,
    held,
    i8,
    irqs_are_off,
    local_irq_disable,
    local_irq_enable,
    lock,
    record,
    table,
    unlock,
    wait_until,
)
from pagelab.lang.stepped import Thread


class Parameters(Constants):
    """What a configuration is made of."""

    DESIGN: int = 3
    C: int = 2  # CPUs
    NP: int = 2  # pages, two a pageblock
    W: int = 2  # workers; worker w runs on CPU w mod C
    K: int = 1  # operations of each worker
    OWN: int = NIL  # so many workers hold a page at the start; all of them if it is not set
    NI: int = 1  # isolators; isolator j works on block j
    HIGH: int = 3
    BATCH: int = 2
    HIGH2: int = 2  # what the sysctl writer writes
    BATCH2: int = 1
    SYSCTL: int = 0  # 1: somebody writes the sysctl; 2: and takes no lock
    CHK: int = 0  # drain only CPUs whose count reads non-zero
    ND: int = 0  # a refill takes any free page, not the lowest
    RFC_OUT: int = 0  # design 3: write high after the zone lock is dropped
    DRAIN_FIRST: int = 0  # design 3: only who isolates first drains
    TSO: int = 0  # stores to count wait in a store buffer
    ASSERT: int = 1  # 0: nothing is asserted, which counts the states of a design that is broken

    @property
    def owners(self) -> int:
        """How many workers hold a page at the start."""
        return self.W if self.OWN == NIL else self.OWN


P = Parameters()

# Types of a pageblock, states of a page: a page given back to the buddy gets the state BMOV + type of its block.
MOV, ISO = 0, 1
ALLOC, ONPCP, BMOV, BISO = 0, 1, 2, 3


class Page:
    state: i8 = BMOV


class Block:
    type: i8 = MOV


class Zone:
    lock: Lock
    nr_isolate: i8 = 0
    high: i8 = 0
    batch: i8 = 0


class Cpu:
    drain: bool = False  # drain work is queued and not finished
    count: i8 = 0
    high: i8 = 0
    batch: i8 = 0


class Listed:
    page: i8 = 0  # plus 1; 0 is none


class Buffered:
    count: i8 = 0


class Drain:
    mutex: Lock


class RwSem:
    """Of design 3."""

    readers: i8 = 0
    writer: bool = False
    writer_waits: bool = False


class BatchHigh:
    """Of design 4."""

    mutex: Lock


class Isolator:
    #: Not a local: it tells states apart even where nobody reads it any more.
    first: bool = False


class Repeated:
    """Of design 2."""

    done: bool = False


page = table("page", Page, lambda: P.NP)
block = table("block", Block, lambda: P.NP // 2)
zone = record("zone", Zone)
cpu = table("cpu", Cpu, lambda: P.C)
#: The list of a CPU, slot 0 is its tail.
pcp_list = table("pcp_list", Listed, lambda: P.C, lambda: P.NP)
#: count as other CPUs read it (TSO).
memory = table("memory", Buffered, lambda: P.C)
drain = record("drain", Drain)
rwsem = record("rwsem", RwSem)
batch_high = record("batch_high", BatchHigh)
isolator = table("isolator", Isolator, lambda: P.NI)
repeated = record("repeated", Repeated)


# ---- within steps


def lock_zone_on(c: int) -> None:
    """What a CPU with a store buffer does: a locked instruction empties it."""
    with atomic():
        lock(zone.lock)
        if P.TSO:
            memory[c].count = cpu[c].count


def all_irqs_on() -> bool:
    for c in range(P.C):
        if irqs_are_off(c):
            return False
    return True


def all_high(high: int) -> bool:
    for c in range(P.C):
        if cpu[c].high != high:
            return False
    return True


def all_batch(batch: int) -> bool:
    for c in range(P.C):
        if cpu[c].batch != batch:
            return False
    return True


def lowest_movable() -> int:
    for p in range(P.NP):
        if page[p].state == BMOV:
            return p
    return NIL


def any_movable() -> int:
    """The lowest page of the buddy's MOVABLE set; with ND any of them."""
    if not P.ND:
        return lowest_movable()
    movable = 0
    for p in range(P.NP):
        if page[p].state == BMOV:
            movable += 1
    before = choose(0, movable)
    for p in range(P.NP):
        if page[p].state == BMOV:
            if before == 0:
                return p
            before -= 1
    return NIL


def list_add_tail(c: int, p: int) -> None:
    j = P.NP - 1
    while j > 0:
        pcp_list[c, j].page = pcp_list[c, j - 1].page
        j -= 1
    pcp_list[c, 0].page = p + 1


def list_del_tail(c: int) -> int:
    p = pcp_list[c, 0].page - 1
    for j in range(P.NP - 1):
        pcp_list[c, j].page = pcp_list[c, j + 1].page
    pcp_list[c, P.NP - 1].page = 0
    return p


def next_in(mask: int, x: int) -> int:
    """The first CPU of a mask from x on; C if there is none."""
    while x < P.C and not mask >> x & 1:
        x += 1
    return x


# ---- workers


def worker(w: int, c: int) -> None:
    """Free and allocate in turn; who holds a page after the last operation frees it."""
    pg = w if w < P.owners else NIL
    k = 0
    while True:
        if pg != NIL:
            free_page(c, pg)
            pg = NIL
        else:
            pg = allocate(c)
        k = min(k + 1, P.K)
        if pg == NIL and k == P.K:
            break


def free_page(c: int, pg: int) -> None:
    mt = block[pg // 2].type  # F1
    local_irq_disable(c)  # F2
    if mt == ISO:
        lock_zone_on(c)  # F3
        mt = block[pg // 2].type  # F4
        page[pg].state = BMOV + mt  # F5
        unlock(zone.lock)  # F6
    else:
        with atomic():  # F8
            pcp_list[c, cpu[c].count].page = pg + 1
            page[pg].state = ONPCP
        with atomic():  # F9
            cpu[c].count += 1
        with atomic():  # F10
            over = cpu[c].count >= cpu[c].high
        if over:
            with atomic():  # F11
                n = min(cpu[c].batch, cpu[c].count)
            lock_zone_on(c)  # F12
            free_bulk(c, n)
    local_irq_enable(c)  # F14


def free_bulk(c: int, n: int) -> None:
    """n pages from the tail to the buddy; the zone lock is held, and dropped."""
    isolation = zone.nr_isolate > 0  # B1
    while n > 0:
        with atomic():  # B2
            p = list_del_tail(c)
        with atomic():  # B3
            cpu[c].count -= 1
        with atomic():  # B4
            mt = block[p // 2].type if isolation else MOV
        page[p].state = BMOV + mt  # B5
        n -= 1
    unlock(zone.lock)  # B6


def allocate(c: int) -> int:
    with atomic():  # A1
        local_irq_disable(c)
        some = cpu[c].count > 0
    if not some:
        some = refill(c)
    pg = NIL
    if some:
        with atomic():  # A7
            last = cpu[c].count - 1
            pg = pcp_list[c, last].page - 1
            pcp_list[c, last].page = 0
            page[pg].state = ALLOC
        with atomic():  # A8
            cpu[c].count -= 1
    local_irq_enable(c)  # A9
    return pg


def refill(c: int) -> bool:
    n = cpu[c].batch  # A2
    i = 0
    with atomic():  # A3
        lock_zone_on(c)
        more = lowest_movable() != NIL
    while more:
        with atomic():  # A4
            p = any_movable()
            page[p].state = ONPCP
        with atomic():  # A4b
            list_add_tail(c, p)
            i += 1
            n -= 1
            more = n > 0 and lowest_movable() != NIL
    unlock(zone.lock)  # A5
    if i == 0:
        return False
    with atomic():  # A6
        cpu[c].count += i
    return True


# ---- kworkers and store buffers


def kworker(c: int) -> None:
    """Drains the list of its CPU when told to."""
    while True:
        with atomic():  # K1
            wait_until(cpu[c].drain)
            local_irq_disable(c)
        n = cpu[c].count  # K2
        if n > 0:
            lock_zone_on(c)  # K3
            free_bulk(c, n)
        local_irq_enable(c)  # K8
        cpu[c].drain = False  # K9


def store_buffer(c: int) -> None:
    """It may empty itself at any time."""
    while True:
        with atomic():
            wait_until(memory[c].count != cpu[c].count)
            memory[c].count = cpu[c].count


# ---- isolators


def isolate(b: int) -> None:
    if P.DESIGN == 3:
        with atomic():  # R1
            wait_until(not rwsem.writer and not rwsem.writer_waits)
            rwsem.readers += 1
    if P.DESIGN == 4:
        lock(batch_high.mutex)  # M1
        for x in range(P.C):
            cpu[x].batch = 1  # M2
            cpu[x].high = 0  # M3
        drain_all(b)
    set_isolate(b)
    if P.DESIGN == 2:
        repeat_drain(b)
        return
    if P.DESIGN == 1 or P.DESIGN == 3:
        drain_unless_second(b)
    with atomic():  # C1
        wait_until(page[2 * b].state != ALLOC and page[2 * b + 1].state != ALLOC and all_irqs_on())
        assert_isolated(b)
        isolator[b].first = False
    if P.DESIGN >= 3:
        unset_isolate(b)
    if P.DESIGN == 3:
        with atomic():  # R2
            rwsem.readers -= 1
            isolator[b].first = False
    if P.DESIGN == 4:
        for x in range(P.C):
            with atomic():  # M5
                cpu[x].batch = zone.batch
            with atomic():  # M6
                cpu[x].high = zone.high
        unlock(batch_high.mutex)  # M7


def assert_isolated(b: int) -> None:
    if P.ASSERT:
        assert page[2 * b].state == BISO, "the first page of the block escaped its isolation"
        assert page[2 * b + 1].state == BISO, "the second page of the block escaped its isolation"
        if P.DESIGN == 4:
            assert all_high(0), "a list was switched on again"
            assert all_batch(1), "a batch was raised again"


def set_isolate(b: int) -> None:
    lock(zone.lock)  # I1
    block[b].type = ISO  # I2
    move_page(2 * b, BMOV, BISO)  # I3
    move_page(2 * b + 1, BMOV, BISO)  # I3b
    with atomic():  # I4
        zone.nr_isolate += 1
        first = zone.nr_isolate == 1
        isolator[b].first = first
    if P.DESIGN == 3 and not P.RFC_OUT and first:
        for x in range(P.C):
            cpu[x].high = 0  # I4h
    unlock(zone.lock)  # I5
    if P.DESIGN == 3 and P.RFC_OUT:
        with atomic():  # I6
            first = isolator[b].first
            if first:
                cpu[0].high = 0
        if first:
            for x in range(1, P.C):
                cpu[x].high = 0  # I7


def move_page(p: int, before: int, after: int) -> None:
    with atomic():
        if page[p].state == before:
            page[p].state = after


def unset_isolate(b: int) -> None:
    lock(zone.lock)  # U1
    block[b].type = MOV  # U2
    move_page(2 * b, BISO, BMOV)  # U3
    move_page(2 * b + 1, BISO, BMOV)  # U3b
    with atomic():  # U4
        zone.nr_isolate -= 1
        last = zone.nr_isolate == 0
        if P.DESIGN == 3:
            isolator[b].first = last
    if P.DESIGN == 3 and not P.RFC_OUT and last:
        for x in range(P.C):
            with atomic():  # U4h
                cpu[x].high = zone.high
    unlock(zone.lock)  # U5
    if P.DESIGN == 3 and P.RFC_OUT:
        with atomic():  # U6
            last = isolator[b].first
            if last:
                cpu[0].high = zone.high
        if last:
            for x in range(1, P.C):
                with atomic():  # U7
                    cpu[x].high = zone.high
        with atomic():  # U8
            pass


def drain_unless_second(b: int) -> None:
    if P.DESIGN == 3 and P.DRAIN_FIRST:
        with atomic():  # I8
            first = isolator[b].first
            isolator[b].first = False
        if not first:
            return
    drain_all(b)


def drain_all(b: int) -> None:
    lock(drain.mutex)  # D1
    mask = (1 << P.C) - 1
    if P.CHK:
        mask = 0
        for x in range(P.C):
            if (memory[x].count if P.TSO else cpu[x].count) > 0:  # D2
                mask |= 1 << x
    if mask != 0:
        x = next_in(mask, 0)
        while x < P.C:
            cpu[x].drain = True  # D3
            x = next_in(mask, x + 1)
        x = next_in(mask, 0)
        while x < P.C:
            with atomic():  # D4
                wait_until(not cpu[x].drain)
            x = next_in(mask, x + 1)
    unlock(drain.mutex)  # D5


def repeat_drain(b: int) -> None:
    isolated = False
    while not isolated:
        drain_all(b)
        lock(zone.lock)  # T1
        isolated = page[2 * b].state == BISO  # T2
        with atomic():  # T2b
            isolated = isolated and page[2 * b + 1].state == BISO
        unlock(zone.lock)  # T3
    with atomic():  # T4
        assert_isolated(b)
        repeated.done = True
        isolator[b].first = False


# ---- the sysctl writer


def sysctl() -> None:
    if P.SYSCTL == 1 and P.DESIGN == 3:
        rwsem.writer_waits = True  # S0
        with atomic():  # S1
            wait_until(rwsem.readers == 0 and not rwsem.writer)
            rwsem.writer = True
            rwsem.writer_waits = False
    if P.SYSCTL == 1 and P.DESIGN == 4:
        lock(batch_high.mutex)  # S1
    zone.high = P.HIGH2  # S2
    zone.batch = P.BATCH2  # S3
    for x in range(P.C):
        with atomic():  # S4
            cpu[x].batch = zone.batch
        with atomic():  # S5
            cpu[x].high = zone.high
    if P.SYSCTL == 1 and P.DESIGN == 3:
        rwsem.writer = False  # S6
    if P.SYSCTL == 1 and P.DESIGN == 4:
        unlock(batch_high.mutex)  # S6


# ---- what must hold


def high_follows_isolation() -> bool:
    """Design 3."""
    if held(zone.lock):
        return True
    if zone.nr_isolate > 0:
        return all_high(0)
    return P.SYSCTL == 2 or rwsem.writer or all_high(zone.high)


def lists_follow_zone() -> bool:
    """Design 4."""
    return held(batch_high.mutex) or P.SYSCTL == 2 or (all_high(zone.high) and all_batch(zone.batch))


# ---- for a driver


def threads() -> list[Thread]:
    """The processes of the configuration that ``P`` describes.

    :raises ValueError: for a configuration that the protocol does not have.
    """
    if not 1 <= P.DESIGN <= 4:
        raise ValueError(f"DESIGN is {P.DESIGN}: it must be 1, 2, 3 or 4")
    if min(P.C, P.W, P.K, P.NI) < 1:
        raise ValueError(f"C, W, K and NI are {P.C}, {P.W}, {P.K} and {P.NI}: each must be at least 1")
    if P.C > 7 or max(P.NP, P.K) > 127:
        raise ValueError(
            f"C is {P.C}, NP {P.NP} and K {P.K}: a byte holds at most 7 CPUs, 127 pages and 127 operations"
        )
    if P.NP % 2 or P.NP < 2 * P.NI:
        raise ValueError(f"NP is {P.NP}: it must be even, and {2 * P.NI} or more for {P.NI} isolators")
    if not 0 <= P.owners <= min(P.W, P.NP):
        raise ValueError(f"OWN is {P.owners}: it must be 0 to {min(P.W, P.NP)} with {P.W} workers and {P.NP} pages")
    if P.SYSCTL == 1 and P.DESIGN < 3:
        raise ValueError(f"SYSCTL is 1: design {P.DESIGN} has no lock for the sysctl writer; use designs 3 and 4")
    found = [Thread(f"worker {w}", worker, (w, w % P.C), cpu=w % P.C) for w in range(P.W)]
    found += [Thread(f"kworker {c}", kworker, (c,), daemon=True, cpu=c) for c in range(P.C)]
    if P.TSO:
        found += [Thread(f"store buffer {c}", store_buffer, (c,), daemon=True, cpu=c) for c in range(P.C)]
    found += [Thread(f"isolator {b}", isolate, (b,)) for b in range(P.NI)]
    if P.SYSCTL:
        found.append(Thread("sysctl", sysctl))
    return found


def setup() -> None:
    """The initial state, over the fields' initial values."""
    for p in range(P.owners):
        page[p].state = ALLOC
    zone.high, zone.batch = P.HIGH, P.BATCH
    for c in range(P.C):
        cpu[c].high, cpu[c].batch = P.HIGH, P.BATCH


def invariants() -> list[Callable[[], bool]]:
    """What must hold in every state, besides the assertions of the isolators."""
    if not P.ASSERT:
        return []
    if P.DESIGN == 3 and not P.RFC_OUT:
        return [high_follows_isolation]
    return [lists_follow_zone] if P.DESIGN == 4 else []


def cpus() -> int:
    """How many CPUs have irqs."""
    return P.C
