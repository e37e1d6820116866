# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of a counterexample: which of its steps matter, and one line that tells them.

What matters is found by asking what if.  A write broke the property if the property would hold without it.  A read is
stale if another thread changed what was read before the reader acted on it, and the reader, alone, would have acted
otherwise on the new value.  A decision came too early if the value it rests on was changed by another thread after it,
and would have led elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pagelab.lang.graph import Do
from pagelab.lang.stepped_text import FAULTED, MORE_CHOICES, STEPPED
from pagelab.report.points import Point, Story
from pagelab.report.trail import Cell, Change, Deed, Moved, Read, Trail
from pagelab.report.waiting import waiting_story

if TYPE_CHECKING:
    from pagelab.report.words import Words

#: Steps that a thread may take alone to show what it would do, beyond those that it took.
FURTHER = 24
#: So many decisions that came too early are told; the last ones.
MOST_DECISIONS = 2


def story(trail: Trail, words: Words, name: str = "") -> Story:
    """Tell a counterexample.

    :param name: of the property that is violated.
    """
    if trail.kind in ("deadlock", "lasso"):
        return waiting_story(trail, words)
    breaks = causes(trail)
    points: dict[tuple[int, str], Point] = {}

    def add(step: Moved, role: str, said: str, about: int = 0) -> None:
        points.setdefault((step.number, role), Point(step.number, step.thread, role, said, about))

    stale = [found for step, changes in breaks for found in overtaken(trail, step, changes)]
    stale += overtaken(trail, trail.steps[-1], ()) if trail.kind == "fault" else []
    for step, read, over in stale:
        add(step, "stale", words.saw(step, read), over.number)
        change = next(change for change in over.changes if change.cell is read.cell)
        add(over, "overtakes", words.did(change, over.told.cpu), step.number)
    for step, read, later in early(trail, breaks, {step.number for step, _, _ in stale}):
        add(step, "early", words.decided(step, read), later.number)
    told = [(step, changes) for step, changes in breaks if not all(words.gates(c.cell) for c in changes)]
    for step, changes in told or breaks:
        for change in changes:
            if not words.gates(change.cell) or not told:
                role = "promise" if words.promises(change.cell) else "breaks"
                add(step, role, words.did(change, step.told.cpu))
    last = trail.steps[-1] if trail.steps else None
    if last is not None and trail.kind == "fault":
        add(last, "fails", f"failed: {last.fault}")
    ordered = tuple(sorted(points.values(), key=lambda point: point.step))
    return Story(ordered, told_in_a_line(trail, ordered, words.conclusion(trail, name)))


# ---- what broke it


def causes(trail: Trail) -> list[tuple[Moved, tuple[Change, ...]]]:
    """The steps without whose changes the end would be well; for each cell the last such step.

    If there are none: the last changes of cells that another value would have made well; if there are none of those,
    and a step fails: the changes without which it could not have been taken.
    """

    def well(changed: Sequence[tuple[Cell, int]]) -> bool:
        if trail.kind == "invariant":
            return trail.holds_with(changed)
        return _last_result(trail, changed) in (STEPPED, MORE_CHOICES)

    def well_with_another(changed: Sequence[tuple[Cell, int]]) -> bool:
        return any(well([(cell, value)]) for cell, _ in changed for value in trail.values_like(cell))

    before = trail.steps if trail.kind == "invariant" else trail.steps[:-1]
    found = _causes(trail, before, well) or _causes(trail, before, well_with_another)
    if not found and trail.kind == "fault":
        found = _causes(trail, before, lambda changed: _last_result(trail, changed) < FAULTED)
    return found


def _causes(
    trail: Trail, steps: Sequence[Moved], well: Callable[[Sequence[tuple[Cell, int]]], bool]
) -> list[tuple[Moved, tuple[Change, ...]]]:
    """``well``: whether the end would be well with other values in some cells."""
    found: dict[int, tuple[Change, ...]] = {}
    settled: set[Cell] = set()
    for step in reversed(steps):
        changes = tuple(change for change in step.changes if change.cell not in settled)
        if changes and well([(change.cell, change.old) for change in changes]):
            alone = tuple(change for change in changes if well([(change.cell, change.old)]))
            found[step.number] = alone or changes
            settled.update(change.cell for change in found[step.number])
    return [(trail.steps[number - 1], found[number]) for number in sorted(found)]


