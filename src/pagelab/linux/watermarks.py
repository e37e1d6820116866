# SPDX-License-Identifier: GPL-2.0-or-later
"""The watermarks, from which the pcplists get their size (mm/page_alloc.c).  watermark_boost is not modelled."""

from __future__ import annotations

from pagelab.lang.declare import irqs_off
from pagelab.linux.features import features
from pagelab.linux.pcp_tuning import zone_pcp_update
from pagelab.linux.state import machine, mm, other_zone, zone


def nr_free_buffer_pages() -> int:
    """Pages above the high watermark in the zones that GFP_USER may use; ZONE_MOVABLE is none of them."""
    total = 0
    for i in range(machine.nr_other_zones):
        if other_zone[i].holds_user_pages:
            total += max(other_zone[i].managed_pages - other_zone[i].watermark_high, 0)
    if not machine.zone_movable:
        total += max(zone.managed_pages - zone.watermark_high, 0)
    return total


def int_sqrt(x: int) -> int:
    """The largest integer whose square is not above x."""
    low = 0
    high = 1 << 31
    while low + 1 < high:
        middle = (low + high) // 2
        if middle * middle <= x:
            low = middle
        else:
            high = middle
    return low


def calculate_min_free_kbytes() -> None:
    """Four times the square root of the memory in KiB, unless the user wants more."""
    lowmem_kbytes = nr_free_buffer_pages() * (1 << (machine.page_shift - 10))
    new_min_free_kbytes = int_sqrt(lowmem_kbytes * 16)
    if new_min_free_kbytes > mm.user_min_free_kbytes:
        mm.min_free_kbytes = min(max(new_min_free_kbytes, 128), 262144)


def mult_frac(x: int, numerator: int, denominator: int) -> int:
    """x * numerator / denominator, rounded as the kernel does."""
    return x // denominator * numerator + x % denominator * numerator // denominator


def watermark_distance(minimum: int, managed_pages: int) -> int:
    """From one watermark of a zone to the next."""
    return max(minimum >> 2, mult_frac(managed_pages, mm.watermark_scale_factor, 10000))


def count_lowmem_pages() -> int:
    """Pages of the zones that share min_free_kbytes."""
    lowmem_pages = 0
    for i in range(machine.nr_other_zones):
        # Since Linux kernel v6.6 ("mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE")
        if features.movable_zone_apart:
            if other_zone[i].holds_user_pages:
                lowmem_pages += other_zone[i].managed_pages
        else:
            lowmem_pages += other_zone[i].managed_pages
    # Since Linux kernel v6.6 ("mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE")
    if features.movable_zone_apart:
        if machine.zone_movable:
            return lowmem_pages
    return lowmem_pages + zone.managed_pages


def capped_minimum(minimum: int) -> int:
    """The lowest watermark: ZONE_MOVABLE, where no allocation may go below it, needs little."""
    # Since Linux kernel v6.6 ("mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE")
    if features.movable_zone_apart:
        if machine.zone_movable:
            return min(max(zone.managed_pages // 1024, machine.swap_cluster_max), 128)
    return minimum


def __setup_per_zone_wmarks(cpu: int) -> None:
    """Share min_free_kbytes out among the zones; none of them is highmem."""
    pages_min = mm.min_free_kbytes >> (machine.page_shift - 10)
    lowmem_pages = max(count_lowmem_pages(), 1)
    for i in range(machine.nr_other_zones):
        managed = other_zone[i].managed_pages
        minimum = pages_min * managed // lowmem_pages
        other_zone[i].watermark_high = minimum + 2 * watermark_distance(minimum, managed)
    with irqs_off(cpu), zone.lock:
        managed_pages = zone.managed_pages
        minimum = pages_min * managed_pages // lowmem_pages
        distance = watermark_distance(minimum, managed_pages)
        minimum = capped_minimum(minimum)
        zone.watermark_min = minimum
        zone.watermark_low = minimum + distance
        zone.watermark_high = minimum + 2 * distance


def setup_per_zone_wmarks(cpu: int) -> None:
    """min_free_kbytes or the number of pages changed."""
    if not machine.fixed_watermarks:
        __setup_per_zone_wmarks(cpu)
    # Since Linux kernel commit b92ca18e8ca5 ("mm/page_alloc: disassociate the pcp->high from pcp->batch") (in v5.14)
    if features.high_from_low_watermark:
        zone_pcp_update(0)


def init_per_zone_wmark_min(cpu: int) -> None:
    """After memory came or went."""
    if not machine.fixed_watermarks:
        calculate_min_free_kbytes()
    setup_per_zone_wmarks(cpu)
