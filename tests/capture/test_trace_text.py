# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of ftrace to columns, as kernels of all eras print it."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagelab.capture.events import CONTEXT_NMI, CONTEXT_SOFTIRQ, Kind
from pagelab.capture.trace import Trace
from pagelab.capture.trace_text import context_of_characters, read_trace_text
from pagelab.capture.wanted import context_of_flags
from pagelab.errors import BadInput
from tests.capture import make
from tests.capture.make import Happened
from tests.capture.test_trace_dat import Row, check_sound, expected_row, free, happenings, rows_of

HEAD = "# tracer: nop\n#\n"

# As the kernels print them: 6.1 with probes, 5.10 (decimal pfn, four characters of flags), 5.4 with record-tgid.
KERNEL_6_1 = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 9/9   #P:2
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
           <...>-1       [000] .....    10.155440: tracing_mark_write: pagelab: online 32
           <...>-1       [000] .....    10.156431: mm_page_alloc: page=00000000c5bac89e pfn=0x1138d order=0 \
migratetype=0 gfp_flags=GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY
##### CPU 1 buffer started ####
           <...>-212     [001] .....    10.180470: online_pages: (online_pages+0x0/0x2d0) pfn=0x100000 nr_pages=0x8000 \
zone=0xffff88801f9d2200 group=0xffff88801fa5d680
           <...>-212     [001] d..1.    10.185828: move_freepages_block: (move_freepages_block+0x0/0x250) \
zone=0xffff88801f9d2200 page=0xffffea0004000000 migratetype=1 vmemmap=0xffffea0000000000
           <...>-212     [001] d..1.    10.186112: move_freepages_block_done: (unset_migratetype_isolate+0x94/0x1a0 <- \
move_freepages_block) ret=1024
  my-cmd 9 [001]-7       [001] DNH31    10.186113: mm_page_pcpu_drain: page=0000000009e40d98 pfn=0x10240e order=3 \
migratetype=1
           <...>-212     [001] d..1.    10.186114: offline_pages_done: (memory_subsys_offline+0x1/0x2 <- \
offline_pages) ret=-16
           <...>-212     [001] .....    10.186115: mm_page_alloc: page=0000000000000000 pfn=0x0 order=9 migratetype=1 \
gfp_flags=GFP_TRANSHUGE
           <...>-212     [001] .....    10.186115: <stack trace>
 => __alloc_pages
 => vma_alloc_folio
"""
KERNEL_5_10 = """\
# tracer: nop
#
           <...>-2213    [003] d.s2   118.000001: mm_page_alloc_zone_locked: page=00000000abcdef01 pfn=4711 order=0 \
migratetype=2 percpu_refill=1
          <idle>-0       [003] d.h2   118.000002: mm_page_free_batched: page=00000000abcdef01 pfn=4711 order=0
         kswapd0-77      [002] ....   118.000003: mm_vmscan_kswapd_sleep: nid=0
      kcompactd0-78      [002] ....   118.000004: mm_compaction_begin: zone_start=0x1 migrate_pfn=0x2 free_pfn=0x3 \
zone_end=0x4, mode=sync
"""
KERNEL_5_4 = """\
            bash-911   (    911) [001] d..3  1234.567890: mm_page_alloc_extfrag: page=00000000abcdef01 pfn=512 \
