# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow memory that comes online and goes offline: isolation, disabled pcplists, high and batch."""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.features import features
from pagelab.linux.memory_hotplug import (
    __offline_isolated_pages,
    generic_online_page,
    offline_pages_end,
    offline_pages_uncount,
    online_pages_begin,
    online_pages_present,
    size_pcplists,
)
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.linux.page_isolation import (
    set_migratetype_isolate,
    undo_isolate_page_range,
    unset_migratetype_isolate,
)
from pagelab.linux.pcp_tuning import __zone_set_pageset_high_and_batch, zone_pcp_enable
from pagelab.linux.state import get_pageblock_migratetype, machine, pcp, pcp_auto
from pagelab.linux.watermarks import init_per_zone_wmark_min
from pagelab.replay.context import next_of_task
from pagelab.replay.expect import believe, count_exact, diverge, give_up
from pagelab.replay.irqs_off_steps import settle_directs_in
from pagelab.replay.tables import (
    REASON_UNMODELLED,
    SCORE_ISOLATE,
    SCORE_PAGESET,
    capture,
    event,
    hotplug,
)


def step_hotplug(i: int, cpu: int, kind: int) -> None:
    """Follow one event of memory hotplug, isolation or pcplist sizes."""
    page = event[i].page
    if kind == Kind.ONLINE_PAGES:
        hotplug.start = page
        hotplug.nr_pages = event[i].arg
        hotplug.online = True
        hotplug.settled = False
        online_pages_begin(cpu, page, event[i].arg)
    elif kind == Kind.UNDO_ISOLATE_PAGE_RANGE:
        if hotplug.online:
            online_pages_present(hotplug.nr_pages)
            if not capture.probe_zone_pcp_update:
                size_pcplists()
    elif kind == Kind.ONLINE_PAGES_DONE:
        settle(cpu)
        hotplug.online = False
    elif kind == Kind.OFFLINE_PAGES:
        hotplug.start = page
        hotplug.nr_pages = event[i].arg
        hotplug.offline = True
        hotplug.settled = True  # until all is free, there is nothing to count
    elif kind == Kind.OFFLINE_ISOLATED_PAGES:
        settle_directs_in(page, page + hotplug.nr_pages)
        __offline_isolated_pages(cpu, page, page + hotplug.nr_pages)
        offline_pages_uncount(cpu, hotplug.nr_pages)
        hotplug.settled = False
        for gone in range(page, page + hotplug.nr_pages):
            believe(gone)
    elif kind == Kind.OFFLINE_PAGES_DONE:
        settle(cpu)
        hotplug.offline = False
    elif kind == Kind.ZONE_PCP_DISABLE:
        hotplug.disabled = True
        if not capture.probe_zone_set_pageset:
            __zone_set_pageset_high_and_batch(0, 1)
    elif kind == Kind.ZONE_PCP_ENABLE:
        hotplug.disabled = False
        if not capture.probe_zone_set_pageset:
            zone_pcp_enable()
        else:
            hotplug.enabling = True
    elif kind == Kind.ZONE_PCP_UPDATE:
        step_pcp_update(cpu)
    elif kind == Kind.ZONE_SET_PAGESET:
        step_pageset(i, cpu)
    elif kind == Kind.MOVE_FREEPAGES_BLOCK:
        step_move(i, cpu)
    elif kind == Kind.MOVE_FREEPAGES_BLOCK_ISOLATE:
        step_isolate(i, cpu)
    elif kind == Kind.MOVE_FREEPAGES_BLOCK_DONE:
        if hotplug.moved == event[i].arg:
            count_exact(SCORE_ISOLATE)
        else:
            diverge(i, SCORE_ISOLATE, kind, NIL, NIL, NIL, hotplug.moved)
    elif kind == Kind.UNSET_MIGRATETYPE_ISOLATE:
        following = next_of_task(i)
        moves = following != NIL and event[following].kind in (
            Kind.MOVE_FREEPAGES_BLOCK,
            Kind.MOVE_FREEPAGES_BLOCK_ISOLATE,
        )
        if not moves and get_pageblock_migratetype(page) == MIGRATE_ISOLATE:
            unset_migratetype_isolate(cpu, page, event[i].migratetype)


