# SPDX-License-Identifier: GPL-2.0-or-later
"""How much memory a guest has for itself and for its trace, from the number of pages that its workload allocates."""

from __future__ import annotations

#: For a workload of the default size, all CPUs together.
BASE_MIB = 512
TRACE_MIB = 192
_LARGEST_DEFAULT_MIB = 128
#: Of trace that a page of a workload makes: 4 to 8 events of 28 to 36 bytes each.
BYTES_PER_PAGE = 300
#: With one CPU these leave the base memory below 2816 MiB.  QEMU would put a part of more above 4 GiB, into the zone
#: that has to be empty until memory is hot-added.
MOST_PAGES = 4_000_000
_STEP_MIB = 128


def buffer_mib(cpus: int, pages: int) -> int:
    """Of one CPU's trace."""
    needed = -(-pages * BYTES_PER_PAGE // (cpus << 20))
    return max(min(TRACE_MIB // cpus, _LARGEST_DEFAULT_MIB), needed)


def base_mib(cpus: int, pages: int) -> int:
    """Of the guest's memory before any is hot-added: for all buffers, and once more for the one that is handed out."""
    buffer = buffer_mib(cpus, pages)
    more = max(buffer * cpus - TRACE_MIB, 0) + max(buffer - _LARGEST_DEFAULT_MIB, 0)
    return BASE_MIB + -(-more // _STEP_MIB) * _STEP_MIB
