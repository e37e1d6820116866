# SPDX-License-Identifier: GPL-2.0-or-later
"""A zone as it is in the memory of a guest that stands: its pages, pageblocks, free lists and pcplists.

What was read is a :class:`Snapshot`, which answers without the guest.  Layouts come from the kernel's BTF; what is a
macro there (page_type, the bits of a pageblock, vmemmap) is as in mm/ of the kernels that pagelab boots.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pagelab.errors import BadInput
from pagelab.guest.kernel_text import KernelText
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_PCPTYPES
from pagelab.steer.plan import PageSeen, Where

#: Reads ``size`` bytes at a virtual address.
Read = Callable[[int, int], Awaitable[bytes]]

SECTION_PAGES = 1 << 15
PAGEBLOCK_ORDER = 9
_PAGEBLOCKS = SECTION_PAGES >> PAGEBLOCK_ORDER
_PAGE_BYTES = 4096
#: What is per CPU has an address that, with the CPU's offset, may go over the end of all addresses.
_ADDRESS = (1 << 64) - 1
#: SECTION_IS_ONLINE of include/linux/mmzone.h.
_SECTION_IS_ONLINE = 1 << 2
_SECTION_FLAGS = 63
#: PageBuddy before v6.12: page_type with all upper bits set but PG_buddy.
_PAGE_TYPE_BASE, _PG_BUDDY = 0xF0000000, 0x80


@dataclass(frozen=True)
class Layout:
    """Offsets that are needed again and again."""

    text: KernelText

    def at(self, struct_name: str, path: str) -> int:
        return self.text.btf.field(struct_name, path).offset

    @cached_property
    def page(self) -> int:
        return self.text.btf.size("page")

    @cached_property
    def pcp_struct(self) -> str:
        """What zone->pageset or zone->per_cpu_pageset points to."""
        # Since Linux kernel commit 28f836b6777b ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14)
        return "per_cpu_pages" if self.text.btf.has("zone", "per_cpu_pageset") else "per_cpu_pageset"

    @cached_property
    def pcp_prefix(self) -> str:
        return "" if self.pcp_struct == "per_cpu_pages" else "pcp."

    @cached_property
    def pcp_pointer(self) -> int:
        return self.at("zone", "per_cpu_pageset" if self.pcp_struct == "per_cpu_pages" else "pageset")

    @cached_property
    def buddy(self) -> int | None:
        """The type of a free page, where page_type's upper byte is a number."""
        return self.text.btf.enumerator("PGTY_buddy")

    @cached_property
    def isolate(self) -> int:
        """MIGRATE_ISOLATE of this kernel."""
        value = self.text.btf.enumerator("MIGRATE_ISOLATE")
        if value is None:
            raise BadInput("this kernel has no MIGRATE_ISOLATE", "pagelab needs CONFIG_MEMORY_ISOLATION")
        return value

    @cached_property
    def isolate_bit(self) -> int | None:
        """The bit of a pageblock that isolates it, where that is one."""
        # Since Linux kernel commit e904bce2d9d4 ("mm/page_isolation: make page isolation a standalone bit") (in v6.17)
        return self.text.btf.enumerator("PB_migrate_isolate")

    @cached_property
    def pageblock_bits(self) -> int:
        return 8 if self.isolate_bit is not None else 4

    def data(self, name: str) -> int:
        """The address of a variable, or the offset of a per-CPU one.

        :raises BadInput: the kernel has none of that name.
        """
        if name not in self.text.data:
            raise BadInput(f"this kernel has no variable {name}", "pagelab knows other kernels")
        return self.text.data[name]

    def migratetype(self, number: int) -> int:
        """As the model numbers it."""
        return MIGRATE_ISOLATE if number == self.isolate else number


@dataclass(frozen=True)
class Section:
    """A memory section: whether it is online, and the bits of its pageblocks."""

    online: bool
    bits: bytes


@dataclass(frozen=True)
class Pcp:
    """The struct with a CPU's pcplists, and what this CPU has not yet added to NR_FREE_PAGES."""

    address: int
    data: bytes
    free_pages: int


