# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the recorded work under a design that need not be that of the recorded kernel.

Each recorded allocation and free is done at its moment, on its CPU, as a whole.  Pages get other numbers than in the
recording, so each recorded page has one of the model's that stands for it.  What the recorded kernel migrated when
memory went offline is not done again: the model migrates what is in the way under this design.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL, lock, unlock
from pagelab.linux.features import features
from pagelab.linux.memory_hotplug import (
    __offline_isolated_pages,
    drain_in_offline,
    offline_pages_end,
    offline_pages_uncount,
    online_pages,
)
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.linux.page_alloc import free_the_page, get_page_from_freelist, split_page
from pagelab.linux.page_isolation import start_isolate_page_range, test_pages_isolated, undo_isolate_page_range
from pagelab.linux.pcp_tuning import zone_pcp_disable, zone_pcp_enable
from pagelab.linux.state import (
    ALLOCATED,
    OFFLINE,
    ON_PCPLIST,
    get_pageblock_migratetype,
    machine,
    mem_map,
    mm,
    zone,
)
from pagelab.replay.hotplug_steps import step_online_free
from pagelab.replay.tables import capture, event
from pagelab.replay.whatif_tables import TARGETS, counts, held, holds, offlining, targets

# ---- what is counted


def on_zone_locked(cpu: int, page: int, order: int, migratetype: int, percpu_refill: int) -> None:
    """Probe of mm_page_alloc_zone_locked."""
    counts.refilled += 1 << order


def on_drain(cpu: int, page: int, order: int, migratetype: int) -> None:
    """Probe of mm_page_pcpu_drain: another page is freed, in this hold of zone->lock or in a new one."""
    if counts.hold != counts.zone_lock:
        count_hold()
        counts.hold = counts.zone_lock
    counts.hold_pages += 1 << order
    counts.given_back += 1 << order


def count_hold() -> None:
    """The last hold in which pages were freed is over."""
    pages = counts.hold_pages
    counts.hold_pages = 0
    if pages == 0:
        return
    counts.most_in_hold = max(counts.most_in_hold, pages)
    size = 0
    while pages >> (size + 1) != 0:
        size += 1
    holds[size].count += 1


def count_stray(page: int, order: int) -> None:
    """A page was freed: is it on a pcplist although its pageblock is isolated?"""
    if zone.nr_isolate_pageblock == 0 or mem_map[page].state != ON_PCPLIST:
        return
    if get_pageblock_migratetype(page) == MIGRATE_ISOLATE:
        counts.stray += 1 << order


def nr_on_pcplists(start: int, end: int) -> int:
    """How many pages of a range pcplists hold."""
    nr_pages = 0
    page = start
    while page < end:
        if mem_map[page].state == ON_PCPLIST:
            nr_pages += 1 << mem_map[page].compound_order
            page += 1 << mem_map[page].compound_order
        else:
            page += 1
    return nr_pages


# ---- allocations and frees


def hold(recorded: int, page: int, order: int) -> None:
    """From now on a page of the model stands for a recorded one."""
    for i in range(1 << order):
        held[recorded + i].page = page + i
        held[page + i].recorded = recorded + i


def let_go(page: int, order: int) -> None:
    """A page of the model is free: it stands for none."""
    for i in range(1 << order):
        recorded = held[page + i].recorded
        if recorded != NIL:
            held[recorded].page = NIL
            held[page + i].recorded = NIL


def do_alloc(i: int, cpu: int) -> None:
    """An allocation that the recorded kernel served from this zone."""
    order = event[i].order
    recorded = event[i].page
    counts.allocations += 1
    # What stood for these pages was freed without an event.
    for k in range(1 << order):
        stale = held[recorded + k].page
        if stale != NIL:
            held[stale].recorded = NIL
            held[recorded + k].page = NIL
    page = get_page_from_freelist(cpu, order, 0, event[i].migratetype)
    if page == NIL:
        counts.allocations_failed += 1
    else:
        hold(recorded, page, order)


def split_for(page: int, order: int) -> bool:
    """Whether a page of that order can be freed, after splitting the allocation that it is a part of."""
    if mem_map[page].state == ALLOCATED and mem_map[page].compound_order == order:
        return True
    if order != 0:
        return False
    for larger in range(1, machine.max_order):
        head = page & ~((1 << larger) - 1)
        if mem_map[head].state == ALLOCATED and mem_map[head].compound_order == larger:
            split_page(head, larger)
            return True
    return False


def do_free(i: int, cpu: int) -> None:
    """A free, or memory that comes online."""
    recorded = event[i].page
    order = event[i].order
    page = held[recorded].page
    if page == NIL:
        if mem_map[recorded].state == OFFLINE and not capture.probe_online_pages:
            step_online_free(cpu, recorded, order)
        elif offlining.pid != event[i].pid:
            counts.frees_unmatched += 1
        return
    counts.frees += 1
    if not split_for(page, order):
        counts.frees_unmatched += 1
        return
    let_go(page, order)
    free_the_page(cpu, page, order)
    count_stray(page, order)


# ---- memory goes offline


