# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.errors import BadInput, MissingTool
from pagelab.guest import accelerator
from pagelab.guest.kernels import Kernel

KERNEL = Kernel("6.1", "6.1-test", "linux-image-test", "6.1-1", "bookworm", Path("/nonexistent"))


def test_emulation_asks_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    assert accelerator.choose("tcg", KERNEL, tmp_path / "busybox") == "tcg"
    assert accelerator.choose("auto", KERNEL, tmp_path / "busybox") == "tcg"


def test_answer_of_the_trial_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(accelerator, "_KVM", tmp_path)
    monkeypatch.setattr("pagelab.guest.qemu.qemu_version", lambda: "7.2")
    trials: list[float] = []

    async def alive(setup: object, patience: float) -> bool:
        trials.append(patience)
        return len(trials) > 1

    monkeypatch.setattr(accelerator, "_alive", alive)
    busybox = tmp_path / "busybox"
    busybox.touch()
    assert [accelerator.choose("auto", KERNEL, busybox) for _ in range(3)] == ["tcg"] * 3
    assert len(trials) == 1
    assert accelerator.choose("kvm", KERNEL, busybox) == "kvm"
    assert accelerator.choose("auto", KERNEL, busybox) == "kvm"
    assert len(trials) == 2
    assert trials[1] > trials[0]


def test_kvm_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "kvm_works", lambda *_, **__: False)
    with pytest.raises(MissingTool, match="KVM does not boot"):
        accelerator.choose("kvm", KERNEL, tmp_path / "busybox")
    with pytest.raises(BadInput, match="'hvf'"):
        accelerator.choose("hvf", KERNEL, tmp_path / "busybox")
