# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow kernels whose pcplists have no lock (before v6.0): each CPU works on its own lists only, with irqs off.

So nothing comes between what a CPU does to its pcplists, and who drains them is one of its own tasks.  Only pages that
go past the pcplists are left to time: a probe tells when they are counted, under zone->lock.
"""

from __future__ import annotations

from pagelab.capture.events import CONTEXT_HARDIRQ, CONTEXT_NMI, CONTEXT_SOFTIRQ, Kind
from pagelab.lang.declare import NIL
from pagelab.linux.buddy import FPI_NONE
from pagelab.linux.drain import drain_pages_zone, drain_zone_pages
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.pcp import free_one_page
from pagelab.linux.state import get_pageblock_migratetype, machine, mem_map, pcp
from pagelab.linux.workqueue import end_work
from pagelab.replay.context import context_of
from pagelab.replay.expect import doubt
from pagelab.replay.tables import capture, cpu_replay, direct, event, hotplug, verdict


def on_flush_drain_work(cpu: int, owner: int) -> None:
    """Probe of flush_drain_work: what the work did, the trace shows on the owner's CPU."""
    end_work(owner)


#: Contexts of a CPU that can come upon each other.
LEVELS = 4


def level_of(context: int) -> int:
    """Who can come upon whom on a CPU: a task is 0, an NMI 3."""
    if context & CONTEXT_NMI != 0:
        return 3
    if context & CONTEXT_HARDIRQ != 0:
        return 2
    return 1 if context & CONTEXT_SOFTIRQ != 0 else 0


def push_direct(i: int, cpu: int) -> None:
    """The page of event ``i`` is announced; __free_pages_ok() gives it to the free lists next."""
    level = level_of(context_of(i))
    direct[cpu, level].page = event[i].page
    direct[cpu, level].order = event[i].order
    direct[cpu, level].zone_events = verdict.zone_events
    cpu_replay[cpu].directs += 1


def settle_directs(i: int, cpu: int) -> None:
    """Who shows event ``i`` has come past what was announced before; if it was not counted, it was isolated."""
    level = level_of(context_of(i))
    counted = event[i].arg if event[i].kind == Kind.FREE_PAGES_COUNTED else NIL
    if direct[cpu, level].page != NIL and counted == 1 << direct[cpu, level].order:
        direct[cpu, level].zone_events = verdict.zone_events  # this is the moment
    for above in range(level, LEVELS):
        if direct[cpu, above].page != NIL:
            free_direct(cpu, above)


def free_direct(cpu: int, level: int) -> None:
    """An announced page is on the free lists by now: in doubt when, if others have changed them meanwhile."""
    page = direct[cpu, level].page
    direct[cpu, level].page = NIL
    cpu_replay[cpu].directs -= 1
    if direct[cpu, level].zone_events != verdict.zone_events:
        doubt(page)
    verdict.zone_events += 1
    free_one_page(cpu, page, direct[cpu, level].order, mem_map[page].index, FPI_NONE)


def settle_directs_in(start: int, end: int) -> None:
    """Pages of an isolated range are on the free lists if their CPUs do not count them afterwards."""
    for cpu in range(machine.nr_cpus):
        for level in range(LEVELS):
            page = direct[cpu, level].page
            if page != NIL and start <= page < end:
                following = event[cpu_replay[cpu].last].next
                while following != NIL and level_of(context_of(following)) > level:
                    following = event[following].next
                if following == NIL or event[following].kind != Kind.FREE_PAGES_COUNTED:
                    free_direct(cpu, level)


def read_type_as_shown(i: int) -> bool:
    """Whether the type that the kernel read from the pageblock is the one that the model read, or reads now."""
    page = event[i].page
    shown = event[i].migratetype
    if shown != NIL and shown != mem_map[page].index:
        if get_pageblock_migratetype(page) != shown:
            return False
        mem_map[page].index = shown
    return True


def goes_past(cpu: int, page: int) -> bool:
    """Put a page whose pageblock is isolated past the pcplist; False if it is not."""
    if mem_map[page].index != MIGRATE_ISOLATE:
        return False
    if capture.probe_free_one_page:
        return True  # it will tell when
    verdict.zone_events += 1
    free_one_page(cpu, page, 0, MIGRATE_ISOLATE, FPI_NONE)
    return True


def run_own_drain(cpu: int, asked: int) -> None:
    """A task empties the pcplist of its CPU, or the vmstat worker gives one batch back."""
    if asked == NIL or asked >= pcp[cpu].count:
        drain_pages_zone(cpu, cpu)
    else:
        drain_zone_pages(cpu)


def batch_as_read(i: int, cpu: int) -> int:
    """The batch that a refill had read, of which event ``i`` shows the first page: pageset_update() may be at work."""
    batch = pcp[cpu].batch
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if features.pcp_spinlock:
        return batch  # a probe told
    most = max(batch, hotplug.old_batch)
    shown = 0
    following = i
    while following != NIL and shown <= most:
        kind = event[following].kind
        if kind == Kind.MM_PAGE_ALLOC_ZONE_LOCKED and event[following].order == 0:
            shown += 1
        elif kind not in (Kind.MM_PAGE_ALLOC_EXTFRAG, Kind.MOVE_FREEPAGES_BLOCK, Kind.MOVE_FREEPAGES_BLOCK_DONE):
            break
        following = event[following].next
    if shown == 1 or shown == hotplug.old_batch:
        return shown
    return batch


def may_be_of_free(cpu: int, asked: int) -> bool:
    """Whether a free that puts one more page on a pcplist may then give ``asked`` pages back.

    The same worker may have freed pages before it came to the work of draining, which asks for all that there are.
    """
    count = pcp[cpu].count + 1
    batch = pcp[cpu].batch
    old_batch = hotplug.old_batch
    full = count >= pcp[cpu].high or 0 < hotplug.old_high <= count
    return asked == 1 or (full and asked in (batch, old_batch))
