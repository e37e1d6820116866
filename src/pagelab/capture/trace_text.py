# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of ftrace's ``trace`` file, plain or gzipped, to columns.

Lines are written by ``trace_print_context()`` and ``trace_print_lat_fmt()`` of kernel/trace/trace_output.c, the header
by ``print_event_info()``, lost events by ``print_trace_line()`` of kernel/trace/trace.c.  All kernels write
``comm-pid [cpu] flags time: event: key=value ...``; they differ in how many characters the flags have and in whether
a pfn is decimal.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from pagelab.capture.events import (
    CONTEXT_HARDIRQ,
    CONTEXT_IRQS_OFF,
    CONTEXT_NMI,
    CONTEXT_PREEMPT_SHIFT,
    CONTEXT_SOFTIRQ,
    Events,
    Kind,
)
from pagelab.capture.files import looks_like, read_head, reason
from pagelab.capture.trace import Lost, Mark, Trace, empty_events, lost_of
from pagelab.capture.wanted import (
    BY_NAME,
    COMPACTION,
    COMPACTION_PREFIX,
    MAX_PFN,
    MAX_SMALL,
    PACKED_FIELDS,
    STRUCT_PAGE_LRU,
    STRUCT_PAGE_SIZE,
    TRACEPOINTS,
    Wanted,
)
from pagelab.errors import BadInput

_CHUNK: Final = 1 << 20
#: ftrace builds a line in a buffer of one page; with a comm of 16 bytes none is longer.
_MAX_LINE: Final = 1 << 16
_HINT: Final = "Copy /sys/kernel/tracing/trace whole, with the tracer 'nop' and without the options raw, hex, bin."
_CUT: Final = "The file was cut short; copy it again."

_CONTEXT = re.compile(
    rb"(?:.{16}|[^-]{1,15})-(\d{1,10}) +(?:\([ \d-]{1,10}\) +)?\[(\d{1,5})\] "
    rb"(?:(\S{4,7}) +| *)(\d{1,18})(?:\.(\d{6}))?: "
)
_EVENT = re.compile(rb"(\w+): ?")
_FIELD = re.compile(rb"(\w+)=(\S+)")
_LOST = re.compile(rb"CPU:(\d{1,5}) \[LOST (?:(\d{1,18}) )?EVENTS\]$")
_ENTRIES = re.compile(rb"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18}) +#P:(\d{1,5})")

_HARD_SOFT: Final = {
    ord("."): 0,
    ord("s"): CONTEXT_SOFTIRQ,
    ord("h"): CONTEXT_HARDIRQ,
    ord("H"): CONTEXT_HARDIRQ | CONTEXT_SOFTIRQ,
    ord("z"): CONTEXT_NMI,
    ord("Z"): CONTEXT_NMI | CONTEXT_HARDIRQ,
}
#: Fields that a tracepoint's line may lack.
_OPTIONAL: Final = frozenset({"percpu_refill", "gfp_flags", "nid"})
#: The one that is printed as words.
_WORDS: Final = frozenset({b"gfp_flags"})
_PFN: Final = 2
_ARG: Final = 3
_TRACEPOINT_KINDS: Final = frozenset(wanted.kind for wanted in TRACEPOINTS.values())
_ROW_FIELDS: Final = tuple(f.name for f in dataclass_fields(Events))


def _lines(path: Path) -> Iterator[list[bytes]]:
    """The lines of the file in portions, without their newlines.

    :raises BadInput: it cannot be read, a line has no end, the gzip stream is broken.
    """
    rest = b""
    number = 1
    total = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total += len(chunk)
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                number += len(lines)
                if len(rest) > _MAX_LINE:
                    kind = looks_like((lines[0] if lines else rest)[:64])
                    raise BadInput(f"{path}: line {number} has no end within {_MAX_LINE} bytes; it is {kind}", _HINT)
                yield lines
    except EOFError:
        raise BadInput(f"{path}: byte {total} (unpacked): the gzip stream ends without its end mark", _CUT) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        kind = looks_like(read_head(path))
        raise BadInput(f"{path}: not a whole gzip file ({error}); it begins like {kind}", _CUT) from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason(error)})") from None
    if not total:
        raise BadInput(f"{path}: the file is empty", _HINT)
    if rest:
        raise BadInput(f"{path}: line {number} (byte {total}): expected a newline, but the file ends", _CUT)


