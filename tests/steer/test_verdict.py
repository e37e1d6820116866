# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts on hand-made plans and runs."""

from __future__ import annotations

from dataclasses import replace

from pagelab.steer.evidence import Event, lines
from pagelab.steer.plan import Actor, Arrival, At, Move, PageSeen, Plan, Reason, Seen, Steered, Stop, Where
from pagelab.steer.verdict import Outcome, differences, judge

STRAY = Seen(
    pages={0: PageSeen(Where.PCPLIST, 1, 1)},
    isolated={0: True, 1: False},
    nr_isolate_pageblock=1,
    isolated_pageblocks=1,
    free_pages=0,
    pcp_count={0: 0, 1: 1},
    pcp_high={0: 2, 1: 2},
)
#: As a kernel with 64 pageblocks in the range has it.
STRAY_IN_KERNEL = replace(STRAY, nr_isolate_pageblock=64, isolated_pageblocks=64)
FLYING = replace(STRAY, pages={0: PageSeen(Where.IN_FLIGHT)}, isolated={0: False})
PLAN = Plan(
    kernel="5.10",
    design="5.10",
    scenario="offline-free",
    property="stray",
    cpus=2,
    pageblock_order=1,
    batch=1,
    actors=(),
    initial=Seen(),
    moves=(
        Move("freer", 1, Stop("free_unref_page_commit", At.ENTRY, page=0), 1, 5, FLYING),
        Move("freer", 1, Stop("free_unref_page", At.RETURN, page=0), 6, 9, STRAY),
    ),
)


def steered(*arrivals: Arrival, ended: bool = True, final: Seen | None = None) -> Steered:
    return Steered("5.10.0", {0: 0x100010}, Seen(), arrivals, ended, "offliner did not end", final or Seen(), 1.0)


def arrival(move: int, seen: Seen, why: Reason | None = None, words: str = "") -> Arrival:
    return Arrival(move, why is None, why, words, 0.1, seen)


def test_a_page_on_a_pcplist_of_an_isolated_pageblock_is_the_race_reproduced() -> None:
    verdict = judge(PLAN, steered(arrival(0, FLYING), arrival(1, STRAY_IN_KERNEL)))
    assert verdict.outcome is Outcome.REPRODUCED
    assert verdict.reason == "after move 2 page 0 is on a pcplist of CPU 1, and its pageblock 0 is isolated"
    assert verdict.differences == ((), ())


def test_a_page_on_a_pcplist_that_nobody_has_drained_yet_is_no_stray_page() -> None:
    early = arrival(1, STRAY_IN_KERNEL, Reason.NEEDED, "CPU 0 waits in flush_work() for CPU 1")
    assert judge(PLAN, steered(arrival(0, STRAY_IN_KERNEL), early)).outcome is Outcome.CANNOT


def test_a_stray_page_is_seen_in_the_trace_when_it_comes_back_after_a_test_failed() -> None:
    back = Event("drained isolated", 1, "mm_page_pcpu_drain: pfn=0x100010, page 0 of the scenario", 0x100010)
    failed = Event("test", 0, "test_pages_isolated: ret=fail", 0x100000, False)
    unseen = steered(arrival(0, FLYING), arrival(1, FLYING))
    assert judge(PLAN, unseen, [failed, back]).outcome is Outcome.REPRODUCED
    assert judge(PLAN, unseen, [back, failed]).outcome is Outcome.OTHERWISE


def test_a_kernel_with_the_fix_is_told_where_it_does_otherwise() -> None:
    fixed = replace(STRAY_IN_KERNEL, pages={0: PageSeen(Where.BUDDY, 5)})
    verdict = judge(PLAN, steered(arrival(0, FLYING), arrival(1, fixed)))
    assert verdict.outcome is Outcome.OTHERWISE
    assert verdict.reason == (
        "after move 2 (freer to the return of free_unref_page() for page 0) "
        "page 0 is on a free list of ISOLATE, not on a pcplist of CPU 1"
    )


def test_a_held_cpu_that_the_running_one_needs_means_that_it_cannot_be_forced() -> None:
    words = "CPU 0 waits in flush_work() for CPU 1"
    verdict = judge(PLAN, steered(arrival(0, Seen(), Reason.NEEDED, words)))
    assert verdict.outcome is Outcome.CANNOT
    assert words in verdict.reason


def test_a_thread_that_does_not_come_by_is_a_kernel_that_does_otherwise() -> None:
    verdict = judge(PLAN, steered(arrival(0, Seen(), Reason.ELSEWHERE, "freer ended")))
    assert verdict.outcome is Outcome.OTHERWISE


