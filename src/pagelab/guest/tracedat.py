# SPDX-License-Identifier: GPL-2.0-or-later
"""Write trace.dat, version 6 (trace-cmd.dat.v6(5)), from the raw ring buffers and the formats of tracefs.

trace-cmd could do it in the guest, but always compresses first, which under emulation takes longer than booting and
working together; and it would bring the formats of 1,700 events along, where a capture holds some thirty.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pagelab.errors import GuestFailed

_PAGE = 4096
_OPTION_CPUSTAT, _OPTION_TRACECLOCK, _OPTION_UNAME, _OPTION_CPUCOUNT, _OPTION_VERSION = 2, 4, 5, 8, 9


def write_trace_dat(path: Path, tracing: Path, raw: Path, uname: str) -> None:
    """Write the file.

    :param tracing: copies of tracefs files under their own names: events/header_page, events/SYSTEM/EVENT/format,
        printk_formats, saved_cmdlines, trace_clock, per_cpu/cpu0/stats.
    :param raw: what each CPU's trace_pipe_raw gave, in files named 0, 1, ...
    :param uname: what ``uname -a`` said.
    :raises GuestFailed: a file is missing or no whole number of pages.
    """
    buffers = sorted(raw.iterdir(), key=lambda file: int(file.name)) if raw.is_dir() else []
    for number, buffer in enumerate(buffers):
        if buffer.name != str(number) or buffer.stat().st_size % _PAGE:
            raise GuestFailed(f"the guest's trace of CPU {buffer.name} is not whole", "record again")
    if not buffers:
        raise GuestFailed("the guest left no trace", "record again")
    clock = _read(tracing / "trace_clock")
    with path.open("wb") as out:
        # magic, version, little endian, size of long, page size
        out.write(b"\x17\x08\x44tracing6\0\0\x08" + struct.pack("<I", _PAGE))
        for name in ("header_page", "header_event"):
            out.write(name.encode() + b"\0" + _sized("<Q", _read(tracing / "events" / name)))
        _write_formats(out, tracing / "events")
        out.write(_sized("<I", b""))  # kallsyms: the capture has them in a file of their own
        out.write(_sized("<I", _read(tracing / "printk_formats")))
        out.write(_sized("<Q", _read(tracing / "saved_cmdlines")))
        out.write(struct.pack("<I", len(buffers)))
        out.write(b"options  \0")
        _write_option(out, _OPTION_TRACECLOCK, clock + b"\0")
        _write_option(out, _OPTION_UNAME, " ".join([*uname.split()[:3], "x86_64"]).encode() + b"\0")
        _write_option(out, _OPTION_VERSION, b"pagelab\0")
        _write_option(out, _OPTION_CPUCOUNT, struct.pack("<I", len(buffers)))
        for buffer in buffers:
            # Readers learn from these of events that were dropped because the buffer was full: the pages do not tell.
            stats = _read(tracing / "per_cpu" / f"cpu{buffer.name}" / "stats")
            _write_option(out, _OPTION_CPUSTAT, f"CPU: {buffer.name}\n".encode() + stats + b"\0")
        out.write(struct.pack("<H", 0))
        out.write(b"flyrecord\0")
        _write_buffers(out, buffers, _sized("<Q", clock))


def _write_formats(out: BinaryIO, events: Path) -> None:
    """The formats of ftrace's own events, then of the others by system."""
    own = sorted(events.glob("ftrace/*/format"))
    out.write(struct.pack("<I", len(own)))
    for file in own:
        out.write(_sized("<Q", _read(file)))
    systems = sorted(path for path in events.iterdir() if path.is_dir() and path.name != "ftrace")
    out.write(struct.pack("<I", len(systems)))
    for system in systems:
        files = sorted(system.glob("*/format"))
        out.write(system.name.encode() + b"\0" + struct.pack("<I", len(files)))
        for file in files:
            out.write(_sized("<Q", _read(file)))


def _write_option(out: BinaryIO, number: int, data: bytes) -> None:
    out.write(struct.pack("<HI", number, len(data)) + data)


def _write_buffers(out: BinaryIO, buffers: Sequence[Path], clock: bytes) -> None:
    """The table of (offset, size), the clock, and the pages of each CPU from a page boundary on."""
    at = _aligned(out.tell() + 16 * len(buffers) + len(clock))
    for buffer in buffers:
        size = buffer.stat().st_size
        out.write(struct.pack("<QQ", at, size))
        at += size
    out.write(clock)
    out.write(bytes(_aligned(out.tell()) - out.tell()))
    for buffer in buffers:
        with buffer.open("rb") as pages:
            shutil.copyfileobj(pages, out, 1 << 20)


def _aligned(position: int) -> int:
    return -(-position // _PAGE) * _PAGE


def _sized(size: str, data: bytes) -> bytes:
    return struct.pack(size, len(data)) + data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GuestFailed(f"the guest left no {path.name}", "record again") from error
