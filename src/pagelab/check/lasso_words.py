# SPDX-License-Identifier: GPL-2.0-or-later
"""A lasso in words: which threads never end, where they wait or go round, and who takes steps meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pagelab.check.counterexample import Teller
from pagelab.check.state_graph import waits_at_lock
from pagelab.lang.graph import Do
from pagelab.lang.stepped_text import BLOCKED, ENDED, NO_CHOICE

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.check.lasso import Way
    from pagelab.lang.flatten import FlatNode, Frame
    from pagelab.lang.stepped import System


@dataclass(slots=True)
class _Round:
    """What one thread does in the cycle: where its steps are, and in how many states it could have taken one."""

    steps: list[FlatNode] = field(default_factory=list)
    able: int = 0


def tell(system: System, initial: npt.NDArray[uint8], kind: str, way: Way, starving: Sequence[int]) -> str:
    """The run in a few clauses, each about one thread."""
    state = initial.copy()
    for thread, choice in way.prefix[: len(way.prefix) - (kind == "fault")]:
        system.step(state, thread, choice)
    if kind == "fault":
        thread, choice = way.prefix[-1]
        node = system.node(state, thread)
        return f"{system.threads[thread].name} fails in {place(node.frames[-1])}, and nothing goes on"
    teller = Teller(system)
    if kind == "deadlock":
        waits = [_waits(system, teller, state, t) for t in range(len(system.threads)) if not system.ended(state, t)]
        return "; ".join([*waits, "nobody can take a step"])
    entry = state.copy()
    rounds = [_Round() for _ in system.threads]
    for thread, choice in way.cycle:
        for t, one in enumerate(rounds):
            one.able += _able(system, state, t)
        rounds[thread].steps.append(system.node(state, thread))
        system.step(state, thread, choice)
    clauses = [_starves(system, teller, entry, t, rounds[t], len(way.cycle)) for t in starving]
    clauses += _company(system, rounds, starving)
    return "; ".join(clauses)


def _starves(
    system: System, teller: Teller, entry: npt.NDArray[uint8], thread: int, round_: _Round, length: int
) -> str:
    name = system.threads[thread].name
    if round_.steps:
        return f"{name} goes round in {loop(round_.steps)}, {_count(len(round_.steps), 'step')} a round"
    if round_.able == 0:
        return _waits(system, teller, entry, thread) + " for ever"
    node = system.node(entry, thread)
    where = place(node.frames[-1])
    if round_.able == length:
        return f"{name} could go on in {where}, but never gets its turn"
    if waits_at_lock(node):
        return f"{name} waits in {where}{_for_what(teller, node, thread, entry)}: others are faster, again and again"
    return (
        f"{name} waits in {where}{_for_what(teller, node, thread, entry)}: whenever it could go on, others come first"
    )


def _waits(system: System, teller: Teller, state: npt.NDArray[uint8], thread: int) -> str:
    node = system.node(state, thread)
    what = _for_what(teller, node, thread, state)
    return f"{system.threads[thread].name} waits in {place(node.frames[-1])}{what}"


def _for_what(teller: Teller, node: FlatNode, thread: int, state: npt.NDArray[uint8]) -> str:
    if node.do is Do.LOCK and node.place is not None:
        return f" for {teller.name(node.place, thread, state)[0]}"
    if node.do is Do.IRQS_OFF:
        return f" until irqs are on again on CPU {teller.value(node.value, thread, state)}"
    return ""


def _company(system: System, rounds: Sequence[_Round], starving: Sequence[int]) -> Iterator[str]:
    """Who else takes steps, and that nobody else does."""
    others = [t for t, one in enumerate(rounds) if one.steps and t not in starving]
    for t in others:
        one = rounds[t]
        yield f"{system.threads[t].name} takes {_count(len(one.steps), 'step')} a round, in {loop(one.steps)}"
    if not others:
        yield "nobody else takes a step"


def _able(system: System, state: npt.NDArray[uint8], thread: int) -> bool:
    return system.step(state.copy(), thread) not in (BLOCKED, ENDED, NO_CHOICE)


def loop(nodes: Sequence[FlatNode]) -> str:
    """The innermost procedure that a thread does not leave while it goes through some nodes, with the lines."""
    first = nodes[0].frames
    level = 0
    while all(_same_call(node.frames, first, level + 1) for node in nodes):
        level += 1
    lines = sorted({node.frames[level][2] for node in nodes})
    name, file, _ = first[level]
    return place((name, file, lines[0])) if len(lines) == 1 else f"{place((name, file, lines[0]))[:-1]}-{lines[-1]})"


def _same_call(frames: tuple[Frame, ...], first: tuple[Frame, ...], level: int) -> bool:
    """Whether a node stands in the same call at a level as another."""
    return (
        level < min(len(frames), len(first))
        and frames[:level] == first[:level]
        and (frames[level][:2] == first[level][:2])
    )


def place(frame: Frame) -> str:
    """``procedure() (file.py:12)``."""
    name, file, line = frame
    return f"{name}() ({Path(file).name}:{line})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
