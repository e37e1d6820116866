# SPDX-License-Identifier: GPL-2.0-or-later
"""From a counterexample to a plan: a schedule to the same violation whose changes of CPU a real kernel can be made to
take.

The counterexample changes the CPU between any two loads or stores.  A kernel can be held where it enters or leaves a
function that has an address.  So its switches are not mapped, but looked for again in the model: over states in which
each CPU stands at such a place (:mod:`pagelab.steer.search`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pagelab.check.counterexample import Step, Teller
from pagelab.check.kernel_model import kernel_model
from pagelab.check.liveness_verdict import plain
from pagelab.check.properties import Property, property_named
from pagelab.check.scenario import Scenario
from pagelab.check.search import Schedule
from pagelab.check.verdicts import build
from pagelab.lang.declare import attached
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import BLOCKED, ENDED
from pagelab.linux.designs import design_named
from pagelab.steer.code import ALIASES, LOCKS, Code
from pagelab.steer.gates import GATES
from pagelab.steer.plan import Actor, At, Move, Plan
from pagelab.steer.points import Points
from pagelab.steer.refusal import refusals
from pagelab.steer.search import Leg, search
from pagelab.steer.seen import Looker
from pagelab.steer.stops import stop_of
from pagelab.steer.walk import IDLE, Broken, Held, Run, Walker

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.model_file import Model

#: A breakpoint there would be hit thousands of times.
_CALLED_OFTEN = frozenset([*LOCKS, *ALIASES["get_pageblock_migratetype"]])
#: Seconds for all searches of a plan.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be forced: a violation of a property in a scenario under a design.

    ``schedule``: of the checker, if there is one: it says what a kernel cannot be made to do.
    """

    design: str
    scenario: Scenario
    property: Property
    schedule: Schedule | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What came of planning.

    :param plan: None if there is none.
    :param schedule: of the model, what the plan is made of; None likewise.
    :param why_not: in words, "" if there is a plan; ``reasons``: what keeps the kernel from the checker's schedule.
    :param gave_up: whether it is open if there is a plan, because too much had to be tried.
    :param seen_at_hold: whether the violation is in a state in which all CPUs are held.
    :param left_out: threads of the scenario that the plan does without.
    :param steps: of the schedule, in words.
    """

    plan: Plan | None
    schedule: Schedule | None
    why_not: str = ""
    reasons: tuple[str, ...] = ()
    gave_up: bool = False
    seen_at_hold: bool = True
    left_out: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


def model_of(case: Case) -> Model:
    """The case as a model with the one property; it says what the planner and the checker run."""
    model = kernel_model(case.design, case.scenario, [case.property])
    return plain(model) if case.property.kind == "liveness" else model


def plan_for(case: Case, kernel: str, code: Code, told: Callable[[str], None] = lambda words: None) -> Planned:
    """A plan that forces the violation on a kernel, or why there is none.

    :param told: called with what is being done.
    """
    design_named(case.design)
    model = model_of(case)
    with attached(model.probes):
        system, initial = build(model)
        return _Planner(case, kernel, code, system, initial, told).plan()


class _Planner:
    def __init__(
        self,
        case: Case,
        kernel: str,
        code: Code,
        system: System,
        initial: npt.NDArray[np.uint8],
        told: Callable[[str], None],
    ) -> None:
        self.case, self.kernel, self.code, self.system, self.initial = case, kernel, code, system, initial
        self.told = told
        self.points = Points(system, code)
        self.invariant = 0 if case.property.holds is not None else -1

    def plan(self) -> Planned:
        """Try with few actors first: what does not matter is not played."""
        gave_up = False
        for seen_at_hold, wrong in self._goals():
            for actors in self._some_actors():
                self.told(f"looking for a schedule of {', '.join(self.name(one) for one in actors)}")
                walker, start, prologue = self._start(actors)
                found = search(walker, start, partial(wrong, walker), PATIENCE / 4)
                gave_up = gave_up or found.gave_up
                if found.legs is not None:
                    return self._planned(actors, walker, start, prologue, found.legs, seen_at_hold)
        schedule = self.case.schedule
        reasons = refusals(self.system, self.points, self.initial, schedule) if schedule is not None else []
        return Planned(None, None, _why_not(gave_up), tuple(reasons), gave_up)

    def name(self, thread: int) -> str:
        return self.system.threads[thread].name

    def _goals(self) -> Iterator[tuple[bool, Callable[[Walker, Run], bool]]]:
        kind = self.case.property.kind
        if kind == "liveness":
            memory: dict[bytes, bool] = {}
            yield True, lambda walker, run: not memory.setdefault(run.then.state, walker.run_on(run.then.state))
            return
        if kind == "fault":
            yield False, lambda walker, run: run.broken is Broken.FAULT
            return
        yield True, lambda walker, run: run.broken is Broken.SEEN
        yield False, lambda walker, run: run.broken is not None

    def _some_actors(self) -> Iterator[tuple[int, ...]]:
        """Sets of the scenario's threads that can be played, small ones first; all, if it is about their end."""
        threads = [number for number, one in enumerate(self.system.threads) if not one.daemon and not one.interrupt]
        least = len(threads) if self.case.property.kind == "liveness" else 1
        for size in range(least, len(threads) + 1):
            yield from combinations(threads, size)

    def _start(self, actors: Sequence[int]) -> tuple[Walker, Held, list[int]]:
        """All actors at their gates."""
        walker = Walker(self.system, self.points, self.invariant, actors)
        walker.begin(self.initial.tobytes())
        current = [IDLE] * walker.cpus
        prologue: list[int] = []
        for actor in actors:
            cpu = self.system.threads[actor].cpu
            if current[cpu] == IDLE:
                before = len(prologue)
                prologue += self._to_gate(walker, actor)
                if len(prologue) > before:
                    current[cpu] = actor
        return walker, Held(walker.state, tuple(current)), prologue

    def _to_gate(self, walker: Walker, actor: int) -> list[int]:
        """Steps of an actor until it stands before its gate; none if it stands there already, or is kept out."""
        gate = GATES[self.case.scenario.threads[actor].run]
        before = walker.state
        steps: list[int] = []
        while True:
            names = {frame[0] for frame in walker.node(actor).frames}
            if names & set(gate) or (walker.node(actor).frames and not _comes_by(self.system, actor, gate)):
                return steps
            if walker.step(actor) in (BLOCKED, ENDED):
                walker.load(before)
                return []
            steps.append(actor)

    # ---- the plan

    def _planned(
        self,
        actors: Sequence[int],
        walker: Walker,
        start: Held,
        prologue: list[int],
        legs: tuple[Leg, ...],
        seen_at_hold: bool,
    ) -> Planned:
        scenario = self.case.scenario
        looker = Looker(self.system, scenario, _array(start.state))
        steps, moves = list(prologue), []
        held = start
        for leg in self._cut(start, legs):
            first = len(steps) + 1
            until = stop_of(self.system, self.points, scenario, held, leg)
            steps += [thread for run in leg.runs for thread in run.steps]
            held = leg.runs[-1].then
            expected = looker.seen(_array(held.state))
            moves.append(Move(self.name(leg.thread), leg.cpu, until, first, len(steps), expected))
        plan = Plan(
            kernel=self.kernel,
            design=self.case.design,
            scenario=scenario.name,
            property=self.case.property.name,
            cpus=scenario.cpus,
            pageblock_order=scenario.zone.pageblock_order,
            batch=scenario.zone.batch,
            actors=tuple(
                Actor(one.name, one.cpu, one.run, one.parameters)
                for one in (scenario.threads[number] for number in actors)
            ),
            initial=looker.seen(_array(start.state)),
            moves=tuple(moves),
            high=scenario.zone.high,
        )
        left_out = tuple(one.name for number, one in enumerate(scenario.threads) if number not in actors)
        schedule = Schedule(tuple((thread, 0) for thread in steps))
        told = Teller(self.system).tell(self.initial, schedule)
        return Planned(plan, schedule, seen_at_hold=seen_at_hold, left_out=left_out, steps=tuple(told))

    def _cut(self, held: Held, legs: tuple[Leg, ...]) -> Iterator[Leg]:
        """The legs; one that ends at a call of what is called all the time is held at its caller's entry first."""
        for leg in legs:
            until = stop_of(self.system, self.points, self.case.scenario, held, leg)
            held = leg.runs[-1].then
            at = self._entry_of(until.caller, leg) if until is not None and until.function in _CALLED_OFTEN else 0
            if at:
                yield Leg(leg.cpu, leg.thread, leg.runs[:at])
            yield Leg(leg.cpu, leg.thread, leg.runs[at:])

    def _entry_of(self, function: str, leg: Leg) -> int:
        """After how many runs of a leg a function is entered, the last time; 0 if it never is."""
        found = 0
        for number, run in enumerate(leg.runs[:-1], 1):
            points = self.points.between(*run.last) if run.last is not None else ()
            if any(point.function == function and point.at is At.ENTRY for point in points):
                found = number
        return found


def _why_not(gave_up: bool) -> str:
    if gave_up:
        return "no schedule that can be forced was found in the time that there is"
    return "no schedule violates it whose changes of CPU are all where this kernel enters or leaves a function"


def _comes_by(system: System, thread: int, gate: Sequence[str]) -> bool:
    """Whether a thread ever enters one of these functions of the model."""
    return any(frame[0] in gate for node in system.programs[thread].nodes for frame in node.frames)


def _array(state: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytearray(state), np.uint8)


def case_named(design: str, scenario: Scenario, name: str, schedule: Schedule | None = None) -> Case:
    """A case by its names."""
    return Case(design, scenario, property_named(name), schedule)
