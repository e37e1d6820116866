# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pagelab.capture.events import Kind
from pagelab.cli.record import megabytes
from pagelab.errors import BadInput, GuestFailed, MissingTool
from pagelab.guest import qemu, record, room
from pagelab.guest.probes import PROBES, PROBES_5_10, probes_for
from pagelab.guest.record import Plan
from pagelab.guest.workloads import DEFAULT_PAGES
from tests.conftest import Pagelab


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"kernel": "9.9"}, "9.9"),
        ({"workload": "nope"}, "nope"),
        ({"cpus": 0}, "--cpus 0"),
        ({"cpus": 65}, "--cpus 65"),
        ({"memory_mib": 100}, "--memory 100M"),
        ({"memory_mib": 8192}, "--memory 8192M"),
        ({"offline": 8}, "--offline 8"),
        ({"offline": -1}, "--offline -1"),
        ({"gigantic": 9, "memory_mib": 2048}, "--gigantic 9"),
        ({"gigantic": 1}, "--memory 2G"),
        ({"virtio_mem_mib": 128}, "--virtio-mem 128M"),
        ({"virtio_mem_mib": 6}, "--virtio-mem 6M"),
        ({"virtio_mem_mib": 64, "memory_mib": 2048}, "--virtio-mem"),
        ({"virtio_mem_mib": 64, "offline": 1}, "--offline"),
        ({"seed": -1}, "--seed -1"),
        ({"pages": 0}, "--pages 0"),
        ({"pages": 4_000_001}, "--pages 4000001"),
        ({"clock": "sundial"}, "sundial"),
        ({"timeout": 1}, "--timeout 1"),
        ({"packages": ("stress-ng",)}, "--package"),
        ({"packages": ("a; b",), "command": "a"}, "a; b"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong: dict[str, Any], names: str) -> None:
    with pytest.raises(BadInput) as error:
        Plan(**{"kernel": "6.1", **wrong}).check()
    assert names in str(error.value) + str(error.value.hint)


@pytest.mark.parametrize(("text", "mib"), [("512M", 512), ("1G", 1024), ("2GiB", 2048), ("128m", 128)])
def test_sizes(text: str, mib: int) -> None:
    assert megabytes(text) == mib


@pytest.mark.parametrize("text", ["", "1", "1T", "-1G", "1.5G", "G"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(BadInput):
        megabytes(text)


def test_all_cpus_together_allocate_the_pages() -> None:
    for cpus in (1, 2, 3, 4):
        for offline in (0, 3):
            plan = Plan("6.1", cpus=cpus, offline=offline)
            settings = record.guest_settings(plan) | record.run_settings(plan)
            assert int(settings["TARGET"]) * cpus * int(settings["ROUNDS_LEAST"]) >= DEFAULT_PAGES
            assert int(settings["BUFFER_KB"]) * cpus <= room.TRACE_MIB * 1024


def test_a_huge_page_that_is_freed_page_by_page_has_room_in_the_trace() -> None:
    plan = Plan("6.1", cpus=2, gigantic=4, memory_mib=2048)
    plan.check()
    assert int(record.guest_settings(plan)["BUFFER_KB"]) * 2 << 10 >= 4 * (1 << 18) * room.BYTES_PER_PAGE


def test_a_long_trace_has_room_below_4_gib() -> None:
    for cpus in (1, 2, 4, 64):
        for pages in (1, DEFAULT_PAGES, 1_000_000, room.MOST_PAGES):
            trace = room.buffer_mib(cpus, pages) * cpus
            base = room.base_mib(cpus, pages)
            assert trace << 20 >= pages * room.BYTES_PER_PAGE
            assert trace + room.buffer_mib(cpus, pages) + 128 <= base < 2816
            assert base == room.BASE_MIB or pages > DEFAULT_PAGES


def test_probes_are_named_after_the_kinds() -> None:
    kinds = {kind.name.lower() for kind in Kind}
    assert {probe.name for probe in (*PROBES, *PROBES_5_10)} <= kinds
    assert probes_for("6.1") == PROBES
    assert probes_for("5.10") == PROBES_5_10
    for probe in (*PROBES, *PROBES_5_10):
        assert probe.definition().startswith("r:" if probe.at_return else "p:")


def test_a_kept_boot_is_that_of_the_same_guest() -> None:
    """What a guest is told before it is ready for its memory does not depend on what it does then."""
    plan, other = Plan("6.1"), Plan("6.1", seed=7, zone="kernel", offline=2, workload="files", memory_mib=512)
    assert record.guest_settings(plan) == record.guest_settings(other)
    assert not set(record.guest_settings(plan)) & set(record.run_settings(plan))


def test_output_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(BadInput, match="exists already"):
        record.record(Plan("6.1"), tmp_path)
    with pytest.raises(BadInput, match="exists already"):
        record.record(Plan("6.1"), tmp_path / "x", force=True)
    with pytest.raises(BadInput, match="not a directory"):
        record.record(Plan("6.1"), tmp_path / "none" / "y")


def test_missing_qemu_is_told_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool) as error:
        record.record(Plan("6.1"), tmp_path / "out")
    assert error.value.hint == "apt-get install qemu-system-x86"


def setup_in(directory: Path, virtio_mem_mib: int = 0) -> qemu.Setup:
    return qemu.Setup(
        kernel=directory / "k",
        initramfs=directory / "i",
        command_line="quiet",
        accelerator="tcg",
        cpus=2,
        base_mib=512,
        max_mib=8192,
        disk=directory / "a,b",
        directory=directory,
        virtio_mem_mib=virtio_mem_mib,
    )


def test_virtio_mem_device_gives_nothing_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "find_qemu", lambda: "qemu")
    words = qemu.arguments(setup_in(tmp_path, 1024))
    device = next(word for word in words if word.startswith("virtio-mem-pci"))
    assert "requested-size=0" in device
    assert any(word.endswith("size=1024M") for word in words)
    assert not any("virtio-mem" in word for word in qemu.arguments(setup_in(tmp_path)))