def step_online_free(cpu: int, page: int, order: int) -> None:
    """A chunk of memory comes online.  Without a probe on online_pages() the first and the last chunk stand for it."""
    if capture.probe_online_pages:
        generic_online_page(cpu, page, order)
        return
    nr_pages = 1 << capture.block_order
    start = page & ~(nr_pages - 1)
    if page == start:
        online_pages_begin(cpu, start, nr_pages)
    generic_online_page(cpu, page, order)
    if page + (1 << order) == start + nr_pages:
        online_pages_present(nr_pages)
        size_pcplists()
        undo_isolate_page_range(cpu, start, start + nr_pages, MIGRATE_MOVABLE)
        init_per_zone_wmark_min(cpu)


def settle(cpu: int) -> None:
    """Memory came or went: count it, set the watermarks, and with them high and batch."""
    if hotplug.settled:
        return
    hotplug.settled = True
    if hotplug.online:
        init_per_zone_wmark_min(cpu)
    else:
        offline_pages_end(cpu, hotplug.start, hotplug.nr_pages)


def step_pcp_update(cpu: int) -> None:
    """High and batch are set, on one CPU after the other; all follow from the number of pages."""
    # Since Linux kernel commit b92ca18e8ca5 ("mm/page_alloc: disassociate the pcp->high from pcp->batch") (in v5.14)
    if features.high_from_low_watermark:
        return
    high = pcp[0].high
    batch = pcp[0].batch
    if hotplug.offline:
        settle(cpu)
    else:
        size_pcplists()
    if high != pcp[0].high or batch != pcp[0].batch:
        hotplug.old_high = high
        hotplug.old_batch = batch


def high_of(cpu: int) -> int:
    """The limit of a CPU's pcplists that is set from outside."""
    if features.high_auto_tuning:
        return pcp_auto[cpu].high_min
    return pcp[cpu].high


def step_pageset(i: int, cpu: int) -> None:
    """High and batch are set on all CPUs: to 0 and 1, to what the zone keeps, or to what it now should keep."""
    hotplug.set_at = i
    hotplug.old_high = high_of(0)
    hotplug.old_batch = pcp[0].batch
    if features.high_auto_tuning:
        hotplug.old_high_max = pcp_auto[0].high_max
    if hotplug.disabled:
        __zone_set_pageset_high_and_batch(0, 1)
    elif hotplug.enabling:
        hotplug.enabling = False
        zone_pcp_enable()
    elif high_of(0) != event[i].page or pcp[0].batch != event[i].arg:
        settle(cpu)
    high = high_of(0)
    if high == event[i].page and pcp[0].batch == event[i].arg:
        count_exact(SCORE_PAGESET)
    else:
        diverge(i, SCORE_PAGESET, Kind.ZONE_SET_PAGESET, NIL, NIL, NIL, high)


def step_move(i: int, cpu: int) -> None:
    """The free pages of a pageblock move to other lists, under zone->lock."""
    page = event[i].page
    migratetype = event[i].migratetype
    if features.isolation_splits_buddies:
        return  # the model did it when the isolation began
    isolated = get_pageblock_migratetype(page) == MIGRATE_ISOLATE
    hotplug.moved = NIL
    if migratetype == MIGRATE_ISOLATE and not isolated:
        end = page + machine.pageblock_nr_pages
        set_migratetype_isolate(cpu, page, MIGRATE_MOVABLE, page, end)
    elif migratetype != MIGRATE_ISOLATE and isolated:
        settle_directs_in(page, page + machine.pageblock_nr_pages)
        unset_migratetype_isolate(cpu, page, migratetype)
    else:
        give_up(REASON_UNMODELLED)


def step_isolate(i: int, cpu: int) -> None:
    """A pageblock is isolated or given back, under zone->lock, by move_freepages_block_isolate()."""
    page = event[i].page
    isolated = get_pageblock_migratetype(page) == MIGRATE_ISOLATE
    isolate = event[i].migratetype == MIGRATE_ISOLATE or event[i].arg == 1
    hotplug.moved = NIL
    if isolate and not isolated:
        set_migratetype_isolate(cpu, page, MIGRATE_MOVABLE, page, page + machine.pageblock_nr_pages)
    elif isolated and not isolate:
        unset_migratetype_isolate(cpu, page, event[i].migratetype)
    else:
        give_up(REASON_UNMODELLED)
        return
    if hotplug.moved == NIL:
        count_exact(SCORE_ISOLATE)  # a free page was split: how many pages moved, no probe tells
