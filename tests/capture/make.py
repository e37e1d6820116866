# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes captures by hand: ring buffers, trace.dat of both versions, the text of ftrace, zoneinfo.

Written from the manual pages and from kernel/trace/ring_buffer.c and not from the readers, so that a misunderstanding
has to be made twice.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

PAGE = 4096
DATA = PAGE - 16

HEADER_PAGE = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"
)
HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)

#: C type: size, signed, code of struct
_TYPES = {
    "unsigned long": (8, 0, "Q"),
    "u64": (8, 0, "Q"),
    "unsigned int": (4, 0, "I"),
    "u32": (4, 0, "I"),
    "int": (4, 1, "i"),
    "s32": (4, 1, "i"),
    "u8": (1, 0, "B"),
}


@dataclass(frozen=True)
class Layout:
    """An event's format: fields in order as (C type, name)."""

    system: str
    name: str
    id: int
    fields: tuple[tuple[str, str], ...]

    def _places(self) -> list[tuple[str, str, int]]:
        at, places = 8, []
        for kind, name in self.fields:
            size = _TYPES[kind][0]
            at = (at + size - 1) // size * size
            places.append((kind, name, at))
            at += size
        return places

    def text(self) -> str:
        lines = [f"name: {self.name}", f"ID: {self.id}", "format:"]
        common = ("unsigned short", "type", 0, 2, 0), ("unsigned char", "flags", 2, 1, 0)
        more = ("unsigned char", "preempt_count", 3, 1, 0), ("int", "pid", 4, 4, 1)
        for kind, name, offset, size, signed in (*common, *more):
            lines.append(f"\tfield:{kind} common_{name};\toffset:{offset};\tsize:{size};\tsigned:{signed};")
        lines.append("")
        for kind, name, offset in self._places():
            size, signed, _ = _TYPES[kind]
            lines.append(f"\tfield:{kind} {name};\toffset:{offset};\tsize:{size};\tsigned:{signed};")
        return "\n".join(lines) + '\n\nprint fmt: "made by hand"\n'

    def data(self, flags: int, preempt: int, pid: int, **values: int) -> bytes:
        data = struct.pack("<HBBi", self.id, flags, preempt, pid)
        for kind, name, offset in self._places():
            size, signed, code = _TYPES[kind]
            value = values[name] & ((1 << 8 * size) - 1)
            if signed and value >> (8 * size - 1):
                value -= 1 << 8 * size
            data = data.ljust(offset, b"\0") + struct.pack(f"<{code}", value)
        return data.ljust((len(data) + 3) // 4 * 4, b"\0")


_UL, _UI, _I = "unsigned long", "unsigned int", "int"
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("kmem", "mm_page_alloc", 501, ((_UL, "pfn"), (_UI, "order"), (_UL, "gfp_flags"), (_I, "migratetype"))),
        Layout(
            "kmem",
            "mm_page_alloc_zone_locked",
            502,
            ((_UL, "pfn"), (_UI, "order"), (_I, "migratetype"), (_I, "percpu_refill")),
        ),
        Layout("kmem", "mm_page_free", 503, ((_UL, "pfn"), (_UI, "order"))),
        Layout("kmem", "mm_page_free_batched", 504, ((_UL, "pfn"),)),
        Layout("kmem", "mm_page_pcpu_drain", 505, ((_UL, "pfn"), (_UI, "order"), (_I, "migratetype"))),
        Layout(
            "kmem",
            "mm_page_alloc_extfrag",
            506,
            (
                (_UL, "pfn"),
                (_I, "alloc_order"),
                (_I, "fallback_order"),
                (_I, "alloc_migratetype"),
                (_I, "fallback_migratetype"),
                (_I, "change_ownership"),
            ),
        ),
        Layout("page_isolation", "test_pages_isolated", 507, ((_UL, "start_pfn"), (_UL, "end_pfn"), (_UL, "fin_pfn"))),
        Layout("vmscan", "mm_vmscan_kswapd_wake", 508, ((_I, "nid"), (_I, "zid"), (_I, "order"))),
        Layout("compaction", "mm_compaction_begin", 509, ((_UL, "zone_start"), (_UL, "migrate_pfn"))),
        Layout("pagelab", "zone_pcp_disable", 601, (("u64", "zone"),)),
        Layout("pagelab", "zone_pcp_disable_done", 602, ()),
        Layout("pagelab", "drain_all_pages", 603, (("u64", "zone"), ("u8", "force"))),
        Layout(
            "pagelab",
            "move_freepages_block",
            604,
            (("u64", "zone"), ("u64", "page"), ("s32", "migratetype"), ("u64", "vmemmap")),
        ),
        Layout("pagelab", "offline_pages_done", 605, (("u64", "ret"),)),  # a whole register was fetched
        Layout("kmem", "kfree", 510, ((_UL, "call_site"),)),
        Layout("sched", "sched_wakeup", 511, ((_I, "prio"),)),
    )
}
FTRACE = (Layout("ftrace", "function", 1, ((_UL, "ip"), (_UL, "parent_ip"))),)


