# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow pcp->high where the trace does not show what it depends on (since v6.7).

While memory is short, two flags of the zone let pcp->high fall instead of rise: ZONE_RECLAIM_ACTIVE, which kswapd sets
and clears at moments that no event shows, and ZONE_BELOW_HIGH, for which the kernel compares a watermark with a counter
of free pages that lags behind.  And a refill that finds nothing shows no event, but lets pcp->high and alloc_factor
rise.  From then on they lie between two values each.  The model is asked what it would do with all of them; if that is
not the same, the number of pages that the kernel moved tells which of them it can be.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL
from pagelab.linux.drain import decay_high
from pagelab.linux.highatomic import highatomic
from pagelab.linux.migratetype import MIGRATE_PCPTYPES
from pagelab.linux.pcp import nr_to_give_back, pcp_allowed_order
from pagelab.linux.pcp_high import nr_pcp_alloc
from pagelab.linux.state import free_area, machine, pcp, pcp_auto, zone, zone_auto
from pagelab.replay.alloc_steps import pcplist_is_empty
from pagelab.replay.bulk_steps import is_for_bulk_page
from pagelab.replay.tables import capture, cpu_replay, event, high_doubt, verdict

# What narrow() returns: the model does what the kernel did
FITS_NOT = 0  # with no value that is possible
FITS = 1  # with some of them
FITS_ALL = 2  # with each of them

FLAG_RECLAIM = 1
FLAG_BELOW = 2


def would_take(cpu: int, order: int) -> int:
    """How many pages a refill would take now; pcp->high is left as it would be then."""
    alloc_factor = pcp_auto[cpu].alloc_factor
    pages = nr_pcp_alloc(cpu, order)
    high_doubt[cpu].factor_after = pcp_auto[cpu].alloc_factor
    pcp_auto[cpu].alloc_factor = alloc_factor
    return pages


def would_give_back(cpu: int, order: int) -> int:
    """How many base pages a free of a page that is on the pcplist already would give back now; pcp->high as above."""
    free_count = pcp_auto[cpu].free_count
    repeated = pcp_auto[cpu].prev_free_high_order
    pages = nr_to_give_back(cpu, order)
    pcp_auto[cpu].free_count = free_count
    pcp_auto[cpu].prev_free_high_order = repeated
    return pages


def memory_is_ample() -> bool:
    """Whether the zone is above its high watermark whatever the counter says, boosts of the watermark included."""
    mark = zone.watermark_high
    if verdict.boosted:
        mark += mark + mark // 2  # watermark_boost_factor is 15000
    return zone.free_pages - highatomic.nr_reserved_highatomic > mark + capture.stat_threshold * machine.nr_cpus


def look_at_watermark() -> None:
    """An allocation looks at the high watermark: ZONE_BELOW_HIGH may be set from now on."""
    if not verdict.maybe_below and not memory_is_ample():
        verdict.maybe_below = True


def clear_maybe_below() -> None:
    """After a bulk free the kernel clears ZONE_BELOW_HIGH, if that is so."""
    if verdict.maybe_below and memory_is_ample():
        verdict.maybe_below = False
        zone_auto.below_high = False


def is_in_doubt(cpu: int) -> bool:
    """Whether pcp->high of a CPU may be another than the model's; from now on it is if a flag may be set."""
    if high_doubt[cpu].low == NIL:
        if not verdict.kswapd and not verdict.maybe_below:
            return False
        high_doubt[cpu].low = pcp[cpu].high
        high_doubt[cpu].top = pcp[cpu].high
    return True


def refill_finds_nothing(order: int, migratetype: int) -> bool:
    """Whether no free page would do for an allocation that may not take less than a pageblock of another type."""
    for larger in range(order, machine.max_order):
        if free_area[larger, migratetype].head != NIL:
            return False
    for larger in range(max(order, machine.pageblock_order), machine.max_order):
        for other in range(MIGRATE_PCPTYPES):
            if free_area[larger, other].head != NIL:
                return False
    return True


def look_for_silent_refill(cpu: int, order: int, migratetype: int) -> None:
    """An allocation got its page elsewhere, or not at once: it may have tried to refill a pcplist in vain."""
    if not pcp_allowed_order(order) or migratetype >= MIGRATE_PCPTYPES:
        return
    if pcplist_is_empty(cpu, order, migratetype) and refill_finds_nothing(order, migratetype):
        if high_doubt[cpu].low == NIL:
            high_doubt[cpu].low = pcp[cpu].high
        high_doubt[cpu].top = max(pcp_auto[cpu].high_max, pcp[cpu].high)
        high_doubt[cpu].factor_top = machine.pcp_batch_scale_max


