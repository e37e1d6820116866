# SPDX-License-Identifier: GPL-2.0-or-later
"""Free a list of allocations (mm/page_alloc.c, mm/swap.c): the first ``nr`` of page_vec[cpu]."""

from __future__ import annotations

from pagelab.lang.declare import trylock, unlock
from pagelab.linux.buddy import FPI_NONE
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from pagelab.linux.pcp import (
    free_one_page,
    free_pages_prepare,
    free_unref_page_commit,
    free_unref_page_list,
    pcp_allowed_order,
)
from pagelab.linux.state import get_pageblock_migratetype, mem_map, page_vec, pcp
from pagelab.linux.trace import mm_page_free_batched


def prepare_folio(cpu: int, page: int) -> bool:
    """First pass, for one folio; False if it went to the free lists at once."""
    order = mem_map[page].compound_order
    free_pages_prepare(cpu, page, order)
    past_pcplists = not pcp_allowed_order(order)
    # Since Linux kernel commit 9cbe97bad5cd ("mm: page_alloc: optimize free_unref_folios()") (in v6.10)
    if not features.folios_read_type_late:
        past_pcplists = past_pcplists or get_pageblock_migratetype(page) == MIGRATE_ISOLATE
    if past_pcplists:
        free_one_page(cpu, page, order, MIGRATE_ISOLATE, FPI_NONE)
    return not past_pcplists


def free_folio_locked(cpu: int, page: int, migratetype: int) -> bool:
    """Second pass, for one folio.  pcp->lock is held; whether it still is in the end."""
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE
    mm_page_free_batched(cpu, page)
    return free_unref_page_commit(cpu, page, migratetype, mem_map[page].compound_order, FPI_NONE)


def free_folio(cpu: int, page: int, locked: bool) -> bool:
    """Second pass, for one folio; whether pcp->lock is held then, which is kept for the next folio."""
    order = mem_map[page].compound_order
    migratetype = get_pageblock_migratetype(page)
    if migratetype == MIGRATE_ISOLATE:
        if locked:
            unlock(pcp[cpu].lock)
        free_one_page(cpu, page, order, migratetype, FPI_NONE)
        return False
    if not locked and not trylock(pcp[cpu].lock):
        free_one_page(cpu, page, order, migratetype, FPI_NONE)
        return False
    return free_folio_locked(cpu, page, migratetype)


def free_unref_folios(cpu: int, nr: int) -> None:
    """Free folios of any orders; pcp->lock is taken once if nothing comes between."""
    kept = 0
    for i in range(nr):
        page = page_vec[cpu, i].page
        if prepare_folio(cpu, page):
            page_vec[cpu, kept].page = page
            kept += 1
    locked = False
    for i in range(kept):
        locked = free_folio(cpu, page_vec[cpu, i].page, locked)
    if locked:
        unlock(pcp[cpu].lock)


def release_pages(cpu: int, nr: int) -> None:
    """Free a list of allocations; before v6.10, of single pages."""
    # Since Linux kernel commit 90491d87dd46 ("mm: add free_unref_folios()") (in v6.10)
    if features.free_unref_folios:
        free_unref_folios(cpu, nr)
    else:
        free_unref_page_list(cpu, nr)
