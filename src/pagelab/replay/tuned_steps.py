# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow pcplists that size themselves, as those since v6.7 do.

How many pages a refill takes and a free gives back is the model's own prediction.  Only where high and batch were
changed by another CPU just then, it depends on which of the values were read; then the number of pages decides.
"""

from __future__ import annotations

from pagelab.capture.events import Kind
from pagelab.lang.declare import NIL, held, trylock, unlock
from pagelab.linux.buddy import FPI_NONE
from pagelab.linux.drain import decay_high
from pagelab.linux.features import features
from pagelab.linux.pcp import (
    free_one_page,
    free_pcppages_bulk,
    nr_to_give_back,
    order_to_pindex,
    put_on_pcplist,
)
from pagelab.linux.pcp_high import clear_below_high
from pagelab.linux.state import BUDDY, IN_FLIGHT, TAIL, machine, mem_map, pcp, pcp_auto, zone
from pagelab.replay.alloc_steps import take_from_pcplist
from pagelab.replay.bulk_steps import is_for_bulk_page
from pagelab.replay.context import after_zone_lock, context_of, next_by_task, next_in_context
from pagelab.replay.expect import believe, count_exact, count_undecided, diverge, give_up, pages_owed
from pagelab.replay.high_in_doubt import (
    FITS_ALL,
    FITS_NOT,
    ask_for_most,
    clear_maybe_below,
    decay_in_doubt,
    is_in_doubt,
    limits_to_come,
    look_at_watermark,
    may_be_too,
    narrow,
    refill_finds_nothing,
    settle,
    widen,
    would_give_back,
    would_take,
)
from pagelab.replay.tables import (
    HOLD_GIVE_BACK,
    HOLD_NONE,
    REASON_HIGH,
    REASON_UNMODELLED,
    SCORE_FREE,
    SCORE_PAGESET,
    capture,
    cpu_replay,
    event,
    high_doubt,
    hotplug,
    left_over,
    verdict,
)

# event[i].arg of mm_page_alloc_extfrag: capture.wanted.PACKED_FIELDS.
CHANGED_BIT = 16
ORDER_MASK = 0xFF


# ---- high and batch may be the old ones


def swap_limits(cpu: int) -> None:
    """Exchange the limits of a CPU's pcplists with those that were in force before they were last set."""
    high_min = pcp_auto[cpu].high_min
    high_max = pcp_auto[cpu].high_max
    batch = pcp[cpu].batch
    pcp_auto[cpu].high_min = hotplug.old_high
    pcp_auto[cpu].high_max = hotplug.old_high_max
    pcp[cpu].batch = hotplug.old_batch
    hotplug.old_high = high_min
    hotplug.old_high_max = high_max
    hotplug.old_batch = batch


def are_being_set(i: int) -> bool:
    """Whether those that were last set may not be in force at event ``i``: who sets them has shown nothing since."""
    if hotplug.set_at == NIL:
        return False
    pid = event[hotplug.set_at].pid
    context = context_of(hotplug.set_at)
    for k in range(max(hotplug.set_at + 1, hotplug.looked), i + 1):
        if event[k].pid == pid and context_of(k) == context:
            hotplug.set_at = NIL
            return False
    hotplug.looked = i + 1
    return True


def high_by_old_limits(i: int, cpu: int, order: int, shown: int) -> int:
    """What pcp->high would be after event ``i`` if the limits before the last were in force; NIL if they cannot be.

    :param shown: pages of a refill, or 0 for a free that gives nothing back.
    """
    if not are_being_set(i):
        return NIL
    high = pcp[cpu].high
    swap_limits(cpu)
    pages = would_take(cpu, order) if shown > 0 else would_give_back(cpu, order)
    after = pcp[cpu].high if pages == shown else NIL
    swap_limits(cpu)
    pcp[cpu].high = high
    return after


