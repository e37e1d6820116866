# SPDX-License-Identifier: GPL-2.0-or-later
"""Follow a trace with the model, event by event.

Each event tells that a procedure of the kernel ran; the model runs the procedure of that name and must arrive at the
same pages.  What an event says of the page itself is used only after the model has named its own.
"""

from __future__ import annotations

from pagelab.capture.events import CONTEXT_SOFTIRQ, Kind
from pagelab.lang.declare import NIL, trylock, unlock
from pagelab.linux.alloc_flags import ALLOC_HIGHATOMIC, ALLOC_NOFRAGMENT
from pagelab.linux.buddy import FPI_NONE
from pagelab.linux.drain import drain_pages_zone_once
from pagelab.linux.features import features
from pagelab.linux.highatomic import reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from pagelab.linux.migratetype import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_UNMOVABLE,
)
from pagelab.linux.page_alloc import rmqueue_buddy, split_page
from pagelab.linux.pcp import (
    free_one_page,
    free_unref_page_commit,
    free_unref_page_prepare,
    pcp_allowed_order,
    rmqueue_pcplist,
)
from pagelab.linux.pcp_high import note_below_high
from pagelab.linux.state import (
    ALLOCATED,
    IN_FLIGHT,
    OFFLINE,
    machine,
    mem_map,
    pcp,
    zone,
)
from pagelab.replay.alloc_steps import (
    may_be_behind_bulk,
    may_take_silently,
    pcplist_is_empty,
    push_pending,
    step_alloc,
    step_take,
    take_from_pcplist,
)
from pagelab.replay.bulk_steps import (
    bulk_before_refill,
    bulk_refill,
    finish_bulk,
    start_bulk,
)
from pagelab.replay.compaction_steps import set_first_as_shown, step_compaction, step_isolate_free_page
from pagelab.replay.context import after_zone_lock, context_of, next_in_context
from pagelab.replay.contig_steps import join_taken, step_contig
from pagelab.replay.expect import believe, check_expected, count_exact, count_unknown, diverge, doubt, give_up, waits
from pagelab.replay.fallback_steps import alloc_flags_of_hold, is_isolation, taken_over_by
from pagelab.replay.high_in_doubt import look_for_silent_refill, tried_before
from pagelab.replay.hotplug_steps import step_hotplug, step_online_free
from pagelab.replay.irqs_off_steps import (
    batch_as_read,
    goes_past,
    may_be_of_free,
    push_direct,
    read_type_as_shown,
    run_own_drain,
    settle_directs,
)
from pagelab.replay.late_steps import (
    free_after_interrupts,
    free_late,
    is_past_late,
    push_late,
    settle_direct,
    step_free_one_page,
)
from pagelab.replay.link import skip
from pagelab.replay.reclaim_steps import is_limited
from pagelab.replay.tables import (
    HOLD_COMMIT,
    HOLD_DRAIN,
    HOLD_GIVE_BACK,
    HOLD_NONE,
    HOLD_REFILL,
    NOTE_NONE,
    REASON_BULK,
    REASON_DRAIN,
    REASON_LOST,
    REASON_NONE,
    REASON_RECLAIM,
    REASON_UNMODELLED,
    SCORE_DRAIN,
    SCORE_FREE,
    SCORE_REFILL,
    capture,
    cpu_replay,
    event,
    expected,
    hotplug,
    verdict,
)
from pagelab.replay.tuned_steps import (
    begin_decay,
    bulk_tuned,
    commit_tuned,
    drainer_moved,
    give_back_held,
    is_refill,
    refill_tuned,
    step_split,
)


def replay(first: int, end: int) -> int:
    """Follow events ``first`` up to ``end``; returns the number of the event after the last."""
    for i in range(first, end):
        if verdict.reason == REASON_NONE:
            step(i)
        else:
            skip(i)
    return end


