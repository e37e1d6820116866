# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat of trace-cmd, versions 6 and 7, to columns.

The container is read by :mod:`dat_v6` and :mod:`dat_v7`, the ring buffers by :mod:`ring_buffer`; here the two meet:
event formats become the table that the native code follows, and what it reports becomes a sentence.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Sequence
from dataclasses import fields as dataclass_fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagelab.capture import ring_buffer as ring
from pagelab.capture.cursor import CUT_HINT, Cursor
from pagelab.capture.dat_sections import Buffer, Contents, check_page_size
from pagelab.capture.dat_v6 import read_v6
from pagelab.capture.dat_v7 import read_v7
from pagelab.capture.event_format import EventFormat, Field, FormatError
from pagelab.capture.events import Events, Kind
from pagelab.capture.files import looks_like, read_head, reason
from pagelab.capture.trace import Mark, Trace, empty_events, lost_of
from pagelab.capture.wanted import PACKED_FIELDS, PROBE_SYSTEM, Wanted, context_of_flags, wanted_event
from pagelab.errors import BadInput

MAGIC = b"\x17\x08Dtracing"
#: What writing into trace_marker leaves behind, and how many of it are kept.
PRINT = "ftrace:print"
_MAX_MARKS = 1 << 16


def _map_file(path: Path) -> memoryview:
    """The bytes of the file, mapped and not copied."""
    head = read_head(path)
    if not head.startswith(MAGIC):
        if head and MAGIC.startswith(head):
            raise BadInput(f"{path}: byte {len(head)}: the file ends within the magic number", CUT_HINT)
        raise BadInput(
            f"{path}: byte 0: not a trace.dat of trace-cmd but {looks_like(head)}",
            "Record one with 'pagelab record' or 'trace-cmd record -e kmem'.",
        )
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason(error)})") from None


def read_contents(data: memoryview, path: Path) -> Contents:
    """Takes the container apart, up to the ring buffers.

    :raises BadInput: it is cut, damaged or of another version.
    """
    cursor = Cursor(data, str(path))
    cursor.literal(MAGIC, "the magic number")
    at = cursor.at
    version = cursor.string("the version of the file")
    if version not in ("6", "7"):
        cursor.fail(f"expected version 6 or 7 of trace.dat, found {version[:20]!r}", at)
    if cursor.u8("the endianness") != 0:
        cursor.fail("the trace is big-endian", cursor.at - 1, "Only traces of x86-64 kernels are read.")
    if (long_size := cursor.u8("the size of a long")) not in (4, 8):
        cursor.fail(f"expected the size of a long, found {long_size}", cursor.at - 1)
    at = cursor.at
    page_size = check_page_size(cursor, cursor.u32("the size of a page"), at)
    contents = Contents(path, int(version), page_size)
    if version == "6":
        read_v6(cursor, contents)
    else:
        read_v7(cursor, contents)
    mapped = [buffer for buffer in contents.buffers if buffer.words is None]
    regions = sorted((cpu.start, cpu.size) for buffer in mapped for cpu in buffer.cpus)
    for (start, size), (following, _) in itertools.pairwise(regions):
        if start + size > following:
            cursor.fail(f"the data of two CPUs overlap (the one before ends at {start + size})", following)
    return contents


def _choose(contents: Contents, warnings: list[str]) -> Buffer:
    """The top instance, or if that is empty the only other one that is not."""
    full = [buffer for buffer in contents.buffers if buffer.size]
    top = [buffer for buffer in contents.buffers if not buffer.name]
    if len(full) > 1:
        chosen = next((buffer for buffer in full if not buffer.name), full[0])
        others = ", ".join(repr(buffer.name) for buffer in full if buffer is not chosen)
        warnings.append(f"only the tracing instance {chosen.name!r} is read, the events of {others} are not")
        return chosen
    if full or top:
        return (full or top)[0]
    return contents.buffers[0] if contents.buffers else Buffer("", contents.page_size, [])


