# SPDX-License-Identifier: GPL-2.0-or-later
"""P5, that offlining ends, as one of the verdicts on a scenario; and the run that breaks it, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pagelab.check.liveness import Lasso, LivenessOutcome, check_liveness, confirm_lasso
from pagelab.check.search import Outcome, Schedule
from pagelab.check.verdicts import Verdict, build
from pagelab.lang.declare import attached

if TYPE_CHECKING:
    from pagelab.check.counterexample import Told
    from pagelab.check.explore import How
    from pagelab.check.model_file import Model

#: What each kind of fairness assumes, for people.
WORDS = {
    "none": "none: a thread may be left where it stands for ever",
    "weak": "weak: a thread that lacks nothing but its turn on its CPU gets it",
    "fifo-locks": "fifo-locks: a thread that lacks nothing but its turn gets it, and locks serve who waits in turn",
}


def plain(model: Model) -> Model:
    """The model without properties of states and what they remember: fewer states, the same runs."""
    return replace(model, invariants=[], probes={})


def liveness_verdict(
    blank: Verdict, model: Model, how: How, progress: Callable[[Outcome], None] = lambda outcome: None
) -> Verdict:
    """Whether every thread that is no daemon comes to its end; without reduction, on one core."""
    model = plain(model)
    with attached(model.probes):
        system, initial = build(model)
        found = check_liveness(
            system, initial, how.fairness, max_states=how.max_states, max_memory=how.max_memory, progress=progress
        )
    verdict = replace(
        blank,
        verdict=found.verdict,
        fairness=WORDS[how.fairness],
        fairness_needed=found.fairness_needed,
        outcome=as_outcome(found),
    )
    if found.lasso is None:
        return verdict
    steps = found.lasso.prefix.steps + found.lasso.cycle.steps
    repeats_from = len(found.lasso.prefix.steps) if found.lasso.cycle.steps else -1
    return replace(verdict, said=found.lasso.words, schedule=Schedule(steps), repeats_from=repeats_from)


def as_outcome(found: LivenessOutcome) -> Outcome:
    """The numbers in the shape that other searches give them."""
    return Outcome(
        verdict=found.verdict,
        violation=found.lasso.words if found.lasso else "",
        states=found.states,
        transitions=found.transitions,
        depth=found.depth,
        finished=0,
        seconds=found.seconds,
        memory_bytes=found.memory_bytes,
        schedule=None,
        interrupted=found.interrupted,
        complete=found.complete,
        fairness=found.fairness,
        fairness_needed=found.fairness_needed,
    )


def tell_liveness(model: Model, verdict: Verdict) -> Told:
    """The run that breaks it, followed in CPython, twice round."""
    from pagelab.check.counterexample import Teller, Told

    assert verdict.schedule is not None
    model = plain(model)
    steps = verdict.schedule.steps
    enters = len(steps) if verdict.repeats_from < 0 else verdict.repeats_from
    with attached(model.probes):
        system, initial = build(model)
        lasso = Lasso("", Schedule(steps[:enters]), Schedule(steps[enters:]), (), verdict.said, True)
        confirm_lasso(model, system, lasso)
        told = Teller(system).tell(initial, verdict.schedule)
        return Told(model, system, initial, verdict.schedule, told, None, verdict.repeats_from)