def swap_for_disabled(cpu: int) -> None:
    """Exchange them with those of zone_pcp_disable(): zone_pcp_enable() was followed by zone_pcp_update()."""
    hotplug.old_high = 0
    hotplug.old_high_max = 0
    hotplug.old_batch = 1
    swap_limits(cpu)


def were_enabled(i: int, cpu: int) -> bool:
    """Whether the pcplists were enabled after what this CPU did before event ``i``."""
    k = i - 1
    while k >= 0 and event[k].cpu != cpu:
        if event[k].kind == Kind.ZONE_PCP_ENABLE:
            return True
        k -= 1
    return False


def peek_refill(cpu: int, order: int) -> int:
    """How many pages a refill would take now."""
    high = pcp[cpu].high
    pages = would_take(cpu, order)
    pcp[cpu].high = high
    return pages


def peek_give_back(cpu: int, order: int) -> int:
    """How many base pages a free of a page that is on the pcplist already would give back now."""
    high = pcp[cpu].high
    pages = would_give_back(cpu, order)
    pcp[cpu].high = high
    return pages


# ---- allocate


def pages_shown(i: int) -> int:
    """How many pages the hold of zone->lock that begins with event ``i`` takes: all by one task, in one context."""
    pages = 0
    pid = event[i].pid
    context = context_of(i)
    while i != NIL and event[i].pid == pid and context_of(i) == context:
        kind = event[i].kind
        if kind == Kind.MM_PAGE_ALLOC_ZONE_LOCKED:
            pages += 1
        elif kind == Kind.MM_PAGE_ALLOC_EXTFRAG:
            # One that claims a pageblock follows the event of its page; for others there is no other event.
            claimed = event[i].arg >> CHANGED_BIT != 0
            if not claimed or event[i].arg & ORDER_MASK >= machine.pageblock_order:
                pages += 1
        elif kind not in (Kind.MOVE_FREEPAGES_BLOCK, Kind.MOVE_FREEPAGES_BLOCK_DONE):
            break
        i = event[i].next
    return pages


def is_refill(i: int, cpu: int, order: int) -> bool:
    """Whether a CPU whose pcplist is empty refills it, and does not go past it because somebody has pcp->lock."""
    if held(pcp[cpu].lock):
        return False
    if pages_shown(i) > 1 or peek_refill(cpu, order) == 1:
        return True
    # A single page: the pcplists were disabled when it read high and batch, and are enabled by now.
    following = after_zone_lock(i)
    return following != NIL and event[following].kind in (Kind.RMQUEUE_PCPLIST_PAGE, Kind.ALLOC_PAGES_BULK_PAGE)


def refill_tuned(i: int, cpu: int, order: int, migratetype: int, alloc_flags: int) -> int:
    """A pcplist is empty: fill it and take the first page."""
    look_at_watermark()
    in_bulk = is_for_bulk_page(i)
    shown = pages_shown(i)
    if is_in_doubt(cpu):
        fits = narrow(cpu, order, True, shown, shown)
        if fits == FITS_NOT:
            ask_for_most(cpu)
        page = take_from_pcplist(cpu, order, migratetype, alloc_flags, in_bulk)
        if fits == FITS_NOT or refill_finds_nothing(order, migratetype):
            widen(cpu)  # it may have asked for more than there was
        else:
            settle(cpu, True)
        return page
    old = False
    high = high_by_old_limits(i, cpu, order, shown)
    if peek_refill(cpu, order) != shown:
        swap_limits(cpu)
        old = peek_refill(cpu, order) == shown
        if not old:
            swap_limits(cpu)
            old = shown == 1 and zone.free_pages > 1
            if old:
                swap_for_disabled(cpu)
    page = take_from_pcplist(cpu, order, migratetype, alloc_flags, in_bulk)
    if old:
        swap_limits(cpu)
    else:
        may_be_too(cpu, high)
    return page


# ---- free