def step(i: int) -> None:
    """Follow one event."""
    kind = event[i].kind
    cpu = event[i].cpu
    cpu_replay[cpu].before = cpu_replay[cpu].last
    cpu_replay[cpu].last = i
    verdict.current = i
    free_after_interrupts(i, cpu)
    settle_direct(i, cpu)
    if cpu_replay[cpu].directs != 0:
        settle_directs(i, cpu)
    while cpu_replay[cpu].late_first != cpu_replay[cpu].late_end and is_past_late(i, cpu):
        free_late(cpu)
    if kind == Kind.MM_PAGE_ALLOC_ZONE_LOCKED:
        step_zone_locked(i, cpu)
        return
    if kind == Kind.MM_PAGE_PCPU_DRAIN:
        step_drain(i, cpu)
        return
    if kind == Kind.MM_PAGE_ALLOC_EXTFRAG or (kind == Kind.MOVE_FREEPAGES_BLOCK and not is_isolation(i)):
        step_fallback(i, cpu)
        return
    if waits(cpu):
        # zone->lock is held with irqs off: nothing else can happen on this CPU before all is shown.
        check_expected(i)
        return
    if kind == Kind.FREE_PCPPAGES_BULK:
        step_bulk(i, cpu)
        return
    if kind == Kind.SPLIT_LARGE_BUDDY:
        step_split(i, cpu)
        return
    if cpu_replay[cpu].hold != HOLD_NONE and cpu_replay[cpu].hold_context == context_of(i):
        finish_empty_hold(i, cpu)
    if is_by_drainer(i, cpu):
        if cpu_replay[cpu].drain_waits:
            run_drain(cpu)
            check_expected(i)
        cpu_replay[cpu].draining = NIL
    if event[i].page == NIL and kind in (Kind.MM_PAGE_ALLOC, Kind.MM_PAGE_FREE, Kind.MM_PAGE_FREE_BATCHED):
        # Of another zone: it tells that the CPU has gone on, and perhaps that it found nothing in this one.
        if kind == Kind.MM_PAGE_ALLOC and features.high_auto_tuning:
            look_for_silent_refill(cpu, event[i].order, event[i].migratetype)
        return
    if kind == Kind.MM_PAGE_ALLOC:
        step_alloc(i, cpu)
    elif kind == Kind.MM_PAGE_FREE:
        step_free(i, cpu)
    elif kind == Kind.MM_PAGE_FREE_BATCHED:
        if not capture.probe_free_unref_page_commit:
            step_commit(i, cpu)
    elif kind == Kind.FREE_UNREF_PAGE_COMMIT:
        step_commit(i, cpu)
    elif kind == Kind.DECAY_PCP_HIGH:
        begin_decay(i, cpu)
    elif kind == Kind.FREE_ONE_PAGE:
        step_free_one_page(i, cpu)
    elif kind == Kind.ISOLATE_FREE_PAGE:
        step_isolate_free_page(i, cpu)
    elif kind == Kind.RMQUEUE_PCPLIST_PAGE:
        step_take(i, cpu)
    elif kind == Kind.ALLOC_PAGES_BULK_PAGE:
        step_alloc(i, cpu)
    elif kind == Kind.ALLOC_PAGES_BULK:
        start_bulk(i)
    elif kind == Kind.ALLOC_PAGES_BULK_DONE:
        finish_bulk(i, cpu)
    elif kind == Kind.RMQUEUE_BULK:
        bulk_before_refill(i, cpu)
        begin_hold(i, cpu, HOLD_REFILL)
    elif kind == Kind.DRAIN_PAGES_ZONE:
        drainer_moved(i, cpu)  # then it is done with what it did there
        cpu_replay[cpu].draining = event[i].arg
        cpu_replay[cpu].draining_pid = event[i].pid
        cpu_replay[cpu].draining_context = context_of(i)
    elif kind == Kind.LOST:
        give_up(REASON_LOST)
    elif kind == Kind.WAKE_KSWAPD:
        verdict.kswapd = True
        if not capture.probe_free_pcppages_bulk:
            give_up(REASON_RECLAIM)
    elif kind == Kind.KSWAPD_SLEEP:
        verdict.kswapd = False
    elif kind == Kind.COMPACTION_BEGIN:
        verdict.compacted = True
    elif kind == Kind.COMPACTION:
        step_compaction(i)
    elif not step_contig(i, cpu, kind):
        step_hotplug(i, cpu, kind)


# ---- holds: a CPU has a pcp->lock and waits for zone->lock; what it does there is done when it shows the first of it


