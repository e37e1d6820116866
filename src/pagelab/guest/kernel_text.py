# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine code and the symbols of a kernel, as they are in memory once it runs.

The package has only the compressed image, without symbols.  So the kernel is booted once, and QEMU writes its text to
a file; this, the symbols and the kernel's BTF are kept in the cache.  ``nokaslr``, here as in every recording, keeps
the addresses the same.
"""

from __future__ import annotations

import asyncio
import bisect
import functools
import hashlib
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pagelab.cache import appears_whole, cache_directory
from pagelab.errors import GuestFailed
from pagelab.guest import qemu
from pagelab.guest.btf import Btf
from pagelab.guest.cpio import Archive
from pagelab.guest.kernels import Kernel, module_bytes, modules_in_order

COMMAND_LINE = "console=ttyS0 quiet panic=-1 nokaslr no_timer_check mitigations=off"
_PATIENCE = 300.0
_DISK_BYTES = 64 << 20  # sparse
_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in {modules}; do /bin/busybox insmod /lib/modules/$module; done
/bin/busybox cat /proc/kallsyms > /kallsyms.txt
/bin/busybox cat /sys/kernel/btf/vmlinux > /btf
/bin/busybox tar -cf - -C / kallsyms.txt btf | /bin/busybox dd of=/dev/vda bs=1M conv=fsync 2> /dev/null
echo pagelab: text $(/bin/busybox grep -E ' (_stext|_etext)$' /proc/kallsyms)
exec /bin/busybox sleep 1000
"""


@dataclass(frozen=True)
class Function:
    """A function of the kernel: the address of its first byte, and its code up to the next symbol."""

    name: str
    address: int
    code: bytes


@dataclass(frozen=True)
class KernelText:
    """``symbols``: address of each symbol of the text (a name that occurs twice is left out).

    ``kallsyms``: the file that they are from.  ``types``: the kernel's BTF.
    """

    start: int
    code: bytes
    symbols: dict[str, int]
    kallsyms: str = ""
    types: bytes = b""

    @functools.cached_property
    def data(self) -> dict[str, int]:
        """The address of each symbol, not of the text alone; a per-CPU variable may have its offset."""
        return _symbols(self.kallsyms, "A-Za-z")

    @functools.cached_property
    def btf(self) -> Btf:
        """:raises BadInput: the kernel was built without."""
        return Btf(self.types)

    @functools.cached_property
    def _addresses(self) -> list[int]:
        return sorted(set(self.symbols.values()))

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        return {address: name for name, address in self.symbols.items()}

    @functools.cached_property
    def _clones(self) -> dict[str, str]:
        """By name of a function its clone, the first if there are several."""
        clones: dict[str, str] = {}
        for symbol in self.symbols:
            match = re.fullmatch(r"(\w+)(\.(isra|constprop|part)\.\d+)+", symbol)
            if match:
                clones[match[1]] = min(symbol, clones.get(match[1], symbol))
        return clones

    def function(self, name: str) -> Function | None:
        """The function of exactly that name, or a clone of it that takes the arguments in another way (``.isra.0``).

        Parts that the compiler put elsewhere (``.cold``) do not count.  ``None`` if it is inlined everywhere.
        """
        found = name if name in self.symbols else self._clones.get(name, "")
        if not found:
            return None
        address = self.symbols[found]
        after = bisect.bisect_right(self._addresses, address)
        end = self._addresses[after] if after < len(self._addresses) else self.start + len(self.code)
        return Function(found, address, self.code[address - self.start : end - self.start])

    def function_at(self, address: int) -> str:
        """The function that an address lies in, without the suffix of a clone or a part; "" outside of the text."""
        after = bisect.bisect_right(self._addresses, address)
        if after == 0 or address >= self.start + len(self.code):
            return ""
        return self._names[self._addresses[after - 1]].split(".")[0]

    def name_at(self, address: int) -> str:
        """The symbol at exactly that address, "" if there is none."""
        return self._names.get(address, "")


