# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel for tests of the replay: the model itself, run in CPython by tasks that a script starts and stops.

Each task has a thread, and one of them runs at a time.  A task stops wherever another CPU or an interrupt could come
in between, at points that carry the names of the kernel's functions, tracepoints and locks; the test says which task
goes on.  What the tracepoints and the probes of ``pagelab record`` would show is written down on the way.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from pagelab.lang import declare
from pagelab.lang.declare import NIL, attached, table_of
from pagelab.linux import effective, memory_hotplug, page_alloc, state, trace
from pagelab.linux.designs import design_named
from pagelab.linux.features import features
from pagelab.linux.highatomic import highatomic
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from pagelab.linux.state import machine, mem_map, other_zone, page_vec, pcp, zone
from tests.capture.make import Happened
from tests.replay.machine_files import DMA_PAGES, ELSEWHERE, PAGES, PROBES, START_PFN, VMEMMAP, ZONE, write_capture
from tests.replay.range_probes import wrappers_of_ranges

#: More than any task here needs to its end.
STEPS = 100_000

TASK, SOFTIRQ, HARDIRQ = 0, 16, 8
#: The flags of a probe by breakpoint: irqs off, hardirq, NMI.  The text of ftrace then hides a softirq below it.
BREAKPOINT = 0x49


class Killed(BaseException):
    """The script ended before the task did."""