def begin_hold(i: int, cpu: int, hold: int) -> None:
    """From event ``i`` on this CPU has its pcp->lock: an interrupt that comes now finds it taken."""
    cpu_replay[cpu].hold = hold
    cpu_replay[cpu].hold_context = context_of(i)
    cpu_replay[cpu].hold_high = pcp[cpu].high
    cpu_replay[cpu].hold_batch = pcp[cpu].batch
    cpu_replay[cpu].hold_asked = event[i].arg if hold != HOLD_COMMIT else NIL
    cpu_replay[cpu].hold_order = event[i].order
    cpu_replay[cpu].hold_migratetype = event[i].migratetype
    cpu_replay[cpu].hold_zone_events = verdict.zone_events
    cpu_replay[cpu].hold_kswapd = verdict.kswapd
    if not trylock(pcp[cpu].lock):
        give_up(REASON_UNMODELLED)


def run_hold(i: int, cpu: int) -> None:
    """zone->lock is taken: let the model do what this CPU was waiting to do."""
    hold = cpu_replay[cpu].hold
    if hold == HOLD_GIVE_BACK:
        give_back_held(cpu)
        return
    cpu_replay[cpu].hold = HOLD_NONE
    unlock(pcp[cpu].lock)
    if hold == HOLD_DRAIN:
        run_own_drain(cpu, cpu_replay[cpu].hold_asked)
        return
    order = cpu_replay[cpu].hold_order
    high = pcp[cpu].high
    batch = pcp[cpu].batch
    set_as_read(cpu, hold)
    if hold == HOLD_REFILL:
        asked = cpu_replay[cpu].hold_asked
        if cpu_replay[cpu].hold_bulk != NIL and not capture.probe_alloc_pages_bulk_page:
            bulk_refill(i, cpu, asked)
        else:
            refill(i, cpu, order, cpu_replay[cpu].hold_migratetype, asked)
    else:
        page = cpu_replay[cpu].hold_page
        if verdict.kswapd or cpu_replay[cpu].hold_kswapd:
            zone.reclaim_active = is_limited(cpu, order, cpu_replay[cpu].hold_asked)
        free_unref_page_commit(cpu, page, pcp_migratetype(page), order, FPI_NONE)
        zone.reclaim_active = False
    pcp[cpu].high = high
    pcp[cpu].batch = batch


def set_as_read(cpu: int, hold: int) -> None:
    """Set high and batch to what the CPU had read, if the number of pages that it asked for tells of other values."""
    asked = cpu_replay[cpu].hold_asked
    batch = pcp[cpu].batch
    if asked in (NIL, batch):
        return
    if asked == 1:
        pcp[cpu].high = 0
        pcp[cpu].batch = 1
    elif batch == 1 or (hold == HOLD_REFILL and cpu_replay[cpu].hold_order == 0):
        if cpu_replay[cpu].hold_batch not in (1, batch):
            pcp[cpu].high = cpu_replay[cpu].hold_high
            pcp[cpu].batch = cpu_replay[cpu].hold_batch
        elif hotplug.old_batch != 1:
            pcp[cpu].high = hotplug.old_high
            pcp[cpu].batch = hotplug.old_batch


def finish_empty_hold(i: int, cpu: int) -> None:
    """zone->lock came and went without an event: the model must have found nothing to do either.

    Unless others have changed the free lists meanwhile: what a refill finds now, it may not have found then.
    """
    if cpu_replay[cpu].hold == HOLD_REFILL and cpu_replay[cpu].hold_zone_events != verdict.zone_events:
        cpu_replay[cpu].hold = HOLD_NONE
        cpu_replay[cpu].hold_bulk = NIL
        pcp[cpu].free_factor >>= 1
        unlock(pcp[cpu].lock)
        return
    run_hold(i, cpu)
    if waits(cpu):
        page = expected[cpu, cpu_replay[cpu].popped & (capture.expected_size - 1)].page
        diverge(i, SCORE_REFILL, Kind.MM_PAGE_ALLOC_ZONE_LOCKED, page, NIL, NIL, 0)


# ---- allocate


def refill(i: int, cpu: int, order: int, migratetype: int, asked: int) -> None:
    """A pcplist is empty: fill it and take the first page."""
    if pcplist_is_empty(cpu, order, migratetype):
        flags = alloc_flags_of_hold(i, asked)
        in_bulk = cpu_replay[cpu].hold_bulk != NIL
        if features.high_auto_tuning:
            if flags & ALLOC_NOFRAGMENT == 0 and not machine.zone_movable:
                tried_before(i, cpu, order, migratetype)
            page = refill_tuned(i, cpu, order, migratetype, flags)
        else:
            batch = pcp[cpu].batch
            pcp[cpu].batch = batch_as_read(i, cpu)
            page = take_from_pcplist(cpu, order, migratetype, flags, in_bulk)
            pcp[cpu].batch = batch
        if page != NIL:
            push_pending(i, cpu, page, order, migratetype)
    elif order == 0 and may_take_silently():
        give_up(REASON_BULK)  # somebody had its pages silently


