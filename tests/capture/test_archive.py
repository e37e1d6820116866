# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures packed as .tar.zst, and what pretends to be one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from pagelab.capture import archive
from pagelab.capture.archive import unpack
from pagelab.errors import BadInput


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return zstandard.ZstdCompressor().compress(out.getvalue())


def plain(name: str, data: bytes = b"hello\n") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info, b""


def link(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


def unpacked(tmp_path: Path, data: bytes) -> Path:
    path, into = tmp_path / "capture.tar.zst", tmp_path / "into"
    path.write_bytes(data)
    into.mkdir(exist_ok=True)
    return unpack(path, into)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_files_at_the_top_or_in_one_directory(tmp_path: Path) -> None:
    flat = unpacked(tmp_path, packed(directory("."), plain("./uname.txt"), plain("./zoneinfo/00-boot.txt", b"x\n")))
    assert files(flat) == {"uname.txt": b"hello\n", "zoneinfo/00-boot.txt": b"x\n"}
    (tmp_path / "other").mkdir()
    deep = unpacked(tmp_path / "other", packed(directory("run"), plain("run/uname.txt"), plain("run/a/b.txt")))
    assert deep.name == "run"
    assert files(deep) == {"uname.txt": b"hello\n", "a/b.txt": b"hello\n"}


def test_several_zstd_frames(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("trace.dat")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(bytes(300_000)))
    data = out.getvalue()
    compressor = zstandard.ZstdCompressor()
    root = unpacked(tmp_path, compressor.compress(data[:1000]) + compressor.compress(data[1000:]))
    assert files(root) == {"trace.dat": bytes(300_000)}


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (plain("/etc/passwd"), "'/etc/passwd' would be written outside"),
        (plain("a/../../b"), "would be written outside"),
        (plain("..\\b"), "would be written outside"),
        (link("trace.dat", tarfile.SYMTYPE), "neither a plain file nor a directory"),
        (link("trace.dat", tarfile.LNKTYPE), "neither a plain file nor a directory"),
        (link("trace.dat", tarfile.FIFOTYPE), "neither a plain file nor a directory"),
        (link("trace.dat", tarfile.CHRTYPE), "neither a plain file nor a directory"),
        (plain("."), "neither a plain file nor a directory"),
    ],
)
def test_members_that_lead_elsewhere(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        unpacked(tmp_path, packed(plain("uname.txt"), member))
    assert words in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_member_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is there twice"):
        unpacked(tmp_path, packed(plain("uname.txt"), plain("uname.txt")))


def test_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="zoneinfo"):
        unpacked(tmp_path, packed(plain("zoneinfo"), plain("zoneinfo/00-boot.txt")))


def test_cut_at_any_byte(tmp_path: Path) -> None:
    data = packed(plain("uname.txt"), plain("trace.dat", bytes(range(256)) * 20))
    for cut in range(len(data)):
        where = tmp_path / str(cut)
        where.mkdir()
        with pytest.raises(BadInput, match=r"capture\.tar\.zst"):
            unpacked(where, data[:cut])


def test_other_files(tmp_path: Path) -> None:
    for number, (data, words) in enumerate(
        (
            (b"", "found an empty file"),
            (b"\x1f\x8b1234", "found a gzip file"),
            (zstandard.ZstdCompressor().compress(b"no tar" * 200), "not a whole tar archive"),
            (zstandard.ZstdCompressor().compress(b""), "not a whole tar archive"),
            (packed(plain("uname.txt")) + b"more", "broken zstd data"),
        )
    ):
        where = tmp_path / str(number)
        where.mkdir()
        with pytest.raises(BadInput) as caught:
            unpacked(where, data)
        assert words in str(caught.value)


def test_too_many_and_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    (tmp_path / "many").mkdir()
    with pytest.raises(BadInput, match="more than 3 members"):
        unpacked(tmp_path / "many", packed(*(plain(str(number)) for number in range(4))))
    with pytest.raises(BadInput, match="has 101 bytes, more than any capture"):
        unpacked(tmp_path, packed(plain("trace.dat", bytes(101))))