def parse_symbols(kallsyms: str, start: int, end: int) -> dict[str, int]:
    """The symbols in ``start`` to ``end`` of a ``/proc/kallsyms``, without those of modules."""
    return _symbols(kallsyms, "tTwW", start, end)


def _symbols(kallsyms: str, kinds: str, start: int = 0, end: int = 1 << 64) -> dict[str, int]:
    symbols: dict[str, int] = {}
    twice = set()
    for match in re.finditer(rf"(?m)^([0-9a-f]{{16}}) [{kinds}] (\S+)$", kallsyms):
        address, name = int(match[1], 16), match[2]
        if start <= address < end:
            if name in symbols:
                twice.add(name)
            symbols[name] = address
    return {name: address for name, address in symbols.items() if name not in twice}


def kernel_text(kernel: Kernel, accelerator: str, busybox: Path) -> KernelText:
    """From the cache, or else from a boot of the kernel.

    :param accelerator: ``tcg`` or ``kvm``.
    :raises GuestFailed: it does not boot.
    """
    digest = hashlib.sha256(f"{kernel.release} {kernel.version}".encode()).hexdigest()[:16]
    final = cache_directory("text") / digest
    if not (final / "btf").is_file():
        with appears_whole(final) as work:
            _boot(kernel, accelerator, busybox, work)
    return _from_cache(final)


@functools.lru_cache(maxsize=4)
def _from_cache(final: Path) -> KernelText:
    kallsyms = (final / "kallsyms.txt").read_text("ascii", "replace")
    code = (final / "text").read_bytes()
    match = re.search(r"(?m)^([0-9a-f]{16}) \w _stext$", kallsyms)
    start = int(match[1], 16) if match else 0
    symbols = parse_symbols(kallsyms, start, start + len(code))
    return KernelText(start, code, symbols, kallsyms, (final / "btf").read_bytes())


def _boot(kernel: Kernel, accelerator: str, busybox: Path, work: Path) -> None:
    archive = Archive()
    archive.directory("proc")
    archive.directory("sys")
    archive.directory("dev")
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    names = []
    for path in modules_in_order(kernel, ["virtio_pci", "virtio_blk"]):
        names.append(path.name[: path.name.index(".ko")] + ".ko")
        archive.file(f"lib/modules/{names[-1]}", module_bytes(path))
    archive.file("init", _INIT.format(modules=" ".join(names)).encode(), 0o755)
    with tempfile.TemporaryDirectory(prefix="pagelab-") as scratch:
        directory = Path(scratch)
        (directory / "initramfs").write_bytes(archive.pack())
        disk = directory / "disk"
        with disk.open("wb") as file:
            file.truncate(_DISK_BYTES)
        setup = qemu.Setup(
            kernel=kernel.image,
            initramfs=directory / "initramfs",
            command_line=COMMAND_LINE,
            accelerator=accelerator,
            cpus=1,
            base_mib=256,
            max_mib=8192,
            disk=disk,
            directory=directory,
        )
        asyncio.run(_copy_text(setup))
        (work / "text").write_bytes((directory / "text").read_bytes())
        with tarfile.open(disk, "r:") as handed_out:
            for name in ("kallsyms.txt", "btf"):
                content = handed_out.extractfile(name)
                assert content is not None
                (work / name).write_bytes(content.read())


async def _copy_text(setup: qemu.Setup) -> None:
    async with qemu.Machine(setup) as machine:
        async for line in machine.lines(_PATIENCE):
            match = re.search(r"pagelab: text ([0-9a-f]{16}) \w _stext ([0-9a-f]{16}) \w _etext", line)
            if match:
                start, end = int(match[1], 16), int(match[2], 16)
                await machine.save_memory(start, end - start, "text")
                return
        raise GuestFailed(f"the kernel ended before its code was read{machine.panic()}", machine.last_words())
