# SPDX-License-Identifier: GPL-2.0-or-later
"""When did it really happen?  Each rule of the replay has a schedule here that is lost without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from pagelab.linux.state import pcp, zone
from pagelab.replay import alloc_steps, hotplug_steps, late_steps, steps
from tests.replay.kernel import Kernel, Task
from tests.replay.machine_files import PAGES, PROBES
from tests.replay.machines import in_cpython, mutant, natively, scores_of

pytestmark = pytest.mark.usefixtures("programs")


Schedule = Callable[[Kernel], None]


@dataclass(frozen=True)
class Rule:
    """A schedule, and a place in the source of the replay without which it is not followed."""

    schedule: Callable[[Kernel], None]
    module: ModuleType
    old: str
    new: str


RULES: list[Rule] = []


def rules_of(rules: list[Rule]) -> Callable[..., Callable[[Schedule], Schedule]]:
    """A decorator that declares what a schedule is lost without."""

    def needs(old: str, new: str, module: ModuleType = steps) -> Callable[[Schedule], Schedule]:
        def declare(schedule: Schedule) -> Schedule:
            rules.append(Rule(schedule, module, old, new))
            return schedule

        return declare

    return needs


needs = rules_of(RULES)


def hold(kernel: Kernel, cpu: int, count: int, order: int = 0) -> list[int]:
    """Pages of a CPU that it then has in use."""
    pages: list[int] = []
    kernel.run(cpu, lambda t: pages.extend(t.alloc(order) for _ in range(count)))
    return pages


def fill(kernel: Kernel, cpu: int, count: int) -> None:
    """Pages on the pcplists of a CPU."""
    pages = hold(kernel, cpu, count)
    kernel.run(cpu, lambda t: t.free(*pages))


def look(kernel: Kernel, cpu: int = 1, count: int = 9) -> None:
    """Make the free lists show what is on them."""
    hold(kernel, cpu, count)


def free(page: int) -> Callable[[Task], None]:
    return lambda t: t.free(page)


def alloc(order: int = 0) -> Callable[[Task], object]:
    return lambda t: t.alloc(order)


def drain(task: Task) -> None:
    task.drain_all()


def disable(task: Task) -> None:
    task.kernel.modules["pcp_tuning"].zone_pcp_disable(task.cpu)


def enable(task: Task) -> None:
    task.kernel.modules["pcp_tuning"].zone_pcp_enable()


def offline(task: Task) -> None:
    task.kernel.modules["memory_hotplug"].offline_pages(task.cpu, 0, 1024)


# ---- zone->lock comes later than the event


@needs("begin_hold(i, cpu, HOLD_REFILL)", "begin_hold(i, cpu, HOLD_REFILL)\n        run_hold(i, cpu)")
def refill_waits_for_the_lock(kernel: Kernel) -> None:
    first = kernel.task(0, alloc()).to("zone.lock")
    kernel.run(1, alloc())
    first.finish()


@needs("    if gives_back(i, cpu):", "    if False:")
def giving_back_waits_for_the_lock(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 70)
    kernel.run(0, lambda t: t.free(*(pages.pop() for _ in range(pcp[0].high - pcp[0].count - 1))))
    first = kernel.task(0, free(pages.pop())).to("zone.lock")
    kernel.run(1, alloc())
    first.finish()
    look(kernel)


@needs("cpu_replay[cpu].drain_waits = True", "cpu_replay[cpu].drain_waits = True\n            run_drain(cpu)")
def drain_waits_for_the_lock(kernel: Kernel) -> None:
    fill(kernel, 0, 4)
    drainer = kernel.task(1, drain).to("zone.lock")
    kernel.run(0, alloc(2))
    drainer.finish()
    look(kernel)


# ---- another CPU drains, and the owner goes on


@needs("    drain_pages_zone_once(cpu, owner)\n", "    while drain_pages_zone_once(cpu, owner):\n        pass\n")
def owner_works_between_two_chunks(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 90)
    kernel.run(0, lambda t: t.free(*(pages.pop() for _ in range(55))))
    drainer = kernel.task(1, disable).to("free_pcppages_bulk").to("pcp.lock")
    kernel.run(0, alloc())
    kernel.run(0, free(pages.pop()))
    drainer.finish()


@needs("            take_early(owner)\n", "            pass\n")
def page_is_taken_before_the_drain_and_logged_in_it(kernel: Kernel) -> None:
    fill(kernel, 0, 4)
    owner = kernel.task(0, alloc()).to("mm_page_alloc")
    drainer = kernel.task(1, drain).to("mm_page_pcpu_drain")
    owner.finish()
    drainer.finish()


@needs("        not capture.probe_rmqueue_bulk\n        and pcp_allowed_order", "        pcp_allowed_order")
def allocation_finds_the_lock_taken(kernel: Kernel) -> None:
    fill(kernel, 0, 4)
    drainer = kernel.task(1, drain).to("free_pcppages_bulk")
    kernel.run(0, alloc(2))
    drainer.finish()
    look(kernel)


@needs("        push_late(i, cpu)\n", "        free_one_page(cpu, page, order, migratetype, FPI_NONE)\n")
def free_finds_the_lock_taken_and_waits_for_the_drain(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 9)
    kernel.run(0, lambda t: t.free(pages[0], pages[2]))
    drainer = kernel.task(1, drain).to("zone.lock")
    owner = kernel.task(0, free(pages[4])).to("zone.lock")
    drainer.finish()
    owner.finish()
    look(kernel)


@needs("                free_late(owner)\n", "                pass\n")
def free_finds_the_lock_taken(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 9)
    kernel.run(0, lambda t: t.free(pages[0], pages[2]))
    drainer = kernel.task(1, drain).to("mm_page_pcpu_drain")
    owner = kernel.task(0, free(pages[4])).to("zone.lock")
    while zone.lock.held:
        drainer.step()
    owner.finish()
    drainer.finish()
    look(kernel)


@needs("return page != NIL and event[i].arg > late[cpu, slot].event", "return False", late_steps)
def list_finds_the_lock_taken(kernel: Kernel) -> None:
    """Its first page goes past the pcplist at once, since the drain has not taken zone->lock yet, the others follow."""
    pages = hold(kernel, 0, 12)
    kernel.run(0, lambda t: t.free(*(pages.pop() for _ in range(4))))
    drainer = kernel.task(1, drain).to("free_pcppages_bulk")
    owner = kernel.task(0, lambda t: t.free_list(pages[:5])).to("zone.lock")
    drainer.finish()
    owner.finish()
    look(kernel)


# ---- high and batch are read before they are used


@needs("    set_as_read(cpu, hold)\n", "")
def refill_has_read_the_old_batch(kernel: Kernel) -> None:
    owner = kernel.task(0, alloc()).to("rmqueue_bulk")
    setter = kernel.task(1, disable).to("drain_pages_zone")
    owner.finish()
    setter.finish()


@needs("    if asked == 1:\n        pcp[cpu].high = 0\n        pcp[cpu].batch = 1\n    elif", "    if")
def refill_has_read_the_batch_of_disabled_pcplists(kernel: Kernel) -> None:
    kernel.run(1, disable)
    owner = kernel.task(0, alloc()).to("rmqueue_bulk")
    kernel.run(1, enable)
    owner.finish()


@needs("            pcp[cpu].batch = hotplug.old_batch\n", "            pass\n")
def batch_is_written_after_the_event(kernel: Kernel) -> None:
    setter = kernel.task(1, disable).to("zone_set_pageset")
    kernel.run(0, alloc())
    setter.finish()


@needs("    elif count < pcp[cpu].high or count >= hotplug.old_high:\n", "    elif True:\n")
def high_is_written_after_the_event(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 4)
    setter = kernel.task(1, disable).to("zone_set_pageset")
    kernel.run(0, lambda t: t.free(*pages))
    setter.finish()


@needs("        cpu_replay[cpu].hold_asked = event[i].arg\n", "        pass\n")
def giving_back_has_read_the_old_high(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 70)
    kernel.run(0, lambda t: t.free(*(pages.pop() for _ in range(pcp[0].high - pcp[0].count - 1))))
    owner = kernel.task(0, free(pages.pop())).to("zone.lock")
    setter = kernel.task(1, disable).to("drain_pages_zone")
    owner.finish()
    setter.finish()


# ---- isolation


@needs("        push_late(i, cpu)\n", "        free_one_page(cpu, page, order, migratetype, FPI_NONE)\n")
@needs(
    "        return isolated or bool(late[cpu, slot].freeing)\n",
    "        return bool(late[cpu, slot].freeing)\n",
    late_steps,
)
def pageblock_is_isolated_before_its_type_is_read(kernel: Kernel) -> None:
    pages = hold(kernel, 0, pcp[0].batch)
    owner = kernel.task(0, lambda t: t.free(*pages)).to("mm_page_free")
    isolator = kernel.task(1, offline).to("do_migrate_range")
    owner.finish()
    isolator.finish()


@needs("        following = next_of_task(i)\n", "        following = event[i].next\n", hotplug_steps)
def interrupt_before_the_pageblock_is_given_back(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 2)
    kernel.run(1, lambda t: t.kernel.modules["page_isolation"].start_isolate_page_range(1, 0, 512, 1))
    undo = kernel.task(1, lambda t: t.kernel.modules["page_isolation"].undo_isolate_page_range(1, 0, 512, 1)).to(
        "unset_migratetype_isolate"
    )
    kernel.interrupt(undo, lambda t: t.free(*pages)).finish()
    undo.finish()
    look(kernel)


# ---- interrupts carry the number of the task that they came upon


@needs(" and cpu_replay[cpu].draining_context == context_of(i)", "")
def interrupt_between_the_entry_of_a_drain_and_its_lock(kernel: Kernel) -> None:
    fill(kernel, 0, 4)
    pages = hold(kernel, 1, 2)
    drainer = kernel.task(1, drain).to("drain_pages_zone")
    kernel.interrupt(drainer, lambda t: t.free(*pages)).finish()
    drainer.finish()
    look(kernel)


HOLD_FIRST = """\
        if cpu_replay[cpu].hold != HOLD_NONE:
            run_hold(i, cpu)
        elif cpu_replay[cpu].drain_waits:
            run_drain(cpu)
