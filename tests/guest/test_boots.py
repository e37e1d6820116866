# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pagelab.guest import boots
from pagelab.guest.qemu import Setup


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pagelab.guest.qemu.qemu_version", lambda: "7.2")
    monkeypatch.setattr("pagelab.guest.qemu.find_qemu", lambda: "qemu")
    return tmp_path / "cache"


def setup(directory: Path) -> Setup:
    directory.mkdir(exist_ok=True)
    for name in ("kernel", "initramfs"):
        (directory / name).write_text(name, "ascii")
    disk = directory / "disk"
    return Setup(directory / "kernel", directory / "initramfs", "quiet", "tcg", 2, 512, 8192, disk, directory)


def test_the_place_is_that_of_the_same_guest_in_any_directory(tmp_path: Path) -> None:
    assert boots.place(setup(tmp_path / "a")) == boots.place(setup(tmp_path / "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"cpus": 4},
        {"base_mib": 640},
        {"command_line": "quiet x"},
        {"gdb": True},
        {"virtio_mem_mib": 256},
        {"disk": None},
    ],
)
def test_another_guest_has_another_place(tmp_path: Path, change: dict[str, int | str | None]) -> None:
    first = setup(tmp_path / "a")
    assert boots.place(replace(first, **change)) != boots.place(first)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["kernel", "initramfs"])
def test_another_file_has_another_place(tmp_path: Path, name: str) -> None:
    first, other = setup(tmp_path / "a"), setup(tmp_path / "b")
    (tmp_path / "b" / name).write_text("else", "ascii")
    assert boots.place(first) != boots.place(other)


def test_another_qemu_has_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = boots.place(setup(tmp_path / "a"))
    monkeypatch.setattr("pagelab.guest.qemu.qemu_version", lambda: "10.0")
    assert boots.place(setup(tmp_path / "a")) != first


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "MOST", 2)
    places = [tmp_path / "kept" / name for name in "abc"]
    places[0].parent.mkdir()
    assert not boots.use(places[0])
    for age, place in enumerate(places[:2]):
        (tmp_path / "saved").write_text(place.name, "ascii")
        boots.keep(tmp_path / "saved", place)
        os.utime(place, (age, age))
    assert boots.use(places[0])
    (tmp_path / "saved").write_text("c", "ascii")
    boots.keep(tmp_path / "saved", places[2])
    assert sorted(path.name for path in places[0].parent.iterdir()) == ["a", "c"]
    assert places[2].read_text("ascii") == "c"


def test_what_a_killed_run_left_behind_goes(tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "a"
    kept.parent.mkdir()
    old, fresh = kept.with_name(".b.17"), kept.with_name(".c.18")
    for half in (old, fresh):
        half.write_text("half", "ascii")
    os.utime(old, (1, 1))
    (tmp_path / "saved").write_text("a", "ascii")
    boots.keep(tmp_path / "saved", kept)
    assert sorted(path.name for path in kept.parent.iterdir()) == [".c.18", "a"]


def test_what_finds_no_room_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("x", "ascii")
    boots.keep(tmp_path / "saved", tmp_path / "missing" / "kept")
    assert not any(tmp_path.rglob("*kept*"))
