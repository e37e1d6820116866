# SPDX-License-Identifier: GPL-2.0-or-later
"""Random work on all CPUs, in a random order of all their steps."""

from __future__ import annotations

import random

from pagelab.lang.declare import NIL
from pagelab.linux import memory_hotplug
from pagelab.linux.alloc_flags import ALLOC_NOFRAGMENT
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.state import ALLOCATED, mem_map, pcp
from tests.replay.kernel import Kernel, Task

#: Orders of allocations: mostly single pages, all orders that have pcplists, one that has none.
ORDERS = (0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 9, 5)


class Load:
    """Tasks that allocate and free at random.  ``held``: what they have, by first page."""

    def __init__(
        self,
        kernel: Kernel,
        seed: int,
        *,
        interrupts: bool = False,
        hotplug: bool = False,
        drains: bool = True,
        shown: bool = True,
        migratetypes: tuple[int, ...] = (MIGRATE_MOVABLE,),
    ) -> None:
        self.kernel, self.rng = kernel, random.Random(seed)
        self.interrupts, self.hotplug, self.drains, self.shown = interrupts, hotplug, drains, shown
        self.migratetypes = migratetypes
        self.held: dict[int, int] = {}
        self.bulk_waits = True
        kernel.migrate = self.migrate
        kernel.prompt = shown

    def run(self, operations: int) -> None:
        """So many operations on each CPU."""
        works = [lambda t: self.work(t, operations) for _ in range(self.kernel.cpus)]
        if self.hotplug:
            works[0] = lambda t: self.move_memory(t, operations)
        self.interleave([self.kernel.task(cpu, work) for cpu, work in enumerate(works)])

    def interleave(self, tasks: list[Task]) -> None:
        """Choose who goes on, step by step; the last task of a CPU's list is the one that runs there."""
        stacks = [[task] for task in tasks]
        while True:
            for stack in stacks:
                while stack and stack[-1].done:
                    stack.pop()
            ready = [stack for stack in stacks if stack and not stack[-1].blocked]
            if not ready:
                assert not any(stacks), "deadlock"
                return
            stack = self.rng.choice(ready)
            task = stack[-1]
            if self.interrupts and self.rng.random() < 0.02 and self.may_interrupt(task):
                task = self.kernel.interrupt(task, lambda t: self.work(t, 3))
                stack.append(task)
            task.step()

    def may_interrupt(self, task: Task) -> bool:
        """Where the trace tells what comes first.

        A page that an allocation has taken and not logged yet cannot be told from one that it takes after the
        interrupt; an interrupt that finds its pcp->lock taken has tests of its own.
        """
        shown = task.at not in ("", "mm_page_alloc")
        return shown and not task.context and not task.irqs_off and not pcp[task.cpu].lock.held

    def work(self, task: Task, operations: int) -> None:
        rng = self.rng
        for _ in range(operations):
            choice = rng.random()
            if choice < 0.5:
                order = rng.choice(ORDERS)
                page = task.alloc(order, *self.type_and_flags())
                if page != NIL:
                    self.held[page] = order
            elif choice < 0.55 and len(self.migratetypes) > 1 and not task.context:
                task.patient = self.bulk_waits
                pages = task.alloc_bulk(rng.randrange(2, 12), rng.choice(self.migratetypes))
                task.patient = False
                self.held |= dict.fromkeys(pages, 0)
            elif choice < 0.75:
                for page in self.some(1):
                    self.free(task, [page])
            elif choice < 0.9:
                self.free(task, self.some(rng.randrange(2, 20), order=0))
            elif choice < 0.91 and self.drains and not task.context:
                task.drain_all()
            else:
                task.elsewhere()

    def type_and_flags(self) -> tuple[int, int]:
        """Of an allocation: it may have been told not to mix migratetypes in a pageblock."""
        if len(self.migratetypes) == 1:
            return self.migratetypes[0], 0
        return self.rng.choice(self.migratetypes), self.rng.choice((0, ALLOC_NOFRAGMENT))

    def free(self, task: Task, pages: list[int]) -> None:
        """Free a page, or a list.  Never past a pcplist that is locked: the trace does not show when that is done."""
        task.patient = self.shown
        if len(pages) == 1:
            task.free(pages[0])
        else:
            task.free_list(pages)
        task.patient = False

    def some(self, count: int, order: int = -1) -> list[int]:
        """Pages that nobody holds any more."""
        fit = [page for page, size in self.held.items() if order in (-1, size)]
        chosen = self.rng.sample(fit, min(count, len(fit)))
        for page in chosen:
            del self.held[page]
        return chosen

    def move_memory(self, task: Task, operations: int) -> None:
        """Work, with memory that goes offline and comes back in between."""
        self.work(task, operations // 3)
        memory_hotplug.offline_pages(task.cpu, 0, 2048)
        self.work(task, operations // 3)
        memory_hotplug.online_pages(task.cpu, 0, 2048)
        self.work(task, operations // 3)

    def migrate(self, cpu: int, start: int, end: int) -> None:
        """do_migrate_range(): what can be had of the range moves elsewhere."""
        task = self.kernel.current
        assert task is not None
        for page in [page for page in self.held if start <= page < end]:
            order = self.held.pop(page, NIL)  # somebody may have been faster
            if order == NIL:
                continue
            assert mem_map[page].state == ALLOCATED
            new = task.alloc(order)
            if new == NIL:
                self.held[page] = order
                return
            self.held[new] = order
            self.free(task, [page])