@dataclass(frozen=True)
class Snapshot:
    """One zone at one moment.

    :param memmap: struct pages of whole sections, by the section's number.
    :param sections: by number.
    :param pcps: by CPU.
    """

    layout: Layout
    vmemmap: int
    address: int
    zone: bytes
    pcps: dict[int, Pcp]
    memmap: dict[int, bytes]
    sections: dict[int, Section]

    # ---- pages

    def page(self, pfn: int) -> PageSeen | None:
        """Where a page is; ``None`` if it is none of the hot-added memory."""
        number = pfn // SECTION_PAGES
        if number not in self.memmap:
            return None
        if not self.sections[number].online:
            return PageSeen(Where.OFFLINE)
        if pfn in self.on_pcplists:
            cpu, migratetype = self.on_pcplists[pfn]
            return PageSeen(Where.PCPLIST, migratetype, cpu)
        head = self._buddy_head(pfn)
        if head is not None:
            return PageSeen(Where.BUDDY, self.on_free_lists[head][1]) if head in self.on_free_lists else None
        if self._page_word(pfn, "_refcount", 4) == 0:
            return PageSeen(Where.IN_FLIGHT)
        return PageSeen(Where.ALLOCATED)

    def _buddy_head(self, pfn: int) -> int | None:
        for order in range(self._orders):
            head = pfn >> order << order
            if self._is_buddy(head):
                return head if self._page_word(head, "private", 8) >= order else None
        return None

    def _is_buddy(self, pfn: int) -> bool:
        if pfn // SECTION_PAGES not in self.memmap:
            return False
        page_type = self._page_word(pfn, "page_type", 4)
        if self.layout.buddy is not None:
            return page_type >> 24 == self.layout.buddy
        return page_type & (_PAGE_TYPE_BASE | _PG_BUDDY) == _PAGE_TYPE_BASE

    def _page_word(self, pfn: int, member: str, size: int) -> int:
        number, index = divmod(pfn, SECTION_PAGES)
        at = index * self.layout.page + self.layout.at("page", member)
        return int.from_bytes(self.memmap[number][at : at + size], "little")

    # ---- lists

    @property
    def _orders(self) -> int:
        return self.layout.text.btf.field("zone", "free_area").count

    @cached_property
    def on_free_lists(self) -> dict[int, tuple[int, int]]:
        """Order and migratetype (as the model numbers it) of each list's pages, by page frame."""
        area = self.layout.text.btf.field("zone", "free_area")
        lists = self.layout.text.btf.field("free_area", "free_list")
        found = {}
        for order in range(area.count):
            for number in range(lists.count):
                head = area.offset + order * area.size + lists.offset + number * lists.size
                for pfn in self._walk(self.address + head, _word(self.zone, head)):
                    found[pfn] = (order, self.layout.migratetype(number))
        return found

    @cached_property
    def on_pcplists(self) -> dict[int, tuple[int, int]]:
        """CPU and migratetype of each page on a pcplist."""
        lists = self._pcp_field("lists")
        found = {}
        for cpu, pcp in self.pcps.items():
            for number in range(lists.count):
                head = lists.offset + number * lists.size
                for pfn in self._walk(pcp.address + head, _word(pcp.data, head)):
                    found[pfn] = (cpu, number % MIGRATE_PCPTYPES)
        return found

    def _walk(self, head: int, entry: int) -> Iterator[int]:
        """Page frames on a list, until it comes back to its head or leaves what was read."""
        link = self.layout.at("page", "lru")
        seen: set[int] = set()
        while entry != head and entry not in seen:
            seen.add(entry)
            pfn, rest = divmod(entry - link - self.vmemmap, self.layout.page)
            if rest or pfn // SECTION_PAGES not in self.memmap:
                return
            yield pfn
            entry = self._page_word(pfn, "lru", 8)

    # ---- numbers

    def _pcp_field(self, name: str) -> _At:
        found = self.layout.text.btf.field(self.layout.pcp_struct, self.layout.pcp_prefix + name)
        return _At(found.offset, found.size, found.count)

    def pcp_number(self, cpu: int, name: str) -> int:
        """A counter of a CPU's pcplists: ``count``, ``high``, ``batch``."""
        at = self._pcp_field(name)
        return int.from_bytes(self.pcps[cpu].data[at.offset : at.offset + at.size], "little", signed=True)

    def pcp_high(self, cpu: int) -> int:
        """The high in force."""
        high = self.pcp_number(cpu, "high")
        # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
        if self.layout.text.btf.has(self.layout.pcp_struct, "high_min"):
            return max(self.pcp_number(cpu, "high_min"), min(high, self.pcp_number(cpu, "high_max")))
        return high

    @property
    def nr_isolate_pageblock(self) -> int:
        return _word(self.zone, self.layout.at("zone", "nr_isolate_pageblock"))

    @property
    def managed_pages(self) -> int:
        return _word(self.zone, self.layout.at("zone", "managed_pages"))

    def isolated(self, pfn: int) -> bool | None:
        """Whether the pageblock of a page is isolated."""
        number, index = divmod(pfn, SECTION_PAGES)
        if number not in self.sections:
            return None
        return self._isolated(self.sections[number], index >> PAGEBLOCK_ORDER)

    def _isolated(self, section: Section, pageblock: int) -> bool:
        width = self.layout.pageblock_bits
        bits = int.from_bytes(section.bits, "little") >> (pageblock * width) & ((1 << width) - 1)
        if self.layout.isolate_bit is not None:
            return bool(bits >> self.layout.isolate_bit & 1)
        return bits & 7 == self.layout.isolate

    @property
    def isolated_pageblocks(self) -> int:
        """Of memory that is online."""
        online = [section for section in self.sections.values() if section.online]
        return sum(self._isolated(section, block) for section in online for block in range(_PAGEBLOCKS))

    @property
    def uncounted_pages(self) -> int:
        """NR_FREE_PAGES less the pages on lists of other types than ISOLATE."""
        at = self.layout.at("zone", "vm_stat")  # NR_FREE_PAGES is the first
        counted = int.from_bytes(self.zone[at : at + 8], "little", signed=True)
        counted += sum(pcp.free_pages for pcp in self.pcps.values())
        lists = self.on_free_lists.values()
        return counted - sum(1 << order for order, migratetype in lists if migratetype != MIGRATE_ISOLATE)


