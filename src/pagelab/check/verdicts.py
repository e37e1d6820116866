# SPDX-License-Identifier: GPL-2.0-or-later
"""Judge a scenario under a design: all properties in one exploration, and what their verdicts rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pagelab.check.explore import DEFAULT, How, explore
from pagelab.check.kernel_model import kernel_model
from pagelab.check.properties import PROPERTIES, Property
from pagelab.check.search import Outcome, Schedule, Violation
from pagelab.errors import BadInput
from pagelab.lang.declare import attached
from pagelab.lang.stepped_text import FAULTED
from pagelab.lang.store_buffer import WORDS as MEMORY_WORDS
from pagelab.linux.features import features

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.check.counterexample import Told
    from pagelab.check.model_file import Model
    from pagelab.check.scenario import Scenario
    from pagelab.lang.stepped import System


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a property.

    ``verdict``: "holds", "violated" or "inconclusive"; ``said``: what was violated, in words.  ``claimed``: whether the
    design says anything that the property is about; if not, it holds because there is nothing to hold.

    Of a property of runs: ``fairness``, what was assumed, in words; ``fairness_needed``, the weakest under which it
    holds, "" if none or unknown; ``repeats_from``, how many steps of the schedule come before those that repeat for
    ever, -1 if nothing goes on; ``outcome``, the numbers of the exploration of its own.
    """

    property: str
    words: str
    verdict: str
    claimed: bool = True
    said: str = ""
    schedule: Schedule | None = None
    fairness: str = ""
    fairness_needed: str = ""
    repeats_from: int = -1
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts of a scenario under a design, from one exploration."""

    design: str
    scenario: str
    label: dict[str, str]
    verdicts: tuple[Verdict, ...]
    outcome: Outcome

    @property
    def worst(self) -> str:
        """ "violated" if anything is, else "inconclusive" if anything is, else "holds"."""
        found = {one.verdict for one in self.verdicts}
        return next((v for v in ("violated", "inconclusive") if v in found), "holds")

    def label_of(self, verdict: Verdict) -> dict[str, str]:
        """What a verdict rests on, in words."""
        if not verdict.fairness:
            return self.label
        outcome = verdict.outcome or self.outcome
        return self.label | {"fairness": verdict.fairness, "reduction": outcome.reduction, "approximation": "none"}

    def document(self, verdict: Verdict, counterexample: dict[str, Any] | None) -> dict[str, Any]:
        """One element of the list that ``check --json`` prints."""
        outcome = verdict.outcome or self.outcome
        return {
            "design": self.design,
            "scenario": self.scenario,
            "verdict": verdict.verdict,
            "property": verdict.property,
            "words": verdict.words,
            "claimed": verdict.claimed,
            "violation": verdict.said or None,
            "states": outcome.states,
            "transitions": outcome.transitions,
            "depth": outcome.depth,
            "seconds": round(outcome.seconds, 6),
            "memory_bytes": outcome.memory_bytes,
            "reduction": outcome.reduction,
            "label": self.label_of(verdict),
            "counterexample": counterexample,
        } | ({"fairness_needed": verdict.fairness_needed or None} if verdict.fairness else {})


def label_of(scenario: Scenario, outcome: Outcome, memory: str, fairness: str) -> dict[str, str]:
    """What a verdict rests on, in words."""
    return {
        "bounded": f"{scenario.bounds()}; each thread stays on its CPU",
        "granularity": "each load, store and lock operation of shared state is a step",
        "memory": memory,
        "fairness": f"none needed for properties of states; {fairness} for P5",
        "reduction": outcome.reduction,
        "approximation": outcome.odds or "none",
    }


def build(model: Model) -> tuple[System, npt.NDArray[uint8]]:
    """The model compiled, and its initial state.  Its probes have to be attached.

    :raises BadInput: if the initial state cannot be made.
    """
    try:
        system = model.system()
        return system, system.initial(model.setup)
    except (ValueError, AssertionError) as error:
        raise BadInput(f"{model.scenario or model.name}: the initial state cannot be made: {error}") from None


def judge(
    design: str,
    scenario: Scenario,
    properties: Sequence[Property] = PROPERTIES,
    how: How = DEFAULT,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> Judgement:
    """Explore a scenario under a design once, for all properties of states, and once more for those of runs."""
    model = kernel_model(design, scenario, properties, how.memory)
    verdicts, outcome = {}, None
    if any(one.kind != "liveness" for one in properties):
        with attached(model.probes):
            system, initial = build(model)
            outcome = explore(system, initial, how, go_on=True, progress=progress)
        verdicts = {one.name: _verdict(one, model, outcome) for one in properties if one.kind != "liveness"}
    for one in properties:
        if one.kind == "liveness":
            from pagelab.check.liveness_verdict import liveness_verdict

            stopped = outcome is not None and outcome.interrupted
            blank = replace(_blank(one), verdict="inconclusive")
            verdicts[one.name] = blank if stopped else liveness_verdict(blank, model, how, progress)
            outcome = outcome or verdicts[one.name].outcome
    assert outcome is not None, "there is a property"
    some = tuple(verdicts[one.name] for one in properties)
    label = label_of(scenario, outcome, MEMORY_WORDS[how.memory], how.fairness)
    return Judgement(design, scenario.name, label, some, outcome)


def _blank(one: Property) -> Verdict:
    claimed = not one.claimed_with or any(getattr(features, name) for name in one.claimed_with)
    return Verdict(one.name, one.words, "", claimed)


def _verdict(one: Property, model: Model, outcome: Outcome) -> Verdict:
    blank = _blank(one)
    for violation in outcome.violations:
        if violation.kind == one.kind and (one.kind != "invariant" or _is_about(violation, one, model)):
            said = one.words if one.kind == "invariant" else violation.words
            return replace(blank, verdict="violated", said=said, schedule=violation.schedule)
    return replace(blank, verdict="holds" if outcome.complete else "inconclusive")


def _is_about(violation: Violation, one: Property, model: Model) -> bool:
    return model.invariants[violation.which] is one.holds


def counterexample(judgement: Judgement, scenario: Scenario, one: Property, how: How) -> Told:
    """The schedule to a violation that people believe most easily, replayed in CPython."""
    from pagelab.check.counterexample import tell
    from pagelab.check.fewest import fewest_preemptions

    (found,) = (verdict for verdict in judgement.verdicts if verdict.property == one.name)
    assert found.schedule is not None
    model = kernel_model(judgement.design, scenario, [one], how.memory)
    if one.kind == "liveness":
        from pagelab.check.liveness_verdict import tell_liveness

        return tell_liveness(model, found)
    with attached(model.probes):
        system, initial = build(model)
        schedule = fewest_preemptions(system, initial, judgement.outcome.states, how.max_memory)
        if schedule is None or ends_in_fault(system, initial, schedule) != (one.kind == "fault"):
            schedule = found.schedule
        return tell(model, system, initial, judgement.outcome, schedule)


def ends_in_fault(system: System, initial: npt.NDArray[uint8], schedule: Schedule) -> bool:
    """Whether the last step of a schedule faults."""
    state = initial.copy()
    return max((system.step(state, thread, choice) for thread, choice in schedule.steps), default=0) >= FAULTED
