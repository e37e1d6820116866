# SPDX-License-Identifier: GPL-2.0-or-later
"""Real kernels in QEMU."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagelab.capture.events import Kind
from pagelab.capture.trace_dat import read_trace_dat
from pagelab.errors import GuestFailed
from pagelab.guest import boots, kernels, qemu, record, room
from tests.conftest import Pagelab

pytestmark = [pytest.mark.guest, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def kernel() -> kernels.Kernel:
    qemu.find_qemu()
    return kernels.fetch("6.1")


def captured(run: Pagelab, output: Path, *options: str, name: str = "6.1") -> dict[str, Any]:
    """What ``record`` told; the first of these tests that needs such a guest boots it."""
    done = run("record", "--kernel", name, "-o", output, "--json", "--resume", *options, timeout=200)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test's guests have their temporary files, by which they are told from those of others."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def guests(scratch: Path) -> set[int]:
    """Process numbers of the QEMUs that work in ``scratch``."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if qemu.PROGRAM.encode() in words and bytes(scratch) in words:
            found.add(int(path.parent.name))
    return found


def test_capture_holds_what_the_contract_says(run_pagelab: Pagelab, tmp_path: Path, kernel: kernels.Kernel) -> None:
    output = tmp_path / "capture"
    told = captured(run_pagelab, output, "--seed", "5", "--offline", "2", "--online-again")
    assert told["lost"] == 0
    assert told["events"] > 400_000
    assert told["seconds"] < 60
    assert [entry["ok"] for entry in told["offline"]] == [True, True]
    facts = tomllib.loads((output / "capture.toml").read_text("utf-8"))
    assert facts["kernel"]["release"] == kernel.release
    assert facts["workload"] == {"name": "churn", "seed": 5, "pages": 120_000, "failed": []}
    assert facts["trace"]["events_missing"] == []
    assert not facts["trace"]["probes_missed"]
    assert facts["trace"]["probes_missing"] == []
    assert len(facts["guest"]["blocks"]) == 8
    assert [entry["online_again"] for entry in facts["offline"]] == [True, True]
    assert kernel.release in (output / "uname.txt").read_text("ascii")
    assert "nokaslr" in (output / "cmdline.txt").read_text("ascii")
    assert b"CONFIG_MEMORY_HOTPLUG=y" in gzip.decompress((output / "config.txt.gz").read_bytes())
    symbols = gzip.decompress((output / "kallsyms.txt.gz").read_bytes()).decode("ascii")
    address = next(line.split()[0] for line in symbols.splitlines() if line.endswith(" zone_pcp_disable"))
    assert int(address, 16) > 1 << 63
    labels = ["00-boot", "01-online", "02-offline-1", "03-online-again-1"]
    labels += ["04-offline-2", "05-online-again-2", "99-end"]
    for kind in ("zoneinfo", "pagetypeinfo"):
        assert sorted(path.stem for path in (output / kind).iterdir()) == labels
    movable = [(output / "zoneinfo" / f"{label}.txt").read_text("ascii") for label in ("00-boot", "01-online")]
    present = [int(text.split("zone  Movable")[1].split("present")[1].split()[0]) for text in movable]
    assert present == [0, 262_144]
    trace = read_trace_dat(output / "trace.dat")
    kinds = Counter(trace.events.kind.tolist())
    assert (trace.clock, trace.cpus, trace.lost) == ("counter", 2, [])
    assert trace.ignored == {"ftrace:print": len(trace.marks)}
    assert len(trace.events) + len(trace.marks) == told["events"]
    assert kinds[Kind.MM_PAGE_ALLOC] > 90_000
    assert kinds[Kind.OFFLINE_PAGES] == kinds[Kind.OFFLINE_PAGES_DONE] == 2
    assert kinds[Kind.ONLINE_PAGES] == kinds[Kind.ONLINE_PAGES_DONE] == 8 + 2
    assert kinds[Kind.MOVE_FREEPAGES_BLOCK] == kinds[Kind.MOVE_FREEPAGES_BLOCK_DONE] > 0
    texts = [text for _, _, text in trace.marks]
    assert texts[0] == "pagelab: online 32"
    assert texts[-1] == "pagelab: snapshot 99-end done"


def starts(plan: record.Plan, output: Path, steps: list[str] | None = None) -> list[str]:
    """Record; how the guest was started, each try."""
    told = [] if steps is None else steps
    record.record(plan, output, lambda name, seconds: told.append(name) if seconds is None and "6.1" in name else None)
    return told


