# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of two machines in one capture."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.capture import check_consistent, read_capture
from pagelab.errors import BadInput
from tests.capture import make
from tests.capture.make import Happened
from tests.capture.test_trace_dat import free

EVENTS = [free(10, 0, 5000), free(11, 1, (1 << 20) + 32767), Happened(12, 0, "zone_pcp_disable", {"zone": 1})]


def capture_of(tmp_path: Path, events: list[Happened], cpus: int = 2) -> Path:
    return make.write_capture(tmp_path / "capture", make.trace_dat_v6(make.rings(events, cpus)), cpus)


def bad(directory: Path) -> str:
    with pytest.raises(BadInput) as caught:
        check_consistent(read_capture(directory))
    return str(caught.value)


def test_files_of_one_machine(tmp_path: Path) -> None:
    check_consistent(read_capture(capture_of(tmp_path, EVENTS)))


def test_pfn_that_no_zone_has(tmp_path: Path) -> None:
    message = bad(capture_of(tmp_path, [*EVENTS, free(20, 1, (1 << 20) + 32768)]))
    assert (
        "zoneinfo/00-boot.txt: no zone has the pfn 1081344, which is in event 3 (mm_page_free) of trace.dat" in message
    )


def test_failed_allocation_has_no_zone(tmp_path: Path) -> None:
    values = {"pfn": -1, "order": 9, "gfp_flags": 0, "migratetype": 1}
    check_consistent(read_capture(capture_of(tmp_path, [*EVENTS, Happened(20, 0, "mm_page_alloc", values)])))


def test_cpu_that_zoneinfo_lacks(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, [*EVENTS, free(20, 2, 5000)], 3)
    for name in ("00-boot.txt", "01-online.txt"):
        (directory / "zoneinfo" / name).write_text(make.zoneinfo_text(2, movable=32768))
    assert "shows no pcplists of CPU 2, which has events in trace.dat" in bad(directory)


def test_cpu_that_the_trace_lacks(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    (directory / "zoneinfo" / "01-online.txt").write_text(make.zoneinfo_text(4, movable=32768))
    assert "shows the pcplists of CPU 3, but trace.dat was recorded on 2 CPUs" in bad(directory)


def test_snapshots_of_two_machines(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    second = directory / "zoneinfo" / "01-online.txt"
    second.write_text(make.zoneinfo_text().replace("Movable", " Normal"))
    assert "01-online.txt: its zones are not those of 00-boot.txt" in bad(directory)
    second.write_text(
        make.zoneinfo_text(movable=32768).replace("start_pfn:           4096", "start_pfn:           40960")
    )
    assert "spans the pfns 40960 to 69632, in 00-boot.txt it spans 4096 to 32768" in bad(directory)


def test_impossible_zone(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    text = make.zoneinfo_text().replace("managed  28672", "managed  28673")
    (directory / "zoneinfo" / "00-boot.txt").write_text(text)
    assert "28673 managed, 28672 present" in bad(directory)


def test_machine_without_memory(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    (directory / "zoneinfo" / "00-boot.txt").write_text(make.zone_text("DMA", 0, 0, 2))
    assert "no zone has any page" in bad(directory)


def test_pagetypeinfo_of_another_machine(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    (directory / "pagetypeinfo" / "00-boot.txt").write_text(make.PAGETYPEINFO.replace("     DMA", "  Normal"))
    assert "pagetypeinfo/00-boot.txt: Node 0, zone Normal is no zone of zoneinfo" in bad(directory)


def test_kernel_of_another_machine(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS)
    (directory / "uname.txt").write_text("Linux host 5.10.0-33-amd64 #1 SMP x86_64 GNU/Linux\n")
    assert "uname.txt: names the kernel 5.10.0-33-amd64, but trace.dat was recorded on 6.1.0-30-amd64" in bad(directory)


def test_manifest_of_another_zone(tmp_path: Path) -> None:
    directory = capture_of(tmp_path, EVENTS[:1])
    (directory / "capture.toml").write_text('[guest]\nzone = "movable"\n')
    check_consistent(read_capture(directory))
    (directory / "zoneinfo" / "01-online.txt").unlink()
    assert "its zone Movable is empty, but capture.toml says" in bad(directory)


# Hotplug: what the probes say went online has to show up in the snapshots that marks date.

HOTPLUG = """\
{mark} 5: tracing_mark_write: pagelab: snapshot 01-before done
{mark} 6: online_pages: (f+0x0/0x1) pfn=0x100000 nr_pages=0x8000 zone=0x1
{mark} 7: mm_page_free: page=1 pfn=0x100000 order=10
{mark} 8: online_pages_done: (f+0x0/0x1 <- g) ret=0
{mark} 9: tracing_mark_write: pagelab: snapshot 02-after
""".replace("{mark}", "           <...>-1       [000] ..... ")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0, 32768, ""),
        (0, 65536, "02-after.txt: has 65536 pages more than 01-before.txt, but between them trace.txt onlines 32768"),
        (32768, 32768, "has 0 pages more than 01-before.txt, but between them trace.txt onlines 32768"),
    ],
)
def test_memory_that_was_onlined(tmp_path: Path, before: int, after: int, words: str) -> None:
    directory = capture_of(tmp_path, EVENTS)
    (directory / "trace.dat").unlink()
    (directory / "trace.txt").write_text(HOTPLUG)
    for name in ("00-boot.txt", "01-online.txt"):
        (directory / "zoneinfo" / name).unlink()
    (directory / "zoneinfo" / "01-before.txt").write_text(make.zoneinfo_text(1, movable=before))
    (directory / "zoneinfo" / "02-after.txt").write_text(make.zoneinfo_text(1, movable=after))
    if not words or before:
        # Pages can vanish unseen where there is no probe on offlining.
        check_consistent(read_capture(directory))
    else:
        assert words in bad(directory)
