# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from importlib import resources
from pathlib import Path

import pytest

from pagelab.errors import BadInput, MissingTool
from pagelab.guest import initramfs
from pagelab.guest.cpio import Archive
from pagelab.guest.probes import PROBES
from pagelab.guest.record import SYSCTLS, Plan, guest_settings, run_settings
from tests.guest.test_cpio import entries
from tests.guest.test_kernels import make_kernel

MODULES = {"virtio_pci.ko": "virtio", "virtio.ko": "", "virtio_blk.ko": "virtio"}


def make_tools(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir(parents=True)
    (tmp_path / "bin/busybox").write_bytes(b"busybox")
    return tmp_path


def test_archive_holds_what_the_guest_needs(tmp_path: Path) -> None:
    kernel, tools = make_kernel(tmp_path / "k", MODULES), make_tools(tmp_path / "t")
    settings = guest_settings(Plan("6.1"))
    archive = initramfs.build(kernel, tools, settings, PROBES, SYSCTLS)
    assert archive == initramfs.build(kernel, tools, settings, PROBES, SYSCTLS)
    found = entries(archive)
    assert {"init", "bin/busybox", "bin/sh", "bin/work", "dev/console", "lib/modules/virtio_blk.ko"} <= set(found)
    conf = found["etc/record.conf"][1].decode()
    assert "MODULES='virtio.ko virtio_pci.ko virtio_blk.ko'" in conf
    assert found["etc/probes"][1].decode().splitlines() == [probe.definition() for probe in PROBES]
    assert found["etc/sysctl.conf"][1].startswith(b"debug.kprobes-optimization 0\n")


def test_settings_are_what_a_shell_reads() -> None:
    plan = Plan("6.1", command="echo 'a b' $HOME")
    conf = initramfs.shell_variables(run_settings(plan)).decode()
    said = subprocess.run(["sh", "-c", conf + 'printf %s "$COMMAND"'], capture_output=True, text=True, check=True)
    assert said.stdout == plan.command


def test_packages_come_along_without_their_documentation(tmp_path: Path) -> None:
    for name in ("usr/bin/tool", "usr/share/doc/tool/copyright", "usr/share/tool/data"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, "ascii")
    (tmp_path / "usr/bin/tool").chmod(0o755)
    (tmp_path / "usr/bin/alias").symlink_to("tool")
    archive = Archive()
    initramfs.add_tree(archive, tmp_path)
    found = entries(archive.pack())
    assert found["usr/bin/tool"][0] & 0o777 == 0o755
    assert found["usr/bin/alias"][1] == b"tool"
    assert "usr/share/tool/data" in found
    assert not any("doc" in name for name in found)


def test_packages_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(initramfs, "_LARGEST_TREE", 2 << 20)
    with pytest.raises(BadInput, match="take 3 MiB"):
        initramfs.add_tree(Archive(), tmp_path)


def test_missing_busybox_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="busybox"):
        initramfs.busybox(tmp_path)


def test_init_is_a_valid_shell_script() -> None:
    text = resources.files("pagelab.guest").joinpath("init.sh").read_text("ascii")
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
