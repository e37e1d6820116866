# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones of a few pages, small enough that all that can happen in them can be tried."""

from __future__ import annotations

from collections.abc import Iterable

from pagelab.linux import buddy
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.state import ALLOCATED, IN_FLIGHT, machine, mem_map, mm, pcp, zone


def configure(*, pageblocks: int, pageblock_order: int, cpus: int, batch: int, high: int) -> None:
    """Set the constants of the machine for a zone of that many pageblocks, of which two make the largest free page.

    The zone begins where the largest free page may begin, and memory goes on to where one ends.
    """
    max_order = pageblock_order + 2
    largest = 1 << (max_order - 1)
    pages = pageblocks << pageblock_order
    machine.configure(
        nr_pages=-(-pages // largest) * largest,
        nr_cpus=cpus,
        pageblock_order=pageblock_order,
        max_order=max_order,
        costly_order=0,
        pcp_batch_scale_max=2,
        page_vec_size=4,
        thp=False,
        cma=False,
        zone_movable=True,
        nr_other_zones=0,
        fixed_batch=batch,
        fixed_high=high,
        fixed_watermarks=True,
        min_high_fraction=2,
    )


def setup(pageblocks: int, allocated: Iterable[int] = (), offline: Iterable[int] = ()) -> None:
    """Fill the tables: pages in use, each by itself, pageblocks that are not online, and the rest is free.

    :param allocated: pages; they can be migrated.
    :param offline: pageblocks.
    """
    used, gone = frozenset(allocated), frozenset(offline)
    pages = pageblocks << machine.pageblock_order
    mm.min_free_kbytes = 0
    zone.spanned_pages = pages
    online = [page for page in range(pages) if page >> machine.pageblock_order not in gone]
    zone.present_pages = zone.managed_pages = len(online)
    zone.pageset_high, zone.pageset_batch = machine.fixed_high, machine.fixed_batch
    for owner in range(machine.nr_cpus):
        pcp[owner].high, pcp[owner].batch = machine.fixed_high, machine.fixed_batch
    for page in online:
        if page in used:
            mem_map[page].state = ALLOCATED
            mem_map[page].movable = True
        else:
            mem_map[page].state = IN_FLIGHT
            buddy.__free_one_page(page, 0, MIGRATE_MOVABLE, buddy.FPI_NONE)
