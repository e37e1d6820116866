# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat to columns: every field, both versions, losses, merge, damage."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagelab.capture.events import Events, Kind
from pagelab.capture.trace import Trace
from pagelab.capture.trace_dat import read_trace_dat
from pagelab.errors import BadInput
from tests.capture import make
from tests.capture.make import Happened, Ring

DATA = Path(__file__).parents[1] / "data" / "capture"
VMEMMAP = 0xFFFFEA0000000000
ZONE = 0xFFFF88801F9D2200

Row = tuple[int, ...]


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def context(happened: Happened) -> int:
    flags = happened.flags
    bits = bool(flags & 8) | bool(flags & 16) << 1 | bool(flags & 64) << 2 | (flags & 1) << 3
    return bits | (happened.preempt & 15) << 4


def expected_row(happened: Happened) -> Row | None:
    """(time, cpu, pid, context, kind, order, migratetype, pfn, arg, arg2), written from the comments in events.py."""
    v = happened.values
    head = (happened.time, happened.cpu, happened.pid, context(happened))
    match happened.name:
        case "mm_page_alloc":
            tail = (Kind.MM_PAGE_ALLOC, v["order"], v["migratetype"], v["pfn"], v["gfp_flags"], 0)
        case "mm_page_alloc_zone_locked":
            kind = Kind.MM_PAGE_ALLOC_ZONE_LOCKED
            tail = (kind, v["order"], v["migratetype"], v["pfn"], v["percpu_refill"], 0)
        case "mm_page_free":
            tail = (Kind.MM_PAGE_FREE, v["order"], -1, v["pfn"], 0, 0)
        case "mm_page_free_batched":
            tail = (Kind.MM_PAGE_FREE_BATCHED, -1, -1, v["pfn"], 0, 0)
        case "mm_page_pcpu_drain":
            tail = (Kind.MM_PAGE_PCPU_DRAIN, v["order"], v["migratetype"], v["pfn"], 0, 0)
        case "mm_page_alloc_extfrag":
            arg = v["fallback_order"] | v["fallback_migratetype"] << 8 | v["change_ownership"] << 16
            tail = (Kind.MM_PAGE_ALLOC_EXTFRAG, v["alloc_order"], v["alloc_migratetype"], v["pfn"], arg, 0)
        case "test_pages_isolated":
            tail = (Kind.TEST_PAGES_ISOLATED, -1, -1, v["start_pfn"], v["end_pfn"], v["fin_pfn"])
        case "mm_vmscan_kswapd_wake":
            tail = (Kind.WAKE_KSWAPD, v["order"], -1, -1, v["nid"], 0)
        case "mm_compaction_begin":
            tail = (Kind.COMPACTION_BEGIN, -1, -1, v["zone_start"], 0, 0)
        case "zone_pcp_disable":
            tail = (Kind.ZONE_PCP_DISABLE, -1, -1, -1, 0, signed(v["zone"]))
        case "zone_pcp_disable_done":
            tail = (Kind.ZONE_PCP_DISABLE_DONE, -1, -1, -1, 0, 0)
        case "drain_all_pages":
            tail = (Kind.DRAIN_ALL_PAGES, -1, -1, -1, int(v["force"] != 0), signed(v["zone"]))
        case "move_freepages_block":
            pfn = (v["page"] - v["vmemmap"]) // 64
            tail = (Kind.MOVE_FREEPAGES_BLOCK, -1, v["migratetype"], pfn, 0, signed(v["zone"]))
        case "offline_pages_done":
            low = v["ret"] & 0xFFFFFFFF
            tail = (Kind.OFFLINE_PAGES_DONE, -1, -1, -1, low - (1 << 32) if low >> 31 else low, 0)
        case _:
            return None
    return *head, *map(int, tail)


def rows_of(events: Events) -> list[Row]:
    columns = {f.name: getattr(events, f.name).tolist() for f in fields(events)}
    names = ("time", "cpu", "pid", "context", "kind", "order", "migratetype", "pfn", "arg", "arg2")
    return list(zip(*(columns[name] for name in names), strict=True))


