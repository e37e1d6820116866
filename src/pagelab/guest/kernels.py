# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian kernels that can be booted, fetched as packages and kept in the cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pagelab.cache import appears_whole, cache_directory
from pagelab.errors import BadInput, MissingTool
from pagelab.guest.apt import Suite, Tree

#: name -> suites to look in, in this order; the first whose cloud kernel has that version is taken.
KERNELS = {
    "5.10": ("bullseye",),
    "6.1": ("bookworm",),
    "6.12": ("trixie", "bookworm-backports"),
    "7.2": ("forky", "sid", "trixie-backports"),
}
#: Small, few modules, and with all options below; the generic image is the second choice.
_IMAGES = ("linux-image-cloud-amd64", "linux-image-amd64")
_NEEDED = (
    "ACPI_HOTPLUG_MEMORY",
    "DEVTMPFS",
    "FUNCTION_TRACER",
    "KALLSYMS",
    "KPROBE_EVENTS",
    "MEMORY_HOTPLUG",
    "MEMORY_HOTREMOVE",
    "PROC_PAGE_MONITOR",
    "SERIAL_8250_CONSOLE",
    "VIRTIO_BLK",
    "VIRTIO_PCI",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache.  ``release`` is what uname -r will say, ``version`` the package's version."""

    name: str
    release: str
    package: str
    version: str
    suite: str
    root: Path

    @property
    def image(self) -> Path:
        return self._file("vmlinuz")

    @property
    def config(self) -> Path:
        return self._file("config")

    def _file(self, name: str) -> Path:
        """In /boot, or beside the modules as newer Debian suites have it."""
        boot = self.root / "boot" / f"{name}-{self.release}"
        return boot if boot.is_file() else self.modules / name

    @property
    def modules(self) -> Path:
        usr = self.root / "usr/lib/modules" / self.release
        return usr if usr.is_dir() else self.root / "lib/modules" / self.release


def check_name(name: str) -> str:
    """``name`` if it is in :data:`KERNELS`.

    :raises BadInput: it is not.
    """
    if name not in KERNELS:
        raise BadInput(f"no kernel is called {name!r}", f"known are {', '.join(KERNELS)}")
    return name


def cached(name: str) -> Kernel | None:
    """The kernel as fetched earlier, ``None`` if it was not."""
    import tomllib

    path = cache_directory("kernels") / check_name(name)
    try:
        facts = tomllib.loads((path / "kernel.toml").read_text("utf-8"))
        kernel = Kernel(name, facts["release"], facts["package"], facts["version"], facts["suite"], path / "root")
    except (OSError, ValueError, KeyError):
        return None
    return kernel if kernel.image.is_file() and kernel.config.is_file() else None


def fetch(name: str, *, refresh: bool = False) -> Kernel:
    """The kernel, from the cache or else from the mirror.

    :param refresh: ask the mirror for a newer package even if one is cached.
    :raises BadInput: unknown name.
    :raises MissingTool: apt, the network or the package is missing.
    """
    old = cached(name)
    if old is not None and not refresh:
        return old
    for suite_name in KERNELS[name]:
        suite = Suite(suite_name)
        suite.update()
        for meta in _IMAGES:
            version = suite.candidate(meta)
            images = [package for package in suite.depends(meta) if package.startswith("linux-image-")]
            if re.match(re.escape(name) + r"[.~+-]", version) and images:
                image = images[0]
                if old is not None and old.package == image and old.version == suite.candidate(image):
                    return old
                # Newer Debian suites have the kernel, its modules and its configuration in packages of their own.
                parts = [part for part in suite.depends(image) if re.match(r"linux-(base|binary|modules)-\d", part)]
                kernel = _install(name, suite, [image, *parts])
                if not missing_options(kernel):
                    return kernel
    looked = ", ".join(KERNELS[name])
    raise MissingTool(f"no kernel {name} with what a capture needs in {looked}", "try another mirror or kernel")


def missing_options(kernel: Kernel) -> list[str]:
    """Options of the kernel's configuration that a capture needs and that are off."""
    text = kernel.config.read_text("ascii", "replace")
    have = set(re.findall(r"^CONFIG_(\w+)=[ym]$", text, re.MULTILINE))
    return [option for option in _NEEDED if option not in have]


def _install(name: str, suite: Suite, packages: list[str]) -> Kernel:
    package = packages[0]
    final = cache_directory("kernels") / name
    with appears_whole(final) as work:
        tree: Tree = suite.tree(packages, dependencies=False)
        releases = sorted([*tree.root.glob("lib/modules/*"), *tree.root.glob("usr/lib/modules/*")])
        release = releases[0].name if releases else ""
        found = Kernel(name, release, package, tree.versions.get(package, ""), suite.name, tree.root)
        if not (release and found.image.is_file() and found.config.is_file()):
            raise MissingTool(f"package {package} of {suite.name} holds no kernel", "try another mirror")
        tree.root.rename(work / "root")
        facts = {"release": release, "package": package, "version": found.version, "suite": suite.name}
        text = "".join(f'{key} = "{value}"\n' for key, value in facts.items())
        (work / "kernel.toml").write_text(text, "utf-8")
    _forget(tree)
    return Kernel(name, release, package, found.version, suite.name, final / "root")


def _forget(tree: Tree) -> None:
    import shutil

    shutil.rmtree(tree.root.parent, ignore_errors=True)


def modules_in_order(kernel: Kernel, names: list[str]) -> list[Path]:
    """Files of the modules and of all that they depend on, in the order to load them; built-in ones are left out.

    The package has no modules.dep (depmod runs when it is installed), so the dependencies are read from the modules.

    :raises MissingTool: the kernel has no such module, or it is compressed in a way that cannot be read here.
    """
    files = {_module_name(path): path for path in kernel.modules.rglob("*.ko*") if ".ko" in path.suffixes}
    builtin = {_module_name(Path(line)) for line in _lines(kernel.modules / "modules.builtin")}
    order: list[Path] = []

    def visit(name: str) -> None:
        if name in builtin:
            return
        if name not in files:
            raise MissingTool(f"kernel {kernel.release} has no module {name}", "fetch another kernel")
        if files[name] not in order:
            for dependency in _depends(files[name]):
                visit(dependency)
            order.append(files[name])

    for name in names:
        visit(name)
    return order


def module_bytes(path: Path) -> bytes:
    """The module, decompressed.

    :raises MissingTool: compressed by something other than xz or gzip.
    """
    data = path.read_bytes()
    if path.suffix == ".ko":
        return data
    if path.suffix == ".xz":
        import lzma

        return lzma.decompress(data)
    if path.suffix == ".gz":
        import gzip

        return gzip.decompress(data)
    raise MissingTool(f"{path.name}: modules compressed this way cannot be read", "fetch another kernel")


def _module_name(path: Path) -> str:
    return path.name.split(".")[0].replace("-", "_")


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii", "replace").splitlines() if path.is_file() else []


def _depends(path: Path) -> list[str]:
    """The names in the ``depends=`` string of the module's .modinfo."""
    match = re.search(rb"\0depends=([\w,-]*)\0", module_bytes(path))
    if match is None:
        raise MissingTool(f"{path} does not say what it depends on", "fetch the kernel again with --refresh")
    return [name.replace("-", "_") for name in match[1].decode("ascii").split(",") if name]