alloc_order=0 fallback_order=9 pageblock_order=9 alloc_migratetype=1 fallback_migratetype=0 \
fragmenting=0 change_ownership=1
"""


def read(tmp_path: Path, text: str | bytes, name: str = "trace.txt") -> Trace:
    data = text.encode() if isinstance(text, str) else text
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_trace_text(path)


def bad(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    return str(caught.value)


@pytest.mark.parametrize("name", ["trace.txt", "trace.txt.gz"])
def test_lines_of_6_1(tmp_path: Path, name: str) -> None:
    trace = read(tmp_path, KERNEL_6_1, name)
    zone = 0xFFFF88801F9D2200 - (1 << 64)
    assert rows_of(trace.events) == [
        (10156431000, 0, 1, 0, Kind.MM_PAGE_ALLOC, 0, 0, 0x1138D, -1, 0),
        (10180470000, 1, 212, 0, Kind.ONLINE_PAGES, -1, -1, 0x100000, 0x8000, zone),
        (10185828000, 1, 212, 0x18, Kind.MOVE_FREEPAGES_BLOCK, -1, 1, 0x100000, 0, zone),
        (10186112000, 1, 212, 0x18, Kind.MOVE_FREEPAGES_BLOCK_DONE, -1, -1, -1, 1024, 0),
        (10186113000, 1, 7, 0x3B, Kind.MM_PAGE_PCPU_DRAIN, 3, 1, 0x10240E, 0, 0),
        (10186114000, 1, 212, 0x18, Kind.OFFLINE_PAGES_DONE, -1, -1, -1, -16, 0),
        (10186115000, 1, 212, 0, Kind.MM_PAGE_ALLOC, 9, 1, -1, -1, 0),
    ]
    assert trace.marks == [(10155440000, 0, "pagelab: online 32")]
    assert trace.ignored == {"tracing_mark_write": 1, "<stack trace>": 1}
    assert (trace.lost, trace.warnings, trace.clock, trace.cpus, trace.all_cpus) == ([], [], "", 2, True)


def test_lines_of_5_10(tmp_path: Path) -> None:
    trace = read(tmp_path, KERNEL_5_10)
    assert rows_of(trace.events) == [
        (118000001000, 3, 2213, 0x2A, Kind.MM_PAGE_ALLOC_ZONE_LOCKED, 0, 2, 4711, 1, 0),
        (118000002000, 3, 0, 0x29, Kind.MM_PAGE_FREE_BATCHED, -1, -1, 4711, 0, 0),
        (118000003000, 2, 77, 0, Kind.KSWAPD_SLEEP, -1, -1, -1, 0, 0),
        (118000004000, 2, 78, 0, Kind.COMPACTION_BEGIN, -1, -1, 1, 0, 0),
    ]
    assert (trace.cpus, trace.all_cpus) == (4, False)


def test_line_with_tgid(tmp_path: Path) -> None:
    rows = rows_of(read(tmp_path, KERNEL_5_4).events)
    assert rows == [(1234567890000, 1, 911, 0x38, Kind.MM_PAGE_ALLOC_EXTFRAG, 0, 1, 512, 9 | 1 << 16, 0)]


def test_line_without_flags_is_read_and_told(tmp_path: Path) -> None:
    trace = read(tmp_path, "            bash-911     [001]  1234.567890: mm_page_free: page=1 pfn=512 order=0\n")
    assert rows_of(trace.events)[0][3] == 0
    assert "noirq-info" in trace.warnings[0]


def shown_context(context: int) -> int:
    """ftrace prints one character for the three: an NMI hides whether it came in a softirq."""
    return context & ~CONTEXT_SOFTIRQ if context & CONTEXT_NMI else context


def text_row(happened: Happened, *, decimal: bool) -> Row | None:
    """The row, with what the text does not say."""
    row = expected_row(happened)
    if row is None:
        return None
    values = list(row)
    values[3] = shown_context(values[3])
    if decimal:
        values[0] = values[0] // 1000 * 1000
    if row[4] == Kind.MM_PAGE_ALLOC:
        values[8] = -1
        if row[7] == 0:
            values[7] = -1
    return tuple(values)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(happenings(), st.booleans())
def test_every_field_of_every_event(tmp_path: Path, events: list[Happened], decimal: bool) -> None:
    events = sorted(events, key=lambda happened: (happened.time, happened.cpu))
    rows = [text_row(happened, decimal=decimal) for happened in events]
    wanted = [row for row in rows if row is not None]
    text = make.trace_text(events, 3, decimal=decimal)
    if events and not wanted:
        assert "none of the events" in bad(tmp_path, text)
        return
    trace = read(tmp_path, text)
    assert rows_of(trace.events) == wanted
    assert trace.warnings == []


def test_all_flags_mean_the_same_in_text_and_in_binary() -> None:
    for flags in range(256):
        line = make.text_line(Happened(0, 0, "mm_page_free", {"pfn": 1, "order": 0}, flags=flags)).encode()
        assert context_of_characters(line.split(b"] ")[1][:5]) == shown_context(context_of_flags(flags))
    assert context_of_characters(b"..?.") is None


def test_lines_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    # As if two per_cpu/cpuN/trace files had been put together; CPU 0's clock ran backwards.
    events = [free(10, 0, 1), free(30, 0, 2), free(20, 0, 3), free(5, 1, 4), free(30, 1, 5), free(40, 1, 6)]
    trace = read(tmp_path, HEAD + "".join(make.text_line(happened) for happened in events))
    assert trace.events.pfn.tolist() == [4, 1, 2, 3, 5, 6]
    assert "not in the order of time" in trace.warnings[0]
    assert "ran backwards 1 times" in trace.warnings[1]


def test_equal_times_keep_the_order_of_the_lines(tmp_path: Path) -> None:
    events = [free(10, 1, 1), free(10, 0, 2), free(10, 1, 3)]
    assert read(tmp_path, make.trace_text(events, 2)).events.pfn.tolist() == [1, 2, 3]


def test_lost_events(tmp_path: Path) -> None:
    lines = [make.text_line(free(time, cpu)) for time, cpu in ((10, 0), (11, 1), (12, 1), (20, 0))]
    lines.insert(3, "CPU:0 [LOST 7 EVENTS]\n")
    lines.append("CPU:1 [LOST EVENTS]\n")
    trace = read(tmp_path, make.TEXT_HEADER.format(count=4, written=4, cpus=2) + "".join(lines))
    assert trace.lost == [(0, 10, 7), (1, 12, -1)]
    assert trace.events.kind.tolist() == [3, 0, 3, 3, 0, 3]


def test_loss_of_a_cpu_without_events_stands_at_the_start(tmp_path: Path) -> None:
    trace = read(tmp_path, HEAD + make.text_line(free(10, 0)) + "CPU:3 [LOST 2 EVENTS]\n")
    assert trace.lost == [(3, 10, 2)]


def test_overwritten_events_are_known_from_the_header(tmp_path: Path) -> None:
    trace = read(tmp_path, make.trace_text([free(10, 0), free(11, 1)], 2, written=9))
    assert trace.lost == [(-1, 10, 7)]
    assert trace.events.kind.tolist() == [0, 3, 3]


def test_a_trace_without_events_is_one(tmp_path: Path) -> None:
    trace = read(tmp_path, make.trace_text([], 2))
    assert (len(trace.events), trace.cpus, trace.warnings) == (0, 2, [])
    assert "neither events nor the header" in read(tmp_path, "#\n").warnings[0]


# ---- what is no trace, or a broken one


def test_cut_at_any_byte(tmp_path: Path) -> None:
    data = make.trace_text([free(number, 0, number) for number in range(6)], 1).encode()
    head = data.index(b"\n", data.index(b"entries-in-buffer")) + 1
    assert len(read(tmp_path, data).events) == 6
    for cut in range(len(data)):
        path = tmp_path / "trace.txt"
        path.write_bytes(data[:cut])
        if cut < head and data[:cut].endswith(b"\n"):
            # Only comments, no event and nothing that says how many there were.
            assert len(read_trace_text(path).events) == 0
            continue
        with pytest.raises(BadInput):
            read_trace_text(path)


def test_cut_gzip(tmp_path: Path) -> None:
    data = gzip.compress(make.trace_text([free(number, 0, number) for number in range(50)], 1).encode())
    path = tmp_path / "trace.txt.gz"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(BadInput, match=r"trace\.txt\.gz"):
            read_trace_text(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=5))
def test_changed_bytes_give_an_error_or_sound_columns(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray((KERNEL_6_1 + KERNEL_5_10).encode())
    for at, byte in changes:
        data[at % len(data)] = byte
    with contextlib.suppress(BadInput):
        check_sound(read(tmp_path, bytes(data)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    with contextlib.suppress(BadInput):
        assert len(read(tmp_path, data).events) == 0


def test_other_tracers(tmp_path: Path) -> None:
    assert "tracer 'function'" in bad(tmp_path, "# tracer: function\n#\n")
    line = "            bash-911     [001] d..1.  1234.567890: mutex_unlock <-rb_simple_write\n"
    assert "line 1: expected an event's name, found 'mutex_unlock <-rb_simple_write'" in bad(tmp_path, line)
    graph = " 0)   0.541 us    |  mutex_unlock();\n"
    assert "line 2: expected an event as ftrace prints it" in bad(tmp_path, "#\n" + graph)
    other = "            bash-911     [001] d..1.  1234.567890: sched_wakeup: comm=a pid=1 prio=120 target_cpu=0\n"
    assert "none of the events that pagelab reads (it has: sched_wakeup)" in bad(tmp_path, other)


def test_other_files(tmp_path: Path) -> None:
    assert "the file is empty" in bad(tmp_path, "")
    assert "line 1" in bad(tmp_path, "hello world\n")
    assert "a perf.data file" in bad(tmp_path, b"PERFILE2\n" + bytes(200) + b"\n")
    assert "no end within" in bad(tmp_path, bytes(3 << 20))
    path = tmp_path / "trace.txt.gz"
    path.write_bytes(b"# tracer: nop\n")
    with pytest.raises(BadInput, match=r"not a whole gzip file .* begins like the text of ftrace's trace file"):
        read_trace_text(path)
    path.write_bytes(gzip.compress(b"BM\n" + bytes(100) + b"\n"))
    with pytest.raises(BadInput, match="line 1"):
        read_trace_text(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("pfn=0x10240e", "pfn=0x1024_", "expected a number as 'pfn'"),
        ("pfn=0x10240e ", "", "expected pfn=, which the line lacks"),
        ("pfn=0x10240e", "pfn=0x1ffffffffffffffff", "beyond 64 bits"),
        ("pfn=0x10240e", "pfn=0xffffffffffff", "beyond 52 bits"),
        ("order=3", "order=333", "none that a kernel has"),
        ("page=0xffffea0004000000", "page=0xffffea0004000007", "not lie in vmemmap"),
        ("DNH31", "?????", "expected flags"),
        ("10.186113", "10186113", "another form"),
        ("9/9", "12/12", "expected 12 events as the header says"),
    ],
)
def test_damaged_lines(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert KERNEL_6_1.count(old) == 1
    message = bad(tmp_path, KERNEL_6_1.replace(old, new))
    assert words in message
    assert "trace.txt: line " in message
