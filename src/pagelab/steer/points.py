# SPDX-License-Identifier: GPL-2.0-or-later
"""Places between two steps of a thread at which its CPU can be held: where the kernel enters a function or leaves it.

The model's steps know which functions of the model they stand in.  From one step to the next a thread returns from some
and calls others; where the kernel has such a function too, and calls it where the model does, a breakpoint can be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pagelab.lang.graph import Do
from pagelab.steer.code import LOCKS, Code, kernel_name
from pagelab.steer.plan import At

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode, Frame
    from pagelab.lang.graph import Expr
    from pagelab.lang.stepped import System

#: Tables whose locks are spinlocks; the others' sleep.
SPINNING = ("zone", "pcp")
#: It is called, or inlined, in many places: which one is meant has to be plain from who calls it.
_READS_TYPE = "get_pageblock_migratetype"


@dataclass(frozen=True, slots=True)
class Point:
    """A place at which a CPU can be held.

    :param function: the kernel's name of what is entered or left.
    :param caller: who calls it, by the kernel's name, if the call can be told by its return address; else "".
    :param model: the model's name of the function.
    :param depth: how many functions of the model are around it.
    :param given: what the function was called with.
    """

    function: str
    at: At
    caller: str
    model: str
    depth: int
    given: Mapping[str, Expr]


@dataclass(frozen=True, slots=True)
class Refused:
    """Where the model enters or leaves a function, but no CPU can be held, and why."""

    model: str
    at: At
    words: str


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A function of the model that is entered or left."""

    at: At
    frames: tuple[Frame, ...]
    given: tuple[Mapping[str, Expr], ...]


class Points:
    """Where the threads of a system can be held, in a kernel."""

    def __init__(self, system: System, code: Code) -> None:
        self.system, self.code = system, code
        self._between: dict[tuple[int, int, int], tuple[tuple[Point, ...], tuple[Refused, ...]]] = {}

    def between(self, thread: int, before: int, after: int) -> tuple[Point, ...]:
        """Between the stops ``before`` and ``after`` of a thread; the outermost function first."""
        return self._look(thread, before, after)[0]

    def refused(self, thread: int, before: int, after: int) -> tuple[Refused, ...]:
        """Where it cannot be held between the two, and why."""
        return self._look(thread, before, after)[1]

    def _look(self, thread: int, before: int, after: int) -> tuple[tuple[Point, ...], tuple[Refused, ...]]:
        key = thread, before, after
        if key not in self._between:
            entries = self.system.slots[thread].entries
            start, end = entries[before - 1], entries[after - 1]
            points: list[Point] = []
            refused: list[Refused] = []
            for crossing in crossings(path(start, end)):
                found = self._point(crossing)
                if isinstance(found, Point):
                    points.append(found)
                else:
                    refused.append(found)
            points += self._lock_points(start, end)
            points = sorted({(p.function, p.at, p.depth): p for p in points}.values(), key=lambda p: p.depth)
            self._between[key] = tuple(points), tuple(refused)
        return self._between[key]

    def names(self, frames: tuple[Frame, ...]) -> list[str]:
        """The kernel's name of each function around a step, "" for one that it does not have there."""
        names: list[str] = []
        for number, (function, _, _) in enumerate(frames):
            # What the scenario's thread is called in the model is no function of the kernel.
            name = kernel_name(function, self.code) if number else ""
            outer = next((n for n in reversed(names) if n), "")
            called = not outer or not name or self._called(function, outer, name)
            names.append(name if called and name not in names else "")
        return names

    def _called(self, function: str, outer: str, name: str) -> bool:
        """Whether a function is called, and not inlined, where the model calls it."""
        if function == _READS_TYPE:
            return self.code.calls(outer, name) > 0
        return self.code.reaches(outer, name)

    def _point(self, crossing: _Crossing) -> Point | Refused:
        function = crossing.frames[-1][0]
        names = self.names(crossing.frames)
        outer = next((name for name in reversed(names[:-1]) if name), "")
        if not names[-1]:
            return Refused(function, crossing.at, self._why_not(function, names[:-1], outer))
        caller = outer if outer and self.code.calls(outer, names[-1]) else ""
        if function == _READS_TYPE and self.code.calls(outer, names[-1]) != 1:
            words = f"{names[-1]}() is called from several places in {outer}()" if outer else "its caller is inlined"
            return Refused(function, crossing.at, words)
        return Point(names[-1], crossing.at, caller, function, len(crossing.frames), crossing.given[-1])

    def _why_not(self, function: str, around: list[str], outer: str) -> str:
        name = kernel_name(function, self.code)
        if not name or name in around:
            return f"{function}() has no address of its own in this kernel" + (f": it is in {outer}()" if outer else "")
        return f"{name}() is inlined in {outer}()"

    def _lock_points(self, before: FlatNode, after: FlatNode) -> list[Point]:
        """Where a spinlock was just taken, or is about to be, by a call that is the only one of its function.

        Giving one back is inlined, or leaves the function by several calls.
        """
        found = []
        for node, at in ((before, At.RETURN), (after, At.ENTRY)):
            if node.do not in (Do.LOCK, Do.TRYLOCK) or node.place is None or node.place.table.name not in SPINNING:
                continue
            outer = next((name for name in reversed(self.names(node.frames)) if name), "")
            sites = {name: self.code.calls(outer, name) for name in LOCKS if outer and self.code.has(name)}
            if sum(sites.values()) == 1:
                (name,) = (name for name, number in sites.items() if number)
                found.append(Point(name, at, outer, name, len(node.frames) + 1, {}))
        return found


def path(start: FlatNode, end: FlatNode) -> list[FlatNode]:
    """The nodes from one stop to the next, both included, on the way with the fewest of them."""
    before: dict[int, FlatNode] = {}
    todo = [start]
    for node in todo:
        for following in node.successors():
            if following is end:
                way = [end, node]
                while way[-1] is not start:
                    way.append(before[id(way[-1])])
                return way[::-1]
            if not following.begins_step and id(following) not in before:
                before[id(following)] = node
                todo.append(following)
    return [start, end]


def crossings(way: list[FlatNode]) -> list[_Crossing]:
    """The functions that are left and entered on a way, in that order."""
    found = []
    for here, there in pairwise(way):
        common = _common(here.frames, there.frames)
        left = range(len(here.frames), common, -1)
        entered = range(common + 1, len(there.frames) + 1)
        found += [_Crossing(At.RETURN, here.frames[:depth], here.given[:depth]) for depth in left]
        found += [_Crossing(At.ENTRY, there.frames[:depth], there.given[:depth]) for depth in entered]
    return [crossing for crossing in found if crossing.given]


def _common(here: tuple[Frame, ...], there: tuple[Frame, ...]) -> int:
    """How many calls two nodes share: the same functions, called from the same lines."""
    for depth, (one, other) in enumerate(zip(here, there, strict=False)):
        if one[:2] != other[:2]:
            return depth
        if one[2] != other[2]:
            return depth + 1
    return min(len(here), len(there))
