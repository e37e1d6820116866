# SPDX-License-Identifier: GPL-2.0-or-later
"""Which design a captured kernel has: found from its configuration, symbols and files, never from a version number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pagelab.errors import BadInput

if TYPE_CHECKING:
    from pagelab.capture.directory import Capture


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that a capture shows, or does not show, of its kernel.

    :param file: where it is looked for.
    :param name: a symbol of kallsyms, an option of config.
    :param there: what a kernel does that shows it; the sentence begins with "the kernel".
    :param missing: what a kernel does that does not show it.
    """

    file: Literal["kallsyms", "config"]
    name: str
    there: str
    missing: str

    def is_in(self, capture: Capture) -> bool:
        """Whether the capture shows it."""
        if self.file == "kallsyms":
            return self.name in capture.symbols
        return self.name in capture.config


#: In the order in which they are looked at: what is told of a kernel that no design models is the first that is not
#: like any of the designs which are left.
SIGNS = (
    # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
    Sign("kallsyms", "decay_pcp_high", "tunes pcp->high itself, as kernels since v6.7 do", "sets pcp->high once"),
    # Since Linux kernel commit 90491d87dd46 ("mm: add free_unref_folios()") (in v6.10)
    Sign("kallsyms", "free_unref_folios", "frees folios in batches, as kernels since v6.10 do", "frees page by page"),
    # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
    Sign(
        "kallsyms",
        "__move_freepages_block_isolate",
        "isolates pageblocks by a bit, as kernels since v6.17 do",
        "isolates pageblocks by their type, as kernels before v6.17 do",
    ),
    # Since Linux kernel commit c2f6ea38fc1b ("mm: page_alloc: don't steal single pages from biggest buddy")
    # (in v6.15, 6.12.29), until it was given another name in v6.15
    Sign(
        "kallsyms",
        "try_to_steal_block",
        "claims a pageblock or takes a single page, as kernels since 6.12.29 do",
        "takes single pages from the biggest free page, as kernels before 6.12.29 do",
    ),
    # Before Linux kernel commit 443c2accd1b6 ("mm/page_alloc: remotely drain per-cpu lists") (in v6.0)
    Sign(
        "kallsyms",
        "drain_local_pages_wq",
        "drains pcplists by work items, as kernels before v6.0 do",
        "drains the pcplists of other CPUs itself, as kernels since v6.0 do",
    ),
    # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
    Sign(
        "kallsyms",
        "zone_pcp_disable",
        "drains pcplists by work items and can disable them, as kernels from v5.11 to v5.19 do",
        "cannot disable pcplists, as kernels before v5.11 cannot",
    ),
    # Before Linux kernel commit 0a1a9a0008bb ("mm/memory_hotplug: simplify page offlining") (in v5.10), of the series
    # that isolates memory while it comes online
    Sign(
        "kallsyms",
        "check_pages_isolated_cb",
        "brings memory online without isolating it, as kernels before v5.10 do, and which of their designs it has "
        "cannot be seen",
        "isolates memory while it comes online, as kernels since v5.10 do",
    ),
    # Since Linux kernel commit 55f77df7d715 ("mm: page_alloc: control latency caused by zone PCP draining")
    # (in v6.10, 6.1.104): its option tells, and all that the design assumes of 6.1.y came with it or earlier.
    Sign(
        "config",
        "CONFIG_PCP_BATCH_SCALE_MAX",
        "drains pcplists in chunks, as kernels since v6.10 do",
        "drains pcplists as 6.1 before 6.1.104 does, and which of its designs it has cannot be seen",
    ),
)
#: Signs that a kernel of each design shows; it shows none of the others.
DESIGNS_BY_SIGNS = {
    "5.10": frozenset({"drain_local_pages_wq"}),
    "6.1": frozenset({"zone_pcp_disable", "CONFIG_PCP_BATCH_SCALE_MAX"}),
    "6.12": frozenset(
        {
            "decay_pcp_high",
            "free_unref_folios",
            "try_to_steal_block",
            "zone_pcp_disable",
            "CONFIG_PCP_BATCH_SCALE_MAX",
        }
    ),
    "7.2": frozenset(
        {
            "decay_pcp_high",
            "free_unref_folios",
            "__move_freepages_block_isolate",
            "zone_pcp_disable",
            "CONFIG_PCP_BATCH_SCALE_MAX",
        }
    ),
}
UNMODELLED_OPTIONS = {
    "CONFIG_PREEMPT_RT": "is a PREEMPT_RT kernel",
    "CONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT": "keeps guard pages between free pages",
}
HINT = "`pagelab designs` lists what is modelled; `pagelab replay --design 6.1` predicts with that one all the same"


def design_of(capture: Capture) -> str:
    """The name of the design that the captured kernel has.

    :raises BadInput: if the kernel has features that no design models, or the capture does not tell.
    """
    for name, found in (("config.txt", capture.config), ("kallsyms.txt", capture.symbols)):
        if not found:
            raise BadInput(
                f"{capture.path}: there is no {name}, so the kernel's features cannot be found",
                "copy it from the machine that was traced, or name the design with --design",
            )
    for option, what in UNMODELLED_OPTIONS.items():
        if capture.config.get(option) == "y":
            raise BadInput(f"{capture.path}: config: {option}=y: the kernel {what}, which no design models", HINT)
    if capture.config.get("CONFIG_SMP") != "y":
        raise BadInput(f"{capture.path}: config: the kernel is not built for SMP, which no design models", HINT)
    left = dict(DESIGNS_BY_SIGNS)
    for sign in SIGNS:
        there = sign.is_in(capture)
        left = {design: shown for design, shown in left.items() if (sign.name in shown) == there}
        if not left:
            what = f"{sign.name}: the kernel {sign.there}" if there else f"no {sign.name}: the kernel {sign.missing}"
            raise BadInput(f"{capture.path}: {sign.file}: {what}, which no design models", HINT)
    (design,) = left
    return design
