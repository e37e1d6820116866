# SPDX-License-Identifier: GPL-2.0-or-later
"""Random operations on a small zone; after each one everything that must hold is checked.

P1: no page is in two places.  P2, P3: the counters.  P4: what a passed test of an isolated range promises.
P6: disabled pcplists are empty.  P7: the counter of isolated pageblocks.  P9: what enabling restores.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pagelab.lang.declare import attached
from pagelab.linux import drain, memory_hotplug, page_alloc, page_isolation, pcp_tuning, trace
from pagelab.linux import pcp as pcp_procedures
from pagelab.linux.alloc_flags import ALLOC_CMA
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    IN_FLIGHT,
    OFFLINE,
    TAIL,
    cpu_state,
    get_pageblock_migratetype,
    machine,
    mem_map,
    page_vec,
    pageblock,
    pcp,
    zone,
)
from tests.linux.lab import SMALL, check_quiet_state, zone_of

CPUS = st.integers(0, 1)
BLOCKS = st.integers(0, 31)
MEMORY_BLOCK = 64  # pages that go online and offline together

bulk_alloc = page_alloc.__alloc_pages_bulk
set_all_pagesets = pcp_tuning.__zone_set_pageset_high_and_batch


def migrate(cpu: int, page: int, end: int) -> None:
    order = mem_map[page].compound_order
    if page_alloc.get_page_from_freelist(cpu, order, ALLOC_CMA, MIGRATE_MOVABLE) == -1:
        cpu_state[cpu].signal_pending = True
    else:
        page_alloc.free_the_page(cpu, page, order)


class Zone(RuleBasedStateMachine):
    """One zone, two CPUs, and any number of pages that are between the two halves of their free."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(zone_of(online=128, page_vec_size=16, **SMALL))
        self.stack.enter_context(attached({trace.do_migrate_range: migrate}))
        self.disabled = False
        self.isolated: list[tuple[int, int]] = []

    def teardown(self) -> None:
        self.stack.close()

    def running(self, cpu: int) -> int:
        """This CPU, or the other one if it is offline."""
        return cpu if cpu_state[cpu].online else 1 - cpu

    # ---- allocate and free

    def in_state(self, state: int) -> list[int]:
        return [page for page in range(machine.nr_pages) if mem_map[page].state == state]

    @rule(cpu=CPUS, order=st.sampled_from([0, 0, 0, 1, 2, 3, 4]), contended=st.booleans())
    def allocate(self, cpu: int, order: int, contended: bool) -> None:
        cpu = self.running(cpu)
        pcp[cpu].lock.held = contended and order < 4
        page = page_alloc.get_page_from_freelist(cpu, order, ALLOC_CMA, MIGRATE_MOVABLE)
        pcp[cpu].lock.held = False
        if page != -1:
            assert mem_map[page].state == ALLOCATED
            assert mem_map[page].compound_order == order

    @rule(cpu=CPUS, choice=st.integers(0), nr=st.integers(1, 8), contended=st.booleans())
    def free(self, cpu: int, choice: int, nr: int, contended: bool) -> None:
        cpu = self.running(cpu)
        pcp[cpu].lock.held = contended
        for _ in range(nr):
            if pages := self.in_state(ALLOCATED):
                page = pages[choice % len(pages)]
                page_alloc.free_the_page(cpu, page, mem_map[page].compound_order)
        pcp[cpu].lock.held = False

    @rule(cpu=CPUS, nr=st.integers(0, 16))
    def allocate_bulk(self, cpu: int, nr: int) -> None:
        cpu = self.running(cpu)
        got = bulk_alloc(cpu, nr, ALLOC_CMA, MIGRATE_MOVABLE)
        assert all(mem_map[page_vec[cpu, i].page].state == ALLOCATED for i in range(got))

    @rule(cpu=CPUS, nr=st.integers(0, 16), contended=st.booleans())
    def free_list(self, cpu: int, nr: int, contended: bool) -> None:
        cpu = self.running(cpu)
        pages = [page for page in self.in_state(ALLOCATED) if mem_map[page].compound_order == 0][:nr]
        for i, page in enumerate(pages):
            page_vec[cpu, i].page = page
        pcp[cpu].lock.held = contended
        pcp_procedures.free_unref_page_list(cpu, len(pages))
        pcp[cpu].lock.held = False

    @rule(choice=st.integers(0))
    def split(self, choice: int) -> None:
        if pages := self.in_state(ALLOCATED):
            page = pages[choice % len(pages)]
            page_alloc.split_page(page, mem_map[page].compound_order)

    @rule(cpu=CPUS, choice=st.integers(0))
    def begin_free(self, cpu: int, choice: int) -> None:
        """A freeing CPU reads the pageblock's type, and is delayed."""
        cpu = self.running(cpu)
        if pages := self.in_state(ALLOCATED):
            page = pages[choice % len(pages)]
            if pcp_procedures.pcp_allowed_order(order := mem_map[page].compound_order):
                pcp_procedures.free_unref_page_prepare(cpu, page, order)

    @rule(cpu=CPUS, contended=st.booleans())
    def end_free(self, cpu: int, contended: bool) -> None:
        """It goes on with the type it read, perhaps on another CPU."""
        cpu = self.running(cpu)
        for page in self.in_state(IN_FLIGHT)[:1]:
            order, migratetype = mem_map[page].compound_order, mem_map[page].index
            if migratetype == MIGRATE_ISOLATE:
                pcp_procedures.free_one_page(cpu, page, order, migratetype, 0)
            else:
                assert migratetype < MIGRATE_PCPTYPES
                pcp[cpu].lock.held = contended
                pcp_procedures.pcp_trylock_free(cpu, page, migratetype, migratetype, order, 0)
                pcp[cpu].lock.held = False

    # ---- drains and sizes

    @rule(cpu=CPUS, force=st.booleans())
    def drain_all(self, cpu: int, force: bool) -> None:
        cpu = self.running(cpu)
        drain.__dict__["__drain_all_pages"](cpu, specific=True, force_all_cpus=force)
        assert all(pcp[c].count == 0 for c in range(2) if cpu_state[c].online)

    @rule(cpu=CPUS)
    def drain_local(self, cpu: int) -> None:
        cpu = self.running(cpu)
        drain.drain_local_pages(cpu)
        assert pcp[cpu].count == 0

    @rule(cpu=CPUS, folded=st.booleans(), local=st.booleans())
    def vmstat(self, cpu: int, folded: bool, local: bool) -> None:
        cpu = self.running(cpu)
        cpu_state[cpu].local = local
        drain.refresh_cpu_vm_stats(cpu, folded)

    @rule(reclaim=st.booleans())
    def reclaim(self, reclaim: bool) -> None:
        zone.reclaim_active = reclaim

    @precondition(lambda self: not self.disabled)
    @rule(high=st.integers(0, 20), batch=st.integers(1, 5))
    def tune(self, high: int, batch: int) -> None:
        zone.pageset_high, zone.pageset_batch = high, batch
        set_all_pagesets(high, batch)

    @precondition(lambda self: not self.disabled)
    @rule(cpu=CPUS)
    def disable(self, cpu: int) -> None:
        cpu = self.running(cpu)
        pcp_tuning.zone_pcp_disable(cpu)
        self.disabled = True

    @precondition(lambda self: self.disabled)
    @rule()
    def enable(self) -> None:
        pcp_tuning.zone_pcp_enable()
        self.disabled = False
        for cpu in range(machine.nr_cpus):  # P9
            assert (pcp[cpu].high, pcp[cpu].batch) == (zone.pageset_high, zone.pageset_batch)

    @rule(cpu=CPUS)
    def cpu_down_or_up(self, cpu: int) -> None:
        if self.disabled:  # pcp_batch_high_lock is held
            return
        if cpu_state[cpu].online and cpu_state[1 - cpu].online:
            cpu_state[cpu].online = False
            pcp_tuning.page_alloc_cpu_dead(1 - cpu, cpu)
            assert pcp[cpu].count == 0
        elif not cpu_state[cpu].online:
            pcp_tuning.page_alloc_cpu_online()
            cpu_state[cpu].online = True

    # ---- isolation and hotplug

    @rule(cpu=CPUS, first=BLOCKS, nr=st.integers(1, 8))
    def isolate(self, cpu: int, first: int, nr: int) -> None:
        cpu = self.running(cpu)
        start, end = first * 8, min(first + nr, 32) * 8
        if mem_map[start].state == OFFLINE:
            return
        before = [pageblock[b].migratetype for b in range(32)]
        ret = page_isolation.start_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE)
        if ret == 0:
            self.isolated.append((start, end))
        else:
            assert ret == -errno.EBUSY
            assert [pageblock[b].migratetype for b in range(32)] == before

    @precondition(lambda self: self.isolated)
    @rule(cpu=CPUS, choice=st.integers(0))
    def undo(self, cpu: int, choice: int) -> None:
        cpu = self.running(cpu)
        start, end = self.isolated.pop(choice % len(self.isolated))
        page_isolation.undo_isolate_page_range(cpu, start, end, MIGRATE_MOVABLE)

    @rule(cpu=CPUS)
    def test_isolated(self, cpu: int) -> None:
        cpu = self.running(cpu)
        for start, end in self.isolated:
            if page_isolation.test_pages_isolated(cpu, start, end) == 0:  # P4
                for page in range(start, end):
                    assert mem_map[page].state in (BUDDY, TAIL)
                    assert mem_map[page].state == TAIL or mem_map[page].free_list == MIGRATE_ISOLATE

    @precondition(lambda self: not self.disabled)
    @rule(cpu=CPUS, block=st.integers(0, 3))
    def offline_or_online(self, cpu: int, block: int) -> None:
        cpu = self.running(cpu)
        start = block * MEMORY_BLOCK
        if mem_map[start].state == OFFLINE:
            memory_hotplug.online_pages(cpu, start, MEMORY_BLOCK)
        elif not any(start <= p < start + MEMORY_BLOCK for p in self.in_state(IN_FLIGHT)):
            # A page in flight would make it wait for ever: this test has one thread.
            ret = memory_hotplug.offline_pages(cpu, start, MEMORY_BLOCK)
            assert ret in (0, -errno.EBUSY, -errno.EINTR)
            cpu_state[cpu].signal_pending = False

    # ---- always

    @invariant()
    def all_is_well(self) -> None:
        check_quiet_state()

    @invariant()
    def disabled_pcplists_are_empty(self) -> None:
        if self.disabled:  # P6
            assert all(pcp[c].count == 0 for c in range(machine.nr_cpus))

    @invariant()
    def isolated_blocks_are_those_that_were_isolated(self) -> None:
        wanted = {page for start, end in self.isolated for page in range(start, end, 8)}
        got = {
            page
            for page in range(0, machine.nr_pages, 8)
            if mem_map[page].state != OFFLINE and get_pageblock_migratetype(page) == MIGRATE_ISOLATE
        }
        assert got == wanted


Zone.TestCase.settings = settings(max_examples=40, stateful_step_count=60)
TestZone = Zone.TestCase
