# SPDX-License-Identifier: GPL-2.0-or-later
"""Let one CPU of a guest run until it comes to a place, while all others are held where they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pagelab.errors import GuestFailed
from pagelab.guest.gdb import Stub, signed
from pagelab.guest.kernel_text import Function
from pagelab.guest.places import ARGUMENTS, Place
from pagelab.guest.waits import Wait, functions, is_idle, wait_of
from pagelab.guest.zone_memory import ZoneMemory
from pagelab.steer.plan import At, Reason

#: Of a task, in bytes (THREAD_SIZE of x86-64 without KASAN).
STACK_BYTES = 1 << 14
#: Seconds between two looks at a CPU that does not come, and how many looks in a row have to see it wait.
_LOOK = 0.7
_LOOKS = 3
#: So many times the patience, if the CPU keeps coming by a breakpoint: 512 pages are freed one after the other.
_MOVES_ON = 6
_USER = 1 << 47
_SIGTRAP = 5
#: The system call that is sent elsewhere: it does nothing.
DETOUR = "__x64_sys_getppid"
#: Address of an actor's words, in its program (actors.ll).
WORDS = 0x10000000
#: The bits of a page table's entry that are a physical address.
_FRAME = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class Thread:
    """A task of the guest that plays an actor.

    :param stack: address of its kernel stack, 0 for anything that runs on the CPU.
    :param pgd: address of the page table of its program, which has the words through which it is told to act.
    """

    name: str
    pid: int = 0
    task: int = 0
    stack: int = 0
    pgd: int = 0


@dataclass(frozen=True, slots=True)
class Detour:
    """A system call that an actor makes for nothing is sent to another function of the kernel, which returns for it.

    :param arguments: at most six.
    :param after_success: only if the detour before returned 0.
    """

    function: Function
    arguments: tuple[int, ...]
    after_success: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """How a run ended.  ``why`` and ``words`` if the CPU did not come to the place."""

    reached: bool
    why: Reason | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A call under way: to come back to ``back`` with the stack pointer just above ``stack_pointer``."""

    place: Place
    back: int
    stack_pointer: int


