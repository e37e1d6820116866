# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel of :mod:`tests.replay.kernel` as Linux 5.10: pcplists without locks, drained by workers of their CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pagelab.lang import declare
from pagelab.linux import trace
from pagelab.linux.designs import design_named
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import WORK_IDLE, WORK_QUEUED, drain_work, mem_map, mm
from tests.replay.kernel import BREAKPOINT, Kernel, Task
from tests.replay.machine_files import PAGES, START_PFN, ZONE
from tests.replay.schedules import Load

#: What `pagelab record` places on that kernel; "of 5.10" are placed here, the others by the class below.
OF_5_10 = frozenset(["free_unref_page_commit", "free_pages_counted", "zone_pcp_update"])
PROBES = OF_5_10 | frozenset(
    [
        "drain_all_pages",
        "drain_local_pages",
        "free_pcppages_bulk",
        "move_freepages_block",
        "move_freepages_block_done",
        "start_isolate_page_range",
        "start_isolate_page_range_done",
        "undo_isolate_page_range",
        "unset_migratetype_isolate",
        "offline_isolated_pages",
        "offline_pages",
        "offline_pages_done",
        "online_pages",
        "online_pages_done",
    ]
)
CONFIG = "CONFIG_SMP=y\nCONFIG_TRANSPARENT_HUGEPAGE=y\n# CONFIG_CMA is not set\n"
SYMBOLS = "ffffffff81000000 T _text\nffffffff8126fed0 t drain_local_pages_wq\n"
WORKER = 9000


class OlderKernel(Kernel):
    """A machine with Linux 5.10.  Use it as a context; it is the model's state meanwhile."""

    def __init__(self, cpus: int = 2, *, probes: frozenset[str] = PROBES, pages: int = PAGES) -> None:
        super().__init__(cpus, probes=probes - OF_5_10, pages=pages)
        self.of_5_10 = probes & OF_5_10

    def __enter__(self) -> OlderKernel:
        super().__enter__()
        design_named("5.10").switch_on()
        return self

    def probe_of_5_10(self, name: str, cpu: int, /, **values: int) -> None:
        if name in self.of_5_10:
            self.emit(name, cpu, flags=BREAKPOINT if self.breakpoints else 0, preempt=1, **values)
        self.stop(name)

    # ---- workers

    def work(self, task: Task, owner: int) -> None:
        """The worker of a CPU drains its pcplists, while ``task`` sleeps or is at a point where it may be replaced."""
        cpu, pid = task.cpu, task.pid
        task.cpu, task.pid = owner, WORKER + owner
        self.modules["drain"].drain_work_now(cpu, owner)
        task.cpu, task.pid = cpu, pid

    def sleeps(self, cpu: int) -> bool:
        """Whether no task runs on a CPU, so that its worker can."""
        there = [task for task in self.tasks if task.cpu == cpu and not task.done and task is not self.current]
        if not there or there[-1].at == "":
            return True
        mutex = (mm.pcpu_drain_mutex, mm.mem_hotplug_lock, mm.pcp_batch_high_lock)
        return there[-1].blocked and any(there[-1].blocked_on is lock for lock in mutex)

    def flush(self, cpu: int, owner: int) -> None:
        """flush_work(): sleep until the worker is done."""
        task = self.current
        assert task is not None
        while drain_work[owner].state != WORK_IDLE:
            if drain_work[owner].state == WORK_QUEUED and (owner == task.cpu or self.sleeps(owner)):
                self.work(task, owner)
            else:
                self.stop("flush_work")

    # ---- what is traced

    def _tracepoints(self) -> dict[declare.Tracepoint, Callable[..., None]]:
        return {**super()._tracepoints(), trace.flush_drain_work: self.flush}

    def _wrappers(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        yield from super()._wrappers()
        pcp, buddy, tuning = (self.modules[name] for name in ("pcp", "buddy", "pcp_tuning"))
        commit = pcp.free_unref_page_commit_irqs_off
        count = buddy.__dict__["__mod_zone_freepage_state"]
        update = tuning.pageset_update

        def commit_page(cpu: int, page: int) -> None:
            index = mem_map[page].index
            shown = 4 if index == MIGRATE_ISOLATE else index  # the kernel has no CMA
            self.probe_of_5_10("free_unref_page_commit", cpu, pfn=START_PFN + page, migratetype=shown)
            commit(cpu, page)

        def count_pages(nr_pages: int, migratetype: int) -> None:
            if nr_pages > 1 and self.current is not None:
                self.probe_of_5_10("free_pages_counted", self.current.cpu, zone=ZONE, item=0, delta=nr_pages)
            count(nr_pages, migratetype)

        def update_pageset(owner: int, high: int, batch: int) -> None:
            if self.current is not None:
                self.probe_of_5_10("zone_pcp_update", self.current.cpu, zone=ZONE)
            update(owner, high, batch)

        yield commit.__name__, commit_page
        yield count.__name__, count_pages
        yield update.__name__, update_pageset

    def write(self, directory: Path) -> Path:
        """A capture as it could be copied from this machine."""
        super().write(directory)
        (directory / "config.txt").write_text(CONFIG)
        (directory / "kallsyms.txt").write_text(SYMBOLS)
        return directory


class OlderLoad(Load):
    """Tasks that let the worker of their CPU run between two operations."""

    def work(self, task: Task, operations: int) -> None:
        for _ in range(operations):
            if drain_work[task.cpu].state == WORK_QUEUED and not task.context:
                assert isinstance(self.kernel, OlderKernel)
                self.kernel.work(task, task.cpu)
            super().work(task, 1)