def merged(events: Sequence[Happened]) -> list[Row]:
    """What the columns must hold: by time, then CPU, a CPU's own in its order (sorted() is stable)."""
    rows = [expected_row(happened) for happened in events]
    return sorted((row for row in rows if row is not None), key=lambda row: row[:2])


pfns = st.integers(0, (1 << 36) - 1)
small = st.integers(0, 10)
pages = st.integers(0, 1 << 28)
FIELDS: dict[str, dict[str, st.SearchStrategy[int]]] = {
    "mm_page_alloc": {
        "pfn": st.one_of(pfns, st.just(-1)),
        "order": small,
        "gfp_flags": st.integers(0, (1 << 32) - 1),
        "migratetype": small,
    },
    "mm_page_alloc_zone_locked": {
        "pfn": pfns,
        "order": small,
        "migratetype": small,
        "percpu_refill": st.integers(0, 1),
    },
    "mm_page_free": {"pfn": pfns, "order": small},
    "mm_page_free_batched": {"pfn": pfns},
    "mm_page_pcpu_drain": {"pfn": pfns, "order": small, "migratetype": small},
    "mm_page_alloc_extfrag": {
        "pfn": pfns,
        "alloc_order": small,
        "fallback_order": small,
        "alloc_migratetype": small,
        "fallback_migratetype": small,
        "change_ownership": st.integers(0, 1),
    },
    "test_pages_isolated": {"start_pfn": pfns, "end_pfn": pfns, "fin_pfn": pfns},
    "mm_vmscan_kswapd_wake": {"nid": small, "zid": small, "order": small},
    "mm_compaction_begin": {"zone_start": pfns, "migrate_pfn": pfns},
    "zone_pcp_disable": {"zone": st.just(ZONE)},
    "zone_pcp_disable_done": {},
    "drain_all_pages": {"zone": st.sampled_from([0, ZONE]), "force": st.integers(0, 255)},
    "move_freepages_block": {
        "zone": st.just(ZONE),
        "page": pages.map(lambda pfn: VMEMMAP + 64 * pfn),
        "migratetype": small,
        "vmemmap": st.just(VMEMMAP),
    },
    "offline_pages_done": {"ret": st.sampled_from([0, 0xFFFFFFF0, (1 << 64) - 16, 0x12345678_00000005])},
    "kfree": {"call_site": st.just(0xFFFFFFFF81234567)},
    "sched_wakeup": {"prio": small},
}