def test_a_kept_boot_serves_another_run(
    run_pagelab: Pagelab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: kernels.Kernel
) -> None:
    """The second run has other settings; a boot that was cut off is thrown away."""
    kept = tmp_path / "kept"
    monkeypatch.setattr(boots, "place", lambda setup: kept)
    base = record.Plan("6.1", pages=3000, memory_mib=256, accelerator="tcg", resume=True)
    begun = []
    for number, plan in enumerate((base, replace(base, seed=2, zone="kernel"), base)):
        if number == 2:
            os.truncate(kept, kept.stat().st_size // 2)
        begun.append(starts(plan, tmp_path / str(number)))
        facts = tomllib.loads((tmp_path / str(number) / "capture.toml").read_text("utf-8"))
        assert (facts["workload"]["seed"], facts["guest"]["zone"]) == (plan.seed, plan.zone)
        done = run_pagelab("replay", tmp_path / str(number), "--json")
        assert done.returncode == 0, done.stdout
    assert begun == [["boot 6.1"], ["resume 6.1"], ["resume 6.1", "boot 6.1"]]


def test_a_boot_that_finds_no_room_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "place", lambda setup: tmp_path / "kept")
    monkeypatch.setattr(record, "_BOOT", "/dev/full")
    plan = record.Plan("6.1", pages=3000, memory_mib=256, accelerator="tcg", resume=True)
    assert starts(plan, tmp_path / "c") == ["boot 6.1"]
    assert (tmp_path / "c/trace.dat").is_file()
    assert not (tmp_path / "kept").exists()


def test_a_kernel_that_does_not_boot_is_booted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "command_line", lambda plan: "console=ttyS0 quiet panic=-1 rdinit=/none init=/none")
    steps: list[str] = []
    with pytest.raises(GuestFailed, match=r"gave up: Kernel panic - not syncing: (Requested init /none|VFS)"):
        starts(record.Plan("6.1", accelerator="tcg"), tmp_path / "c", steps)
    assert steps == ["boot 6.1", "boot 6.1 again"]


@pytest.mark.parametrize("options", [["--workload", "files", "--cpus", "1"], ["--workload", "fork", "--cpus", "4"]])
def test_other_workloads_and_cpus(run_pagelab: Pagelab, tmp_path: Path, options: list[str]) -> None:
    told = captured(run_pagelab, tmp_path / "c", *options, "--zone", "kernel", "--memory", "512M")
    assert told["lost"] == 0
    assert told["events"] > 300_000


