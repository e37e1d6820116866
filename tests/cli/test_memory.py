# SPDX-License-Identifier: GPL-2.0-or-later
"""What a search may use, on machines of all sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.cli.memory import memory_limit, to_be_had
from pagelab.errors import BadInput


def machine(root: Path, available_kib: int, group: dict[str, str] | None = None) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n")
    if group is not None:
        directory = root / "sys/fs/cgroup"
        directory.mkdir(parents=True)
        for name, text in group.items():
            (directory / name).write_text(text + "\n")
    return root


def test_what_the_machine_has(tmp_path: Path) -> None:
    assert to_be_had(machine(tmp_path, 1000)) == 1000 << 10


def test_a_control_group_may_have_less(tmp_path: Path) -> None:
    group = {"memory.max": str(300 << 20), "memory.current": str(100 << 20)}
    assert to_be_had(machine(tmp_path, 1 << 20, group)) == 200 << 20


def test_a_control_group_without_a_limit(tmp_path: Path) -> None:
    assert to_be_had(machine(tmp_path, 1 << 20, {"memory.max": "max", "memory.current": "5"})) == 1 << 30


def test_what_was_asked_for() -> None:
    assert memory_limit("500M") == 500 << 20
    assert memory_limit("4GiB") == 4 << 30
    assert memory_limit("") > 0
    with pytest.raises(BadInput, match="--max-memory lots: this is no amount of memory"):
        memory_limit("lots")
