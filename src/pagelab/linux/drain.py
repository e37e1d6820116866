# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty pcplists into the free lists, those of other CPUs too (mm/page_alloc.c, mm/vmstat.c)."""

from __future__ import annotations

from pagelab.lang.declare import irqs_off, trylock, unlock
from pagelab.linux.features import features
from pagelab.linux.pcp import free_pcppages_bulk
from pagelab.linux.state import cpu_state, machine, mm, pcp, pcp_auto, zone
from pagelab.linux.workqueue import begin_work, end_work, flush_work, queue_work_on


def drain_pcp(cpu: int, owner: int, to_drain: int) -> None:
    """Give back ``to_drain`` base pages in one hold of the owner's pcp->lock."""
    # Since Linux kernel commit 574907741599 ("mm/page_alloc: leave IRQs enabled for per-cpu page allocations")
    # (in v6.2, 6.1.57)
    if features.irqs_on_under_pcp_lock:
        with pcp[owner].lock:
            free_pcppages_bulk(cpu, owner, to_drain, 0)
    else:
        with irqs_off(cpu), pcp[owner].lock:
            free_pcppages_bulk(cpu, owner, to_drain, 0)


def drain_pages_zone_once(cpu: int, owner: int) -> bool:
    """One hold of the owner's pcp->lock; whether pages were left that time."""
    with pcp[owner].lock:
        count = pcp[owner].count
        if count != 0:
            to_drain = min(count, pcp[owner].batch << machine.pcp_batch_scale_max)
            free_pcppages_bulk(cpu, owner, to_drain, 0)
            count -= to_drain
    return count != 0


def drain_pages_zone(cpu: int, owner: int) -> None:
    """Empty the owner's pcplists."""
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        with irqs_off(cpu):
            count = pcp[owner].count
            if count != 0:
                free_pcppages_bulk(cpu, owner, count, 0)
        return

    # Since Linux kernel commit 66eca1021a42 ("mm/page_alloc: fix pcp->count race between drain_pages_zone() vs
    # __rmqueue_pcplist()") (in v6.11, 6.1.104)
    if features.drain_count_under_lock:
        while drain_pages_zone_once(cpu, owner):
            pass
        return

    count = pcp[owner].count
    # Since Linux kernel commit 55f77df7d715 ("mm: page_alloc: control latency caused by zone PCP draining")
    # (in v6.10, 6.1.104)
    if features.drain_in_chunks:
        while count != 0:
            to_drain = min(count, pcp[owner].batch << machine.pcp_batch_scale_max)
            count -= to_drain
            drain_pcp(cpu, owner, to_drain)
    elif count != 0:
        drain_pcp(cpu, owner, pcp[owner].count)


def drain_pages(cpu: int, owner: int) -> None:
    """Empty the owner's pcplists of all zones that have pages, of which there is one."""
    if zone.present_pages != 0:
        drain_pages_zone(cpu, owner)


def drain_local_pages(cpu: int) -> None:
    """Empty the CPU's own pcplists."""
    drain_pages_zone(cpu, cpu)


def drain_local_pages_wq(cpu: int) -> None:
    """The work of a CPU: empty its pcplists; if the CPU went away, those of the CPU where the work is done instead."""
    with irqs_off(cpu):
        if cpu_state[cpu].online:
            drain_local_pages(cpu)
            return
    runs_on = 0
    while not cpu_state[runs_on].online:
        runs_on += 1
    drain_local_pages(runs_on)


def drain_work_now(cpu: int, owner: int) -> None:
    """What to attach to flush_drain_work() where no worker thread runs."""
    begin_work(owner)
    drain_local_pages_wq(owner)
    end_work(owner)


