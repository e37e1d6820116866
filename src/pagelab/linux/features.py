# SPDX-License-Identifier: GPL-2.0-or-later
"""Named differences between kernels: one feature an upstream change, found in a capture, never derived from a version.

Procedures ask ``if features.NAME``; the question is folded away when a design is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagelab.lang.declare import Constants


class Features(Constants):
    """Which changes the kernel of this build has; the initial values are those of 6.1.104 and later 6.1.y."""

    irqs_on_under_pcp_lock: bool = True
    cma_highatomic_to_own_list: bool = True
    thp_lists_by_movability: bool = True
    pcp_batch_scale_max: bool = True
    drain_in_chunks: bool = True
    drain_count_under_lock: bool = True


features = Features()


@dataclass(frozen=True, slots=True)
class Feature:
    """An upstream change of the page allocator.

    :param name: how procedures and designs call it.
    :param commit: first 12 digits of the commit in Linus Torvalds' tree.
    :param release: first release with it, such as ``v6.2``.
    :param stable: releases of 6.1.y from which on it is there, or "" if 6.1 was born with it.
    :param effect: what a user of the model sees of it.
    :param can_be_off: whether the model also knows the kernel before the change.
    """

    name: str
    commit: str
    subject: str
    release: str
    stable: str
    effect: str
    can_be_off: bool = True

    @property
    def comment(self) -> str:
        """The comment that stands beside ``if features.NAME`` in the model."""
        backport = f", {self.stable}" if self.stable else ""
        return f'# Since Linux kernel commit {self.commit} ("{self.subject}") (in {self.release}{backport})'


#: In the order in which they were merged upstream.
FEATURES = (
    Feature(
        "zone_pcp_disable",
        "ec6e8c7e0314",
        "mm, page_alloc: disable pcplists during memory offline",
        "v5.11",
        "",
        "offlining keeps the pcplists of the zone disabled (high 0, batch 1) from before the isolation until its end",
        can_be_off=False,
    ),
    Feature(
        "high_order_pcplists",
        "44042b449872",
        "mm/page_alloc: allow high-order pages to be stored on the per-cpu lists",
        "v5.14",
        "",
        "orders 1 to 3 and huge pages have pcplists; pcp->count is in base pages",
        can_be_off=False,
    ),
    Feature(
        "pcp_high_fraction",
        "74f44822097c",
        "mm/page_alloc: introduce vm.percpu_pagelist_high_fraction",
        "v5.14",
        "",
        "high comes from the low watermark, or from the sysctl's fraction, and is split over the CPUs of the node",
        can_be_off=False,
    ),
    Feature(
        "drain_requested_list_first",
        "d61372bc41cf",
        "mm/page_alloc: drain the requested list first during bulk free",
        "v5.18",
        "",
        "a bulk free starts with the list that grew too long and empties one list after the other",
        can_be_off=False,
    ),
    Feature(
        "free_high",
        "f26b3fa04611",
        "mm/page_alloc: limit number of high-order pages on PCP during bulk free",
        "v5.18",
        "",
        "freeing pages of orders 1 to 3 again and again without allocating empties the pcplists",
        can_be_off=False,
    ),
    Feature(
        "isolate_at_pageblocks",
        "b2c9e2fbba32",
        "mm: make alloc_contig_range work at pageblock granularity",
        "v5.19",
        "",
        "isolation rounds to pageblocks and splits free pages that reach across its ends",
        can_be_off=False,
    ),
    Feature(
        "pcp_spinlock",
        "4b23a68f9536",
        "mm/page_alloc: protect PCP lists with a spinlock",
        "v6.0",
        "",
        "pcplists have a spinlock; who fails to take it at once goes to the buddy lists",
        can_be_off=False,
    ),
    Feature(
        "remote_drain",
        "443c2accd1b6",
        "mm/page_alloc: remotely drain per-cpu lists",
        "v6.0",
        "",
        "one CPU drains the pcplists of all, itself and at once, without work items",
        can_be_off=False,
    ),
    Feature(
        "irqs_on_under_pcp_lock",
        "574907741599",
        "mm/page_alloc: leave IRQs enabled for per-cpu page allocations",
        "v6.2",
        "6.1.57",
        "an interrupt can come while its CPU holds pcp->lock, and then uses the buddy lists; a batched free may fail "
        "to take the lock",
    ),
    Feature(
        "cma_highatomic_to_own_list",
        "7b086755fb8c",
        "mm: page_alloc: fix CMA and HIGHATOMIC landing on the wrong buddy list",
        "v6.6",
        "6.1.57",
        "a CMA or HIGHATOMIC page that cannot go to a pcplist goes to the buddy list of its own type, not of MOVABLE",
    ),
    Feature(
        "pcp_batch_scale_max",
        "52166607ecc9",
        "mm: restrict the pcp batch scale factor to avoid too long latency",
        "v6.7",
        "6.1.104",
        "a bulk free grows to at most batch << 5 pages",
    ),
    Feature(
        "drain_in_chunks",
        "55f77df7d715",
        "mm: page_alloc: control latency caused by zone PCP draining",
        "v6.10",
        "6.1.104",
        "a drain gives pcp->lock back after each batch << 5 pages",
    ),
    Feature(
        "thp_lists_by_movability",
        "bf14ed81f571",
        "mm/page_alloc: Separate THP PCP into movable and non-movable categories",
        "v6.10",
        "6.1.97",
        "movable huge pages have a pcplist of their own: 14 lists instead of 13",
    ),
    Feature(
        "drain_count_under_lock",
        "66eca1021a42",
        "mm/page_alloc: fix pcp->count race between drain_pages_zone() vs __rmqueue_pcplist()",
        "v6.11",
        "6.1.104",
        "a drain reads pcp->count under pcp->lock, so that it cannot miss a refill that is under way",
    ),
)
