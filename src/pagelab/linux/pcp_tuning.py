# SPDX-License-Identifier: GPL-2.0-or-later
"""How long pcplists may grow: high and batch, disabling and enabling (mm/page_alloc.c).

zone_pcp_update() and its like write the pcplists of other CPUs one field at a time and without their locks.
"""

from __future__ import annotations

from errno import EINVAL

from pagelab.linux.drain import __drain_all_pages, drain_pages
from pagelab.linux.features import features
from pagelab.linux.rwsem import down_write, up_write
from pagelab.linux.state import cpu_state, machine, mm, pcp, pcp_auto, zone, zone_auto
from pagelab.linux.trace import pcplists_disabled, pcplists_enabled


def zone_batchsize() -> int:
    """Pages to move at once: a 4096th of the zone, at most 256 KiB, made one less than a power of two."""
    if machine.fixed_batch != 0:
        return machine.fixed_batch if zone.managed_pages != 0 else 0
    batch = min(zone.managed_pages >> 10, (1 << 20) >> machine.page_shift)
    batch = max(batch // 4, 1)
    batch += batch // 2
    power = 1
    while power * 2 <= batch:
        power *= 2
    return power - 1


def cpus_to_split_high(cpu_online: int) -> int:
    """The online CPUs of the zone's node, with one that comes online, or all online CPUs if there are none."""
    nr_online = 0
    nr_local = cpu_online
    for cpu in range(machine.nr_cpus):
        if cpu_state[cpu].online:
            nr_online += 1
            if cpu_state[cpu].local:
                nr_local += 1
    return nr_local if nr_local != 0 else nr_online


def zone_highsize(batch: int, cpu_online: int, fraction: int) -> int:
    """Base pages that the pcplists of a CPU may hold: the low watermark, or a fraction of the zone, split."""
    if fraction == 0 and machine.fixed_high != 0 and zone.managed_pages != 0:
        return machine.fixed_high
    if fraction == 0:
        total_pages = zone.watermark_low
    else:
        total_pages = zone.managed_pages // fraction
    return max(total_pages // cpus_to_split_high(cpu_online), batch << 2)


def pageset_update(owner: int, high: int, batch: int) -> None:
    """Stores that other CPUs may see apart."""
    # Since Linux kernel commit 5c3ad2eb7104 ("mm, page_alloc: simplify pageset_update()") (in v5.11)
    if not features.pageset_update_two_stores:
        pcp[owner].batch = 1
        pcp[owner].high = high
        pcp[owner].batch = batch
        return
    pcp[owner].batch = batch
    pcp[owner].high = high


def __zone_set_pageset_high_and_batch(high: int, batch: int) -> None:
    """For all possible CPUs; mm.pcp_batch_high_lock is held."""
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        set_pageset_limits(high, high, batch)
        return
    for owner in range(machine.nr_cpus):
        pageset_update(owner, high, batch)


def set_pageset_limits(high_min: int, high_max: int, batch: int) -> None:
    """__zone_set_pageset_high_and_batch() since v6.7; the CPU itself brings pcp->high into the limits, later."""
    for owner in range(machine.nr_cpus):
        pcp[owner].batch = batch
        pcp_auto[owner].high_min = high_min
        pcp_auto[owner].high_max = high_max


def zone_set_pageset_limits(cpu_online: int) -> None:
    """zone_set_pageset_high_and_batch() since v6.7."""
    new_batch = max(1, zone_batchsize())
    fraction = mm.percpu_pagelist_high_fraction
    new_high_min = zone_highsize(new_batch, cpu_online, fraction)
    # Set by hand, high does not change by itself.
    new_high_max = new_high_min
    if fraction == 0:
        new_high_max = zone_highsize(new_batch, cpu_online, machine.min_high_fraction)
        if machine.fixed_high != 0 and zone.managed_pages != 0:
            new_high_max = machine.fixed_high
    if zone.pageset_high == new_high_min and zone_auto.pageset_high_max == new_high_max:
        if zone.pageset_batch == new_batch:
            return
    zone.pageset_high = new_high_min
    zone_auto.pageset_high_max = new_high_max
    zone.pageset_batch = new_batch
    set_pageset_limits(new_high_min, new_high_max, new_batch)


def zone_set_pageset_high_and_batch(cpu_online: int) -> None:
    """Compute high and batch anew and set them if they changed; pcp_batch_high_lock is held."""
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        zone_set_pageset_limits(cpu_online)
        return
    # Since Linux kernel commit b92ca18e8ca5 ("mm/page_alloc: disassociate the pcp->high from pcp->batch") (in v5.14)
    if features.high_from_low_watermark:
        new_batch = max(1, zone_batchsize())
        fraction = 0
        # Since Linux kernel commit 74f44822097c ("mm/page_alloc: introduce vm.percpu_pagelist_high_fraction")
        # (in v5.14)
        if features.pcp_high_fraction:
            fraction = mm.percpu_pagelist_high_fraction
        new_high = zone_highsize(new_batch, cpu_online, fraction)
    else:
        new_batch = zone_batchsize()
        new_high = 6 * new_batch
        if machine.fixed_high != 0 and zone.managed_pages != 0:
            new_high = machine.fixed_high
        new_batch = max(1, new_batch)
        fraction = mm.percpu_pagelist_high_fraction  # vm.percpu_pagelist_fraction in those kernels
        if fraction != 0:
            new_high = zone.managed_pages // fraction
            new_batch = min(max(1, new_high // 4), machine.page_shift * 8)
    # Since Linux kernel commit 952eaf815925 ("mm, page_alloc: cache pageset high and batch in struct zone") (in v5.11)
    if features.pageset_cached_in_zone:
        if zone.pageset_high == new_high and zone.pageset_batch == new_batch:
            return
        zone.pageset_high = new_high
        zone.pageset_batch = new_batch
    __zone_set_pageset_high_and_batch(new_high, new_batch)


def zone_pcp_update(cpu_online: int) -> None:
    """The zone has another number of pages, or of CPUs."""
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        down_write()
        zone_set_pageset_high_and_batch(cpu_online)
        up_write()
        return
    with mm.pcp_batch_high_lock:
        zone_set_pageset_high_and_batch(cpu_online)


def init_auto(owner: int) -> None:
    """per_cpu_pages_init(), of the fields that came with v6.7."""
    pcp_auto[owner].high_min = 0
    pcp_auto[owner].high_max = 0
    pcp_auto[owner].free_count = 0
    pcp_auto[owner].alloc_factor = 0
    pcp_auto[owner].prev_free_high_order = False
    pcp_auto[owner].free_high_batch = False


def setup_zone_pageset() -> None:
    """The zone gets its first page."""
    for owner in range(machine.nr_cpus):
        pcp[owner].count = 0
        pcp[owner].high = 0
        pcp[owner].batch = 1
        pcp[owner].free_factor = 0
        pcp[owner].expire = 0
        # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
        if features.high_auto_tuning:
            init_auto(owner)
    zone_set_pageset_high_and_batch(0)


def zone_pcp_disable(cpu: int) -> None:
    """No page stays on a pcplist from now on.

    The kernel takes pcp_batch_high_lock here and keeps it until zone_pcp_enable(); in the model the caller holds it.
    """
    __zone_set_pageset_high_and_batch(0, 1)
    __drain_all_pages(cpu, specific=True, force_all_cpus=True)
    pcplists_disabled(cpu)


def zone_pcp_enable() -> None:
    """End of what zone_pcp_disable() began; the caller gives mm.pcp_batch_high_lock back."""
    pcplists_enabled()
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    if features.high_auto_tuning:
        set_pageset_limits(zone.pageset_high, zone_auto.pageset_high_max, zone.pageset_batch)
    else:
        __zone_set_pageset_high_and_batch(zone.pageset_high, zone.pageset_batch)


def zone_pcp_reset() -> None:
    """The zone lost its last page; back to the pagesets of boot."""
    for owner in range(machine.nr_cpus):
        assert pcp[owner].count == 0, "pcplists of an empty zone still hold pages"
        # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
        if features.high_auto_tuning:
            pcp[owner].high = 0
            pcp[owner].batch = 1
            init_auto(owner)
        else:
            pageset_update(owner, 0, 1)


def set_percpu_pagelist_high_fraction(value: int) -> int:
    """The body of percpu_pagelist_high_fraction_sysctl_handler(); pcp_batch_high_lock is held."""
    if value < 0 or 0 < value < machine.min_high_fraction:
        return -EINVAL
    if value == mm.percpu_pagelist_high_fraction:
        return 0
    mm.percpu_pagelist_high_fraction = value
    if zone.present_pages != 0:
        zone_set_pageset_high_and_batch(0)
    return 0


def percpu_pagelist_high_fraction_sysctl_handler(value: int) -> int:
    """A write to vm.percpu_pagelist_high_fraction; returns 0 or -EINVAL."""
    # As proposed on 2020-09-07 ("[RFC 5/5] mm, page_alloc: disable pcplists during page isolation")
    if features.isolation_disables_pcplists:
        down_write()
        ret = set_percpu_pagelist_high_fraction(value)
        up_write()
        return ret
    with mm.pcp_batch_high_lock:
        return set_percpu_pagelist_high_fraction(value)


def page_alloc_cpu_online() -> None:
    """A CPU comes online; it is not among the online ones yet."""
    # Since Linux kernel commit 04f8cfeaed08 ("mm/page_alloc: adjust pcp->high after CPU hotplug events") (in v5.14)
    if features.high_after_cpu_hotplug:
        if zone.present_pages != 0:
            zone_pcp_update(1)


def page_alloc_cpu_dead(cpu: int, dead: int) -> None:
    """A CPU went offline: it is not among the online ones any more, and nothing runs there."""
    drain_pages(cpu, dead)
    # Since Linux kernel commit 04f8cfeaed08 ("mm/page_alloc: adjust pcp->high after CPU hotplug events") (in v5.14)
    if features.high_after_cpu_hotplug:
        if zone.present_pages != 0:
            zone_pcp_update(0)
