# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab check`` of designs, and ``pagelab scenarios``, as a person runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pagelab.check.explore import How
from pagelab.check.kernel_model import applies
from pagelab.check.pool import Task, work_through
from pagelab.check.properties import PROPERTIES
from pagelab.check.scenario import BUNDLED, scenario_named
from pagelab.check.table import violations
from pagelab.errors import BadInput
from pagelab.linux.designs import DESIGNS
from tests.conftest import Pagelab
from tests.constants import constants_kept

#: Of each document of ``check --json``: the contract, and what says what a verdict rests on.
CONTRACT = {
    "design", "scenario", "verdict", "property", "states", "transitions", "depth", "seconds", "memory_bytes",
    "reduction", "counterexample",
}  # fmt: skip
STEP = {"step", "cpu", "thread", "function", "file", "line", "source", "effect"}


@pytest.fixture
def constants() -> Iterator[None]:
    with constants_kept():
        yield


def documents(text: str) -> dict[str, dict[str, Any]]:
    """What ``check --json`` printed of one scenario, by property."""
    return {one["property"]: one for one in json.loads(text)}


def test_one_scenario_as_json(run_pagelab: Pagelab) -> None:
    done = run_pagelab("check", "5.9-rc5", "--scenario", "offline-free", "--json")
    assert done.returncode == 1
    found = documents(done.stdout)
    assert list(found) == [one.name for one in PROPERTIES]
    assert all(set(one) >= CONTRACT for one in found.values())
    assert {name for name, one in found.items() if one["verdict"] != "holds"} == {"P5", "stray"}
    stray = found["stray"]
    assert (stray["verdict"], stray["design"], stray["scenario"]) == ("violated", "5.9-rc5", "offline-free")
    assert stray["states"] > 1000
    assert stray["label"]["bounded"].startswith("2 threads on 2 CPUs, 4 pages in 2 pageblocks, batch 1, high 2")
    steps = stray["counterexample"]["steps"]
    assert all(set(step) == STEP | {"index", "choice"} for step in steps)
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert {step["thread"] for step in steps} >= {"offliner", "freer"}
    ends = found["P5"]
    assert ends["label"]["fairness"].startswith("fifo-locks: ")
    assert ends["fairness_needed"] is None
    repeating = ends["counterexample"]["steps"][ends["counterexample"]["repeats_from"] :]
    assert {step["thread"] for step in repeating} == {"offliner"}


def test_one_scenario_in_words(run_pagelab: Pagelab) -> None:
    done = run_pagelab("check", "6.1", "--scenario", "offline-free")
    assert done.returncode == 0
    assert "violated" not in done.stdout
    for words in ("2 threads on 2 CPUs", "sequentially consistent", "no stray pages on pcplists", "Fairness: none"):
        assert words in done.stdout


def test_a_limit_is_inconclusive(run_pagelab: Pagelab) -> None:
    done = run_pagelab(
        "check", "6.1", "--scenario", "offline-free", "--property", "stray", "--max-states", "100", "--json"
    )
    assert done.returncode == 4
    assert documents(done.stdout)["stray"]["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["5.9-rc", "--scenario", "offline-free"], "there is no design '5.9-rc'"),
        (["5.9-rc"], "did you mean 5.9-rc5?"),
        (["5.9-rc5", "--scenario", "offline-fre"], "did you mean offline-free?"),
        (["5.9-rc5", "--scenario", "nowhere.toml"], "nowhere.toml: there is no such file"),
        (["5.9-rc5", "--property", "strayed"], "did you mean stray?"),
        (["6.1", "--max-states", "0"], "--max-states 0: the initial state alone is one"),
        (["6.1", "--max-memory", "1K"], "--max-memory 1K: the initial state and what finds it again take "),
        (["6.1", "--max-memory", "much"], "--max-memory much: this is no amount of memory"),
        (["6.1", "--set", "A=1"], "--set sets a parameter of a model in a file"),
    ],
)
def test_bad_usage_gives_one_sentence(run_pagelab: Pagelab, args: list[str], says: str) -> None:
    done = run_pagelab("check", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_scenario_file_gives_one_sentence(run_pagelab: Pagelab, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(run_pagelab("scenarios", "offline-free").stdout.replace("cpu = 1", "cpu = 7"))
    done = run_pagelab("check", "6.1", "--scenario", path)
    assert done.returncode == 2
    assert f"{path}: thread 'freer' is on CPU 7 of 2" in done.stderr


def test_a_scenario_that_is_not_for_a_design(run_pagelab: Pagelab, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = run_pagelab("scenarios", "offline-free").stdout
    path.write_text(text + '[designs]\nneeds = ["pcp_spinlock"]\nreason = "it is about pcp->lock"\n')
    done = run_pagelab("check", "5.11", "--scenario", path)
    assert done.returncode == 2
    assert "offline-free is not for 5.11: it is about pcp->lock" in done.stderr


# ---- tables


@pytest.mark.usefixtures("constants")
def test_tasks_come_out_in_their_order_with_their_counterexamples() -> None:
    names = ("P1", "stray")
    tasks = [
        Task(design, scenario_named(name), names, How(), tell=True)
        for design, name in (("6.1", "online-free"), ("5.10", "offline-free"), ("6.1", "offline-free"))
    ]
    counts: list[int] = []
    done = list(work_through(tasks, counts.append))
    assert [one.task.design for one in done] == ["6.1", "5.10", "6.1"]
    assert counts == [1, 2, 3]
    assert [one.judgement.worst for one in done] == ["holds", "violated", "holds"]
    assert list(done[1].told) == ["stray"]
    said = violations(done)
    assert len(said) == 2
    assert "pagelab check 5.10 --scenario offline-free --property stray" in said[1]


def test_one_scenario_under_all_designs(run_pagelab: Pagelab) -> None:
    done = run_pagelab("check", "--scenario", "offline-free", "--property", "stray", "--property", "P6")
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("offline-free ")]
    assert len(rows) == len(DESIGNS)
    assert {row[1] for row in rows} == {"✗", "✓"}
    assert {row[2] for row in rows} == {"–", "✓"}
    assert all(int(row[3].replace(",", "")) > 1000 for row in rows)
    assert "pagelab check 5.9-rc5 --scenario offline-free --property stray" in done.stdout
    assert "pagelab check 6.1 " not in done.stdout


def test_ctrl_c_prints_what_is_done() -> None:
    # Whoever runs the tests in the background has SIGINT ignored.
    program = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('pagelab', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", program, "check", "5.9-rc5", "--property", "stray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("offline-free "):
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
        assert process.wait(30) == 4
    assert "interrupted: " in rest
    assert "pagelab check 5.9-rc5 --scenario offline-free --property stray" in rest


# ---- scenarios


def test_scenarios(run_pagelab: Pagelab) -> None:
    lines = run_pagelab("scenarios").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(BUNDLED)
    rows = json.loads(run_pagelab("scenarios", "--json").stdout)
    assert [row["name"] for row in rows] == list(BUNDLED)
    assert rows[0]["threads"][1]["run"] == "free_page"
    bad = run_pagelab("scenarios", "offline-fre")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "did you mean offline-free?" in bad.stderr


def test_the_first_scenario_is_that_of_the_mail() -> None:
    first = scenario_named(BUNDLED[0])
    assert [thread.run for thread in first.threads] == ["offline_pages", "free_page"]
    assert all(applies(first, design) for design in DESIGNS)
    with pytest.raises(BadInput):
        applies(first, "5.99")
