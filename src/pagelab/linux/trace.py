# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracepoints (include/trace/events/kmem.h, page_isolation.h) and the points where ``pagelab record`` puts probes.

The first argument is the CPU that executes.  Pages are relative to the start of the zone.
"""

from __future__ import annotations

from pagelab.lang.declare import tracepoint


@tracepoint
def mm_page_free(cpu: int, page: int, order: int) -> None:
    """A page is about to be freed, wherever it will go."""


@tracepoint
def mm_page_free_batched(cpu: int, page: int) -> None:
    """A page of a list goes to a pcplist."""


@tracepoint
def mm_page_alloc_zone_locked(cpu: int, page: int, order: int, migratetype: int, percpu_refill: int) -> None:
    """A page was taken from the free list of a migratetype; zone.lock is held."""


@tracepoint
def mm_page_pcpu_drain(cpu: int, page: int, order: int, migratetype: int) -> None:
    """A page went from a pcplist to the free list of a migratetype; zone.lock is held."""


@tracepoint
def mm_page_alloc_extfrag(
    cpu: int,
    page: int,
    alloc_order: int,
    fallback_order: int,
    alloc_migratetype: int,
    fallback_migratetype: int,
    change_ownership: int,
) -> None:
    """A free page of another migratetype was taken over; zone.lock is held."""


@tracepoint
def test_pages_isolated(cpu: int, start: int, end: int, fin: int) -> None:
    """An isolated range was tested; ``fin`` is the first page that is not free."""


@tracepoint
def move_freepages_block_done(cpu: int, page: int, migratetype: int, moved: int) -> None:
    """move_freepages_block() returns; zone.lock is held."""


@tracepoint
def do_migrate_range(cpu: int, page: int, end: int) -> None:
    """Offlining wants the pages from here on migrated.  The model migrates nothing: a probe or other threads do."""


@tracepoint
def alloc_contig_migrate_range(cpu: int, start: int, end: int) -> None:
    """Isolation wants an allocation that reaches across its end migrated: ``__alloc_contig_migrate_range()``."""


@tracepoint
def flush_drain_work(cpu: int, owner: int) -> None:
    """A drain waits for the work of a CPU.  Where no thread does it, a probe has to: drain_local_pages_wq()."""


@tracepoint
def range_isolated(cpu: int, start: int, end: int) -> None:
    """A range is isolated, and what was meant to empty the pcplists of its pages is done."""


@tracepoint
def range_released(cpu: int, start: int, end: int) -> None:
    """A range that was isolated will not be any more, or is offline."""


@tracepoint
def pcplists_disabled(cpu: int) -> None:
    """zone_pcp_disable() returns."""


@tracepoint
def pcplists_enabled() -> None:
    """zone_pcp_enable() begins."""


@tracepoint
def pages_tested(cpu: int, start: int, end: int, fin: int) -> None:
    """The pages of a range were looked at; ``fin`` is the first that is not free; zone.lock is held."""
