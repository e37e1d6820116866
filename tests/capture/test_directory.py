# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole capture: what is needed, what may be missing, what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from pagelab.capture import read_capture
from pagelab.capture.directory import Capture
from pagelab.errors import BadInput
from tests.capture import make
from tests.capture.test_trace_dat import free, rows_of

EVENTS = [free(10 * number + cpu, cpu, 5000 + number) for cpu in range(2) for number in range(20)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make.write_capture(tmp_path / "capture", make.trace_dat_v6(make.rings(EVENTS, 2)))


def bad(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_capture(path)
    return str(caught.value)


def check_whole(capture: Capture) -> None:
    assert len(capture.events) == 40
    assert (capture.lost, capture.clock, capture.cpus, capture.all_cpus) == ([], "counter", 2, True)
    assert capture.release == "6.1.0-30-amd64"
    assert capture.trace_uname == make.UNAME
    assert capture.cmdline == "console=ttyS0 quiet"
    assert capture.config == {"CONFIG_SMP": "y", "CONFIG_HZ": "250", "CONFIG_CMA": "n", "CONFIG_LOCALVERSION": ""}
    assert capture.symbols.address("zone_pcp_disable") == 0xFFFFFFFF812EA600
    assert [(snapshot.number, snapshot.label) for snapshot in capture.zoneinfo] == [(0, "boot"), (1, "online")]
    movable = capture.zoneinfo[1].zone("Movable")
    assert movable is not None
    assert movable.present == 32768
    assert capture.zoneinfo[1].zone("Normal") is None
    assert [(info.number, info.label) for info in capture.pagetypeinfo] == [(0, "boot")]
    assert capture.manifest["workload"] == {"name": "churn", "seed": 1}
    assert capture.warnings == []


def test_everything_is_there(directory: Path) -> None:
    check_whole(read_capture(directory))


def test_archive_of_it(directory: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "capture.tar", "w") as tar:
        tar.add(directory, arcname="capture")
    path = tmp_path / "capture.tar.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress((tmp_path / "capture.tar").read_bytes()))
    capture = read_capture(path)
    check_whole(capture)
    assert capture.path == path
    root = capture.root
    assert root.is_dir()
    del capture
    assert not root.exists()


def test_text_trace_has_the_clock_of_the_manifest(directory: Path) -> None:
    (directory / "trace.dat").unlink()
    events = sorted(EVENTS, key=lambda happened: happened.time)
    (directory / "trace.txt").write_text(make.trace_text(events, 2))
    capture = read_capture(directory)
    assert capture.clock == "counter"
    assert len(rows_of(capture.events)) == 40


def test_binary_trace_comes_first(directory: Path) -> None:
    (directory / "trace.txt").write_text("not read\n")
    assert "trace.txt is not" in read_capture(directory).warnings[0]


@pytest.mark.parametrize("name", ["cmdline.txt", "config.txt.gz", "kallsyms.txt.gz", "pagetypeinfo", "capture.toml"])
def test_what_may_be_missing_is_told(directory: Path, name: str) -> None:
    path = directory / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    capture = read_capture(directory)
    assert len(capture.warnings) == 1
    assert name.removesuffix(".gz") in capture.warnings[0]
    assert len(capture.config) == (0 if "config" in name else 4)
    assert len(capture.symbols) == (0 if "kallsyms" in name else 3)


def test_hits_of_probes_that_the_kernel_left_out_are_told(directory: Path) -> None:
    (directory / "capture.toml").write_text('[trace]\nprobes_missed = {"free_unref_page_commit" = 36}\n')
    assert ["36 hits of the probe free_unref_page_commit" in one for one in read_capture(directory).warnings] == [True]


@pytest.mark.parametrize(
    ("name", "words"),
    [("trace.dat", "has no trace.dat and no trace.txt"), ("uname.txt", "no uname.txt"), ("zoneinfo", "no zoneinfo")],
)
def test_what_is_needed(directory: Path, name: str, words: str) -> None:
    path = directory / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert words in bad(directory)


def test_what_is_no_capture(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "the directory is empty" in bad(tmp_path / "empty")
    assert "there is no such directory" in bad(tmp_path / "nothing")
    (tmp_path / "file").write_text("hello\n")
    assert "expected a directory or a .tar.zst of one, found some text" in bad(tmp_path / "file")
    assert "neither a directory nor a plain file" in bad(Path("/dev/null"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello\n")
    assert "has no trace.dat" in bad(tmp_path / "other")
    assert "cannot be read" in bad(tmp_path / ("x" * 300))


def test_empty_zoneinfo_directory(directory: Path) -> None:
    shutil.rmtree(directory / "zoneinfo")
    (directory / "zoneinfo").mkdir()
    assert "holds no snapshot NN-label.txt" in bad(directory)


def test_snapshots_are_in_the_order_of_their_numbers(directory: Path) -> None:
    text = make.zoneinfo_text()
    for name in ("10-end.txt", "02-b.txt", "02-a.txt"):
        (directory / "zoneinfo" / name).write_text(text)
    (directory / "zoneinfo" / "notes").write_text("hello\n")
    capture = read_capture(directory)
    assert [snapshot.label for snapshot in capture.zoneinfo] == ["boot", "online", "a", "b", "end"]
    assert "notes is not read" in capture.warnings[0]


def test_marks_date_the_snapshots(directory: Path) -> None:
    (directory / "trace.dat").unlink()
    lines = [
        (5, "tracing_mark_write: pagelab: snapshot 00-boot"),
        (6, "mm_page_free: page=1 pfn=0x10 order=0"),
        (7, "tracing_mark_write: pagelab: snapshot 00-boot done"),
        (8, "tracing_mark_write: pagelab: snapshot 01-online"),
    ]
    text = "".join(f"{'<...>':>16}-1       [000] ..... {time:12d}: {words}\n" for time, words in lines)
    (directory / "trace.txt").write_text(text)
    assert read_capture(directory).snapshot_times == {"00-boot": (5, 7), "01-online": (8, 8)}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("capture.toml", b"[workload\n", "capture.toml: not TOML"),
        ("capture.toml", b"name = '\xff'\n", "capture.toml: byte 8 is not UTF-8"),
        ("uname.txt", b"Linux\xff\n", "uname.txt: byte 5 is not UTF-8"),
        ("uname.txt", b"a\nb\n", "uname.txt: expected one line, found 2"),
        ("uname.txt", bytes(70000), "holds more than the 65536 bytes"),
        ("zoneinfo/00-boot.txt", b"", "00-boot.txt: the file is empty"),
        ("zoneinfo/00-boot.txt", b"Node", "line 1 (byte 4) ends without a newline"),
        ("pagetypeinfo/00-boot.txt", b"hello\n", "00-boot.txt: line 1: this is no line of pagetypeinfo"),
        ("trace.dat", b"hello\n", "trace.dat: byte 0: not a trace.dat"),
    ],
)
def test_damaged_files(directory: Path, name: str, data: bytes, words: str) -> None:
    (directory / name).write_bytes(data)
    assert words in bad(directory)


def test_files_that_are_read_late_are_refused_late(directory: Path) -> None:
    (directory / "config.txt.gz").write_bytes(b"hello\n")
    (directory / "kallsyms.txt.gz").write_bytes(b"hello\n")
    capture = read_capture(directory)
    with pytest.raises(BadInput, match=r"config\.txt\.gz: not a whole gzip file"):
        _ = capture.config
    with pytest.raises(BadInput, match=r"kallsyms\.txt\.gz: not a whole gzip file"):
        _ = capture.symbols


def test_import_is_light() -> None:
    script = "import sys, pagelab.capture; print([m for m in ('numpy', 'numba', 'zstandard') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
