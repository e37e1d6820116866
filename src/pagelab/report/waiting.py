# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of a deadlock: who waits for what, and who has it; and the end of that of a lasso: who goes round."""

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
    text = "; ".join(clauses) or "no thread can take a step"
    return Story(tuple(points[number] for number in sorted(points)), f"{text}.")


def going_round(trail: Trail) -> str:
    """Of a run that repeats: who goes round where, and who else does not come to its end."""
    cycle = trail.steps[trail.repeats_from :]
    clauses = []
    for thread, named in enumerate(trail.system.threads):
        mine = [step for step in cycle if step.thread == thread]
        waits = {trail.waits(state, thread) for state in trail.states[trail.repeats_from :]}
        if mine:
            # The procedure that all of the round is in, not what it calls.
            calls = [[frame[0] for frame in step.node.frames] for step in mine]
            inner = [names[0] for names in zip(*calls, strict=False) if len(set(names)) == 1]
            clauses.append(f"{trail.who(thread)} goes round in {inner[-1] if inner else calls[0][-1]}()")
        elif not named.daemon and waits != {"has ended"}:
            why = " and ".join(sorted(waits - {""}))
            often = "could go on, but never gets its turn" if not why else f"{why} at times, and never gets its turn"
            clauses.append(f"{trail.who(thread)} {often if '' in waits else why}")
    return f"from step {trail.repeats_from + 1} on {', '.join(clauses)}"


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
