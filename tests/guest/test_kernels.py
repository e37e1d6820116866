# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from pagelab.errors import BadInput, MissingTool
from pagelab.guest import kernels
from pagelab.guest.kernels import Kernel


def make_kernel(tmp_path: Path, modules: dict[str, str], builtin: str = "") -> Kernel:
    """A kernel of which only the modules' .modinfo exists: name of the file -> its depends= string."""
    directory = tmp_path / "lib/modules/6.1-test/kernel"
    directory.mkdir(parents=True)
    (directory.parent / "modules.builtin").write_text(builtin, "ascii")
    for name, depends in modules.items():
        content = b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
        (directory / name).write_bytes(lzma.compress(content) if name.endswith(".xz") else content)
    return Kernel("6.1", "6.1-test", "linux-image-test", "6.1-1", "bookworm", tmp_path)


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    tree = {"virtio_pci.ko": "virtio,virtio-ring", "virtio.ko": "virtio_ring", "virtio-ring.ko": ""}
    tree["b.ko.xz"] = "virtio"
    found = kernels.modules_in_order(make_kernel(tmp_path, tree), ["virtio_pci", "b"])
    assert [path.name for path in found] == ["virtio-ring.ko", "virtio.ko", "virtio_pci.ko", "b.ko.xz"]
    assert kernels.module_bytes(found[-1]).startswith(b"\x7fELF")


def test_built_in_modules_are_left_out(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path, {"b.ko": "virtio"}, builtin="kernel/drivers/virtio/virtio.ko\n")
    assert [path.name for path in kernels.modules_in_order(kernel, ["b", "virtio"])] == ["b.ko"]


def test_missing_or_odd_modules_are_told(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path, {"b.ko": "gone", "c.ko.zst": ""})
    with pytest.raises(MissingTool, match="no module gone"):
        kernels.modules_in_order(kernel, ["b"])
    with pytest.raises(MissingTool, match="compressed"):
        kernels.modules_in_order(kernel, ["c"])
    (kernel.modules / "kernel/d.ko").write_bytes(b"nothing")
    with pytest.raises(MissingTool, match=r"d\.ko"):
        kernels.modules_in_order(kernel, ["d"])


def test_options_that_a_capture_needs(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path, {})
    (tmp_path / "boot").mkdir()
    lines = [f"CONFIG_{option}=y" for option in kernels._NEEDED if option != "KPROBE_EVENTS"]
    (tmp_path / "boot/config-6.1-test").write_text("\n".join([*lines, "# CONFIG_KPROBE_EVENTS is not set"]), "ascii")
    assert kernels.missing_options(kernel) == ["KPROBE_EVENTS"]


def test_unknown_kernel_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'9\.9'"):
        kernels.fetch("9.9")


def test_empty_and_damaged_cache_hold_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.cached("6.1") is None
    note = tmp_path / "pagelab/kernels/6.1/kernel.toml"
    note.parent.mkdir(parents=True)
    for text in ("not toml", 'release = "6.1"\n', 'release="a"\npackage="b"\nversion="c"\nsuite="d"\n'):
        note.write_text(text, "utf-8")
        assert kernels.cached("6.1") is None
