# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow kswapd, which lowers the limit of the pcplists somewhere between its waking up and its going to sleep.

Whether it has done so when a CPU gives pages back shows in how many: the limit decides over that, too.
"""

from __future__ import annotations

from pagelab.linux.features import features
from pagelab.linux.pcp import nr_pcp_free, nr_pcp_high
from pagelab.linux.state import machine, pcp, zone
from pagelab.replay.expect import give_up
from pagelab.replay.tables import REASON_RECLAIM


def nr_given_back(cpu: int, order: int, limited: bool) -> int:
    """How many base pages a CPU gives back after one more page; 0 if there is room.  Leaves free_factor changed."""
    zone.reclaim_active = limited
    free_high = False
    # Since Linux kernel commit f26b3fa04611 ("mm/page_alloc: limit number of high-order pages on PCP during bulk free")
    # (in v5.18)
    if features.free_high:
        free_high = 0 < order <= machine.costly_order and pcp[cpu].free_factor != 0
    high = nr_pcp_high(cpu, free_high)
    zone.reclaim_active = False
    if pcp[cpu].count + (1 << order) < high:
        return 0
    return nr_pcp_free(cpu, high, pcp[cpu].batch, free_high)


def is_limited(cpu: int, order: int, asked: int) -> bool:
    """Whether kswapd had lowered the limit when a CPU gave back ``asked`` base pages."""
    factor = pcp[cpu].free_factor
    usual = nr_given_back(cpu, order, False)
    usual_factor = pcp[cpu].free_factor
    pcp[cpu].free_factor = factor
    limited = nr_given_back(cpu, order, True)
    limited_factor = pcp[cpu].free_factor
    pcp[cpu].free_factor = factor
    if usual == limited and usual_factor != limited_factor:
        give_up(REASON_RECLAIM)
    return usual != asked and limited == asked