def join_prepared(page: int, order: int) -> None:
    """Single pages in a row were announced, and are freed as one: __free_contig_range() of 7.2, by vfree() too."""
    if order == 0 or mem_map[page].state != IN_FLIGHT or mem_map[page].compound_order != 0:
        return
    for tail in range(page + 1, page + (1 << order)):
        if mem_map[tail].state != IN_FLIGHT or mem_map[tail].compound_order != 0:
            return
    for tail in range(page + 1, page + (1 << order)):
        mem_map[tail].state = TAIL
    mem_map[page].compound_order = order


def commit_tuned(i: int, cpu: int, page: int, order: int, migratetype: int) -> None:
    """A page is put on a pcplist; whether others are given back shows in the next event of its task."""
    look_at_watermark()
    join_prepared(page, order)
    put_on_pcplist(cpu, page, order_to_pindex(migratetype, order), order)
    high_doubt[cpu].factor_top >>= 1  # as alloc_factor
    following = next_in_context(i, context_of(i))
    same_task = following != NIL and event[following].pid == event[i].pid
    followed = same_task and event[following].kind == Kind.FREE_PCPPAGES_BULK
    # Scheduled away between two batches, and on its return it freed what the task before it had left behind
    # (finish_task_switch()): then it goes on with its batches.
    nested = followed and peek_give_back(cpu, order) == 0 and goes_on(i, cpu)
    nested = nested and pages_given_back(following) <= cpu_replay[cpu].give_back
    if followed and not nested:
        cpu_replay[cpu].hold_order = order
        cpu_replay[cpu].hold_migratetype = migratetype
        set_aside(i, cpu)
        cpu_replay[cpu].give_back = NIL
        hold_for_zone(i, cpu)
        return
    if is_in_doubt(cpu) and narrow(cpu, order, False, 0, 0) != FITS_NOT:
        nr_to_give_back(cpu, order)
        settle(cpu, False)
        return
    if peek_give_back(cpu, order) != 0:
        # It read other limits.
        swap_limits(cpu)
        old = peek_give_back(cpu, order) == 0
        before = pcp[cpu].high
        if old:
            nr_to_give_back(cpu, order)
        swap_limits(cpu)
        if old:
            limits_to_come(i, cpu, before)
        else:
            diverge(i, SCORE_PAGESET, Kind.FREE_PCPPAGES_BULK, page, order, migratetype, peek_give_back(cpu, order))
        return
    high = high_by_old_limits(i, cpu, order, 0)
    nr_to_give_back(cpu, order)
    may_be_too(cpu, high)


def hold_for_zone(i: int, cpu: int) -> None:
    """pcp->lock is held, and zone->lock is wanted."""
    cpu_replay[cpu].hold = HOLD_GIVE_BACK
    cpu_replay[cpu].hold_context = context_of(i)
    if not trylock(pcp[cpu].lock):
        give_up(REASON_UNMODELLED)


def bulk_tuned(i: int, cpu: int) -> None:
    """free_pcppages_bulk() is entered by who put a page on a full pcplist, or by who lets pcp->high decay."""
    if cpu_replay[cpu].hold == HOLD_GIVE_BACK and cpu_replay[cpu].give_back == NIL:
        decide(i, cpu)
    elif cpu_replay[cpu].hold == HOLD_NONE and goes_on(i, cpu):
        hold_for_zone(i, cpu)  # one more batch
    else:
        give_up(REASON_UNMODELLED)
        return
    chunk = chunk_of(cpu)
    if chunk == event[i].arg and cpu_replay[cpu].give_back_doubt:
        count_undecided(SCORE_PAGESET, REASON_HIGH)
    elif chunk == event[i].arg:
        count_exact(SCORE_PAGESET)
    else:
        diverge(i, SCORE_PAGESET, Kind.FREE_PCPPAGES_BULK, NIL, NIL, NIL, chunk)


