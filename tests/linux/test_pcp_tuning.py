# SPDX-License-Identifier: GPL-2.0-or-later
"""high and batch, against numbers that kernels showed or the source gives by hand."""

from __future__ import annotations

import errno

import pytest

from pagelab.linux import pcp_tuning
from pagelab.linux.state import cpu_state, mm, pcp, zone
from tests.linux.lab import zone_of

MIB = 256  # pages


@pytest.mark.parametrize(
    ("managed", "batch"),
    [
        (0, 0),
        (8191, 0),
        (8192, 1),
        (12287, 1),
        (12288, 3),
        (128 * MIB, 7),
        (256 * MIB, 15),
        (512 * MIB, 31),
        (1024 * MIB, 63),
        (1 << 28, 63),
    ],
)
def test_zone_batchsize(managed: int, batch: int) -> None:
    with zone_of(nr_pages=1024):
        zone.managed_pages = managed
        assert pcp_tuning.zone_batchsize() == batch


def test_high_comes_from_the_low_watermark_split_over_the_cpus_of_the_node() -> None:
    with zone_of(nr_pages=1024, nr_cpus=4):
        zone.managed_pages = zone.present_pages = 1024 * MIB
        zone.watermark_low = 14000
        pcp_tuning.zone_pcp_update(0)
        assert {(p.high, p.batch) for p in pcp.rows} == {(3500, 63)}
        cpu_state[3].online = False
        pcp_tuning.page_alloc_cpu_dead(0, 3)
        assert pcp[0].high == 4666
        cpu_state[2].local = False
        pcp_tuning.page_alloc_cpu_online()
        assert pcp[3].high == 4666  # two local ones and the one that comes
        pcp_tuning.zone_pcp_update(0)
        assert pcp[0].high == 7000
        for cpu in range(3):
            cpu_state[cpu].local = False
        pcp_tuning.zone_pcp_update(0)
        assert pcp[0].high == 4666  # a node without CPUs: all that are online


def test_high_is_at_least_four_batches() -> None:
    with zone_of(nr_pages=1024):
        zone.managed_pages = 1024 * MIB
        pcp_tuning.zone_pcp_update(0)
        assert (pcp[1].high, pcp[1].batch) == (252, 63)


def test_high_fraction() -> None:
    with zone_of(nr_pages=1024):
        zone.managed_pages = zone.present_pages = 1024 * MIB
        handler = pcp_tuning.percpu_pagelist_high_fraction_sysctl_handler
        assert handler(7) == -errno.EINVAL
        assert handler(-1) == -errno.EINVAL
        assert (mm.percpu_pagelist_high_fraction, pcp[0].high) == (0, 0)
        assert handler(8) == 0
        assert pcp[0].high == 1024 * MIB // 8 // 2
        pcp[0].high = 5
        assert handler(8) == 0  # no change, no store
        assert pcp[0].high == 5
        assert handler(0) == 0
        assert pcp[0].high == 252


def test_unchanged_values_are_not_stored() -> None:
    with zone_of(nr_pages=1024):
        zone.managed_pages = 1024 * MIB
        pcp_tuning.zone_pcp_update(0)
        pcp[1].high = 5
        pcp_tuning.zone_pcp_update(0)
        assert pcp[1].high == 5


def test_disable_and_enable() -> None:
    with zone_of(nr_pages=1024):
        zone.managed_pages = 1024 * MIB
        pcp_tuning.zone_pcp_update(0)
        pcp_tuning.zone_pcp_disable(0)
        assert {(p.high, p.batch) for p in pcp.rows} == {(0, 1)}
        assert all(c.with_pcps for c in cpu_state.rows)  # forced: a count of 0 is not trusted
        assert (zone.pageset_high, zone.pageset_batch) == (252, 63)
        pcp_tuning.zone_pcp_enable()
        assert {(p.high, p.batch) for p in pcp.rows} == {(252, 63)}
