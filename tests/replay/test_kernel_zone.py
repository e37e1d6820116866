# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones where every migratetype is at work: fallbacks, the HIGHATOMIC reserve, bulk allocations, kswapd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pagelab.linux.alloc_flags import ALLOC_HIGHATOMIC, ALLOC_NOFRAGMENT
from pagelab.linux.lists import free_list_add_tail, free_list_del
from pagelab.linux.migratetype import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from pagelab.linux.state import BUDDY, free_area, mem_map, pcp, zone
from pagelab.replay import alloc_steps, bulk_steps, expect, fallback_steps, steps
from pagelab.replay.explain_event import explain_event
from pagelab.replay.result import REASONS
from pagelab.replay.tables import REASON_BULK, REASON_COMPACTION, REASON_INTERRUPT, REASON_RECLAIM
from tests.replay.kernel import Kernel, Task
from tests.replay.machine_files import ALL_PROBES, PAGES, PROBES, START_PFN
from tests.replay.machines import in_cpython, mutant, natively, scores_of
from tests.replay.schedules import Load
from tests.replay.test_schedule_rules import Rule, Schedule, drain, is_exact, rules_of

pytestmark = pytest.mark.usefixtures("programs")

U, M, R = MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE
RULES: list[Rule] = []
needs = rules_of(RULES)


def hold(kernel: Kernel, count: int, order: int = 0, migratetype: int = M, flags: int = 0, cpu: int = 0) -> list[int]:
    """Pages that a CPU then has in use."""
    pages: list[int] = []
    kernel.run(cpu, lambda t: pages.extend(t.alloc(order, migratetype, flags) for _ in range(count)))
    return pages


def bulk(count: int, migratetype: int = U) -> tuple[list[int], Callable[[Task], object]]:
    """Where a bulk allocation will put its pages, and what a task has to do."""
    pages: list[int] = []
    return pages, lambda t: pages.extend(t.alloc_bulk(count, migratetype))


def look(kernel: Kernel) -> None:
    """Make the free lists and pcplists show what is on them."""
    for migratetype in (U, M, R):
        hold(kernel, 9, 0, migratetype)
        hold(kernel, 2, 2, migratetype, cpu=1)


