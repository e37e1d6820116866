# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's root file system: busybox, modules, the workload, and init.sh."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from pagelab.errors import BadInput, MissingTool
from pagelab.guest.cpio import Archive
from pagelab.guest.kernels import Kernel, module_bytes, modules_in_order
from pagelab.guest.probes import Probe
from pagelab.guest.workloads import work_program

_MODULES = ["virtio_pci", "virtio_blk"]
#: Parts of packages that no program needs to run.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/include")
_LARGEST_TREE = 128 << 20


def build(
    kernel: Kernel,
    tools: Path,
    settings: Mapping[str, str],
    probes: Iterable[Probe],
    sysctls: Mapping[str, str],
    extra: Path | None = None,
    modules: Iterable[str] = (),
) -> bytes:
    """The archive, the same bytes for the same arguments.

    :param tools: unpacked packages that hold busybox-static.
    :param settings: shell variables for init.sh; those of a single run are not among them.
    :param extra: unpacked packages (with their dependencies) whose programs the workload's command may call.
    :param modules: to load besides those that every guest needs.
    :raises MissingTool: busybox or a module is not where it should be.
    """
    archive = Archive()
    for directory in ("proc", "sys", "dev", "tmp", "run", "work", "out", "root", "var/tmp", "usr/bin", "usr/sbin"):
        archive.directory(directory)
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3, 0o666)
    archive.file("init", resources.files("pagelab.guest").joinpath("init.sh").read_bytes(), 0o755)
    archive.file("bin/busybox", busybox(tools).read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("bin/work", work_program(), 0o755)
    if extra is not None:
        add_tree(archive, extra)
    names = []
    for path in modules_in_order(kernel, [*_MODULES, *modules]):
        name = path.name[: path.name.index(".ko")] + ".ko"
        archive.file(f"lib/modules/{name}", module_bytes(path))
        names.append(name)
    archive.file("etc/record.conf", shell_variables({**settings, "MODULES": " ".join(names)}))
    archive.file("etc/probes", "".join(f"{probe.definition()}\n" for probe in probes).encode())
    filters = "".join(f"{probe.name} {probe.only_if}\n" for probe in probes if probe.only_if)
    archive.file("etc/probe_filters", filters.encode())
    archive.file("etc/sysctl.conf", "".join(f"{k} {v}\n" for k, v in sysctls.items()).encode())
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    return archive.pack()


def shell_variables(values: Mapping[str, str]) -> bytes:
    """A file that a shell reads with ``.``."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(values.items())).encode()


def busybox(tools: Path) -> Path:
    """The static busybox among the unpacked packages.

    :raises MissingTool: it is not there.
    """
    return _find(tools, ("bin/busybox", "usr/bin/busybox"))


def _find(root: Path, candidates: Iterable[str]) -> Path:
    places = list(candidates)
    for place in places:
        if (root / place).is_file():
            return root / place
    raise MissingTool(f"{places[0]} is not among the unpacked packages in {root}", "fetch the kernel again")


def add_tree(archive: Archive, root: Path) -> None:
    """Add all files of unpacked packages but their documentation.

    :raises BadInput: more than :data:`_LARGEST_TREE` bytes: the guest has 512 MiB for itself.
    """
    for directory, names, files in os.walk(root):
        here = Path(directory).relative_to(root)
        names[:] = sorted(name for name in names if str(here / name) not in _LEFT_OUT)
        for name in [*names, *sorted(files)]:
            path, inside = root / here / name, str(here / name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                archive.symlink(inside, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                archive.directory(inside)
            elif stat.S_ISREG(status.st_mode):
                archive.file(inside, path.read_bytes(), stat.S_IMODE(status.st_mode))
    if archive.size() > _LARGEST_TREE:
        size = archive.size() >> 20
        raise BadInput(
            f"the packages and what they depend on take {size} MiB", "the guest has room for 128 MiB of them"
        )
