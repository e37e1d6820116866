# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions of the model a kernel has as functions of its own, and which of them call which.

Only there can a CPU be held: a function that the compiler inlined has no address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pagelab.guest.kernel_text import KernelText

#: Functions of the model that the kernel calls otherwise, newest name first.  Parts of a kernel function that are
#: functions of their own in the model only are not here: they have no symbol.
ALIASES = {
    # The model's body of it, for kernels whose pcplists have no lock.
    "free_unref_page_commit_irqs_off": ("free_unref_page_commit",),
    # Renamed in v6.14.
    "free_unref_page_commit": ("free_frozen_page_commit", "free_unref_page_commit"),
    "free_unref_page": ("free_frozen_pages", "free_unref_page"),
    # Renamed in v5.14.
    "percpu_pagelist_high_fraction_sysctl_handler": (
        "percpu_pagelist_high_fraction_sysctl_handler",
        "percpu_pagelist_fraction_sysctl_handler",
    ),
    # Allocation profiling wraps it since v6.10.
    "alloc_contig_range": ("alloc_contig_range_noprof", "alloc_contig_range"),
    # A macro around the function that reads the bitmap, until v6.17.
    "get_pageblock_migratetype": ("get_pfnblock_migratetype", "get_pfnblock_flags_mask"),
    # In the model the choice of pages to free as a list is the caller's.
    "release_pages": (),
}
#: Functions that the model leaves out: they only pass on.
PASSING = (
    "__free_pages",
    "___free_pages",
    "__folio_put",
    "__free_contig_range_common",
    "free_frozen_pages",
    "alloc_contig_frozen_range_noprof",
)
#: What takes a spinlock.
LOCKS = ("_raw_spin_lock_irqsave", "_raw_spin_lock", "_raw_spin_lock_irq", "_raw_spin_trylock")


class Code(Protocol):
    """What the planner asks of a kernel."""

    def has(self, function: str) -> bool:
        """Whether the kernel has a function of that name (or a clone of it)."""

    def calls(self, caller: str, callee: str) -> int:
        """From how many places in ``caller`` it calls ``callee``, both of which it has."""

    def reaches(self, caller: str, callee: str) -> bool:
        """Whether ``caller`` calls ``callee``, by itself or through functions that only pass on."""


class KernelCode:
    """The answers from a kernel's symbols and machine code."""

    def __init__(self, text: KernelText) -> None:
        self.text = text
        self._calls: dict[tuple[str, str], int] = {}
        self._all_targets: dict[str, dict[int, int]] = {}

    def has(self, function: str) -> bool:
        return self.text.function(function) is not None

    def calls(self, caller: str, callee: str) -> int:
        key = caller, callee
        if key not in self._calls:
            target = self.text.function(callee)
            self._calls[key] = 0 if target is None else self._targets(caller).get(target.address, 0)
        return self._calls[key]

    def reaches(self, caller: str, callee: str) -> bool:
        if self.calls(caller, callee):
            return True
        passing = (name for name in PASSING if name != caller and self.has(name) and self.calls(caller, name))
        return any(self.reaches(name, callee) for name in passing)

    def _targets(self, caller: str) -> dict[int, int]:
        """How often a function calls, or jumps to, each address outside of it."""
        if caller not in self._all_targets:
            from pagelab.guest.instructions import call_targets

            function = self.text.function(caller)
            self._all_targets[caller] = {} if function is None else call_targets(function)
        return self._all_targets[caller]


def kernel_name(function: str, code: Code) -> str:
    """The kernel's name of a function of the model, "" if the kernel has none."""
    return next((name for name in ALIASES.get(function, (function,)) if code.has(name)), "")


def code_of(kernel: str) -> KernelCode:
    """The code of a kernel that can be booted; it is booted once if it never was.

    :raises BadInput: MissingTool: GuestFailed: if it cannot be had.
    """
    from pagelab.guest import initramfs
    from pagelab.guest.accelerator import choose
    from pagelab.guest.kernel_text import kernel_text
    from pagelab.guest.kernels import fetch
    from pagelab.guest.tools import fetch_tools

    found, busybox = fetch(kernel), initramfs.busybox(fetch_tools().root)
    return KernelCode(kernel_text(found, choose("auto", found, busybox), busybox))