def tried_before(i: int, cpu: int, order: int, migratetype: int) -> None:
    """The refill of event ``i`` may fragment memory: unless it is in bulk, the allocation has tried without before."""
    if is_for_bulk_page(i):
        return
    look_for_silent_refill(cpu, order, migratetype)
    if memory_is_ample():
        pcp_auto[cpu].free_count >>= 1


def limits_to_come(i: int, cpu: int, high: int) -> None:
    """pcp->high was raised from ``high`` to a limit that is just set, perhaps to one set before the CPU goes on."""
    low = pcp[cpu].high
    top = low
    for k in range(i + 1, verdict.nr_events):
        if event[k].cpu == cpu:
            break
        if event[k].kind == Kind.ZONE_SET_PAGESET:
            low = min(low, max(high, event[k].page))
            top = max(top, event[k].page)
    if low != top:
        bound(cpu, low, top)


def may_be(flags: int) -> bool:
    """Whether the zone can have just these flags now."""
    if flags & FLAG_RECLAIM and not verdict.kswapd:
        return False
    if verdict.maybe_below:
        return True
    return (flags & FLAG_BELOW != 0) == zone_auto.below_high


def pages_with(cpu: int, order: int, is_refill: bool, high: int, flags: int) -> int:
    """How many pages the model would move with that pcp->high and these flags; pcp->high is left as it would be."""
    below_high = zone_auto.below_high
    pcp[cpu].high = high
    zone.reclaim_active = flags & FLAG_RECLAIM != 0
    zone_auto.below_high = flags & FLAG_BELOW != 0
    pages = would_take(cpu, order) if is_refill else would_give_back(cpu, order)
    zone.reclaim_active = False
    zone_auto.below_high = below_high
    return pages


def try_factors(cpu: int, order: int, is_refill: bool, high: int, shown: int, most: int) -> None:
    """Keep what pcp->high and alloc_factor can be after ``shown`` to ``most`` pages if pcp->high was ``high``."""
    least = pcp_auto[cpu].alloc_factor
    top = max(high_doubt[cpu].factor_top, least) if is_refill else least
    for factor in range(least, top + 1):
        pcp_auto[cpu].alloc_factor = factor
        try_flags(cpu, order, is_refill, high, shown, most)
    pcp_auto[cpu].alloc_factor = least


def try_flags(cpu: int, order: int, is_refill: bool, high: int, shown: int, most: int) -> None:
    """The same for one value of alloc_factor."""
    for flags in range(4):
        if may_be(flags):
            if shown <= pages_with(cpu, order, is_refill, high, flags) <= most:
                after = pcp[cpu].high
                factor = high_doubt[cpu].factor_after
                if high_doubt[cpu].new_low == NIL:
                    high_doubt[cpu].fits = high
                    high_doubt[cpu].flags = flags
                    high_doubt[cpu].factor = pcp_auto[cpu].alloc_factor
                    high_doubt[cpu].new_low = after
                    high_doubt[cpu].new_top = after
                    high_doubt[cpu].new_factor_low = factor
                    high_doubt[cpu].new_factor_top = factor
                high_doubt[cpu].new_low = min(high_doubt[cpu].new_low, after)
                high_doubt[cpu].new_top = max(high_doubt[cpu].new_top, after)
                high_doubt[cpu].new_factor_low = min(high_doubt[cpu].new_factor_low, factor)
                high_doubt[cpu].new_factor_top = max(high_doubt[cpu].new_factor_top, factor)
            else:
                high_doubt[cpu].agreed = False


def narrow(cpu: int, order: int, is_refill: bool, shown: int, most: int) -> int:
    """Leave pcp->high and the flags such that the model moves as many pages as the kernel did: one of FITS_*.

    The trace shows ``shown`` of them, and the kernel may have meant to move up to ``most``.
    Has to be followed by settle() when the model has done so.  For a give-back the page is on the pcplist already.
    """
    low = high_doubt[cpu].low
    top = high_doubt[cpu].top
    high = pcp[cpu].high
    high_doubt[cpu].new_low = NIL
    high_doubt[cpu].agreed = True
    try_factors(cpu, order, is_refill, low, shown, most)
    if top != low:
        try_factors(cpu, order, is_refill, top, shown, most)
    if most == 0 and not is_refill:
        if verdict.kswapd or low <= pcp[cpu].count:
            try_where_nothing_is_given_back(cpu, order)
    elif not high_doubt[cpu].agreed and top - low > 1:
        # What is moved falls or rises with pcp->high, but what becomes of pcp->high need not.
        for between in range(low + 1, top):
            try_factors(cpu, order, is_refill, between, shown, most)
    if high_doubt[cpu].new_low == NIL:
        pcp[cpu].high = high
        return FITS_NOT
    pcp[cpu].high = high_doubt[cpu].fits
    if is_refill:
        pcp_auto[cpu].alloc_factor = high_doubt[cpu].factor
    zone.reclaim_active = high_doubt[cpu].flags & FLAG_RECLAIM != 0
    zone_auto.below_high = high_doubt[cpu].flags & FLAG_BELOW != 0
    return FITS_ALL if high_doubt[cpu].agreed else FITS


