# SPDX-License-Identifier: GPL-2.0-or-later
"""The two machines that a replay runs on: native code, compiled once for many small captures, and CPython."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pagelab.capture.directory import read_capture
from pagelab.lang.declare import attached, table_of
from pagelab.lang.native import Program
from pagelab.linux.designs import design_named
from pagelab.linux.features import features
from pagelab.linux.state import machine, other_zone
from pagelab.replay import link, run, steps, tables
from pagelab.replay.result import REASONS, SCORED, Result
from pagelab.replay.zone import prepare_zone

Scores = dict[str, dict[str, int]]


def keep_programs(patch: pytest.MonkeyPatch) -> None:
    """Make ``replay_capture`` read and parse the model once for each sort of capture, not once for each capture."""
    programs: dict[tuple[Any, ...], Program] = {}

    def program(entries: Any, state: Any) -> Program:
        constants = {**vars(machine), **vars(features), **vars(tables.capture), "nr_events": 0}
        key = tuple(sorted(constants.items()))
        if key not in programs:
            programs[key] = Program(entries, state)
        programs[key].reset()
        return programs[key]

    patch.setattr(run, "Program", program)


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """``steps`` as it would be if one place in its source, or in that of a module it uses, read otherwise."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
    changed = ModuleType(module.__name__)
    exec(compile(source.replace(old, new), f"<mutant of {module.__name__}>", "exec"), vars(changed))
    if module is steps:
        return changed
    made = ModuleType(steps.__name__)
    exec(compile(inspect.getsource(steps), "<steps>", "exec"), vars(made))
    probes = {probe.__name__ for probe in run.PROBES.values()}
    for name in (set(vars(made)) | probes) & set(vars(changed)):
        if inspect.isfunction(vars(changed)[name]) and vars(changed)[name].__module__ == module.__name__:
            setattr(made, name, vars(changed)[name])
    return made


def in_cpython(
    path: Path, count: int | None = None, *, steps: ModuleType = steps, design: str = "6.1"
) -> tuple[Scores, dict[str, int], int]:
    """Replay the first ``count`` events of a capture as plain Python, with ``steps`` or a mutant of it.

    :returns: scores by name, unknown events by reason, and the number of the first divergence in the trace or -1.
    :raises AssertionError: for a fault of the model.
    """
    capture = read_capture(path)
    design_named(design).switch_on()
    zone_events = prepare_zone(capture, max_order=machine.max_order, has_cma=capture.config.get("CONFIG_CMA") == "y")
    run.configure(capture, zone_events)
    for one in run.STATE:
        table_of(one).reset()
    tables.event.bind({name: array.tolist() for name, array in zone_events.columns.items()})
    for row, (managed, high, user) in zip(other_zone.rows, zone_events.others, strict=False):
        row.managed_pages, row.watermark_high, row.holds_user_pages = managed, high, user
    if not zone_events.start_known:
        tables.verdict.reason = tables.REASON_START
    total = len(zone_events)
    with attached({point: getattr(steps, probe.__name__, probe) for point, probe in run.PROBES.items()}):
        link.link_events(total)
        steps.replay(0, total if count is None else min(count, total))
    scores = {
        name: {"total": row.total, "exact": row.exact, "unknown": row.unknown}
        for name, row in zip(SCORED, tables.score.rows, strict=True)
    }
    reasons = {text: tables.reason[number].count for number, text in REASONS.items() if tables.reason[number].count}
    first = int(zone_events.first[tables.verdict.event]) if tables.verdict.event >= 0 else -1
    return scores, reasons, first


def natively(path: Path) -> Result:
    """``replay_capture()``, and the check that nothing was counted twice or left out."""
    result = run.replay_capture(path)
    for score in result.scores.values():
        assert score.total == score.exact + score.missed + score.unknown
        assert score.missed >= 0
    return result


def scores_of(result: Result) -> Scores:
    """In the form of :func:`in_cpython`."""
    return {name: asdict(score) for name, score in result.scores.items()}
