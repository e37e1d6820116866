# SPDX-License-Identifier: GPL-2.0-or-later
"""Which design a captured kernel has: found from its configuration, symbols and files, never from a version number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.errors import BadInput

if TYPE_CHECKING:
    from pagelab.capture.directory import Capture

#: Signs of a kernel that no design models yet: what is seen, and since which upstream change it is there.
#: Names are symbols of kallsyms.
SYMBOLS_OF_OTHERS = {
    # Before Linux kernel commit 443c2accd1b6 ("mm/page_alloc: remotely drain per-cpu lists") (in v6.0)
    "drain_local_pages_wq": "drains pcplists by work items, as kernels before v6.0 do",
    # Since Linux kernel commit 90491d87dd46 ("mm: add free_unref_folios()") (in v6.10)
    "free_unref_folios": "frees folios in batches, as kernels since v6.10 do",
}
NEEDED_SYMBOLS = {
    # Since Linux kernel commit ec6e8c7e0314 ("mm, page_alloc: disable pcplists during memory offline") (in v5.11)
    "zone_pcp_disable": "cannot disable pcplists, as kernels before v5.11 cannot",
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
    for snapshot in capture.zoneinfo:
        if any(pageset.high_min >= 0 for zone in snapshot.zones for pageset in zone.pagesets):
            raise BadInput(
                f"{snapshot.path}: the kernel tunes pcp->high itself, as kernels since v6.7 do: no design models that",
                HINT,
            )
    for name, what in SYMBOLS_OF_OTHERS.items():
        if name in capture.symbols:
            raise BadInput(f"{capture.path}: kallsyms: {name}: the kernel {what}, which no design models", HINT)
    for name, what in NEEDED_SYMBOLS.items():
        if name not in capture.symbols:
            raise BadInput(f"{capture.path}: kallsyms: no {name}: the kernel {what}, which no design models", HINT)
    # Since Linux kernel commit 55f77df7d715 ("mm: page_alloc: control latency caused by zone PCP draining")
    # (in v6.10, 6.1.104): its option tells, and all that the design assumes of 6.1.y came with it or earlier.
    if "CONFIG_PCP_BATCH_SCALE_MAX" not in capture.config:
        raise BadInput(
            f"{capture.path}: config: no CONFIG_PCP_BATCH_SCALE_MAX: the kernel drains pcplists as 6.1 before 6.1.104 "
            "does, and which of its designs it has cannot be seen",
            "name it with --design; `pagelab designs` says what tells them apart",
        )
    return "6.1"
