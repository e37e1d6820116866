# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance table: nothing is left out of it, nothing is rounded up."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagelab.guest.record import Plan
from tools import conformance
from tools.conformance import CPUS, EVERY_WORKLOAD, KERNELS, OFFLINE, ZONES, Row, main, percent, ranges, table

ROW = Row("6.1", "movable", "churn", 2, 0)


def scored(**values: Any) -> dict[str, Any]:
    return {
        "kernel": "6.1",
        "zone": "movable",
        "workload": "churn",
        "cpus": 2,
        "offline": 0,
        "seed": 1,
        "release": "6.1.0-1",
        "status": 0,
        "total": 100_000,
        "exact": 100_000,
        "unknown": 0,
        "missed": 0,
        "reasons": {},
        "fault": None,
        "rate": 40_000_000,
        "trouble": "",
    } | values


def test_shares_are_rounded_down() -> None:
    assert percent(99_999, 100_000) == "99.99 %"
    assert percent(100_000, 100_000) == "100.00 %"
    assert percent(0, 0) == "–"


def test_seeds_that_follow_each_other_are_a_range() -> None:
    assert ranges([7, 3, 2, 1, 7, 10, 9]) == "1–3, 7, 9–10"
    assert ranges([]) == ""


def test_captures_of_a_row_are_added_and_those_that_failed_are_told() -> None:
    text = table(
        [
            scored(),
            scored(seed=2, exact=90_000, unknown=9_999, missed=1, reasons={"lost": 9_999}),
            {**{k: v for k, v in scored(seed=3).items() if k not in ("total", "exact")}, "trouble": "record: no QEMU"},
        ]
    )
    assert "| 6.1 | movable | churn | 2 | 0 | 2 of 3 | 1–2 | 200,000 | 95.00 % | 4.99 % | 1 | 40 |" in text
    assert "| 6.1 | movable | 9,999 | lost |" in text
    assert "- 6.1, 1 times: record: no QEMU" in text


