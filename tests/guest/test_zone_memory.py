# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read from a guest's memory, on memory that is made up."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from pagelab.guest.kernel_text import KernelText
from pagelab.guest.zone_memory import SECTION_PAGES, Layout, Pcp, Section, Snapshot
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE
from pagelab.steer.plan import PageSeen, Where
from tests.guest.made_btf import UNION, MadeBtf

VMEMMAP, ZONE, PCP = 0xFFFFEA0000000000, 0xFFFF888000001000, 0xFFFF888000002000
SECTION = 32
FIRST = SECTION * SECTION_PAGES
PAGE_BYTES = 64
LRU, PRIVATE, PAGE_TYPE, REFCOUNT = 8, 40, 48, 52
PCPLISTS, FREE_AREA, FREE_AREA_BYTES = 16, 64, 88
FREE, NO_TYPE = 0xF000007F, 0xFFFFFFFF


def btf(*, modern: bool = False) -> bytes:
    made = MadeBtf()
    word, small = made.integer("long unsigned int", 8), made.integer("int", 4)
    links = made.struct("list_head", 16, [("next", word, 0), ("prev", word, 8)])
    either = made.struct("", 4, [("_mapcount", small, 0), ("page_type", small, 0)], kind=UNION)
    made.struct(
        "page", 64, [("lru", links, LRU), ("private", word, PRIVATE), ("", either, 48), ("_refcount", small, 52)]
    )
    pcp_members = [
        ("count", small, 0),
        ("high", small, 4),
        ("batch", small, 8),
        ("lists", made.array(links, 3, small), PCPLISTS),
    ]
    if modern:
        pcp_members += [("high_min", small, 64), ("high_max", small, 68)]
    pcp = made.struct("per_cpu_pages", 72, pcp_members)
    made.struct("per_cpu_pageset", 80, [("pcp", pcp, 0)])
    area = made.struct(
        "free_area", FREE_AREA_BYTES, [("free_list", made.array(links, 5, small), 0), ("nr_free", word, 80)]
    )
    zone = [
        ("nr_isolate_pageblock", word, 0),
        ("vm_stat", word, 8),
        ("free_area", made.array(area, 11, small), FREE_AREA),
    ]
    zone.append(("per_cpu_pageset" if modern else "pageset", word, 16))
    made.struct("zone", FREE_AREA + 11 * FREE_AREA_BYTES, zone)
    made.enum("migratetype", {"MIGRATE_ISOLATE": 4})
    if modern:
        made.enum("pagetype", {"PGTY_buddy": 0xF0})
        made.enum("pageblock_bits", {"PB_migrate_isolate": 4})
    return made.data()


class Made:
    """A zone of one memory section in which all pages are in use."""

    def __init__(self, *, modern: bool = False) -> None:
        self.layout = Layout(KernelText(0, b"", {}, "", btf(modern=modern)))
        self.memmap = bytearray(struct.pack("<40xQ i i 8x", 0, -1, 1) * SECTION_PAGES)
        self.zone = bytearray(FREE_AREA + 11 * FREE_AREA_BYTES)
        self.pcp = bytearray(72)
        self.bits = bytearray(b"\x11" * (64 if modern else 32))
        for order in range(11):
            for number in range(5):
                self.link(self.zone, ZONE, FREE_AREA + order * FREE_AREA_BYTES + number * 16, [])
        for number in range(3):
            self.link(self.pcp, PCP, PCPLISTS + number * 16, [])

    def link(self, memory: bytearray, base: int, head: int, pfns: list[int]) -> None:
        """A list, whose head is in ``memory``."""
        entries = [VMEMMAP + pfn * PAGE_BYTES + LRU for pfn in pfns]
        struct.pack_into("<Q", memory, head, [*entries, base + head][0])
        for pfn, following in zip(pfns, [*entries, base + head][1:], strict=True):
            struct.pack_into("<Q", self.memmap, (pfn - FIRST) * PAGE_BYTES + LRU, following)

    def free(self, order: int, migratetype: int, *pfns: int, page_type: int = FREE) -> None:
        self.link(self.zone, ZONE, FREE_AREA + order * FREE_AREA_BYTES + migratetype * 16, list(pfns))
        for pfn in pfns:
            struct.pack_into("<QIi", self.memmap, (pfn - FIRST) * PAGE_BYTES + PRIVATE, order, page_type, 0)

    def snapshot(self) -> Snapshot:
        pcp = Pcp(PCP, bytes(self.pcp), 0)
        section = Section(True, bytes(self.bits))
        memmap = {SECTION: bytes(self.memmap)}
        return Snapshot(self.layout, VMEMMAP, ZONE, bytes(self.zone), {0: pcp}, memmap, {SECTION: section})


