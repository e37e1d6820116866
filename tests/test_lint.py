# SPDX-License-Identifier: GPL-2.0-or-later
"""The linters and the house rules, as tests: what they say fails the run like anything else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 600
SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"
SOURCES = {".py", ".c", ".h", ".s", ".sh", ".ll"}
#: Home directories, and this checkout itself.
MACHINE_PATH = re.compile(rf"/(?:home|root|Users)/[\w.]|{re.escape(str(ROOT))}/")


def text_files() -> Iterator[Path]:
    """Every file that a person wrote, as git would add it; where git cannot tell, as the folders hold it."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = {ROOT / name for name in names if name}
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git, or not a clone
        top = ("src", "tests", "benchmarks", "tools", "docs", ".ci")
        paths = {path for name in top for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts}
        paths |= set(ROOT.glob("*.*")) | {ROOT / "Makefile"}
    for path in sorted(paths):
        if path.is_file() and b"\0" not in path.read_bytes()[:8192]:
            yield path


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_source(path: Path) -> bool:
    return path.suffix in SOURCES or path.name == "Makefile" or path == ROOT / ".ci" / "run"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--output-format=concise"], id="ruff-check"),
        pytest.param(["ruff", "format", "--check"], id="ruff-format"),
        pytest.param(["mypy"], id="mypy-strict"),
    ],
)
def test_linter(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_no_file_is_too_long() -> None:
    long = [name(path) for path in text_files() if is_source(path) and len(path.read_bytes().splitlines()) > MOST_LINES]
    assert long == []


def test_every_source_names_its_licence() -> None:
    without = [
        name(path)
        for path in text_files()
        if is_source(path) and (text := path.read_text()) and SPDX not in "\n".join(text.splitlines()[:2])
    ]
    assert without == []


def test_no_path_of_one_machine() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in text_files()
        if is_source(path) or path.suffix in {".md", ".toml"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MACHINE_PATH.search(line) and path != Path(__file__)
    ]
    assert found == []


def test_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text().splitlines()[:14]
    commands = [line.split("#")[0].strip() for line in opening if line.startswith("make ")]
    assert commands == ["make demo", "make test"]


def test_lower_bounds_are_written_down() -> None:
    """``make floor`` installs the lower bounds, so each dependency needs one."""
    done = subprocess.run(
        [sys.executable, "tools/floor.py", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(done.stdout.splitlines()) == len(wanted)