@pytest.mark.parametrize("name", ["6.12", "7.2"])
def test_pcplists_that_size_themselves_are_predicted_page_by_page(
    run_pagelab: Pagelab, tmp_path: Path, name: str
) -> None:
    options = ("--cpus", "2", "--offline", "1", "--memory", "256M", "--pages", "6000", "--seed", "3")
    told = captured(run_pagelab, tmp_path / "c", *options, name=name)
    assert told["lost"] == 0
    facts = tomllib.loads((tmp_path / "c/capture.toml").read_text("utf-8"))
    assert facts["trace"]["probes_missing"] == []
    done = run_pagelab("replay", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stdout
    judged = json.loads(done.stdout)
    assert judged["design"] == name
    assert judged["pageset"]["exact"] > 100


@pytest.mark.parametrize("options", [["--workload", "files", "--cpus", "2", "--offline", "1", "--memory", "256M"]])
def test_zone_of_every_migratetype_is_predicted_page_by_page(
    run_pagelab: Pagelab, tmp_path: Path, options: list[str]
) -> None:
    told = captured(run_pagelab, tmp_path / "c", *options, "--zone", "kernel", "--pages", "20000", "--seed", "9")
    assert told["lost"] == 0
    facts = tomllib.loads((tmp_path / "c/capture.toml").read_text("utf-8"))
    placed = {line.split(":pagelab/")[1].split()[0] for line in facts["trace"]["probes"]}
    assert {"free_one_page", "rmqueue_pcplist_page", "alloc_pages_bulk_page", "isolate_free_page"} <= placed
    kinds = Counter(read_trace_dat(tmp_path / "c/trace.dat").events.kind.tolist())
    assert kinds[Kind.RMQUEUE_PCPLIST_PAGE] > 10_000
    assert kinds[Kind.FREE_ONE_PAGE] >= 64  # as many come online
    done = run_pagelab("replay", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stdout


def test_older_kernel_is_predicted_page_by_page(run_pagelab: Pagelab, tmp_path: Path) -> None:
    options = ("--pages", "3000", "--memory", "256M", "--offline", "1", "--zone", "kernel", "-o", tmp_path / "c")
    done = run_pagelab("record", "--kernel", "5.10", *options, timeout=200)
    assert done.returncode == 0, done.stderr
    done = run_pagelab("replay", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stdout
    assert '"design": "5.10"' in done.stdout


@pytest.mark.parametrize("name", ["5.10", "6.1"])
def test_unplugged_memory_is_predicted_page_by_page(run_pagelab: Pagelab, tmp_path: Path, name: str) -> None:
    options = ("--virtio-mem", "16M", "--memory", "256M", "--pages", "6000")
    told = captured(run_pagelab, tmp_path / "c", *options, name=name)
    assert [entry["reached"] for entry in told["contig"]] == [240 << 10, 256 << 10]
    kinds = Counter(read_trace_dat(tmp_path / "c/trace.dat").events.kind.tolist())
    assert kinds[Kind.START_ISOLATE_PAGE_RANGE] >= 4
    assert kinds[Kind.ISOLATE_FREE_PAGE] >= 4
    done = run_pagelab("replay", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stdout


def test_command_of_a_package_runs_with_its_libraries(run_pagelab: Pagelab, tmp_path: Path) -> None:
    line = "stress-ng --vm 1 --vm-bytes 8M --vm-ops 200 --seed 7 --timeout 20"
    captured(run_pagelab, tmp_path / "c", "--package", "stress-ng", "--command", line)
    facts = tomllib.loads((tmp_path / "c/capture.toml").read_text("utf-8"))
    assert facts["workload"]["status"] == 0
    assert "successful run" in (tmp_path / "c/command.txt").read_text("utf-8")


def test_trace_cmd_reads_the_same(run_pagelab: Pagelab, tmp_path: Path) -> None:
    program = shutil.which("trace-cmd")
    if program is None:
        pytest.skip("trace-cmd is not installed: apt-get install trace-cmd")
    told = captured(run_pagelab, tmp_path / "c", "--pages", "5000")
    done = subprocess.run(
        [program, "report", "-i", tmp_path / "c/trace.dat"], capture_output=True, text=True, check=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "cpus=2"
    assert len(lines) - 1 == told["events"]
    assert "mm_page_alloc:" in done.stdout
    assert "free_pcppages_bulk:" in done.stdout
    stat = subprocess.run(
        [program, "report", "--stat", "-i", tmp_path / "c/trace.dat"], capture_output=True, text=True, check=True
    )
    assert "entries:" in stat.stdout


def test_full_trace_buffers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TRACE_MIB", 4)
    monkeypatch.setattr(room, "BYTES_PER_PAGE", 1)
    outcome = record.record(record.Plan("6.1", pages=60_000), tmp_path / "c")
    trace = read_trace_dat(tmp_path / "c/trace.dat")
    assert outcome.lost > 0
    assert sum(count for _, _, count in trace.lost) == outcome.lost
    assert len(trace.events) - len(trace.lost) + len(trace.marks) == outcome.events


def test_command_that_is_not_there(run_pagelab: Pagelab, tmp_path: Path) -> None:
    done = run_pagelab(
        "record", "--kernel", "6.1", "-o", tmp_path / "c", "--command", "no-such-program --x", "--resume"
    )
    assert done.returncode == 2
    assert "no-such-program: not found" in done.stderr
    assert not list(tmp_path.iterdir())


def test_panic_is_told_with_the_console(run_pagelab: Pagelab, tmp_path: Path, scratch: Path) -> None:
    command = "echo c > /proc/sysrq-trigger"
    done = run_pagelab("record", "--kernel", "6.1", "-o", tmp_path / "c", "--command", command, "--resume")
    assert done.returncode == 3
    assert "Kernel panic - not syncing: sysrq triggered crash" in done.stderr
    assert "Kernel Offset: disabled" in done.stderr
    assert list(tmp_path.rglob("*")) == [scratch]
    assert not guests(scratch)


def test_hang_is_ended(run_pagelab: Pagelab, tmp_path: Path, scratch: Path) -> None:
    options = ("--command", "sleep 1000", "--timeout", "20", "--resume")
    done = run_pagelab("record", "--kernel", "6.1", "-o", tmp_path / "c", *options)
    assert done.returncode == 3
    assert "did not end within 20 s" in done.stderr
    assert "console" in done.stderr
    assert list(tmp_path.rglob("*")) == [scratch]
    assert not guests(scratch)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_guest_outlives_pagelab(tmp_path: Path, scratch: Path, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-m", "pagelab", "record", "--kernel", "6.1", "-o", str(tmp_path / "c")]

    def heed_interrupts() -> None:
        """Tests that run in the background of a script would pass on that SIGINT is ignored."""
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 (no threads here)
    ) as process:
        deadline = time.monotonic() + 60
        while not guests(scratch):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(30) == status
    deadline = time.monotonic() + 10
    while guests(scratch):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number != signal.SIGKILL:
        assert list(tmp_path.rglob("*")) == [scratch]


def test_full_disk_is_told(run_pagelab: Pagelab, tmp_path: Path, scratch: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", scratch], check=False).returncode:
        pytest.skip("this sandbox cannot mount a tmpfs")
    try:
        done = run_pagelab("record", "--kernel", "6.1", "-o", tmp_path / "c")
        assert done.returncode == 3
        assert "no space left" in done.stderr
        assert list(tmp_path.rglob("*")) == [scratch]
    finally:
        subprocess.run(["umount", scratch], check=True)
