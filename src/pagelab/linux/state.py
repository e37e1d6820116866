# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of one zone: pages, free lists, pcplists, counters and locks.

Pages are numbered from the start of the zone, which is aligned to a page of the highest order; ``machine.nr_pages`` is
all that the zone may ever span.  Tables are indexed ``mem_map[page].next``, ``free_area[order, migratetype].head``.
"""

from __future__ import annotations

from typing import Any

from pagelab.lang.declare import NIL, Constants, Lock, i8, i16, i32, i64, record, table, table_of
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES, MIGRATE_TYPES


class Machine(Constants):
    """What is fixed for one build: the sizes, and what the kernel's configuration decides."""

    nr_pages: int = 1 << 15
    nr_cpus: int = 2  # possible CPUs
    pageblock_order: int = 9
    max_order: int = 11  # exclusive, as before v6.4: the largest free page has order max_order - 1
    page_shift: int = 12
    costly_order: int = 3  # PAGE_ALLOC_COSTLY_ORDER: pcplists hold orders up to it
    pcp_batch_scale_max: int = 5  # CONFIG_PCP_BATCH_SCALE_MAX
    swap_cluster_max: int = 32  # SWAP_CLUSTER_MAX
    page_vec_size: int = 64  # how many pages a list of pages to free, or a bulk allocation, holds
    thp: bool = True  # CONFIG_TRANSPARENT_HUGEPAGE
    cma: bool = True  # CONFIG_CMA
    zone_movable: bool = True  # the zone is ZONE_MOVABLE
    nr_other_zones: int = 4  # zones whose sizes the watermarks depend on, those without pages too
    # For zones of a few pages, of which the kernel's formulas make nothing:
    fixed_batch: int = 0  # batch of the pcplists; 0: the formula
    fixed_high: int = 0  # high of the pcplists; 0: the formula
    fixed_watermarks: bool = False  # the watermarks stay what they are
    min_high_fraction: int = 8  # MIN_PERCPU_PAGELIST_HIGH_FRACTION

    @property
    def pageblock_nr_pages(self) -> int:
        """Pages of a pageblock."""
        return 1 << self.pageblock_order

    @property
    def nr_pageblocks(self) -> int:
        """Pageblocks of the zone."""
        return -(-self.nr_pages >> self.pageblock_order)

    @property
    def max_order_nr_pages(self) -> int:
        """Pages of the largest free page."""
        return 1 << (self.max_order - 1)

    @property
    def nr_loworder_pcp_lists(self) -> int:
        """NR_LOWORDER_PCP_LISTS: pcplists of orders up to costly_order."""
        if not features.high_order_pcplists:
            return MIGRATE_PCPTYPES
        return MIGRATE_PCPTYPES * (self.costly_order + 1)

    @property
    def nr_pcp_lists(self) -> int:
        """NR_PCP_LISTS."""
        if not features.high_order_pcplists:
            return MIGRATE_PCPTYPES
        nr_pcp_thp = (2 if features.thp_lists_by_movability else 1) if self.thp else 0
        return self.nr_loworder_pcp_lists + nr_pcp_thp


machine = Machine()

# mem_map[page].state
OFFLINE = 0  # no struct page yet, or not online (pfn_to_online_page() is NULL), or PageReserved
BUDDY = 1  # PageBuddy: first page of a free page that is on a free list
ON_PCPLIST = 2  # first page of a free page that is on a pcplist; nothing in the kernel's struct page says so
ALLOCATED = 3  # first page of an allocation: its reference count is not 0
IN_FLIGHT = 4  # first page of a free page that is on no list
TAIL = 5  # not the first page of anything


class Page:
    """struct page."""

    next: i32 = NIL
    prev: i32 = NIL
    order: i8 = 0  # page_private of a buddy
    state: i8 = OFFLINE
    index: i8 = 0  # the cached migratetype: get_pcppage_migratetype()
    free_list: i8 = 0  # migratetype of the free list a buddy is on; the kernel need not know it to unlink a page
    compound_order: i8 = 0  # order of an allocation, of a page on a pcplist or in flight
    movable: bool = False  # an allocation that can be migrated: PageLRU or __PageMovable


class Pageblock:
    """The pageblock bitmap.  Written under zone.lock, read anywhere."""

    migratetype: i8 = MIGRATE_MOVABLE


class PageblockIsolate:
    """PB_migrate_isolate, a bit beside the type since v6.17."""

    isolated: bool = False


class FreeArea:
    """zone->free_area[order].free_list[migratetype]; the kernel has one nr_free for all types of an order."""

    head: i32 = NIL
    tail: i32 = NIL
    nr_free: i32 = 0


class PerCpuPages:
    """struct per_cpu_pages, with the values of a boot pageset until the zone gets its first page."""

    lock: Lock
    count: i32 = 0  # base pages on all lists
    high: i32 = 0
    batch: i32 = 1
    free_factor: i16 = 0
    expire: i16 = 0


class PerCpuAuto:
    """What struct per_cpu_pages has since v6.7; by itself, because older kernels do without."""

    high_min: i32 = 0
    high_max: i32 = 0
    free_count: i32 = 0  # base pages freed in a row; each allocation halves it
    alloc_factor: i16 = 0
    prev_free_high_order: bool = False  # PCPF_PREV_FREE_HIGH_ORDER
    free_high_batch: bool = False  # PCPF_FREE_HIGH_BATCH: the CPU has a large cache, and came when the zone had pages


class PcpList:
    """pcp->lists[pindex]."""

    head: i32 = NIL
    tail: i32 = NIL