@dataclass(frozen=True)
class Happened:
    """One event, as a test thinks of it."""

    time: int
    cpu: int
    name: str
    values: dict[str, int]
    pid: int = 1
    flags: int = 0
    preempt: int = 0

    def data(self) -> bytes:
        return LAYOUTS[self.name].data(self.flags, self.preempt, self.pid, **self.values)


@dataclass
class Ring:
    """The ring buffer of one CPU, as the kernel hands out its sub-buffers."""

    pages: list[bytes] = field(default_factory=list)
    _data: bytearray = field(default_factory=bytearray)
    _stamp: int = 0
    _last: int = 0
    _missed: int = 0

    def _put(self, entry: bytes, time: int, extend: bytes = b"") -> None:
        """``entry`` with its time; ``extend`` must stay with it in one sub-buffer."""
        if len(self._data) + len(entry) + len(extend) > DATA:
            self.end_page()
        if not self._data:
            self._stamp = self._last = time
        self._data += extend + entry
        self._last = time

    def raw(self, time: int, data: bytes, *, absolute: bool = False, long: bool = False) -> None:
        """An entry with ``data``; with an absolute timestamp, or with its length in a word of its own, if asked for."""
        size = len(data) // 4 * 4
        head = len(data) + 4 + (4 if long or size > 112 else 0)
        fits = len(self._data) + head + 8 <= DATA
        delta = time - self._last if self._data and fits else 0
        extend = b""
        if absolute:
            extend = struct.pack("<II", 31 | (time & 0x7FFFFFF) << 5, (time >> 27) & 0xFFFFFFFF)
            delta = 0
        elif delta >> 27:
            extend = struct.pack("<II", 30 | (delta & 0x7FFFFFF) << 5, delta >> 27)
            delta = 0
        if not fits:
            self.end_page()
        if long or size > 112:
            entry = struct.pack("<II", delta << 5, len(data) + 4) + data
        else:
            entry = struct.pack("<I", size // 4 | delta << 5) + data
        self._put(entry, time, extend)

    def event(self, happened: Happened, **how: bool) -> None:
        self.raw(happened.time, happened.data(), **how)

    def discarded(self, delta: int, size: int = 16) -> None:
        """An event that a filter threw away after it had been reserved; not as the first of a sub-buffer."""
        if not self._data or len(self._data) + 4 + size > DATA:
            return
        self._put(struct.pack("<II", 29 | delta << 5, size) + bytes(size - 4), self._last + delta)

    def lose(self, count: int) -> None:
        """The sub-buffer that begins now follows a loss; -1: the kernel could not note how many."""
        self.end_page()
        self._missed = count

    def end_page(self, *, null: bool = False) -> None:
        """Starts a new sub-buffer; with ``null`` the rest of this one is one padding entry."""
        if not self._data and not self._missed:
            return
        if null and len(self._data) + 4 <= DATA:
            self._data += struct.pack("<I", 29).ljust(DATA - len(self._data), b"\0")
        commit = len(self._data)
        body = bytes(self._data)
        if self._missed:
            commit |= 1 << 31
            if self._missed > 0:
                commit |= 1 << 30
                body += struct.pack("<Q", self._missed)
            commit |= 0xFFFFFFFF << 32  # the kernel adds a negative int to a long
        assert len(body) <= DATA
        self.pages.append(struct.pack("<QQ", self._stamp, commit) + body.ljust(DATA, b"\0"))
        self._data = bytearray()
        self._missed = 0

    def bytes(self) -> bytes:
        self.end_page()
        return b"".join(self.pages)


def rings(events: Sequence[Happened], cpus: int) -> list[bytes]:
    """The ring buffers of ``events``, which must be in each CPU's order."""
    made = [Ring() for _ in range(cpus)]
    for happened in events:
        made[happened.cpu].event(happened)
    return [ring.bytes() for ring in made]


def stats(cpu: int, **counts: int) -> str:
    """per_cpu/cpuN/stats as trace-cmd saves it."""
    lines = {"entries": 0, "overrun": 0, "commit overrun": 0, "bytes": 0, "dropped events": 0, "read events": 0}
    for name, count in counts.items():
        lines[name.replace("_", " ")] = count
    return f"CPU: {cpu}\n" + "".join(f"{name}: {count}\n" for name, count in lines.items())


def _blob8(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _header_info() -> bytes:
    return b"header_page\0" + _blob8(HEADER_PAGE) + b"header_event\0" + _blob8(HEADER_EVENT)


def _ftrace_formats() -> bytes:
    return struct.pack("<I", len(FTRACE)) + b"".join(_blob8(layout.text()) for layout in FTRACE)


def _event_formats(layouts: Sequence[Layout]) -> bytes:
    systems = sorted({layout.system for layout in layouts})
    out = struct.pack("<I", len(systems))
    for system in systems:
        own = [layout for layout in layouts if layout.system == system]
        out += system.encode() + b"\0" + struct.pack("<I", len(own)) + b"".join(_blob8(layout.text()) for layout in own)
    return out


def _option(number: int, data: bytes) -> bytes:
    return struct.pack("<HI", number, len(data)) + data


UNAME = "Linux (none) 6.1.0-30-amd64 x86_64"
CLOCKS = "local global [counter] uptime perf mono"


def _options(cpu_stats: Sequence[str], cpus: int) -> bytes:
    out = _option(4, CLOCKS.encode() + b"\0") + _option(5, UNAME.encode() + b"\0")
    for text in cpu_stats:
        out += _option(2, text.encode() + b"\0")
    return out + _option(8, struct.pack("<I", cpus)) + _option(77, b"of a later version")


def _start(version: str) -> bytes:
    return b"\x17\x08Dtracing" + version.encode() + b"\0" + bytes([0, 8]) + struct.pack("<I", PAGE)


def trace_dat_v6(
    buffers: Sequence[bytes], cpu_stats: Sequence[str] = (), layouts: Sequence[Layout] = tuple(LAYOUTS.values())
) -> bytes:
    """A trace.dat of version 6."""
    out = _start("6") + _header_info() + _ftrace_formats() + _event_formats(layouts)
    out += struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0) + _blob8("")
    out += struct.pack("<I", len(buffers)) + b"options  \0" + _options(cpu_stats, len(buffers)) + b"\0\0"
    out += b"flyrecord\0"
    clock = struct.pack("<Q", 9) + b"[counter]"
    at = (len(out) + 16 * len(buffers) + len(clock) + PAGE - 1) // PAGE * PAGE
    table = b""
    for buffer in buffers:
        table += struct.pack("<QQ", at, len(buffer))
        at += len(buffer)
    out += table + clock
    return out.ljust((len(out) + PAGE - 1) // PAGE * PAGE, b"\0") + b"".join(buffers)


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "zlib": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def trace_dat_v7(
    buffers: Sequence[bytes],
    cpu_stats: Sequence[str] = (),
    layouts: Sequence[Layout] = tuple(LAYOUTS.values()),
    compression: str = "none",
) -> bytes:
    """A trace.dat of version 7."""
    pack = _COMPRESS[compression]
    packed = compression != "none"
    out = bytearray(_start("7") + compression.encode() + b"\0" + b"1.5.4\0")
    options_place = len(out)
    out += bytes(8)
    strings = bytearray()

    def section(number: int, data: bytes, name: str, *, may_pack: bool = True) -> int:
        at = len(out)
        if packed and may_pack:
            squeezed = pack(data)
            data = struct.pack("<II", len(squeezed), len(data)) + squeezed
        out.extend(struct.pack("<HHIQ", number, packed and may_pack, len(strings), len(data)) + data)
        strings.extend(name.encode() + b"\0")
        return at

    options = _options(cpu_stats, len(buffers))
    kallsyms = struct.pack("<I", 3) + b"abc"
    parts = ((16, _header_info()), (17, _ftrace_formats()), (18, _event_formats(layouts)), (19, kallsyms))
    for number, data in (*parts, (20, struct.pack("<I", 0)), (21, _blob8(""))):
        options += _option(number, struct.pack("<Q", section(number, data, f"section {number}")))
    # The first options name a second section of options, which holds the buffer.
    first = section(0, options + _option(0, bytes(8)), "options", may_pack=False)
    out[options_place : options_place + 8] = struct.pack("<Q", first)
    next_place = len(out) - 8
    buffer_at = len(out)
    out += struct.pack("<HHIQ", 3, packed, len(strings), 0)
    strings += b"buffer flyrecord\0"
    table = struct.pack("<Q", buffer_at) + b"\0" + b"counter\0" + struct.pack("<I", PAGE)
    own = [(cpu, buffer) for cpu, buffer in enumerate(buffers) if buffer]
    table += struct.pack("<I", len(own))
    for cpu, buffer in own:
        out += bytes(-len(out) % PAGE)
        start = len(out)
        if packed:
            chunks = [buffer[at : at + 2 * PAGE] for at in range(0, len(buffer), 2 * PAGE)]
            out += struct.pack("<I", len(chunks))
            for chunk in chunks:
                squeezed = pack(chunk)
                out += struct.pack("<II", len(squeezed), len(chunk)) + squeezed
            table += struct.pack("<IQQ", cpu, start, len(out) - start - 4)
        else:
            out += buffer
            table += struct.pack("<IQQ", cpu, start, len(buffer))
    out[buffer_at + 8 : buffer_at + 16] = struct.pack("<Q", len(out) - buffer_at - 16)
    second = section(0, _option(3, table) + _option(0, bytes(8)), "options", may_pack=False)
    out[next_place : next_place + 8] = struct.pack("<Q", second)
    section(15, bytes(strings) + b"strings\0", "strings")
    return bytes(out)


TEXT_HEADER = (
    "# tracer: nop\n#\n# entries-in-buffer/entries-written: {count}/{written}   #P:{cpus}\n#\n"
    "#                                _-----=> irqs-off/BH-disabled\n"
    "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
    "#              | |         |   |||||     |         |\n"
)
#: What the kernel's printf formats make of the fields, by event; the rest is printed as key=value.
_PRINTED: dict[str, Callable[[dict[str, int]], str]] = {
    "mm_page_alloc": lambda v: (
        f"page={'(____ptrval____)' if v['pfn'] >= 0 else '0000000000000000'} pfn=0x{max(v['pfn'], 0):x}"
        f" order={v['order']} migratetype={v['migratetype']} gfp_flags=GFP_KERNEL|__GFP_ZERO"
    ),
    "mm_page_free": lambda v: f"page=00000000c5bac89e pfn=0x{v['pfn']:x} order={v['order']}",
    "mm_page_free_batched": lambda v: f"page=00000000c5bac89e pfn={v['pfn']} order=0",
    "test_pages_isolated": lambda v: (
        f"start_pfn=0x{v['start_pfn']:x} end_pfn=0x{v['end_pfn']:x} fin_pfn=0x{v['fin_pfn']:x} ret=fail"
    ),
}


def _printed(happened: Happened) -> str:
    if happened.name in _PRINTED:
        return _PRINTED[happened.name](happened.values)
    return "(f+0x0/0x10) " + " ".join(f"{key}={value}" for key, value in happened.values.items())


def text_line(happened: Happened, *, decimal: bool = False, comm: str = "<...>") -> str:
    """One line as ftrace prints it."""
    flags, preempt = happened.flags, happened.preempt
    hard, soft, nmi = flags & 8, flags & 16, flags & 64
    shown = "Z" if nmi and hard else "z" if nmi else "H" if hard and soft else "h" if hard else "s" if soft else "."
    irqs = "d" if flags & 1 else "."
    depth = f"{preempt & 15:x}" if preempt & 15 else "."
    migrate = f"{preempt >> 4:x}" if preempt >> 4 else "."
    resched = "n" if flags & 4 else "."
    time = f"{happened.time // 10**9:5d}.{happened.time % 10**9 // 1000:06d}" if decimal else f"{happened.time:12d}"
    return (
        f"{comm:>16}-{happened.pid:<7} [{happened.cpu:03d}] {irqs}{resched}{shown}{depth}{migrate} {time}:"
        f" {happened.name}: {_printed(happened)}\n"
    )


def trace_text(events: Sequence[Happened], cpus: int, *, written: int | None = None, decimal: bool = False) -> str:
    count = len(events)
    head = TEXT_HEADER.format(count=count, written=count if written is None else written, cpus=cpus)
    return head + "".join(text_line(happened, decimal=decimal) for happened in events)


def zone_text(name: str, start: int, pages: int, cpus: int, *, node: int = 0, later: bool = False) -> str:
    """A zone of /proc/zoneinfo without holes; ``later``: of v6.7 and up.  ``pages`` 0: not populated."""
    sizes = {"free": pages // 2, "boost": 0, "min": pages // 100, "low": pages // 80, "high": pages // 60}
    sizes |= {"spanned": pages, "present": pages, "managed": pages, "cma": 0}
    lines = [f"Node {node}, zone {name:>8}"]
    for number, (key, value) in enumerate(sizes.items()):
        lines.append(f"  {'pages ' if not number else '      '}{key:<8} {value}")
        if later and key == "high":
            lines.append("        promo    77")
    lines.append("        protection: (0, 1000, 1000)")
    if pages:
        lines += [f"      nr_free_pages {pages // 2}", "      numa_hit     12345", "  pagesets"]
        for cpu in range(cpus):
            lines += [f"    cpu: {cpu}", f"              count: {cpu + 1}"]
            if later:
                lines += ["              high:  400", "              batch: 63"]
                lines += ["              high_min: 300", "              high_max: 4000"]
            else:
                lines += ["              high:  378", "              batch: 63"]
            lines.append("  vm stats threshold: 24")
        lines += ["  node_unreclaimable:  0", f"  start_pfn:           {start}"]
    return "\n".join(lines) + "\n"


def zoneinfo_text(cpus: int = 2, *, movable: int = 0) -> str:
    """Three zones: 16 MiB DMA, 112 MiB DMA32 and, from 4 GiB on, ``movable`` pages."""
    dma = zone_text("DMA", 1, 4095, cpus)
    first, rest = dma.split("\n", 1)
    dma = f"{first}\n  per-node stats\n      nr_inactive_anon 17\n      nr_active_anon 5\n{rest}"
    return dma + zone_text("DMA32", 4096, 28672, cpus) + zone_text("Movable", 1 << 20, movable, cpus)


PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2 
Node    0, zone      DMA, type    Unmovable      1      2      3 
Node    0, zone      DMA, type      Movable      0      0 >100000 
Node    0, zone      DMA, type  Reclaimable      0      0      0 

Number of blocks type     Unmovable      Movable  Reclaimable 
Node 0, zone      DMA            3            4            1 
"""  # noqa: W291 - the kernel ends these lines with a blank


def write_capture(directory: Path, trace: bytes, cpus: int = 2) -> Path:
    """A whole capture around a trace.dat."""
    import gzip

    (directory / "zoneinfo").mkdir(parents=True)
    (directory / "pagetypeinfo").mkdir()
    (directory / "trace.dat").write_bytes(trace)
    (directory / "uname.txt").write_text("Linux (none) 6.1.0-30-amd64 #1 SMP Debian 6.1.124-1 x86_64 GNU/Linux\n")
    (directory / "cmdline.txt").write_text("console=ttyS0 quiet\n")
    config = '#\n# Linux/x86 6.1.124\n#\nCONFIG_SMP=y\nCONFIG_HZ=250\n# CONFIG_CMA is not set\nCONFIG_LOCALVERSION=""\n'
    (directory / "config.txt.gz").write_bytes(gzip.compress(config.encode()))
    symbols = "ffffffff81000000 T _text\nffffffff812ea600 T zone_pcp_disable\nffffffffc0000000 t probe\t[dimm]\n"
    (directory / "kallsyms.txt.gz").write_bytes(gzip.compress(symbols.encode()))
    (directory / "zoneinfo" / "00-boot.txt").write_text(zoneinfo_text(cpus))
    (directory / "zoneinfo" / "01-online.txt").write_text(zoneinfo_text(cpus, movable=32768))
    (directory / "pagetypeinfo" / "00-boot.txt").write_text(PAGETYPEINFO)
    (directory / "capture.toml").write_text('[workload]\nname = "churn"\nseed = 1\n[trace]\nclock = "counter"\n')
    return directory
