# SPDX-License-Identifier: GPL-2.0-or-later
"""What a search may leave out, because it makes no difference to any verdict: see independence.py and symmetry.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.check import engine_layout as at
from pagelab.check.independence import Independence
from pagelab.check.memory import Block, Numbers
from pagelab.check.symmetry import LikeThreads
from pagelab.lang.stepped_text import BLOCKED, FAULTED

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.lang.stepped import System


class Reduction:
    """For :class:`~pagelab.check.search.Search`.

    :param order: whether steps whose order makes no difference are taken at once.
    :param symmetry: whether threads that run the same program may change places.
    """

    def __init__(self, system: System, *, order: bool = True, symmetry: bool = True) -> None:
        self.system = system
        self.safe = Independence(system) if order else None
        alike = LikeThreads(system) if symmetry else None
        self.alike = alike if alike is not None and alike.groups else None

    @property
    def words(self) -> str:
        """What is left out, for people."""
        parts = []
        if self.safe is not None:
            parts.append("steps whose order makes no difference are taken at once (partial order)")
        if self.alike is not None:
            names = (", ".join(self.system.threads[t].name for t in group) for group in self.alike.groups)
            parts.append(f"threads that run the same change places (symmetry of {' and of '.join(names)})")
        return "; ".join(parts) or "none"

    def describe(self, shared: Block, kept: list[object]) -> None:
        """Tell the engine; what it reads by address is put into ``kept``."""
        if self.safe is not None:
            self.safe.describe(shared, kept)
        if self.alike is not None:
            numbers = Numbers(self.alike.numbers)
            kept.append(numbers)
            shared[at.ALIKE] = numbers.address

    def fill_in(self, initial: npt.NDArray[uint8], steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The schedule that the engine's steps stand for.

        It knows threads by their places, and took safe steps between those that it tells.
        """
        state = initial.copy()
        who = list(range(len(self.system.threads)))
        filled: list[tuple[int, int]] = []
        thread = 0
        for step in [None, *steps]:
            if step is not None:
                thread, choice = step
                filled.append((who[thread], choice))
                if self.system.step(state, thread, choice) >= FAULTED:
                    return filled
            if not self._follow(state, thread, who, filled):
                return filled
            if self.alike is not None:
                self.alike.in_order(state, who)
        return filled

    def _follow(self, state: npt.NDArray[uint8], thread: int, who: list[int], filled: list[tuple[int, int]]) -> bool:
        """As follow() of the engine; False if a step faulted."""
        if self.safe is None:
            return True
        threads = len(who)
        for _ in range(at.MAX_CHAIN):
            for k in range(threads):
                u = (thread + k) % threads
                if not self.safe.is_safe(self.system, state, u):
                    continue
                result = self.system.step(state, u)
                if result != BLOCKED:
                    filled.append((who[u], 0))
                    thread = u
                    break
            else:
                return True
            if result >= FAULTED:
                return False
        return True
