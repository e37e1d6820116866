# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc/pagetypeinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.capture.pagetypeinfo import PageTypeInfo, read_pagetypeinfo
from pagelab.errors import BadInput
from tests.capture import make

DATA = Path(__file__).parents[1] / "data" / "capture"


def read(tmp_path: Path, text: str) -> PageTypeInfo:
    path = tmp_path / "00-boot.txt"
    path.write_text(text)
    return read_pagetypeinfo(path, 0, "boot")


def test_counts_by_type_and_order(tmp_path: Path) -> None:
    info = read(tmp_path, make.PAGETYPEINFO)
    assert (info.number, info.label, info.pageblock_order) == (0, "boot", 9)
    assert info.migratetypes == ("Unmovable", "Movable", "Reclaimable")
    assert info.free[0, "DMA"] == {"Unmovable": (1, 2, 3), "Movable": (0, 0, 100000), "Reclaimable": (0, 0, 0)}
    assert info.capped == {(0, "DMA", "Movable", 2)}
    assert info.blocks == {(0, "DMA"): {"Unmovable": 3, "Movable": 4, "Reclaimable": 1}}


def test_real_pagetypeinfo_of_6_1() -> None:
    info = read_pagetypeinfo(DATA / "pagetypeinfo-6.1.txt")
    assert info.migratetypes == ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")
    assert info.blocks[0, "Movable"]["Movable"] == 512
    assert all(len(counts) == 11 for by_type in info.free.values() for counts in by_type.values())


def test_cut_at_any_byte(tmp_path: Path) -> None:
    for cut in range(len(make.PAGETYPEINFO)):
        with pytest.raises(BadInput, match=r"00-boot\.txt"):
            read(tmp_path, make.PAGETYPEINFO[:cut])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("      1      2      3 ", "      1      2 ", "line 5: expected 3 orders, found 2"),
        ("           3            4            1 ", "           3            4 ", "expected 3 types, found 2"),
        ("type  Reclaimable      0", "type  Reclaimabel      0", "has not the types"),
        ("Node 0, zone      DMA            3", "Node 0, zone    DMA32            3", "whose free pages are not"),
        ("Pages per block:  512", "Pages a block", "line 2: this is no line of pagetypeinfo"),
        ("Page block order: 9\n", "", "has no 'Page block order'"),
    ],
)
def test_damaged_lines(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in make.PAGETYPEINFO
    with pytest.raises(BadInput, match=words):
        read(tmp_path, make.PAGETYPEINFO.replace(old, new, 1))
