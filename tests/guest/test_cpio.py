# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import stat
from collections.abc import Callable

import pytest

from pagelab.errors import BadInput
from pagelab.guest.cpio import Archive


def entries(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """A second reading of the format: name -> (mode, data, device)."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, length, check = fields
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            assert not archive[at:].strip(b"\0")
            return found
        found[name] = (mode, archive[at : at + size], (major, minor))
        at = (at + size + 3) & ~3


def sample(order: int) -> Archive:
    archive = Archive()
    steps: list[Callable[[], None]] = [
        lambda: archive.file("usr/bin/tool", b"#!tool", 0o755),
        lambda: archive.symlink("bin/sh", "busybox"),
        lambda: archive.character_device("dev/console", 5, 1),
        lambda: archive.directory("proc"),
        lambda: archive.file("etc/odd", b"12345"),
    ]
    for step in steps[::order]:
        step()
    return archive


def test_every_kind_of_entry_is_read_back() -> None:
    found = entries(sample(1).pack())
    assert found["usr/bin/tool"] == (stat.S_IFREG | 0o755, b"#!tool", (0, 0))
    assert found["bin/sh"] == (stat.S_IFLNK | 0o777, b"busybox", (0, 0))
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert found["proc"][0] == stat.S_IFDIR | 0o755
    assert found["etc/odd"][1] == b"12345"


def test_directories_come_before_what_is_in_them() -> None:
    names = list(entries(sample(1).pack()))
    assert {"usr", "usr/bin", "dev", "etc", "bin"} <= set(names)
    for name in names:
        above = name.rpartition("/")[0]
        assert not above or names.index(above) < names.index(name)


def test_same_entries_give_the_same_bytes_in_any_order() -> None:
    assert sample(1).pack() == sample(-1).pack()
    assert len(sample(1).pack()) % 512 == 0


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "a/../../b"])
def test_path_outside_the_archive_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        Archive().file(path, b"")


def test_file_and_directory_of_one_name_are_refused() -> None:
    archive = Archive()
    archive.file("lib", b"")
    with pytest.raises(BadInput, match="not a directory"):
        archive.file("lib/x", b"")
    with pytest.raises(BadInput, match="both"):
        archive.directory("lib")
