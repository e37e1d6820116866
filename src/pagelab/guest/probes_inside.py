# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes at instructions inside functions, for what no event and no function entry shows.

Their places are found in the machine code of the very kernel (pagelab.guest.instructions), so each kernel gets those
that it has a place for; the capture lists them.  A place is used only where the function that is called there has its
own name: a clone (.isra, .constprop) takes its arguments in other registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pagelab.guest.instructions import calls, list_deletions
from pagelab.guest.kernel_text import KernelText
from pagelab.guest.probes import VMEMMAP, Probe

#: A probe, and another one that tells all that is needed of it.  A kretprobe is more than needless: it is at the entry
#: and goes through ftrace, and probes that an interrupt hits in its handler are missed: in 7.2 up to 36 pages that a
#: softirq frees, once in some 20 captures.
NEEDLESS = (("free_one_page", "split_large_buddy"), ("alloc_pages_bulk_done", "alloc_pages_bulk_page"))
#: Kernels of pagelab.guest.kernels whose replay follows these probes.  Since v6.10 __rmqueue_pcplist() and
#: split_large_buddy() are functions with an entry of their own, which tell most of the same.
WITH_PROBES_INSIDE = ("5.10", "6.1", "6.12", "7.2")
#: Callers of __free_one_page() on behalf of a free that goes past the pcplists.
FREE_PAST_PCPLISTS = ("free_one_page", "__free_pages_ok", "split_large_buddy")
#: rmqueue_pcplist() is inlined.
ALLOCATORS = ("get_page_from_freelist", "rmqueue")
BULK_ALLOCATORS = ("__alloc_pages_bulk", "alloc_pages_bulk_noprof")
FREE_SCANNERS = ("isolate_freepages_block", "compaction_alloc")


def probes_inside(text: KernelText) -> tuple[Probe, ...]:
    """The probes that a kernel has places for."""
    return (
        *_free_one_page(text),
        *_split_free_page(text),
        *_pcplist_pages(text, "rmqueue_pcplist_page", ALLOCATORS),
        *_pcplist_pages(text, "alloc_pages_bulk_page", BULK_ALLOCATORS),
        *_isolate_free_page(text),
    )


def without_needless(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    """The probes but those of which others tell the same."""
    names = {probe.name for probe in probes}
    needless = {name for name, other in NEEDLESS if other in names}
    return tuple(probe for probe in probes if probe.name not in needless)


def _free_one_page(text: KernelText) -> Iterator[Probe]:
    """When a page that goes past the pcplists gets to the free lists."""
    arguments = "zone=%dx pfn=%si order=%cx:u32 migratetype=%r8:s32 fpi_flags=%r9:s32"
    for caller in FREE_PAST_PCPLISTS:
        for function, offset, _ in _calls(text, caller, "__free_one_page"):
            yield Probe("free_one_page", function, arguments, offset=offset)


def _split_free_page(text: KernelText) -> Iterator[Probe]:
    """When a free page that reaches across the end of a range is split, so that the range can be isolated."""
    arguments = "pfn=%si order=%cx:u32 migratetype=%r8:s32"
    for function, offset, _ in _calls(text, "split_free_page", "__free_one_page"):
        yield Probe("split_free_page_part", function, arguments, offset=offset)


def _pcplist_pages(text: KernelText, name: str, callers: tuple[str, ...]) -> Iterator[Probe]:
    """Which pages a function takes from a pcplist: where it is given them, or where it takes them itself."""
    for caller in callers:
        for function, _, returns in _calls(text, caller, "__rmqueue_pcplist"):
            yield Probe(name, function, f"page=%ax {VMEMMAP}", offset=returns)
        found = text.function(caller)
        deletions = [one for one in list_deletions(found) if not one.buddy] if found is not None else []
        # The entry is page->lru; a register that points elsewhere in struct page could not be told from that.
        if found is not None and len(deletions) == 1 and deletions[0].displacement in (0, 8):
            register = deletions[0].register
            if not register[1:].isdigit():  # the kernel calls rax ax, and r8 r8
                register = register[1:]
            yield Probe(name, found.name, f"page=%{register} {VMEMMAP}", offset=deletions[0].offset)


def _isolate_free_page(text: KernelText) -> Iterator[Probe]:
    """Which free pages compaction takes to move others there."""
    for caller in FREE_SCANNERS:
        for function, offset, returns in _calls(text, caller, "__isolate_free_page"):
            yield Probe("isolate_free_page", function, f"page=%di order=%si:u32 {VMEMMAP}", offset=offset)
            yield Probe("isolate_free_page_done", function, "ret=%ax:s32", offset=returns)


def _calls(text: KernelText, caller: str, callee: str) -> Iterator[tuple[str, int, int]]:
    function = text.function(caller)
    if function is not None and callee in text.symbols:
        for call in calls(function, text.symbols[callee]):
            yield function.name, call.offset, call.returns
