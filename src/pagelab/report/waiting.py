# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of a deadlock, or of a lasso: who waits for what, and who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.report.points import Point, Story

if TYPE_CHECKING:
    from pagelab.report.trail import Moved, Trail
    from pagelab.report.words import Words


def waiting_story(trail: Trail, words: Words) -> Story:
    """Each thread that waits in the last state, with who holds what it waits for."""
    points: dict[int, Point] = {}
    clauses = []
    for thread in waiting(trail):
        clause = f"{trail.who(thread)} {trail.waits(trail.states[-1], thread)}"
        taken = taken_by(trail, trail.waits_for(trail.states[-1], thread))
        if taken is not None:
            clause += f", which {trail.who(taken.thread)} has ({taken.number})"
            points[taken.number] = Point(taken.number, taken.thread, "holds", f"took {taken.changes[0].cell}")
        clauses.append(clause)
    if trail.kind == "lasso":
        turns = sorted({step.thread for step in trail.steps[trail.repeats_from :]})
        names = " and ".join(trail.who(thread) for thread in turns)
        clauses.insert(0, f"from step {trail.repeats_from + 1} on {names} repeat the same steps for ever")
    text = "; ".join(clauses) or "no thread can take a step"
    return Story(tuple(points[number] for number in sorted(points)), f"{text}.")


def waiting(trail: Trail) -> list[int]:
    """Threads that can take no step in the last state and have not ended; of daemons only those that hold something."""
    found = []
    for thread, named in enumerate(trail.system.threads):
        why = trail.waits(trail.states[-1], thread)
        if why not in ("", "has ended") and (not named.daemon or thread in trail.taking_part()):
            found.append(thread)
    return found


def taken_by(trail: Trail, name: str) -> Moved | None:
    """The step that took what is named ("for zone.lock"), if it is a lock and still held."""
    for step in reversed(trail.steps):
        for change in step.changes:
            cell = change.cell
            if name == (f"for CPU {cell.row[0]}" if cell.kind == "irqs" else f"for {cell}"):
                return step if change.new else None
    return None