@st.composite
def happenings(draw: st.DrawFn, cpus: int = 3, most: int = 60) -> list[Happened]:
    """Events of all CPUs, each CPU's in the order of its time; small gaps (ties) and large ones (time extends)."""
    events = []
    for cpu in range(cpus):
        time = draw(st.integers(0, 1 << 40))
        for _ in range(draw(st.integers(0, most // cpus))):
            time += draw(st.one_of(st.integers(0, 2), st.integers(0, 1 << 26), st.integers(1 << 27, 1 << 50)))
            name = draw(st.sampled_from(sorted(FIELDS)))
            values = {field: draw(strategy) for field, strategy in FIELDS[name].items()}
            pid = draw(st.integers(0, 1 << 22))
            events.append(Happened(time, cpu, name, values, pid, draw(st.integers(0, 255)), draw(st.integers(0, 255))))
    return events


WRITERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "v6": make.trace_dat_v6,
    "v7": make.trace_dat_v7,
    "v7-zstd": lambda buffers: make.trace_dat_v7(buffers, compression="zstd"),
    "v7-zlib": lambda buffers: make.trace_dat_v7(buffers, compression="zlib"),
}


def read(tmp_path: Path, data: bytes) -> Trace:
    path = tmp_path / "trace.dat"
    path.write_bytes(data)
    return read_trace_dat(path)


def bad(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, data)
    return str(caught.value)


def free(time: int, cpu: int, pfn: int = 100) -> Happened:
    return Happened(time, cpu, "mm_page_free", {"pfn": pfn, "order": 0})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(happenings(), st.sampled_from(sorted(WRITERS)))
def test_every_field_of_every_event(tmp_path: Path, events: list[Happened], writer: str) -> None:
    trace = read(tmp_path, WRITERS[writer](make.rings(events, 3)))
    assert rows_of(trace.events) == merged(events)
    assert trace.lost == []
    assert trace.warnings == []
    counts = {name: sum(event.name == name for event in events) for name in ("kfree", "sched_wakeup")}
    named = {"kmem:kfree": counts["kfree"], "sched:sched_wakeup": counts["sched_wakeup"]}
    assert trace.ignored == {name: count for name, count in named.items() if count}


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_what_the_file_says_of_itself(tmp_path: Path, writer: str) -> None:
    trace = read(tmp_path, WRITERS[writer](make.rings([free(5, 0), free(6, 2)], 4)))
    assert (trace.clock, trace.cpus, trace.all_cpus, trace.uname) == ("counter", 4, True, make.UNAME)


def test_many_events_fill_many_sub_buffers(tmp_path: Path) -> None:
    events = [free(3 * number + cpu, cpu, number) for cpu in range(2) for number in range(5000)]
    trace = read(tmp_path, make.trace_dat_v6(make.rings(events, 2)))
    assert rows_of(trace.events) == merged(events)
    assert trace.events.cpu[:4].tolist() == [0, 1, 0, 1]


def test_columns_are_as_narrow_as_promised(tmp_path: Path) -> None:
    events = read(tmp_path, make.trace_dat_v6(make.rings([free(5, 0)], 1))).events
    types = {f.name: str(getattr(events, f.name).dtype) for f in fields(events)}
    assert types == {
        "time": "int64",
        "cpu": "int16",
        "pid": "int32",
        "context": "uint8",
        "kind": "uint8",
        "order": "int8",
        "migratetype": "int8",
        "pfn": "int64",
        "arg": "int64",
        "arg2": "int64",
    }


def test_entries_of_all_encodings(tmp_path: Path) -> None:
    ring = Ring()
    ring.event(free(1000, 0, 1))
    ring.event(free(1001, 0, 2), long=True)
    ring.discarded(7)
    ring.event(free(2000, 0, 3), absolute=True)
    ring.event(free(2000 + (1 << 40), 0, 4))
    ring.end_page(null=True)
    ring.event(free(3000 + (1 << 40), 0, 5))
    events = read(tmp_path, make.trace_dat_v6([ring.bytes()])).events
    times = [1000, 1001, 2000, 2000 + (1 << 40), 3000 + (1 << 40)]
    assert events.time.tolist() == times
    assert events.pfn.tolist() == [1, 2, 3, 4, 5]


def test_absolute_stamp_takes_its_top_bits_from_the_stamp_before(tmp_path: Path) -> None:
    # rb_fix_abs_ts(): an absolute stamp has 59 bits; the second one has overflown them.
    base = 3 << 59
    ring = Ring()
    ring.event(free(base + (1 << 59) - 10, 0, 1))
    ring.event(free(base + (1 << 59) - 5, 0, 2), absolute=True)
    ring.event(free(base + (1 << 59) + 5, 0, 3), absolute=True)
    events = read(tmp_path, make.trace_dat_v6([ring.bytes()])).events
    assert (events.time - base - (1 << 59)).tolist() == [-10, -5, 5]


def test_equal_times_keep_each_cpus_order(tmp_path: Path) -> None:
    events = [free(7, cpu, 10 * cpu + number) for cpu in (0, 1, 2) for number in range(3)]
    trace = read(tmp_path, make.trace_dat_v6(make.rings(events, 3)))
    assert trace.events.pfn.tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_a_clock_that_runs_backwards_is_told_and_does_not_reorder_a_cpu(tmp_path: Path) -> None:
    first, second = Ring(), Ring()
    first.event(free(100, 0, 1))
    first.end_page()
    first.event(free(50, 0, 2))
    second.event(free(60, 1, 3))
    trace = read(tmp_path, make.trace_dat_v6([first.bytes(), second.bytes()]))
    assert trace.events.pfn.tolist() == [3, 1, 2]
    assert "backwards 1 times" in trace.warnings[0]


def test_loss_stands_behind_the_last_event_of_its_cpu(tmp_path: Path) -> None:
    first, second = Ring(), Ring()
    first.event(free(10, 0))
    first.lose(7)
    first.event(free(30, 0))
    for time in (5, 15, 40):
        second.event(free(time, 1))
    second.lose(-1)
    second.event(free(50, 1))
    trace = read(tmp_path, make.trace_dat_v6([first.bytes(), second.bytes()]))
    assert trace.lost == [(0, 10, 7), (1, 40, -1)]
    kinds = [(int(kind), int(time)) for kind, time in zip(trace.events.kind, trace.events.time, strict=True)]
    expected = [(3, 5), (3, 10), (0, 10), (3, 15), (3, 30), (3, 40), (0, 40), (3, 50)]
    assert kinds == expected
    row = trace.events[trace.events.kind == 0]
    assert rows_of(row)[0] == (10, 0, 0, 0, 0, -1, -1, -1, 7, 0)


def test_loss_before_the_first_event_stands_at_the_start_of_the_trace(tmp_path: Path) -> None:
    first, second = Ring(), Ring()
    first.event(free(10, 0))
    second.lose(3)
    second.event(free(30, 1))
    trace = read(tmp_path, make.trace_dat_v6([first.bytes(), second.bytes()], [make.stats(1, overrun=3)]))
    assert trace.lost == [(1, 10, 3)]


def test_statistics_fill_in_a_loss_that_was_not_counted(tmp_path: Path) -> None:
    ring = Ring()
    ring.event(free(10, 0))
    ring.lose(-1)
    ring.event(free(30, 0))
    trace = read(tmp_path, make.trace_dat_v6([ring.bytes()], [make.stats(0, overrun=12)]))
    assert trace.lost == [(0, 10, 12)]


def test_events_that_only_the_statistics_miss_may_be_missing_anywhere(tmp_path: Path) -> None:
    data = make.rings([free(10, 0), free(11, 1)], 3)
    counts = [make.stats(0, dropped_events=4), make.stats(1), make.stats(2, overrun=5, commit_overrun=1)]
    for writer in (make.trace_dat_v6, make.trace_dat_v7):
        trace = read(tmp_path, writer(data, counts))
        assert trace.lost == [(0, 10, 4), (2, 10, 6)]
        assert trace.events.kind.tolist() == [0, 3, 0, 3]


def test_a_lost_event_on_an_empty_sub_buffer_counts(tmp_path: Path) -> None:
    ring = Ring()
    ring.event(free(10, 0))
    ring.lose(9)
    ring.end_page()
    assert read(tmp_path, make.trace_dat_v6([ring.bytes()])).lost == [(0, 10, 9)]


def test_fields_that_an_older_kernel_lacks_are_minus_one(tmp_path: Path) -> None:
    old = make.Layout(
        "kmem",
        "mm_page_alloc_zone_locked",
        502,
        (("unsigned long", "pfn"), ("unsigned int", "order"), ("int", "migratetype")),
    )
    ring = Ring()
    ring.raw(5, old.data(0, 0, 1, pfn=9, order=0, migratetype=1))
    events = read(tmp_path, make.trace_dat_v6([ring.bytes()], layouts=[old])).events
    assert (events.pfn.tolist(), events.migratetype.tolist(), events.arg.tolist()) == ([9], [1], [-1])


def test_marks_are_read(tmp_path: Path) -> None:
    layout = make.Layout("ftrace", "print", 5, (("unsigned long", "ip"),))
    text = layout.text().replace("\n\nprint fmt", "\n\tfield:char buf[];\toffset:16;\tsize:0;\tsigned:1;\n\nprint fmt")
    ring = Ring()
    ring.event(free(5, 0))
    ring.raw(6, layout.data(0, 0, 1, ip=1) + b"pagelab: snapshot 01-online\n\0\0\0\0")
    data = make.trace_dat_v6([ring.bytes()], layouts=[*make.LAYOUTS.values(), layout])
    # The array of unknown length is what the hand-made layouts cannot say.
    longer = data.replace(layout.text().encode(), text.encode()).replace(
        struct.pack("<Q", len(layout.text())) + b"name: print", struct.pack("<Q", len(text)) + b"name: print"
    )
    shift = len(longer) - len(data)
    assert shift
    start = data.index(struct.pack("<QQ", data.index(ring.bytes()), len(ring.bytes())))
    place = data.index(ring.bytes())
    head = bytearray(longer[: place + shift].rstrip(b"\0")) + bytes(16)
    at = (len(head) + 4095) // 4096 * 4096
    head[start + shift : start + shift + 8] = struct.pack("<Q", at)
    trace = read(tmp_path, bytes(head).ljust(at, b"\0") + ring.bytes())
    assert trace.marks == [(6, 0, "pagelab: snapshot 01-online")]
    assert trace.ignored == {"ftrace:print": 1}


def test_real_capture_agrees_with_trace_cmd() -> None:
    """Sub-buffers of a real 6.1 kernel; the report was made by ``trace-cmd report -R`` 3.1.6 from the same file."""
    trace = read_trace_dat(DATA / "real-6.1.dat")
    rows = iter(rows_of(trace.events))
    line_of = re.compile(r" *<\.\.\.>-(\d+) +\[(\d+)\] +(\d+): (\w+): +(.*)$")
    compared = 0
    for line in gzip.decompress((DATA / "real-6.1.report.txt.gz").read_bytes()).decode().splitlines()[1:]:
        match = line_of.match(line)
        if match is None:
            assert re.match(r"CPU:\d \[\d+ EVENTS DROPPED\]", line), line
            continue
        pid, cpu, time, name, text = match.groups()
        shown = {key: int(value, 0) for key, value in re.findall(r"(\w+)=(0x[0-9a-f]+|-?\d+)(?= |$)", text)}
        row = next(rows)
        while row[4] == Kind.LOST:
            row = next(rows)
        assert row[:3] == (int(time), int(cpu), int(pid)), line
        kind = Kind(row[4])
        assert kind.name.lower() == name
        order, migratetype, pfn, arg, arg2 = row[5:]
        if kind == Kind.MOVE_FREEPAGES_BLOCK:
            shown["pfn"] = (shown["page"] - shown["vmemmap"]) // 64
        want = {
            "order": shown.get("order", -1),
            "migratetype": shown.get("migratetype", shown.get("pindex", -1)),
            "pfn": shown.get("pfn", shown.get("start_pfn", -1)),
        }
        assert {"order": order, "migratetype": migratetype, "pfn": pfn} == want, line
        args = [
            shown[key] for key in ("gfp_flags", "percpu_refill", "count", "end_pfn", "nr_pages", "ret") if key in shown
        ]
        if kind == Kind.DRAIN_ALL_PAGES:
            args = [shown["force_all_cpus"]]
        elif kind == Kind.DRAIN_PAGES_ZONE:
            args = [shown["cpu"]]
        elif kind == Kind.ZONE_SET_PAGESET:
            args, want["pfn"] = [shown["batch"]], shown["high"]
        assert arg == (args or [0])[0], line
        assert arg2 == signed(shown.get("zone", shown.get("fin_pfn", 0))), line
        compared += 1
    assert next(rows, None) is None
    assert compared > 300


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="compares with trace-cmd, which is not installed")
def test_trace_cmd_reads_the_hand_made_files_alike(tmp_path: Path) -> None:
    """So that the writer of the tests is no fiction: trace-cmd finds the same events in its files."""
    events = [free(1000 * number + cpu, cpu, number) for cpu in range(2) for number in range(300)]
    for name, data in (
        ("6", make.trace_dat_v6(make.rings(events, 2))),
        ("7", WRITERS["v7-zstd"](make.rings(events, 2))),
    ):
        path = tmp_path / f"{name}.dat"
        path.write_bytes(data)
        report = subprocess.run(["trace-cmd", "report", "-R", path], capture_output=True, text=True, check=True).stdout
        found = re.findall(r"\[(\d+)\] +(\d+): mm_page_free: +pfn=(0x[0-9a-f]+) order=0", report)
        rows = rows_of(read_trace_dat(path).events)
        assert [(int(time), int(cpu), int(pfn, 0)) for cpu, time, pfn in found] == [(r[0], r[1], r[7]) for r in rows]
        assert len(rows) == 600


# ---- what is not a trace.dat, or a broken one


def sample() -> list[bytes]:
    events = [free(10 * number + cpu, cpu, number) for cpu in range(2) for number in range(20)]
    return make.rings(events, 2)


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_cut_at_any_byte(tmp_path: Path, writer: str) -> None:
    data = WRITERS[writer](sample())
    path = tmp_path / "trace.dat"
    whole = len(read(tmp_path, data).events)
    assert whole == 40
    # Every byte of the header and of the end, every seventh of the rest.
    cuts = sorted({*range(120), *range(0, len(data), 7), *range(len(data) - 60, len(data))})
    for cut in reversed(cuts):
        os.truncate(path, cut)
        with pytest.raises(BadInput, match=r"trace\.dat") as caught:
            read_trace_dat(path)
        assert "byte" in str(caught.value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(WRITERS)), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), max_size=4))
