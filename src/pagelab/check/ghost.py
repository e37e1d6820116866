# SPDX-License-Identifier: GPL-2.0-or-later
"""What properties remember of the past and the kernel does not: written by probes, read by properties."""

from __future__ import annotations

from collections.abc import Callable

from pagelab.lang.declare import Tracepoint, atomic, i8, record, table
from pagelab.linux import trace
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import BUDDY, machine, mem_map


class BlockGhost:
    """A pageblock: how many callers were told that it is isolated, and have not given it back."""

    isolated: i8 = 0


class Ghost:
    """The zone: how many callers were told that its pcplists are disabled; whether a test said what was not so."""

    disabled: i8 = 0
    tested_wrongly: bool = False


block_ghost = table("block_ghost", BlockGhost, lambda: machine.nr_pageblocks, ghost=True)
ghost = record("ghost", Ghost, ghost=True)


def on_range_isolated(cpu: int, start: int, end: int) -> None:
    """The caller relies on the isolation from now on."""
    with atomic():
        for block in range(start >> machine.pageblock_order, ((end - 1) >> machine.pageblock_order) + 1):
            block_ghost[block].isolated += 1
        if features.isolation_disables_pcplists:
            ghost.disabled += 1


def on_range_released(cpu: int, start: int, end: int) -> None:
    """The caller does not rely on it any more."""
    with atomic():
        for block in range(start >> machine.pageblock_order, ((end - 1) >> machine.pageblock_order) + 1):
            block_ghost[block].isolated -= 1
        if features.isolation_disables_pcplists:
            ghost.disabled -= 1


def on_pcplists_disabled(cpu: int) -> None:
    """Nothing stays on the pcplists from now on, says zone_pcp_disable()."""
    if features.zone_pcp_disable:
        ghost.disabled = 1


def on_pcplists_enabled() -> None:
    """That is over."""
    if features.zone_pcp_disable:
        ghost.disabled = 0


def is_isolated(page: int) -> bool:
    """Whether a page is part of a free page that cannot be allocated."""
    for order in range(machine.max_order):
        head = page & (-1 << order)
        if mem_map[head].state == BUDDY and mem_map[head].order >= order:
            return mem_map[head].free_list == MIGRATE_ISOLATE
    return False


def on_pages_tested(cpu: int, start: int, end: int, fin: int) -> None:
    """A test that succeeds says that all pages are free, on lists from which they cannot be allocated."""
    if fin >= end:
        with atomic():
            for page in range(start, end):
                if not is_isolated(page):
                    ghost.tested_wrongly = True


#: What to attach while a system of the kernel model is built or run.
PROBES: dict[Tracepoint, Callable[..., None]] = {
    trace.range_isolated: on_range_isolated,
    trace.range_released: on_range_released,
    trace.pcplists_disabled: on_pcplists_disabled,
    trace.pcplists_enabled: on_pcplists_enabled,
    trace.pages_tested: on_pages_tested,
}
