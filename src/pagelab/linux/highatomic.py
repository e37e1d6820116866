# SPDX-License-Identifier: GPL-2.0-or-later
"""Pageblocks kept for atomic allocations of higher orders (mm/page_alloc.c, before v6.7)."""

from __future__ import annotations

from pagelab.lang.declare import NIL, i64, irqs_off, record
from pagelab.linux.buddy import move_freepages_block
from pagelab.linux.migratetype import MIGRATE_HIGHATOMIC, migratetype_is_mergeable
from pagelab.linux.state import free_area, get_pageblock_migratetype, machine, set_pageblock_migratetype, zone


class Highatomic:
    """Of struct zone; by itself, because only zones in which all migratetypes are at work need it."""

    nr_reserved_highatomic: i64 = 0  # base pages


highatomic = record("highatomic", Highatomic)


def reserve_highatomic_pageblock(cpu: int, page: int) -> None:
    """Keep the pageblock of a page that was just allocated, up to a hundredth of the zone and one pageblock."""
    max_managed = zone.managed_pages // 100 + machine.pageblock_nr_pages
    if highatomic.nr_reserved_highatomic >= max_managed:
        return
    with irqs_off(cpu), zone.lock:
        if highatomic.nr_reserved_highatomic < max_managed:
            if migratetype_is_mergeable(get_pageblock_migratetype(page)):
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
            set_pageblock_migratetype(page, migratetype)
            if move_freepages_block(cpu, page, migratetype) != 0:
                return True
    return False