def drain_all_cpus(cpu: int, force_all_cpus: bool) -> None:
    """The body of __drain_all_pages(); mm.pcpu_drain_mutex is held.

    A CPU that went offline keeps its old place in the mask, so it may be drained, or not.
    """
    for owner in range(machine.nr_cpus):
        if cpu_state[owner].online:
            cpu_state[owner].with_pcps = force_all_cpus or pcp[owner].count != 0
    for owner in range(machine.nr_cpus):
        if cpu_state[owner].with_pcps:
            # Since Linux kernel commit 443c2accd1b6 ("mm/page_alloc: remotely drain per-cpu lists") (in v6.0)
            if features.remote_drain:
                drain_pages_zone(cpu, owner)
            else:
                queue_work_on(owner)
    # Since Linux kernel commit 443c2accd1b6 ("mm/page_alloc: remotely drain per-cpu lists") (in v6.0)
    if not features.remote_drain:
        for owner in range(machine.nr_cpus):
            if cpu_state[owner].with_pcps:
                flush_work(cpu, owner)


def __drain_all_pages(cpu: int, specific: bool, force_all_cpus: bool) -> None:
    """Empty the pcplists of all online CPUs.

    :param specific: whether the caller named the zone: it then waits for a drain that is under way, and drains again.
    :param force_all_cpus: do not trust a count of 0, which is read without the lock.
    """
    if trylock(mm.pcpu_drain_mutex):
        drain_all_cpus(cpu, force_all_cpus)
        unlock(mm.pcpu_drain_mutex)
    elif specific:
        with mm.pcpu_drain_mutex:
            drain_all_cpus(cpu, force_all_cpus)


def drain_all_pages(cpu: int, specific: bool) -> None:
    """Empty the pcplists of all CPUs that seem to have any."""
    __drain_all_pages(cpu, specific, force_all_cpus=False)


def drain_zone_pages(cpu: int) -> None:
    """Give back one batch of the CPU's own pages."""
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        with irqs_off(cpu):
            batch = pcp[cpu].batch
            to_drain = min(pcp[cpu].count, batch)
            if to_drain > 0:
                free_pcppages_bulk(cpu, cpu, to_drain, 0)
        return
    batch = pcp[cpu].batch
    to_drain = min(pcp[cpu].count, batch)
    if to_drain > 0:
        drain_pcp(cpu, cpu, to_drain)


def decay_high(cpu: int) -> int:
    """Let pcp->high fall, without pcp->lock; returns how many base pages are too many then."""
    high_min = pcp_auto[cpu].high_min
    batch = pcp[cpu].batch
    high = pcp[cpu].high
    if high > high_min:
        high = max(max(pcp[cpu].count - (batch << machine.pcp_batch_scale_max), high - (high >> 3)), high_min)
        pcp[cpu].high = high
    return pcp[cpu].count - high


def decay_pcp_high(cpu: int) -> None:
    """Let pcp->high of the CPU's own pcplists fall, and give back what is too much then."""
    to_drain = decay_high(cpu)
    batch = pcp[cpu].batch
    # Since Linux kernel commit fc4b909c368f ("mm/page_alloc: batch page freeing in decay_pcp_high") (in v6.19, 6.12.67)
    if not features.decay_in_batches:
        batch = max(to_drain, 1)
    while to_drain > 0:
        drain_pcp(cpu, cpu, min(to_drain, batch))
        to_drain -= batch


def refresh_cpu_vm_stats(cpu: int, folded: bool) -> None:
    """The vmstat worker: drain a CPU of another node whose counters of this zone were quiet for three seconds.

    Since v6.7 it also lets pcp->high decay.

    :param folded: whether a counter of the zone had changed on this CPU.
    """
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        decay_pcp_high(cpu)
    if folded:
        pcp[cpu].expire = 3
    if pcp[cpu].expire == 0 or pcp[cpu].count == 0:
        return
    if cpu_state[cpu].local:
        pcp[cpu].expire = 0
        return
    expire = pcp[cpu].expire - 1
    pcp[cpu].expire = expire
    if expire == 0 and pcp[cpu].count != 0:
        drain_zone_pages(cpu)