class Task:
    """A task of the kernel, or an interrupt, on a CPU.  ``at`` is where it stopped, "" before its first step."""

    def __init__(self, kernel: Kernel, cpu: int, work: Callable[[Task], object], pid: int, context: int) -> None:
        self.kernel, self.cpu, self.work, self.pid, self.context = kernel, cpu, work, pid, context
        self.at = ""
        self.done = False
        self.error: BaseException | None = None
        self.irqs_off = 0
        self.blocked_on: declare.Lock | None = None
        self.patient = False  # waits where trylock() would fail
        self.past_pcplists = self.in_bulk = False  # within free_one_page(), __alloc_pages_bulk()
        self.splits = self.takes_range = False  # within split_free_page(), isolate_freepages_range()
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.go.acquire()
        if not self.kernel.dying:
            try:
                self.work(self)
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 (raised again on the script's thread)
                self.error = error
        self.done = True
        self.kernel.current = None
        self.kernel.turn.release()

    @property
    def blocked(self) -> bool:
        """Whether it waits for a lock that somebody holds."""
        return self.blocked_on is not None and self.blocked_on.held

    def step(self) -> None:
        """On to the next point."""
        assert not self.done
        self.kernel.current = self
        self.go.release()
        self.kernel.turn.acquire()
        if self.error is not None:
            raise self.error

    def to(self, point: str) -> Task:
        """On to a point; a script that asks for the impossible fails."""
        for _ in range(STEPS):
            self.step()
            assert not self.done, f"the task ended and did not come to {point}"
            if self.at == point:
                return self
            assert not self.blocked, f"the task waits for a lock and does not come to {point}"
        raise AssertionError(f"the task goes round in circles and does not come to {point}")

    def finish(self) -> None:
        """On to its end."""
        for _ in range(STEPS):
            if self.done:
                return
            assert not self.blocked, "the task waits for a lock that the script left held"
            self.step()
        raise AssertionError("the task does not end")

    # ---- what a task can do; pages are relative to the start of the zone

    def alloc(self, order: int = 0, migratetype: int = MIGRATE_MOVABLE, flags: int = 0) -> int:
        """alloc_pages(); NIL, and a page of another zone, if this one has none."""
        kernel = self.kernel
        page = page_alloc.rmqueue(self.cpu, order, flags, migratetype)
        if page != NIL:
            page_alloc.prep_new_page(page, migratetype)
        kernel.stop("mm_page_alloc")
        pfn = ELSEWHERE if page == NIL else START_PFN + page
        kernel.emit("mm_page_alloc", self.cpu, pfn=pfn, order=order, migratetype=migratetype, gfp_flags=0)
        return page

    def alloc_bulk(self, count: int, migratetype: int = MIGRATE_UNMOVABLE) -> list[int]:
        """__alloc_pages_bulk() of more than one page."""
        with self.kernel.own_page_vec(self.cpu):
            got = self.kernel.modules["page_alloc"].__dict__["__alloc_pages_bulk"](self.cpu, count, 0, migratetype)
            return [page_vec[self.cpu, i].page for i in range(got)]

    def free(self, *pages: int) -> None:
        """__free_pages(), page by page."""
        for page in pages:
            page_alloc.free_the_page(self.cpu, page, mem_map[page].compound_order)

    def free_list(self, pages: list[int]) -> None:
        """free_unref_page_list()"""
        with self.kernel.own_page_vec(self.cpu):
            for i, page in enumerate(pages):
                page_vec[self.cpu, i].page = page
            self.kernel.modules["pcp"].free_unref_page_list(self.cpu, len(pages))

    def take_free(self, page: int) -> list[int]:
        """What compaction's free scanner does with a page that it finds free; the pages that it then has."""
        order = mem_map[page].order
        with declare.irqs_off(self.cpu), zone.lock:
            found = {"page": VMEMMAP + 64 * (START_PFN + page), "vmemmap": VMEMMAP, "order": order}
            self.kernel.probe("isolate_free_page", self.cpu, **found)
            taken = self.kernel.modules["buddy"].__dict__["__isolate_free_page"](self.cpu, page, order)
            self.kernel.probe("isolate_free_page_done", self.cpu, ret=taken)
        for part in range(page, page + taken):
            mem_map[part].compound_order = 0
            page_alloc.prep_new_page(part, MIGRATE_MOVABLE)
        return list(range(page, page + taken))

    def elsewhere(self) -> None:
        """Allocate and free a page of another zone."""
        self.kernel.emit("mm_page_alloc", self.cpu, pfn=ELSEWHERE, order=0, migratetype=0, gfp_flags=0)
        self.kernel.stop("elsewhere")
        self.kernel.emit("mm_page_free", self.cpu, pfn=ELSEWHERE, order=0)

    def drain_all(self) -> None:
        """drain_all_pages()"""
        self.kernel.modules["drain"].drain_all_pages(self.cpu, specific=True)


class Kernel:
    """A machine whose zone from 4 GiB on is empty.  Use it as a context; it is the model's state meanwhile."""

    def __init__(
        self,
        cpus: int = 2,
        *,
        probes: frozenset[str] = PROBES,
        breakpoints: bool = False,
        pages: int = PAGES,
        zone: str = "Movable",
    ) -> None:
        self.zone = zone
        self.cpus, self.probes, self.breakpoints, self.pages = cpus, probes, breakpoints, pages
        self.events: list[Happened] = []
        self.current: Task | None = None
        self.turn = threading.Semaphore(0)
        self.tasks: list[Task] = []
        self.dying = False
        self.counter = 100
        self.pid = 200
        self.in_setup = False
        self.hurried = False
        self.prompt = False  # from the announcement of a free on there is no stop until its page is on a free list,
        # or until its type was read and it goes on to a pcplist
        self.migrate: Callable[[int, int, int], None] = lambda cpu, start, end: None
        self.modules = {name: importlib.import_module(f"pagelab.linux.{name}") for name in effective.MODULES}
        self.stack = ExitStack()

    def __enter__(self) -> Kernel:
        saved = [(constants, dict(vars(constants))) for constants in (machine, features)]
        for constants, values in saved:
            self.stack.callback(vars(constants).update, values)
        design_named("6.1").switch_on()
        machine.configure(
            nr_pages=self.pages,
            nr_cpus=self.cpus,
            cma=False,
            thp=True,
            zone_movable=self.zone == "Movable",
            nr_other_zones=1,
        )
        state.reset()
        table_of(highatomic).reset()
        other_zone[0].managed_pages, other_zone[0].watermark_high = DMA_PAGES, DMA_PAGES // 60
        other_zone[0].holds_user_pages = True
        self.stack.enter_context(attached(self._tracepoints()))
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        for name, wrapper in self._wrappers():
            for module in self.modules.values():
                if hasattr(module, name):
                    patch.setattr(module, name, wrapper)
        patch.setattr(declare.Lock, "__enter__", lambda lock: self._lock(lock))
        self.stack.callback(self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, value, traceback)

    def _end(self) -> None:
        self.dying = True
        for task in self.tasks:
            if not task.done:
                task.go.release()
                task.thread.join()

    # ---- tasks

    def task(self, cpu: int, work: Callable[[Task], object], *, pid: int = 0) -> Task:
        """A task that has not begun."""
        self.pid += 1
        made = Task(self, cpu, work, pid or self.pid, TASK)
        self.tasks.append(made)
        return made

    def interrupt(self, victim: Task, work: Callable[[Task], object], context: int = SOFTIRQ) -> Task:
        """An interrupt, not begun, where a task has stopped: it carries the number of that task."""
        assert not victim.irqs_off
        made = Task(self, victim.cpu, work, victim.pid, context)
        self.tasks.append(made)
        return made

    def run(self, cpu: int, work: Callable[[Task], object], *, pid: int = 0) -> None:
        """A task from its beginning to its end."""
        self.task(cpu, work, pid=pid).finish()

    def online(self, start: int = 0, pages: int = 0) -> None:
        """Bring memory online, by default all of the zone."""
        nr_pages = pages or self.pages
        self.run(0, lambda t: self.modules["memory_hotplug"].online_pages(t.cpu, start, nr_pages))

    def stop(self, point: str) -> None:
        """The task that runs stops here; nothing else is between its steps."""
        task = self.current
        if task is None or self.hurried:
            return
        task.at = point
        self.current = None
        self.turn.release()
        task.go.acquire()
        if self.dying:
            raise Killed
        self.current = task

    def wait(self, lock: declare.Lock) -> None:
        """Spin until nobody holds a lock."""
        task = self.current
        assert task is not None
        task.blocked_on = lock
        while lock.held:
            self.stop("blocked")
        task.blocked_on = None

    def emit(self, name: str, cpu: int, /, *, flags: int = 0, preempt: int = 0, **values: int) -> None:
        """An event of the task that runs."""
        task = self.current
        self.counter += 1
        context = task.context if task is not None else TASK
        pid = task.pid if task is not None else 1
        self.events.append(Happened(self.counter, cpu, name, values, pid, flags | context, preempt))

    def probe(self, name: str, cpu: int, /, **values: int) -> None:
        """A hit of a probe, which is then a point to stop at."""
        if name in self.probes:
            self.emit(name, cpu, flags=BREAKPOINT if self.breakpoints else 0, preempt=1, **values)
        self.stop(name)

    @contextmanager
    def own_page_vec(self, cpu: int) -> Iterator[None]:
        """The kernel's lists of pages are on a stack: an interrupt leaves that of its victim alone."""
        saved = [page_vec[cpu, i].page for i in range(machine.page_vec_size)]
        yield
        for i, page in enumerate(saved):
            page_vec[cpu, i].page = page

    # ---- what is wrapped

    def _lock(self, lock: declare.Lock) -> None:
        task = self.current
        if task is not None:
            name = "zone.lock" if lock is zone.lock else "lock"
            if any(lock is pcp[cpu].lock for cpu in range(machine.nr_cpus)):
                name = "pcp.lock"
            self.stop(name)
            self.wait(lock)
        assert not lock.held
        lock.held = True

    def _tracepoints(self) -> dict[declare.Tracepoint, Callable[..., None]]:
        def free(cpu: int, page: int, order: int) -> None:
            if self.prompt and self.current is not None:
                self.wait(zone.lock)
                self.hurried = True
            self.emit("mm_page_free", cpu, pfn=START_PFN + page, order=order)
            self.stop("mm_page_free")

        def batched(cpu: int, page: int) -> None:
            self.emit("mm_page_free_batched", cpu, pfn=START_PFN + page)
            self.stop("mm_page_free_batched")

        def locked(cpu: int, page: int, order: int, migratetype: int, refill: int) -> None:
            values = {"pfn": START_PFN + page, "order": order, "migratetype": migratetype, "percpu_refill": int(refill)}
            self.emit("mm_page_alloc_zone_locked", cpu, flags=1, **values)
            self.stop("mm_page_alloc_zone_locked")

        def drained(cpu: int, page: int, order: int, migratetype: int) -> None:
            shown = 4 if migratetype == MIGRATE_ISOLATE else migratetype  # the kernel has no CMA
            self.emit("mm_page_pcpu_drain", cpu, flags=1, pfn=START_PFN + page, order=order, migratetype=shown)
            self.stop("mm_page_pcpu_drain")

        def fallback(
            cpu: int, page: int, order: int, fallback_order: int, start: int, other: int, changed: int
        ) -> None:
            values = {"pfn": START_PFN + page, "alloc_order": order, "fallback_order": fallback_order}
            values |= {"alloc_migratetype": start, "fallback_migratetype": other, "change_ownership": int(changed)}
            self.emit("mm_page_alloc_extfrag", cpu, flags=1, **values)
            self.stop("mm_page_alloc_extfrag")

        def tested(cpu: int, start: int, end: int, fin: int) -> None:
            values = {"start_pfn": START_PFN + start, "end_pfn": START_PFN + end, "fin_pfn": START_PFN + fin}
            self.emit("test_pages_isolated", cpu, **values)
            self.stop("test_pages_isolated")

        def migrate(cpu: int, page: int, end: int) -> None:
            self.stop("do_migrate_range")
            self.migrate(cpu, page, end)

        return {
            trace.mm_page_free: free,
            trace.mm_page_free_batched: batched,
            trace.mm_page_alloc_zone_locked: locked,
            trace.mm_page_pcpu_drain: drained,
            trace.mm_page_alloc_extfrag: fallback,
            trace.test_pages_isolated: tested,
            trace.do_migrate_range: migrate,
        }

    def _wrappers(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Replacements of the model's functions by name: the original, with a probe or a point to stop."""
        buddy, pcp_, drain = (self.modules[name] for name in ("buddy", "pcp", "drain"))
        tuning, isolation = self.modules["pcp_tuning"], self.modules["page_isolation"]

        def at_entry(
            function: Callable[..., Any], entry: Callable[..., tuple[str, int, dict[str, int]]], *, done: bool = False
        ) -> tuple[str, Callable[..., Any]]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                name, cpu, values = entry(*args, **kwargs)
                self.probe(name, cpu, **values)
                result = function(*args, **kwargs)
                if done and f"{name}_done" in self.probes:
                    self.emit(f"{name}_done", cpu, ret=result or 0)
                return result

            return function.__name__, wrapper

        def before(function: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
            def wrapper(*args: Any) -> Any:
                self.stop(function.__name__)
                return function(*args)

            return function.__name__, wrapper

        def after(function: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
            def wrapper(*args: Any) -> Any:
                result = function(*args)
                self.stop(function.__name__)
                return result

            return function.__name__, wrapper

        def here() -> int:
            return self.current.cpu if self.current is not None else 0

        def page_of(page: int) -> dict[str, int]:
            return {"page": VMEMMAP + 64 * (START_PFN + page), "vmemmap": VMEMMAP}

        def of_range(start: int, end: int) -> dict[str, int]:
            return {"start_pfn": START_PFN + start, "end_pfn": START_PFN + end}

        yield at_entry(
            pcp_.rmqueue_bulk,
            lambda cpu, order, count, pindex, migratetype, flags: (
                "rmqueue_bulk",
                cpu,
                {"zone": ZONE, "order": order, "count": count, "list": pindex, "migratetype": migratetype},
            ),
        )
        yield at_entry(
            pcp_.free_pcppages_bulk,
            lambda cpu, owner, count, pindex: (
                "free_pcppages_bulk",
                cpu,
                {"zone": ZONE, "count": count, "pcp": owner, "pindex": pindex},
            ),
        )
        yield at_entry(
            pcp_.free_unref_page_commit,
            lambda cpu, page, migratetype, order, fpi_flags: (
                "free_unref_page_commit",
                cpu,
                {"zone": ZONE, **page_of(page), "migratetype": migratetype, "order": order},
            ),
        )
        yield at_entry(
            drain.drain_pages_zone, lambda cpu, owner: ("drain_pages_zone", cpu, {"cpu": owner, "zone": ZONE})
        )
        yield at_entry(drain.drain_local_pages, lambda cpu: ("drain_local_pages", cpu, {"zone": ZONE}))
        yield at_entry(
            drain.__dict__["__drain_all_pages"],
            lambda cpu, specific, force_all_cpus: (
                "drain_all_pages",
                cpu,
                {"zone": ZONE if specific else 0, "force_all_cpus": int(force_all_cpus)},
            ),
        )
        yield at_entry(
            buddy.move_freepages_block,
            lambda cpu, page, migratetype: (
                "move_freepages_block",
                cpu,
                {"zone": ZONE, **page_of(page), "migratetype": 4 if migratetype == MIGRATE_ISOLATE else migratetype},
            ),
            done=True,
        )
        yield at_entry(
            isolation.unset_migratetype_isolate,
            lambda cpu, page, migratetype: (
                "unset_migratetype_isolate",
                cpu,
                {**page_of(page), "migratetype": migratetype},
            ),
        )
        bulk = page_alloc.__dict__["__alloc_pages_bulk"]

        def alloc_bulk(cpu: int, nr_pages: int, flags: int, migratetype: int) -> int:
            self.probe("alloc_pages_bulk", cpu, gfp=0xCC0, migratetype=migratetype, nr_pages=nr_pages)
            got = bulk(here(), nr_pages, flags, migratetype)
            self.stop("alloc_pages_bulk_done")
            if "alloc_pages_bulk_done" in self.probes:
                self.emit("alloc_pages_bulk_done", here(), ret=got)
            return int(got)

        yield bulk.__name__, alloc_bulk
        for function in (isolation.start_isolate_page_range, isolation.undo_isolate_page_range):
            yield at_entry(
                function,
                lambda cpu, start, end, migratetype, name=function.__name__: (
                    name,
                    cpu,
                    {**of_range(start, end), "migratetype": migratetype},
                ),
                done=function is isolation.start_isolate_page_range,
            )
        yield at_entry(
            memory_hotplug.__dict__["__offline_isolated_pages"],
            lambda cpu, start, end: ("offline_isolated_pages", cpu, of_range(start, end)),
        )
        for function in (memory_hotplug.online_pages, memory_hotplug.offline_pages):
            yield at_entry(
                function,
                lambda cpu, start, nr_pages, name=function.__name__: (
                    name,
                    cpu,
                    {
                        ("pfn" if name == "online_pages" else "start_pfn"): START_PFN + start,
                        "nr_pages": nr_pages,
                        "zone": ZONE,
                    },
                ),
                done=True,
            )
        yield at_entry(tuning.zone_pcp_disable, lambda cpu: ("zone_pcp_disable", cpu, {"zone": ZONE}), done=True)
        yield at_entry(tuning.zone_pcp_enable, lambda: ("zone_pcp_enable", here(), {"zone": ZONE}))
        yield before(tuning.pageset_update)

        original_trylock = declare.trylock

        def trylock(lock: declare.Lock) -> bool:
            self.stop("trylock")
            if self.current is not None and self.current.patient:
                self.wait(lock)
            return original_trylock(lock)

        yield "trylock", trylock
        # Not between the readings of high and of batch: of a CPU that saw one old and one new the trace tells nothing.
        yield after(pcp_.nr_pcp_free)

        free_one_page, prepare = pcp_.free_one_page, pcp_.free_unref_page_prepare

        def to_free_lists(cpu: int, page: int, order: int, migratetype: int, flags: int) -> None:
            task = self.current
            if task is not None:
                task.past_pcplists = True
            free_one_page(cpu, page, order, migratetype, flags)
            self.hurried = False

        merge = buddy.__dict__["__free_one_page"]

        def to_free_list(page: int, order: int, migratetype: int, flags: int) -> None:
            task = self.current
            shown = 4 if migratetype == MIGRATE_ISOLATE else migratetype
            values = {"zone": ZONE, "pfn": START_PFN + page, "order": order, "migratetype": shown}
            if "free_one_page" in self.probes and task is not None and task.past_pcplists:
                task.past_pcplists = False
                self.probe("free_one_page", task.cpu, **values, fpi_flags=flags)
            if task is not None and task.splits:
                self.probe("split_free_page_part", task.cpu, **values)
            merge(page, order, migratetype, flags)

        yield merge.__name__, to_free_list
        yield from wrappers_of_ranges(self)

        bulk_pcp = page_alloc.alloc_pages_bulk_pcp
        from_pcplist = pcp_.__dict__["__rmqueue_pcplist"]

        def bulk_from_pcplist(cpu: int, nr_pages: int, flags: int, migratetype: int) -> int:
            task = self.current
            assert task is not None
            task.in_bulk = True
            got = bulk_pcp(cpu, nr_pages, flags, migratetype)
            task.in_bulk = False
            return got

        def rmqueue_pcplist(cpu: int, order: int, migratetype: int, flags: int, pindex: int) -> int:
            page = int(from_pcplist(cpu, order, migratetype, flags, pindex))
            in_bulk = self.current is not None and self.current.in_bulk
            name = "alloc_pages_bulk_page" if in_bulk else "rmqueue_pcplist_page"
            if name in self.probes and page != NIL:
                self.probe(name, cpu, **page_of(page))
            return page

        yield bulk_pcp.__name__, bulk_from_pcplist
        yield from_pcplist.__name__, rmqueue_pcplist

        def read_type(cpu: int, page: int, order: int) -> None:
            prepare(cpu, page, order)
            self.hurried &= mem_map[page].index == MIGRATE_ISOLATE

        yield "free_one_page", to_free_lists
        yield "free_unref_page_prepare", read_type

        set_pageset = tuning.__dict__["__zone_set_pageset_high_and_batch"]
        setup = tuning.setup_zone_pageset

        def set_all(high: int, batch: int) -> None:
            if not self.in_setup:  # inlined there: seen on 6.1
                self.probe("zone_set_pageset", here(), zone=ZONE, high=high, batch=batch)
            set_pageset(high, batch)

        def set_up() -> None:
            self.in_setup = True
            setup()
            self.in_setup = False

        yield set_pageset.__name__, set_all
        yield setup.__name__, set_up

        original_irqs_off = declare.irqs_off

        @contextmanager
        def irqs_off(cpu: int) -> Iterator[None]:
            task = self.current
            if task is not None:
                task.irqs_off += 1
            with original_irqs_off(cpu):
                yield
            if task is not None:
                task.irqs_off -= 1

        yield "irqs_off", irqs_off

    # ---- the capture

    def write(self, directory: Path) -> Path:
        """A capture as it could be copied from this machine: with a trace.dat if the probes are breakpoints."""
        return write_capture(directory, self.events, self.cpus, self.pages, binary=self.breakpoints, zone=self.zone)