def all_but_a_pageblock(kernel: Kernel) -> None:
    """Leave one pageblock free, and no other page."""
    kernel.run(0, drain)
    hold(kernel, PAGES // 1024 - 1, 10)
    hold(kernel, 1, 9)
    kernel.run(0, drain)
    assert 500 <= zone.free_pages <= 512


@needs("    if machine.zone_movable:\n        return 0 ", "    if True:\n        return 0 ", fallback_steps)
def nothing_is_taken_that_would_fragment(kernel: Kernel) -> None:
    all_but_a_pageblock(kernel)
    hold(kernel, 40)
    assert hold(kernel, 1, 0, U, ALLOC_NOFRAGMENT) == [-1]
    look(kernel)


@needs(
    "            if event[i].arg & ORDER_MASK < machine.pageblock_order:\n                return 0\n",
    "            pass\n",
    fallback_steps,
)
def a_pageblock_is_broken_up(kernel: Kernel) -> None:
    all_but_a_pageblock(kernel)
    hold(kernel, 40)
    hold(kernel, 1, 0, U)
    look(kernel)


@needs(
    "    return cpu_replay[cpu].stolen_type == MIGRATE_MOVABLE and used > half\n", "    return False\n", fallback_steps
)
def pages_are_not_on_the_lru_yet(kernel: Kernel) -> None:
    all_but_a_pageblock(kernel)
    for page in hold(kernel, 300):
        mem_map[page].movable = False
    hold(kernel, 1, 0, U)
    look(kernel)


@needs("        return free < half <= free + used\n", "        return False\n", fallback_steps)
def a_page_was_not_movable(kernel: Kernel) -> None:
    all_but_a_pageblock(kernel)
    pages = hold(kernel, 1, 9, R)
    kernel.run(0, lambda t: t.free(*pages))
    for page in hold(kernel, 300, 0, U):
        mem_map[page].movable = True
    hold(kernel, 1, 5)
    look(kernel)


@needs("    elif event[i].migratetype == MIGRATE_HIGHATOMIC:\n", "    elif False:\n")
@needs("            flags |= ALLOC_HIGHATOMIC\n", "            pass\n")
def a_pageblock_is_reserved_and_given_back(kernel: Kernel) -> None:
    reserve = kernel.modules["highatomic"]
    page = hold(kernel, 1, 4, U)[0]
    kernel.run(0, lambda t: reserve.reserve_highatomic_pageblock(t.cpu, page))
    hold(kernel, 2, 4, U, ALLOC_HIGHATOMIC)
    hold(kernel, 2, 4, U)
    kernel.run(1, lambda t: reserve.unreserve_highatomic_pageblock(t.cpu, R, True))
    look(kernel)


@needs("    split_allocation(page, order)\n", "")
def an_allocation_is_split(kernel: Kernel) -> None:
    page = hold(kernel, 1, 3, U)[0]
    kernel.modules["page_alloc"].split_page(page, 3)
    kernel.run(0, lambda t: t.free(*range(page + 3, page + 8)))
    look(kernel)


@needs("        start_bulk(i)\n", "        pass\n")
@needs("        bulk_before_refill(i, cpu)\n", "        pass\n")
def pages_go_in_bulk(kernel: Kernel) -> None:
    hold(kernel, 1, 0, U)
    pages, work = bulk(10)
    kernel.run(0, work)
    kernel.run(0, lambda t: t.free(*pages[2:7]))
    look(kernel)


def another_task_runs_before_the_bulk_allocation(kernel: Kernel) -> None:
    hold(kernel, 1, 0, U)
    pages, work = bulk(2)
    task = kernel.task(0, work).to("alloc_pages_bulk")
    hold(kernel, 1, 0, U)
    task.finish()
    kernel.run(0, lambda t: t.free(*pages))
    look(kernel)


def the_task_moves_before_the_bulk_allocation(kernel: Kernel) -> None:
    hold(kernel, 1, 0, U)
    hold(kernel, 1, 0, U, cpu=1)
    pages, work = bulk(2)
    task = kernel.task(0, work).to("alloc_pages_bulk")
    task.cpu = 1
    task.finish()
    kernel.run(0, lambda t: t.free(*pages))
    look(kernel)


@needs("        finish_bulk(following, owner)\n", "        pass\n")
def a_drain_follows_the_bulk_allocation(kernel: Kernel) -> None:
    pages = hold(kernel, 9, 0, U)
    kernel.run(0, lambda t: t.free(*pages[:5]))
    _, work = bulk(2)
    task = kernel.task(0, work).to("alloc_pages_bulk_done")
    hold(kernel, 1, 0, U, cpu=1)
    drainer = kernel.task(1, drain).to("free_pcppages_bulk")
    drainer.finish()
    task.finish()
    look(kernel)


@needs("    return nr_pages == 0\n", "    return True\n", bulk_steps)
def another_zone_serves_the_bulk_allocation(kernel: Kernel) -> None:
    hold(kernel, 2, 0, U)

    def elsewhere(task: Task) -> None:
        kernel.emit("alloc_pages_bulk", task.cpu, gfp=0xCC0, migratetype=U, nr_pages=4)
        kernel.emit("alloc_pages_bulk_done", task.cpu, ret=4)

    kernel.run(0, elsewhere)
    look(kernel)


def kswapd(kernel: Kernel, *, awake: bool) -> None:
    """kswapd wakes up and lowers the limit, or takes it back and goes to sleep."""

    def work(task: Task) -> None:
        if awake:
            kernel.emit("mm_vmscan_kswapd_wake", task.cpu, nid=0, zid=2, order=0)
        zone.reclaim_active = awake
        if not awake:
            kernel.emit("mm_vmscan_kswapd_sleep", task.cpu, nid=0)

    kernel.run(1, work)


@needs("            zone.reclaim_active = is_limited(cpu, order, cpu_replay[cpu].hold_asked)\n", "            pass\n")
def kswapd_lowers_the_limit(kernel: Kernel) -> None:
    assert pcp[0].high > 40
    pages = hold(kernel, 80, 0, U)
    kswapd(kernel, awake=True)
    kernel.run(0, lambda t: t.free(*pages[:30]))
    zone.reclaim_active = False
    kernel.run(0, lambda t: t.free(*pages[30:50]))
    kswapd(kernel, awake=False)
    kernel.run(0, lambda t: t.free(*pages[50:]))
    look(kernel)


@needs(" or cpu_replay[cpu].hold_kswapd", "")
def kswapd_sleeps_before_the_pages_are_given_back(kernel: Kernel) -> None:
    pages = hold(kernel, 80, 0, U)
    kswapd(kernel, awake=True)
    kernel.run(0, lambda t: t.free(*pages[:9]))
    task = kernel.task(0, lambda t: t.free(*pages[9:30])).to("free_pcppages_bulk").to("zone.lock")
    kswapd(kernel, awake=False)
    task.finish()
    look(kernel)


def run(schedule: Schedule, directory: Path, probes: frozenset[str] = PROBES) -> Path:
    """The capture of a schedule."""
    with Kernel(zone="Normal", probes=probes) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))  # each probe is seen at least once
        kernel.run(0, lambda t: t.free(*t.alloc_bulk(2)))
        if "free_pcppages_bulk" in probes:
            kernel.run(0, drain)
        schedule(kernel)
    return kernel.write(directory)


