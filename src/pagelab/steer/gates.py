# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the actors of a plan begin: at the entry of a kernel function.

What a thread does before its gate cannot be steered where it needs all CPUs (mem_hotplug_begin() waits for RCU,
lru_cache_disable() for work on each CPU): it is done before the first move with all CPUs running, for one actor after
another.  Who needs no other CPU on the way to its gate passes it with its first move; until then its CPU idles along.
The model's steps before the function of the same name are done by then, too.
"""

from __future__ import annotations

from collections.abc import Container

from pagelab.errors import Inconclusive

#: By what an actor runs (pagelab.check.actors.PROCEDURES): the gate is the first of these that the kernel has.
GATES = {
    "free_page": ("free_unref_page", "free_frozen_pages"),
    "free_page_nolock": ("free_pages_nolock",),
    "free_list": ("free_unref_folios", "free_unref_page_list"),
    "allocate_and_free": ("get_page_from_freelist",),
    # Behind mem_hotplug_begin(), zone_pcp_disable() and lru_cache_disable().
    "offline_pages": ("start_isolate_page_range",),
    # Behind mem_hotplug_begin().
    "online_pages": ("move_pfn_range_to_zone",),
    "alloc_contig_range": ("alloc_contig_range_noprof", "alloc_contig_range"),
    "sysctl": ("percpu_pagelist_high_fraction_sysctl_handler", "percpu_pagelist_fraction_sysctl_handler"),
    "drain_all_pages": ("drain_all_pages",),
    "vmstat": ("drain_zone_pages",),
    "signal": ("__x64_sys_kill",),
    # The locks that it takes come behind, and stop_machine(), for which all CPUs have to run.
    "cpu_down": ("_cpu_down",),
}


class CannotPlay(Inconclusive):
    """An actor cannot be played on that kernel, or not such that CPUs can be held meanwhile."""


def gate_of(run: str, symbols: Container[str]) -> str:
    """The kernel function at whose entry an actor waits for the first move.

    :param symbols: names of the kernel's functions (pagelab.guest.kernel_text.KernelText.symbols).
    :raises CannotPlay: it has none of them.
    """
    for function in GATES[run]:
        if function in symbols:
            return function
    raise CannotPlay(f"nobody can {run} on this kernel: it has no {' or '.join(GATES[run])}()")
