# SPDX-License-Identifier: GPL-2.0-or-later
"""What threads of a scenario run.  A thread stays on its CPU; its parameters are the constants of a scenario.

Pages and pageblocks are numbered from the start of the zone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pagelab.lang.declare import NIL, irqs_off
from pagelab.linux.contig import alloc_contig_range
from pagelab.linux.drain import drain_all_pages, drain_local_pages_wq, drain_zone_pages
from pagelab.linux.features import features
from pagelab.linux.free_folios import release_pages
from pagelab.linux.memory_hotplug import offline_pages, online_pages
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.page_alloc import free_contig_range, free_pages_nolock, free_the_page, get_page_from_freelist
from pagelab.linux.pcp_tuning import page_alloc_cpu_dead, percpu_pagelist_high_fraction_sysctl_handler
from pagelab.linux.state import cpu_state, machine, mm, page_vec
from pagelab.linux.workqueue import begin_work, end_work


def freer(cpu: int, page: int) -> None:
    """Frees a page that is in use at the start."""
    free_the_page(cpu, page, 0)


def nolock_freer(cpu: int, page: int) -> None:
    """Frees a page that is in use at the start, without waiting for any lock."""
    free_pages_nolock(cpu, page, 0)


def list_freer(cpu: int, page: int, count: int) -> None:
    """Frees pages in a row as one list, as at the exit of a process."""
    for i in range(count):
        page_vec[cpu, i].page = page + i
    release_pages(cpu, count)


def allocator(cpu: int, times: int) -> None:
    """Allocates a page and frees it again, a number of times."""
    for _ in range(times):
        page = get_page_from_freelist(cpu, 0, 0, MIGRATE_MOVABLE)
        if page != NIL:
            free_the_page(cpu, page, 0)


def offliner(cpu: int, block: int, count: int) -> None:
    """Takes pageblocks in a row offline; no free page may reach across their ends, as none does for a memory block."""
    offline_pages(cpu, block << machine.pageblock_order, count << machine.pageblock_order)


def onliner(cpu: int, block: int, count: int) -> None:
    """Brings pageblocks in a row online."""
    online_pages(cpu, block << machine.pageblock_order, count << machine.pageblock_order)


def contig(cpu: int, page: int, count: int) -> None:
    """Allocates pages in a row by their place; frees them again if it got them."""
    if alloc_contig_range(cpu, page, page + count, MIGRATE_MOVABLE) == 0:
        free_contig_range(cpu, page, count)


def sysctl_writer(cpu: int, fraction: int) -> None:
    """Writes to vm.percpu_pagelist_fraction, or vm.percpu_pagelist_high_fraction since v5.14."""
    percpu_pagelist_high_fraction_sysctl_handler(fraction)


def drainer(cpu: int) -> None:
    """Drains the pcplists of all CPUs that seem to have any, as reclaim does when it finds nothing else."""
    drain_all_pages(cpu, specific=False)


def vmstat_worker(cpu: int) -> None:
    """Gives back a batch of its CPU's pages, as happens when the zone's node is another and nobody used them."""
    drain_zone_pages(cpu)


def signal(cpu: int, owner: int) -> None:
    """Interrupts whoever takes memory offline on CPU ``owner``."""
    cpu_state[owner].signal_pending = True


def cpu_down(cpu: int, owner: int) -> None:
    """Takes a CPU away, where nothing else may run.  mem_hotplug_lock stands for cpu_hotplug_lock, which it holds."""
    with mm.mem_hotplug_lock:
        with irqs_off(owner):
            cpu_state[owner].online = False
        page_alloc_cpu_dead(cpu, owner)


def kworker(cpu: int) -> None:
    """Does the work that drains queue to its CPU.  To be declared a daemon; it has nothing to do since v6.0."""
    if features.remote_drain:
        return
    while True:
        begin_work(cpu)
        drain_local_pages_wq(cpu)
        end_work(cpu)


@dataclass(frozen=True, slots=True)
class Procedure:
    """What a thread of a scenario may run.

    :param function: called with the thread's CPU and then the parameters in their order.
    :param parameters: by name what each is: "page", "pageblock", "count", "cpu", "thread" or "number".
    :param sleeps: it may have to wait for others, which an interrupt cannot.
    :param drains: it may drain the pcplists of other CPUs.
    :param about: one line for people.
    """

    function: Callable[..., None]
    parameters: dict[str, str]
    sleeps: bool
    drains: bool
    about: str


#: By the name that scenario files use.
PROCEDURES = {
    "free_page": Procedure(freer, {"page": "page"}, False, False, "frees a page that is in use at the start"),
    "free_page_nolock": Procedure(
        nolock_freer, {"page": "page"}, False, False, "frees a page without waiting for any lock, as BPF programs do"
    ),
    "free_list": Procedure(
        list_freer, {"page": "page", "count": "count"}, False, False, "frees pages in a row as one list"
    ),
    "allocate_and_free": Procedure(
        allocator, {"times": "number"}, False, False, "allocates a page and frees it again, a number of times"
    ),
    "offline_pages": Procedure(
        offliner, {"pageblock": "pageblock", "count": "count"}, True, True, "takes pageblocks in a row offline"
    ),
    "online_pages": Procedure(
        onliner, {"pageblock": "pageblock", "count": "count"}, True, True, "brings pageblocks in a row online"
    ),
    "alloc_contig_range": Procedure(
        contig, {"page": "page", "count": "count"}, True, True, "allocates pages by their place, and frees them again"
    ),
    "sysctl": Procedure(sysctl_writer, {"fraction": "number"}, True, False, "writes to vm.percpu_pagelist_fraction"),
    "drain_all_pages": Procedure(drainer, {}, True, True, "drains the pcplists of all CPUs, as reclaim does"),
    "vmstat": Procedure(
        vmstat_worker, {}, True, False, "gives back a batch of its CPU's pages, as vmstat's worker does"
    ),
    "signal": Procedure(
        signal, {"thread": "thread"}, False, False, "sends a signal to a thread that runs offline_pages"
    ),
    "cpu_down": Procedure(cpu_down, {"down": "cpu"}, True, False, "takes a CPU away, where nothing else runs"),
}