def _last_result(trail: Trail, changed: Sequence[tuple[Cell, int]]) -> int:
    """What the last step would give with other values in some cells."""
    state = trail.states[-2].copy()
    for cell, value in changed:
        state[cell.byte] = value & 255
    return trail.system.step(state, trail.steps[-1].thread, trail.steps[-1].choice)


# ---- stale reads


def overtaken(trail: Trail, act: Moved, changes: Sequence[Change]) -> list[tuple[Moved, Read, Moved]]:
    """Reads of a thread that another one overtook before it acted, and that made it act so: read, cell, overtaker."""
    found = []
    mine = [step for step in trail.steps[: act.number - 1] if step.thread == act.thread]
    taken = len(mine)
    for number, step in enumerate(mine):
        for read in possible_reads(trail, step, act.number):
            over = next(
                (
                    other
                    for other in trail.steps[step.number : act.number - 1]
                    if other.thread != act.thread and any(change.cell is read.cell for change in other.changes)
                ),
                None,
            )
            now = trail.value(read.cell, act.number - 1)
            if over is None or now == read.value:
                continue
            if _acts_otherwise(trail, step, read.cell, now, taken - number + 1, changes):
                found.append((step, read, over))
    return found


def possible_reads(trail: Trail, step: Moved, until: int) -> list[Read]:
    """What a step reads; a section that is one step may read whatever others change later."""
    if step.node.do is not Do.ATOMIC:
        return [read for read in step.reads if read.cell.kind != "irqs"]
    later = {
        change.cell
        for other in trail.steps[step.number : until]
        if other.thread != step.thread
        for change in other.changes
        if change.cell.kind != "irqs"
    }
    return [Read(cell, trail.value(cell, step.number - 1)) for cell in sorted(later, key=lambda cell: cell.byte)]


def _acts_otherwise(trail: Trail, step: Moved, cell: Cell, value: int, steps: int, changes: Sequence[Change]) -> bool:
    """Whether a thread alone would not make the changes if a step had found another value."""
    before = step.number - 1
    usual = trail.alone(step.thread, before, steps + FURTHER)
    other = trail.alone(step.thread, before, steps + FURTHER, cell, value)
    if changes and _makes(usual, changes):
        return not _makes(other, changes)
    return goes_elsewhere(usual, other)


def _makes(deeds: Sequence[Deed], changes: Sequence[Change]) -> bool:
    made = {(change.cell, change.new) for deed in deeds for change in deed.changes}
    return any((change.cell, change.new) in made for change in changes)


def goes_elsewhere(usual: Sequence[Deed], other: Sequence[Deed]) -> bool:
    """Whether two runs of a thread take different ways through its program."""
    return any(mine.node is not its.node or mine.stuck != its.stuck for mine, its in zip(usual, other, strict=False))


# ---- decisions that came too early


def early(
    trail: Trail, breaks: Sequence[tuple[Moved, tuple[Change, ...]]], told: set[int]
) -> list[tuple[Moved, Read, Moved]]:
    """Reads whose value another thread changed later, when the reader did not look again: read, cell, the change.

    Only changes of threads that broke the property, or that it was broken before, count.
    """
    guilty = {step.thread for step, _ in breaks} | {trail.steps[-1].thread}
    found: list[tuple[Moved, Read, Moved]] = []
    for step in trail.steps:
        if step.number in told:
            continue
        for read in possible_reads(trail, step, len(trail.steps)):
            change = _changed_later(trail, step, read.cell, guilty)
            if change is None or trail.value(read.cell, change.number) == read.value:
                continue
            if _looks_again(trail, step, read.cell, change.number):
                continue
            value = trail.value(read.cell, change.number)
            most = sum(1 for one in trail.steps[step.number :] if one.thread == step.thread) + FURTHER
            before = step.number - 1
            usual = trail.alone(step.thread, before, most)
            if goes_elsewhere(usual, trail.alone(step.thread, before, most, read.cell, value)):
                found.append((step, read, change))
    return found[-MOST_DECISIONS:]


def _changed_later(trail: Trail, step: Moved, cell: Cell, guilty: set[int]) -> Moved | None:
    for later in trail.steps[step.number :]:
        if any(change.cell is cell for change in later.changes):
            return later if later.thread != step.thread and later.thread in guilty else None
    return None


def _looks_again(trail: Trail, step: Moved, cell: Cell, after: int) -> bool:
    return any(
        later.thread == step.thread and any(read.cell is cell for read in later.reads) for later in trail.steps[after:]
    )


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
