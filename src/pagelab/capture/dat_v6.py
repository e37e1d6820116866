# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat version 6: everything in one row, trace-cmd.dat.v6(5)."""

from __future__ import annotations

from pagelab.capture import dat_sections as sections
from pagelab.capture.cursor import Cursor
from pagelab.capture.dat_sections import Buffer, Contents, CpuBuffer


def _read_options(cursor: Cursor, contents: Contents) -> list[tuple[str, int]]:
    """The options; returns the instances besides the top one: name and byte of their tables."""
    instances: list[tuple[str, int]] = []
    while option := cursor.u16("the number of an option"):
        size = cursor.u32(f"the size of option {option}")
        at = cursor.at
        data = cursor.take(size, f"the data of option {option}")
        sections.read_option(option, data, contents)
        if option == sections.OPTION_TRACECLOCK:
            contents.has_clock = True
        elif option == sections.OPTION_BUFFER:
            inner = Cursor(data, f"{cursor.name}: option BUFFER at byte {at}")
            offset = inner.u64("the place of the instance's data")
            if name := inner.string("the name of the instance"):
                instances.append((name, offset))
    return instances


def _read_table(cursor: Cursor, contents: Contents, name: str, cpus: int) -> Buffer:
    """Offsets and sizes of the CPUs' data, after the word "flyrecord"; then the clock, if the file has one."""
    buffer = Buffer(name, contents.page_size, [])
    for cpu in range(cpus):
        at = cursor.at
        start = cursor.u64(f"the place of the data of CPU {cpu}")
        size = cursor.u64(f"the size of the data of CPU {cpu}")
        if size:
            if start % 4096:
                cursor.fail(f"expected the place of the data of CPU {cpu} at a page, found byte {start}", at)
            if start + size > len(cursor.data):
                cursor.fail(
                    f"expected {size} bytes of data of CPU {cpu} from here on, but the file ends at byte"
                    f" {len(cursor.data)}",
                    start,
                )
            buffer.cpus.append(CpuBuffer(cpu, start, size))
    return buffer


def _read_clock(cursor: Cursor) -> str:
    """The clock behind the table, which is there if there was an option TRACECLOCK."""
    at = cursor.at
    size = cursor.u64("the size of the trace clock")
    if size > 4096:
        cursor.fail(f"expected the size of the trace clock, found {size}", at)
    return sections.current_clock(cursor.text(size, "the trace clock"))


def read_v6(cursor: Cursor, contents: Contents) -> None:
    """Fills ``contents`` from the byte after the page size on.  :raises BadInput: the file is cut or damaged."""
    sections.read_header_info(cursor, contents)
    sections.read_ftrace_formats(cursor, contents)
    sections.read_event_formats(cursor, contents)
    sections.read_kallsyms(cursor)
    sections.read_printk(cursor)
    sections.read_cmdlines(cursor)
    at = cursor.at
    contents.cpu_count = cursor.u32("the number of CPUs")
    word_at = cursor.at
    word = bytes(cursor.take(10, "the word 'options', 'latency' or 'flyrecord'"))
    instances: list[tuple[str, int]] = []
    if word == b"options  \0":
        instances = _read_options(cursor, contents)
        word_at = cursor.at
        word = bytes(cursor.take(10, "the word 'latency' or 'flyrecord'"))
    if word == b"latency  \0":
        cursor.fail(
            "holds the text of a latency tracer, not events",
            word_at,
            "Record events: 'trace-cmd record -e kmem', without -p.",
        )
    if word != b"flyrecord\0":
        cursor.fail(f"expected the word 'flyrecord', found {word!r}", word_at)
    if contents.cpu_count > sections.MAX_CPUS:
        cursor.fail(f"expected the number of CPUs, found {contents.cpu_count}", at)
    contents.buffers.append(_read_table(cursor, contents, "", contents.cpu_count))
    if contents.has_clock:
        clock = _read_clock(cursor)
        contents.clock = contents.clock or clock
    for name, offset in instances:
        inner = Cursor(cursor.data, cursor.name, offset)
        inner.literal(b"flyrecord\0", f"the word of the instance {name!r}")
        contents.buffers.append(_read_table(inner, contents, name, contents.cpu_count))
