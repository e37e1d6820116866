# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot a kernel, work its hot-added memory, and leave a capture directory."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from pagelab.cache import appears_whole
from pagelab.errors import BadInput, GuestFailed, MissingTool
from pagelab.guest import accelerator, apt, boots, initramfs, kernels, probes, qemu, room, tools
from pagelab.guest.facts import Facts, capture_toml, read_facts
from pagelab.guest.kernel_text import kernel_text
from pagelab.guest.probes_inside import WITH_PROBES_INSIDE, probes_inside, without_needless
from pagelab.guest.tracedat import write_trace_dat
from pagelab.guest.workloads import DEFAULT_PAGES, WORKLOADS

OnStep = Callable[[str, float | None], None]

BLOCK_MIB = 128
GIGANTIC_MIB = 1024
SUBBLOCK_MIB = 4  # what virtio-mem plugs and unplugs at once: MAX_ORDER_NR_PAGES in Linux 5.10, later a pageblock
_SCRATCH_BYTES = 4 << 30  # sparse
_RUN_BYTES = 1 << 20  # at its start, for what the guest needs for the run
_BOOT = "boot"  # file that a guest is saved to
_NOTICE = 5.0
CLOCKS = ("counter", "global", "mono", "local", "x86-tsc", "boot")

#: Settings that keep the guest from doing things by itself; names as in /proc/sys with dots.
SYSCTLS = {
    "debug.kprobes-optimization": "0",
    "kernel.watchdog": "0",
    "kernel.hung_task_timeout_secs": "0",
    "kernel.randomize_va_space": "0",
    "vm.compaction_proactiveness": "0",
    "vm.swappiness": "0",
    "vm.stat_interval": "1",
    "vm.dirty_writeback_centisecs": "0",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record.  Sizes in MiB; ``command`` replaces the built-in workload when it is not empty."""

    kernel: str
    workload: str = "churn"
    seed: int = 1
    cpus: int = 2
    memory_mib: int = 1024
    zone: str = "movable"
    clock: str = "counter"
    pages: int = DEFAULT_PAGES
    offline: int = 0
    online_again: bool = False
    gigantic: int = 0
    virtio_mem_mib: int = 0
    thp: str = "never"
    with_probes: bool = True
    packages: tuple[str, ...] = ()
    command: str = ""
    accelerator: str = "auto"
    timeout: float = 300.0
    resume: bool = False
    sysctls: dict[str, str] = field(default_factory=dict)

    @property
    def pages_traced(self) -> int:
        """Pages that the trace needs room for: a huge page of 1 GiB may be freed page by page."""
        return self.pages + self.gigantic * (GIGANTIC_MIB << 8)

    def check(self) -> None:
        """:raises BadInput: a value is out of range or does not fit another one."""
        kernels.check_name(self.kernel)
        blocks = self.memory_mib // BLOCK_MIB
        if not self.command and self.workload not in WORKLOADS:
            known = ", ".join(WORKLOADS)
            raise BadInput(f"no workload is called {self.workload!r}", f"known are {known}, and any --command")
        if not 1 <= self.cpus <= 64:
            raise BadInput(f"--cpus {self.cpus} is out of range", "a guest can have 1 to 64 CPUs")
        if self.memory_mib % BLOCK_MIB or not BLOCK_MIB <= self.memory_mib <= 4096:
            raise BadInput(f"--memory {self.memory_mib}M does not work", "hot-add 128M to 4G, in steps of 128M")
        if not 0 <= self.offline < blocks:
            message = f"--offline {self.offline} does not work with {blocks} memory blocks of {BLOCK_MIB} MiB"
            raise BadInput(message, "one block has to stay: offline fewer, or hot-add more with --memory")
        self._check_contig()
        if not 0 <= self.seed < 1 << 48:
            raise BadInput(f"--seed {self.seed} is out of range", "give a number from 0 to 2^48 - 1")
        if not 1 <= self.pages <= room.MOST_PAGES:
            raise BadInput(f"--pages {self.pages} is out of range", f"give a number from 1 to {room.MOST_PAGES}")
        if self.clock not in CLOCKS:
            raise BadInput(f"--clock {self.clock!r} is not known", f"known are {', '.join(CLOCKS)}")
        if not 10 <= self.timeout <= 86400:
            raise BadInput(f"--timeout {self.timeout:g} is out of range", "give 10 to 86400 seconds")
        if self.packages and not self.command:
            raise BadInput("--package needs a --command", "say what to run, for example --command 'stress-ng --vm 2'")
        for package in self.packages:
            if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package):
                raise BadInput(f"--package {package!r} is not the name of a Debian package")

    def _check_contig(self) -> None:
        if not 0 <= self.gigantic <= 8:
            raise BadInput(f"--gigantic {self.gigantic} is out of range", "give a number from 1 to 8")
        if self.gigantic and self.memory_mib < 2 * GIGANTIC_MIB:
            message = f"--gigantic does not work with {self.memory_mib} MiB of hot-added memory"
            raise BadInput(message, "a page of 1 GiB and the workload need --memory 2G")
        unplug = self.virtio_mem_mib
        if unplug % SUBBLOCK_MIB or not 0 <= unplug < BLOCK_MIB:
            hint = f"give less than {BLOCK_MIB}M, the size of a memory block, in steps of {SUBBLOCK_MIB}M"
            raise BadInput(f"--virtio-mem {unplug}M does not work", hint)
        if unplug and self.memory_mib > 1024:
            raise BadInput("--virtio-mem works with --memory of at most 1G", "the driver plugs more only bit by bit")
        if unplug and self.offline:
            raise BadInput("--virtio-mem and --offline do not go together", "record twice")


class NotBooted(GuestFailed):
    """The guest's kernel gave up before init.sh said a word."""


#: What the guest says on its console, word and rest; ``None`` when it ended.
Said = asyncio.Queue["tuple[str, str] | None"]


@dataclass(frozen=True, slots=True)
class Conductor:
    """Somebody who leads the guest through its command, over the gdb stub.

    :param files: for the guest, by path; they can be executed.
    :param variables: of the shell, for the command; those of :func:`guest_settings` are taken instead of the plan's.
    :param conduct: called when the command starts.
    """

    files: Mapping[str, bytes]
    variables: Mapping[str, str]
    conduct: Callable[[qemu.Machine, Said], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: numbers for people; everything is in the capture's capture.toml as well."""

    capture: Path
    kernel: str
    release: str
    accelerator: str
    seconds: float
    steps: dict[str, float]
    events: int
    lost: int
    offline: list[dict[str, Any]]
    contig: list[dict[str, Any]]


def command_line(plan: Plan) -> str:
    """The kernel's command line.

    mitigations=off only makes kernel entry cheaper under emulation; mm/ does not look at it.  On a busy host the check
    whether the timer ticks fails now and then, and the kernel panics ("IO-APIC + timer doesn't work!").
    """
    words = [
        "console=ttyS0",
        "quiet",
        "panic=-1",
        "nokaslr",
        "nowatchdog",
        "no_timer_check",
        "mitigations=off",
        "rcupdate.rcu_cpu_stall_suppress=1",
        "memhp_default_state=offline",
        f"transparent_hugepage={plan.thp}",
    ]
    return " ".join(words)


def guest_settings(plan: Plan) -> dict[str, str]:
    """Variables of init.sh until the guest is ready for its hot-added memory: nothing of a single run."""
    return {
        "CLOCK": plan.clock,
        "BUFFER_KB": str(room.buffer_mib(plan.cpus, plan.pages_traced) * 1024),
        "EVENTS": " ".join(probes.EVENTS),
        "RUN_BYTES": str(_RUN_BYTES),
    }


def run_settings(plan: Plan) -> dict[str, str]:
    """Variables of init.sh after that.  With anything meanwhile, the workload runs in quarters, and lasts as long."""
    parts = 4 if plan.offline or plan.gigantic or plan.virtio_mem_mib else 1
    return {
        "DIMM_BYTES": str(plan.memory_mib << 20),
        "ONLINE": f"online_{plan.zone}",
        "OFFLINE": str(plan.offline),
        "GIGANTIC": str(plan.gigantic),
        "UNPLUG_KB": str(plan.virtio_mem_mib << 10),
        "ONLINE_AGAIN": str(int(plan.online_again)),
        "WORKLOAD": plan.workload,
        "COMMAND": plan.command,
        "SEED": str(plan.seed),
        "CPUS": " ".join(str(cpu) for cpu in range(plan.cpus)),
        "TARGET": str(-(-plan.pages // (plan.cpus * parts))),
        "ROUNDS_LEAST": str(parts),
        "ROUNDS_MOST": str(parts * 3),
    }


def record(
    plan: Plan,
    output: Path,
    on_step: OnStep | None = None,
    *,
    force: bool = False,
    conductor: Conductor | None = None,
) -> Outcome:
    """Run the plan and leave a capture at ``output``; nothing is left there if anything fails.

    :param on_step: told the name of each step as it begins (with None) and as it ends (with its seconds).
    :param conductor: leads the guest through the plan's command.
    :raises BadInput: the plan, or an output directory that is in use.
    :raises MissingTool: QEMU, apt, the kernel or disk space is missing.
    :raises GuestFailed: the guest hung or panicked.
    """
    plan.check()
    if output.exists() and not (output.is_dir() and (force or not any(output.iterdir()))):
        raise BadInput(f"{output} exists already", "choose another directory, or replace it with --force")
    if not output.absolute().parent.is_dir():
        raise BadInput(f"{output.absolute().parent} is not a directory", "make it first")
    qemu.find_qemu()
    begin = time.monotonic()
    steps = _Steps(on_step or (lambda name, seconds: None))
    steps.enter("kernel")
    kernel = kernels.fetch(plan.kernel)
    tree = tools.fetch_tools()
    extra = apt.Suite(tools.SUITE).tree(plan.packages) if plan.packages else None
    steps.enter("accelerator")
    accel = accelerator.choose(plan.accelerator, kernel, initramfs.busybox(tree.root))
    steps.enter("initramfs")
    machine, run = guest_settings(plan), run_settings(plan)
    sysctls = {**SYSCTLS, **plan.sysctls}
    wanted = _probes(plan, kernel, accel, initramfs.busybox(tree.root)) if plan.with_probes else ()
    files: Mapping[str, bytes] = {}
    if conductor is not None:
        files = conductor.files
        machine |= {name: value for name, value in conductor.variables.items() if name in machine}
        run |= conductor.variables
    modules = ("virtio_mem",) if plan.virtio_mem_mib else ()
    archive = initramfs.build(kernel, tree.root, machine, wanted, sysctls, extra.root if extra else None, modules)
    try:
        with tempfile.TemporaryDirectory(prefix="pagelab-") as scratch, appears_whole(output.absolute()) as work:
            directory = Path(scratch)
            (directory / "initramfs").write_bytes(archive)
            _write_run(directory / "scratch.img", run, files)
            _boot(plan, kernel, accel, directory, steps, conductor)
            steps.enter("unpack")
            raw = directory / "raw"
            _unpack(directory / "scratch.img", raw, 1 + plan.cpus)
            facts = read_facts(raw)
            _check_command(plan, facts, raw / "command.txt")
            _lay_out(raw, work, kernel)
            steps.leave()
            seconds = time.monotonic() - begin
            text = capture_toml(plan, kernel, tree, extra, accel, qemu.qemu_version(), facts, steps.seconds, wanted)
            (work / "capture.toml").write_text(text, "utf-8")
    except OSError as error:
        if error.errno in (28, 122):
            where = error.filename or output
            raise MissingTool(f"no space left on the disk for {where}", "free some, or set TMPDIR") from error
        raise
    return Outcome(
        output,
        plan.kernel,
        kernel.release,
        accel,
        seconds,
        steps.seconds,
        facts.events,
        facts.lost,
        facts.offline,
        facts.contig,
    )


def _probes(plan: Plan, kernel: kernels.Kernel, accel: str, busybox: Path) -> tuple[probes.Probe, ...]:
    """At the entries of functions, and at instructions that are found in the kernel's machine code."""
    entries = probes.probes_for(plan.kernel)
    if plan.kernel not in WITH_PROBES_INSIDE:
        return entries
    inside = probes_inside(kernel_text(kernel, accel, busybox))
    return without_needless((*entries, *inside))


def _check_command(plan: Plan, facts: Facts, said: Path) -> None:
    """A shell says 126 or 127 for what it could not even start; any other status is the command's own affair."""
    if facts.command_status in (126, 127):
        words = said.read_text("utf-8", "replace").strip().splitlines() or ["it cannot be run"]
        hint = "name the Debian package that holds it with --package, and interpreters of scripts as well"
        raise BadInput(f"--command {plan.command!r} did not start in the guest: {words[-1]}", hint)


class _Steps:
    """Names and durations of the steps, one after another."""

    def __init__(self, told: OnStep) -> None:
        self.seconds: dict[str, float] = {}
        self._told = told
        self._now: tuple[str, float] | None = None

    def enter(self, name: str) -> None:
        self.leave()
        self._now = (name, time.monotonic())
        self._told(name, None)

    def leave(self) -> None:
        if self._now is not None:
            name, begin = self._now
            self.seconds[name] = round(time.monotonic() - begin, 2)
            self._told(name, self.seconds[name])
        self._now = None


def _write_run(disk: Path, settings: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Make the scratch disk, with an archive of what init.sh needs for the run."""
    content = {**files, "etc/run.conf": initramfs.shell_variables(settings)}
    with disk.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o755
                archive.addfile(member, io.BytesIO(data))
        assert file.tell() <= _RUN_BYTES
        file.truncate(_SCRATCH_BYTES)


def _boot(
    plan: Plan, kernel: kernels.Kernel, accel: str, directory: Path, steps: _Steps, conductor: Conductor | None
) -> None:
    """Run the guest, from a kept boot if the plan allows that and there is one."""
    setup = qemu.Setup(
        kernel=kernel.image,
        initramfs=directory / "initramfs",
        command_line=command_line(plan),
        accelerator=accel,
        cpus=plan.cpus,
        base_mib=room.base_mib(plan.cpus, plan.pages_traced),
        max_mib=8192,
        disk=directory / "scratch.img",
        directory=directory,
        gdb=conductor is not None,
        virtio_mem_mib=plan.memory_mib if plan.virtio_mem_mib else 0,
    )
    kept = boots.place(setup) if plan.resume and accel == "tcg" else None
    if kept is not None and boots.use(kept):
        steps.enter(f"resume {plan.kernel}")
        try:
            asyncio.run(_drive(replace(setup, incoming=kept), plan, steps, conductor, None))
        except qemu.NotResumed:
            kept.unlink(missing_ok=True)  # cut off, or of another QEMU
        else:
            return
    steps.enter(f"boot {plan.kernel}")
    try:
        asyncio.run(_drive(setup, plan, steps, conductor, kept))
    except NotBooted:
        if accel != "tcg":
            raise
        # About one emulated boot of 6.12 in a hundred ends in a panic of the kernel before it has an init.
        steps.enter(f"boot {plan.kernel} again")
        asyncio.run(_drive(setup, plan, steps, conductor, kept))


async def _drive(
    setup: qemu.Setup, plan: Plan, steps: _Steps, conductor: Conductor | None, to_keep: Path | None
) -> None:
    """Follow the guest's lines until "done", while the conductor leads it.

    :param to_keep: where it is saved when it has booted.
    """
    said: Said = asyncio.Queue()
    async with qemu.Machine(setup) as machine:
        following = asyncio.ensure_future(_follow(machine, plan, steps, said, to_keep))
        tasks: list[asyncio.Future[None]] = [following]
        if conductor is not None:
            tasks.append(asyncio.ensure_future(conductor.conduct(machine, said)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if following.done():  # the guest ended: the conductor notices
                await asyncio.wait(tasks, timeout=_NOTICE)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in reversed(tasks):  # the conductor knows best why the guest ended
            if not task.cancelled():
                task.result()


async def _give_memory(machine: qemu.Machine, plan: Plan) -> None:
    await (machine.resize if plan.virtio_mem_mib else machine.plug)(plan.memory_mib)


async def _follow(machine: qemu.Machine, plan: Plan, steps: _Steps, said: Said, to_keep: Path | None) -> None:
    """Follow the guest's "pagelab:" lines until "done"."""
    finished = failed = ""
    booted = machine.setup.incoming is not None
    if booted:  # and past its "ready"
        await _give_memory(machine, plan)
    async for line in machine.lines(plan.timeout):
        match = re.search(r"pagelab: (\w+) ?(.*)", line)
        if match is None:
            continue
        booted = True
        word, rest = match[1], match[2]
        said.put_nowait((word, rest))
        if word == "ready":
            if to_keep is not None and await machine.save(_BOOT):
                boots.keep(machine.setup.directory / _BOOT, to_keep)
            await _give_memory(machine, plan)
        elif word == "resize":
            await machine.resize(int(rest) >> 10)
        elif word == "failed":
            failed = rest
        elif word == "done":
            finished = word
        if word in ("online", "work", "extract"):
            steps.enter(word)
    said.put_nowait(None)
    if failed:
        raise GuestFailed(f"the guest could not go on: {failed}", machine.last_words())
    if not finished:
        panic = machine.panic()
        what = f"the guest's kernel gave up: {panic}" if panic else "the guest ended before its work was done"
        raise (GuestFailed if booted or not panic else NotBooted)(what, machine.last_words())


def _unpack(disk: Path, target: Path, count: int) -> None:
    """Unpack as many tar archives as the guest wrote to the scratch disk: plain files only, none outside ``target``.

    What is behind them may be anything: a command can have used the disk.

    By hand, because ``extractall(filter=...)`` came with Python 3.11.4 and Debian 12 has 3.11.2.
    """
    try:
        with disk.open("rb") as file:
            for number in range(count):
                if not _at_archive(file):
                    raise tarfile.ReadError(f"{number} of {count} are there")
                begin = file.tell()
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    for member in archive:
                        parts = [part for part in member.name.split("/") if part not in ("", ".")]
                        content = archive.extractfile(member) if member.isfile() and ".." not in parts else None
                        if content is not None:
                            path = target.joinpath(*parts)
                            path.parent.mkdir(parents=True, exist_ok=True)
                            with path.open("wb") as copy:
                                shutil.copyfileobj(content, copy, 1 << 20)
                    end = archive.offset
                if end == begin:  # tarfile takes bad headers for an end
                    raise tarfile.ReadError(f"at byte {begin} is something else")
                file.seek(end)
    except tarfile.TarError as error:
        raise GuestFailed(f"the guest's scratch disk does not hold all archives ({error})", "record again") from error


def _at_archive(file: BinaryIO) -> bool:
    """Whether there is one more; goes to its first byte.  Zeros end each of them: at most a record of 20 blocks."""
    start = file.tell()
    ahead = file.read(21 * tarfile.BLOCKSIZE)
    zeros = len(ahead) - len(ahead.lstrip(b"\0"))
    file.seek(start + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE)
    return zeros < len(ahead)


def _lay_out(raw: Path, work: Path, kernel: kernels.Kernel) -> None:
    """Move what the guest wrote to where a capture has it (DESIGN section 7)."""
    uname = (raw / "uname.txt").read_text("utf-8", "replace").strip()
    write_trace_dat(work / "trace.dat", raw / "tracing", raw / "raw", uname)
    for name in ("uname.txt", "cmdline.txt", "zoneinfo", "pagetypeinfo", "buddyinfo", "command.txt"):
        if (raw / name).exists():
            shutil.move(raw / name, work / name)
    for name, data in (
        ("kallsyms.txt.gz", (raw / "kallsyms.txt").read_bytes()),
        ("config.txt.gz", kernel.config.read_bytes()),
    ):
        (work / name).write_bytes(gzip.compress(data, 6, mtime=0))
