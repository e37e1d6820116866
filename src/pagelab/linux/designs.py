# SPDX-License-Identifier: GPL-2.0-or-later
"""Designs: a kernel or a proposal, as a base plus a set of features."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from pagelab.errors import BadInput
from pagelab.linux.features import FEATURES, features


@dataclass(frozen=True, slots=True)
class Design:
    """A set of features with a name.

    :param name: what the command line calls it.
    :param base: the design it starts from, or "" if it starts from nothing.
    :param features: names of the features it has on top of its base.
    :param about: one line for a person.
    """

    name: str
    base: str
    features: frozenset[str]
    about: str

    def feature_names(self) -> list[str]:
        """Names of the features it has, those of its base included, in the order in which upstream got them."""
        mine = self.features | (frozenset(DESIGNS[self.base].feature_names()) if self.base else frozenset())
        return [feature.name for feature in FEATURES if feature.name in mine]

    def switch_on(self) -> None:
        """Configure ``features`` as this design has them, for the next build or run."""
        mine = self.feature_names()
        features.configure(**{feature.name: feature.name in mine for feature in FEATURES})


#: What v5.10 changed.
_V5_10 = frozenset({"putback_to_tail", "move_to_tail", "core_pages_to_tail", "isolate_while_onlining"})

#: By name, oldest first.
DESIGNS = {
    design.name: design
    for design in (
        Design("5.9-rc5", "", frozenset(), "Linux 5.0 to 5.9-rc5, 5.8.10 and 5.4.66: offlining drains only once"),
        Design("5.9", "5.9-rc5", frozenset({"drain_again_in_offline"}), "Linux 5.9: offlining drains again and again"),
        Design(
            "rfc-v1",
            "5.9-rc5",
            frozenset({"pageset_cached_in_zone", "isolation_disables_pcplists"}),
            "proposed on 7 September 2020: isolation disables the pcplists",
        ),
        Design(
            "rfc",
            "rfc-v1",
            _V5_10 | {"onlining_disables_pcplists"},
            "proposed on 9 September 2020, on top of what became 5.10: isolation disables the pcplists",
        ),
        Design(
            "alt",
            "5.9-rc5",
            _V5_10 | {"migratetype_with_irqs_off"},
            "proposed on 10 September 2020: a free reads the migratetype with irqs off, and one drain suffices",
        ),
        Design("5.10", "5.9", _V5_10, "Linux 5.10"),
        Design(
            "5.11",
            "5.10",
            frozenset(
                {
                    "pageset_update_two_stores",
                    "pageset_cached_in_zone",
                    "drain_by_isolation_users",
                    "zone_pcp_disable",
                    "max_order_not_isolated",
                }
            ),
            "Linux 5.11: offlining disables the pcplists by zone_pcp_disable()",
        ),
        Design(
            "6.1.0",
            "5.11",
            frozenset(
                {
                    "alloc_pages_bulk",
                    "high_from_low_watermark",
                    "high_after_cpu_hotplug",
                    "free_factor",
                    "high_limited_in_reclaim",
                    "pcp_high_fraction",
                    "high_order_pcplists",
                    "merge_checked_always",
                    "drain_requested_list_first",
                    "free_high",
                    "buddy_validated",
                    "isolate_at_pageblocks",
                    "zone_locked_shows_list",
                    "pcp_spinlock",
                    "remote_drain",
                }
            ),
            "Linux 6.1 as it was released, to 6.1.56",
        ),
        Design(
            "6.1.57",
            "6.1.0",
            frozenset({"irqs_on_under_pcp_lock", "cma_highatomic_to_own_list"}),
            "Linux 6.1.57 to 6.1.96",
        ),
        Design("6.1.97", "6.1.57", frozenset({"thp_lists_by_movability"}), "Linux 6.1.97 to 6.1.103"),
        Design(
            "6.1",
            "6.1.97",
            frozenset({"pcp_batch_scale_max", "drain_in_chunks", "drain_count_under_lock"}),
            "Linux 6.1.y from 6.1.104 on, as Debian 12 ships it",
        ),
        Design(
            "6.12",
            "6.1",
            frozenset(
                {
                    "movable_zone_apart",
                    "free_high_when_repeated",
                    "free_high_keeps_batch",
                    "alloc_factor",
                    "high_auto_tuning",
                    "high_below_watermark",
                    "free_count",
                    "cma_guard_removed",
                    "highatomic_rounded_up",
                    "highatomic_minimum_zone",
                    "free_unref_folios",
                    "bulk_free_reads_type",
                    "folios_read_type_late",
                    "merge_sets_type",
                    "isolate_free_page_moves_block",
                    "block_conversion_moves_all",
                    "direct_free_reads_type",
                    "isolation_splits_buddies",
                    "list_helpers_account",
                    "claim_or_steal",
                    "rmqueue_mode",
                    "merge_sets_all_types",
                    "decay_in_batches",
                }
            ),
            "Linux 6.12.y from 6.12.67 on, as Debian 13 ships it",
        ),
        Design(
            "7.2",
            "6.12",
            frozenset({"free_pages_nolock", "free_high_above_half_min", "isolate_bit", "free_in_batches"}),
            "Linux 7.2",
        ),
        Design(
            "contig-fix",
            "7.2",
            frozenset({"contig_keeps_others_isolated"}),
            "proposed in docs/findings: alloc_contig_range() that cannot isolate its range undoes nothing",
        ),
        Design(
            "nolock-fix",
            "7.2",
            frozenset({"nolock_keeps_off_disabled"}),
            "proposed in docs/findings: free_pages_nolock() keeps off disabled pcplists",
        ),
    )
}


def design_named(name: str) -> Design:
    """The design of that name.

    :raises BadInput: if there is none; the hint names the one that was probably meant.
    """
    if name in DESIGNS:
        return DESIGNS[name]
    near = difflib.get_close_matches(name, DESIGNS, n=1)
    known = f"the designs are {', '.join(DESIGNS)}"
    raise BadInput(f"there is no design {name!r}", f"did you mean {near[0]}? {known}" if near else known)
