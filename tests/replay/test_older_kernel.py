# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux 5.10, whose pcplists have no lock: random schedules, and the rules of the replay that it alone needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pagelab.replay import hotplug_steps, irqs_off_steps, steps
from tests.replay.kernel import Task
from tests.replay.machines import in_cpython, mutant, natively, scores_of
from tests.replay.older_kernel import OlderKernel, OlderLoad
from tests.replay.test_schedule_rules import alloc, drain, fill, free, hold, look

pytestmark = pytest.mark.usefixtures("programs")


def capture_of(seed: int, directory: Path, cpus: int) -> Path:
    with OlderKernel(cpus) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))  # each probe is seen at least once
        kernel.run(0, drain)
        OlderLoad(kernel, seed, interrupts=bool(seed & 1), hotplug=bool(seed & 2), shown=False).run(200)
    return kernel.write(directory)


@pytest.mark.parametrize("seed", [*range(20), 199])
@pytest.mark.parametrize("cpus", [2, 3])
def test_every_page_is_predicted_in_any_schedule(seed: int, cpus: int, tmp_path: Path) -> None:
    path = capture_of(seed, tmp_path, cpus)
    result = natively(path)
    assert result.design == "5.10"
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert min(result.scores[name].total for name in ("alloc", "refill", "drain", "free")) > 5
    if seed < 4:
        assert in_cpython(path, design="5.10")[0] == scores_of(result)


# ---- each rule has a schedule that is lost without it


def counted_late(kernel: OlderKernel) -> None:
    """Another CPU takes a page between the announcement of a free past the pcplists and the free."""
    pages = hold(kernel, 0, 3, 5)
    owner = kernel.task(0, free(pages[1])).to("zone.lock")
    kernel.run(1, alloc(5))
    owner.finish()
    hold(kernel, 1, 3, 5)


def type_read_late(kernel: OlderKernel) -> None:
    """A pageblock is isolated between the announcement of a free and the reading of its type."""
    page = hold(kernel, 0, 1)[0]
    owner = kernel.task(0, free(page)).to("mm_page_free")
    start = page & ~1023
    isolate = kernel.modules["page_isolation"].start_isolate_page_range
    isolator = kernel.task(1, lambda t: isolate(t.cpu, start, start + 1024, 1)).to("flush_work")
    owner.finish()
    isolator.finish()
    look(kernel, 0)
    look(kernel)


def own_drain_waits(kernel: OlderKernel) -> None:
    """The worker of a CPU waits for zone->lock, and another CPU takes pages before."""
    fill(kernel, 0, 4)
    worker = kernel.task(0, lambda t: kernel.modules["drain"].drain_local_pages_wq(0)).to("zone.lock")
    kernel.run(1, alloc(2))
    worker.finish()
    look(kernel)


def worker_frees_before_it_drains(kernel: OlderKernel) -> None:
    """A worker frees pages for somebody else, and its next work is to drain."""
    pages = hold(kernel, 0, 5)

    def work(task: Task) -> None:
        task.free(*pages)
        kernel.modules["drain"].drain_pages_zone(task.cpu, task.cpu)  # drain_local_pages() is inlined there

    kernel.run(0, drain)
    kernel.run(0, work)
    look(kernel)


def free_before_offline(kernel: OlderKernel) -> None:
    """A CPU frees the last page of memory that goes offline, and then shows nothing."""
    page = hold(kernel, 0, 1, 5)[0]
    start = page & ~1023
    offline = kernel.modules["memory_hotplug"].offline_pages
    kernel.migrate = lambda cpu, low, high: kernel.stop("do_migrate_range")
    offliner = kernel.task(1, lambda t: offline(t.cpu, start, 1024)).to("do_migrate_range")
    kernel.run(0, free(page))
    offliner.finish()


RULES: list[tuple[Callable[[OlderKernel], None], ModuleType, str, str]] = [
    (counted_late, irqs_off_steps, "].directs += 1\n", "].directs += 1\n    free_direct(cpu, level)\n"),
    (type_read_late, irqs_off_steps, "        mem_map[page].index = shown\n", "        pass\n"),
    (
        own_drain_waits,
        steps,
        "begin_hold(i, cpu, HOLD_DRAIN)",
        "begin_hold(i, cpu, HOLD_DRAIN)\n        run_hold(i, cpu)",
    ),
    (worker_frees_before_it_drains, irqs_off_steps, "    return asked == 1 or (full and ", "    return True or ("),
    (free_before_offline, hotplug_steps, "        settle_directs_in(page, page + hotplug.nr_pages)\n", ""),
]


@pytest.mark.parametrize(("schedule", "module", "old", "new"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_rule_is_needed(
    schedule: Callable[[OlderKernel], None], module: ModuleType, old: str, new: str, tmp_path: Path
) -> None:
    with OlderKernel(2) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))
        schedule(kernel)
    path = kernel.write(tmp_path)
    scores, reasons, _ = in_cpython(path, design="5.10")
    assert reasons == {}
    assert all(score["exact"] == score["total"] for score in scores.values())
    try:
        scores, _, _ = in_cpython(path, design="5.10", steps=mutant(module, old, new))
    except AssertionError:
        return  # a fault of the model
    assert any(score["exact"] != score["total"] for score in scores.values())