def test_guest_sees_no_network_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "find_qemu", lambda: "qemu")
    words = qemu.arguments(setup_in(tmp_path))
    assert words[words.index("-nic") + 1] == "none"
    assert "-nodefaults" in words
    assert not {"-virtfs", "-fsdev", "-netdev", "-net", "-usb"} & set(words)
    assert any(word.endswith("a,,b") for word in words)


def scratch_disk(path: Path, *members: tarfile.TarInfo) -> Path:
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w|") as archive:
            for member in members:
                member.size = 3 if member.isfile() else 0
                archive.addfile(member, io.BytesIO(b"abc"))
        file.truncate(1 << 20)
    return path


def test_scratch_disk_gives_plain_files_inside_only(tmp_path: Path) -> None:
    link = tarfile.TarInfo("./link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    names = [tarfile.TarInfo(name) for name in ("./trace.dat", "../outside", "/facts/stats")]
    record._unpack(scratch_disk(tmp_path / "disk", *names, link), tmp_path / "raw", 1)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert found == {"disk", "raw/trace.dat", "raw/facts/stats"}


def test_scratch_disk_can_hold_one_archive_behind_another(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    for name, size in (("raw/0", 700), ("raw/1", 0), ("raw/2", 40_000)):
        member = tarfile.TarInfo(name)
        member.size = size
        with disk.open("ab") as file:
            file.write(member.tobuf() + bytes(-(-size // 512) * 512) + bytes(1024))  # contents of zeros as well
    with disk.open("ab") as file:
        file.write(bytes(512) + b"swapped out")
        file.truncate(1 << 20)
    record._unpack(disk, tmp_path, 3)
    assert [(tmp_path / "raw" / str(cpu)).stat().st_size for cpu in range(3)] == [700, 0, 40_000]


def test_scratch_disk_without_a_capture_is_told(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\x55" * 4096)
    with pytest.raises(GuestFailed, match=r"does not hold all archives \(invalid header"):
        record._unpack(tmp_path / "noise", tmp_path / "b", 1)
    disk = scratch_disk(tmp_path / "disk", tarfile.TarInfo("a"))
    with pytest.raises(GuestFailed, match="1 of 2 are there"):
        record._unpack(disk, tmp_path / "b", 2)
    with disk.open("r+b") as file:
        file.seek(8192)
        file.write(b"\x55" * 512)
    with pytest.raises(GuestFailed, match="at byte 8192 is something else"):
        record._unpack(disk, tmp_path / "b", 2)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["record", "-o", "x"], 2, "--kernel"),
        (["record", "--kernel", "6.1", "-o", "x", "--memory", "lots"], 2, "lots"),
        (["record", "--kernel", "6.1", "-o", "x", "--command", " "], 2, "--command is empty"),
        (["kernels", "fetch"], 2, "which"),
        (["kernels", "fetch", "1.0"], 2, "'1.0'"),
    ],
)
def test_command_line_refuses_in_one_sentence(run_pagelab: Pagelab, words: list[str], status: int, says: str) -> None:
    done = run_pagelab(*words)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