def migrate(cpu: int, start: int, end: int) -> None:
    """Move what is in use in a range elsewhere, as far as it can be moved and there is room."""
    page = start
    while page < end:
        if mem_map[page].state != ALLOCATED:
            page += 1
            continue
        order = mem_map[page].compound_order
        following = page + (1 << order)
        if mem_map[page].movable:
            target = get_page_from_freelist(cpu, order, 0, MIGRATE_MOVABLE)
            if target != NIL:
                counts.migrated += 1 << order
                for i in range(1 << order):
                    recorded = held[page + i].recorded
                    held[page + i].recorded = NIL
                    held[target + i].recorded = recorded
                    if recorded != NIL:
                        held[recorded].page = target + i
                free_the_page(cpu, page, order)
                count_stray(page, order)
        page = following


def recorded_target(i: int) -> None:
    """The recorded kernel allocated a page to migrate another one to."""
    slot = offlining.targets & (TARGETS - 1)
    targets[slot].page = event[i].page
    targets[slot].order = event[i].order
    offlining.targets += 1


def may_be_migrated(recorded: int) -> bool:
    """Whether a recorded page is one that a migration may have moved."""
    page = held[recorded].page
    return page == NIL or mem_map[page].movable


def recorded_source(i: int) -> None:
    """The recorded kernel freed a page that it had migrated: its target, the oldest one, means the same from now on."""
    if offlining.sources == offlining.targets:
        return
    slot = offlining.sources & (TARGETS - 1)
    if targets[slot].order != event[i].order:
        return
    offlining.sources += 1
    source = event[i].page
    target = targets[slot].page
    for k in range(1 << event[i].order):
        page = held[source + k].page
        held[source + k].page = NIL
        held[target + k].page = page
        if page != NIL:
            held[page].recorded = target + k


def begin_offline(i: int, cpu: int) -> None:
    """Isolate, with all that the design does to empty the pcplists, and migrate."""
    start = event[i].page
    end = start + event[i].arg
    offlining.pid = event[i].pid
    offlining.start = start
    offlining.nr_pages = event[i].arg
    offlining.recorded = False
    offlining.targets = 0
    offlining.sources = 0
    counts.on_pcplists += nr_on_pcplists(start, end)
    # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
    if features.zone_pcp_disable:
        lock(mm.pcp_batch_high_lock)
        zone_pcp_disable(cpu)
    offlining.isolated = start_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE) == 0
    if offlining.isolated:
        counts.stray_left += nr_on_pcplists(start, end)
        migrate(cpu, start, end)


def look(cpu: int) -> bool:
    """Whether the range is free by now; if not, the design may drain again."""
    start = offlining.start
    end = start + offlining.nr_pages
    if test_pages_isolated(cpu, start, end) == 0:
        return True
    counts.tests_failed += 1
    drain_in_offline(cpu)
    migrate(cpu, start, end)
    return False


def end_offline(cpu: int) -> None:
    """The recorded kernel has come to its end: has the model?"""
    start = offlining.start
    nr_pages = offlining.nr_pages
    offlining.start = NIL
    offlining.pid = NIL
    free = False
    if offlining.isolated:
        if offlining.recorded:
            free = test_pages_isolated(cpu, start, start + nr_pages) == 0
        if free:
            __offline_isolated_pages(cpu, start, start + nr_pages)
            offline_pages_uncount(cpu, nr_pages)
        else:
            undo_isolate_page_range(cpu, start, start + nr_pages, MIGRATE_MOVABLE)
    # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
    if features.zone_pcp_disable:
        zone_pcp_enable()
        unlock(mm.pcp_batch_high_lock)
    if free:
        counts.offlined += 1
        offline_pages_end(cpu, start, nr_pages)
    elif offlining.recorded:
        counts.offline_failed += 1
    else:
        counts.offline_given_up += 1


def do_hotplug(i: int, cpu: int, kind: int) -> None:
    """Memory comes or goes."""
    if kind == Kind.ONLINE_PAGES:
        offlining.pid = event[i].pid
        counts.onlined += 1
        online_pages(cpu, event[i].page, event[i].arg)
    elif kind == Kind.ONLINE_PAGES_DONE:
        offlining.pid = NIL
    elif kind == Kind.OFFLINE_PAGES:
        begin_offline(i, cpu)
    elif offlining.start != NIL:
        if kind == Kind.TEST_PAGES_ISOLATED and offlining.isolated and offlining.pid == event[i].pid:
            look(cpu)
        elif kind == Kind.OFFLINE_ISOLATED_PAGES:
            offlining.recorded = True
        elif kind == Kind.OFFLINE_PAGES_DONE:
            end_offline(cpu)


def do_event(i: int) -> None:
    """Do what event ``i`` shows that somebody wanted; what the kernel did of itself, the model does of itself."""
    kind = event[i].kind
    cpu = event[i].cpu
    if kind == Kind.MM_PAGE_ALLOC and event[i].page != NIL:
        if offlining.start != NIL and offlining.pid == event[i].pid and event[i].migratetype == MIGRATE_MOVABLE:
            recorded_target(i)
        else:
            do_alloc(i, cpu)
    elif kind == Kind.MM_PAGE_FREE and event[i].page != NIL:
        if offlining.start != NIL and offlining.pid == event[i].pid and may_be_migrated(event[i].page):
            recorded_source(i)
        else:
            do_free(i, cpu)
    else:
        do_hotplug(i, cpu, kind)


def what_if(begin: int, end: int) -> None:
    """Do events ``begin`` to before ``end``."""
    for i in range(begin, end):
        do_event(i)


def finish() -> None:
    """Count what is under way."""
    count_hold()
