# SPDX-License-Identifier: GPL-2.0-or-later
"""Named differences between kernels: one feature an upstream change or a proposal, never derived from a version.

Procedures ask ``if features.NAME``; the question is folded away when a design is compiled.
"""

from __future__ import annotations

from pagelab.lang.declare import Constants
from pagelab.linux.feature_list import FEATURES, Feature

__all__ = ["FEATURES", "Feature", "Features", "features"]


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
    movable_zone_apart: bool = False
    pcp_batch_scale_max: bool = True
    free_high_when_repeated: bool = False
    free_high_keeps_batch: bool = False
    alloc_factor: bool = False
    high_auto_tuning: bool = False
    high_below_watermark: bool = False
    free_count: bool = False
    cma_guard_removed: bool = False
    highatomic_rounded_up: bool = False
    highatomic_minimum_zone: bool = False
    drain_in_chunks: bool = True
    thp_lists_by_movability: bool = True
    free_unref_folios: bool = False
    bulk_free_reads_type: bool = False
    folios_read_type_late: bool = False
    merge_sets_type: bool = False
    isolate_free_page_moves_block: bool = False
    block_conversion_moves_all: bool = False
    direct_free_reads_type: bool = False
    isolation_splits_buddies: bool = False
    list_helpers_account: bool = False
    drain_count_under_lock: bool = True
    claim_or_steal: bool = False
    rmqueue_mode: bool = False
    free_pages_nolock: bool = False
    free_high_above_half_min: bool = False
    isolate_bit: bool = False
    merge_sets_all_types: bool = False
    decay_in_batches: bool = False
    free_in_batches: bool = False
    isolation_disables_pcplists: bool = False
    onlining_disables_pcplists: bool = False
    migratetype_with_irqs_off: bool = False
    contig_keeps_others_isolated: bool = False
    nolock_keeps_off_disabled: bool = False


features = Features()
