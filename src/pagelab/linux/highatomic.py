# SPDX-License-Identifier: GPL-2.0-or-later
"""Pageblocks kept for atomic allocations of higher orders (mm/page_alloc.c, before v6.7)."""

from __future__ import annotations

from pagelab.lang.declare import NIL, i64, irqs_off, record
from pagelab.linux.buddy import move_freepages_block
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, migratetype_is_mergeable
from pagelab.linux.state import free_area, get_pageblock_migratetype, machine, set_pageblock_migratetype, zone


class Highatomic:
    """Of struct zone; by itself, because only zones in which all migratetypes are at work need it."""

    nr_reserved_highatomic: i64 = 0  # base pages


highatomic = record("highatomic", Highatomic)


def max_reserved_highatomic() -> int:
    """Base pages that may be kept: about a hundredth of the zone."""
    # Since Linux kernel commit 9cd20f3fe045 ("mm: page_alloc: enforce minimum zone size to do high atomic reserves")
    # (in v6.8)
    if features.highatomic_minimum_zone:
        if zone.managed_pages // 100 < machine.pageblock_nr_pages:
            return 0
    # Since Linux kernel commit d68e39fc45f7 ("mm: page_alloc: correct high atomic reserve calculations") (in v6.8)
    if features.highatomic_rounded_up:
        blocks = (zone.managed_pages // 100 + machine.pageblock_nr_pages - 1) >> machine.pageblock_order
        return blocks << machine.pageblock_order
    return zone.managed_pages // 100 + machine.pageblock_nr_pages


def reserve_highatomic_pageblock(cpu: int, page: int) -> None:
    """Keep the pageblock of a page that was just allocated, up to a hundredth of the zone and one pageblock."""
    max_managed = max_reserved_highatomic()
    if highatomic.nr_reserved_highatomic >= max_managed:
        return
    with irqs_off(cpu), zone.lock:
        if highatomic.nr_reserved_highatomic < max_managed:
            if migratetype_is_mergeable(get_pageblock_migratetype(page)):
                # Since Linux kernel commit c0cd6f557b90 ("mm: page_alloc: fix freelist movement during block
                # conversion") (in v6.10)
                if features.block_conversion_moves_all:
                    if move_freepages_block(cpu, page, MIGRATE_HIGHATOMIC) >= 0:
                        highatomic.nr_reserved_highatomic += machine.pageblock_nr_pages
                else:
                    highatomic.nr_reserved_highatomic += machine.pageblock_nr_pages
                    set_pageblock_migratetype(page, MIGRATE_HIGHATOMIC)
                    move_freepages_block(cpu, page, MIGRATE_HIGHATOMIC)


def unreserve_highatomic_pageblock(cpu: int, migratetype: int, force: bool) -> bool:
    """Give a pageblock back, to a migratetype that is short of pages; the last one only if ``force``d.

    :returns: whether any free page moved.
    """
    if not force and highatomic.nr_reserved_highatomic <= machine.pageblock_nr_pages:
        return False
    with irqs_off(cpu), zone.lock:
        for order in range(machine.max_order):
            page = free_area[order, MIGRATE_HIGHATOMIC].head
            if page == NIL:
                continue
            # A page that was freed with a type read earlier may be on that list although its pageblock is not kept.
            if get_pageblock_migratetype(page) == MIGRATE_HIGHATOMIC:
                kept = highatomic.nr_reserved_highatomic
                highatomic.nr_reserved_highatomic = kept - min(machine.pageblock_nr_pages, kept)
            # Since Linux kernel commit c0cd6f557b90 ("mm: page_alloc: fix freelist movement during block conversion")
            # (in v6.10)
            if not features.block_conversion_moves_all:
                set_pageblock_migratetype(page, migratetype)
            if move_freepages_block(cpu, page, migratetype) > 0:
                return True
    return False