def set_aside(i: int, cpu: int) -> None:
    """The task of event ``i`` gives pages back: keep what another, whom it came upon, has still to give back."""
    pid = event[i].pid
    context = context_of(i)
    free = NIL
    for k in range(capture.pending_size):
        if left_over[cpu, k].pid == pid and left_over[cpu, k].context == context:
            left_over[cpu, k].pages = 0  # it gave up, because pcp->lock was taken
        if left_over[cpu, k].pages == 0:
            free = k
    owner = cpu_replay[cpu].give_back_pid
    owner_context = cpu_replay[cpu].give_back_context
    if cpu_replay[cpu].give_back > 0 and (owner != pid or owner_context != context) and free != NIL:
        left_over[cpu, free].pages = cpu_replay[cpu].give_back
        left_over[cpu, free].start = cpu_replay[cpu].give_back_from
        left_over[cpu, free].batch = cpu_replay[cpu].give_back_batch
        left_over[cpu, free].decays = cpu_replay[cpu].give_back_decays
        left_over[cpu, free].doubt = cpu_replay[cpu].give_back_doubt
        left_over[cpu, free].pid = owner
        left_over[cpu, free].context = owner_context
    cpu_replay[cpu].give_back = 0
    cpu_replay[cpu].give_back_decays = False
    cpu_replay[cpu].give_back_doubt = False
    cpu_replay[cpu].give_back_pid = pid
    cpu_replay[cpu].give_back_context = context


def goes_on(i: int, cpu: int) -> bool:
    """Whether the task of event ``i`` has still pages to give back."""
    pid = event[i].pid
    context = context_of(i)
    if cpu_replay[cpu].give_back_pid == pid and cpu_replay[cpu].give_back_context == context:
        return cpu_replay[cpu].give_back > 0
    for k in range(capture.pending_size):
        pages = left_over[cpu, k].pages
        if pages > 0 and left_over[cpu, k].pid == pid and left_over[cpu, k].context == context:
            start = left_over[cpu, k].start
            batch = left_over[cpu, k].batch
            decays = left_over[cpu, k].decays
            in_doubt = left_over[cpu, k].doubt
            set_aside(i, cpu)
            cpu_replay[cpu].give_back = pages
            cpu_replay[cpu].give_back_from = start
            cpu_replay[cpu].give_back_batch = batch
            cpu_replay[cpu].give_back_decays = decays
            cpu_replay[cpu].give_back_doubt = in_doubt
            cpu_replay[cpu].in_batches = True
            return True
    return False


def drainer_moved(i: int, cpu: int) -> None:
    """A task that drains pcplists was put on another CPU, between two batches."""
    for other in range(machine.nr_cpus):
        same_task = cpu_replay[other].draining_pid == event[i].pid
        same_task = same_task and cpu_replay[other].draining_context == context_of(i)
        if other != cpu and same_task and cpu_replay[other].draining != NIL and not cpu_replay[other].drain_waits:
            cpu_replay[cpu].draining = cpu_replay[other].draining
            cpu_replay[cpu].draining_pid = event[i].pid
            cpu_replay[cpu].draining_context = context_of(i)
            cpu_replay[other].draining = NIL


def decide(i: int, cpu: int) -> None:
    """The CPU has read high and batch by now: how much it gives back."""
    order = cpu_replay[cpu].hold_order
    cpu_replay[cpu].give_back_from = order_to_pindex(cpu_replay[cpu].hold_migratetype, order)
    cpu_replay[cpu].give_back_batch = pcp[cpu].batch
    cpu_replay[cpu].in_batches = features.free_in_batches
    if is_in_doubt(cpu):
        shown = pages_given_back(i)
        fits = narrow(cpu, order, False, shown, shown)
        if fits == FITS_NOT and features.free_in_batches:
            # The task was scheduled away between two batches, or it gave up because somebody else had pcp->lock.
            fits = narrow(cpu, order, False, shown, pcp[cpu].count)
        cpu_replay[cpu].give_back = nr_to_give_back(cpu, order)
        cpu_replay[cpu].give_back_doubt = fits != FITS_ALL
        if fits == FITS_NOT:
            widen(cpu)
        else:
            settle(cpu, False)
        return
    old = False
    if first_chunk(cpu, order) != event[i].arg:
        swap_limits(cpu)
        old = first_chunk(cpu, order) == event[i].arg
        if not old and were_enabled(i, cpu):
            swap_limits(cpu)
            swap_for_disabled(cpu)
            old = first_chunk(cpu, order) == event[i].arg
        if old:
            cpu_replay[cpu].give_back_batch = pcp[cpu].batch
        else:
            swap_limits(cpu)
    cpu_replay[cpu].give_back = nr_to_give_back(cpu, order)
    if old:
        swap_limits(cpu)


