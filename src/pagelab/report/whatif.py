# SPDX-License-Identifier: GPL-2.0-or-later
"""What if: which steps of a counterexample made it end as it does.

A write broke the property if the property would hold without it.  A read is stale if another thread changed what was
read before the reader acted on it, and the reader, alone, would have acted otherwise on the new value.  A decision came
too early if the value it rests on was changed by another thread after it, and would have led elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pagelab.lang.graph import Do
from pagelab.lang.stepped_text import FAULTED, MORE_CHOICES, STEPPED
from pagelab.report.trail import NOT_TAKEN, Cell, Change, Deed, Moved, Read, Trail

#: Steps that a thread may take alone to show what it would do, beyond those that it took.
FURTHER = 24
#: Steps that each thread that goes round may take to show that it would not.
ROUNDS = 400


# ---- what broke it


def causes(trail: Trail) -> list[tuple[Moved, tuple[Change, ...]]]:
    """The steps without whose changes the end would be well; for each cell the last such step.

    If there are none: the last stores to cells that another value would have made well; if there are none of those,
    and a step fails: the changes without which it could not have been taken.
    """
    found = _causes(trail, changes_of, lambda changed: _well(trail, changed)) or wrong_values(trail)
    if not found and trail.kind == "fault":
        found = _causes(trail, changes_of, lambda changed: _last_result(trail, changed) < FAULTED)
    return found


def wrong_values(trail: Trail) -> list[tuple[Moved, tuple[Change, ...]]]:
    """The last stores to cells that another value would have made well, also where they changed nothing."""

    def well_with_another(changed: Sequence[tuple[Cell, int]]) -> bool:
        return any(_well(trail, [(cell, value)]) for cell, _ in changed for value in trail.values_like(cell))

    return _causes(trail, stores_of, well_with_another)


def _well(trail: Trail, changed: Sequence[tuple[Cell, int]]) -> bool:
    """Whether the end would be well with other values in some cells."""
    if trail.kind == "invariant":
        return trail.holds_with(changed)
    if trail.kind == "lasso":
        return _comes_to_its_end(trail, changed)
    return _last_result(trail, changed) in (STEPPED, MORE_CHOICES)


def changes_of(step: Moved) -> tuple[Change, ...]:
    """What a step changed."""
    return step.changes


def stores_of(step: Moved) -> tuple[Change, ...]:
    """What a step stored, also what was there already."""
    return step.changes or step.same


def _causes(
    trail: Trail,
    done: Callable[[Moved], tuple[Change, ...]],
    well: Callable[[Sequence[tuple[Cell, int]]], bool],
) -> list[tuple[Moved, tuple[Change, ...]]]:
    """The last steps that did what, with other values, would have made the end well."""
    ends = {"invariant": len(trail.steps), "lasso": trail.repeats_from}
    found: dict[int, tuple[Change, ...]] = {}
    settled: set[Cell] = set()
    for step in reversed(trail.steps[: ends.get(trail.kind, len(trail.steps) - 1)]):
        changes = tuple(change for change in done(step) if change.cell not in settled)
        if changes and well([(change.cell, change.old) for change in changes]):
            alone = tuple(change for change in changes if well([(change.cell, change.old)]))
            found[step.number] = alone or changes
            settled.update(change.cell for change in found[step.number])
    return [(trail.steps[number - 1], found[number]) for number in sorted(found)]


def _comes_to_its_end(trail: Trail, changed: Sequence[tuple[Cell, int]]) -> bool:
    """Whether the threads that go round would come to their end with other values in some cells."""
    state = trail.states[trail.repeats_from].copy()
    for cell, value in changed:
        state[cell.byte] = value & 255
    threads = {step.thread for step in trail.steps[trail.repeats_from :]}
    for _ in range(ROUNDS):
        results = {thread: trail.system.step(state, thread) for thread in sorted(threads)}
        if any(result >= FAULTED for result in results.values()):
            return False
        waiting = {thread for thread, result in results.items() if result in NOT_TAKEN}
        if all(trail.system.threads[t].daemon or trail.system.ended(state, t) for t in threads):
            return True
        if waiting == threads:
            return False
    return False


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
                    if any(change.cell is read.cell for change in other.changes)
                    and trail.actor(other, read.cell) != act.thread
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
    """What a step reads; a section that is one step may read whatever others change later.

    A lock that was found free was taken in the same step: that is never stale.
    """
    if step.node.do is not Do.ATOMIC:
        return [read for read in step.reads if read.cell.kind != "lock" or read.value]
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
    trail: Trail, culprits: Collection[int], acts: Sequence[tuple[Moved, Sequence[Change]]]
) -> list[tuple[Moved, Read, Moved]]:
    """Reads whose value another thread changed later, when the reader did not look again: read, cell, the change.

    :param culprits: only their changes count.
    :param acts: what was done; a read counts if its thread would have done something else, or taken another way.
    """
    found: list[tuple[Moved, Read, Moved]] = []
    for step in trail.steps:
        for read in possible_reads(trail, step, len(trail.steps)):
            change = _changed_later(trail, step, read.cell, culprits)
            if change is None or _looks_again(trail, step, read.cell, change.number):
                continue
            value = trail.value(read.cell, change.number)
            if value != read.value and (
                would_go_elsewhere(trail, step, read.cell, value)
                or _would_act_otherwise(trail, step, read, value, acts)
            ):
                found.append((step, read, change))
    return found


def _would_act_otherwise(
    trail: Trail, step: Moved, read: Read, value: int, acts: Sequence[tuple[Moved, Sequence[Change]]]
) -> bool:
    """Whether a thread, alone from a step on, would not make the changes that it made if it had read another value."""
    for act, changes in acts:
        if act.thread == step.thread and step.number <= act.number and changes:
            steps = sum(1 for one in trail.steps[step.number - 1 : act.number] if one.thread == step.thread)
            if _acts_otherwise(trail, step, read.cell, value, steps, changes):
                return True
    return False


def would_go_elsewhere(trail: Trail, step: Moved, cell: Cell, value: int) -> bool:
    """Whether a thread, alone from a step on, would take another way if the step had found another value."""
    most = sum(1 for one in trail.steps[step.number :] if one.thread == step.thread) + FURTHER
    usual = trail.alone(step.thread, step.number - 1, most)
    return goes_elsewhere(usual, trail.alone(step.thread, step.number - 1, most, cell, value))


def _changed_later(trail: Trail, step: Moved, cell: Cell, culprits: Collection[int]) -> Moved | None:
    for later in trail.steps[step.number :]:
        if any(change.cell is cell for change in later.changes):
            return later if trail.actor(later, cell) != step.thread and later.thread in culprits else None
    return None


def _looks_again(trail: Trail, step: Moved, cell: Cell, after: int) -> bool:
    return any(
        later.thread == step.thread and any(read.cell is cell for read in later.reads) for later in trail.steps[after:]
    )


# ---- what others had done before


def seen(trail: Trail, act: Moved, changes: Sequence[Change]) -> list[tuple[Moved, Read, Moved]]:
    """Reads of what another thread had written, and the write: without it the reader would have taken another way."""
    found = []
    mine = [step for step in trail.steps[: act.number] if step.thread == act.thread]
    for number, step in enumerate(mine):
        for read in step.reads:
            before = _written_before(trail, step, read.cell)
            if before is None or read.cell.kind == "lock":
                continue
            old = next(change.old for change in before.changes if change.cell is read.cell)
            if would_go_elsewhere(trail, step, read.cell, old) and _acts_otherwise(
                trail, step, read.cell, old, len(mine) - number + 1, changes
            ):
                found.append((step, read, before))
    return found


def _written_before(trail: Trail, step: Moved, cell: Cell) -> Moved | None:
    """The last change of a cell before a step, if another thread made it."""
    for before in reversed(trail.steps[: step.number - 1]):
        if any(change.cell is cell for change in before.changes):
            return before if trail.actor(before, cell) != step.thread else None
    return None
