# SPDX-License-Identifier: GPL-2.0-or-later
"""Force a plan on a booted kernel: set up, hold and release its CPUs, look at its memory, and keep its trace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from pagelab.errors import GuestFailed
from pagelab.guest import accelerator, initramfs, kernels, qemu, record, tools
from pagelab.guest.detours import WITH_DETOURS, act, preparation
from pagelab.guest.facts import table
from pagelab.guest.gdb import StubFailed, signed
from pagelab.guest.hold import Detour, Hold, Thread
from pagelab.guest.kernel_text import KernelText, kernel_text
from pagelab.guest.places import Place, entry, place
from pagelab.guest.stage import CURTAIN, PROMPTER, Stage, guest_files, roles_of, shell_cpu
from pagelab.guest.zone_memory import Snapshot, ZoneMemory
from pagelab.steer.gates import gate_of
from pagelab.steer.plan import Actor, Arrival, At, Move, Plan, Reason, Seen, Steered, Stop

MEMORY_MIB = 512
#: Seconds: for a CPU to come to its place, for all actors to end after the last move.
PATIENCE = 10.0
ENDING = 15.0
#: Whose result says something: bytes written, or 0, or a negative error number.
_RETURNS = ("offline_pages", "online_pages", "alloc_contig_range", "sysctl", "cpu_down", "signal")
#: Of each CPU's trace: a run has some 10,000 events, and what is not allocated need not be cleared.
_BUFFER_KB = 16 << 10
_LAST_WORDS = 3.0
_NAP = 0.05
#: What has to be at its gate before the first move, since the way there needs all CPUs.
_NEED_ALL = ("cpu_down", "online_pages", "offline_pages", "sysctl")
_STUB_BYTES = 4096


def steer(
    plan: Plan,
    directory: Path,
    on_step: record.OnStep | None = None,
    timeout: float = 240.0,
    *,
    patience: float = PATIENCE,
    ending: float = ENDING,
) -> Steered:
    """Force the plan on a guest.  The run's capture is left in ``directory``, unless the guest's kernel gave up.

    :param timeout: seconds for the guest, from its start to its end.
    :param patience: seconds for a CPU to come to its place.
    :param ending: seconds for all actors to end after the last move.
    :raises CannotPlay: an actor cannot be played on that kernel.
    :raises NoSuchPlace: a function of the plan has no address there.
    :raises GuestFailed: the guest hung, or ended for another reason than a panic.
    """
    begin = time.monotonic()
    kernel = kernels.fetch(plan.kernel)
    busybox = initramfs.busybox(tools.fetch_tools().root)
    text = kernel_text(kernel, accelerator.choose("tcg", kernel, busybox), busybox)
    director = _Director(plan, text, patience, ending)
    to_record = record.Plan(
        kernel=plan.kernel,
        cpus=plan.cpus,
        memory_mib=MEMORY_MIB,
        command=f"exec taskset -c {shell_cpu(plan)} /bin/play",
        accelerator="tcg",  # holding CPUs is known to work under emulation
        timeout=timeout,
    )
    conductor = record.Conductor(guest_files(director.roles), director.variables(), director.conduct)
    try:
        record.record(to_record, directory, on_step, conductor=conductor)
    except GuestFailed:
        # A task that goes round for ever may keep a guest from its end; what it did is known by then.
        if not (director.gave_up or director.looked):
            raise
    else:
        with (directory / "capture.toml").open("a", encoding="utf-8") as file:
            file.write(director.facts())
    return director.steered(kernel.release, time.monotonic() - begin)


class _Director:
    """One run."""

    def __init__(self, plan: Plan, text: KernelText, patience: float, ending: float) -> None:
        self.plan = plan
        self.text = text
        self.patience, self.ending = patience, ending
        self.roles = roles_of(plan)
        self.gates = {actor.name: entry(text, gate_of(actor.run, text.symbols)) for actor in plan.actors}
        for move in plan.moves:
            if move.until is not None:
                place(text, move.until)
        self.stage = Stage()
        self.threads: dict[str, Thread] = {}
        self.told: set[str] = set()
        self.begun: set[int] = set()
        self.initial, self.final = Seen(), Seen()
        self.base: Snapshot | None = None
        self.arrivals: list[Arrival] = []
        self.ended = self.gave_up = self.looked = False
        self.words: list[str] = []

    def variables(self) -> dict[str, str]:
        """Of play.sh.  The fraction is such that high is the plan's, and batch, a fourth of it, 1."""
        fraction = 0
        if self.plan.batch and not self._pokes:
            coming = sum(actor.run == "online_pages" for actor in self.plan.actors)
            pages = MEMORY_MIB - coming * record.BLOCK_MIB << 8
            fraction = pages // (self.plan.high or 2)
        return {"FRACTION": str(fraction), "SHELL_CPU": str(shell_cpu(self.plan)), "BUFFER_KB": str(_BUFFER_KB)}

    @property
    def _pokes(self) -> bool:
        """Whether batch can only be set by writing to the guest's memory."""
        # Since Linux kernel commit b92ca18e8ca5 ("mm/page_alloc: disassociate the pcp->high from pcp->batch")
        # (in v5.14)
        return self.text.btf.has("zone", "pageset_batch")

    def facts(self) -> str:
        """For capture.toml: that this run was not left to itself, and what was done to it."""
        plan = self.plan
        moves = [f"{move.thread} on CPU {move.cpu} {_until(move)}" for move in plan.moves]
        told = {"design": plan.design, "scenario": plan.scenario, "property": plan.property}
        return "\n" + table("steered", {**told, "moves": moves, "words": self.words, "ended": self.ended})

    def steered(self, release: str, seconds: float) -> Steered:
        return Steered(
            release,
            dict(self.stage.page_frames),
            self.initial,
            tuple(self.arrivals),
            self.ended,
            "; ".join(self.words),
            self.final,
            seconds,
        )

    # ---- the run

    async def conduct(self, machine: qemu.Machine, said: record.Said) -> None:
        self.machine = machine
        begin = time.monotonic()
        try:
            await self._conduct(machine, said)
        except StubFailed:
            if not await self._panicked(said, time.monotonic() - begin):
                raise

    async def _panicked(self, said: record.Said, seconds: float) -> bool:
        """The stub is gone: because the kernel gave up?"""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                while await said.get() is not None:
                    pass
        if self.machine.panic():
            self._gave_up(seconds)
        return self.gave_up

    def _gave_up(self, seconds: float) -> None:
        """Note the line with which the kernel gave up."""
        panic = self.machine.panic()
        self.gave_up = True
        self.words.append(panic)
        if len(self.arrivals) < len(self.plan.moves):
            self.arrivals.append(Arrival(len(self.arrivals), False, Reason.PANIC, panic, seconds, Seen()))

    async def _conduct(self, machine: qemu.Machine, said: record.Said) -> None:
        if not await self._hear(said, PROMPTER):
            return
        self.stub = await machine.gdb()
        self.memory = ZoneMemory(self.text, self._read, "ZONE_MOVABLE", self.plan.cpus, self.stage.online)
        vmemmap = await self.memory.word(self.memory.layout.data("vmemmap_base"))
        self.hold = Hold(self.stub, self.memory, vmemmap)
        if self.plan.batch and self._pokes:
            await self._set_pcplists()
        await self._ready(PROMPTER)
        await self._tell(PROMPTER)
        await self.stub.resume(self._all)
        if not await self._hear(said, "acting"):
            return
        await self.stub.stand()
        await self._ready(CURTAIN)
        await self._play()
        await self._end()
        await self._tell(CURTAIN)
        await self.stub.detach()

    async def _hear(self, said: record.Said, last: str) -> bool:
        """Follow play.sh until an actor of that name is ready, or until it says that word; False if the guest ended."""
        while (line := await said.get()) is not None:
            word, rest = line
            self.stage.hear(word, rest, self.roles)
            if last == word or last in self.stage.playing:
                return True
        return False

    @property
    def _all(self) -> Collection[int]:
        return range(self.plan.cpus)

    async def _read(self, address: int, size: int) -> bytes:
        """Large pieces through a file, small ones through the stub."""
        if size <= _STUB_BYTES:
            return await self.stub.read(address, size)
        await self.machine.save_memory(address, size, "memory")
        return (self.machine.setup.directory / "memory").read_bytes()

    async def _ready(self, name: str) -> None:
        """Let all run until an actor is ready that nobody waited for."""
        for _ in range(200):
            if await self.hold.ready(self.stage.playing[name].pid):
                return
            await self.stub.resume(self._all)
            await self.stub.wait(_NAP)
            await self.stub.stand()
        raise GuestFailed(f"{name} does not get ready in the guest", "steer again")

    async def _tell(self, name: str) -> None:
        """Let an actor act, once its CPU runs."""
        if name not in self.told:
            self.told.add(name)
            await self.hold.tell(await self._thread(name))

    async def _thread(self, name: str) -> Thread:
        if name not in self.threads:
            playing = self.stage.playing.get(name)
            if playing is None:  # a kworker, say
                return Thread(name)
            self.threads[name] = await self.hold.thread_of(name, playing.pid)
        return self.threads[name]

    # ---- moves

    async def _play(self) -> None:
        for actor in self.plan.actors:
            if actor.run in WITH_DETOURS:
                await self._prepare(actor)
        places = [self._place(move.until) for move in self.plan.moves]
        self._track(places)
        await self._to_gates()
        self.base = await self.memory.snapshot()
        self.initial = self._seen(self.base)
        for number, (move, where) in enumerate(zip(self.plan.moves, places, strict=True)):
            begin = time.monotonic()
            thread = await self._thread(move.thread)
            if thread.task:
                await self._tell(move.thread)
            running = self._running(move.cpu)
            self.begun.add(move.cpu)
            came = await self.hold.run(running, move.cpu, where, thread, self.patience)
            if not came.reached and self.machine.panic():
                self._gave_up(time.monotonic() - begin)
                raise GuestFailed(f"the guest's kernel gave up: {self.machine.panic()}", self.machine.last_words())
            seen = self._seen(await self.memory.snapshot())
            self.arrivals.append(Arrival(number, came.reached, came.why, came.words, time.monotonic() - begin, seen))
            if not came.reached:
                break

    async def _prepare(self, actor: Actor) -> None:
        """Choose where the actor's system calls go."""
        thread = await self._thread(actor.name)
        before = preparation(actor, self.text)
        page = 0
        if before is not None:
            page = await self._allocate(actor, thread, before)
        address = await self.memory.zone_address()
        pcp = await self.memory.pcp_address(await self._read(address, self.text.btf.size("zone")), actor.cpu)
        detours = act(self.plan, actor, self.text, self.stage, zone=address, pcp=pcp, page=page)
        self.hold.detours[thread] = [*([None] if before is None else []), *detours]
        self.words.append(f"{actor.name} was sent from a system call to {self.gates[actor.name].function.name}()")

    async def _allocate(self, actor: Actor, thread: Thread, detour: Detour) -> int:
        """Address of the struct page that the actor has now."""
        self.hold.detours[thread] = [detour]
        await self.hold.tell(thread, 1)
        there = place(self.text, Stop(detour.function.name, At.RETURN))
        came = await self.hold.run(self._all, actor.cpu, there, thread, self.patience)
        if not came.reached:
            raise GuestFailed(f"{actor.name} got no page: {came.words}", "steer again")
        address = (await self.stub.registers(actor.cpu))["rax"]
        frame = (address - self.hold.vmemmap) // self.memory.layout.page
        self.stage.page_frames[actor.parameters[0]] = frame
        return address

    def _track(self, places: Sequence[Place | None]) -> None:
        """Keep calls in mind that a CPU may be in the middle of when it is to run until they return.

        Not if it has only just entered the caller then: what is called all the time would stop it all the way there.
        """
        entered: dict[int, str] = {}
        for move, where in zip(self.plan.moves, places, strict=True):
            if where is not None:
                stop = where.stop
                if stop.at is At.RETURN and (not stop.caller or entered.get(move.cpu) != stop.caller):
                    self.hold.tracked.setdefault(move.cpu, []).append(where)
                entered[move.cpu] = stop.function if stop.at is At.ENTRY else ""

    def _place(self, stop: Stop | None) -> Place | None:
        if stop is None:
            return None
        frame = self.stage.page_frames.get(stop.page)
        block = self.stage.pageblock_frame(stop.pageblock, self.plan) if stop.pageblock >= 0 else None
        return place(self.text, stop, frame, block)

    async def _to_gates(self) -> None:
        """Who needs all CPUs comes to its gate, one on each CPU; the others start with their first move."""
        for actor in sorted(self.plan.actors, key=self._gate_order):
            if actor.run not in _NEED_ALL or actor.cpu in self.begun:
                continue
            await self._tell(actor.name)
            gate = self.gates[actor.name]
            came = await self.hold.run(
                self._running(actor.cpu), actor.cpu, gate, self.threads[actor.name], self.patience
            )
            if came.reached:
                self.begun.add(actor.cpu)
            else:
                self.words.append(f"{actor.name} did not come to {gate.stop.function}(): {came.words}")

    @staticmethod
    def _gate_order(actor: Actor) -> int:
        return _NEED_ALL.index(actor.run) if actor.run in _NEED_ALL else len(_NEED_ALL)

    def _running(self, cpu: int) -> set[int]:
        """Who runs while a CPU is to come somewhere: that one, and those on which nobody of the plan has begun."""
        names = {actor.name for actor in self.plan.actors}
        workers = {move.cpu for move in self.plan.moves if move.thread not in names}
        return {cpu} | (set(self._all) - self.begun - workers)

    async def _end(self) -> None:
        """All CPUs run until the actors are done."""
        threads = [await self._thread(actor.name) for actor in self.plan.actors]
        for thread in threads:
            await self._tell(thread.name)
        late = []
        begin = time.monotonic()
        for actor, thread in zip(self.plan.actors, threads, strict=True):
            left = max(self.ending - (time.monotonic() - begin), 0.1)
            came = await self.hold.run(self._all, actor.cpu, None, thread, left)
            if came.reached and actor.run in _RETURNS:
                self.words.append(f"{thread.name} returned {await self.hold.result(thread)}")
            if not came.reached:
                late.append(f"{thread.name} did not end within {self.ending:.0f} s: {came.words}")
        self.ended = not late
        self.words += late
        if self.machine.panic():  # a thread that ran into a BUG() is dead, and the others may go on
            self.words.append(self.machine.panic())
        self.final = self._seen(await self.memory.snapshot())
        self.looked = True

    # ---- what is seen

    def _seen(self, snapshot: Snapshot) -> Seen:
        base = self.base or snapshot
        pageblocks = {page >> self.plan.pageblock_order for page in self.stage.page_frames}
        pageblocks |= {
            pageblock
            for seen in (self.plan.initial, *(m.expected for m in self.plan.moves))
            for pageblock in seen.isolated
        }
        isolated: dict[int, bool | None] = {}
        for pageblock in sorted(pageblocks):
            frame = self.stage.pageblock_frame(pageblock, self.plan)
            isolated[pageblock] = None if frame is None else snapshot.isolated(frame)
        return Seen(
            pages={page: snapshot.page(frame) for page, frame in sorted(self.stage.page_frames.items())},
            isolated=isolated,
            nr_isolate_pageblock=signed(snapshot.nr_isolate_pageblock) - signed(base.nr_isolate_pageblock),
            isolated_pageblocks=snapshot.isolated_pageblocks - base.isolated_pageblocks,
            free_pages=snapshot.uncounted_pages - base.uncounted_pages,
            pcp_count={cpu: snapshot.pcp_number(cpu, "count") for cpu in snapshot.pcps},
            pcp_high={cpu: snapshot.pcp_high(cpu) for cpu in snapshot.pcps},
            pcp_batch={cpu: snapshot.pcp_number(cpu, "batch") for cpu in snapshot.pcps},
        )

    async def _set_pcplists(self) -> None:
        """batch and high of the zone's pcplists, and what the zone will set them to; all CPUs stand."""
        high = self.plan.high or 2
        address = await self.memory.zone_address()
        zone = await self._read(address, self.text.btf.size("zone"))
        values = {"batch": self.plan.batch, "high": high, "high_min": high, "high_max": high}
        for name, value in values.items():
            await self._poke(address, "zone", f"pageset_{name}", value)
            for cpu in self._all:
                await self._poke(await self.memory.pcp_address(zone, cpu), self.memory.layout.pcp_struct, name, value)
        self.words.append(f"batch and high were written to the guest's memory: {self.plan.batch} and {high}")

    async def _poke(self, address: int, struct_name: str, member: str, value: int) -> None:
        if self.text.btf.has(struct_name, member):
            at = self.text.btf.field(struct_name, member)
            await self.stub.write(address + at.offset, value.to_bytes(at.size, "little"))


def _until(move: Move) -> str:
    if move.until is None:
        return "to its end"
    return f"to the {move.until.at.value} of {move.until.function}()"