def test_flipped_bytes_give_an_error_or_sound_columns(
    tmp_path: Path, writer: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(WRITERS[writer](sample()))
    for at, mask in flips:
        data[at % len(data)] ^= mask
    with contextlib.suppress(BadInput):
        check_sound(read(tmp_path, bytes(data)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 10))
def test_random_bytes(tmp_path: Path, data: bytes, keep: int) -> None:
    with pytest.raises(BadInput):
        read(tmp_path, make.trace_dat_v6([])[:keep] + data)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=100, max_size=4080), st.integers(0, 4080))
def test_random_sub_buffers(tmp_path: Path, data: bytes, commit: int) -> None:
    page = struct.pack("<QQ", 5, commit) + data.ljust(4080, b"\0")
    with contextlib.suppress(BadInput):
        check_sound(read(tmp_path, make.trace_dat_v6([page])))


def check_sound(trace: Trace) -> None:
    events = trace.events
    assert len({len(getattr(events, f.name)) for f in fields(events)}) == 1
    known = {int(kind) for kind in Kind}
    assert set(events.kind.tolist()) <= known
    assert not len(events) or (events.order.min() >= -1 and events.migratetype.min() >= -1 and events.pfn.min() >= -1)
    if not any("backwards" in warning for warning in trace.warnings):
        assert bool(np.all(np.diff(events.time) >= 0))


