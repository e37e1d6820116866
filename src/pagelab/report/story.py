# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of a counterexample: which of its steps matter, and one line that tells them.

What matters is found by asking what if, see :mod:`pagelab.report.whatif`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pagelab.report.points import Point, Story
from pagelab.report.waiting import going_round, waiting_story
from pagelab.report.whatif import causes, early, overtaken, seen, wrong_values

if TYPE_CHECKING:
    from pagelab.report.trail import Change, Moved, Trail
    from pagelab.report.words import Words

#: So many decisions are told; the last ones.
MOST = 2


def story(trail: Trail, words: Words, name: str = "") -> Story:
    """Tell a counterexample.

    :param name: of the property that is violated.
    """
    if trail.kind == "deadlock":
        return waiting_story(trail, words)
    points = _Points(trail, words)
    points.collect()
    ordered = tuple(sorted(points.found.values(), key=lambda point: point.step))
    conclusion = going_round(trail) if trail.kind == "lasso" else words.conclusion(trail, name)
    return Story(ordered, told_in_a_line(trail, ordered, conclusion))


class _Points:
    """Collects the points of a story, by step and role."""

    def __init__(self, trail: Trail, words: Words) -> None:
        self.trail, self.words = trail, words
        self.found: dict[tuple[int, str], Point] = {}
        self.breaks, self.promises = self._causes()
        #: Whose steps broke it; and those of whom one relied on it, or failed.
        self.culprits = self._threads(self.breaks)
        self.guilty = self.culprits | self._threads(self.promises)
        if trail.kind == "fault":
            self.guilty.add(trail.steps[-1].thread)
        if trail.kind == "lasso":
            self.guilty |= {step.thread for step in trail.steps[trail.repeats_from :]}

    def _causes(self) -> tuple[list[tuple[Moved, list[Change]]], list[tuple[Moved, list[Change]]]]:
        """What broke it, and where it was relied on.  That it was time to look is told if nothing else is."""
        every = causes(self.trail)
        told = self._not_gates(every) or self._not_gates(wrong_values(self.trail))
        told = told or [(step, list(changes)) for step, changes in every]

        def of_kind(promised: bool) -> list[tuple[Moved, list[Change]]]:
            of_each = [(step, [c for c in some if self.words.promises(c.cell) is promised]) for step, some in told]
            return [(step, some) for step, some in of_each if some]

        return of_kind(False), of_kind(True)

    def _not_gates(self, every: Sequence[tuple[Moved, Sequence[Change]]]) -> list[tuple[Moved, list[Change]]]:
        told = [(step, [c for c in changes if not self.words.gates(c.cell)]) for step, changes in every]
        return [(step, changes) for step, changes in told if changes]

    def _threads(self, causes_of_it: Sequence[tuple[Moved, Sequence[Change]]]) -> set[int]:
        """Who made changes, and store buffers that were in between."""
        return {step.thread for step, _ in causes_of_it} | {step.thread for step, _ in self._made(causes_of_it)}

    def _made(self, causes_of_it: Sequence[tuple[Moved, Sequence[Change]]]) -> list[tuple[Moved, Sequence[Change]]]:
        """The steps that made changes: where a store buffer brought them to memory, those that put them into it."""
        found: list[tuple[Moved, Sequence[Change]]] = []
        for step, changes in causes_of_it:
            put = self.trail.put(step, changes[0].cell)
            found.append((step, changes) if put is None else (put, put.puts))
        return found

    def add_change(self, step: Moved, role: str, change: Change, about: int = 0) -> None:
        """A change that matters; if it waited in a store buffer before, that matters, too."""
        put = self.trail.put(step, change.cell)
        others = self.trail.steps[put.number : step.number - 1] if put is not None else []
        if put is not None and any(other.thread not in (put.thread, step.thread) for other in others):
            self.add(put, "buffered", self.words.put(change, put.told.cpu), step.number)
            self.add(step, role, self.words.reached(change), about)
        self.add(step, role, self.words.did(change, step.told.cpu), about, self.trail.actor(step, change.cell))

    def add(self, step: Moved, role: str, said: str, about: int = 0, actor: int = -1) -> None:
        thread = step.thread if actor < 0 else actor
        self.found.setdefault((step.number, role), Point(step.number, thread, role, said, about))

    def collect(self) -> None:
        """All points."""
        reads = self._stale() or self._stale_otherwise()
        self._early({step for step, _ in reads})
        if not self.found:
            self._seen()
        for role, causes_of_it in (("breaks", self.breaks), ("promise", self.promises)):
            for step, changes in causes_of_it:
                for change in changes:
                    self.add_change(step, role, change)
        if self.trail.kind == "fault":
            last = self.trail.steps[-1]
            self.add(last, "fails", f"failed: {last.fault}")

    def _acts(self) -> list[tuple[Moved, Sequence[Change]]]:
        """What was done on what had been read."""
        acts = self._made([*self.breaks, *self.promises])
        return [*acts, (self.trail.steps[-1], ())] if self.trail.kind == "fault" else acts

    def _stale(self) -> set[tuple[int, int]]:
        """Stale reads, of each cell the last before an act; gives step and byte of each.

        Only who is part of the story counts as overtaking; if nobody is, anybody does.
        """
        found = [
            (act, step, read, over)
            for act, changes in self._acts()
            for step, read, over in overtaken(self.trail, act, changes)
        ]
        breakers = {step.number for step, _ in self._made(self.breaks)}
        told = [
            one
            for one in found
            if one[3].thread in (self.guilty if one[0].number in breakers or not self.culprits else self.culprits)
        ]
        last = {(act.number, read.cell.byte): (step, read, over) for act, step, read, over in told or found}
        for step, read, over in last.values():
            self.add(step, "stale", self.words.decided(step, read), over.number)
            change = next(change for change in over.changes if change.cell is read.cell)
            self.add_change(over, "overtakes", change, step.number)
        return {(step.number, read.cell.byte) for step, read, _ in last.values()}

    def _stale_otherwise(self) -> set[tuple[int, int]]:
        """Where no read was stale before what broke it: before stores of what should have been something else."""
        kept = self.breaks
        told = {change.cell for _, changes in [*self.breaks, *self.promises] for change in changes}
        others = [(step, [c for c in changes if c.cell not in told]) for step, changes in wrong_values(self.trail)]
        fitting = self._not_gates(others)
        self.breaks = [*kept, *fitting]
        self.guilty |= self._threads(fitting)
        found = self._stale()
        if not found:
            self.breaks = kept
        return found

    def _early(self, told: set[int]) -> None:
        """Decisions that came too early, each in its own words once; before a failure anybody's, else of the guilty."""
        last = {}
        for step, read, later in early(self.trail, self.culprits or self.guilty, self._acts()):
            if step.number not in told and (step.thread in self.guilty or self.trail.kind == "fault"):
                last[self.words.decided(step, read)] = (step, read, later)
        for said, (step, read, later) in list(last.items())[-MOST:]:
            self.add(step, "early", said, later.number)
            put = self.trail.put(later, read.cell)
            if put is not None and put.number < step.number:
                change = next(change for change in later.changes if change.cell is read.cell)
                self.add(put, "buffered", self.words.put(change, put.told.cpu), later.number)

    def _seen(self) -> None:
        """What others had done before, where nothing was overtaken."""
        found = [one for act, changes in self._acts() for one in seen(self.trail, act, changes)]
        for step, read, before in found[-MOST:]:
            self.add(step, "sees", self.words.decided(step, read), before.number)
            change = next(change for change in before.changes if change.cell is read.cell)
            self.add_change(before, "seen", change, step.number)


# ---- the line


def told_in_a_line(trail: Trail, points: Sequence[Point], conclusion: str) -> str:
    """``A did this (4), then B did that (12) and that (46), then A did this (61): what is wrong.``"""
    turns: list[tuple[int, list[Point]]] = []
    for point in points:
        if turns and turns[-1][0] == point.thread:
            turns[-1][1].append(point)
        else:
            turns.append((point.thread, [point]))
    clauses = []
    for thread, some in turns:
        said = [f"{point.words} ({point.step})" for point in _worth_telling(some)]
        clauses.append(f"{trail.who(thread)} {_listed(said)}")
    line = ", then ".join(clauses)
    return ": ".join(part for part in (line, conclusion) if part) + "."


def _worth_telling(points: Sequence[Point]) -> list[Point]:
    """A promise goes without saying where something else is told of the same thread's turn."""
    others = [point for point in points if point.role != "promise"]
    return others or list(points)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