def context_of_characters(flags: bytes) -> int | None:
    """The ``context`` column for the characters that ftrace prints, such as ``d.h2.``; ``None`` if they are none.

    In turn: irqs off, need-resched, hardirq or softirq, preempt depth, then migrate-disable where the kernel has it.
    """
    if flags[0] not in b".dDbX" or flags[2] not in _HARD_SOFT or flags[3] not in b".123456789abcdef":
        return None
    depth = 0 if flags[3] == ord(".") else int(flags[3:4], 16)
    return (CONTEXT_IRQS_OFF if flags[0] in b"dD" else 0) | _HARD_SOFT[flags[2]] | depth << CONTEXT_PREEMPT_SHIFT


class _Plan:
    """Which fields of an event's text fill which of [order, migratetype, pfn, arg, arg2]."""

    def __init__(self, wanted: Wanted) -> None:
        is_tracepoint = wanted.kind in _TRACEPOINT_KINDS
        columns = (wanted.order, wanted.migratetype, wanted.pfn, () if wanted.packed else wanted.arg, wanted.arg2)
        self.columns = [
            (column, tuple(name.encode() for name in names), is_tracepoint and not _OPTIONAL.intersection(names))
            for column, names in enumerate(columns)
            if names
        ]
        self.arg = -1 if wanted.arg else 0
        self.arg2 = -1 if wanted.arg2 else 0
        self.special = bool(wanted.kind == Kind.MM_PAGE_ALLOC or wanted.packed or wanted.page or wanted.arg_cast)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0  # of the line
        self.rows: list[tuple[int, ...]] = []
        self.parts: list[npt.NDArray[np.int64]] = []
        self.before = 0  # rows in parts
        self.seen = 0  # lines that stand for an entry of the ring buffer
        self.announced = self.written = self.cpus = 0
        self.decimal: bool | None = None
        self.first_time = 0
        self.last: dict[int, tuple[int, int]] = {}  # by CPU: rows up to and with its last event, time of that
        self.lost: list[tuple[int, Lost]] = []  # rows before it
        self.marks: list[Mark] = []
        self.ignored: dict[str, int] = {}
        self.contexts: dict[bytes, int] = {}
        self.plans: dict[str, _Plan] = {}
        self.warnings: list[str] = []

    def fail(self, message: str, hint: str = _HINT) -> NoReturn:
        raise BadInput(f"{self.path}: line {self.number}: {message}", hint)

    def read(self) -> None:
        for lines in _lines(self.path):
            for line in lines:
                self.number += 1
                match = _CONTEXT.match(line)
                if match is not None:
                    self.event(line, match)
                else:
                    self.other(line)
            if self.rows:
                self.parts.append(np.array(self.rows, np.int64))
                self.before += len(self.rows)
                self.rows = []

    def other(self, line: bytes) -> None:
        """A line that is no event: header, comment, lost events, a line of a stack trace."""
        if line.startswith(b"#"):
            if line.startswith(b"# tracer: ") and line[10:].strip() != b"nop":
                tracer = line[10:50].strip().decode(errors="backslashreplace")
                self.fail(f"a trace of the tracer {tracer!r}, expected that of 'nop' with kmem events")
            if match := _ENTRIES.match(line):
                self.announced += int(match[1])
                self.written += int(match[2])
                self.cpus = max(self.cpus, int(match[3]))
        elif match := _LOST.match(line):
            cpu = int(match[1])
            rows, time = self.last.get(cpu, (0, -1))
            self.lost.append((rows, (cpu, time, int(match[2]) if match[2] else -1)))
        elif line and not line.startswith(b" => "):
            text = line[:60].decode(errors="backslashreplace")
            self.fail(f"expected an event as ftrace prints it, found {text!r}, which is {looks_like(line[:64])}")

    def event(self, line: bytes, match: re.Match[bytes]) -> None:
        pid, cpu_text, flags, whole, fraction = match.groups()
        self.seen += 1
        if self.decimal is None:
            self.decimal = fraction is not None
        elif self.decimal != (fraction is not None):
            self.fail("the timestamp has another form than those before it")
        time = int(whole) * 1_000_000_000 + int(fraction) * 1000 if fraction else int(whole)
        cpu = int(cpu_text)
        if time >= 1 << 63 or cpu > 0x7FFF or int(pid) >= 1 << 31:
            self.fail("the timestamp, the CPU or the pid is larger than any")
        if self.seen == 1:
            self.first_time = time
        context = self.contexts.get(flags or b"")
        if context is None:
            context = self.context(flags)
        name_match = _EVENT.match(line, match.end())
        if name_match is None:
            self.nameless(line[match.end() :])
        else:
            name = name_match[1].decode()
            wanted = BY_NAME.get(name)
            if wanted is None and name.startswith(COMPACTION_PREFIX):
                wanted = COMPACTION
            if wanted is None:
                self.ignored[name] = self.ignored.get(name, 0) + 1
                if name == "tracing_mark_write":
                    self.marks.append((time, cpu, line[name_match.end() :].decode(errors="backslashreplace")))
            else:
                fields = dict(_FIELD.findall(line, name_match.end()))
                self.rows.append((time, cpu, int(pid), context, wanted.kind, *self.values(name, wanted, fields)))
        self.last[cpu] = (self.before + len(self.rows), time)

    def context(self, flags: bytes | None) -> int:
        context = 0
        if flags is None:
            self.warnings.append(
                "the lines have no flags (option noirq-info): which events interrupts made is not known"
            )
        else:
            known = context_of_characters(flags)
            if known is None:
                self.fail(f"expected flags such as 'd..2.', found {flags.decode(errors='backslashreplace')!r}")
            context = known
        self.contexts[flags or b""] = context
        return context

    def nameless(self, text: bytes) -> None:
        """An entry whose text does not begin with a name: a stack trace, or a line of another tracer."""
        if text.startswith((b"<stack trace>", b"<user stack trace>")):
            self.ignored["<stack trace>"] = self.ignored.get("<stack trace>", 0) + 1
            return
        words = text[:40].decode(errors="backslashreplace")
        self.fail(f"expected an event's name, found {words!r}; is it a trace of another tracer?")

    def values(self, name: str, wanted: Wanted, fields: dict[bytes, bytes]) -> list[int]:
        """[order, migratetype, pfn, arg, arg2] of an event's text."""
        plan = self.plans.get(name)
        if plan is None:
            plan = self.plans[name] = _Plan(wanted)
        values = [-1, -1, -1, plan.arg, plan.arg2]
        for column, keys, required in plan.columns:
            values[column] = self.number_of(name, keys, required, fields)
        if plan.special:
            self.special(name, wanted, fields, values)
        order, migratetype, pfn = values[:3]
        if not (-1 <= order <= MAX_SMALL and -1 <= migratetype <= MAX_SMALL):
            self.fail(f"{name}: order {order} or migratetype {migratetype} is none that a kernel has")
        if not -1 <= pfn < MAX_PFN:
            self.fail(f"{name}: pfn {pfn:#x} is beyond 52 bits of physical address")
        return values

    def number_of(self, name: str, keys: tuple[bytes, ...], required: bool, fields: dict[bytes, bytes]) -> int:
        """The first of the fields that the line has, as a 64-bit number; -1 if it has none and needs none."""
        for key in keys:
            text = fields.get(key)
            if text is None:
                continue
            try:
                value = int(text, 0)
            except ValueError:
                if key in _WORDS:
                    return -1
                shown = text[:40].decode(errors="backslashreplace")
                self.fail(f"{name}: expected a number as {key.decode()!r}, found {shown!r}")
            if value >= 1 << 64 or value < -(1 << 63):
                self.fail(f"{name}: {key.decode()!r} is beyond 64 bits")
            return value - (1 << 64) if value >= 1 << 63 else value
        if required:
            self.fail(f"{name}: expected {b' or '.join(keys).decode()}=, which the line lacks", _CUT)
        return -1

    def special(self, name: str, wanted: Wanted, fields: dict[bytes, bytes], values: list[int]) -> None:
        """What is not just copied from a field to its column."""
        if wanted.kind == Kind.MM_PAGE_ALLOC and values[_PFN] == 0:
            values[_PFN] = -1  # a failed allocation is stored as pfn -1 and printed as 0, which is never allocated
        elif wanted.packed:
            parts = [self.number_of(name, (part.encode(),), True, fields) for part in PACKED_FIELDS]
            if not all(-1 <= part <= MAX_SMALL for part in parts):
                self.fail(f"{name}: has a value that no kernel writes")
            values[_ARG] = (parts[0] & 0xFF) | (parts[1] & 0xFF) << 8 | (parts[2] & 0xFF) << 16
        elif wanted.page and values[_PFN] == -1 and b"page" in fields and b"vmemmap" in fields:
            page = self.number_of(name, (b"page",), True, fields)
            if page != 0:
                page -= self.number_of(name, (b"vmemmap",), True, fields)
                if page < 0 or page % STRUCT_PAGE_SIZE not in (0, STRUCT_PAGE_LRU):
                    self.fail(f"{name}: the page does not lie in vmemmap")
                values[_PFN] = page // STRUCT_PAGE_SIZE
        if wanted.arg_cast == "int" and wanted.arg:
            values[_ARG] = ((values[_ARG] & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
        elif wanted.arg_cast == "bool":
            values[_ARG] = int(values[_ARG] & 0xFF != 0)

    def trace(self) -> Trace:
        """Everything that was read, in the order of time.

        :raises BadInput: lines are missing, or no event is one that pagelab reads.
        """
        known = sum(count for _, (_, _, count) in self.lost if count > 0)
        if self.seen + known < self.announced:
            self.fail(f"expected {self.announced} events as the header says, but the file ends after {self.seen}", _CUT)
        if self.seen and not self.before:
            names = ", ".join(sorted(self.ignored)[:5])
            self.fail(f"the trace holds none of the events that pagelab reads (it has: {names})")
        if not self.seen and not self.announced and self.number and not self.cpus:
            self.warnings.append("the trace has neither events nor the header that ftrace writes")
        overwritten = self.written - self.announced - known
        if overwritten > 0:
            self.lost.append((0, (-1, -1, overwritten)))
        rows = np.concatenate(self.parts) if self.parts else np.empty((0, len(_ROW_FIELDS)), np.int64)
        self.parts = []
        if self.lost:
            rows = self.insert_lost(rows)
        if np.any(np.diff(rows[:, 0]) < 0):
            rows = self.sort(rows)
        events = empty_events(len(rows))
        for column, field in enumerate(_ROW_FIELDS):
            getattr(events, field)[:] = rows[:, column]
        cpus = max(self.cpus, int(rows[:, 1].max()) + 1 if len(rows) else 0)
        return Trace(events, lost_of(events), "", cpus, self.ignored, self.marks, "", self.cpus > 0, self.warnings)

    def insert_lost(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Puts each LOST row behind the last event that its CPU had before, the earliest moment of the loss."""
        ordered = sorted(self.lost, key=lambda item: item[0])
        new = [
            (self.first_time if time < 0 else time, cpu, 0, 0, Kind.LOST, -1, -1, -1, count, 0)
            for _, (cpu, time, count) in ordered
        ]
        return np.insert(rows, [at for at, _ in ordered], np.array(new, np.int64), axis=0)

    def sort(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """By (time, CPU), each CPU's lines in the order they had in the file."""
        self.warnings.append("the lines are not in the order of time, they were sorted (times are rounded to 1 us)")
        backwards = 0
        key = rows[:, 0].copy()
        for cpu in np.unique(rows[:, 1]):
            own = rows[:, 1] == cpu
            backwards += int((np.diff(key[own]) < 0).sum())
            key[own] = np.maximum.accumulate(key[own])
        if backwards:
            self.warnings.append(f"the trace clock ran backwards {backwards} times within a CPU's lines")
        return rows[np.lexsort((rows[:, 1], key))]


def read_trace_text(path: Path) -> Trace:
    """Reads a text trace whole; ``path`` may end in ``.gz``.  Times are ns, or what a clock without a point counts.

    :raises BadInput: it is cut, of another tracer, or no trace; the sentence names the line.
    """
    reader = _Reader(path)
    reader.read()
    return reader.trace()