def test_an_allocation_that_takes_another_page_than_the_scenario_says_cannot_be_forced() -> None:
    plan = replace(PLAN, actors=(Actor("freer", 1, "allocate_and_free", (1,)),))
    verdict = judge(plan, steered(arrival(0, Seen(), Reason.ELSEWHERE, "freer ended")))
    assert verdict.outcome is Outcome.CANNOT
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, FLYING))).outcome is Outcome.CANNOT


def test_a_panic_or_silence_decides_nothing() -> None:
    for why in (Reason.PANIC, Reason.TIME):
        assert judge(PLAN, steered(arrival(0, Seen(), why, "nothing"))).outcome is Outcome.OPEN
    assert judge(PLAN, steered(arrival(0, FLYING))).outcome is Outcome.OPEN


def test_a_panic_is_what_the_property_bug_is_about() -> None:
    plan = replace(PLAN, property="bug")
    verdict = judge(plan, steered(arrival(0, Seen(), Reason.PANIC, "kernel BUG at mm/page_alloc.c:1")))
    assert verdict.outcome is Outcome.REPRODUCED
    dead = replace(
        steered(arrival(0, FLYING), arrival(1, FLYING)), words="offliner did not end; kernel BUG at mm/x.c:1"
    )
    assert judge(plan, dead).reason == "the kernel says: kernel BUG at mm/x.c:1"
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, FLYING))).outcome is Outcome.OTHERWISE


def test_offlining_that_does_not_end_is_seen_after_the_last_move_only() -> None:
    plan = replace(PLAN, property="P5")
    both = arrival(0, FLYING), arrival(1, STRAY)
    assert judge(plan, steered(*both, ended=False)).outcome is Outcome.REPRODUCED
    assert judge(plan, steered(*both, ended=True)).outcome is Outcome.OTHERWISE
    assert judge(plan, steered(both[0], ended=False)).outcome is Outcome.OPEN


def test_the_number_of_isolated_pageblocks_is_compared_with_what_there_are_not_with_the_model() -> None:
    assert differences(STRAY, STRAY_IN_KERNEL) == []
    off = replace(STRAY_IN_KERNEL, nr_isolate_pageblock=63)
    assert differences(STRAY, off) == ["nr_isolate_pageblock is off by -1, not by +0"]
    missing = replace(STRAY, nr_isolate_pageblock=0)
    plan = replace(PLAN, property="P7", moves=(PLAN.moves[0], replace(PLAN.moves[1], expected=missing)))
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, off))).outcome is Outcome.REPRODUCED
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, STRAY_IN_KERNEL))).outcome is Outcome.OTHERWISE


def test_free_pages_that_are_miscounted_break_p2() -> None:
    plan = replace(PLAN, property="P2")
    off = replace(STRAY_IN_KERNEL, free_pages=-512)
    verdict = judge(plan, steered(arrival(0, FLYING), arrival(1, STRAY), final=off))
    assert verdict.reason == "at the end NR_FREE_PAGES is off by -512"


def test_a_page_on_pcplists_whose_high_is_zero_breaks_p6() -> None:
    off = replace(STRAY_IN_KERNEL, pcp_high={0: 0, 1: 0})
    plan = replace(PLAN, property="P6", moves=(PLAN.moves[0], replace(PLAN.moves[1], expected=off)))
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, off))).outcome is Outcome.REPRODUCED
    assert judge(plan, steered(arrival(0, FLYING), arrival(1, STRAY))).outcome is Outcome.OTHERWISE


def test_a_test_that_passed_breaks_p4_if_the_pageblock_lost_its_isolation() -> None:
    lost = replace(STRAY, isolated={0: False})
    moves = (PLAN.moves[0], replace(PLAN.moves[1], expected=lost))
    plan = replace(PLAN, property="P4", moves=moves)
    run = steered(arrival(0, replace(FLYING, isolated={0: True})), arrival(1, lost))
    passed = Event("test", 0, "test_pages_isolated: ret=success", 0x100000, True)
    assert judge(plan, run, [passed]).outcome is Outcome.REPRODUCED
    assert judge(plan, run, [replace(passed, good=False)]).outcome is Outcome.OTHERWISE


def test_what_was_not_looked_at_is_no_difference() -> None:
    assert differences(STRAY, Seen()) == []
    assert differences(Seen(pages={0: None}), STRAY) == []


def test_a_pcplist_of_another_cpu_is_a_difference() -> None:
    other = replace(STRAY, pages={0: PageSeen(Where.PCPLIST, 1, 0)})
    assert differences(STRAY, other) == ["page 0 is on a pcplist of CPU 0, not on a pcplist of CPU 1"]


def test_the_same_event_many_times_in_a_row_is_one_line() -> None:
    drain = Event("drain all", 0, "drain_all_pages()")
    assert lines([drain] * 64 + [replace(drain, cpu=1)]) == [
        "CPU 0  drain_all_pages()  (64 times)",
        "CPU 1  drain_all_pages()",
    ]
