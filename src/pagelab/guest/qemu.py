# SPDX-License-Identifier: GPL-2.0-or-later
"""One virtual machine: QEMU started, driven over QMP, its console read line by line, and never left behind."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pagelab.errors import GuestFailed, MissingTool

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

    from pagelab.guest.gdb import Stub

PROGRAM = "qemu-system-x86_64"
VIRTIO_MEM = "virtio-mem"  # the device's id
_PR_SET_PDEATHSIG = 1
_LINES_KEPT = 400
_LOOK = 0.02
#: Lines that say the guest's kernel has given up.
_PANIC = re.compile(r"Kernel panic|BUG: |Oops|Unable to mount root|not syncing")


@dataclass(frozen=True, slots=True)
class Setup:
    """What to boot.  ``disk`` is a raw image or None; memory in MiB; ``gdb``: with a gdb stub (pagelab.guest.gdb).

    With ``virtio_mem_mib`` there is a virtio-mem device of that size, which gives the guest nothing at first.
    ``incoming``: what :meth:`Machine.save` wrote of a guest with the same setup, which goes on from there.
    """

    kernel: Path
    initramfs: Path
    command_line: str
    accelerator: str
    cpus: int
    base_mib: int
    max_mib: int
    disk: Path | None
    directory: Path
    gdb: bool = False
    virtio_mem_mib: int = 0
    incoming: Path | None = None


class NotResumed(GuestFailed):
    """What was saved of a guest is of no use to QEMU."""


def find_qemu() -> str:
    """Path of the emulator.

    :raises MissingTool: not installed.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise MissingTool(f"{PROGRAM} is not installed", "apt-get install qemu-system-x86")
    return path


