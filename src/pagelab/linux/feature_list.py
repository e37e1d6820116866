# SPDX-License-Identifier: GPL-2.0-or-later
"""What each feature is: its commit, its release, and what a user of the model sees of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """An upstream change of the page allocator, or one that was only proposed.

    :param name: how procedures and designs call it.
    :param commit: first 12 digits of the commit in Linus Torvalds' tree; "" for a proposal, or if only the release is
        known.
    :param release: first release with it, such as ``v6.2``; "" for a proposal.
    :param stable: release of 6.1.y or 6.12.y from which on it is there too, or "" if no stable release got it.
    :param effect: what a user of the model sees of it.
    :param mail: the day on which it was proposed, if it was never merged.
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
        if not self.commit:
            return f'# Since Linux kernel {self.release} ("{self.subject}")'
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
        "movable_zone_apart",
        "",
        "mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE",
        "v6.6",
        "",
        "min_free_kbytes is shared out without ZONE_MOVABLE, which gets a small minimum of its own; high depends on it",
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
        "free_high_when_repeated",
        "ca71fe1ad922",
        "mm, pcp: avoid to drain PCP when process exit",
        "v6.7",
        "",
        "a page of orders 1 to 3 empties the pcplists only if the page freed before was of such an order, too",
    ),
    Feature(
        "free_high_keeps_batch",
        "362d37a106dd",
        "mm, pcp: reduce lock contention for draining high-order pages",
        "v6.7",
        "",
        "a CPU with a large cache keeps a batch of pages when it frees pages of orders 1 to 3",
    ),
    Feature(
        "alloc_factor",
        "c0a242394cb9",
        "mm, page_alloc: scale the number of pages that are batch allocated",
        "v6.7",
        "",
        "each refill of order 0 without a free in between takes twice as many pages; before, it was one batch",
    ),
    Feature(
        "high_auto_tuning",
        "51a755c56dc0",
        "mm: tune PCP high automatically",
        "v6.7",
        "",
        "high grows with refills and bulk frees, between high_min and high_max, and decays with time",
    ),
    Feature(
        "high_below_watermark",
        "57c0419c5f0e",
        "mm, pcp: decrease PCP high if free pages < high watermark",
        "v6.7",
        "",
        "high does not grow, and shrinks with each bulk free, while the zone is below its high watermark",
    ),
    Feature(
        "free_count",
        "6ccdcb6d3a74",
        "mm, pcp: reduce detecting time of consecutive high order page freeing",
        "v6.7",
        "",
        "a bulk free gives back as many pages as were freed in a row; before, free_factor doubled it each time",
    ),
    Feature(
        "cma_guard_removed",
        "f945116e4e19",
        "mm: page_alloc: remove stale CMA guard code",
        "v6.7",
        "",
        "every movable allocation uses the pcplists; before, one that may not have CMA pages did not",
    ),
    Feature(
        "highatomic_rounded_up",
        "d68e39fc45f7",
        "mm: page_alloc: correct high atomic reserve calculations",
        "v6.8",
        "",
        "a hundredth of the zone, rounded up to pageblocks, is kept for atomic allocations; before, a pageblock more",
    ),
    Feature(
        "highatomic_minimum_zone",
        "9cd20f3fe045",
        "mm: page_alloc: enforce minimum zone size to do high atomic reserves",
        "v6.8",
        "",
        "nothing is kept for atomic allocations in a zone of less than a hundred pageblocks",
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
        "free_unref_folios",
        "90491d87dd46",
        "mm: add free_unref_folios()",
        "v6.10",
        "",
        "folios of all orders are freed in lists, each list in one hold of pcp->lock",
    ),
    Feature(
        "bulk_free_reads_type",
        "17edeb5d3f76",
        "mm: page_alloc: remove pcppage migratetype caching",
        "v6.10",
        "",
        "a page that leaves a pcplist goes to the list of the type that its pageblock has then; no page keeps a type",
    ),
    Feature(
        "folios_read_type_late",
        "9cbe97bad5cd",
        "mm: page_alloc: optimize free_unref_folios()",
        "v6.10",
        "",
        "the pageblock's type is read when a folio's turn comes, not when all of the list are prepared",
    ),
    Feature(
        "merge_sets_type",
        "e6cf9e1c4cde",
        "mm: page_alloc: fix up block types when merging compatible blocks",
        "v6.10",
        "",
        "pageblocks that merge get one type",
    ),
    Feature(
        "isolate_free_page_moves_block",
        "b54ccd3c6bac",
        "mm: page_alloc: move free pages when converting block during isolation",
        "v6.10",
        "",
        "when compaction takes most of a pageblock and makes it movable, the rest of its free pages moves along",
    ),
    Feature(
        "block_conversion_moves_all",
        "c0cd6f557b90",
        "mm: page_alloc: fix freelist movement during block conversion",
        "v6.10",
        "",
        "free pages change their list only if their pageblock changes its type; what is left of a page that an "
        "allocation of another type takes stays on its list",
    ),
    Feature(
        "direct_free_reads_type",
        "55612e80e722",
        "mm: page_alloc: close migratetype race between freeing and stealing",
        "v6.10",
        "",
        "a page that is freed past the pcplists goes to the list of its pageblock's type; before, of the type read "
        "earlier unless something is isolated",
    ),
    Feature(
        "isolation_splits_buddies",
        "fd919a85cd55",
        "mm: page_isolation: prepare for hygienic freelists",
        "v6.10",
        "",
        "isolating a pageblock splits the free page that it is a part of, under the same lock; an allocation that "
        "reaches across the end of the range is not migrated but makes it fail",
    ),
    Feature(
        "list_helpers_account",
        "e0932b6c1f94",
        "mm: page_alloc: consolidate free page accounting",
        "v6.10",
        "",
        "NR_FREE_PAGES changes together with the lists; before, at the end of a refill",
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
        "claim_or_steal",
        "c2f6ea38fc1b",
        "mm: page_alloc: don't steal single pages from biggest buddy",
        "v6.15",
        "6.12.29",
        "an allocation first tries to claim a pageblock, and otherwise takes the smallest free page of another type",
    ),
    Feature(
        "rmqueue_mode",
        "90abee6d7895",
        "mm: page_alloc: speed up fallbacks in rmqueue_bulk()",
        "v6.15",
        "6.12.29",
        "a refill that had to take pages of another type goes on taking such pages",
    ),
    Feature(
        "free_pages_nolock",
        "8c57b687e833",
        "mm, bpf: Introduce free_pages_nolock()",
        "v6.15",
        "",
        "who must not wait for zone->lock leaves a page to the next who frees past the pcplists, and who frees that "
        "way to a pcplist does not look whether it is full",
    ),
    Feature(
        "free_high_above_half_min",
        "c544a952ba61",
        "mm: pcp: increase pcp->free_count threshold to trigger free_high",
        "v6.16",
        "",
        "pages of orders 1 to 3 empty the pcplists only after half of high_min more pages were freed in a row",
    ),
    Feature(
        "isolate_bit",
        "e904bce2d9d4",
        "mm/page_isolation: make page isolation a standalone bit",
        "v6.17",
        "",
        "an isolated pageblock keeps its type, which it has again when it is given back",
    ),
    Feature(
        "merge_sets_all_types",
        "7838a4eb8a1d",
        "mm/page_alloc: change all pageblocks migrate type on coalescing",
        "v6.19",
        "6.12.65",
        "where free pages of more than a pageblock merge, all pageblocks get the type; before, only the first",
    ),
    Feature(
        "decay_in_batches",
        "fc4b909c368f",
        "mm/page_alloc: batch page freeing in decay_pcp_high",
        "v6.19",
        "6.12.67",
        "what high is too low for after it has decayed is given back batch by batch; before, in one hold",
    ),
    Feature(
        "free_in_batches",
        "91e691296646",
        "mm/page_alloc: batch page freeing in free_frozen_page_commit",
        "v6.19",
        "",
        "a free gives back a batch, then lets go of pcp->lock and tries to take it again for the next batch",
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
    Feature(
        "contig_keeps_others_isolated",
        "",
        "mm/page_alloc: alloc_contig_range: do not undo the isolation of somebody else",
        "",
        "",
        "alloc_contig_range() that cannot isolate its range gives up; since v5.19 it un-isolates all of the range, "
        "that is, also the pageblocks for the sake of which it failed",
        mail="2026-11-25",
    ),
    Feature(
        "nolock_keeps_off_disabled",
        "",
        "mm/page_alloc: free_pages_nolock: keep off disabled pcplists",
        "",
        "",
        "who frees without waiting for a lock puts nothing on disabled pcplists, and who tests whether a range is "
        "isolated frees first what such frees have left behind",
        mail="2026-11-25",
    ),
)
