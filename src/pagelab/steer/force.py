# SPDX-License-Identifier: GPL-2.0-or-later
"""Counterexample in, verdict out: plan, steer a guest, read what it recorded, judge; as often as is wanted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.errors import BadInput, Inconclusive
from pagelab.steer.evidence import Event, evidence_of, lines
from pagelab.steer.verdict import Outcome, Verdict, judge, seen_words, stop_words

if TYPE_CHECKING:
    from pagelab.steer.plan import Plan, Steered
    from pagelab.steer.planner import Case, Planned

#: Seconds for a guest, and for a CPU to come to its place: machines may be loaded.
_TIMEOUT, _PATIENCE = 300.0, 20.0
#: Called with the name of a step that begins, or with its seconds when it is over.
OnStep = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One guest that was steered.  ``steered`` is None if it could not even begin."""

    steered: Steered | None
    verdict: Verdict
    events: tuple[Event, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Forced:
    """What came of one counterexample on one kernel."""

    case: Case
    kernel: str
    planned: Planned
    runs: tuple[Run, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """That of the runs: reproduced if one of them did, else of the first."""
        if not self.runs and self.planned.plan is not None:
            return Verdict(Outcome.PLANNED, "")
        if not self.runs:
            outcome = Outcome.OPEN if self.planned.gave_up else Outcome.CANNOT
            return Verdict(outcome, "; ".join([self.planned.why_not, *self.planned.reasons[:1]]))
        return self.told.verdict

    @property
    def told(self) -> Run:
        """The run that is told: the first that reproduced it, or the first."""
        return next((run for run in self.runs if run.verdict.outcome is Outcome.REPRODUCED), self.runs[0])

    @property
    def times(self) -> int:
        """How many runs reproduced it."""
        return sum(run.verdict.outcome is Outcome.REPRODUCED for run in self.runs)


def steer_once(plan: Plan, directory: Path, on_step: OnStep | None = None) -> Run:
    """Steer one guest; the capture is left in ``directory``.

    :raises PagelabError: if it does not even boot.
    """
    from pagelab.guest.steered import steer

    begin = time.monotonic()
    try:
        steered = steer(plan, directory, on_step, _TIMEOUT, patience=_PATIENCE)
    except Inconclusive as error:  # an actor that cannot be played
        return Run(None, Verdict(Outcome.CANNOT, error.message), (), time.monotonic() - begin)
    try:
        events = tuple(evidence_of(directory, steered.page_frames))
    except BadInput:  # a guest that gave up leaves no trace
        events = ()
    return Run(steered, judge(plan, steered, events), events, time.monotonic() - begin)


def force(
    case: Case,
    kernel: str,
    planned: Planned,
    times: int = 1,
    output: Path | None = None,
    on_step: OnStep | None = None,
    after: Callable[[int, Run], None] = lambda number, run: None,
) -> Forced:
    """Steer as often as is wanted.

    :param output: where captures go, one directory a run if there are several; None: nowhere.
    :param after: called with the number of each run and what came of it.
    """
    begin = time.monotonic()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="pagelab-steer-") as scratch:
        for number in range(1, times + 1) if planned.plan is not None else ():
            assert planned.plan is not None
            at = Path(scratch) / str(number) if output is None else output / str(number) if times > 1 else output
            at.parent.mkdir(parents=True, exist_ok=True)
            runs.append(steer_once(planned.plan, at, on_step))
            after(number, runs[-1])
    return Forced(case, kernel, planned, tuple(runs), time.monotonic() - begin)


# ---- as JSON


def document(forced: Forced) -> dict[str, Any]:
    """What ``pagelab steer --json`` prints of a counterexample; docs/reference/steering.md says what it means."""
    run = forced.told if forced.runs else None
    steered = run.steered if run is not None else None
    plan = forced.planned.plan
    return {
        "design": forced.case.design,
        "scenario": forced.case.scenario.name,
        "property": forced.case.property.name,
        "words": forced.case.property.words,
        "kernel": forced.kernel,
        "release": steered.release if steered is not None else None,
        "outcome": forced.verdict.outcome.value,
        "reason": forced.verdict.reason,
        "reasons": list(forced.planned.reasons),
        "times": len(forced.runs),
        "reproduced": forced.times,
        "left_out": list(forced.planned.left_out),
        "moves": moves_of(plan, run) if plan is not None else [],
        "evidence": lines(run.events) if run is not None else [],
        "ended": steered.ended if steered is not None else None,
        "seconds": round(forced.seconds, 2),
    }


def moves_of(plan: Plan, run: Run | None) -> list[dict[str, Any]]:
    """The moves with what was expected and what was seen."""
    arrivals = {arrival.move: arrival for arrival in run.steered.arrivals} if run is not None and run.steered else {}
    found: list[dict[str, Any]] = []
    for number, move in enumerate(plan.moves):
        one: dict[str, Any] = {
            "thread": move.thread,
            "cpu": move.cpu,
            "until": stop_words(move),
            "steps": [move.first, move.last],
            "expected": seen_words(move.expected),
        }
        arrival = arrivals.get(number)
        different = run.verdict.differences if run is not None else ()
        one |= {
            "reached": arrival.reached if arrival is not None else None,
            "seen": seen_words(arrival.seen) if arrival is not None else [],
            "differences": list(different[number]) if number < len(different) else [],
            "words": arrival.words if arrival is not None else "",
            "seconds": round(arrival.seconds, 3) if arrival is not None else None,
        }
        found.append(one)
    return found


def status_of(outcomes: Mapping[Outcome, int]) -> int:
    """The exit status: 1 if anything was reproduced, else 4 if something stayed open or cannot be forced, else 0."""
    if outcomes.get(Outcome.REPRODUCED):
        return 1
    undecided = outcomes.get(Outcome.CANNOT, 0) + outcomes.get(Outcome.OPEN, 0)
    return Inconclusive.status if undecided else 0