def step_zone_locked(i: int, cpu: int) -> None:
    """A page was taken from the free lists: the first of a refill, one more of it, or one past the pcplists."""
    if not waits(cpu):
        take(i, cpu, event[i].order, event[i].migratetype)
    check_expected(i)


def take(i: int, cpu: int, order: int, migratetype: int) -> None:
    """Event ``i`` is the first of what a CPU does under zone->lock to get pages of an order and a migratetype."""
    note_below_high(order)
    set_first_as_shown(i)
    if cpu_replay[cpu].hold == HOLD_GIVE_BACK and cpu_replay[cpu].hold_context == context_of(i):
        finish_empty_hold(i, cpu)  # a batch before this found the pcplists empty
    if cpu_replay[cpu].hold == HOLD_REFILL and is_past_refill(i, cpu):
        finish_empty_hold(i, cpu)
    if cpu_replay[cpu].hold == HOLD_REFILL and not is_by_softirq_on_hold(i, cpu):
        run_hold(i, cpu)
    elif (
        not capture.probe_rmqueue_bulk
        and pcp_allowed_order(order)
        and migratetype < MIGRATE_PCPTYPES
        and pcplist_is_empty(cpu, order, migratetype)
        and may_be_refill(i, cpu, order)
    ):
        refill(i, cpu, order, migratetype, capture.expected_size)
    else:
        # Its order has no pcplists, or somebody holds pcp->lock.
        flags = alloc_flags_of_hold(i, 1)
        if migratetype == MIGRATE_HIGHATOMIC:  # which list it was: the type that was asked for does not show
            flags |= ALLOC_HIGHATOMIC
            migratetype = MIGRATE_UNMOVABLE
        page = rmqueue_buddy(cpu, order, flags, migratetype)
        if page != NIL:
            push_pending(i, cpu, page, order, migratetype)


def may_be_refill(i: int, cpu: int, order: int) -> bool:
    """Whether so many pages are taken that it can be a refill; where the number does not tell, it is one."""
    if features.high_auto_tuning:
        return is_refill(i, cpu, order)
    return True


def is_past_refill(i: int, cpu: int) -> bool:
    """Whether event ``i`` takes a page past a pcplist whose refill found nothing: then no page leaves the pcplist."""
    if not capture.probe_rmqueue_pcplist_page or context_of(i) != cpu_replay[cpu].hold_context:
        return False
    following = after_zone_lock(i)
    return following == NIL or event[following].kind not in (Kind.RMQUEUE_PCPLIST_PAGE, Kind.ALLOC_PAGES_BULK_PAGE)


def step_fallback(i: int, cpu: int) -> None:
    """Free pages are put on the lists of another migratetype, or a pageblock is reserved or given back."""
    if not waits(cpu):
        taken = taken_over_by(i)
        if taken != NIL:
            take(i, cpu, event[taken].order, event[taken].migratetype)
        elif event[i].migratetype == MIGRATE_HIGHATOMIC:
            reserve_highatomic_pageblock(cpu, event[i].page)
        else:
            unreserve_highatomic_pageblock(cpu, event[i].migratetype, True)
    check_expected(i)


def is_by_softirq_on_hold(i: int, cpu: int) -> bool:
    """Whether a softirq came upon the hold.  (A hardirq cannot be told: probes by breakpoint do not show theirs.)"""
    return (context_of(i) ^ cpu_replay[cpu].hold_context) & CONTEXT_SOFTIRQ != 0


# ---- free


def pcp_migratetype(page: int) -> int:
    """The pcplist for a page whose type was read; HIGHATOMIC and CMA pages go to the MOVABLE one."""
    migratetype = mem_map[page].index
    return MIGRATE_MOVABLE if migratetype >= MIGRATE_PCPTYPES else migratetype


def split_allocation(page: int, order: int) -> None:
    """A single page of a larger allocation is freed: then it was split meanwhile, of which no event tells."""
    if order != 0 or (mem_map[page].state == ALLOCATED and mem_map[page].compound_order == 0):
        return
    for larger in range(1, machine.max_order):
        head = page & ~((1 << larger) - 1)
        if mem_map[head].state == ALLOCATED and mem_map[head].compound_order == larger:
            split_page(head, larger)
            return


