# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of the tests of the replay, and the files of a capture as it could be copied from there."""

from __future__ import annotations

from pathlib import Path

from tests.capture import make
from tests.capture.make import Happened

START_PFN = 1 << 20
ZONE = 0xFFFF88801FD7A200
VMEMMAP = 0xFFFFEA0000000000
#: A page of another zone.
ELSEWHERE = 100
DMA_PAGES = 4095
#: Enough for a batch of 3.
PAGES = 16384

PROBES = frozenset(
    [
        "zone_pcp_disable",
        "zone_pcp_disable_done",
        "zone_pcp_enable",
        "drain_all_pages",
        "drain_pages_zone",
        "drain_local_pages",
        "free_pcppages_bulk",
        "free_unref_page_commit",
        "rmqueue_bulk",
        "alloc_pages_bulk",
        "alloc_pages_bulk_done",
        "move_freepages_block",
        "move_freepages_block_done",
        "start_isolate_page_range",
        "start_isolate_page_range_done",
        "undo_isolate_page_range",
        "unset_migratetype_isolate",
        "zone_set_pageset",
        "offline_isolated_pages",
        "offline_pages",
        "offline_pages_done",
        "online_pages",
        "online_pages_done",
    ]
)
#: With those at instructions inside functions.
ALL_PROBES = PROBES | {
    "free_one_page",
    "alloc_pages_bulk_page",
    "rmqueue_pcplist_page",
    "isolate_free_page",
    "isolate_free_page_done",
    "split_free_page",
    "split_free_page_part",
    "adjust_managed_page_count",
}

CONFIG = "CONFIG_SMP=y\nCONFIG_TRANSPARENT_HUGEPAGE=y\n# CONFIG_CMA is not set\nCONFIG_PCP_BATCH_SCALE_MAX=5\n"
CONFIG += "CONFIG_PREEMPT_VOLUNTARY=y\n"
SYMBOLS = "ffffffff81000000 T _text\nffffffff812ea600 T zone_pcp_disable\nffffffff812ea700 t free_pcppages_bulk\n"


def zoneinfo(cpus: int, pages: int, zone: str = "Movable") -> str:
    """A zone DMA, and ``pages`` from 4 GiB on."""
    return make.zone_text("DMA", 1, DMA_PAGES, cpus) + make.zone_text(zone, START_PFN, pages, cpus)


def trace_dat(events: list[Happened], cpus: int) -> bytes:
    """A trace.dat of version 6, with a layout for each event that make.py has none for."""
    layouts = dict(make.LAYOUTS)
    names = {happened.name: happened.values for happened in events}
    for number, (name, values) in enumerate(sorted(names.items())):
        if name in ALL_PROBES:
            fields = tuple(("s32" if field in ("migratetype", "ret") else "u64", field) for field in values)
            layouts[name] = make.Layout("pagelab", name, 700 + number, fields)
    rings = [make.Ring() for _ in range(cpus)]
    for h in events:
        rings[h.cpu].raw(h.time, layouts[h.name].data(h.flags, h.preempt, h.pid, **h.values))
    return make.trace_dat_v6([ring.bytes() for ring in rings], layouts=tuple(layouts.values()))


def write_capture(
    directory: Path,
    events: list[Happened],
    cpus: int = 2,
    pages: int = PAGES,
    *,
    binary: bool = False,
    zone: str = "Movable",
) -> Path:
    """The files of a capture."""
    (directory / "zoneinfo").mkdir(parents=True, exist_ok=True)
    files = {
        "uname.txt": "Linux test 6.1.0-30-amd64 #1 SMP PREEMPT_DYNAMIC x86_64 GNU/Linux\n",
        "cmdline.txt": "quiet\n",
        "config.txt": CONFIG,
        "kallsyms.txt": SYMBOLS,
        "capture.toml": '[trace]\nclock = "counter"\n',
        "zoneinfo/00-boot.txt": zoneinfo(cpus, 0, zone),
        "zoneinfo/99-end.txt": zoneinfo(cpus, pages, zone),
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    if binary:
        (directory / "trace.dat").write_bytes(trace_dat(events, cpus))
    else:
        (directory / "trace.txt").write_text(make.trace_text(events, cpus))
    return directory
