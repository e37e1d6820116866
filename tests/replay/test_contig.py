# SPDX-License-Identifier: GPL-2.0-or-later
"""alloc_contig_range(): ranges isolated, tested, taken and given back while others allocate and free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pagelab.capture.events import Kind
from pagelab.lang.declare import table_of
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import ALLOCATED, TAIL, get_pageblock_migratetype, mem_map, pcp, set_pageblock_migratetype
from pagelab.replay import contig_steps, hotplug_steps, tables, tuned_steps
from pagelab.replay.result import REASONS
from tests.linux.lab import configured, zone_of
from tests.replay.kernel import Kernel, Task
from tests.replay.machine_files import ALL_PROBES, PAGES, START_PFN
from tests.replay.machines import in_cpython, mutant, natively
from tests.replay.range_probes import adjust_managed, alloc_range
from tests.replay.test_kernel_zone import hold
from tests.replay.test_schedule_rules import Rule, Schedule, drain, is_exact, rules_of, run

pytestmark = pytest.mark.usefixtures("programs")

RULES: list[Rule] = []
needs = rules_of(RULES)
#: A pageblock that is the second one of a free page of order 10.
START, END = PAGES - 512, PAGES


def look(kernel: Kernel) -> None:
    """Make the free lists and pcplists show what is on them, to the last page."""
    kernel.run(0, drain)
    while hold(kernel, 1, 3)[0] >= 0:
        pass


def allocate(start: int, end: int, ret: list[int]) -> Callable[[Task], None]:
    return lambda t: ret.append(alloc_range(t, start, end))


def take(kernel: Kernel, start: int = START, end: int = END) -> int:
    """A range that is then allocated, if the result is 0."""
    ret: list[int] = []
    kernel.run(1, allocate(start, end, ret))
    return ret[0]


@needs("        step_split_part(i, cpu)\n", "        pass\n", contig_steps)
@needs("        begin_split(i)\n", "        pass\n", contig_steps)
def a_free_page_that_reaches_across_the_end_is_split(kernel: Kernel) -> None:
    assert take(kernel) == 0
    kernel.run(1, lambda t: t.free(*range(START, START + 100)))
    look(kernel)


def it_is_split_when_the_lock_is_had(kernel: Kernel) -> None:
    ret: list[int] = []
    task = kernel.task(1, allocate(START, END, ret)).to("split_free_page")
    hold(kernel, 5)
    hold(kernel, 1, 9)
    task.finish()
    assert ret == [0]
    look(kernel)


def what_was_allocated_meanwhile_is_not_split(kernel: Kernel) -> None:
    hold(kernel, PAGES // 1024 - 1, 10)
    ret: list[int] = []
    task = kernel.task(1, allocate(START, END, ret)).to("split_free_page")
    kernel.run(0, lambda t: t.alloc(10))
    task.finish()
    assert ret[0] < 0
    look(kernel)


@needs("        contig[slot].next = start\n", "        contig[slot].next = start + 8\n", contig_steps)
def others_work_while_a_range_is_taken(kernel: Kernel) -> None:
    ret: list[int] = []
    task = kernel.task(1, allocate(1024, 2048, ret))
    for point in ("start_isolate_page_range", "drain_pages_zone", "test_pages_isolated", "undo_isolate_page_range"):
        task.to(point)
        pages = hold(kernel, 40)
        kernel.run(0, lambda t, pages=pages: t.free(*pages[:30]))  # type: ignore[misc]
    task.finish()
    assert ret == [0]
    kernel.run(1, lambda t: t.free(*range(1024, 2048)))
    look(kernel)


def a_page_in_use_is_in_the_way(kernel: Kernel) -> None:
    page = hold(kernel, 1)[0]
    assert take(kernel, page - page % 512, page - page % 512 + 512) < 0
    look(kernel)


def two_ranges_at_a_time(kernel: Kernel) -> None:
    first: list[int] = []
    second: list[int] = []
    task = kernel.task(0, allocate(2048, 3072, first)).to("test_pages_isolated")
    kernel.task(1, allocate(3072, 4096, second)).finish()
    task.finish()
    assert (first, second) == ([0], [0])
    look(kernel)


def the_second_who_wants_a_pageblock_ends_its_isolation(kernel: Kernel) -> None:
    first: list[int] = []
    second: list[int] = []
    task = kernel.task(0, allocate(2048, 2560, first)).to("drain_all_pages")
    kernel.task(1, allocate(2048, 2560, second)).finish()
    task.finish()
    assert second[0] < 0
    assert first[0] < 0
    look(kernel)


SCHEDULES = [
    *{rule.schedule.__name__: rule.schedule for rule in RULES}.values(),
    it_is_split_when_the_lock_is_had,
    what_was_allocated_meanwhile_is_not_split,
    a_page_in_use_is_in_the_way,
    two_ranges_at_a_time,
    the_second_who_wants_a_pageblock_ends_its_isolation,
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.__name__)
def test_ranges_are_predicted_page_by_page(schedule: Schedule, tmp_path: Path) -> None:
    result = natively(run(schedule, tmp_path, ALL_PROBES))
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.old.strip()[:30])
def test_ranges_are_lost_without_the_rule(rule: Rule, tmp_path: Path) -> None:
    assert not is_exact(run(rule.schedule, tmp_path, ALL_PROBES), mutant(rule.module, rule.old, rule.new))


def test_without_a_probe_the_pages_of_a_range_are_taken_when_it_was_tested(tmp_path: Path) -> None:
    path = run(others_work_while_a_range_is_taken, tmp_path, ALL_PROBES - {"isolate_free_page"})
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    old = "            isolate_freepages_range(cpu, start, end)\n"
    assert not is_exact(path, mutant(contig_steps, old, "            pass\n"))


def test_what_a_range_took_excuses_no_miss(tmp_path: Path) -> None:
    def another_page(kernel: Kernel) -> None:
        assert take(kernel, 1024, 2048) == 0
        hold(kernel, 2, 10)
        last = next(h for h in reversed(kernel.events) if h.name == "mm_page_alloc_zone_locked")
        kernel.events[kernel.events.index(last)] = replace(last, values=last.values | {"pfn": START_PFN + 8192})

    scores, reasons, first = in_cpython(run(another_page, tmp_path, ALL_PROBES))
    assert first >= 0
    assert set(reasons) <= {REASONS[tables.REASON_DIVERGED]}
    assert scores["refill"]["total"] > scores["refill"]["exact"]


def test_memory_that_is_unplugged_counts_no_more(tmp_path: Path) -> None:
    """high follows from the pages that the zone manages."""
    with Kernel(probes=ALL_PROBES) as kernel:
        kernel.online(0, PAGES // 2)
        kernel.run(0, lambda t: t.free(t.alloc(3)))
        assert take(kernel, 1024, 5120) == 0
        kernel.run(1, lambda t: adjust_managed(t, 1024, -4096))
        before = pcp[0].high
        kernel.online(PAGES // 2, PAGES // 2)
        assert pcp[0].high != before
        look(kernel)
    path = kernel.write(tmp_path)
    assert natively(path).exact
    assert not is_exact(
        path, mutant(contig_steps, "            zone.managed_pages += event[i].arg\n", "            pass\n")
    )


def test_a_page_larger_than_any_free_one_was_made_of_a_range() -> None:
    with zone_of(nr_pages=4096), configured(tables.capture, nr_events=2):
        for page in range(2048):
            mem_map[page].state, mem_map[page].compound_order = ALLOCATED, 0
        contig_steps.join_taken(0, 3)
        assert mem_map[1].state == ALLOCATED
        contig_steps.join_taken(0, 11)
        assert (mem_map[0].compound_order, mem_map[1].state, mem_map[2047].state) == (11, TAIL, TAIL)


def test_a_hold_is_by_one_task() -> None:
    """Another task may go past the pcplists just before this one refills its own."""
    with zone_of(nr_pages=64), configured(tables.capture, nr_events=4):
        table_of(tables.event).reset()
        for i, pid in enumerate((302, 276, 276)):
            tables.event[i].kind, tables.event[i].pid = Kind.MM_PAGE_ALLOC_ZONE_LOCKED, pid
            tables.event[i].next = i + 1
        tables.event[3].kind = Kind.RMQUEUE_PCPLIST_PAGE
        assert [tuned_steps.pages_shown(i) for i in range(3)] == [1, 2, 1]


@pytest.mark.parametrize(("pid", "isolated"), [(7, True), (8, False)])
def test_a_task_may_give_a_pageblock_back_on_another_cpu(pid: int, isolated: bool) -> None:
    """Between the entry of unset_migratetype_isolate() and zone->lock; without a move nothing else tells."""
    with zone_of(nr_pages=64), configured(tables.capture, nr_events=2):
        table_of(tables.event).reset()
        tables.verdict.nr_events = 2
        set_pageblock_migratetype(0, MIGRATE_ISOLATE)
        tables.event[0].kind, tables.event[0].pid, tables.event[0].page = Kind.UNSET_MIGRATETYPE_ISOLATE, 7, 0
        tables.event[1].kind, tables.event[1].pid, tables.event[1].cpu = Kind.MOVE_FREEPAGES_BLOCK, pid, 1
        hotplug_steps.step_hotplug(0, 0, Kind.UNSET_MIGRATETYPE_ISOLATE)
        assert (get_pageblock_migratetype(0) == MIGRATE_ISOLATE) == isolated
