# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones of a few pages, small enough that all that can happen in them can be tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pagelab.linux import buddy, lists
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.pcp import order_to_pindex
from pagelab.linux.state import ALLOCATED, IN_FLIGHT, ON_PCPLIST, machine, mem_map, mm, pcp, pcp_auto, zone, zone_auto


def configure(
    *, pageblocks: int, pageblock_order: int, cpus: int, batch: int, high: int, largest: int = 1, movable: bool = True
) -> None:
    """Set the constants of the machine for a zone of that many pageblocks.

    The zone begins where the largest free page may begin, and memory goes on to where one ends.

    :param largest: order of the largest free page, beyond that of a pageblock; 1 on x86-64, so that it is two of them.
        Memory goes offline in blocks that are aligned to it.
    :param movable: whether it is ZONE_MOVABLE, where every page counts as movable.
    """
    max_order = pageblock_order + largest + 1
    aligned = 1 << (max_order - 1)
    pages = pageblocks << pageblock_order
    machine.configure(
        nr_pages=-(-pages // aligned) * aligned,
        nr_cpus=cpus,
        pageblock_order=pageblock_order,
        max_order=max_order,
        costly_order=0,
        pcp_batch_scale_max=2,
        page_vec_size=4,
        thp=False,
        cma=False,
        zone_movable=movable,
        nr_other_zones=0,
        fixed_batch=batch,
        fixed_high=high,
        fixed_watermarks=True,
        min_high_fraction=2,
    )


def setup(
    pageblocks: int,
    allocated: Iterable[int] = (),
    offline: Iterable[int] = (),
    on_pcplists: Mapping[int, Iterable[int]] | None = None,
    *,
    unmovable: Iterable[int] = (),
    watermark_min: int = 0,
) -> None:
    """Fill the tables: pages in use, each by itself, pageblocks that are not online, pcplists, and the rest is free.

    :param allocated: pages that can be migrated; ``unmovable``: pages that cannot.
    :param offline: pageblocks.
    :param on_pcplists: by CPU the pages that it freed lately, the oldest first.
    """
    movable, gone = frozenset(allocated), frozenset(offline)
    used = movable | frozenset(unmovable)
    listed = {page: owner for owner, some in (on_pcplists or {}).items() for page in some}
    pages = pageblocks << machine.pageblock_order
    mm.min_free_kbytes = 0
    zone.spanned_pages = pages
    zone.watermark_min = watermark_min
    online = [page for page in range(pages) if page >> machine.pageblock_order not in gone]
    zone.present_pages = zone.managed_pages = len(online)
    zone.pageset_high, zone.pageset_batch = machine.fixed_high, machine.fixed_batch
    for owner in range(machine.nr_cpus):
        pcp[owner].high, pcp[owner].batch = machine.fixed_high, machine.fixed_batch
        if features.high_auto_tuning:
            pcp_auto[owner].high_min = pcp_auto[owner].high_max = machine.fixed_high
    if features.high_auto_tuning:
        zone_auto.pageset_high_max = machine.fixed_high
    for page in online:
        if page in used:
            mem_map[page].state = ALLOCATED
            mem_map[page].movable = page in movable
        elif page in listed:
            owner = listed[page]
            mem_map[page].state = ON_PCPLIST
            if not features.bulk_free_reads_type:
                mem_map[page].index = MIGRATE_MOVABLE
            lists.pcp_list_add(page, owner, order_to_pindex(MIGRATE_MOVABLE, 0))
            pcp[owner].count += 1
        else:
            mem_map[page].state = IN_FLIGHT
            buddy.__free_one_page(page, 0, MIGRATE_MOVABLE, buddy.FPI_NONE)
