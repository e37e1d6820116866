# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pages the pcplists take and give back since v6.7, where pcp->high follows the load (mm/page_alloc.c).

pcp->lock is held in all procedures but note_below_high().
"""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.features import features
from pagelab.linux.state import free_area, machine, pcp, pcp_auto, zone, zone_auto


def clamp(value: int, low: int, high: int) -> int:
    """The kernel's: ``high`` wins if it is below ``low``."""
    return min(max(value, low), high)


# ---- the high watermark


def zone_watermark_ok(order: int, mark: int) -> bool:
    """Whether the zone is above a watermark once a page is taken; lowmem_reserve and HIGHATOMIC are not modelled."""
    if zone.free_pages - ((1 << order) - 1) <= mark:
        return False
    for larger in range(order, machine.max_order):
        for migratetype in range(4):  # those with pcplists, and CMA's stand-in
            if free_area[larger, migratetype].head != NIL:
                return True
    return order == 0


def note_below_high(order: int) -> None:
    """get_page_from_freelist() looks at the high watermark before the one that it has to keep."""
    # Since Linux kernel commit 57c0419c5f0e ("mm, pcp: decrease PCP high if free pages < high watermark") (in v6.7)
    if features.high_below_watermark:
        if not zone_auto.below_high and not zone_watermark_ok(order, zone.watermark_high):
            zone_auto.below_high = True


def clear_below_high() -> None:
    """After a bulk free."""
    # Since Linux kernel commit 57c0419c5f0e ("mm, pcp: decrease PCP high if free pages < high watermark") (in v6.7)
    if features.high_below_watermark:
        if zone_auto.below_high and zone_watermark_ok(0, zone.watermark_high):
            zone_auto.below_high = False


# ---- allocate


def nr_pcp_alloc(cpu: int, order: int) -> int:
    """How many pages a refill takes; ``alloc_factor`` doubles it with each refill in a row."""
    base_batch = pcp[cpu].batch
    high = pcp[cpu].high
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        high_min = pcp_auto[cpu].high_min
        high_max = pcp_auto[cpu].high_max
        high = clamp(high, high_min, high_max)
        pcp[cpu].high = high
    # The pcplists are disabled, or those of boot.
    if high < base_batch:
        return 1
    batch = base_batch
    if order == 0:
        batch <<= pcp_auto[cpu].alloc_factor
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        if high_min != high_max and not zone_auto.below_high:
            high = min(high + batch, high_max)
            pcp[cpu].high = high
    if order == 0:
        max_nr_alloc = max(high - pcp[cpu].count - base_batch, base_batch)
        alloc_factor = pcp_auto[cpu].alloc_factor
        if batch <= max_nr_alloc and alloc_factor < machine.pcp_batch_scale_max:
            pcp_auto[cpu].alloc_factor = alloc_factor + 1
        batch = min(batch, max_nr_alloc)
    if batch > 1:
        batch = max(batch >> order, 2)
    return batch


# ---- free


def in_a_row(cpu: int) -> bool:
    """Whether so many pages were freed in a row that pages of orders 1 to 3 shall not stay."""
    # Since Linux kernel commit 6ccdcb6d3a74 ("mm, pcp: reduce detecting time of consecutive high order page freeing")
    # (in v6.7)
    if features.free_count:
        enough = pcp[cpu].batch
        # Since Linux kernel commit c544a952ba61 ("mm: pcp: increase pcp->free_count threshold to trigger free_high")
        # (in v6.16)
        if features.free_high_above_half_min:
            enough += pcp_auto[cpu].high_min // 2
        return pcp_auto[cpu].free_count >= enough
    return pcp[cpu].free_factor != 0


def is_free_high(cpu: int, order: int) -> bool:
    """Whether the page of an order that was just put on a pcplist empties them."""
    high_order = 0 < order <= machine.costly_order
    free_high = high_order and in_a_row(cpu)
    # Since Linux kernel commit ca71fe1ad922 ("mm, pcp: avoid to drain PCP when process exit") (in v6.7)
    if features.free_high_when_repeated:
        free_high = free_high and bool(pcp_auto[cpu].prev_free_high_order)
        pcp_auto[cpu].prev_free_high_order = high_order
    # Since Linux kernel commit 362d37a106dd ("mm, pcp: reduce lock contention for draining high-order pages")
    # (in v6.7)
    if features.free_high_keeps_batch:
        if pcp_auto[cpu].free_high_batch and pcp[cpu].count < pcp[cpu].batch:
            free_high = False
    return free_high


def count_free(cpu: int, order: int) -> None:
    """One more page was freed in a row."""
    # Since Linux kernel commit 6ccdcb6d3a74 ("mm, pcp: reduce detecting time of consecutive high order page freeing")
    # (in v6.7)
    if features.free_count:
        if pcp_auto[cpu].free_count < pcp[cpu].batch << machine.pcp_batch_scale_max:
            pcp_auto[cpu].free_count += 1 << order


def nr_pcp_high_tuned(cpu: int, free_high: bool) -> int:
    """How many base pages the pcplists may hold just now; pcp->high follows what is freed in a row."""
    batch = pcp[cpu].batch
    high_min = pcp_auto[cpu].high_min
    high_max = pcp_auto[cpu].high_max
    high = clamp(pcp[cpu].high, high_min, high_max)
    pcp[cpu].high = high
    if high == 0:
        return 0
    if free_high:
        pcp[cpu].high = max(high - (batch << machine.pcp_batch_scale_max), high_min)
        return 0
    free_count = pcp_auto[cpu].free_count
    if zone.reclaim_active:
        high = max(high - max(free_count, batch), high_min)
        pcp[cpu].high = high
        return min(batch << 2, high)
    if high_min == high_max:
        return high
    if zone_auto.below_high:
        pcp[cpu].high = max(high - max(free_count, batch), high_min)
        high = max(pcp[cpu].count, high_min)
    elif pcp[cpu].count >= high:
        need_high = free_count + batch
        if high < need_high:
            pcp[cpu].high = clamp(need_high, high_min, high_max)
    return high
