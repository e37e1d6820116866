# SPDX-License-Identifier: GPL-2.0-or-later
"""What a capture traces: tracepoints, and kprobes on the functions of mm/ that pagelab.capture.events.Kind lists.

A probe's name is its Kind in lower case, its arguments carry the names of the kernel's parameters and come from the
registers of the x86-64 calling convention at function entry.  A kernel in which a function has no symbol of exactly
that name (inlined, or a clone with other arguments: .isra, .constprop) goes without that probe; the capture says so.
Signatures as in the source of the kernel that a table names (mm/page_alloc.c, mm/page_isolation.c,
mm/memory_hotplug.c), so placed on that kernel only.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Tracepoints, as system/name.  One that the kernel does not have is left out and listed in capture.toml.
EVENTS = (
    "kmem/mm_page_alloc",
    "kmem/mm_page_alloc_zone_locked",
    "kmem/mm_page_free",
    "kmem/mm_page_free_batched",
    "kmem/mm_page_pcpu_drain",
    "kmem/mm_page_alloc_extfrag",
    "page_isolation/test_pages_isolated",
    "vmscan/mm_vmscan_kswapd_wake",
    "vmscan/mm_vmscan_kswapd_sleep",
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "compaction/mm_compaction_isolate_freepages",
)


@dataclass(frozen=True, slots=True)
class Probe:
    """A kprobe (``at_return`` False) or kretprobe of the group ``pagelab``.

    ``offset`` of the instruction in the function.  Probes of the same name are one event that comes from many places.
    """

    name: str
    function: str
    arguments: str = ""
    at_return: bool = False
    only_if: str = ""  # tracefs' filter: hits for which it does not hold are not recorded
    offset: int = 5

    def definition(self) -> str:
        """The line for tracefs' kprobe_events (Documentation/trace/kprobetrace.rst).

        A probe at the very entry goes through ftrace, whose handler can be interrupted, and a probe that the interrupt
        hits is missed (kprobe_profile counts those; seen once in some 500,000 hits).  Behind the 5 bytes of the call
        to ftrace the probe is a breakpoint, handled with interrupts off, and the registers still hold the arguments.
        Needs debug.kprobes-optimization = 0.  A kretprobe has to be at the entry; those are rare.
        """
        kind, place = ("r", self.function) if self.at_return else ("p", f"{self.function}+{self.offset}")
        words = [f"{kind}:pagelab/{self.name}", place, self.arguments]
        return " ".join(word for word in words if word)


def _done(name: str, function: str = "") -> Probe:
    return Probe(f"{name}_done", function or name, "ret=$retval:s32", at_return=True)


#: Turns the address of a struct page into a pfn.
VMEMMAP = "vmemmap=@vmemmap_base:x64"
_RANGE = "start_pfn=%di end_pfn=%si"

#: The same in all kernels.
PROBE_ADJUST_MANAGED_PAGE_COUNT = Probe(
    "adjust_managed_page_count", "adjust_managed_page_count", f"page=%di count=%si:s64 {VMEMMAP}"
)

PROBES = (
    PROBE_ADJUST_MANAGED_PAGE_COUNT,
    Probe("split_free_page", "split_free_page", f"page=%di order=%si:u32 split_pfn_offset=%dx {VMEMMAP}"),
    Probe("zone_pcp_disable", "zone_pcp_disable", "zone=%di"),
    Probe("zone_pcp_disable_done", "zone_pcp_disable", at_return=True),
    Probe("zone_pcp_enable", "zone_pcp_enable", "zone=%di"),
    Probe("zone_pcp_update", "zone_pcp_update", "zone=%di cpu_online=%si:s32"),
    Probe("drain_all_pages", "__drain_all_pages", "zone=%di force_all_cpus=%si:u8"),
    Probe("drain_pages_zone", "drain_pages_zone", "cpu=%di:u32 zone=%si"),
    Probe("drain_local_pages", "drain_local_pages", "zone=%di"),
    Probe("free_pcppages_bulk", "free_pcppages_bulk", "zone=%di count=%si:s32 pcp=%dx pindex=%cx:s32"),
    Probe(
        "free_unref_page_commit",
        "free_unref_page_commit",
        f"zone=%di page=%dx migratetype=%cx:s32 order=%r8:u32 {VMEMMAP}",
    ),
    Probe("rmqueue_bulk", "rmqueue_bulk", "zone=%di order=%si:u32 count=%dx list=%cx migratetype=%r8:s32"),
    # The migratetype is two bits of the gfp flags (GFP_MOVABLE_SHIFT).
    Probe(
        "alloc_pages_bulk",
        "__alloc_pages_bulk",
        "gfp=%di:x32 migratetype=%di:b2@3/32 nid=%si:s32 nr_pages=%cx:s32 list=%r8 array=%r9",
    ),
    _done("alloc_pages_bulk", "__alloc_pages_bulk"),
    Probe("move_freepages_block", "move_freepages_block", f"zone=%di page=%si migratetype=%dx:s32 {VMEMMAP}"),
    _done("move_freepages_block"),
    Probe("start_isolate_page_range", "start_isolate_page_range", f"{_RANGE} migratetype=%dx:s32 flags=%cx:s32"),
    _done("start_isolate_page_range"),
    Probe("undo_isolate_page_range", "undo_isolate_page_range", f"{_RANGE} migratetype=%dx:s32"),
    Probe("unset_migratetype_isolate", "unset_migratetype_isolate", f"page=%di migratetype=%si:s32 {VMEMMAP}"),
    Probe("zone_set_pageset", "__zone_set_pageset_high_and_batch", "zone=%di high=%si batch=%dx"),
    Probe("offline_isolated_pages", "__offline_isolated_pages", _RANGE),
    Probe("offline_pages", "offline_pages", "start_pfn=%di nr_pages=%si zone=%dx group=%cx"),
    _done("offline_pages"),
    Probe("online_pages", "online_pages", "pfn=%di nr_pages=%si zone=%dx group=%cx"),
    _done("online_pages"),
)


#: Linux 5.10.  rmqueue_bulk(), drain_pages_zone() and set_migratetype_isolate() are inlined in Debian's build, and
#: zone_pcp_update() (__meminit) and __free_one_page() (inline) are not to be traced: functions that they call stand in.
PROBES_5_10 = (
    PROBE_ADJUST_MANAGED_PAGE_COUNT,
    Probe("zone_pcp_update", "pageset_set_high_and_batch", "zone=%di"),  # for each possible CPU
    Probe("drain_all_pages", "drain_all_pages", "zone=%di"),
    Probe("drain_local_pages", "drain_local_pages", "zone=%di"),
    Probe("free_pcppages_bulk", "free_pcppages_bulk", "zone=%di count=%si:s32 pcp=%dx"),
    # The migratetype that was read from the pageblock: page->index, which is 32 bytes into struct page.
    Probe("free_unref_page_commit", "free_unref_page_commit", "pfn=%si migratetype=+32(%di):s32"),
    # NR_FREE_PAGES is counted by __free_one_page(), under zone->lock.  Single pages come from pcplists, and
    # mm_page_pcpu_drain tells of those.
    Probe(
        "free_pages_counted",
        "__mod_zone_page_state",
        "zone=%di item=%si:s32 delta=%dx:s64",
        only_if="item == 0 && delta > 1",
    ),
    Probe("move_freepages_block", "move_freepages_block", f"zone=%di page=%si migratetype=%dx:s32 {VMEMMAP}"),
    _done("move_freepages_block"),
    Probe("start_isolate_page_range", "start_isolate_page_range", f"{_RANGE} migratetype=%dx:s32 flags=%cx:s32"),
    _done("start_isolate_page_range"),
    Probe("undo_isolate_page_range", "undo_isolate_page_range", f"{_RANGE} migratetype=%dx:s32"),
    Probe("unset_migratetype_isolate", "unset_migratetype_isolate", f"page=%di migratetype=%si:s32 {VMEMMAP}"),
    Probe("offline_isolated_pages", "__offline_isolated_pages", _RANGE),
    Probe("offline_pages", "offline_pages", "start_pfn=%di nr_pages=%si"),
    _done("offline_pages"),
    Probe("online_pages", "online_pages", "pfn=%di nr_pages=%si online_type=%dx:s32 nid=%cx:s32"),
    _done("online_pages"),
)


def probes_for(kernel: str) -> tuple[Probe, ...]:
    """The probes for a kernel of pagelab.guest.kernels, none for one whose source they were not compared with.

    Other kernels have other parameters (5.10 has no pindex), and a probe that reads the wrong register would lie: they
    are traced with tracepoints only.
    """
    from pagelab.guest.modern_probes import PROBES_6_12, PROBES_7_2

    of_kernel = {"5.10": PROBES_5_10, "6.1": PROBES, "6.12": PROBES_6_12, "7.2": PROBES_7_2}
    return of_kernel.get(kernel, ())