def test_other_files(tmp_path: Path) -> None:
    assert "an empty file" in bad(tmp_path, b"")
    assert "a perf.data file" in bad(tmp_path, b"PERFILE2" + bytes(100))
    assert "a gzip file" in bad(tmp_path, gzip.compress(b"hello"))
    assert "ftrace's trace file" in bad(tmp_path, b"# tracer: nop\n")
    assert "some text" in bad(tmp_path, b"hello world\n" * 9)
    with pytest.raises(BadInput, match="no such file"):
        read_trace_dat(tmp_path / "nothing.dat")
    with pytest.raises(BadInput, match="is a directory"):
        read_trace_dat(tmp_path)


def test_other_versions_and_machines(tmp_path: Path) -> None:
    data = make.trace_dat_v6(sample())
    assert "found '9'" in bad(tmp_path, data.replace(b"tracing6", b"tracing9"))
    assert "big-endian" in bad(tmp_path, data[:12] + b"\x01" + data[13:])
    narrow = make.HEADER_PAGE.replace("commit;\toffset:8;\tsize:8", "commit;\toffset:8;\tsize:4")
    assert "64-bit" in bad(tmp_path, data.replace(make.HEADER_PAGE.encode(), narrow.encode()))
    assert "type_len" in bad(tmp_path, data.replace(b"type_len    :    5 bits", b"type_len    :    6 bits"))