@pytest.mark.parametrize(("left_out", "again"), [((0,), 0), ((3, 0), 1), ((3, 3, 3), 2)])
def test_a_capture_without_some_hits_of_probes_is_made_again(
    left_out: tuple[int, ...], again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = iter(left_out)

    def record(plan: Plan, output: Path, *, force: bool) -> SimpleNamespace:
        output.mkdir(exist_ok=force)
        missed = f"one = {n}" if (n := next(hits)) else ""
        (output / "capture.toml").write_text(f"[trace]\nprobes_missed = {{ {missed} }}\n", "utf-8")
        return SimpleNamespace(release="6.1.0-1")

    monkeypatch.setattr(conformance, "record", record)
    monkeypatch.setattr(conformance, "judged", lambda *args: scored())
    found = conformance.score(ROW, 1, 3000, None)
    assert found["again"] == again
    assert next(hits, None) is None
    assert (f"left out hits of probes: {again}." in table([found])) == (again > 0)


def test_rows_that_no_kernel_can_have_are_left_out() -> None:
    assert Row("6.1", "movable", "churn+unplug", 2, 0).possible
    assert not Row("6.1", "movable", "churn+unplug", 2, 3).possible
    assert Row("6.1", "kernel", "files+gigantic", 2, 3).possible
    assert not Row("6.1", "movable", "files+gigantic", 2, 0).possible
    assert Row("7.2", "movable", "files+gigantic", 2, 0).possible
    assert Row("6.1", "movable", "churn+unplug", 2, 0).plan(1, 3000).virtio_mem_mib == 100


def test_every_row_is_a_plan_that_can_be() -> None:
    for row in itertools.product(KERNELS, ZONES, EVERY_WORKLOAD, CPUS, OFFLINE):
        if Row(*row).possible:
            Row(*row).plan(7, 3000).check()
    assert "--seed 7" in Row("6.1", "movable", "stress-ng", 2, 0).plan(7, 3000).command
    assert Row("6.1", "movable", "files+unplug", 2, 0).plan(7, 3000).workload == "files"


@pytest.mark.parametrize("workload", ["stress-ng", "stress-ng+swap", "stress-ng+thp", "churn"])
def test_a_row_is_found_again_in_its_capture(tmp_path: Path, workload: str) -> None:
    row = Row("6.1", "movable", workload, 2, 0)
    plan = row.plan(4, 3000)
    text = f'[workload]\nname = "{plan.workload}"\ncommand = "{plan.command}"\nseed = 4\n[kernel]\nname = "6.1"\n'
    text += f'release = "6.1.0-1"\n[guest]\nzone = "movable"\ncpus = 2\ntransparent_hugepage = "{plan.thp}"\n'
    (tmp_path / "capture.toml").write_text(text)
    assert conformance.row_of(tmp_path) == (row, 4, "6.1.0-1")


def test_a_capture_tells_which_row_it_is(tmp_path: Path) -> None:
    text = '[workload]\nname = "churn"\nseed = 4\n[kernel]\nname = "6.1"\nrelease = "6.1.0-1"\n'
    text += '[guest]\nzone = "movable"\ncpus = 2\n[[contig]]\nof = "virtio_mem"\n'
    (tmp_path / "capture.toml").write_text(text)
    assert conformance.row_of(tmp_path) == (Row("6.1", "movable", "churn+unplug", 2, 0), 4, "6.1.0-1")


def test_what_was_scored_is_not_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = tmp_path / "calls"  # a file: another process does the work

    def called() -> list[str]:
        return calls.read_text("ascii").splitlines()

    def record(plan: Plan, output: Path, *, force: bool) -> SimpleNamespace:
        output.mkdir(exist_ok=force)
        (output / "capture.toml").write_text("[trace]\nprobes_missed = {}\n", "utf-8")
        with calls.open("a", encoding="ascii") as file:
            file.write(f"record {plan.seed}\n")
        return SimpleNamespace(release="6.1.0-1")

    def replay(capture: Path) -> SimpleNamespace:
        with calls.open("a", encoding="ascii") as file:
            file.write("replay\n")
        some = {"total": 10, "exact": 10, "unknown": 0}
        document = {"design": "6.1", "events": 70, "unknown_reasons": {}, "fault": None, "events_per_second": 10**7}
        return SimpleNamespace(status=0, to_json=lambda: document | dict.fromkeys(conformance.SCORES, some))

    monkeypatch.setattr(conformance, "record", record)
    monkeypatch.setattr(conformance, "replay_capture", replay)
    monkeypatch.setattr(conformance, "KEPT", tmp_path / "kept")
    page = tmp_path / "page.md"
    page.write_text("# Words\n\n" + conformance.MARK + "old\n")
    options = ["--kernel", "6.1", "--zone", "movable", "--workload", "churn", "--cpus", "2", "--offline", "0"]
    for _ in range(2):
        assert main([*options, "--page", str(page)]) == 0
    assert called() == ["record 1", "replay"]
    assert page.read_text().startswith("# Words\n")
    assert "| 6.1 | movable | churn | 2 | 0 | 1 | 1 | 70 | 100.00 % | 0.00 % | 0 | 10 |" in page.read_text()
    assert "old" not in page.read_text()
    for kernel in ("6.1", "6.12"):
        assert main(["--kernel", kernel, "--kept"]) == 0
        assert ("| 6.1 | movable | churn | 2 | 0 | 1 |" in capsys.readouterr().out) == (kernel == "6.1")
    assert main([*options, "--first-seed", "1000"]) == 0
    assert called()[-2] == "record 1000"
    assert main(["--kept"]) == 0
    assert "| 6.1 | movable | churn | 2 | 0 | 2 | 1, 1000 | 140 |" in capsys.readouterr().out
    kept = json.loads((tmp_path / "kept" / f"{ROW.name(1)}.json").read_text())
    assert main([*options, "--page", str(page)]) == 0
    (tmp_path / "kept" / f"{ROW.name(1)}.json").write_text(json.dumps(kept | {"missed": 1}))
    assert main(options) == 1
    assert "| 1 | 10 |" in capsys.readouterr().out
    (tmp_path / "kept" / f"{ROW.name(1)}.json").write_text(json.dumps(kept | {"trouble": "record: no QEMU"}))
    assert main(options) == 0  # it was tried again