def try_where_nothing_is_given_back(cpu: int, order: int) -> None:
    """The pcplists are full from some pcp->high down, and from another one down in reclaim: try those just above.

    From there up to the highest pcp->high nothing changes but what becomes of it, and that rises with it.  Nothing is
    given back either of pcplists that may hold no more than a batch.
    """
    try_with_falls(cpu, order, pcp[cpu].count + 1)
    try_with_falls(cpu, order, pcp[cpu].batch)


def try_with_falls(cpu: int, order: int, high: int) -> None:
    """That pcp->high, and those that fall to it in reclaim."""
    free_count = pcp_auto[cpu].free_count
    try_between(cpu, order, high)
    try_between(cpu, order, high + pcp[cpu].batch)
    try_between(cpu, order, high + free_count)
    try_between(cpu, order, high + free_count + (1 << order))


def try_between(cpu: int, order: int, high: int) -> None:
    """Nothing is given back: try one value, if pcp->high can be that."""
    if high_doubt[cpu].low < high < high_doubt[cpu].top:
        try_factors(cpu, order, False, high, 0, 0)


def settle(cpu: int, is_refill: bool) -> None:
    """The model has moved the pages: what pcp->high and alloc_factor can be now."""
    zone.reclaim_active = False
    if is_refill:
        pcp_auto[cpu].alloc_factor = high_doubt[cpu].new_factor_low
        high_doubt[cpu].factor_top = high_doubt[cpu].new_factor_top
    bound(cpu, high_doubt[cpu].new_low, high_doubt[cpu].new_top)


def bound(cpu: int, low: int, top: int) -> None:
    """pcp->high is one of these; the doubt ends if it is one value, and nothing else is in doubt."""
    pcp[cpu].high = low
    high_doubt[cpu].low = low
    high_doubt[cpu].top = top
    factor_known = high_doubt[cpu].factor_top <= pcp_auto[cpu].alloc_factor
    if low == top and factor_known and not verdict.kswapd and not verdict.maybe_below:
        high_doubt[cpu].low = NIL


def may_be_too(cpu: int, other: int) -> None:
    """pcp->high may be another value, too, unless that is NIL."""
    high = pcp[cpu].high
    if other not in (NIL, high):
        bound(cpu, min(other, high), max(other, high))


def widen(cpu: int) -> None:
    """Nothing is known of pcp->high and alloc_factor any more but their limits."""
    zone.reclaim_active = False
    pcp_auto[cpu].alloc_factor = 0
    high_doubt[cpu].factor_top = machine.pcp_batch_scale_max
    bound(cpu, pcp_auto[cpu].high_min, pcp_auto[cpu].high_max)


def ask_for_most(cpu: int) -> None:
    """Have the next refill ask for as many pages as it can ever do: it takes what there is."""
    pcp[cpu].high = pcp_auto[cpu].high_max
    pcp_auto[cpu].alloc_factor = machine.pcp_batch_scale_max


def decay_in_doubt(cpu: int, shown: int) -> int:
    """pcp->high decays, and so many base pages are given back; returns how many the model gives back."""
    top = high_doubt[cpu].top
    low = high_doubt[cpu].low
    pcp[cpu].high = top
    least = max(decay_high(cpu), 0)
    top = pcp[cpu].high
    pcp[cpu].high = low
    most = max(decay_high(cpu), 0)
    low = pcp[cpu].high
    if shown < least or shown > most:
        bound(cpu, low, top)
        return most
    if shown > 0:
        low = pcp[cpu].count - shown
        top = low
    else:
        low = max(low, pcp[cpu].count)
    bound(cpu, low, max(low, top))
    cpu_replay[cpu].give_back_doubt = least != most
    return shown
