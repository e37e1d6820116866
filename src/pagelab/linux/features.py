# SPDX-License-Identifier: GPL-2.0-or-later
"""Named differences between kernels: one feature an upstream change or a proposal, never derived from a version.

Procedures ask ``if features.NAME``; the question is folded away when a design is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagelab.lang.declare import Constants


class Features(Constants):
    """Which changes the kernel of this build has; the initial values are those of 6.1.104 and later 6.1.y."""

    drain_again_in_offline: bool = True
    putback_to_tail: bool = True
    move_to_tail: bool = True
    core_pages_to_tail: bool = True
    isolate_while_onlining: bool = True
    pageset_update_two_stores: bool = True
    pageset_cached_in_zone: bool = True
    drain_by_isolation_users: bool = True
    zone_pcp_disable: bool = True
    max_order_not_isolated: bool = True
    alloc_pages_bulk: bool = True
    high_from_low_watermark: bool = True
    high_after_cpu_hotplug: bool = True
    free_factor: bool = True
    high_limited_in_reclaim: bool = True
    pcp_high_fraction: bool = True
    high_order_pcplists: bool = True
    merge_checked_always: bool = True
    drain_requested_list_first: bool = True
    free_high: bool = True
    buddy_validated: bool = True
    isolate_at_pageblocks: bool = True
    zone_locked_shows_list: bool = True
    pcp_spinlock: bool = True
    remote_drain: bool = True
    irqs_on_under_pcp_lock: bool = True
    cma_highatomic_to_own_list: bool = True
    pcp_batch_scale_max: bool = True
    drain_in_chunks: bool = True
    thp_lists_by_movability: bool = True
    drain_count_under_lock: bool = True
    isolation_disables_pcplists: bool = False
    onlining_disables_pcplists: bool = False
    migratetype_with_irqs_off: bool = False


features = Features()


@dataclass(frozen=True, slots=True)
class Feature:
    """An upstream change of the page allocator, or one that was only proposed.

    :param name: how procedures and designs call it.
    :param commit: first 12 digits of the commit in Linus Torvalds' tree; "" for a proposal.
    :param release: first release with it, such as ``v6.2``; "" for a proposal.
    :param stable: releases of 6.1.y from which on it is there, or "" if 6.1 was born with it.
    :param effect: what a user of the model sees of it.
    :param mail: the day of the mail that proposed it, if it was never merged.
    """

    name: str
    commit: str
    subject: str
    release: str
    stable: str
    effect: str
    mail: str = ""

    @property
    def comment(self) -> str:
        """The comment that stands beside ``if features.NAME`` in the model."""
        if self.mail:
            return f'# As proposed on {self.mail} ("{self.subject}")'
        backport = f", {self.stable}" if self.stable else ""
        return f'# Since Linux kernel commit {self.commit} ("{self.subject}") (in {self.release}{backport})'


#: In the order in which they were merged upstream; what was never merged comes last.
FEATURES = (
    Feature(
        "drain_again_in_offline",
        "968318261221",
        "mm/memory_hotplug: drain per-cpu pages again during memory offline",
        "v5.9",
        "",
        "offlining drains the pcplists again each time it finds that not all pages are free",
    ),
    Feature(
        "putback_to_tail",
        "47b6a24a2382",
        "mm/page_alloc: place pages to tail in __putback_isolated_page()",
        "v5.10",
        "",
        "a free page that was taken out for a while is allocated last",
    ),
    Feature(
        "move_to_tail",
        "293ffa5ebb9c",
        "mm/page_alloc: move pages to tail in move_to_free_list()",
        "v5.10",
        "",
        "free pages that change their migratetype are allocated last",
    ),
    Feature(
        "core_pages_to_tail",
        "7fef431be9c9",
        "mm/page_alloc: place pages to tail in __free_pages_core()",
        "v5.10",
        "",
        "memory that comes online is allocated last",
    ),
    Feature(
        "isolate_while_onlining",
        "b30c59279d68",
        "mm/memory_hotplug: mark pageblocks MIGRATE_ISOLATE while onlining memory",
        "v5.10",
        "",
        "memory that comes online is isolated until all of it is there",
    ),
    Feature(
        "pageset_update_two_stores",
        "5c3ad2eb7104",
        "mm, page_alloc: simplify pageset_update()",
        "v5.11",
        "",
        "batch is stored, then high; before, batch was 1 while high changed",
    ),
    Feature(
        "pageset_cached_in_zone",
        "952eaf815925",
        "mm, page_alloc: cache pageset high and batch in struct zone",
        "v5.11",
        "",
        "the zone knows high and batch of its pcplists; they are stored only if they change",
    ),
    Feature(
        "drain_by_isolation_users",
        "7612921f2376",
        "mm, page_alloc: move draining pcplists to page isolation users",
        "v5.11",
        "",
        "isolating a pageblock drains nothing; who isolates a range drains when it is isolated",
    ),
    Feature(
        "zone_pcp_disable",
        "ec6e8c7e0314",
        "mm, page_alloc: disable pcplists during memory offline",
        "v5.11",
        "",
        "offlining keeps the pcplists of the zone disabled (high 0, batch 1) from before the isolation until its end",
    ),
    Feature(
        "max_order_not_isolated",
        "2484be0f88dc",
        "mm/page_isolation: do not isolate the max order page",
        "v5.11",
        "",
        "un-isolating a pageblock moves a free page of the largest order; before, it was taken out and put back",
    ),
    Feature(
        "alloc_pages_bulk",
        "387ba26fb1cb",
        "mm/page_alloc: add a bulk page allocator",
        "v5.13",
        "",
        "pages are allocated many at once, of which no event tells",
    ),
    Feature(
        "high_from_low_watermark",
        "b92ca18e8ca5",
        "mm/page_alloc: disassociate the pcp->high from pcp->batch",
        "v5.14",
        "",
        "high comes from the low watermark, and changes with the watermarks; before, it was six batches",
    ),
    Feature(
        "high_after_cpu_hotplug",
        "04f8cfeaed08",
        "mm/page_alloc: adjust pcp->high after CPU hotplug events",
        "v5.14",
        "",
        "high is computed anew when a CPU comes or goes",
    ),
    Feature(
        "free_factor",
        "3b12e7e97938",
        "mm/page_alloc: scale the number of pages that are batch freed",
        "v5.14",
        "",
        "each free in a row that finds too many pages gives back twice as many; before, it was one batch",
    ),
    Feature(
        "high_limited_in_reclaim",
        "c49c2c47dab6",
        "mm/page_alloc: limit the number of pages on PCP lists when reclaim is active",
        "v5.14",
        "",
        "pcplists hold at most four batches while kswapd is at work",
    ),
    Feature(
        "pcp_high_fraction",
        "74f44822097c",
        "mm/page_alloc: introduce vm.percpu_pagelist_high_fraction",
        "v5.14",
        "",
        "a sysctl sets high, as a fraction of the zone split over the CPUs of the node; before, it was each CPU's",
    ),
    Feature(
        "high_order_pcplists",
        "44042b449872",
        "mm/page_alloc: allow high-order pages to be stored on the per-cpu lists",
        "v5.14",
        "",
        "orders 1 to 3 and huge pages have pcplists; pcp->count is in base pages",
    ),
    Feature(
        "merge_checked_always",
        "1dd214b8f21c",
        "mm: page_alloc: avoid merging non-fallbackable pageblocks with others",
        "v5.18",
        "",
        "free pages of CMA and HIGHATOMIC pageblocks do not merge with others; before, only those of isolated ones "
        "did not",
    ),
    Feature(
        "drain_requested_list_first",
        "d61372bc41cf",
        "mm/page_alloc: drain the requested list first during bulk free",
        "v5.18",
        "",
        "a bulk free starts with the list that grew too long and empties one list after the other",
    ),
    Feature(
        "free_high",
        "f26b3fa04611",
        "mm/page_alloc: limit number of high-order pages on PCP during bulk free",
        "v5.18",
        "",
        "freeing pages of orders 1 to 3 again and again without allocating empties the pcplists",
    ),
    Feature(
        "buddy_validated",
        "8170ac4700d2",
        "mm: wrap __find_buddy_pfn() with a necessary buddy page validation",
        "v5.19",
        "",
        "un-isolating a pageblock takes a free page out and puts it back only if it can merge then",
    ),
    Feature(
        "isolate_at_pageblocks",
        "b2c9e2fbba32",
        "mm: make alloc_contig_range work at pageblock granularity",
        "v5.19",
        "",
        "isolation rounds to pageblocks and splits free pages that reach across its ends",
    ),
    Feature(
        "zone_locked_shows_list",
        "10e0f7530205",
        "mm/page_alloc: fix tracepoint mm_page_alloc_zone_locked()",
        "v5.19",
        "",
        "mm_page_alloc_zone_locked shows the migratetype of the list; before, the one that was asked for",
    ),
    Feature(
        "pcp_spinlock",
        "4b23a68f9536",
        "mm/page_alloc: protect PCP lists with a spinlock",
        "v6.0",
        "",
        "pcplists have a spinlock; who fails to take it at once goes to the buddy lists",
    ),
    Feature(
        "remote_drain",
        "443c2accd1b6",
        "mm/page_alloc: remotely drain per-cpu lists",
        "v6.0",
        "",
        "one CPU drains the pcplists of all, itself and at once, without work items",
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
    Feature(
        "isolation_disables_pcplists",
        "",
        "[RFC 5/5] mm, page_alloc: disable pcplists during page isolation",
        "",
        "",
        "pcplists are disabled, and drained once, while any pageblock of the zone is isolated",
        mail="2020-09-07",
    ),
    Feature(
        "onlining_disables_pcplists",
        "",
        "Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation",
        "",
        "",
        "pcplists are disabled while memory comes online, too",
        mail="2020-09-09",
    ),
    Feature(
        "migratetype_with_irqs_off",
        "",
        "Re: [RFC 5/5] mm, page_alloc: disable pcplists during page isolation",
        "",
        "",
        "a free reads the pageblock's type with irqs off; isolating a pageblock drains all CPUs, those that seem "
        "empty too",
        mail="2020-09-10",
    ),
)
