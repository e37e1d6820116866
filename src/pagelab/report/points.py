# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of a counterexample that matter, and its story."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A step that matters.

    ``role``: "stale" (a read that was overtaken before it was acted upon), "overtakes", "early" (a decision on a value
    that changed afterwards), "sees" (a read of what another thread had changed: "seen"), "buffered" (it stays in a
    store buffer for now), "breaks" (without it the property would hold), "promise" (from here on the property is relied
    on), "fails", or "holds" (it took what others wait for).  ``words``: a verb in the past and what follows; ``about``:
    the step that it is about, or 0.
    """

    step: int
    thread: int
    role: str
    words: str
    about: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """The points in the order of the steps, and the line."""

    points: tuple[Point, ...]
    text: str

    def at(self, step: int) -> tuple[Point, ...]:
        """The points of a step."""
        return tuple(point for point in self.points if point.step == step)