SCHEDULES = [
    *{rule.schedule.__name__: rule.schedule for rule in RULES}.values(),
    another_task_runs_before_the_bulk_allocation,
    the_task_moves_before_the_bulk_allocation,
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.__name__)
def test_schedule_is_followed(schedule: Schedule, tmp_path: Path) -> None:
    path = run(schedule, tmp_path)
    result = natively(path)
    assert result.first_divergence is None, result.first_divergence
    assert result.exact, (result.unknown_reasons, result.fault)
    assert in_cpython(path)[0] == scores_of(result)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.schedule.__name__}: {rule.old.strip()[:30]}")
def test_schedule_is_lost_without_the_rule(rule: Rule, tmp_path: Path) -> None:
    assert not is_exact(run(rule.schedule, tmp_path), mutant(rule.module, rule.old, rule.new))


def unknown_of(path: Path) -> set[str]:
    """Why events are unknown, where none is missed."""
    result = natively(path)
    assert result.first_divergence is None, result.first_divergence
    assert result.missed == 0
    assert not result.fault
    return set(result.unknown_reasons)


def test_without_a_probe_pages_that_went_in_bulk_make_the_rest_unknown(tmp_path: Path) -> None:
    probes = PROBES - {"alloc_pages_bulk", "alloc_pages_bulk_done"}
    assert unknown_of(run(pages_go_in_bulk, tmp_path, probes)) == {REASONS[REASON_BULK]}


def test_near_the_watermark_the_zone_of_a_bulk_allocation_is_unknown(tmp_path: Path) -> None:
    assert unknown_of(run(near_the_watermark, tmp_path)) == {REASONS[REASON_BULK]}


def test_without_a_probe_kswapd_makes_the_rest_unknown(tmp_path: Path) -> None:
    assert unknown_of(run(kswapd_lowers_the_limit, tmp_path, PROBES - {"free_pcppages_bulk"})) >= {
        REASONS[REASON_RECLAIM]
    }


def test_pages_that_compaction_took_make_the_rest_unknown(tmp_path: Path) -> None:
    def compaction(kernel: Kernel) -> None:
        kernel.run(0, lambda t: kernel.emit("mm_compaction_isolate_freepages", t.cpu, nr_scanned=0, nr_taken=0))
        hold(kernel, 1)
        kernel.run(0, lambda t: kernel.emit("mm_compaction_isolate_freepages", t.cpu, nr_scanned=9, nr_taken=4))
        look(kernel)

    path = run(compaction, tmp_path)
    assert unknown_of(path) == {REASONS[REASON_COMPACTION]}
    assert in_cpython(path)[0]["alloc"]["exact"] > 1


def test_the_first_page_of_a_list_that_compaction_turned_is_unknown_and_no_other(tmp_path: Path) -> None:
    def compaction(kernel: Kernel) -> None:
        hold(kernel, 1, 10)  # what came online last is at the tail of its list: the others are known
        kernel.run(0, lambda t: kernel.emit("mm_compaction_isolate_freepages", t.cpu, nr_scanned=9, nr_taken=0))
        for _ in range(5):
            first = free_area[10, M].head
            free_list_del(first, 10, M)
            free_list_add_tail(first, 10, M)
        hold(kernel, 3, 10)
        look(kernel)

    path = run(compaction, tmp_path)
    result = natively(path)
    assert unknown_of(path) == {REASONS[REASON_COMPACTION]}
    assert sum(score.unknown for score in result.scores.values()) == 1
    assert in_cpython(path)[0] == scores_of(result)
    one = explain_event(path, None, result.unknown_from[REASONS[REASON_COMPACTION]])
    assert (one.judged, one.reason) == ("unknown", REASONS[REASON_COMPACTION])
    assert "where the lists are cut" in one.decides


