# SPDX-License-Identifier: GPL-2.0-or-later
"""Loops around the model, in the modelling language: what bench_straight.py and bench_edit_to_run.py run."""

from __future__ import annotations

from pagelab.lang.declare import NIL, Constants, i32, i64, record, table
from pagelab.linux.memory_hotplug import online_pages
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.page_alloc import free_the_page, get_page_from_freelist
from pagelab.linux.state import TABLES, machine, pcp

#: A zone of 4 GiB, one memory block after the other; half of the slots hold a page.
NR_PAGES = 1 << 20
MEMORY_BLOCK = 1 << 15


class Size(Constants):
    """How large the live set is."""

    nr_live: int = 1 << 20


class Live:
    """A page that is allocated, or NIL."""

    page: i32 = NIL


class Loop:
    """Where the loops stand."""

    seed: i64 = 1
    drained: i64 = 0  # pages that went from a pcplist to the free lists, if count_drain() is attached


size = Size()
live = table("live", Live, lambda: size.nr_live)
loop = record("loop", Loop)

STATE = (*TABLES, live, loop)


def configure(nr_pages: int) -> None:
    """A movable zone with four CPUs, its memory and as many slots for live pages."""
    machine.configure(nr_pages=nr_pages, nr_cpus=4, cma=False, zone_movable=True)
    size.configure(nr_live=nr_pages)


def setup() -> int:
    """All memory comes online; returns the batch of the pcplists, which says how large the zone is."""
    page = 0
    while page < machine.nr_pages:
        online_pages(0, page, MEMORY_BLOCK)
        page += MEMORY_BLOCK
    return pcp[0].batch


def count_drain(cpu: int, page: int, order: int, migratetype: int) -> None:
    """A probe of mm_page_pcpu_drain."""
    loop.drained += 1


def fast(n: int) -> int:
    """Allocate a page and free it, again and again: the pcplist gives back what it got last."""
    seen = 0
    for _ in range(n):
        page = get_page_from_freelist(0, 0, 0, MIGRATE_MOVABLE)
        seen ^= page
        free_the_page(0, page, 0)
    return seen


def next_slot() -> int:
    """A random slot."""
    loop.seed = (loop.seed * 1103515245 + 12345) & 0x7FFFFFFF
    return (loop.seed >> 8) & (size.nr_live - 1)


def fill() -> None:
    """A page for every other slot."""
    for i in range(0, size.nr_live, 2):
        live[i].page = get_page_from_freelist(0, 0, 0, MIGRATE_MOVABLE)


def toggle(n: int) -> int:
    """At random slots: allocate where there is no page, free where there is one."""
    seen = 0
    for _ in range(n):
        slot = next_slot()
        page = live[slot].page
        if page == NIL:
            page = get_page_from_freelist(0, 0, 0, MIGRATE_MOVABLE)
            live[slot].page = page
        else:
            free_the_page(0, page, 0)
            live[slot].page = NIL
        seen ^= page
    return seen


def bursts(n: int, length: int) -> int:
    """Free ``length`` random pages, then allocate as many: more than the pcplists take, so most go further."""
    seen = 0
    for _ in range(n):
        freed = 0
        while freed < length:
            slot = next_slot()
            page = live[slot].page
            if page != NIL:
                free_the_page(0, page, 0)
                live[slot].page = NIL
                freed += 1
        got = 0
        while got < length:
            slot = next_slot()
            if live[slot].page == NIL:
                page = get_page_from_freelist(0, 0, 0, MIGRATE_MOVABLE)
                live[slot].page = page
                seen ^= page
                got += 1
    return seen


ENTRIES = (setup, fast, fill, toggle, bursts)
