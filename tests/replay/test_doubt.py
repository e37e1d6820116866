# SPDX-License-Identifier: GPL-2.0-or-later
"""A page past the pcplists gets to the free lists at a moment that the trace does not show.

If that matters, what follows is unknown and never a miss; if it does not, a miss stays a miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pagelab.linux.state import pcp
from pagelab.replay import expect, hotplug_steps, late_steps, steps
from pagelab.replay.result import REASONS
from pagelab.replay.tables import REASON_LEFT_OUT
from tests.replay.kernel import Kernel
from tests.replay.machine_files import ALL_PROBES, START_PFN
from tests.replay.machines import in_cpython, mutant, natively
from tests.replay.test_schedule_rules import alloc, drain, fill, free, hold, is_exact, look, run

pytestmark = pytest.mark.usefixtures("programs")

MOMENT = "a page was freed past the pcplists before it, and the trace does not show when"

Schedule = Callable[[Kernel], None]


def between(kernel: Kernel) -> None:
    """Another CPU takes pages of that order between the announcement of a free and the free."""
    pages = hold(kernel, 0, 3, 5)
    owner = kernel.task(0, free(pages[1])).to("zone.lock")
    kernel.run(1, alloc(5))
    owner.finish()


def into_isolated_pageblock(kernel: Kernel) -> None:
    """A page of an isolated pageblock takes its neighbour, by merging, off the list that serves allocations."""
    isolation = kernel.modules["page_isolation"]
    isolator = kernel.task(1, lambda t: isolation.start_isolate_page_range(1, 0, 2048, 1))
    for _ in range(4):  # pageblocks 0, 3 and 1; the free page that begins with pageblock 2 stays where it is
        isolator.to("zone.lock")
    pages = hold(kernel, 0, 1, 5)
    assert pages == [1024]  # so pageblock 3 is free by itself, on the list of the type that was asked for
    isolator.finish()
    owner = kernel.task(0, free(1024)).to("zone.lock")
    kernel.run(1, alloc(5))
    owner.finish()


def locked_pcplist(kernel: Kernel) -> None:
    """A free finds its pcplist locked, and another CPU takes pages before it gets zone->lock."""
    pages = hold(kernel, 0, 12)
    fill(kernel, 0, 4)
    drainer = kernel.task(1, drain).to("free_pcppages_bulk")
    owner = kernel.task(0, free(pages[4])).to("zone.lock")
    drainer.finish()
    hold(kernel, 1, pcp[1].batch + 1)
    owner.finish()


def two_at_once(kernel: Kernel) -> None:
    """Two CPUs free past the pcplists; the page announced first is the last to be free."""
    pages = hold(kernel, 0, 8, 5)
    first = kernel.task(0, free(pages[1])).to("zone.lock")
    kernel.run(1, free(pages[4]))
    kernel.run(1, lambda t: t.elsewhere())
    first.finish()
    kernel.run(0, alloc(5))


def then_look(schedule: Schedule) -> Schedule:
    def both(kernel: Kernel) -> None:
        schedule(kernel)
        look(kernel)

    return both


SCHEDULES: list[tuple[Schedule, ModuleType, str, str]] = [
    (between, steps, "        doubt(page)\n    elif", "    elif"),
    (into_isolated_pageblock, steps, "        doubt(page)\n    elif", "    elif"),
    (locked_pcplist, late_steps, "    doubt(event[i].page)\n", ""),
    (
        two_at_once,
        steps,
        "        verdict.zone_events += 1\n        cpu_replay[cpu].direct_page",
        "        cpu_replay[cpu].direct_page",
    ),
]


@pytest.mark.parametrize(("schedule", "module", "old", "new"), SCHEDULES, ids=lambda one: getattr(one, "__name__", ""))
def test_what_the_trace_leaves_open_is_unknown(
    schedule: Schedule, module: ModuleType, old: str, new: str, tmp_path: Path
) -> None:
    path = run(then_look(schedule), tmp_path)
    result = natively(path)
    assert result.first_divergence is None
    assert not result.fault
    assert set(result.unknown_reasons) == {MOMENT}
    assert in_cpython(path, steps=mutant(module, old, new))[2] >= 0, "without the doubt it would be a miss"


@pytest.mark.parametrize("schedule", [schedule for schedule, *_ in SCHEDULES], ids=lambda one: one.__name__)
def test_a_probe_at_the_free_list_leaves_nothing_open(schedule: Schedule, tmp_path: Path) -> None:
    result = natively(run(then_look(schedule), tmp_path, ALL_PROBES))
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)


def a_hit_is_left_out(kernel: Kernel) -> None:
    """The trace does not show that a page was put on a pcplist, from where it goes to who asks next."""
    pages = hold(kernel, 0, 4)
    kernel.run(0, lambda t: t.free(*pages))
    last = next(h for h in reversed(kernel.events) if h.name == "free_unref_page_commit")
    kernel.events.remove(last)
    hold(kernel, 0, 2)


def test_where_hits_of_probes_were_left_out_nothing_is_a_miss(tmp_path: Path) -> None:
    path = run(a_hit_is_left_out, tmp_path, ALL_PROBES)
    assert natively(path).missed
    (path / "capture.toml").write_text('[trace]\nprobes_missed = {"free_unref_page_commit" = 1}\n')
    result = natively(path)
    assert result.status == 4
    assert set(result.unknown_reasons) == {REASONS[REASON_LEFT_OUT]}
    assert result.scores["alloc"].exact > 0, "what comes before it is judged"


@pytest.mark.parametrize("schedule", [between, locked_pcplist, two_at_once], ids=lambda one: one.__name__)
def test_the_page_is_free_where_that_probe_has_it(schedule: Schedule, tmp_path: Path) -> None:
    path = run(then_look(schedule), tmp_path, ALL_PROBES)
    lost = mutant(
        late_steps, "    free_one_page(cpu, page, order, migratetype, FPI_NONE)\n\n\ndef push", "    pass\n\n\ndef push"
    )
    assert not is_exact(path, lost)


def settled(kernel: Kernel) -> None:
    """The CPU goes on and nobody changed the free lists in between: the page is where the model has it."""
    pages = hold(kernel, 0, 3, 5)
    kernel.run(0, free(pages[1]))
    kernel.run(0, lambda t: t.elsewhere())


def shown(kernel: Kernel) -> None:
    """The page comes up where the model has it."""
    pages = hold(kernel, 0, 8, 5)
    kernel.run(0, free(pages[1]))
    kernel.run(1, free(pages[4]))
    hold(kernel, 0, 2, 5)


def gone_offline(kernel: Kernel) -> None:
    """The memory that it is in goes offline: where it was does not matter any more."""
    pages = hold(kernel, 0, 3, 5)
    owner = kernel.task(0, free(pages[1])).to("mm_page_free")
    kernel.run(1, free(pages[0]))
    owner.finish()
    kernel.run(0, free(pages[2]))
    kernel.run(0, lambda t: t.kernel.modules["memory_hotplug"].offline_pages(t.cpu, 0, 1024))


BELIEVED: list[tuple[Schedule, ModuleType, str, str]] = [
    (settled, steps, "    settle_direct(i, cpu)\n", ""),
    (shown, expect, "            believe(page)\n", "            pass\n"),
    (gone_offline, hotplug_steps, "            believe(gone)\n", "            pass\n"),
]


@pytest.mark.parametrize(("schedule", "module", "old", "new"), BELIEVED, ids=lambda one: getattr(one, "__name__", ""))
def test_a_miss_is_a_miss_once_nothing_is_open(
    schedule: Schedule, module: ModuleType, old: str, new: str, tmp_path: Path
) -> None:
    def lie(kernel: Kernel) -> None:
        schedule(kernel)
        kernel.run(1, alloc(4))
        last = next(happened for happened in reversed(kernel.events) if happened.name == "mm_page_alloc_zone_locked")
        kernel.events[kernel.events.index(last)] = replace(last, values=last.values | {"pfn": START_PFN + 8192})

    path = run(lie, tmp_path)
    result = natively(path)
    assert result.first_divergence is not None, result.unknown_reasons
    assert in_cpython(path, steps=mutant(module, old, new))[2] < 0, "in doubt for good, it would be unknown"
