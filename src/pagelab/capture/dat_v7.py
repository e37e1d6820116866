# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat version 7: sections that options point to, some of them compressed, trace-cmd.dat.v7(5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pagelab.capture import dat_sections as sections
from pagelab.capture.cursor import CUT_HINT, Cursor
from pagelab.capture.dat_sections import Buffer, Contents, CpuBuffer
from pagelab.capture.inflate import InflateError, check_algorithm, inflate
from pagelab.errors import BadInput

_SECTION_HEADER = 16
_FLAG_COMPRESSED = 1
_NO_DESCRIPTION = 0xFFFFFFFF
#: A section of words (formats, kallsyms) has never been larger; a damaged size is.
_MAX_SECTION = 1 << 28
#: Ring buffers shrink to a tenth, pages of zeros to a thousandth.
_MAX_RATIO = 2000
_NAMES = {
    0: "options",
    3: "buffer",
    15: "strings",
    16: "header info",
    17: "ftrace formats",
    18: "event formats",
    19: "kallsyms",
    20: "printk",
    21: "command lines",
    22: "latency text",
}


@dataclass(frozen=True, slots=True)
class _Section:
    id: int
    compressed: bool
    start: int  # byte after the section's header
    size: int


class _Reader:
    def __init__(self, cursor: Cursor, contents: Contents) -> None:
        self.cursor = cursor
        self.contents = contents
        name = cursor.string("the name of the compression")
        check_algorithm(name, cursor.name)
        cursor.string("the version of the compression")
        self.algorithm = name
        self.options_at = cursor.u64("the place of the options")
        self.first = cursor.at
        self.sections: dict[int, _Section] = {}
        self.buffer_options: list[tuple[int, memoryview, str]] = []

    def walk(self) -> None:
        """Notes all sections.  They lie one after another up to the end of the file, so any cut is seen here."""
        cursor = self.cursor
        descriptions = []
        strings = 0
        while cursor.at < len(cursor.data):
            at = cursor.at
            number = cursor.u16("the number of a section")
            flags = cursor.u16("the flags of a section")
            description = cursor.u32("the description of a section")
            size = cursor.u64("the size of a section")
            start = cursor.at
            name = _NAMES.get(number, str(number))
            cursor.take(size, f"the section {name!r}")
            self.sections[at] = _Section(number, bool(flags & _FLAG_COMPRESSED), start, size)
            if description != _NO_DESCRIPTION:
                descriptions.append((at, description))
            if number == sections.OPTION_STRINGS:
                inner = self.open(at, number)
                strings += len(inner.data) - inner.at
        for _, description in descriptions:
            if description >= strings:
                cursor.fail(
                    f"expected the section 'strings' with string {description}, which a section is described by",
                    len(cursor.data),
                )

    def open(self, at: int, number: int) -> Cursor:
        """The section at byte ``at``, unpacked."""
        name = _NAMES.get(number, str(number))
        section = self.sections.get(at)
        if section is None or section.id != number:
            self.cursor.fail(f"expected the section {name!r} here", at)
        data = self.cursor.data[section.start : section.start + section.size]
        if not section.compressed:
            return Cursor(self.cursor.data[: section.start + section.size], self.cursor.name, section.start)
        inner = Cursor(data, f"{self.cursor.name}: section {name!r} at byte {at}")
        packed = inner.u32("the packed size")
        size = inner.u32("the unpacked size")
        if size > _MAX_SECTION:
            inner.fail(f"expected the unpacked size, found {size}", 4)
        try:
            unpacked = inflate(self.algorithm, inner.take(packed, "packed data"), size)
        except InflateError as error:
            inner.fail(str(error), 8)
        return Cursor(memoryview(unpacked), f"{inner.name} (unpacked)")

    def read_options(self) -> None:
        """All options sections, each of which names the next."""
        readers: dict[int, Callable[[Cursor], None]] = {
            sections.OPTION_HEADER_INFO: lambda cursor: sections.read_header_info(cursor, self.contents),
            sections.OPTION_FTRACE_EVENTS: lambda cursor: sections.read_ftrace_formats(cursor, self.contents),
            sections.OPTION_EVENT_FORMATS: lambda cursor: sections.read_event_formats(cursor, self.contents),
            sections.OPTION_KALLSYMS: sections.read_kallsyms,
            sections.OPTION_PRINTK: sections.read_printk,
            sections.OPTION_CMDLINES: sections.read_cmdlines,
        }
        at = self.options_at
        seen: set[int] = set()
        while at:
            if at in seen:
                self.cursor.fail("the options sections name each other in a circle", at)
            seen.add(at)
            cursor = self.open(at, sections.OPTION_DONE)
            at = 0
            while True:
                option = cursor.u16("the number of an option")
                size = cursor.u32(f"the size of option {option}")
                where = cursor.at
                data = cursor.take(size, f"the data of option {option}")
                if option == sections.OPTION_DONE:
                    at = Cursor(data, f"{cursor.name}: option at byte {where}").u64("the place of the next options")
                    break
                sections.read_option(option, data, self.contents)
                if option in (sections.OPTION_BUFFER, sections.OPTION_BUFFER_TEXT):
                    self.buffer_options.append((option, data, f"{cursor.name}: option at byte {where}"))
                elif option in readers:
                    place = Cursor(data, f"{cursor.name}: option at byte {where}").u64("the place of a section")
                    readers[option](self.open(place, option))

    def read_buffers(self) -> None:
        for option, data, name in self.buffer_options:
            inner = Cursor(data, name)
            place = inner.u64("the place of the buffer")
            instance = inner.string("the name of the instance")
            clock = inner.string("the clock of the instance")
            if option == sections.OPTION_BUFFER_TEXT:
                raise BadInput(
                    f"{self.cursor.name}: byte {place}: holds the text of a latency tracer, not events",
                    "Record events: 'trace-cmd record -e kmem', without -p.",
                )
            at = inner.at
            page_size = sections.check_page_size(inner, inner.u32("the size of a sub-buffer"), at)
            at = inner.at
            count = inner.u32("the number of CPUs")
            if count > sections.MAX_CPUS:
                inner.fail(f"expected the number of CPUs, found {count}", at)
            buffer = Buffer(instance, page_size, [], clock)
            for _ in range(count):
                at = inner.at
                number = inner.u32("a CPU")
                cpu = CpuBuffer(number, inner.u64("the place of its data"), inner.u64("the size of its data"))
                if cpu.cpu >= sections.MAX_CPUS or any(cpu.cpu == other.cpu for other in buffer.cpus):
                    inner.fail(f"expected a CPU that was not named before, found {cpu.cpu}", at)
                if cpu.size:
                    self.check_place(cpu)
                    buffer.cpus.append(cpu)
            buffer.cpus.sort(key=lambda cpu: cpu.cpu)
            section = self.sections.get(place)
            if section is None or section.id != sections.OPTION_BUFFER:
                self.cursor.fail("expected the section 'buffer' here", place)
            if section.compressed:
                self.unpack(buffer)
            self.contents.buffers.append(buffer)

    def check_place(self, cpu: CpuBuffer) -> None:
        end = len(self.cursor.data)
        if cpu.start % 4096:
            self.cursor.fail(f"expected the data of CPU {cpu.cpu} at a page, found byte {cpu.start}", cpu.start)
        if cpu.start + cpu.size > end:
            self.cursor.fail(
                f"expected {cpu.size} bytes of data of CPU {cpu.cpu} from here on, but the file ends at byte {end}",
                cpu.start,
            )

    def unpack(self, buffer: Buffer) -> None:
        """Unpacks the chunks of all CPUs into one array, each CPU's data at a multiple of a sub-buffer."""
        data = bytearray()
        limit = (len(self.cursor.data) + 4096) * _MAX_RATIO
        for cpu in buffer.cpus:
            cursor = Cursor(self.cursor.data, self.cursor.name, cpu.start)
            start = len(data)
            for _ in range(cursor.u32(f"the number of chunks of CPU {cpu.cpu}")):
                packed = cursor.u32("the packed size of a chunk")
                size = cursor.u32("the unpacked size of a chunk")
                at = cursor.at
                if len(data) + size > limit:
                    cursor.fail(f"expected the unpacked size of a chunk, found {size}", at - 4)
                try:
                    data += inflate(self.algorithm, cursor.take(packed, "a chunk"), size)
                except InflateError as error:
                    cursor.fail(str(error), at, CUT_HINT)
            # trace-cmd 3 does not count the number of chunks, which are 4 bytes, as part of the size.
            if cursor.at - cpu.start not in (cpu.size, cpu.size + 4):
                cursor.fail(f"expected the end of the data of CPU {cpu.cpu} at byte {cpu.start + cpu.size}")
            cpu.start, cpu.size = start, len(data) - start
            data += bytes(-len(data) % buffer.page_size)
        buffer.words = np.frombuffer(data, "<u4")


def read_v7(cursor: Cursor, contents: Contents) -> None:
    """Fills ``contents`` from the byte after the page size on.  :raises BadInput: the file is cut or damaged."""
    reader = _Reader(cursor, contents)
    cursor.at = reader.first
    reader.walk()
    reader.read_options()
    reader.read_buffers()
    if not contents.page_header or not contents.formats:
        cursor.fail("the options name no section with event formats", reader.options_at)