class Zone:
    """struct zone."""

    lock: Lock
    free_pages: i64 = 0  # NR_FREE_PAGES, without what the CPUs have not folded yet: exact
    free_cma_pages: i64 = 0  # NR_FREE_CMA_PAGES
    nr_isolate_pageblock: i32 = 0
    start_page: i32 = 0  # zone_start_pfn
    spanned_pages: i64 = 0
    present_pages: i64 = 0
    managed_pages: i64 = 0
    watermark_min: i64 = 0
    watermark_low: i64 = 0
    watermark_high: i64 = 0
    pageset_high: i32 = 0
    pageset_batch: i32 = 1
    reclaim_active: bool = False  # ZONE_RECLAIM_ACTIVE: kswapd is at work


class ZoneAuto:
    """What struct zone has since v6.7."""

    pageset_high_max: i32 = 0
    below_high: bool = False  # ZONE_BELOW_HIGH


class TrylockFree:
    """zone->trylock_free_pages: pages that somebody could not free because zone.lock was taken, newest first."""

    first: i32 = NIL


class RmqueueHold:
    """What rmqueue_bulk() and rmqueue_buddy() keep on their stack during one hold of zone.lock, since v6.15."""

    mode: i8 = 0  # enum rmqueue_mode


class Mm:
    """What all zones share: mutexes, sysctls, and what the model must be told of the other zones."""

    mem_hotplug_lock: Lock
    pcp_batch_high_lock: Lock
    pcpu_drain_mutex: Lock
    percpu_pagelist_high_fraction: i32 = 0
    watermark_scale_factor: i32 = 10
    min_free_kbytes: i32 = 1024
    user_min_free_kbytes: i32 = -1  # what was written to vm.min_free_kbytes, -1 if nothing was


class OtherZone:
    """What the watermarks of this zone depend on in the others, none of which is highmem."""

    managed_pages: i64 = 0
    watermark_high: i64 = 0
    holds_user_pages: bool = True  # up to ZONE_NORMAL: nr_free_buffer_pages() counts it


class CpuState:
    """What is known of a CPU."""

    online: bool = True  # cpu_online_mask
    local: bool = True  # its node is the zone's
    with_pcps: bool = False  # cpus_with_pcps of __drain_all_pages(), which is static in the kernel
    signal_pending: bool = False  # of the task that runs there: it gives up


# drain_work[cpu].state
WORK_IDLE = 0
WORK_QUEUED = 1
WORK_RUNS = 2


class DrainWork:
    """pcpu_drain of a CPU: the work item that empties its pcplists."""

    state: i8 = WORK_IDLE


class RwSem:
    """A read-write semaphore."""

    readers: i8 = 0
    waiting_writers: i8 = 0
    writer: bool = False


class PageVec:
    """A list of pages that the task on this CPU frees or has got; on its stack, so nobody else looks at it."""

    page: i32 = NIL


mem_map = table("mem_map", Page, lambda: machine.nr_pages)
pageblock = table("pageblock", Pageblock, lambda: machine.nr_pageblocks)
free_area = table("free_area", FreeArea, lambda: machine.max_order, lambda: MIGRATE_TYPES)
pcp = table("pcp", PerCpuPages, lambda: machine.nr_cpus)
pcp_list = table("pcp_list", PcpList, lambda: machine.nr_cpus, lambda: machine.nr_pcp_lists)
zone = record("zone", Zone)
mm = record("mm", Mm)
other_zone = table("other_zone", OtherZone, lambda: machine.nr_other_zones)
cpu_state = table("cpu_state", CpuState, lambda: machine.nr_cpus)
page_vec = table("page_vec", PageVec, lambda: machine.nr_cpus, lambda: machine.page_vec_size)

pcp_auto = table("pcp_auto", PerCpuAuto, lambda: machine.nr_cpus)
zone_auto = record("zone_auto", ZoneAuto)
pageblock_isolate = table("pageblock_isolate", PageblockIsolate, lambda: machine.nr_pageblocks)
trylock_free = record("trylock_free", TrylockFree)
rmqueue_hold = table("rmqueue_hold", RmqueueHold, lambda: machine.nr_cpus)
drain_work = table("drain_work", DrainWork, lambda: machine.nr_cpus)
pcp_batch_high_rwsem = record("pcp_batch_high_rwsem", RwSem)

#: Every table and record.
TABLES: tuple[Any, ...] = (
    mem_map,
    pageblock,
    free_area,
    pcp,
    pcp_list,
    zone,
    mm,
    other_zone,
    cpu_state,
    page_vec,
    drain_work,
    pcp_batch_high_rwsem,
    pcp_auto,
    zone_auto,
    pageblock_isolate,
    trylock_free,
    rmqueue_hold,
)


def reset() -> None:
    """All tables to their initial values, with the sizes that ``machine`` gives now (for runs in CPython)."""
    for one in TABLES:
        table_of(one).reset()


def get_pageblock_migratetype(page: int) -> int:
    """The migratetype of the pageblock a page is in."""
    # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
    if features.isolate_bit:
        if pageblock_isolate[page >> machine.pageblock_order].isolated:
            return MIGRATE_ISOLATE
    return pageblock[page >> machine.pageblock_order].migratetype


def set_pageblock_migratetype(page: int, migratetype: int) -> None:
    """zone.lock is held.  Where isolation is a bit, an isolated pageblock keeps its type; another type ends that."""
    # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
    if features.isolate_bit:
        pageblock_isolate[page >> machine.pageblock_order].isolated = migratetype == MIGRATE_ISOLATE
        if migratetype == MIGRATE_ISOLATE:
            return
    pageblock[page >> machine.pageblock_order].migratetype = migratetype


def type_without_isolation(page: int, migratetype: int) -> int:
    """The type that a pageblock gets when it is given back: its own, or what its user says where that is lost."""
    # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
    if features.isolate_bit:
        return pageblock[page >> machine.pageblock_order].migratetype
    return migratetype
