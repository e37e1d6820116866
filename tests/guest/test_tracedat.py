# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written is read back by the project's own reader, which was made from trace-cmd's files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pagelab.capture.events import Kind
from pagelab.capture.trace_dat import read_trace_dat
from pagelab.errors import GuestFailed
from pagelab.guest.tracedat import write_trace_dat

UNAME = "Linux (none) 6.1.0-test #1 SMP Debian x86_64 GNU/Linux"
HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;
"""
HEADER_EVENT = """\
# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
FORMAT = """\
name: mm_page_free
ID: 500
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;

print fmt: "pfn=0x%lx order=%d", REC->pfn, REC->order
"""


def page(time: int, *frees: tuple[int, int]) -> bytes:
    """A sub-buffer of mm_page_free events (pfn, order), one tick apart."""
    data = b""
    for pfn, order in frees:
        data += struct.pack("<I", 5 | 1 << 5) + struct.pack("<HBBiQI", 500, 0, 0, 42, pfn, order)
    return (struct.pack("<QQ", time, len(data)) + data).ljust(4096, b"\0")


def guest_files(tmp_path: Path, cpus: int = 2, dropped: int = 0) -> tuple[Path, Path]:
    tracing, raw = tmp_path / "tracing", tmp_path / "raw"
    raw.mkdir()
    files = {
        "events/header_page": HEADER_PAGE,
        "events/header_event": HEADER_EVENT,
        "events/kmem/mm_page_free/format": FORMAT,
        "trace_clock": "local [counter] global\n",
        "printk_formats": "",
        "saved_cmdlines": "42 work\n",
    }
    for cpu in range(cpus):
        files[f"per_cpu/cpu{cpu}/stats"] = f"entries: 2\noverrun: 0\ncommit overrun: 0\ndropped events: {dropped}\n"
        (raw / str(cpu)).write_bytes(page(100 + 10 * cpu, (0x100000 + cpu, 0), (0x100400, 9)))
    for name, text in files.items():
        (tracing / name).parent.mkdir(parents=True, exist_ok=True)
        (tracing / name).write_text(text, "ascii")
    return tracing, raw


def test_events_of_all_cpus_are_read_back(tmp_path: Path) -> None:
    tracing, raw = guest_files(tmp_path)
    write_trace_dat(tmp_path / "trace.dat", tracing, raw, UNAME)
    trace = read_trace_dat(tmp_path / "trace.dat")
    assert (trace.clock, trace.cpus, trace.lost) == ("counter", 2, [])
    assert trace.uname == "Linux (none) 6.1.0-test x86_64"
    events = trace.events
    assert events.kind.tolist() == [Kind.MM_PAGE_FREE] * 4
    assert events.time.tolist() == [101, 102, 111, 112]
    assert events.cpu.tolist() == [0, 0, 1, 1]
    assert events.pfn.tolist() == [0x100000, 0x100400, 0x100001, 0x100400]
    assert events.order.tolist() == [0, 9, 0, 9]
    assert events.pid.tolist() == [42] * 4


def test_dropped_events_are_told_to_readers(tmp_path: Path) -> None:
    tracing, raw = guest_files(tmp_path, cpus=1, dropped=5)
    write_trace_dat(tmp_path / "trace.dat", tracing, raw, UNAME)
    assert sum(count for _, _, count in read_trace_dat(tmp_path / "trace.dat").lost) == 5


def test_more_than_ten_cpus_keep_their_numbers(tmp_path: Path) -> None:
    tracing, raw = guest_files(tmp_path, cpus=12)
    write_trace_dat(tmp_path / "trace.dat", tracing, raw, UNAME)
    events = read_trace_dat(tmp_path / "trace.dat").events
    first = zip(events.pfn.tolist()[::2], events.cpu.tolist()[::2], strict=True)
    assert list(first) == [(0x100000 + cpu, cpu) for cpu in range(12)]


@pytest.mark.parametrize("gone", ["trace_clock", "events/header_page", "saved_cmdlines", "per_cpu/cpu0/stats"])
def test_missing_file_is_named(tmp_path: Path, gone: str) -> None:
    tracing, raw = guest_files(tmp_path)
    (tracing / gone).unlink()
    with pytest.raises(GuestFailed, match=gone.rpartition("/")[2]):
        write_trace_dat(tmp_path / "trace.dat", tracing, raw, UNAME)


def test_cut_or_missing_buffers_are_told(tmp_path: Path) -> None:
    tracing, raw = guest_files(tmp_path)
    (raw / "1").write_bytes(b"x" * 100)
    with pytest.raises(GuestFailed, match="CPU 1 is not whole"):
        write_trace_dat(tmp_path / "trace.dat", tracing, raw, UNAME)
    with pytest.raises(GuestFailed, match="no trace"):
        write_trace_dat(tmp_path / "trace.dat", tracing, tmp_path / "none", UNAME)
