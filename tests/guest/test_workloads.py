# SPDX-License-Identifier: GPL-2.0-or-later
"""The workload program is an ordinary static Linux executable: it runs on the host as well."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

from pagelab.guest.workloads import WORKLOADS, work_program
from pagelab.guest.workloads import program as program_of


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work") / "work"
    path.write_bytes(work_program())
    path.chmod(0o755)
    return path


def faults(command: list[str], directory: Path) -> int:
    """Minor page faults of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    subprocess.run(command, cwd=directory, check=True, timeout=60)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before


def test_program_is_small_and_the_same_every_time() -> None:
    program = work_program()
    program_of.cache_clear()
    assert work_program() == program
    assert len(program) < 8192


@pytest.mark.parametrize("mode", WORKLOADS)
def test_every_workload_ends_well(work: Path, mode: str, tmp_path: Path) -> None:
    subprocess.run([work, mode, "7", "0", "3000"], cwd=tmp_path, check=True, timeout=60)


def test_churn_touches_as_many_new_pages_as_asked_for(work: Path, tmp_path: Path) -> None:
    small = faults([str(work), "churn", "7", "0", "2000"], tmp_path)
    large = faults([str(work), "churn", "7", "0", "12000"], tmp_path)
    # The last run may overshoot by 512 pages each; huge pages, where the host has them on, make it fewer.
    if "[always]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text("ascii"):
        assert 10_000 - 600 < large - small < 10_000 + 600


def test_files_follow_from_the_seed(work: Path, tmp_path: Path) -> None:
    left = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        directory = tmp_path / name
        directory.mkdir()
        subprocess.run([work, "files", seed, "0", "4000"], cwd=directory, check=True, timeout=60)
        left.append({path.name: path.stat().st_size for path in directory.iterdir()})
    assert left[0] == left[1] != left[2]
    assert all(size % 4096 == 0 for size in left[0].values())
    assert all(re.fullmatch("A[A-P]", name) for name in left[0])


def test_fork_leaves_no_child_behind(work: Path, tmp_path: Path) -> None:
    with subprocess.Popen([work, "fork", "3", "0", "3000"], cwd=tmp_path, start_new_session=True) as process:
        assert process.wait(60) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


@pytest.mark.parametrize("arguments", [[], ["churn"], ["churn", "1", "0"], ["xyz", "1", "0", "5"]])
def test_wrong_arguments_end_with_status_1(work: Path, arguments: list[str]) -> None:
    assert subprocess.run([work, *arguments], check=False, timeout=60).returncode == 1