def bulk_in_two_tasks(kernel: Kernel) -> None:
    """One is interrupted before it takes a page, moves, and takes more than its first refill holds."""
    hold(kernel, 3, 0, U)
    hold(kernel, 3, 0, U, cpu=1)
    pages, work = bulk(11)
    task = kernel.task(0, work).to("alloc_pages_bulk")
    kernel.interrupt(task, lambda t: t.alloc(0, U)).finish()
    kernel.run(1, bulk(3)[1])
    task.cpu = 1
    task.to("rmqueue_bulk")
    kernel.run(0, lambda t: t.alloc(0, M))
    task.finish()
    kernel.run(0, lambda t: t.free(*pages[4:]))
    look(kernel)


def near_the_watermark(kernel: Kernel) -> None:
    pages = hold(kernel, 9, 0, U)
    all_but_a_pageblock(kernel)
    kernel.run(0, lambda t: t.free(*pages[:4]))
    while zone.free_pages > zone.watermark_low + 4:
        hold(kernel, 1, 0, M, cpu=1)
    kernel.run(0, bulk(2)[1])
    look(kernel)


@pytest.mark.parametrize(
    "schedule",
    [pages_go_in_bulk, a_drain_follows_the_bulk_allocation, bulk_in_two_tasks, near_the_watermark],
    ids=lambda schedule: schedule.__name__,
)
def test_a_probe_at_each_page_of_a_bulk_allocation_tells_which(schedule: Schedule, tmp_path: Path) -> None:
    path = run(schedule, tmp_path, ALL_PROBES)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert in_cpython(path)[0] == scores_of(result)
    assert not is_exact(path, mutant(steps, "    elif kind == Kind.ALLOC_PAGES_BULK_PAGE:\n", "    elif False:\n"))


def test_a_bulk_allocation_leaves_free_factor_alone(tmp_path: Path) -> None:
    def factor(kernel: Kernel) -> None:
        pages = hold(kernel, 330, 0, U)
        kernel.run(0, lambda t: t.free(*(pages.pop() for _ in range(170))))
        assert pcp[0].free_factor > 0
        kernel.run(0, bulk(6)[1])
        kernel.run(0, lambda t: t.free(*pages))
        look(kernel)

    path = run(factor, tmp_path, ALL_PROBES)
    assert natively(path).exact
    assert not is_exact(path, mutant(alloc_steps, "    if in_bulk:\n", "    if False:\n"))


def test_a_probe_at_each_free_page_that_compaction_takes_tells_which(tmp_path: Path) -> None:
    def compaction(kernel: Kernel) -> None:
        page = hold(kernel, 1, 0, M)[0]
        kernel.run(0, drain)
        free = next(p for p in range(PAGES) if mem_map[p].state == BUDDY and mem_map[p].order == 9)
        taken: list[int] = []
        kernel.run(1, lambda t: taken.extend(t.take_free(free)))
        kernel.run(1, lambda t: kernel.emit("mm_compaction_isolate_freepages", t.cpu, nr_scanned=512, nr_taken=512))
        assert len(taken) == 512
        kernel.run(0, lambda t: t.free(page, *taken[7:300]))
        look(kernel)

    path = run(compaction, tmp_path, ALL_PROBES)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert not is_exact(path, mutant(steps, "        step_isolate_free_page(i, cpu)\n", "        pass\n"))


def with_compaction(then: Callable[[Kernel], None]) -> Callable[[Kernel], None]:
    """Compaction begins, then what follows."""

    def schedule(kernel: Kernel) -> None:
        kernel.run(0, lambda t: kernel.emit("mm_compaction_begin", t.cpu, zone_start=START_PFN))
        then(kernel)

    return schedule


def falsify(kernel: Kernel, name: str, **values: int) -> None:
    """Have the last event of a name tell something else."""
    last = next(h for h in reversed(kernel.events) if h.name == name)
    kernel.events[kernel.events.index(last)] = replace(last, values=last.values | values)


def takes_what_is_in_use(kernel: Kernel) -> None:
    pages = hold(kernel, 2, 10)
    falsify(kernel, "mm_page_alloc_zone_locked", pfn=START_PFN + pages[0])


def gives_another_page_back(kernel: Kernel) -> None:
    pages = hold(kernel, 4)
    kernel.run(0, lambda t: t.free(*pages))
    kernel.run(1, drain)
    falsify(kernel, "mm_page_pcpu_drain", pfn=START_PFN + 8192)


@pytest.mark.parametrize("schedule", [takes_what_is_in_use, gives_another_page_back])
def test_what_compaction_cannot_explain_is_a_miss_after_it(schedule: Callable[[Kernel], None], tmp_path: Path) -> None:
    path = run(with_compaction(schedule), tmp_path, ALL_PROBES)
    assert natively(path).first_divergence is not None
    excuse = "    if verdict.doubts > 0 or "
    assert in_cpython(path, steps=mutant(expect, excuse, f"{excuse}verdict.compacted or "))[2] < 0


