# SPDX-License-Identifier: GPL-2.0-or-later
"""What a diagram shows, before it is laid out: rows of steps, who takes the turn from whom, how long locks are held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pagelab.lang.store_buffer import store_buffer
from pagelab.report.points import Point, Story
from pagelab.report.trail import Moved, Trail
from pagelab.report.words import Words


@dataclass(frozen=True, slots=True)
class Row:
    """Steps in a row that one thread takes at one line of the source, with nothing in between.

    ``turn``: who took the turn from whom, "" if nobody did; ``preempted``: the other one could have gone on.
    """

    steps: tuple[Moved, ...]
    source: str
    effects: tuple[str, ...]
    points: tuple[Point, ...]
    turn: str
    preempted: bool
    new_function: bool

    @property
    def first(self) -> Moved:
        """The first of the steps; they have thread, function and line in common."""
        return self.steps[0]

    @property
    def numbers(self) -> str:
        """``17-18``."""
        first, last = self.steps[0].number, self.steps[-1].number
        return str(first) if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A thread holds a lock, or has irqs off, from one step to another (0: to the end), drawn in a slot of its lane.

    ``byte``: of the lock in the state.
    """

    thread: int
    slot: int
    irqs: bool
    byte: int
    begin: int
    end: int


def rows(trail: Trail, story: Story, words: Words) -> list[Row]:
    """The rows of a diagram, in the order of time."""
    found = []
    for steps in _groups(trail, story):
        first = steps[0]
        before = trail.steps[first.number - 2] if first.number > 1 else None
        found.append(
            Row(
                steps=tuple(steps),
                source=words.source(first),
                effects=tuple(effect for step in steps if (effect := words.effect(step))),
                points=tuple(point for step in steps for point in story.at(step.number)),
                turn=_turn(trail, before, first),
                preempted=first.switch and not first.wait and not _of_buffers(trail, before, first),
                new_function=before is None or first.switch or _function(before) != _function(first),
            )
        )
    return found


def _groups(trail: Trail, story: Story) -> Iterator[list[Moved]]:
    """Steps at one line share a row, unless one of them matters: that has a row of its own."""
    group: list[Moved] = []
    for step in trail.steps:
        apart = group and (
            step.switch
            or (_function(step), step.told.line) != (_function(group[-1]), group[-1].told.line)
            or bool(story.at(step.number))
            or bool(story.at(group[-1].number))
            or step.number - 1 == trail.repeats_from
        )
        if apart:
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _of_buffers(trail: Trail, *steps: Moved | None) -> bool:
    """Whether a store buffer has the turn before or after a change: that preempts nobody."""
    return any(step is not None and trail.system.threads[step.thread].function is store_buffer for step in steps)


def _function(step: Moved) -> tuple[str, str]:
    return step.told.function, step.told.file


def _turn(trail: Trail, before: Moved | None, step: Moved) -> str:
    if before is None or not step.switch:
        return ""
    gives, takes = (trail.system.threads[one.thread] for one in (before, step))
    if takes.function is store_buffer:
        return f"{takes.name} is written back"
    if gives.function is store_buffer:
        return f"{takes.name} runs"
    if step.wait:
        return f"{gives.name} {step.wait}, {takes.name} runs"
    if gives.cpu >= 0 and gives.cpu == takes.cpu:
        return f"{takes.name} takes CPU {takes.cpu} from {gives.name}"
    return f"{gives.name} is held up, {takes.name} runs"


def bars(trail: Trail, words: Words) -> list[Bar]:
    """How long each thread holds each lock, and has irqs off."""
    found: list[Bar] = []
    open_bars: dict[tuple[int, int], tuple[int, int]] = {}  # (thread, byte) -> (slot, begin)

    def close(thread: int, byte: int, end: int) -> None:
        slot, begin = open_bars.pop((thread, byte))
        found.append(Bar(thread, slot, trail.cells[byte].kind == "irqs", byte, begin, end))

    for step in trail.steps:
        for change in step.changes:
            held = bool(change.new) if change.cell.kind == "irqs" else words.turns_held(change)
            if held is None:
                continue
            key = (step.thread, change.cell.byte)
            if held and key not in open_bars:
                taken = {slot for (thread, _), (slot, _) in open_bars.items() if thread == step.thread}
                slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
                open_bars[key] = (slot, step.number)
            elif not held and key in open_bars:
                close(*key, step.number)
    for thread, byte in list(open_bars):
        close(thread, byte, 0)
    return found


def note(point: Point) -> str:
    """A few words beside a step that matters."""
    return {
        "stale": f"stale from step {point.about} on",
        "overtakes": f"overtakes step {point.about}",
        "early": f"too early: it changes in step {point.about}",
        "sees": f"sees what step {point.about} did",
        "seen": f"step {point.about} acts on this",
        "buffered": f"others see it from step {point.about} on",
        "promise": "relied on from here",
        "breaks": "this breaks it",
        "fails": "this fails",
        "holds": "kept while the others wait for it",
    }[point.role]