def pages_given_back(i: int) -> int:
    """How many base pages a task gives back, from the free_pcppages_bulk() of event ``i`` on."""
    pages = 0
    while i != NIL and event[i].kind in (Kind.FREE_PCPPAGES_BULK, Kind.MM_PAGE_PCPU_DRAIN):
        if event[i].kind == Kind.FREE_PCPPAGES_BULK:
            pages += event[i].arg
        i = next_by_task(i)
    return pages


def first_chunk(cpu: int, order: int) -> int:
    """How many base pages the first call of free_pcppages_bulk() would be asked for now."""
    pages = peek_give_back(cpu, order)
    if features.free_in_batches:
        return min(pages, pcp[cpu].batch)
    return pages


def chunk_of(cpu: int) -> int:
    """How many base pages are given back in the next hold of zone->lock."""
    pages = cpu_replay[cpu].give_back
    if cpu_replay[cpu].in_batches:
        return min(pages, cpu_replay[cpu].give_back_batch)
    return pages


def give_back_held(cpu: int) -> None:
    """zone->lock is taken: give pages back."""
    cpu_replay[cpu].hold = HOLD_NONE
    unlock(pcp[cpu].lock)
    chunk = chunk_of(cpu)
    cpu_replay[cpu].give_back -= chunk
    free_pcppages_bulk(cpu, cpu, chunk, cpu_replay[cpu].give_back_from)
    if cpu_replay[cpu].give_back == 0:
        cpu_replay[cpu].in_batches = False
        if not cpu_replay[cpu].give_back_decays:
            clear_below_high()
            clear_maybe_below()


def decay_during_drain(i: int, cpu: int) -> int:
    """Let pcp->high fall; returns how many base pages are too many then.

    pcp->count is read without pcp->lock: before the last pages that another CPU is just taking from these pcplists.
    """
    high = pcp[cpu].high
    pages = max(decay_high(cpu), 0)
    more = pages_given_back(next_by_task(i)) - pages
    for other in range(machine.nr_cpus):
        if cpu_replay[other].locked == cpu and 0 < more <= pages_owed(other):
            pcp[cpu].high = high
            pcp[cpu].count += more
            pages = decay_high(cpu)
            pcp[cpu].count -= more
    return pages


def begin_decay(i: int, cpu: int) -> None:
    """The vmstat worker lets pcp->high fall."""
    set_aside(i, cpu)
    cpu_replay[cpu].give_back_decays = True
    if is_in_doubt(cpu):
        cpu_replay[cpu].give_back = decay_in_doubt(cpu, pages_given_back(next_by_task(i)))
    else:
        cpu_replay[cpu].give_back = decay_during_drain(i, cpu)
    cpu_replay[cpu].give_back_from = 0
    cpu_replay[cpu].give_back_batch = pcp[cpu].batch
    cpu_replay[cpu].in_batches = True


# ---- past the pcplists


def step_split(i: int, cpu: int) -> None:
    """A page gets to the free lists, under zone->lock: freed past the pcplists, or split because of an isolation."""
    page = event[i].page
    join_prepared(page, event[i].order)
    state = mem_map[page].state
    if state == IN_FLIGHT and mem_map[page].compound_order == event[i].order:
        verdict.zone_events += 1
        free_one_page(cpu, page, event[i].order, 0, FPI_NONE)
        believe(page)
    elif state not in (BUDDY, TAIL):
        diverge(i, SCORE_FREE, Kind.SPLIT_LARGE_BUDDY, page, mem_map[page].compound_order, NIL, state)