def interrupt_before_the_page_is_logged(kernel: Kernel) -> None:
    """The page that it frees is the first of the pcplist then; the allocation has had another one."""
    pages = hold(kernel, 6, 0, U)
    kernel.run(0, lambda t: t.free(*pages[:4]))
    task = kernel.task(0, lambda t: t.alloc(0, U)).to("mm_page_alloc")
    kernel.interrupt(task, lambda t: t.free(pages[4])).finish()
    task.finish()
    look(kernel)


def test_what_an_allocation_took_before_an_interrupt_is_unknown_without_a_probe(tmp_path: Path) -> None:
    path = run(interrupt_before_the_page_is_logged, tmp_path)
    assert unknown_of(path) == {REASONS[REASON_INTERRUPT]}
    lost = mutant(alloc_steps, "    return context_of(before) & ~context_of(i) != 0\n", "    return False\n")
    assert in_cpython(path, steps=lost)[2] >= 0, "it would be a miss"


def test_a_probe_at_each_page_taken_from_a_pcplist_tells_when(tmp_path: Path) -> None:
    path = run(interrupt_before_the_page_is_logged, tmp_path, ALL_PROBES)
    assert natively(path).exact
    assert not is_exact(path, mutant(steps, "        step_take(i, cpu)\n", "        pass\n"))


def a_refill_finds_nothing_and_the_free_lists_something(kernel: Kernel) -> None:
    """Another CPU gives pages back between the refill, which shows nothing, and the attempt past the pcplist."""
    pages = hold(kernel, 2, 0, U, cpu=1)
    kernel.run(1, drain)
    large = hold(kernel, PAGES // 1024 - 1, 10)
    for order in range(9, -1, -1):
        hold(kernel, 1, order)
    kernel.run(0, drain)
    while hold(kernel, 1, 0, U) != [-1]:
        pass
    task = kernel.task(0, lambda t: t.alloc(0, U)).to("rmqueue_bulk").to("zone.lock")
    task.to("zone.lock")  # the refill is over
    kernel.run(1, lambda t: t.free(large[0]))
    task.finish()
    kernel.run(1, lambda t: t.free(*pages))
    look(kernel)


def test_a_refill_that_found_nothing_is_over_when_a_page_is_taken_past_the_pcplist(tmp_path: Path) -> None:
    path = run(a_refill_finds_nothing_and_the_free_lists_something, tmp_path, ALL_PROBES)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    lost = mutant(steps, "    if cpu_replay[cpu].hold == HOLD_REFILL and is_past_refill(i, cpu):\n", "    if False:\n")
    assert not is_exact(path, lost)


@pytest.mark.parametrize("seed", range(8))
def test_with_all_probes_random_work_is_predicted(seed: int, tmp_path: Path) -> None:
    """Bulk allocations and frees find pcplists locked as well."""
    with Kernel(3, zone="Normal", breakpoints=bool(seed & 1), probes=ALL_PROBES) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))
        kernel.run(0, lambda t: t.free(*t.alloc_bulk(2)))
        kernel.run(0, drain)
        hold(kernel, 12, 10)
        load = Load(kernel, seed, interrupts=bool(seed & 2), migratetypes=(U, M, R), shown=False)
        load.bulk_waits = False
        load.run(150)
    result = natively(kernel.write(tmp_path))
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert result.scores["fallback"].total > 5


@pytest.mark.parametrize("seed", range(8))
def test_random_work_of_all_migratetypes_is_predicted(seed: int, tmp_path: Path) -> None:
    with Kernel(3, zone="Normal", breakpoints=bool(seed & 1)) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))
        kernel.run(0, lambda t: t.free(*t.alloc_bulk(2)))
        kernel.run(0, drain)
        hold(kernel, 12, 10)
        Load(kernel, seed, interrupts=bool(seed & 2), migratetypes=(U, M, R)).run(150)
    path = kernel.write(tmp_path)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert result.scores["fallback"].total > 5
    if seed < 2:
        assert in_cpython(path)[0] == scores_of(result)


def test_a_wrong_fallback_is_a_miss(tmp_path: Path) -> None:
    path = run(a_pageblock_is_broken_up, tmp_path)
    wrong = mutant(expect, "value in (NIL, shown)", "value in (NIL, shown + 1)")
    assert in_cpython(path, steps=wrong)[2] >= 0