"""
DRAIN_FIRST = """\
        if cpu_replay[cpu].drain_waits:
            run_drain(cpu)
        elif cpu_replay[cpu].hold != HOLD_NONE:
            run_hold(i, cpu)
"""


@needs(HOLD_FIRST, DRAIN_FIRST)
def interrupt_gives_pages_back_while_a_drain_waits(kernel: Kernel) -> None:
    fill(kernel, 0, 4)
    pages = hold(kernel, 1, 70)
    kernel.run(1, lambda t: t.free(*(pages.pop() for _ in range(pcp[1].high - pcp[1].count - 1))))
    drainer = kernel.task(1, drain).to("free_pcppages_bulk")
    kernel.interrupt(drainer, free(pages.pop())).finish()
    drainer.finish()
    look(kernel)


@needs(" and not is_by_softirq_on_hold(i, cpu)", "")
def interrupt_allocates_while_a_refill_waits(kernel: Kernel) -> None:
    task = kernel.task(0, alloc()).to("rmqueue_bulk")
    kernel.interrupt(task, alloc()).finish()
    task.finish()


@needs("    free_after_interrupts(i, cpu)\n", "")
def interrupt_frees_while_a_refill_waits(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 3)
    task = kernel.task(0, alloc()).to("rmqueue_bulk")
    kernel.interrupt(task, free(pages.pop())).finish()
    task.finish()


# ---- whose page is it


@needs("        if page == NIL and other != cpu:\n", "        if False:\n", alloc_steps)
def task_moves_before_its_page_is_logged(kernel: Kernel) -> None:
    task = kernel.task(0, alloc()).to("mm_page_alloc")
    task.cpu = 1
    task.finish()


@needs("pending[cpu, k].pid == event[i].pid and ", "", alloc_steps)
def other_task_runs_before_the_page_is_logged(kernel: Kernel) -> None:
    task = kernel.task(0, alloc()).to("mm_page_alloc")
    kernel.run(0, alloc())
    task.finish()


@needs("context_of(i):\n        finish_empty_hold(i, cpu)\n", "context_of(i):\n        pass\n")
def refill_finds_nothing(kernel: Kernel) -> None:
    pages = hold(kernel, 0, 1)
    large = hold(kernel, 1, PAGES // 1024 - 1, 10)
    kernel.run(0, drain)
    rest = [hold(kernel, 1, 1, order)[0] for order in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)]
    kernel.run(1, drain)
    more = hold(kernel, 0, 1)
    kernel.run(1, free(large[0]))
    kernel.run(0, alloc(2))
    kernel.run(0, free(pages.pop()))
    assert rest
    assert more == [-1]
    look(kernel)


def run(schedule: Schedule, directory: Path, probes: frozenset[str] = PROBES) -> Path:
    """The capture of a schedule."""
    with Kernel(probes=probes) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))  # each probe is seen at least once
        kernel.run(0, drain)
        schedule(kernel)
    return kernel.write(directory)


def schedules() -> list[Callable[[Kernel], None]]:
    return list({rule.schedule.__name__: rule.schedule for rule in RULES}.values())


@pytest.mark.parametrize("schedule", schedules(), ids=lambda schedule: schedule.__name__)
def test_schedule_is_followed(schedule: Callable[[Kernel], None], tmp_path: Path) -> None:
    path = run(schedule, tmp_path)
    result = natively(path)
    assert result.first_divergence is None, result.first_divergence
    assert result.exact, (result.unknown_reasons, result.fault)
    assert in_cpython(path)[0] == scores_of(result)


def is_exact(path: Path, changed: ModuleType) -> bool:
    try:
        _, reasons, first = in_cpython(path, steps=changed)
    except AssertionError:  # a fault of the model is a finding, too
        return False
    return not reasons and first < 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.schedule.__name__}: {rule.old.strip()[:30]}")
def test_schedule_is_lost_without_the_rule(rule: Rule, tmp_path: Path) -> None:
    assert not is_exact(run(rule.schedule, tmp_path), mutant(rule.module, rule.old, rule.new))