def step_free(i: int, cpu: int) -> None:
    """A free was announced: the page gets to a pcplist, or to the free lists, when the trace says so."""
    page = event[i].page
    order = event[i].order
    if mem_map[page].state == OFFLINE:
        step_online_free(cpu, page, order)
        count_exact(SCORE_FREE)
        return
    split_allocation(page, order)
    join_taken(page, order)
    if may_be_behind_bulk(i, order):
        give_up(REASON_BULK)
        count_unknown(SCORE_FREE)
        return
    if mem_map[page].state != ALLOCATED or mem_map[page].compound_order != order:
        diverge(i, SCORE_FREE, Kind.MM_PAGE_FREE, page, mem_map[page].compound_order, NIL, mem_map[page].state)
        return
    count_exact(SCORE_FREE)
    believe(page)
    free_unref_page_prepare(cpu, page, order)
    if event[i].note != NOTE_NONE or capture.probe_free_one_page:
        return
    migratetype = mem_map[page].index
    if capture.probe_split_large_buddy:
        return  # that shows when it gets to the free lists
    if not pcp_allowed_order(order) and capture.probe_free_pages_counted:
        push_direct(i, cpu)
    elif not pcp_allowed_order(order) or migratetype == MIGRATE_ISOLATE:
        free_one_page(cpu, page, order, migratetype, FPI_NONE)
        # Even into an isolated pageblock: it may merge with a neighbour that is on a list which serves allocations.
        verdict.zone_events += 1
        cpu_replay[cpu].direct_page = page
        cpu_replay[cpu].direct_context = context_of(i)
        cpu_replay[cpu].direct_zone_events = verdict.zone_events
        doubt(page)
    elif not capture.probe_free_unref_page_commit:
        commit(i, cpu, page, order)
    else:
        # Somebody had the pcp->lock, or the pageblock was isolated before its type was read.
        push_late(i, cpu)


# ---- put on a pcplist


def step_commit(i: int, cpu: int) -> None:
    """A page whose free was announced is put on a pcplist."""
    page = event[i].page
    kind = event[i].kind
    # Since Linux kernel commit 4b23a68f9536 ("mm/page_alloc: protect PCP lists with a spinlock") (in v6.0)
    if not features.pcp_spinlock:
        if mem_map[page].state != IN_FLIGHT or not read_type_as_shown(i):
            diverge(i, SCORE_FREE, kind, page, 0, mem_map[page].index, mem_map[page].state)
        elif not goes_past(cpu, page):
            commit(i, cpu, page, 0)
        return
    if kind == Kind.MM_PAGE_FREE_BATCHED:
        commit(i, cpu, page, 0)
        return
    if mem_map[page].state != IN_FLIGHT or pcp_migratetype(page) != event[i].migratetype:
        diverge(i, SCORE_FREE, Kind.FREE_UNREF_PAGE_COMMIT, page, 0, pcp_migratetype(page), mem_map[page].state)
        return
    commit(i, cpu, page, event[i].order)


def commit(i: int, cpu: int, page: int, order: int) -> None:
    """Put a page on a pcplist: now, or when zone->lock is taken to give back what is too much."""
    if features.high_auto_tuning and capture.probe_free_unref_page_commit:
        commit_tuned(i, cpu, page, order, pcp_migratetype(page))
        return
    count = pcp[cpu].count + (1 << order)
    if gives_back(i, cpu):
        begin_hold(i, cpu, HOLD_COMMIT)
        cpu_replay[cpu].hold_page = page
        cpu_replay[cpu].hold_order = order
    elif count < pcp[cpu].high or count >= hotplug.old_high:
        free_unref_page_commit(cpu, page, pcp_migratetype(page), order, FPI_NONE)
    else:
        # Full, but nothing is given back: the CPU read high before it was lowered, or after it was raised.
        high = pcp[cpu].high
        pcp[cpu].high = hotplug.old_high
        free_unref_page_commit(cpu, page, pcp_migratetype(page), order, FPI_NONE)
        pcp[cpu].high = high


