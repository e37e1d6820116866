# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts that both versions of trace.dat share: header files, event formats, options, per-CPU buffers.

Follows the manual pages trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pagelab.capture.cursor import Cursor
from pagelab.capture.event_format import (
    EventFormat,
    FormatError,
    PageHeader,
    check_header_event,
    parse_format,
    parse_header_page,
)
from pagelab.capture.ring_buffer import Words

#: NR_CPUS of any kernel: a larger number is damage.
MAX_CPUS = 8192
_MAX_SYSTEMS = 4096
_MAX_EVENTS = 65536
_MAX_PAGE_SIZE = 1 << 27

OPTION_DONE = 0
OPTION_CPUSTAT = 2
OPTION_BUFFER = 3
OPTION_TRACECLOCK = 4
OPTION_UNAME = 5
OPTION_CPUCOUNT = 8
OPTION_STRINGS = 15
OPTION_HEADER_INFO = 16
OPTION_FTRACE_EVENTS = 17
OPTION_EVENT_FORMATS = 18
OPTION_KALLSYMS = 19
OPTION_PRINTK = 20
OPTION_CMDLINES = 21
OPTION_BUFFER_TEXT = 22


@dataclass(slots=True)
class CpuBuffer:
    """The ring buffer of one CPU: bytes ``start`` to ``start + size`` of the words it lies in."""

    cpu: int
    start: int
    size: int


@dataclass(slots=True)
class Buffer:
    """The data of one tracing instance, "" being the top one."""

    name: str
    page_size: int
    cpus: list[CpuBuffer]
    clock: str = ""
    #: None: the bytes of the file; otherwise unpacked data.
    words: Words | None = None

    @property
    def size(self) -> int:
        return sum(cpu.size for cpu in self.cpus)


@dataclass(slots=True)
class Stats:
    """per_cpu/cpuN/stats of one CPU of one instance, as far as it tells of losses."""

    instance: str
    cpu: int
    overrun: int = 0
    commit_overrun: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Contents:
    """A trace.dat taken apart; the events themselves are not read yet."""

    path: Path
    version: int
    page_size: int
    page_header: PageHeader | None = None
    formats: dict[int, EventFormat] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    clock: str = ""
    has_clock: bool = False
    uname: str = ""
    cpu_count: int = 0
    stats: list[Stats] = field(default_factory=list)
    stats_instance: str = ""


def check_page_size(cursor: Cursor, size: int, at: int) -> int:
    """A sub-buffer's size in bytes must be a power of two of at least a page.  :raises BadInput: it is not."""
    if size < 4096 or size > _MAX_PAGE_SIZE or size & (size - 1):
        cursor.fail(f"expected the size of a page, found {size}", at)
    return size


def read_header_info(cursor: Cursor, contents: Contents) -> None:
    """header_page and header_event.  :raises BadInput: they are damaged or of a kernel that is not 64-bit."""
    cursor.literal(b"header_page\0", "the name")
    at = cursor.at
    try:
        contents.page_header = parse_header_page(cursor.text(cursor.u64("the size of header_page"), "header_page"))
        cursor.literal(b"header_event\0", "the name")
        at = cursor.at
        check_header_event(cursor.text(cursor.u64("the size of header_event"), "header_event"))
    except FormatError as error:
        cursor.fail(str(error), at, "Only traces of 64-bit little-endian kernels are read.")


def _read_format(cursor: Cursor, contents: Contents, system: str) -> None:
    at = cursor.at
    text = cursor.text(cursor.u64(f"the size of a format of {system!r}"), f"a format of the system {system!r}")
    try:
        event = parse_format(text, system)
    except FormatError as error:
        cursor.fail(f"in a format of the system {system!r}: {error}", at)
    other = contents.formats.setdefault(event.id, event)
    if other is not event and (other.name, other.text) != (event.name, event.text):
        cursor.fail(f"the events {other.full_name} and {event.full_name} have the same number {event.id}", at)


def read_ftrace_formats(cursor: Cursor, contents: Contents) -> None:
    """The formats of ftrace's own events.  :raises BadInput: they are damaged."""
    at = cursor.at
    count = cursor.u32("the number of ftrace formats")
    if count > _MAX_EVENTS:
        cursor.fail(f"expected the number of ftrace formats, found {count}", at)
    for _ in range(count):
        _read_format(cursor, contents, "ftrace")


def read_event_formats(cursor: Cursor, contents: Contents) -> None:
    """The formats of all events that were recorded.  :raises BadInput: they are damaged."""
    at = cursor.at
    systems = cursor.u32("the number of event systems")
    if systems > _MAX_SYSTEMS:
        cursor.fail(f"expected the number of event systems, found {systems}", at)
    for _ in range(systems):
        system = cursor.string("the name of an event system")
        at = cursor.at
        count = cursor.u32(f"the number of events of the system {system!r}")
        if count > _MAX_EVENTS:
            cursor.fail(f"expected the number of events of the system {system!r}, found {count}", at)
        for _ in range(count):
            _read_format(cursor, contents, system)


def read_kallsyms(cursor: Cursor) -> None:
    cursor.take(cursor.u32("the size of kallsyms"), "kallsyms")


def read_printk(cursor: Cursor) -> None:
    cursor.take(cursor.u32("the size of the printk formats"), "the printk formats")


def read_cmdlines(cursor: Cursor) -> None:
    cursor.take(cursor.u64("the size of the command lines"), "the command lines")


def current_clock(text: str) -> str:
    """The clock in brackets of a ``trace_clock`` file: "[local] global counter" gives "local"."""
    match = re.search(r"\[([^\]]*)\]", text)
    return match[1] if match else ""


def c_string(data: memoryview) -> str:
    return bytes(data).split(b"\0", 1)[0].decode(errors="backslashreplace")


_STAT = re.compile(r"^(overrun|commit overrun|dropped events): (\d{1,18})$")


def _read_stats(text: str, contents: Contents) -> None:
    for line in text.splitlines():
        if line.startswith("Buffer: "):
            contents.stats_instance = line[8:].strip()
        elif re.match(r"CPU: \d{1,5}$", line):
            contents.stats.append(Stats(contents.stats_instance, int(line[5:])))
        elif (match := _STAT.match(line)) and contents.stats:
            setattr(contents.stats[-1], match[1].replace("dropped events", "dropped").replace(" ", "_"), int(match[2]))


def read_option(option: int, data: memoryview, contents: Contents) -> None:
    """Takes from an option what is needed; the readers of a version see to BUFFER and to the sections."""
    if option == OPTION_CPUSTAT:
        _read_stats(c_string(data), contents)
    elif option == OPTION_TRACECLOCK:
        contents.clock = current_clock(c_string(data)) or contents.clock
    elif option == OPTION_UNAME:
        contents.uname = c_string(data)
    elif option == OPTION_CPUCOUNT and len(data) >= 4:
        contents.cpu_count = int.from_bytes(data[:4], "little")