@dataclass
class Hold:
    """All CPUs of a guest stand, or some run until :meth:`run` returns.

    :param tracked: functions by CPU whose return will be waited for in a later run, so that calls are known by then.
    :param detours: of a thread by its name, for the next calls of getppid() that it makes; ``None``: the call itself.
    """

    stub: Stub
    memory: ZoneMemory
    vmemmap: int
    tracked: dict[int, list[Place]] = field(default_factory=dict)
    detours: dict[Thread, list[Detour | None]] = field(default_factory=dict)
    _frames: dict[int, list[_Frame]] = field(default_factory=dict)
    _breakpoints: set[int] = field(default_factory=set)
    _standing: dict[int, int] = field(default_factory=dict)

    async def run(self, cpus: Collection[int], cpu: int, place: Place | None, thread: Thread, patience: float) -> Came:
        """Let ``cpus`` run until ``cpu`` comes to the place in that thread; then all stand.

        :param place: ``None``: until the thread is done.
        :param patience: seconds until it is given up; longer if it comes by a place of the kind again and again.
        """
        watched = list(self.tracked.get(cpu, ()))
        if place is not None and all(one is not place for one in watched):
            watched.append(place)
        try:
            return await self._run(cpus, cpu, place, watched, thread, patience)
        finally:
            if not self.stub.running:
                await self._break_at(())

    async def _run(
        self,
        cpus: Collection[int],
        cpu: int,
        place: Place | None,
        watched: list[Place],
        thread: Thread,
        patience: float,
    ) -> Came:
        begin = looked = moved = time.monotonic()
        arrivals = looks = 0
        last: Wait | None = None
        await self._break_at_returns(cpu, place, watched)
        while True:
            await self._resume(cpus)
            stopped = await self.stub.wait(_LOOK if place is not None else _LOOK / 5)
            now = time.monotonic()
            if stopped is None:
                stopped = await self.stub.stand()
            if stopped is not None and stopped.signal == _SIGTRAP:
                moved = now
                registers = await self.stub.registers(stopped.cpu)
                self._standing[stopped.cpu] = registers["rip"]
                await self._detour(stopped.cpu, registers)
                if stopped.cpu == cpu and await self._arrived(cpu, registers, place, watched, thread):
                    arrivals += 1
                    if place is not None and arrivals == place.stop.nth:
                        return Came(True)
                await self._break_at_returns(cpu, place, watched)
            if now - looked < _LOOK and place is not None:
                continue
            looked = now
            if await self.done(thread):
                return Came(True) if place is None else Came(False, Reason.ELSEWHERE, f"{thread.name} ended")
            wait = await self.look(cpu, thread)
            looks = looks + 1 if wait is not None and last is not None and wait.function == last.function else 0
            last = wait
            if (
                wait is not None
                and looks * (1 if place is not None else 0.2) >= _LOOKS
                and len(cpus) < self.memory.cpus
            ):
                return Came(False, Reason.NEEDED, await self._words(cpu, wait, cpus))
            if now - moved > patience or now - begin > _MOVES_ON * patience:
                words = (
                    f"CPU {cpu} did not come within {now - begin:.0f} s; {thread.name} is in {await self._inside(cpu)}"
                )
                if wait is not None:
                    words = await self._words(cpu, wait, cpus)
                return Came(False, Reason.TIME, words)

    async def _arrived(
        self, cpu: int, registers: dict[str, int], place: Place | None, watched: list[Place], thread: Thread
    ) -> bool:
        """Whether this stop is an arrival at the place; calls of watched functions are kept in mind."""
        rip, stack_pointer = registers["rip"], registers["rsp"]
        frames = self._frames.setdefault(cpu, [])
        came_back = [frame for frame in frames if frame.back == rip and frame.stack_pointer + 8 == stack_pointer]
        arrived = any(frame.place is place for frame in came_back)
        self._forget(cpu, stack_pointer)
        if thread.stack and not thread.stack <= stack_pointer < thread.stack + STACK_BYTES:
            return False
        for one in watched:
            if rip == one.address:
                back = await self.memory.word(stack_pointer)
                if one.fits(registers, back, self.vmemmap, self.memory.layout.page):
                    frames.append(_Frame(one, back, stack_pointer))
                    arrived = arrived or (one is place and one.stop.at is At.ENTRY)
        return arrived

    async def _detour(self, cpu: int, registers: dict[str, int]) -> None:
        """Send a CPU elsewhere if it enters the system call of a thread that has a detour."""
        if registers["rip"] != self._getppid:
            return
        for thread, detours in self.detours.items():
            if not thread.stack <= registers["rsp"] < thread.stack + STACK_BYTES or not detours:
                continue
            detour = detours.pop(0)
            if detour is None or (detour.after_success and await self.result(thread) != 0):
                return
            for name, value in zip(ARGUMENTS, detour.arguments, strict=False):
                await self.stub.set_register(cpu, name, value)
            await self.stub.set_register(cpu, "rip", detour.function.address)
            del self._standing[cpu]  # its first instruction may be waited for
            return

    @property
    def _getppid(self) -> int:
        return self.memory.text.symbols.get(DETOUR, 0) if self.detours else 0

    async def result(self, thread: Thread) -> int:
        """What the thread's last system call returned; -1 if that is not to be seen."""
        words = await self.words_of(thread)
        return signed(await self.memory.word(words + 16)) if words else -1

    def _forget(self, cpu: int, stack_pointer: int) -> None:
        """Calls that are over."""
        frames = self._frames.get(cpu, [])
        frames[:] = [
            frame
            for frame in frames
            if frame.stack_pointer >= stack_pointer
            or frame.stack_pointer // STACK_BYTES != stack_pointer // STACK_BYTES
        ]

    async def _break_at_returns(self, cpu: int, place: Place | None, watched: list[Place]) -> None:
        """Where calls that are under way come back to, if that is waited for."""
        addresses = {one.address for one in watched}
        if any(self.detours.values()):
            addresses.add(self._getppid)
        if place is not None and place.stop.at is At.RETURN:
            addresses |= {frame.back for frame in self._frames.get(cpu, []) if frame.place is place}
        await self._break_at(addresses)

    async def _break_at(self, addresses: Iterable[int]) -> None:
        wanted = set(addresses)
        for address in self._breakpoints - wanted:
            await self.stub.clear_breakpoint(address)
        for address in wanted - self._breakpoints:
            await self.stub.set_breakpoint(address)
        self._breakpoints = wanted

    async def _resume(self, cpus: Collection[int]) -> None:
        """Let CPUs run; one that stands at a breakpoint it was asked about goes over it first."""
        for cpu in cpus:
            address = self._standing.pop(cpu, None)
            if address in self._breakpoints:
                assert address is not None
                await self.stub.clear_breakpoint(address)
                await self.stub.step(cpu)
                await self.stub.set_breakpoint(address)
        await self.stub.resume(cpus)

    # ---- looking

    async def done(self, thread: Thread) -> bool:
        """Whether the actor has acted."""
        words = await self.words_of(thread)
        return bool(words) and await self.memory.word(words + 8) == 2

    async def ready(self, pid: int) -> bool:
        """Whether the actor of that process can be told to act."""
        if not await self._task(pid):
            return False
        words = await self.words_of(await self.thread_of("", pid))
        return bool(words) and await self.memory.word(words + 8) == 1

    async def tell(self, thread: Thread, number: int = 2) -> None:
        """Let an actor act, once its CPU runs; 1: let it prepare.

        :raises GuestFailed: its memory cannot be found.
        """
        words = await self.words_of(thread)
        if not words:
            raise GuestFailed(f"the memory of {thread.name} cannot be found in the guest", "steer again")
        await self.stub.write(words, number.to_bytes(8, "little"))

    async def words_of(self, thread: Thread) -> int:
        """Where the words of an actor are now; 0 if nowhere: the page is just being migrated."""
        table = thread.pgd
        for shift in (39, 30, 21, 12):
            if not table:
                return 0
            entry = await self.memory.word(table + (WORDS >> shift & 511) * 8)
            table = await self._direct_map() + (entry & _FRAME) if entry & 1 else 0
        return table

    async def _direct_map(self) -> int:
        return await self.memory.word(self.memory.layout.data("page_offset_base"))

    async def look(self, cpu: int, thread: Thread) -> Wait | None:
        """What keeps the thread from going on, while all CPUs stand; ``None`` if it seems to run."""
        registers = await self.stub.registers(cpu)
        if registers["rip"] < _USER:
            return None
        names = functions(self.memory.text, registers["rip"], await self._stack(registers["rsp"]))
        if not is_idle(names):
            return wait_of(names[:6])
        if not thread.task:
            return Wait(names[0], "something to do", idle=True)
        at = thread.task + self.memory.layout.at("task_struct", "thread.sp")
        asleep = functions(self.memory.text, 0, await self._stack(await self.memory.word(at)))
        wait = wait_of(asleep)
        return wait or Wait(next((name for name in asleep if "sched" not in name), "schedule"), "something", idle=True)

    async def _stack(self, stack_pointer: int) -> bytes:
        """What is on a stack; of one that is not a task's, to the end of the page."""
        if stack_pointer < _USER:
            return b""
        for size in (STACK_BYTES, 4096):
            with contextlib.suppress(GuestFailed):
                return await self.memory.read(stack_pointer & ~7, size - (stack_pointer & ~7) % size)
        return b""

    async def _inside(self, cpu: int) -> str:
        """The functions that a CPU is in, the innermost first, for people."""
        registers = await self.stub.registers(cpu)
        names = functions(self.memory.text, registers["rip"], await self._stack(registers["rsp"]))
        return " < ".join(f"{name}()" for name in names[:6]) or "a program"

    async def where(self, cpu: int) -> str:
        """The function that a CPU stands in, for people."""
        registers = await self.stub.registers(cpu)
        name = self.memory.text.function_at(registers["rip"])
        return f"{name}()" if name else "a program" if registers["rip"] < _USER else f"{registers['rip']:#x}"

    async def _words(self, cpu: int, wait: Wait, cpus: Collection[int]) -> str:
        held = [
            f"CPU {other} is held in {await self.where(other)}"
            for other in range(self.memory.cpus)
            if other not in cpus
        ]
        return ", ".join([f"CPU {cpu} waits in {wait.function}() for {wait.words}", *held])

    # ---- tasks

    async def thread_of(self, name: str, pid: int) -> Thread:
        """The task with a process number.

        :raises GuestFailed: there is none.
        """
        task = await self._task(pid)
        if not task:
            raise GuestFailed(f"the guest has no task {pid} ({name})", "steer again")
        layout = self.memory.layout
        stack = await self.memory.word(task + layout.at("task_struct", "stack"))
        mm = await self.memory.word(task + layout.at("task_struct", "mm"))
        return Thread(name, pid, task, stack, await self.memory.word(mm + layout.at("mm_struct", "pgd")) if mm else 0)

    async def _task(self, pid: int) -> int:
        layout = self.memory.layout
        link, number = layout.at("task_struct", "tasks"), layout.at("task_struct", "pid")
        first = task = layout.data("init_task")
        for _ in range(10_000):
            if await self.memory.word(task + number, 4) == pid:
                return task
            task = await self.memory.word(task + link) - link
            if task == first:
                break
        return 0