def _check_field(event: EventFormat, field: Field, path: Path) -> None:
    """:raises BadInput: the field is no number, or straddles words as no kernel lays it out."""
    aligned = 4 if field.size == 8 else field.size
    if field.array or field.size not in (1, 2, 4, 8) or field.offset % aligned or field.offset < ring.COMMON_SIZE:
        raise BadInput(
            f"{path}: event {event.full_name}: field {field.name!r} is no number that lies at a multiple of its size"
            f" (offset {field.offset}, size {field.size})"
        )


def _row(event: EventFormat, wanted: Wanted, path: Path) -> npt.NDArray[np.int64]:
    """The line of the native table for an event: where its fields lie, and how they are read."""
    row = np.zeros(ring.T_COLUMNS, np.int64)
    row[ring.T_KIND] = wanted.kind
    row[ring.T_NEED] = ring.COMMON_SIZE

    def put(column: int, names: Sequence[str], cast: str = "", default: int = -1) -> bool:
        field = next((event.fields[name] for name in names if name in event.fields), None)
        if field is None:
            row[column + ring.F_DEFAULT] = default
            return False
        _check_field(event, field, path)
        size, signed = field.size, field.signed
        if cast == "int":
            size, signed = min(size, 4), True  # a whole register may have been fetched; its low half comes first
        elif cast == "bool":
            size, signed = 1, False
        row[column + ring.F_OFFSET] = field.offset
        row[column + ring.F_LEFT] = 64 - 8 * size - (8 * (field.offset % 4) if size < 8 else 0)
        row[column + ring.F_RIGHT] = 64 - 8 * size
        row[column + ring.F_MASK] = -1 if signed or size == 8 else (1 << 8 * size) - 1
        row[ring.T_NEED] = max(row[ring.T_NEED], field.offset + size)
        return True

    put(ring.T_ORDER, wanted.order, "int")
    put(ring.T_TYPE, wanted.migratetype, "int")
    put(ring.T_ARG, wanted.arg[:1] if wanted.packed else wanted.arg, wanted.arg_cast, -1 if wanted.arg else 0)
    put(ring.T_ARG2, wanted.arg2, default=-1 if wanted.arg2 else 0)
    if not put(ring.T_PFN, wanted.pfn) and wanted.page:
        found = put(ring.T_PAGE, wanted.page)
        if put(ring.T_VMEMMAP, ("vmemmap",)) and found:
            row[ring.T_SPECIAL] |= ring.SPECIAL_PAGE
    if wanted.packed:
        put(ring.T_PACK1, PACKED_FIELDS[1:2])
        put(ring.T_PACK2, PACKED_FIELDS[2:3])
        row[ring.T_SPECIAL] |= ring.SPECIAL_PACKED
    if wanted.arg_cast == "bool":
        row[ring.T_SPECIAL] |= ring.SPECIAL_BOOL
    return row


