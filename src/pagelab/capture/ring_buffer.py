# SPDX-License-Identifier: GPL-2.0-or-later
"""Sub-buffers of ftrace's ring buffer, walked and merged by native code.

A CPU's data are sub-buffers of ``page_size`` bytes: a 64-bit timestamp, a commit word (length, and two flags for lost
events), then entries.  An entry begins with a 32-bit word: 5 bits of type or length, 27 bits of time since the entry
before.  See kernel/trace/ring_buffer.c and include/linux/ring_buffer.h: ``rb_event_length()``,
``rb_event_time_stamp()``, ``rb_fix_abs_ts()``, ``ring_buffer_read_page()``.

The walk is done twice: :func:`scan` checks every length and value and counts rows, then :func:`merge` writes the rows
of all CPUs in the order of time, straight into the final columns, so that no second copy and no sort is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from pagelab.capture.wanted import MAX_PFN, MAX_SMALL, STRUCT_PAGE_LRU, STRUCT_PAGE_SIZE

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _native(function: _Function) -> _Function:
    """``numba.njit`` with the types that numba itself does not state; compiled code is kept beside the source."""
    return cast(_Function, numba.njit(cache=True)(function))


Words = npt.NDArray[np.uint32]
#: An integer: Python's here, int64 in native code.
Int = Any
Ints = npt.NDArray[np.int64]

PAGE_HEADER: Final = 16
MISSED_EVENTS: Final = 1 << 31
MISSED_STORED: Final = 1 << 30
_LENGTH_MASK: Final = MISSED_STORED - 1

TYPE_PADDING: Final = 29
TYPE_TIME_EXTEND: Final = 30
TYPE_TIME_STAMP: Final = 31
_TS_SHIFT: Final = 27
# The five bits that an absolute timestamp lacks; the topmost is the sign here, and refused.
_TS_MSB: Final = 0x78 << 56

# common_type, common_flags, common_preempt_count, common_pid
COMMON_SIZE: Final = 8

# What slot_of_id holds for an event that is not wanted, and for a number without format.
SLOT_IGNORED: Final = -1
SLOT_UNKNOWN: Final = -2

# Columns of the table of wanted events.  Each field has F_COLUMNS of them from its T_ number on.  They are made so that
# one formula without a branch reads fields of all sizes, see _value(): branches on the kind are mispredicted.
T_KIND: Final = 0
T_NEED: Final = 1  # bytes of data that the fields reach to
T_SPECIAL: Final = 2
T_PFN: Final = 3
T_ORDER: Final = 8
T_TYPE: Final = 13
T_ARG: Final = 18
T_ARG2: Final = 23
T_PAGE: Final = 28
T_VMEMMAP: Final = 33
T_PACK1: Final = 38
T_PACK2: Final = 43
T_COLUMNS: Final = 48

F_OFFSET: Final = 0  # in bytes
F_LEFT: Final = 1  # shift to the left ...
F_RIGHT: Final = 2  # ... then to the right, with the sign
F_MASK: Final = 3  # 0 if the event has no such field
F_DEFAULT: Final = 4
F_COLUMNS: Final = 5

# Bits of T_SPECIAL.
SPECIAL_PAGE: Final = 1
SPECIAL_PACKED: Final = 2
SPECIAL_BOOL: Final = 4

# Why scan() stopped.
OK: Final = 0
E_PAGE_SHORT: Final = 1
E_COMMIT: Final = 2
E_ENTRY: Final = 3
E_LENGTH: Final = 4
E_DATA_SHORT: Final = 5
E_UNKNOWN: Final = 6
E_TIME: Final = 7
E_ORDER: Final = 8
E_TYPE: Final = 9
E_PFN: Final = 10
E_PAGE: Final = 11
E_PACKED: Final = 12

# Columns of a CPU's cursor.
_C_PAGE: Final = 0  # byte of the sub-buffer
_C_POS: Final = 1  # byte of the next entry
_C_END: Final = 2  # byte after the last entry
_C_TS: Final = 3
_C_NEXT_TIME: Final = 4
_C_NEXT_SLOT: Final = 5
_C_NEXT_DATA: Final = 6  # byte of the event's data; for LOST: the count
_C_HEAD_LOSS: Final = 7
_C_COLUMNS: Final = 8

_SLOT_LOST: Final = -3
_SLOT_END: Final = -4


@_native
def _u64(words: Words, byte: Int) -> Int:
    at = byte >> 2
    return np.int64(words[at]) | (np.int64(words[at + 1]) << 32)


@_native
def _value(words: Words, data: Int, table: Ints, slot: Int, field: Int) -> Int:
    """A field of the event whose data begin at byte ``data``."""
    at = (data + table[slot, field + F_OFFSET]) >> 2
    value = np.int64(words[at]) | (np.int64(words[min(at + 1, len(words) - 1)]) << 32)
    value = (value << table[slot, field + F_LEFT]) >> table[slot, field + F_RIGHT]
    return (value & table[slot, field + F_MASK]) | table[slot, field + F_DEFAULT]


@_native
def _check_values(words: Words, data: Int, table: Ints, slot: Int) -> Int:
    """Refuses values that no kernel can have written and that would not survive the narrow columns."""
    order = _value(words, data, table, slot, T_ORDER)
    if order < -1 or order > MAX_SMALL:
        return E_ORDER
    migratetype = _value(words, data, table, slot, T_TYPE)
    if migratetype < -1 or migratetype > MAX_SMALL:
        return E_TYPE
    pfn = _value(words, data, table, slot, T_PFN)
    special = table[slot, T_SPECIAL]
    if special & SPECIAL_PAGE:
        page = _value(words, data, table, slot, T_PAGE)
        if page != 0:
            page -= _value(words, data, table, slot, T_VMEMMAP)
            if page < 0 or page % STRUCT_PAGE_SIZE not in (0, STRUCT_PAGE_LRU):
                return E_PAGE
            pfn = page // STRUCT_PAGE_SIZE
    if pfn < -1 or pfn >= MAX_PFN:
        return E_PFN
    if special & SPECIAL_PACKED:
        fallback_order = _value(words, data, table, slot, T_ARG)
        fallback_type = _value(words, data, table, slot, T_PACK1)
        change = _value(words, data, table, slot, T_PACK2)
        if min(fallback_order, fallback_type, change) < -1 or max(fallback_order, fallback_type, change) > MAX_SMALL:
            return E_PACKED
    return OK


@_native
def _entry(words: Words, pos: Int, end: Int) -> tuple[Int, Int, Int, Int]:
    """One entry at byte ``pos``: (error, next byte, byte of the data or -1, bytes of data)."""
    word = np.int64(words[pos >> 2])
    length = word & 31
    if length == TYPE_PADDING and word >> 5 == 0:
        return OK, end, -1, 0  # nothing follows in this sub-buffer
    if length != 0 and length < TYPE_PADDING:
        after = pos + 4 + length * 4
        if after > end:
            return E_ENTRY, after, -1, 0
        return OK, after, pos + 4, length * 4
    if pos + 8 > end:
        return E_ENTRY, pos + 8, -1, 0
    if length >= TYPE_TIME_EXTEND:
        return OK, pos + 8, -1, 0
    size = np.int64(words[(pos >> 2) + 1])
    if length == 0 and size < 4:
        return E_LENGTH, pos + 8, -1, 0
    after = pos + 4 + ((size + 3) & ~np.int64(3))
    if after > end:
        return E_ENTRY, after, -1, 0
    if length == TYPE_PADDING:
        return OK, after, -1, 0  # an event that was discarded
    return OK, after, pos + 8, size - 4


@_native
def _time_of(words: Words, pos: Int, ts: Int) -> Int:
    """The time of the entry at ``pos`` if the one before it had ``ts``."""
    word = np.int64(words[pos >> 2])
    length = word & 31
    delta = word >> 5
    if length < TYPE_TIME_EXTEND:
        return ts + delta
    delta += np.int64(words[(pos >> 2) + 1]) << _TS_SHIFT
    if length == TYPE_TIME_EXTEND:
        return ts + delta
    if ts & _TS_MSB:
        delta |= ts & _TS_MSB
        if delta < ts:
            delta += np.int64(1) << 59
    return delta


@_native
def _missed(words: Words, page: Int, length: Int, available: Int) -> Int:
    """Events lost before this sub-buffer: 0, their number, or -1 if the kernel had no room to note it."""
    commit = np.int64(words[(page + 8) >> 2])
    if not commit & MISSED_EVENTS:
        return np.int64(0)
    at = PAGE_HEADER + length
    if commit & MISSED_STORED and at + 8 <= available and at % 4 == 0:
        count = _u64(words, page + at)
        if count > 0:
            return count
    return np.int64(-1)


@_native
def scan(
    words: Words, start: Ints, size: Ints, page_size: Int, slot_of_id: npt.NDArray[np.int32], table: Ints, report: Ints
) -> tuple[Ints, Ints, Ints]:
    """Checks the sub-buffers of all CPUs and counts what they hold.

    :param start, size: bytes, one a CPU; the data lie in ``words``.
    :param report: written when something is wrong: [error, CPU's index, byte, number].
    :returns: (events by their number, rows of LOST by CPU, [first time, entries whose time ran backwards]).
    """
    counts = np.zeros(1 << 16, np.int64)
    losses = np.zeros(len(start), np.int64)
    times = np.zeros(2, np.int64)
    times[0] = -1
    report[0] = OK
    for cpu in range(len(start)):
        last = np.int64(-1)
        page = start[cpu]
        stop = start[cpu] + size[cpu]
        while page < stop:
            available = min(np.int64(page_size), stop - page)
            report[1], report[2] = cpu, page
            if available < PAGE_HEADER:
                report[0], report[3] = E_PAGE_SHORT, available
                return counts, losses, times
            ts = _u64(words, page)
            length = np.int64(words[(page + 8) >> 2]) & _LENGTH_MASK
            if ts < 0:
                report[0] = E_TIME
                return counts, losses, times
            if length > available - PAGE_HEADER:
                report[0], report[2], report[3] = E_COMMIT, page + 8, length
                return counts, losses, times
            if _missed(words, page, length, available):
                losses[cpu] += 1
            pos = page + PAGE_HEADER
            end = pos + (length & ~np.int64(3))
            while pos < end:
                error, after, data, data_size = _entry(words, pos, end)
                report[2] = pos
                if error:
                    report[0], report[3] = error, after - end
                    return counts, losses, times
                ts = _time_of(words, pos, ts)
                if ts < 0:
                    report[0] = E_TIME
                    return counts, losses, times
                if data >= 0:
                    if data_size < COMMON_SIZE:
                        report[0], report[3] = E_DATA_SHORT, -1
                        return counts, losses, times
                    number = np.int64(words[data >> 2]) & 0xFFFF
                    report[2], report[3] = data, number
                    slot = slot_of_id[number]
                    if slot == SLOT_UNKNOWN:
                        report[0] = E_UNKNOWN
                        return counts, losses, times
                    if slot >= 0:
                        if data_size < table[slot, T_NEED]:
                            report[0] = E_DATA_SHORT
                            return counts, losses, times
                        report[0] = _check_values(words, data, table, slot)
                        if report[0]:
                            return counts, losses, times
                    if times[0] < 0 or ts < times[0]:
                        times[0] = ts
                    if ts < last:
                        times[1] += 1
                    last = ts
                    counts[number] += 1
                pos = after
            page += page_size
    return counts, losses, times


@_native
def places(words: Words, start: Ints, size: Ints, page_size: Int, number: Int, count: Int) -> Ints:
    """Where events of that number lie, at most ``count``: [time, CPU's index, byte of the data, bytes of data] each."""
    found = np.zeros((count, 4), np.int64)
    line = 0
    for cpu in range(len(start)):
        page = start[cpu]
        while page < start[cpu] + size[cpu]:
            ts = _u64(words, page)
            pos = page + PAGE_HEADER
            end = pos + (np.int64(words[(page + 8) >> 2]) & _LENGTH_MASK & ~np.int64(3))
            while pos < end:
                _, after, data, data_size = _entry(words, pos, end)
                ts = _time_of(words, pos, ts)
                if data >= 0 and np.int64(words[data >> 2]) & 0xFFFF == number and line < count:
                    found[line, 0], found[line, 1], found[line, 2], found[line, 3] = ts, cpu, data, data_size
                    line += 1
                pos = after
            page += page_size
    return found


@_native
def _open_page(words: Words, cursors: Ints, cpu: Int, stop: Int, page_size: Int, floor: Int) -> bool:
    """Goes to the sub-buffer at ``cursors[cpu, _C_PAGE]``; true if events were lost before it (then they are next)."""
    page = cursors[cpu, _C_PAGE]
    available = min(np.int64(page_size), stop - page)
    length = np.int64(words[(page + 8) >> 2]) & _LENGTH_MASK
    missed = _missed(words, page, length, available)
    if missed:
        # They were lost after the CPU's last event: the earliest moment at which one of them can have happened.
        cursors[cpu, _C_NEXT_TIME] = cursors[cpu, _C_TS] if cursors[cpu, _C_TS] >= 0 else floor
        cursors[cpu, _C_NEXT_SLOT] = _SLOT_LOST
        cursors[cpu, _C_NEXT_DATA] = missed
    cursors[cpu, _C_POS] = page + PAGE_HEADER
    cursors[cpu, _C_END] = cursors[cpu, _C_POS] + (length & ~np.int64(3))
    if length:
        cursors[cpu, _C_TS] = _u64(words, page)
    cursors[cpu, _C_PAGE] = page + page_size
    return bool(missed)


@_native
def _advance(
    words: Words, cursors: Ints, cpu: Int, stop: Int, page_size: Int, slot_of_id: npt.NDArray[np.int32], floor: Int
) -> None:
    """Finds the CPU's next row and notes it in the cursor."""
    if cursors[cpu, _C_HEAD_LOSS]:
        cursors[cpu, _C_NEXT_TIME] = floor
        cursors[cpu, _C_NEXT_SLOT] = _SLOT_LOST
        cursors[cpu, _C_NEXT_DATA] = cursors[cpu, _C_HEAD_LOSS]
        cursors[cpu, _C_HEAD_LOSS] = 0
        return
    while True:
        while cursors[cpu, _C_POS] < cursors[cpu, _C_END]:
            pos = cursors[cpu, _C_POS]
            _, after, data, _ = _entry(words, pos, cursors[cpu, _C_END])
            cursors[cpu, _C_POS] = after
            cursors[cpu, _C_TS] = _time_of(words, pos, cursors[cpu, _C_TS])
            if data >= 0:
                slot = slot_of_id[np.int64(words[data >> 2]) & 0xFFFF]
                if slot >= 0:
                    cursors[cpu, _C_NEXT_TIME] = cursors[cpu, _C_TS]
                    cursors[cpu, _C_NEXT_SLOT] = slot
                    cursors[cpu, _C_NEXT_DATA] = data
                    return
        if cursors[cpu, _C_PAGE] >= stop:
            cursors[cpu, _C_NEXT_SLOT] = _SLOT_END
            return
        if _open_page(words, cursors, cpu, stop, page_size, floor):
            return


@_native
def _sift(heap: Ints, used: Int, cursors: Ints) -> None:
    """Moves the root of the heap of CPU indices down to its place; ordered by (time of the next row, index)."""
    at = 0
    cpu = heap[0]
    time = cursors[cpu, _C_NEXT_TIME]
    while True:
        child = 2 * at + 1
        if child >= used:
            break
        best = heap[child]
        if child + 1 < used:
            other = heap[child + 1]
            if cursors[other, _C_NEXT_TIME] < cursors[best, _C_NEXT_TIME] or (
                cursors[other, _C_NEXT_TIME] == cursors[best, _C_NEXT_TIME] and other < best
            ):
                child += 1
                best = other
        if cursors[best, _C_NEXT_TIME] > time or (cursors[best, _C_NEXT_TIME] == time and best > cpu):
            break
        heap[at] = best
        at = child
    heap[at] = cpu


@_native
def merge(
    words: Words,
    start: Ints,
    size: Ints,
    cpus: npt.NDArray[np.int16],
    head_losses: Ints,
    page_size: Int,
    slot_of_id: npt.NDArray[np.int32],
    table: Ints,
    floor: Int,
    context_of: npt.NDArray[np.uint8],
    out_time: Ints,
    out_cpu: npt.NDArray[np.int16],
    out_pid: npt.NDArray[np.int32],
    out_context: npt.NDArray[np.uint8],
    out_kind: npt.NDArray[np.uint8],
    out_order: npt.NDArray[np.int8],
    out_type: npt.NDArray[np.int8],
    out_pfn: Ints,
    out_arg: Ints,
    out_arg2: Ints,
) -> Int:
    """Writes all rows by (time, CPU), each CPU's own in its own order, and returns how many.

    Only for data that :func:`scan` found sound.

    :param cpus: numbers of the CPUs, ascending.
    :param head_losses: events lost somewhere on a CPU: a count, 0 or -1; they stand before the CPU's first row.
    :param floor: the earliest time of the trace.
    :param context_of: the ``context`` bits for each value of ``common_flags``.
    """
    count = len(start)
    cursors = np.zeros((count, _C_COLUMNS), np.int64)
    heap = np.zeros(count, np.int64)
    used = 0
    for cpu in range(count):
        cursors[cpu, _C_PAGE] = start[cpu]
        cursors[cpu, _C_TS] = -1
        cursors[cpu, _C_HEAD_LOSS] = head_losses[cpu]
        _advance(words, cursors, cpu, start[cpu] + size[cpu], page_size, slot_of_id, floor)
    # Sorted by insertion (there are few CPUs), which makes a heap.
    for cpu in range(count):
        if cursors[cpu, _C_NEXT_SLOT] == _SLOT_END:
            continue
        at = used
        while at > 0 and cursors[heap[at - 1], _C_NEXT_TIME] > cursors[cpu, _C_NEXT_TIME]:
            heap[at] = heap[at - 1]
            at -= 1
        heap[at] = cpu
        used += 1
    row = 0
    while used:
        cpu = heap[0]
        slot = cursors[cpu, _C_NEXT_SLOT]
        data = cursors[cpu, _C_NEXT_DATA]
        out_time[row] = cursors[cpu, _C_NEXT_TIME]
        out_cpu[row] = cpus[cpu]
        if slot == _SLOT_LOST:
            out_pid[row] = 0
            out_context[row] = 0
            out_kind[row] = 0
            out_order[row] = -1
            out_type[row] = -1
            out_pfn[row] = -1
            out_arg[row] = data
            out_arg2[row] = 0
        else:
            common = np.int64(words[data >> 2])
            out_pid[row] = np.int32(words[(data >> 2) + 1])
            out_context[row] = context_of[(common >> 16) & 0xFF] | (((common >> 24) & 15) << 4)
            out_kind[row] = table[slot, T_KIND]
            out_order[row] = _value(words, data, table, slot, T_ORDER)
            out_type[row] = _value(words, data, table, slot, T_TYPE)
            out_pfn[row] = _value(words, data, table, slot, T_PFN)
            out_arg[row] = _value(words, data, table, slot, T_ARG)
            out_arg2[row] = _value(words, data, table, slot, T_ARG2)
            special = table[slot, T_SPECIAL]
            if special & SPECIAL_PAGE:
                page = _value(words, data, table, slot, T_PAGE)
                if page != 0:
                    page -= _value(words, data, table, slot, T_VMEMMAP)
                    out_pfn[row] = page // STRUCT_PAGE_SIZE
            if special & SPECIAL_PACKED:
                fallback_type = _value(words, data, table, slot, T_PACK1)
                change = _value(words, data, table, slot, T_PACK2)
                out_arg[row] = (out_arg[row] & 0xFF) | ((fallback_type & 0xFF) << 8) | ((change & 0xFF) << 16)
            if special & SPECIAL_BOOL:
                out_arg[row] = out_arg[row] != 0
        row += 1
        _advance(words, cursors, cpu, start[cpu] + size[cpu], page_size, slot_of_id, floor)
        if cursors[cpu, _C_NEXT_SLOT] == _SLOT_END:
            used -= 1
            heap[0] = heap[used]
        if used > 1:
            _sift(heap, used, cursors)
    return row
