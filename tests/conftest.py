# SPDX-License-Identifier: GPL-2.0-or-later
"""What every test can rely on, and the rule that a kernel test which did not run is not a test that passed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

#: Marks a report as one of a kernel test.  A marker would not do: ``report.keywords`` holds directory names as well.
KERNEL_TEST = ("kernel test", True)

Pagelab = Callable[..., "subprocess.CompletedProcess[str]"]

# Shared machines are slow at times; in CI the same commit has to give the same answer twice.
settings.register_profile("pagelab", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI")))
settings.load_profile("pagelab")


@pytest.fixture
def run_pagelab() -> Pagelab:
    """``run_pagelab("replay", DIR, ...)``: the command in a process of its own, output as text, status not checked."""

    def run(*args: str | os.PathLike[str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pagelab", *(os.fspath(arg) for arg in args)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )

    return run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guest-must-run", action="store_true", help="fail where a kernel test is skipped, or none ran")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("guest"):
            item.user_properties.append(KERNEL_TEST)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(KernelTests(config), "kernel-tests")


class KernelTests:
    """Counts the kernel tests, says how many ran, and with ``--guest-must-run`` fails where one is missing."""

    def __init__(self, config: pytest.Config) -> None:
        self.required = bool(config.getoption("--guest-must-run"))
        self.ran = 0
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if KERNEL_TEST not in report.user_properties:
            return
        if report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call":
            self.ran += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and report.nodeid.startswith("tests/guest/"):
            self.skipped.append(report.nodeid)

    def missing(self) -> bool:
        """Whether a kernel test that had to run did not."""
        return self.required and (bool(self.skipped) or not self.ran)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        line = f"kernel tests: {self.ran} ran, {len(self.skipped)} skipped"
        if self.missing():
            terminalreporter.section("a kernel test did not run", red=True)
            terminalreporter.line("\n".join([*self.skipped, line]))
        elif self.required or self.ran or self.skipped:
            terminalreporter.line(line)