def test_latency_trace_is_named(tmp_path: Path) -> None:
    assert "latency tracer" in bad(tmp_path, make.trace_dat_v6(sample()).replace(b"flyrecord\0", b"latency  \0"))


def test_trace_without_kmem_events_names_what_it_has(tmp_path: Path) -> None:
    message = bad(tmp_path, make.trace_dat_v6([b""], layouts=[make.LAYOUTS["sched_wakeup"]]))
    assert "no kmem:mm_page_* events (its event systems: ftrace, sched)" in message


def test_an_event_without_format_is_named(tmp_path: Path) -> None:
    ring = Ring()
    ring.raw(5, struct.pack("<HBBiQ", 4242, 0, 0, 1, 2))
    assert "found 4242, for which the file has no format" in bad(tmp_path, make.trace_dat_v6([ring.bytes()]))


@pytest.mark.parametrize(
    ("happened", "words"),
    [
        (Happened(5, 0, "mm_page_free", {"pfn": 1, "order": 200}), "order that no kernel has"),
        (Happened(5, 0, "mm_page_free", {"pfn": 1 << 50, "order": 0}), "beyond 52 bits"),
        (Happened(5, 0, "mm_page_pcpu_drain", {"pfn": 1, "order": 0, "migratetype": -9}), "migratetype that no"),
        (
            Happened(
                5, 0, "move_freepages_block", {"zone": 1, "page": VMEMMAP + 7, "migratetype": 1, "vmemmap": VMEMMAP}
            ),
            "not lie in vmemmap",
        ),
    ],
)
def test_values_that_no_kernel_writes(tmp_path: Path, happened: Happened, words: str) -> None:
    message = bad(tmp_path, make.trace_dat_v6(make.rings([happened], 1)))
    assert words in message
    assert "CPU 0: byte" in message