def gives_back(i: int, cpu: int) -> bool:
    """Whether the task of event ``i`` goes on to give pages back."""
    following = next_in_context(i, context_of(i))
    if following == NIL or event[following].pid != event[i].pid:
        return False
    kind = event[following].kind
    if kind == Kind.FREE_PCPPAGES_BULK and not features.pcp_spinlock:
        return may_be_of_free(cpu, event[following].arg)
    return kind in (Kind.FREE_PCPPAGES_BULK, Kind.MM_PAGE_PCPU_DRAIN)


# ---- drain


def step_drain(i: int, cpu: int) -> None:
    """A page went from a pcplist to the free lists."""
    if not waits(cpu):
        if cpu_replay[cpu].hold != HOLD_NONE:
            run_hold(i, cpu)
        elif cpu_replay[cpu].drain_waits:
            run_drain(cpu)
        elif not features.pcp_spinlock:
            run_own_drain(cpu, NIL)
        else:
            give_up(REASON_DRAIN)  # by a drain of which no probe tells
            count_unknown(SCORE_DRAIN)
            return
    check_expected(i)
    release_owner(i, cpu)


def step_bulk(i: int, cpu: int) -> None:
    """free_pcppages_bulk() is entered, with the owner's pcp->lock held: by a free, or by a drain of any CPU."""
    if cpu_replay[cpu].hold == HOLD_NONE:  # otherwise a free gives pages back
        drainer_moved(i, cpu)
    if is_by_drainer(i, cpu):
        owner = cpu_replay[cpu].draining
        if owner != cpu:
            take_early(owner)
            if cpu_replay[owner].hold == HOLD_REFILL:
                finish_empty_hold(i, owner)  # its pcp->lock has been given back
        if trylock(pcp[owner].lock):
            cpu_replay[cpu].drain_waits = True
        else:
            give_up(REASON_UNMODELLED)
    elif features.high_auto_tuning:
        if cpu_replay[cpu].hold == HOLD_GIVE_BACK and cpu_replay[cpu].give_back != NIL:
            finish_empty_hold(i, cpu)  # the batch before this one: somebody had emptied the pcplists
        bulk_tuned(i, cpu)
    elif cpu_replay[cpu].hold == HOLD_COMMIT:
        cpu_replay[cpu].hold_asked = event[i].arg
    elif not features.pcp_spinlock:
        begin_hold(i, cpu, HOLD_DRAIN)


def is_by_drainer(i: int, cpu: int) -> bool:
    """Whether an event is by the task that empties pcplists from this CPU, and not by an interrupt on top of it."""
    same_task = cpu_replay[cpu].draining_pid == event[i].pid
    return cpu_replay[cpu].draining != NIL and same_task and cpu_replay[cpu].draining_context == context_of(i)


def run_drain(cpu: int) -> None:
    """zone->lock is taken: let the model empty the pcplist."""
    owner = cpu_replay[cpu].draining
    cpu_replay[cpu].drain_waits = False
    unlock(pcp[owner].lock)
    drain_pages_zone_once(cpu, owner)
    if owner != cpu and waits(cpu) and trylock(pcp[owner].lock):
        cpu_replay[cpu].locked = owner


def release_owner(i: int, cpu: int) -> None:
    """A drain from this CPU has shown all its pages, so it gives the owner's pcp->lock back."""
    owner = cpu_replay[cpu].locked
    if owner != NIL and not waits(cpu):
        cpu_replay[cpu].locked = NIL
        unlock(pcp[owner].lock)
        if cpu_replay[owner].late_first != cpu_replay[owner].late_end:
            last = cpu_replay[owner].last
            following = event[last].next if last != NIL else NIL
            if following == NIL or following > event[i].next or is_past_late(following, owner):
                free_late(owner)


def take_early(owner: int) -> None:
    """The owner's next allocation is served from a pcplist: then the page was taken before the list is emptied now."""
    last = cpu_replay[owner].last
    following = event[last].next if last != NIL else NIL
    if following != NIL and event[following].kind == Kind.ALLOC_PAGES_BULK_DONE:
        finish_bulk(following, owner)
        return
    if following == NIL or event[following].kind != Kind.MM_PAGE_ALLOC or cpu_replay[owner].pending != 0:
        return
    if capture.probe_rmqueue_pcplist_page:
        return  # a probe has told if it was
    order = event[following].order
    migratetype = event[following].migratetype
    if pcp_allowed_order(order) and not pcplist_is_empty(owner, order, migratetype):
        page = rmqueue_pcplist(owner, order, migratetype, 0)
        push_pending(following, owner, page, order, migratetype)