@dataclass(frozen=True, slots=True)
class _At:
    offset: int
    size: int
    count: int


def _word(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


@dataclass
class ZoneMemory:
    """Reads snapshots of one zone.

    :param sections: numbers of the memory sections to look at.
    """

    text: KernelText
    read: Read
    zone_name: str
    cpus: int
    sections: tuple[int, ...]
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = Layout(self.text)

    async def word(self, address: int, size: int = 8) -> int:
        return int.from_bytes(await self.read(address, size), "little")

    async def zone_address(self) -> int:
        """Of the zone on node 0."""
        node = await self.word(self.layout.data("node_data"))
        number = self.text.btf.enumerator(self.zone_name) or 0
        return node + self.layout.at("pglist_data", "node_zones") + number * self.text.btf.size("zone")

    async def snapshot(self) -> Snapshot:
        address = await self.zone_address()
        zone = await self.read(address, self.text.btf.size("zone"))
        vmemmap = await self.word(self.layout.data("vmemmap_base"))
        size = SECTION_PAGES * self.layout.page
        memmap = {number: await self.read(vmemmap + number * size, size) for number in self.sections}
        sections = {number: await self._section(number) for number in self.sections}
        pcps = {cpu: await self._pcp(zone, cpu) for cpu in range(self.cpus)}
        return Snapshot(self.layout, vmemmap, address, zone, pcps, memmap, sections)

    async def pcp_address(self, zone: bytes, cpu: int) -> int:
        return (_word(zone, self.layout.pcp_pointer) + await self._per_cpu(cpu)) & _ADDRESS

    async def _per_cpu(self, cpu: int) -> int:
        return await self.word(self.layout.data("__per_cpu_offset") + 8 * cpu)

    async def _pcp(self, zone: bytes, cpu: int) -> Pcp:
        address = await self.pcp_address(zone, cpu)
        data = await self.read(address, self.text.btf.size(self.layout.pcp_struct))
        stats, where = address, "per_cpu_pageset"
        if self.layout.pcp_struct == "per_cpu_pages":
            stats = _word(zone, self.layout.at("zone", "per_cpu_zonestats")) + await self._per_cpu(cpu) & _ADDRESS
            where = "per_cpu_zonestat"
        diff = await self.read(stats + self.layout.at(where, "vm_stat_diff"), 1)
        return Pcp(address, data, int.from_bytes(diff, "little", signed=True))

    async def _section(self, number: int) -> Section:
        size = self.text.btf.size("mem_section")
        root, index = divmod(number, _PAGE_BYTES // size)
        roots = await self.word(self.layout.data("mem_section"))
        section = await self.read(await self.word(roots + 8 * root) + index * size, size)
        flags = _word(section, self.layout.at("mem_section", "section_mem_map")) & _SECTION_FLAGS
        usage = _word(section, self.layout.at("mem_section", "usage"))
        bits = b""
        if usage:
            at = usage + self.layout.at("mem_section_usage", "pageblock_flags")
            bits = await self.read(at, _PAGEBLOCKS * self.layout.pageblock_bits // 8)
        return Section(bool(flags & _SECTION_IS_ONLINE), bits)
