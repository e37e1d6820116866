# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc/zoneinfo."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagelab.capture.zoneinfo import Pageset, Zone, read_zoneinfo
from pagelab.errors import BadInput
from tests.capture import make

DATA = Path(__file__).parents[1] / "data" / "capture"


def read(tmp_path: Path, text: str) -> tuple[Zone, ...]:
    path = tmp_path / "00-boot.txt"
    path.write_text(text)
    return read_zoneinfo(path)


def bad(tmp_path: Path, text: str) -> str:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_zones_of_6_1(tmp_path: Path) -> None:
    dma, dma32, movable = read(tmp_path, make.zoneinfo_text(2))
    assert (dma.node, dma.name, dma.start_pfn, dma.end_pfn) == (0, "DMA", 1, 4096)
    assert (dma.free, dma.boost, dma.min, dma.low, dma.high, dma.cma) == (2047, 0, 40, 51, 68, 0)
    assert (dma.spanned, dma.present, dma.managed) == (4095, 4095, 4095)
    assert dma.protection == (0, 1000, 1000)
    assert dma.counters == {"nr_free_pages": 2047, "numa_hit": 12345}
    assert dma.node_counters == {"nr_inactive_anon": 17, "nr_active_anon": 5}
    assert dma32.node_counters == {}
    assert dma32.pagesets == (Pageset(0, 1, 378, 63, -1, -1, 24), Pageset(1, 2, 378, 63, -1, -1, 24))
    assert str(dma32) == "Node 0, zone DMA32"
    assert (movable.present, movable.start_pfn, movable.pagesets, movable.counters) == (0, -1, (), {})


def test_pagesets_since_6_7(tmp_path: Path) -> None:
    (zone,) = read(tmp_path, make.zone_text("Normal", 1 << 20, 1 << 18, 1, node=3, later=True))
    assert zone.node == 3
    assert zone.pagesets == (Pageset(0, 1, 400, 63, 300, 4000, 24),)


def test_real_zoneinfo_of_5_10_and_6_1() -> None:
    for name, pages in (("zoneinfo-6.1.txt", 262144),):
        zones = read_zoneinfo(DATA / name)
        assert [zone.name for zone in zones] == ["DMA", "DMA32", "Normal", "Movable", "Device"]
        movable = zones[3]
        assert (movable.start_pfn, movable.present, movable.managed) == (0x100000, pages, pages)
        assert movable.pagesets[0].batch == 63
        assert movable.counters["nr_free_pages"] == movable.free
        assert zones[1].node_counters == {}
        assert zones[0].node_counters["nr_active_anon"] >= 0


def test_cut_at_any_byte(tmp_path: Path) -> None:
    text = make.zoneinfo_text(2)
    starts = {text.index(f"Node 0, zone {name:>8}") for name in ("DMA32", "Movable")}
    path = tmp_path / "00-boot.txt"
    for cut in range(len(text)):
        path.write_text(text[:cut])
        if cut in starts:
            read_zoneinfo(path)  # whole zones: this could be another machine's
            continue
        with pytest.raises(BadInput, match=r"00-boot\.txt"):
            read_zoneinfo(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.characters()), min_size=1, max_size=4))
def test_changed_text(tmp_path: Path, changes: list[tuple[int, str]]) -> None:
    text = list(make.zoneinfo_text(2))
    for at, character in changes:
        text[at % len(text)] = character
    with contextlib.suppress(BadInput, UnicodeEncodeError):
        read(tmp_path, "".join(text))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Node 0, zone      DMA\n", "Nod 0\n", "line 1: expected 'Node N, zone NAME'"),
        ("  pages free     2047\n", "", "has no line 'free'"),
        ("  start_pfn:           1\n", "", "has no line 'start_pfn'"),
        ("spanned  4095", "spanned  many", "line 10: this is no line of zoneinfo"),
        ("        min      40\n", "        min      40\n        min      40\n", "'min' is there twice"),
        ("zone    DMA32", "zone      DMA", "is there twice"),
        ("    cpu: 1\n", "    cpu: 0\n", "not named before"),
        ("              batch: 63\n  vm stats threshold: 24\n    cpu: 1", "    cpu: 1", "has no line 'batch'"),
    ],
)
def test_damaged_lines(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = make.zoneinfo_text(2)
    assert old in text
    assert words in bad(tmp_path, text.replace(old, new, 1))


def test_zone_with_pages_and_without_pagesets(tmp_path: Path) -> None:
    assert "has no 'pagesets'" in bad(tmp_path, make.zone_text("Normal", 1 << 20, 1 << 18, 0))


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "00-boot.txt"
    path.write_bytes(b"Node 0\xff\n")
    with pytest.raises(BadInput, match=r"00-boot\.txt: byte 6 is not UTF-8 text \(0xff\)"):
        read_zoneinfo(path)
