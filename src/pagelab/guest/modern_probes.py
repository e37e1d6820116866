# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes for kernels since v6.10, whose functions have other names and parameters than those of 6.1.

``split_large_buddy()`` is entered under zone->lock for each page that is freed past the pcplists.
``rmqueue_bulk()`` is inlined, and ``__rmqueue_pcplist()`` cannot be probed at its entry; where it returns to, a probe
inside tells which page left a pcplist.
"""

from __future__ import annotations

from pagelab.guest.probes import _RANGE, PROBE_ADJUST_MANAGED_PAGE_COUNT, VMEMMAP, Probe, _done

#: As in Linux 6.12 (mm/page_alloc.c, mm/page_isolation.c, mm/memory_hotplug.c).
PROBES_6_12 = (
    PROBE_ADJUST_MANAGED_PAGE_COUNT,
    Probe("zone_pcp_disable", "zone_pcp_disable", "zone=%di"),
    Probe("zone_pcp_disable_done", "zone_pcp_disable", at_return=True),
    Probe("zone_pcp_enable", "zone_pcp_enable", "zone=%di"),
    Probe("zone_set_pageset", "__zone_set_pageset_high_and_batch", "zone=%di high=%si high_max=%dx batch=%cx"),
    Probe("drain_pages_zone", "drain_pages_zone", "cpu=%di:u32 zone=%si"),
    Probe("drain_local_pages", "drain_local_pages", "zone=%di"),
    Probe("decay_pcp_high", "decay_pcp_high", "zone=%di"),
    Probe("free_pcppages_bulk", "free_pcppages_bulk", "zone=%di count=%si:s32 pcp=%dx pindex=%cx:s32"),
    Probe(
        "free_unref_page_commit",
        "free_unref_page_commit",
        f"zone=%di page=%dx migratetype=%cx:s32 order=%r8:u32 {VMEMMAP}",
    ),
    # The migratetype is two bits of the gfp flags (GFP_MOVABLE_SHIFT).
    Probe(
        "alloc_pages_bulk",
        "alloc_pages_bulk_noprof",
        "gfp=%di:x32 migratetype=%di:b2@3/32 nid=%si:s32 nr_pages=%cx:s32",
    ),
    _done("alloc_pages_bulk", "alloc_pages_bulk_noprof"),
    Probe("split_large_buddy", "split_large_buddy", "zone=%di pfn=%dx order=%cx:s32 fpi_flags=%r8:s32"),
    Probe(
        "move_freepages_block", "__move_freepages_block", "zone=%di start_pfn=%si old_mt=%dx:s32 migratetype=%cx:s32"
    ),
    _done("move_freepages_block", "__move_freepages_block"),
    Probe(
        "move_freepages_block_isolate",
        "move_freepages_block_isolate",
        f"zone=%di page=%si migratetype=%dx:s32 {VMEMMAP}",
    ),
    Probe("start_isolate_page_range", "start_isolate_page_range", f"{_RANGE} migratetype=%dx:s32 flags=%cx:s32"),
    _done("start_isolate_page_range"),
    Probe("undo_isolate_page_range", "undo_isolate_page_range", f"{_RANGE} migratetype=%dx:s32"),
    Probe("unset_migratetype_isolate", "unset_migratetype_isolate", f"page=%di migratetype=%si:s32 {VMEMMAP}"),
    Probe("offline_isolated_pages", "__offline_isolated_pages", _RANGE),
    Probe("offline_pages", "offline_pages", "start_pfn=%di nr_pages=%si zone=%dx group=%cx"),
    _done("offline_pages"),
    Probe("online_pages", "online_pages", "pfn=%di nr_pages=%si zone=%dx group=%cx"),
    _done("online_pages"),
)

#: What Linux 7.2 has instead of the probes of the same name.
_OTHER_IN_7_2 = {
    probe.name: probe
    for probe in (
        Probe(
            "free_unref_page_commit",
            "free_frozen_page_commit",
            f"zone=%di page=%dx {VMEMMAP} migratetype=%cx:s32 order=%r8:u32 fpi_flags=%r9:s32",
        ),
        Probe(
            "move_freepages_block_isolate",
            "__move_freepages_block_isolate",
            f"zone=%di page=%si isolate=%dx {VMEMMAP}",
        ),
        Probe("start_isolate_page_range", "start_isolate_page_range", f"{_RANGE} mode=%dx:s32"),
        Probe("undo_isolate_page_range", "undo_isolate_page_range", _RANGE),
        Probe("unset_migratetype_isolate", "unset_migratetype_isolate", f"page=%di {VMEMMAP}"),
    )
}
PROBES_7_2 = tuple(probe if probe.at_return else _OTHER_IN_7_2.get(probe.name, probe) for probe in PROBES_6_12)
