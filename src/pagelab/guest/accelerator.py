# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM where it really boots a stock guest, emulation otherwise.

/dev/kvm may be there and still be of no use (nested without hardware help, seccomp): the kernel is booted once, and the
answer kept for as long as kernel, QEMU and host kernel stay the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from pagelab.cache import cache_directory
from pagelab.errors import BadInput, MissingTool, PagelabError
from pagelab.guest import qemu
from pagelab.guest.cpio import Archive
from pagelab.guest.kernels import Kernel

ACCELERATORS = ("auto", "tcg", "kvm")
_KVM = Path("/dev/kvm")
#: A guest under KVM says it is alive after about a second.
_PATIENCE = 6.0


def choose(wish: str, kernel: Kernel, busybox: Path) -> str:
    """``tcg`` or ``kvm``.

    :param wish: one of :data:`ACCELERATORS`.
    :raises BadInput: unknown wish.
    :raises MissingTool: ``kvm`` is wished for and does not work here.
    """
    if wish not in ACCELERATORS:
        raise BadInput(f"no accelerator is called {wish!r}", f"known are {', '.join(ACCELERATORS)}")
    if wish == "tcg" or (wish == "auto" and not os.access(_KVM, os.R_OK | os.W_OK)):
        return "tcg"
    works = kvm_works(kernel, busybox, insist=wish == "kvm")
    if wish == "kvm" and not works:
        raise MissingTool("KVM does not boot a guest on this machine", "leave --accelerator away to emulate")
    return "kvm" if works else "tcg"


def kvm_works(kernel: Kernel, busybox: Path, *, insist: bool = False) -> bool:
    """Whether this kernel, booted under KVM, gets as far as its init; remembered in the cache.

    :param insist: try again, with more patience, if the answer was no.
    """
    known = "\n".join([kernel.release, kernel.version, qemu.qemu_version(), *os.uname()[2:5]])
    note = cache_directory("accelerator") / hashlib.sha256(known.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        worked = note.read_text("utf-8").startswith("kvm")
        if worked or not insist:
            return worked
    archive = Archive()
    archive.directory("dev")
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", b"#!/bin/busybox sh\necho pagelab: alive\nexec /bin/busybox poweroff -f\n", 0o755)
    with tempfile.TemporaryDirectory(prefix="pagelab-") as scratch:
        directory = Path(scratch)
        (directory / "initramfs").write_bytes(archive.pack())
        setup = qemu.Setup(
            kernel=kernel.image,
            initramfs=directory / "initramfs",
            command_line="console=ttyS0 quiet panic=-1",
            accelerator="kvm",
            cpus=1,
            base_mib=256,
            max_mib=8192,
            disk=None,
            directory=directory,
        )
        works = asyncio.run(_alive(setup, _PATIENCE * (4 if insist else 1)))
    note.write_text(f"{'kvm' if works else 'tcg'}\n{known}\n", "utf-8")
    return works


async def _alive(setup: qemu.Setup, patience: float) -> bool:
    with contextlib.suppress(PagelabError):
        async with qemu.Machine(setup) as machine:
            async for line in machine.lines(patience):
                if "pagelab: alive" in line:
                    return True
    return False
