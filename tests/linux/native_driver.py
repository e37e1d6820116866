# SPDX-License-Identifier: GPL-2.0-or-later
"""One operation on a zone, written in the modelling language: native code and CPython run it, so they can be compared.

:func:`step` is the only entry that the tests need.  What the driver knows (which pages are allocated, what the
tracepoints reported) is state like any other and compared like it.
"""

from __future__ import annotations

from collections.abc import Callable

from pagelab.lang.declare import NIL, Tracepoint, i32, i64, record, table, trylock, unlock
from pagelab.linux import trace
from pagelab.linux.alloc_flags import ALLOC_CMA, ALLOC_HIGHATOMIC, ALLOC_NOFRAGMENT, ALLOC_NON_BLOCK
from pagelab.linux.buddy import __mod_zone_freepage_state, move_freepages_block
from pagelab.linux.drain import (
    __drain_all_pages,
    drain_local_pages,
    drain_pages_zone,
    drain_work_now,
    refresh_cpu_vm_stats,
)
from pagelab.linux.features import features
from pagelab.linux.free_folios import release_pages
from pagelab.linux.highatomic import unreserve_highatomic_pageblock
from pagelab.linux.memory_hotplug import offline_pages, online_pages
from pagelab.linux.migratetype import (
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.page_alloc import __alloc_pages_bulk, free_the_page, get_page_from_freelist, split_page
from pagelab.linux.page_isolation import start_isolate_page_range, unset_migratetype_isolate
from pagelab.linux.page_isolation import test_pages_isolated as pages_isolated  # pytest would collect it
from pagelab.linux.pcp_tuning import (
    __zone_set_pageset_high_and_batch,
    page_alloc_cpu_dead,
    page_alloc_cpu_online,
    percpu_pagelist_high_fraction_sysctl_handler,
    zone_pcp_disable,
    zone_pcp_enable,
)
from pagelab.linux.rwsem import up_read
from pagelab.linux.state import (
    OFFLINE,
    cpu_state,
    free_area,
    get_pageblock_migratetype,
    machine,
    mem_map,
    mm,
    page_vec,
    pcp,
    set_pageblock_migratetype,
    zone,
)

#: Pages that go online and offline together.
MEMORY_BLOCK = 2048
#: What step() does, in the order of its first parameter.
OPERATIONS = (
    "allocate",
    "free",
    "allocate many",
    "free many",
    "free a list",
    "bulk allocation",
    "split",
    "drain",
    "drain one CPU",
    "vmstat",
    "set high and batch",
    "sysctl",
    "disable or enable",
    "isolate",
    "un-isolate",
    "test a range",
    "offline or online",
    "CPU dead or online",
    "reclaim begins or ends",
    "unreserve",
)
#: What fault() does.
FAULTS = (
    "free any page",
    "allocate any migratetype",
    "drain any CPU",
    "zone->lock is held",
    "pcp->lock is held",
    "online twice",
    "list too long",
    "wrong pcp->count",
    "free list leads out of the zone",
)


class Driver:
    """What the driver keeps."""

    nr_live: i32 = 0
    disabled: bool = False
    reports: i64 = 0  # of tracepoints
    digest: i64 = 0  # over all their arguments


class Live:
    """An allocation."""

    page: i32 = NIL


class Slot:
    """Where in live[] an allocation is, by its first page."""

    slot: i32 = NIL


driver = record("driver", Driver)
live = table("live", Live, lambda: machine.nr_pages)
slots = table("slots", Slot, lambda: machine.nr_pages)


# ---- probes: the order and the arguments of all reports go into one number


def note(point: int, a: int, b: int, c: int) -> None:
    digest = (driver.digest * 31 + point) & 0xFFFFFFFF
    digest = (digest * 31 + a) & 0xFFFFFFFF
    digest = (digest * 31 + b) & 0xFFFFFFFF
    driver.digest = (digest * 31 + c) & 0xFFFFFFFF
    driver.reports += 1


def on_free(cpu: int, page: int, order: int) -> None:
    note(1, cpu, page, order)


def on_free_batched(cpu: int, page: int) -> None:
    note(2, cpu, page, 0)


def on_zone_locked(cpu: int, page: int, order: int, migratetype: int, percpu_refill: int) -> None:
    note(3, cpu, page, (order * 8 + migratetype) * 2 + percpu_refill)


def on_drain(cpu: int, page: int, order: int, migratetype: int) -> None:
    note(4, cpu, page, order * 8 + migratetype)


def on_extfrag(
    cpu: int,
    page: int,
    alloc_order: int,
    fallback_order: int,
    alloc_migratetype: int,
    fallback_migratetype: int,
    change_ownership: int,
) -> None:
    note(7, page, alloc_order * 16 + fallback_order, alloc_migratetype * 8 + fallback_migratetype)
    note(8, cpu, change_ownership, 0)


def on_isolated(cpu: int, start: int, end: int, fin: int) -> None:
    note(5, start, end, fin)


def on_moved(cpu: int, page: int, migratetype: int, moved: int) -> None:
    note(6, page, migratetype, moved)


def on_migrate(cpu: int, page: int, end: int) -> None:
    """Migrate what offlining or isolation wants gone; without free memory the task gives up."""
    order = mem_map[page].compound_order
    new = get_page_from_freelist(cpu, order, ALLOC_CMA, MIGRATE_MOVABLE)
    if new == NIL:
        cpu_state[cpu].signal_pending = True
        return
    forget(slots[page].slot)
    free_the_page(cpu, page, order)
    remember(new)


PROBES: dict[Tracepoint, Callable[..., None]] = {
    trace.mm_page_free: on_free,
    trace.mm_page_free_batched: on_free_batched,
    trace.mm_page_alloc_zone_locked: on_zone_locked,
    trace.mm_page_pcpu_drain: on_drain,
    trace.mm_page_alloc_extfrag: on_extfrag,
    trace.test_pages_isolated: on_isolated,
    trace.move_freepages_block_done: on_moved,
    trace.do_migrate_range: on_migrate,
    trace.alloc_contig_migrate_range: on_migrate,
    trace.flush_drain_work: drain_work_now,
}


# ---- what is allocated


def remember(page: int) -> None:
    live[driver.nr_live].page = page
    slots[page].slot = driver.nr_live
    driver.nr_live += 1


def forget(slot: int) -> int:
    """Take an allocation out of live[]; the last one gets its place.  Returns its page."""
    page = live[slot].page
    driver.nr_live -= 1
    last = live[driver.nr_live].page
    live[slot].page = last
    slots[last].slot = slot
    live[driver.nr_live].page = NIL
    slots[page].slot = NIL
    return page


# ---- the operations


def running(cpu: int) -> int:
    """This CPU, or the next one that is online."""
    cpu = cpu % machine.nr_cpus
    while not cpu_state[cpu].online:
        cpu = (cpu + 1) % machine.nr_cpus
    return cpu


def random_order(b: int) -> int:
    if b < 150:
        return 0
    if b < 246:
        return 1 + b % 4
    return 9 if b < 253 else 10


def random_migratetype(c: int) -> int:
    if machine.zone_movable:
        return MIGRATE_MOVABLE
    return c % MIGRATE_PCPTYPES


def random_flags(c: int, migratetype: int) -> int:
    flags = 0
    if migratetype == MIGRATE_MOVABLE and c & 8 != 0:
        flags |= ALLOC_CMA
    if c & 48 == 48:
        flags |= ALLOC_HIGHATOMIC
    if c & 192 == 192:
        flags |= ALLOC_NON_BLOCK
    if c & 0x1000 != 0:
        flags |= ALLOC_NOFRAGMENT
    return flags


def allocate(cpu: int, order: int, c: int) -> int:
    migratetype = random_migratetype(c)
    flags = random_flags(c, migratetype)
    # Somebody has the pcp->lock: an interrupt came, or another CPU drains.
    contended = c & 0xF00 == 0 and trylock(pcp[cpu].lock)
    page = get_page_from_freelist(cpu, order, flags, migratetype)
    if contended:
        unlock(pcp[cpu].lock)
    if page != NIL:
        remember(page)
    return page


def free(cpu: int, c: int) -> int:
    if driver.nr_live == 0:
        return NIL
    page = forget(c % driver.nr_live)
    contended = c & 0xF00 == 0 and trylock(pcp[cpu].lock)
    free_the_page(cpu, page, mem_map[page].compound_order)
    if contended:
        unlock(pcp[cpu].lock)
    return page


def allocate_many(cpu: int, b: int, c: int) -> int:
    """Single pages, enough to empty a pcplist."""
    total = 0
    for i in range(b // 4):
        total += allocate(cpu, 0, c + (i << 12))
    return total


def free_many(cpu: int, b: int, c: int) -> int:
    """Enough to make the pcplists too long."""
    total = 0
    for i in range(b // 4):
        total += free(cpu, c + i * 977)
    return total


def free_list(cpu: int, b: int, c: int) -> int:
    """A list of single pages at once."""
    nr = 0
    tried = 0
    while nr < b % machine.page_vec_size and tried < b and driver.nr_live > 0:
        slot = (c + 7 * tried) % driver.nr_live
        tried += 1
        if mem_map[live[slot].page].compound_order == 0:
            page_vec[cpu, nr].page = forget(slot)
            nr += 1
    # 6.1 as it was released takes the lock with irqs off and does not try.
    contended = features.irqs_on_under_pcp_lock and c & 7 == 0 and trylock(pcp[cpu].lock)
    release_pages(cpu, nr)
    if contended:
        unlock(pcp[cpu].lock)
    return nr


def allocate_bulk(cpu: int, b: int, c: int) -> int:
    migratetype = random_migratetype(c)
    flags = random_flags(c, migratetype)
    wanted = b % machine.page_vec_size
    nr = __alloc_pages_bulk(cpu, wanted, flags, migratetype)
    for i in range(nr):
        remember(page_vec[cpu, i].page)
    return nr


def split(c: int) -> int:
    """Allocations of a few pages become allocations of one."""
    if driver.nr_live == 0:
        return NIL
    page = live[c % driver.nr_live].page
    order = mem_map[page].compound_order
    if order > 4:
        return order
    split_page(page, order)
    for i in range(1, 1 << order):
        remember(page + i)
    return order


def drain(cpu: int, b: int) -> int:
    if b & 1 != 0:
        drain_local_pages(cpu)
    else:
        __drain_all_pages(cpu, b & 2 != 0, b & 4 != 0)
    return pcp[cpu].count


def kept_disabled() -> bool:
    """Whether isolation keeps pcp_batch_high_lock, so that nobody can change high and batch."""
    return bool(features.isolation_disables_pcplists) and zone.nr_isolate_pageblock != 0


def set_high_and_batch(b: int, c: int) -> int:
    """As the sysctl of some size of zone would; a small zone has always batch 1."""
    if driver.disabled or kept_disabled():
        return -1
    zone.pageset_batch = 1 + c % 63
    zone.pageset_high = b
    __zone_set_pageset_high_and_batch(b, zone.pageset_batch)
    return b


def sysctl(c: int) -> int:
    if driver.disabled or kept_disabled():
        return -1
    return percpu_pagelist_high_fraction_sysctl_handler(c % 512 - 1)


def disable_or_enable(cpu: int, c: int) -> int:
    if features.isolation_disables_pcplists:  # the business of isolation alone
        return -1
    if driver.disabled:
        zone_pcp_enable()
        unlock(mm.pcp_batch_high_lock)
        driver.disabled = False
        return 0
    if c % 3 == 0 and trylock(mm.pcp_batch_high_lock):
        zone_pcp_disable(cpu)
        driver.disabled = True
    return 1


def isolate(cpu: int, b: int, c: int) -> int:
    start = b % machine.nr_pageblocks << machine.pageblock_order
    if mem_map[start].state == OFFLINE:
        return -1
    end = start + machine.pageblock_nr_pages
    if c & 1 != 0 and end < machine.nr_pages and mem_map[end].state != OFFLINE:
        end += machine.pageblock_nr_pages
    ret = start_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE)
    if ret == 0 and features.isolation_disables_pcplists:
        up_read()  # the range stays isolated for many operations, of one thread, which would wait for itself
    cpu_state[cpu].signal_pending = False
    return ret


def isolated_block(b: int) -> int:
    """The first page of an isolated pageblock, or NIL."""
    for i in range(machine.nr_pageblocks):
        page = (b + i) % machine.nr_pageblocks << machine.pageblock_order
        if mem_map[page].state != OFFLINE and get_pageblock_migratetype(page) == MIGRATE_ISOLATE:
            return page
    return NIL


def unisolate(cpu: int, b: int, c: int) -> int:
    page = isolated_block(b)
    if page == NIL:
        return -1
    unset_migratetype_isolate(cpu, page, random_migratetype(c))
    return zone.nr_isolate_pageblock


def offline_or_online(cpu: int, b: int) -> int:
    if driver.disabled or kept_disabled():
        return -1
    start = b % (machine.nr_pages // MEMORY_BLOCK) * MEMORY_BLOCK
    if mem_map[start].state == OFFLINE:
        online_pages(cpu, start, MEMORY_BLOCK)
        return 1
    ret = offline_pages(cpu, start, MEMORY_BLOCK)
    cpu_state[cpu].signal_pending = False
    return ret


def cpu_dead_or_online(c: int) -> int:
    if driver.disabled:
        return -1
    cpu = c % machine.nr_cpus
    if not cpu_state[cpu].online:
        page_alloc_cpu_online()
        cpu_state[cpu].online = True
        return 1
    cpu_state[cpu].online = False
    other = NIL
    for i in range(machine.nr_cpus):
        if cpu_state[i].online:
            other = i
    if other == NIL:
        cpu_state[cpu].online = True
    else:
        page_alloc_cpu_dead(other, cpu)
    return 0


def step(op: int, a: int, b: int, c: int) -> int:
    """One operation.

    :param op: number in OPERATIONS.
    :param a: which CPU.
    :param b: 0 to 255.
    :param c: 0 to 65535.
    """
    cpu = running(a)
    if op == 0:
        return allocate(cpu, random_order(b), c)
    if op == 1:
        return free(cpu, c)
    if op == 2:
        return allocate_many(cpu, b, c)
    if op == 3:
        return free_many(cpu, b, c)
    if op == 4:
        return free_list(cpu, b, c)
    if op == 5:
        return allocate_bulk(cpu, b, c)
    if op == 6:
        return split(c)
    if op == 7:
        return drain(cpu, b)
    if op == 8:
        drain_pages_zone(cpu, b % machine.nr_cpus)
        return pcp[cpu].count
    if op == 9:
        cpu_state[cpu].local = b & 2 != 0
        refresh_cpu_vm_stats(cpu, b & 1 != 0)
        return pcp[cpu].expire
    if op == 10:
        return set_high_and_batch(b, c)
    if op == 11:
        return sysctl(c)
    if op == 12:
        return disable_or_enable(cpu, c)
    if op == 13:
        return isolate(cpu, b, c)
    if op == 14:
        return unisolate(cpu, b, c)
    if op == 15:
        start = max(isolated_block(b), 0)
        return pages_isolated(cpu, start, start + machine.pageblock_nr_pages)
    if op == 16:
        return offline_or_online(cpu, b)
    if op == 17:
        return cpu_dead_or_online(c)
    if op == 18:
        zone.reclaim_active = not zone.reclaim_active
        return 0
    if unreserve_highatomic_pageblock(cpu, random_migratetype(c), b & 1 != 0):
        return 1
    return 0


def fault(op: int, a: int, b: int, c: int) -> int:
    """Something that the kernel must not do; mostly it ends in a fault.

    :param op: number in FAULTS.
    :param c: any page, also one that the zone has not.
    """
    cpu = running(a)
    if op == 0:
        free_the_page(cpu, c, b % 12)
    elif op == 1:
        return get_page_from_freelist(cpu, b % 5, c & 0xF8, c % 9 - 1)
    elif op == 2:
        drain_pages_zone(cpu, c)
    elif op == 3:
        if trylock(zone.lock):
            return get_page_from_freelist(cpu, 4, ALLOC_CMA, MIGRATE_MOVABLE)
    elif op == 4:
        if trylock(pcp[cpu].lock):
            drain_local_pages(cpu)
    elif op == 5:
        online_pages(cpu, b % machine.nr_pageblocks << machine.pageblock_order, machine.pageblock_nr_pages)
    elif op == 6:
        for i in range(b):
            if driver.nr_live > 0:
                page_vec[cpu, i].page = forget(0)
        release_pages(cpu, b)
    elif op == 7:
        pcp[cpu].count += 1 + b
        drain_local_pages(cpu)
    elif op == 8:
        for order in range(machine.max_order):
            free_area[order, MIGRATE_MOVABLE].head = machine.nr_pages + b
        return get_page_from_freelist(cpu, 4, ALLOC_CMA, MIGRATE_MOVABLE)
    return 0


def setup(nr_online: int) -> None:
    """Bring memory online; in a kernel zone the first pageblocks get other migratetypes, two by two."""
    page = 0
    while page < nr_online:
        online_pages(0, page, MEMORY_BLOCK)
        page += MEMORY_BLOCK
    if not machine.zone_movable:
        set_type(0, MIGRATE_UNMOVABLE)
        set_type(2, MIGRATE_RECLAIMABLE)
        set_type(4, MIGRATE_HIGHATOMIC)
        if machine.cma:
            set_type(6, MIGRATE_CMA)
    zone.pageset_high = 120
    zone.pageset_batch = 15
    __zone_set_pageset_high_and_batch(120, 15)


def set_type(first: int, migratetype: int) -> None:
    """Two free pageblocks, which are one free page, get another migratetype."""
    for block in range(first, first + 2):
        page = block << machine.pageblock_order
        moved = move_freepages_block(0, page, migratetype)
        set_pageblock_migratetype(page, migratetype)
        if migratetype == MIGRATE_CMA:
            __mod_zone_freepage_state(-moved, MIGRATE_MOVABLE)
            __mod_zone_freepage_state(moved, MIGRATE_CMA)
