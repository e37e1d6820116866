# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the model share: machines, walks over the lists, and what must hold in every quiet moment."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pagelab.lang.declare import NIL, Constants, Tracepoint, attached
from pagelab.linux import buddy, memory_hotplug, state
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_TYPES
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    IN_FLIGHT,
    OFFLINE,
    ON_PCPLIST,
    TAIL,
    free_area,
    get_pageblock_migratetype,
    machine,
    mem_map,
    pcp,
    pcp_list,
    zone,
)

Event = tuple[int, ...]

#: Free pages of up to two pageblocks, as on x86-64; pcplists for orders 0, 1 and 3 (a "huge page"), none for 2 and 4.
SMALL = {"nr_pages": 256, "pageblock_order": 3, "max_order": 5, "costly_order": 1, "swap_cluster_max": 4}


@contextmanager
def configured(constants: Constants, **values: int) -> Iterator[None]:
    """Constants changed for a while."""
    before = {name: getattr(constants, name) for name in values}
    constants.configure(**values)
    try:
        yield
    finally:
        constants.configure(**before)


@contextmanager
def zone_of(online: int = 0, **sizes: int) -> Iterator[None]:
    """A fresh zone, the first ``online`` pages of which are online."""
    with configured(machine, **sizes):
        state.reset()
        if online:
            memory_hotplug.online_pages(0, 0, online)
        yield


@contextmanager
def recorded(*points: Tracepoint) -> Iterator[list[tuple[str, Event]]]:
    """What tracepoints report, with their names."""
    seen: list[tuple[str, Event]] = []

    def probe(point: Tracepoint) -> Callable[..., None]:
        return lambda *args: seen.append((point.name, tuple(int(x) for x in args)))

    with attached({point: probe(point) for point in points}):
        yield seen


def free_pages(*pages: tuple[int, int], migratetype: int = MIGRATE_MOVABLE) -> None:
    """Put (page, order) on free lists just so, each at the tail, without merging; the zone spans everything."""
    zone.spanned_pages = zone.present_pages = zone.managed_pages = machine.nr_pages
    for page, order in pages:
        buddy.set_buddy_order(page, order)
        buddy.add_to_free_list_tail(page, order, migratetype)
        for tail in range(page + 1, page + (1 << order)):
            mem_map[tail].state = TAIL
        zone.free_pages += 1 << order


def free_list(order: int, migratetype: int = MIGRATE_MOVABLE) -> list[int]:
    """The pages of a free list, head first."""
    return walk(free_area[order, migratetype].head)


def free_lists(migratetype: int = MIGRATE_MOVABLE) -> dict[int, list[int]]:
    """The free lists of a migratetype that are not empty."""
    return {order: pages for order in range(machine.max_order) if (pages := free_list(order, migratetype))}


def on_pcplist(cpu: int, pindex: int) -> list[int]:
    """The pages of a pcplist, head first."""
    return walk(pcp_list[cpu, pindex].head)


def walk(page: int) -> list[int]:
    """The pages from here to the end of a list."""
    pages: list[int] = []
    before = NIL
    while page != NIL:
        assert mem_map[page].prev == before, f"page {page}: prev is {mem_map[page].prev}, not {before}"
        assert len(pages) < machine.nr_pages, "a list runs in a circle"
        pages.append(page)
        before, page = page, mem_map[page].next
    return pages


class Row(typing.Protocol):
    head: int
    tail: int


def checked_list(row: Row) -> list[int]:
    """The pages of a list whose two ends agree."""
    pages = walk(row.head)
    assert row.tail == (pages[-1] if pages else NIL)
    return pages


def check_quiet_state() -> None:
    """What must hold whenever no procedure is under way; pages may be between prepare and commit of their free."""
    cover: dict[int, int] = {}  # page -> first page of what it belongs to

    def claim(head: int, order: int, expected: int) -> None:
        assert mem_map[head].state == expected, f"page {head} is in state {mem_map[head].state}, not {expected}"
        assert head % (1 << order) == 0
        for page in range(head, head + (1 << order)):
            assert page not in cover, f"page {page} belongs to {cover[page]} and to {head}"  # P1
            cover[page] = head
            assert page == head or mem_map[page].state == TAIL

    counted = 0
    for order in range(machine.max_order):
        for migratetype in range(MIGRATE_TYPES):
            pages = checked_list(free_area[order, migratetype])
            assert free_area[order, migratetype].nr_free == len(pages)
            for page in pages:
                assert (mem_map[page].order, mem_map[page].free_list) == (order, migratetype)
                claim(page, order, BUDDY)
                first, last = (p >> machine.pageblock_order for p in (page, page + (1 << order) - 1))
                types = {get_pageblock_migratetype(b << machine.pageblock_order) for b in range(first, last + 1)}
                assert types == {migratetype}, f"page {page} of order {order} lies in pageblocks of types {types}"
            if migratetype != MIGRATE_ISOLATE:
                counted += len(pages) << order
    assert zone.free_pages == counted  # P2
    for cpu in range(machine.nr_cpus):
        count = 0
        for pindex in range(machine.nr_pcp_lists):
            for page in checked_list(pcp_list[cpu, pindex]):
                order = mem_map[page].compound_order
                claim(page, order, ON_PCPLIST)
                count += 1 << order
        assert pcp[cpu].count == count  # P3
        assert not pcp[cpu].lock.held
    for page in range(machine.nr_pages):
        if mem_map[page].state in (ALLOCATED, IN_FLIGHT):
            claim(page, mem_map[page].compound_order, mem_map[page].state)
    for page in range(machine.nr_pages):
        assert (mem_map[page].state == OFFLINE) == (page not in cover), f"page {page} is lost"
    isolated = sum(
        get_pageblock_migratetype(page) == MIGRATE_ISOLATE
        for page in range(0, machine.nr_pages, machine.pageblock_nr_pages)
        if mem_map[page].state != OFFLINE
    )
    assert zone.nr_isolate_pageblock == isolated  # P7
    assert not zone.lock.held
