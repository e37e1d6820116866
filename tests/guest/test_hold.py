# SPDX-License-Identifier: GPL-2.0-or-later
"""Holding CPUs, on a machine that is made up: each CPU comes by a list of addresses."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Collection
from typing import Any, cast

import pytest

from pagelab.guest import hold as hold_module
from pagelab.guest.gdb import Stopped
from pagelab.guest.hold import Came, Detour, Hold, Thread
from pagelab.guest.places import place
from pagelab.steer.plan import At, Reason, Stop
from tests.guest.test_places import START, VMEMMAP, text

STACK = 0xFFFFC90000100000
OTHER_STACK = 0xFFFFC90000200000
FREE, COMMIT, ISOLATE, SCHEDULE = START, START + 0x40, START + 0x80, START + 0xC0
FREER = Thread("freer", 7, 0, STACK, 0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_module, "_LOOK", 0.001)


def at(rip: int, sp: int = STACK + 0x3000, page: int = 0x100010, back: int = START + 0xC5) -> dict[str, int]:
    """A CPU at an instruction; ``back`` is on top of its stack."""
    return {"rip": rip, "rsp": sp, "rdi": VMEMMAP + page * 64, "rsi": page, "back": back, "rax": 0}


class Machine:
    """CPUs that come by places, as stub and as memory."""

    def __init__(self, *ways: list[dict[str, int]]) -> None:
        self.ways = [[dict(step) for step in way] for way in ways]
        self.now = [at(0x1000) for _ in ways]
        self.breakpoints: set[int] = set()
        self.running = False
        self.resumed: list[list[int]] = []
        self.coming: Stopped | None = None
        self.cpus = len(ways)
        self.text = text()
        self.layout = self
        self.page = 64

    async def set_breakpoint(self, address: int) -> None:
        self.breakpoints.add(address)

    async def clear_breakpoint(self, address: int) -> None:
        self.breakpoints.remove(address)

    async def resume(self, cpus: Collection[int]) -> None:
        self.running = True
        self.resumed.append(sorted(cpus))
        self.coming = None
        for cpu in sorted(cpus):
            if self.now[cpu]["rip"] in self.breakpoints:  # as QEMU does: it stops again before it takes a step
                self.coming = Stopped(cpu, 5)
                return
        for cpu in sorted(cpus):
            while self.ways[cpu]:
                self.now[cpu] = self.ways[cpu].pop(0)
                if self.now[cpu]["rip"] in self.breakpoints:
                    self.coming = Stopped(cpu, 5)
                    return

    async def step(self, cpu: int) -> Stopped:
        assert self.now[cpu]["rip"] not in self.breakpoints
        self.now[cpu] = {**self.now[cpu], "rip": self.now[cpu]["rip"] + 1}
        return Stopped(cpu, 5)

    async def wait(self, seconds: float) -> Stopped | None:
        if self.coming is None:
            await asyncio.sleep(seconds)
            return None
        self.running = False
        return self.coming

    async def stand(self) -> Stopped | None:
        self.running = False
        return None

    async def registers(self, cpu: int) -> dict[str, int]:
        return dict(self.now[cpu])

    async def set_register(self, cpu: int, name: str, value: int) -> None:
        self.now[cpu][name] = value

    async def word(self, address: int, size: int = 8) -> int:
        return next((now["back"] for now in self.now if now["rsp"] == address), 0)

    async def read(self, address: int, size: int) -> bytes:
        words = [now["back"] for now in self.now if now["rsp"] == address]
        return struct.pack(f"<{len(words)}Q", *words).ljust(size, b"\0")


def hold(machine: Machine) -> Hold:
    return Hold(cast(Any, machine), cast(Any, machine), VMEMMAP)


def run(machine: Machine, stop: Stop, thread: Thread = FREER, frame: int | None = None, cpu: int = 1) -> Came:
    there = place(machine.text, stop, frame)
    came = asyncio.run(hold(machine).run({cpu}, cpu, there, thread, 0.05))
    assert not machine.breakpoints
    return came


def test_only_that_cpu_runs_until_it_comes() -> None:
    machine = Machine([at(COMMIT)], [at(0x10), at(COMMIT), at(SCHEDULE)])
    assert run(machine, Stop("free_unref_page_commit", At.ENTRY)).reached
    assert machine.resumed == [[1]]
    assert len(machine.ways[0]) == 1  # the other one stayed


def test_another_page_and_another_task_are_passed_by() -> None:
    way = [at(COMMIT, page=5), at(COMMIT, sp=OTHER_STACK + 8), at(COMMIT, page=0x100010), at(SCHEDULE)]
    machine = Machine([], way)
    assert run(machine, Stop("free_unref_page_commit", At.ENTRY), frame=0x100010).reached
    assert machine.ways[1] == [at(SCHEDULE)]


def test_the_second_arrival_is_meant_if_the_stop_says_so() -> None:
    machine = Machine([], [at(COMMIT, page=1), at(COMMIT, page=2), at(COMMIT, page=3)])
    assert run(machine, Stop("free_unref_page_commit", At.ENTRY, nth=2)).reached
    assert machine.now[1]["rsi"] == 2


def test_a_return_is_that_of_the_frame_that_was_entered() -> None:
    back = START + 0xC5
    way = [at(COMMIT, sp=STACK + 0x3000), at(back, sp=STACK + 0x2008), at(back, sp=STACK + 0x3008), at(SCHEDULE)]
    machine = Machine([], way)
    assert run(machine, Stop("free_unref_page_commit", At.RETURN)).reached
    assert machine.now[1] == at(back, sp=STACK + 0x3008)


def test_a_call_that_is_under_way_already_is_known() -> None:
    back = START + 0xC5
    machine = Machine([], [at(ISOLATE, sp=STACK + 0x3000), at(COMMIT, sp=STACK + 0x2000), at(back, sp=STACK + 0x3008)])
    returning = place(machine.text, Stop("start_isolate_page_range", At.RETURN))
    inside = place(machine.text, Stop("free_unref_page_commit", At.ENTRY))
    held = hold(machine)
    held.tracked[1] = [returning]

    async def both() -> list[Came]:
        return [await held.run({1}, 1, one, FREER, 0.05) for one in (inside, returning)]

    assert [came.reached for came in asyncio.run(both())] == [True, True]
    assert machine.now[1]["rip"] == back


def test_a_place_where_the_cpu_stands_is_left_before_it_counts_again() -> None:
    machine = Machine([], [at(COMMIT, page=1), at(COMMIT, page=2)])
    there = place(machine.text, Stop("free_unref_page_commit", At.ENTRY))
    held = hold(machine)

    async def twice() -> list[int]:
        pages = []
        for _ in range(2):
            await held.run({1}, 1, there, FREER, 0.05)
            pages.append(machine.now[1]["rsi"])
        return pages

    assert asyncio.run(twice()) == [1, 2]


def test_a_cpu_that_does_not_come_is_told_after_a_while() -> None:
    came = run(Machine([], [at(0x10)]), Stop("free_unref_page_commit", At.ENTRY))
    assert (came.reached, came.why) == (False, Reason.TIME)
    assert "CPU 1 did not come within 0 s" in came.words


def test_who_waits_for_a_held_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([], [at(SCHEDULE + 2)])
    machine.now[0] = at(COMMIT)
    monkeypatch.setattr("pagelab.guest.waits._WAITS", (("schedule", "work queued to another CPU"),))
    came = run(machine, Stop("free_unref_page_commit", At.ENTRY))
    assert (came.reached, came.why) == (False, Reason.NEEDED)
    words = "CPU 1 waits in schedule() for work queued to another CPU, CPU 0 is held in free_unref_page_commit()"
    assert came.words == words


def test_a_system_call_is_sent_elsewhere() -> None:
    machine = Machine([], [at(SCHEDULE), at(START + 0x33)])
    machine.text.symbols[hold_module.DETOUR] = SCHEDULE
    there = place(machine.text, Stop("start_isolate_page_range", At.ENTRY))
    held = hold(machine)
    held.detours[FREER] = [Detour(there.function, (0x100000, 0x100200)), None]
    try:
        came = asyncio.run(held.run({1}, 1, there, FREER, 0.05))
    finally:
        del machine.text.symbols[hold_module.DETOUR]
    assert came.reached
    assert (machine.now[1]["rip"], machine.now[1]["rdi"], machine.now[1]["rsi"]) == (ISOLATE, 0x100000, 0x100200)
    assert held.detours[FREER] == [None]