def test_huge_lengths_are_refused_at_once(tmp_path: Path) -> None:
    data = make.trace_dat_v6(sample())
    huge = struct.pack("<Q", 1 << 62)
    at = data.index(b"header_page\0") + 12
    assert "header_page" in bad(tmp_path, data[:at] + huge + data[at + 8 :])
    at = data.index(b"flyrecord\0") + 18
    assert f"{1 << 62} bytes of data of CPU 0" in bad(tmp_path, data[:at] + huge + data[at + 8 :])
    at = data.index(b"kmem\0") + 5
    assert "number of events of the system 'kmem'" in bad(tmp_path, data[:at] + b"\xff" * 4 + data[at + 4 :])


def test_overlapping_data_of_two_cpus(tmp_path: Path) -> None:
    data = make.trace_dat_v6(sample())
    at = data.index(b"flyrecord\0") + 10
    assert "overlap" in bad(tmp_path, data[: at + 16] + data[at : at + 16] + data[at + 32 :])


def test_a_bomb_does_not_unpack(tmp_path: Path) -> None:
    data = make.trace_dat_v7(sample(), compression="zlib")
    packed = data.index(struct.pack("<I", 4096), data.index(b"zlib\0") + 200)
    small = data[:packed] + struct.pack("<I", 100) + data[packed + 4 :]
    assert "more than the 100 bytes it announces" in bad(tmp_path, small)


def test_unknown_compression(tmp_path: Path) -> None:
    assert "compressed with 'lzma'" in bad(tmp_path, make.trace_dat_v7(sample()).replace(b"none\0", b"lzma\0"))
