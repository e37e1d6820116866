# SPDX-License-Identifier: GPL-2.0-or-later
"""A counterexample with its story and what its verdict rests on: what the terminal and the page show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagelab.report.points import Story
from pagelab.report.story import story
from pagelab.report.trail import Trail
from pagelab.report.words import Words, words_for

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.check.search import Schedule
    from pagelab.lang.stepped import System


@dataclass(frozen=True, slots=True)
class Title:
    """What was explored and what came of it.

    ``said``: what is violated, in words; ``label``: what the verdict rests on, by what it is (states, bounds, memory
    model, fairness ...).
    """

    design: str
    scenario: str
    property: str
    said: str
    label: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A counterexample, ready to be shown."""

    title: Title
    trail: Trail
    words: Words
    story: Story


def case_of(
    title: Title, system: System, initial: npt.NDArray[uint8], schedule: Schedule, *, repeats_from: int = -1
) -> Case:
    """Follow a schedule and find out what its story is.

    To be called while the constants are those that the system was built with.

    :param repeats_from: of a run that goes round: how many steps come before the part that repeats.
    """
    trail = Trail(system, initial, schedule, repeats_from)
    words = words_for(system)
    return Case(title, trail, words, story(trail, words, title.property))