def test_a_page_is_on_the_list_that_it_is_found_on() -> None:
    made = Made()
    made.free(3, 1, FIRST + 8, FIRST + 64)
    made.free(0, 4, FIRST + 700)
    snapshot = made.snapshot()
    assert snapshot.page(FIRST + 64 + 5) == PageSeen(Where.BUDDY, MIGRATE_MOVABLE)
    assert snapshot.page(FIRST + 64 + 8) == PageSeen(Where.ALLOCATED)
    assert snapshot.page(FIRST + 700) == PageSeen(Where.BUDDY, MIGRATE_ISOLATE)  # 4 in this kernel
    assert snapshot.on_free_lists == {FIRST + 8: (3, 1), FIRST + 64: (3, 1), FIRST + 700: (0, MIGRATE_ISOLATE)}


def test_a_page_on_a_pcplist_has_a_cpu_and_a_type() -> None:
    made = Made()
    made.link(made.pcp, PCP, PCPLISTS + 16, [FIRST + 3, FIRST + 9])
    assert made.snapshot().page(FIRST + 9) == PageSeen(Where.PCPLIST, MIGRATE_MOVABLE, 0)


def test_a_page_without_references_on_no_list_is_in_flight() -> None:
    made = Made()
    struct.pack_into("<i", made.memmap, 7 * PAGE_BYTES + REFCOUNT, 0)
    assert made.snapshot().page(FIRST + 7) == PageSeen(Where.IN_FLIGHT)


def test_a_free_page_on_no_list_is_not_decided() -> None:
    made = Made()
    struct.pack_into("<QIi", made.memmap, 7 * PAGE_BYTES + PRIVATE, 0, FREE, 0)
    assert made.snapshot().page(FIRST + 7) is None


def test_pages_elsewhere_and_offline_pages() -> None:
    snapshot = Made().snapshot()
    assert snapshot.page(FIRST - 1) is None
    offline = replace(snapshot, sections={SECTION: Section(False, b"")})
    assert offline.page(FIRST) == PageSeen(Where.OFFLINE)
    assert offline.isolated_pageblocks == 0


def test_isolated_pageblocks_are_told_by_type() -> None:
    made = Made()
    made.bits[1] = 0x41  # the fourth pageblock
    snapshot = made.snapshot()
    assert [snapshot.isolated(FIRST + block * 512) for block in range(5)] == [False, False, False, True, False]
    assert snapshot.isolated_pageblocks == 1


def test_isolated_pageblocks_are_told_by_a_bit_of_their_own() -> None:
    made = Made(modern=True)
    assert made.snapshot().isolated_pageblocks == 64  # 0x11 is movable and isolated there
    made.bits[:] = b"\x01" * 63 + b"\x11"
    snapshot = made.snapshot()
    assert (snapshot.isolated_pageblocks, snapshot.isolated(FIRST + 63 * 512)) == (1, True)


def test_a_free_page_of_a_newer_kernel_has_a_type() -> None:
    made = Made(modern=True)
    made.free(0, 1, FIRST + 5, page_type=0xF0000000)
    made.free(1, 1, FIRST + 8, page_type=NO_TYPE)
    snapshot = made.snapshot()
    assert snapshot.page(FIRST + 5) == PageSeen(Where.BUDDY, MIGRATE_MOVABLE)
    assert snapshot.page(FIRST + 8) == PageSeen(Where.IN_FLIGHT)


def test_free_pages_that_are_counted_are_compared_with_the_lists() -> None:
    made = Made()
    made.free(3, 1, FIRST + 8)
    made.free(0, 4, FIRST + 700)  # isolated pages are not counted
    struct.pack_into("<q", made.zone, 8, 10)
    snapshot = replace(made.snapshot(), pcps={0: Pcp(PCP, bytes(made.pcp), -1), 1: Pcp(PCP, bytes(made.pcp), -1)})
    assert snapshot.uncounted_pages == 10 - 2 - 8


@pytest.mark.parametrize(("high", "in_force"), [(70, 50), (30, 30), (0, 20)])
def test_the_high_in_force_is_between_its_limits(high: int, in_force: int) -> None:
    made = Made(modern=True)
    struct.pack_into("<ii", made.pcp, 0, 12, high)
    struct.pack_into("<ii", made.pcp, 64, 20, 50)
    snapshot = made.snapshot()
    assert (snapshot.pcp_high(0), snapshot.pcp_number(0, "count")) == (in_force, 12)


def test_a_list_that_runs_in_circles_ends() -> None:
    made = Made()
    made.free(0, 1, FIRST + 1, FIRST + 2)
    entry = VMEMMAP + (FIRST + 1) * PAGE_BYTES + LRU
    struct.pack_into("<Q", made.memmap, 2 * PAGE_BYTES + LRU, entry)
    assert made.snapshot().on_free_lists == {FIRST + 1: (0, 1), FIRST + 2: (0, 1)}