def _tables(contents: Contents, warnings: list[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Which number stands for which line of the table, and the table."""
    slot_of_id = np.full(1 << 16, ring.SLOT_UNKNOWN, np.int32)
    rows: list[npt.NDArray[np.int64]] = []
    for event in contents.formats.values():
        wanted = wanted_event(event.system, event.name)
        slot_of_id[event.id] = ring.SLOT_IGNORED if wanted is None else len(rows)
        if wanted is None:
            if event.system == PROBE_SYSTEM:
                warnings.append(f"no kind of event stands for the probe {event.full_name}, it is ignored")
            continue
        try:
            rows.append(_row(event, wanted, contents.path))
        except FormatError as error:
            raise BadInput(f"{contents.path}: the format of event {event.full_name}: {error}", CUT_HINT) from None
        if wanted.page and "page" in event.fields and not {*wanted.pfn, "vmemmap"} & event.fields.keys():
            warnings.append(f"event {event.full_name}: its page has no pfn because the probe lacks the field vmemmap")
    if not any(event.system == "kmem" and event.name.startswith("mm_page_") for event in contents.formats.values()):
        known = ", ".join(sorted({event.system for event in contents.formats.values()})[:8]) or "none"
        raise BadInput(
            f"{contents.path}: holds no kmem:mm_page_* events (its event systems: {known})",
            "Record with 'pagelab record', or 'trace-cmd record -e kmem:mm_page_alloc ...' and the other events.",
        )
    return slot_of_id, np.array(rows, np.int64).reshape(len(rows), ring.T_COLUMNS)


def _complain(contents: Contents, buffer: Buffer, report: npt.NDArray[np.int64]) -> BadInput:
    """What scan() found wrong, in a sentence."""
    error, index, byte, number = (int(value) for value in report)
    cpu = buffer.cpus[index]
    place = f"byte {byte}" if buffer.words is None else f"byte {byte - cpu.start} of the unpacked data"
    where = f"{contents.path}: CPU {cpu.cpu}: {place}"
    event = contents.formats[number].full_name if error >= ring.E_DATA_SHORT and number in contents.formats else "event"
    words = {
        ring.E_PAGE_SHORT: f"expected a sub-buffer of {buffer.page_size} bytes, but only {number} are left",
        ring.E_COMMIT: f"expected the length of a sub-buffer's data, found {number}, more than it can hold",
        ring.E_ENTRY: f"the event reaches {number} bytes past the end of its sub-buffer",
        ring.E_LENGTH: "expected the length of an event, found less than the length itself takes",
        ring.E_DATA_SHORT: f"{event} is shorter than its format says",
        ring.E_UNKNOWN: f"expected the number of an event, found {number}, for which the file has no format",
        ring.E_TIME: "the timestamp is beyond 63 bits",
        ring.E_ORDER: f"{event} has an order that no kernel has",
        ring.E_TYPE: f"{event} has a migratetype that no kernel has",
        ring.E_PFN: f"{event} has a pfn beyond 52 bits of physical address",
        ring.E_PAGE: f"{event} has a page that does not lie in vmemmap",
        ring.E_PACKED: f"{event} has a value that no kernel writes",
    }[error]
    hint = CUT_HINT
    if error == ring.E_UNKNOWN:
        hint = "The file is damaged, or events were switched on that 'trace-cmd record' was not told of with -e."
    return BadInput(f"{where}: {words}", hint)


def _head_losses(contents: Contents, buffer: Buffer, flagged: npt.NDArray[np.int64]) -> dict[int, int]:
    """Events that the statistics count as lost and no sub-buffer does, by CPU.

    Overwritten events that ``flagged`` sub-buffers told of are accounted for there.  Those that were dropped because
    the buffer was full, or within a nested commit, leave no mark: they may be missing anywhere.
    """
    index = {cpu.cpu: i for i, cpu in enumerate(buffer.cpus)}
    losses: dict[int, int] = {}
    for stats in contents.stats:
        if stats.instance != buffer.name:
            continue
        lost = stats.dropped + stats.commit_overrun
        if stats.cpu not in index or not flagged[index[stats.cpu]]:
            lost += stats.overrun
        if lost:
            losses[stats.cpu] = losses.get(stats.cpu, 0) + lost
    return losses


def _count_unknown(contents: Contents, buffer: Buffer, events: Events, losses: dict[int, int]) -> None:
    """Gives the one loss of a CPU that the kernel could not count the number that its statistics leave for it."""
    rows = np.flatnonzero(events.kind == Kind.LOST)
    for stats in contents.stats:
        own = rows[events.cpu[rows] == stats.cpu]
        unknown = own[events.arg[own] == -1]
        rest = stats.overrun + losses.get(stats.cpu, 0) - int(events.arg[own].sum()) - len(unknown)
        if stats.instance == buffer.name and len(unknown) == 1 and rest > 0:
            events.arg[unknown] = rest


def _marks(contents: Contents, buffer: Buffer, words: ring.Words, start: ring.Ints, size: ring.Ints) -> list[Mark]:
    """What the events ftrace:print say, as many as _MAX_MARKS."""
    event = next((event for event in contents.formats.values() if event.full_name == PRINT), None)
    try:
        if event is None or "buf" not in event.fields:
            return []
    except FormatError as error:
        raise BadInput(f"{contents.path}: the format of event {PRINT}: {error}", CUT_HINT) from None
    data = words.view(np.uint8)
    marks = []
    for time, cpu, byte, length in ring.places(words, start, size, buffer.page_size, event.id, _MAX_MARKS).tolist():
        if length:
            text = data[byte + event.fields["buf"].offset : byte + length].tobytes().split(b"\0", 1)[0]
            marks.append((time, buffer.cpus[cpu].cpu, text.decode(errors="backslashreplace").rstrip("\n")))
    return sorted(marks)


def read_trace_dat(path: Path) -> Trace:
    """Reads a trace.dat whole.

    :raises BadInput: it is cut, damaged, of another tracer or of another architecture; the sentence names the byte.
    """
    data = _map_file(path)
    contents = read_contents(data, path)
    warnings: list[str] = []
    buffer = _choose(contents, warnings)
    slot_of_id, table = _tables(contents, warnings)
    words = buffer.words if buffer.words is not None else np.frombuffer(data, "<u4", len(data) // 4)
    start = np.array([cpu.start for cpu in buffer.cpus], np.int64)
    # A cut word at the very end of the file cannot be read as a word: scan() then finds the sub-buffer too short.
    size = np.array([min(cpu.size, len(words) * 4 - cpu.start) for cpu in buffer.cpus], np.int64)
    report = np.zeros(4, np.int64)
    counts, flagged, times = ring.scan(words, start, size, buffer.page_size, slot_of_id, table, report)
    if report[0]:
        raise _complain(contents, buffer, report)
    if times[1]:
        warnings.append(f"the trace clock ran backwards {int(times[1])} times within a CPU's buffer")
    losses = _head_losses(contents, buffer, flagged)
    # A CPU of which nothing is left but its statistics takes part in the merge with an empty buffer.
    cpus = sorted({cpu.cpu for cpu in buffer.cpus} | losses.keys())
    places = {cpu.cpu: (int(start[i]), int(size[i])) for i, cpu in enumerate(buffer.cpus)}
    ids = np.flatnonzero(counts)
    rows = int(counts[ids][slot_of_id[ids] >= 0].sum()) + int(flagged.sum()) + len(losses)
    events = empty_events(rows)
    context_of = np.array([context_of_flags(flags) for flags in range(256)], np.uint8)
    written = ring.merge(
        words,
        np.array([places.get(cpu, (0, 0))[0] for cpu in cpus], np.int64),
        np.array([places.get(cpu, (0, 0))[1] for cpu in cpus], np.int64),
        np.array(cpus, np.int16),
        np.array([losses.get(cpu, 0) for cpu in cpus], np.int64),
        buffer.page_size,
        slot_of_id,
        table,
        max(int(times[0]), 0),
        context_of,
        *(getattr(events, f.name) for f in dataclass_fields(Events)),
    )
    assert written == rows, (written, rows)
    _count_unknown(contents, buffer, events, losses)
    ignored = {contents.formats[int(i)].full_name: int(counts[i]) for i in ids if slot_of_id[i] == ring.SLOT_IGNORED}
    return Trace(
        events,
        lost_of(events),
        buffer.clock or contents.clock,
        max([*cpus, -1]) + 1 if not contents.cpu_count else contents.cpu_count,
        ignored,
        _marks(contents, buffer, words, start, size) if PRINT in ignored else [],
        contents.uname,
        contents.cpu_count > 0,
        warnings,
    )
