# SPDX-License-Identifier: GPL-2.0-or-later
"""Watermarks and min_free_kbytes, against numbers that the kernel's source states or gives by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagelab.linux import watermarks
from pagelab.linux.state import mm, other_zone, pcp, zone
from tests.linux.lab import zone_of

MIB = 256  # pages


@given(st.integers(0, 1 << 40))
def test_int_sqrt(x: int) -> None:
    assert watermarks.int_sqrt(x) == math.isqrt(x)


@pytest.mark.parametrize(("mib", "kbytes"), [(16, 512), (32, 724), (128, 1448), (1024, 4096), (16384, 16384)])
def test_min_free_kbytes(mib: int, kbytes: int) -> None:
    """The table in the comment above calculate_min_free_kbytes()."""
    with zone_of(nr_pages=1024):
        other_zone[1].managed_pages = mib * MIB
        watermarks.calculate_min_free_kbytes()
        assert mm.min_free_kbytes == kbytes


def test_min_free_kbytes_keeps_within_its_limits_and_below_what_the_user_wants() -> None:
    with zone_of(nr_pages=1024):
        watermarks.calculate_min_free_kbytes()
        assert mm.min_free_kbytes == 128
        other_zone[0].managed_pages = 1 << 38
        watermarks.calculate_min_free_kbytes()
        assert mm.min_free_kbytes == 262144
        mm.min_free_kbytes = mm.user_min_free_kbytes = 1 << 30
        watermarks.calculate_min_free_kbytes()
        assert mm.min_free_kbytes == 1 << 30


def test_movable_memory_needs_no_reserve() -> None:
    for zone_movable, kbytes in [(True, 128), (False, 1448)]:
        with zone_of(nr_pages=1024, zone_movable=zone_movable):
            zone.managed_pages = 128 * MIB
            other_zone[0].managed_pages = 128 * MIB
            other_zone[0].holds_user_pages = False
            watermarks.calculate_min_free_kbytes()
            assert mm.min_free_kbytes == kbytes


def test_watermarks() -> None:
    """A zone that holds a quarter of all memory; 8 MiB are to be kept free."""
    with zone_of(nr_pages=1024):
        zone.managed_pages = 128 * MIB
        other_zone[0].managed_pages = 384 * MIB
        mm.min_free_kbytes = 8192
        watermarks.setup_per_zone_wmarks(0)
        assert (zone.watermark_min, zone.watermark_low, zone.watermark_high) == (512, 640, 768)
        assert other_zone[0].watermark_high == 1536 + 2 * 384
        mm.watermark_scale_factor = 100
        watermarks.setup_per_zone_wmarks(0)
        distance = 32768 // 10000 * 100 + 32768 % 10000 * 100 // 10000
        assert (zone.watermark_low, zone.watermark_high) == (512 + distance, 512 + 2 * distance)
        assert pcp[0].high == (512 + distance) // 2
