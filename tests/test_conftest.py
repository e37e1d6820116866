# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel test that is skipped, or that never ran, fails a run with ``--guest-must-run``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
RUNS = "@pytest.mark.guest\ndef test_boots(): pass\n"
SKIPS = "@pytest.mark.guest\ndef test_waits(): pytest.skip('no kernel')\n"
OTHER = "def test_other(): pytest.skip('not a kernel test')\n"
WHOLE_FILE = "pytest.skip('no kernel', allow_module_level=True)\n"


def run_pytest(folder: Path, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own on one test file of the given body, with this project's conftest."""
    (folder / "tests" / "guest").mkdir(parents=True)
    shutil.copy(CONFTEST, folder / "tests")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = guest: boots\n")
    (folder / "tests" / "guest" / "test_boot.py").write_text(f"import pytest\n{body}")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (RUNS, 0, "kernel tests: 1 ran, 0 skipped"),
        (RUNS + OTHER, 0, "kernel tests: 1 ran, 0 skipped"),
        (RUNS + SKIPS, 1, "tests/guest/test_boot.py::test_waits\nkernel tests: 1 ran, 1 skipped"),
        (OTHER, 1, "kernel tests: 0 ran, 0 skipped"),
        (WHOLE_FILE, 1, "kernel tests: 0 ran, 1 skipped"),
    ],
)
def test_kernel_tests_must_run(tmp_path: Path, body: str, status: int, says: str) -> None:
    done = run_pytest(tmp_path, body, "--guest-must-run")
    assert done.returncode == status, done.stdout
    assert says in done.stdout


def test_without_the_option_a_skip_is_a_skip(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, RUNS + SKIPS)
    assert done.returncode == 0, done.stdout
    assert "kernel tests: 1 ran, 1 skipped" in done.stdout