def qemu_version() -> str:
    """``7.2.22`` for example, with the distribution's suffix if it prints one."""
    out = subprocess.run([find_qemu(), "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    match = re.search(r"version (.+)", out)
    return match[1].strip() if match else "unknown"


def arguments(setup: Setup) -> list[str]:
    """QEMU's command line: no network, no host folder, no defaults; serial console on stdout.

    The QMP socket is called ``qmp``, in QEMU's working directory: the full path of a socket must stay below 108 bytes.
    """
    thread = ",thread=multi" if setup.accelerator == "tcg" else ""
    words = [find_qemu(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]
    words += ["-machine", "q35", "-accel", f"{setup.accelerator}{thread}"]
    # Five-level page tables (part of "max") only make each emulated page walk longer.
    words += ["-cpu", "host" if setup.accelerator == "kvm" else "max,la57=off"]
    words += ["-smp", str(setup.cpus), "-m", f"{setup.base_mib}M,slots=8,maxmem={setup.max_mib}M"]
    words += ["-kernel", str(setup.kernel), "-initrd", str(setup.initramfs), "-append", setup.command_line]
    words += ["-chardev", "socket,id=qmp,path=qmp,server=on,wait=off"]
    words += ["-mon", "chardev=qmp,mode=control", "-serial", "stdio"]
    if setup.disk is not None:
        # A comma in a path is doubled in QEMU's option syntax.  Nothing on this disk outlives the run: cache=unsafe.
        words += ["-drive", f"if=none,id=scratch,format=raw,cache=unsafe,werror=stop,file={_escape(setup.disk)}"]
        words += ["-device", "virtio-blk-pci,drive=scratch"]
    if setup.gdb:
        words += ["-chardev", "socket,id=gdb,path=gdb,server=on,wait=off", "-gdb", "chardev:gdb"]
    if setup.virtio_mem_mib:
        words += ["-object", f"memory-backend-ram,id=virtio-mem-ram,size={setup.virtio_mem_mib}M"]
        words += ["-device", f"virtio-mem-pci,id={VIRTIO_MEM},memdev=virtio-mem-ram,block-size=2M,requested-size=0"]
    return words


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Between fork and exec: even if pagelab is killed with SIGKILL, QEMU ends with it.  One system call, no lock."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    """A running guest; use as ``async with Machine(setup) as machine``.

    :raises MissingTool: QEMU is missing or refuses to start.
    """

    def __init__(self, setup: Setup, on_line: Callable[[str], None] | None = None) -> None:
        self.setup = setup
        self.console: collections.deque[str] = collections.deque(maxlen=_LINES_KEPT)
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._qmp: QMPClient | None = None
        self._disk_full = False
        self._watch: asyncio.Task[None] | None = None
        self._dimms = 0
        self._directory = -1

    async def __aenter__(self) -> Machine:
        from qemu.qmp import QMPClient, QMPError

        self._directory = os.open(self.setup.directory, os.O_PATH)
        with contextlib.ExitStack() as files:
            errors = files.enter_context((self.setup.directory / "qemu.err").open("wb"))
            saved = None if self.setup.incoming is None else files.enter_context(self.setup.incoming.open("rb"))
            self._process = await asyncio.create_subprocess_exec(
                *arguments(self.setup),
                *([] if saved is None else ["-incoming", f"fd:{saved.fileno()}"]),
                pass_fds=[] if saved is None else [saved.fileno()],
                cwd=self.setup.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                limit=1 << 20,
            )
        try:
            self._qmp = QMPClient("pagelab")
            for _ in range(200):
                if self._process.returncode is not None:
                    break
                with contextlib.suppress(QMPError, OSError):
                    await self._qmp.connect(f"/proc/self/fd/{self._directory}/qmp")
                    if saved is not None:
                        await self._resume()
                    self._watch = asyncio.create_task(self._events())
                    return self
                await asyncio.sleep(0.05)
            if saved is not None:
                raise NotResumed(f"QEMU does not go on from {self.setup.incoming}: {self._stderr()}")
            hint = f"try another accelerator, or run {PROGRAM} by hand"
            raise MissingTool(f"QEMU did not start: {self._stderr()}", hint)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *exception: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._kill()
        if self._process is not None:
            await self._process.wait()
        if self._qmp is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._qmp.disconnect(), 2)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    async def _events(self) -> None:
        """A full disk stops the guest (werror=stop): end it."""
        assert self._qmp is not None
        async for event in self._qmp.events:
            if event["event"] == "BLOCK_IO_ERROR":
                self._disk_full = True
                self._kill()

    async def _resume(self) -> None:
        """Wait until the guest is as it was saved, and let it go on."""
        assert self._qmp is not None
        await self._until("query-status", lambda status: status != "inmigrate")
        await self._qmp.execute("cont")

    async def _until(self, question: str, done: Callable[[str], bool]) -> str:
        """Ask until the status that is answered will do."""
        assert self._qmp is not None
        while True:
            answer = await self._qmp.execute(question)
            assert isinstance(answer, dict)
            if done(answer["status"]):
                return str(answer["status"])
            await asyncio.sleep(_LOOK)

    async def save(self, name: str) -> bool:
        """Write the guest's memory and devices to a file in the machine's directory; it goes on after that.

        :returns: False if that did not work, for want of space for example.
        :raises GuestFailed: QEMU refuses.
        """
        from qemu.qmp import QMPError

        assert self._qmp is not None
        try:
            await self._qmp.execute("stop")
            await self._qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})  # no limit
            await self._qmp.execute("migrate", {"uri": f"exec:cat > {shlex.quote(name)}"})
            saved = await self._until("query-migrate", ("completed", "failed").__contains__) == "completed"
            await self._qmp.execute("cont")
        except QMPError as error:
            raise GuestFailed(f"QEMU cannot save the guest ({error})") from error
        return saved

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _stderr(self) -> str:
        text = (self.setup.directory / "qemu.err").read_text("utf-8", "replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"

    async def plug(self, mib: int) -> None:
        """Hot-add a DIMM of that many MiB.

        :raises GuestFailed: QEMU refuses.
        """
        from qemu.qmp import QMPError

        assert self._qmp is not None
        name = f"dimm{self._dimms}"
        self._dimms += 1
        try:
            await self._qmp.execute(
                "object-add", {"qom-type": "memory-backend-ram", "id": f"{name}-ram", "size": mib << 20}
            )
            await self._qmp.execute("device_add", {"driver": "pc-dimm", "id": name, "memdev": f"{name}-ram"})
        except QMPError as error:
            raise GuestFailed(f"QEMU cannot hot-add {mib} MiB ({error})", "try less memory") from error

    async def gdb(self) -> Stub:
        """Connect to the gdb stub; the guest stops.

        :raises StubFailed: it does not answer.
        """
        from pagelab.guest.gdb import Stub

        return await Stub.connect(f"/proc/self/fd/{self._directory}/gdb")

    async def resize(self, mib: int) -> None:
        """Ask the guest, through its virtio-mem device, to have that many MiB of it plugged.

        :raises GuestFailed: QEMU refuses.
        """
        from qemu.qmp import QMPError

        assert self._qmp is not None
        device = f"/machine/peripheral/{VIRTIO_MEM}"
        try:
            await self._qmp.execute("qom-set", {"path": device, "property": "requested-size", "value": mib << 20})
        except QMPError as error:
            raise GuestFailed(f"QEMU cannot resize its virtio-mem device to {mib} MiB ({error})") from error

    async def save_memory(self, address: int, size: int, name: str) -> None:
        """Write ``size`` bytes at a virtual address, as CPU 0 sees it now, to a file in the machine's directory.

        :raises GuestFailed: QEMU refuses, because the address is not mapped.
        """
        from qemu.qmp import QMPError

        from pagelab.guest.gdb import signed  # QMP knows no unsigned numbers

        assert self._qmp is not None
        try:
            await self._qmp.execute("memsave", {"val": signed(address), "size": size, "filename": name, "cpu-index": 0})
        except QMPError as error:
            raise GuestFailed(f"QEMU cannot read the guest's memory at {address:#x} ({error})") from error

    async def lines(self, timeout: float) -> AsyncIterator[str]:
        """Lines of the guest's console until it ends.

        :param timeout: seconds that may pass until the end of the guest.
        :raises GuestFailed: that time has passed.
        :raises MissingTool: the host's disk is full.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            try:
                left = deadline - asyncio.get_running_loop().time()
                raw = await asyncio.wait_for(self._process.stdout.readline(), max(left, 0.001))
            except TimeoutError:
                raise GuestFailed(f"the guest did not end within {timeout:.0f} s", self.last_words()) from None
            except ValueError:
                continue  # a line longer than the limit
            if not raw:
                break
            line = raw.decode("utf-8", "replace").rstrip()
            self.console.append(line)
            if self._on_line is not None:
                self._on_line(line)
            yield line
        if self._disk_full:
            raise MissingTool(f"no space left on the disk under {self.setup.directory}", "free some, or set TMPDIR")

    def panic(self) -> str:
        """The line with which the guest's kernel gave up, without its time stamp; "" if it did not."""
        lines = [re.sub(r"^\[[ \d.]+\] ", "", line) for line in self.console if _PANIC.search(line)]
        return next((line for line in lines if "Kernel panic" in line), lines[0] if lines else "")

    def last_words(self, count: int = 12) -> str:
        """The last lines of the console, for a message."""
        lines = [line for line in self.console if line.strip()][-count:]
        told = "".join(f"\n    {line}" for line in lines)
        return f"the last lines of its console:{told}" if lines else "its console stayed empty"
