# SPDX-License-Identifier: GPL-2.0-or-later
"""Symmetry reduction: threads that run the same program, and so may change places.

Two threads are alike if their programs are the same from their first stop on, on the same CPU; what they do before,
such as setting a local to another value, makes no difference to what they can do from then on.  Of all states that
differ only in who of them stands where, one is stored: the one in which they stand in order (Emerson and Sistla,
Symmetry and model checking, 1996; Ip and Dill, Better verification through symmetry, 1996).

CPUs are not alike in this sense, even where their threads are: a loop over all CPUs visits them in order, so that what
happens next depends on which of them it has visited.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System


def like_threads(system: System) -> list[list[int]]:
    """Groups of at least two threads that are alike."""
    groups: dict[Hashable, list[int]] = {}
    for t, thread in enumerate(system.threads):
        key = (thread.daemon, system.contexts[t], system.slots[t].count, _after_first_stop(system, t))
        groups.setdefault(key, []).append(t)
    return [group for group in groups.values() if len(group) > 1]


def _after_first_stop(system: System, thread: int) -> Hashable:
    """What a thread can do once it has stopped for the first time."""
    slots = system.slots[thread]
    todo: list[FlatNode] = list(slots.entries)
    seen = {node.id: node for node in todo}
    while todo:
        for following in todo.pop().successors():
            if following.id not in seen:
                seen[following.id] = following
                todo.append(following)
    nodes = tuple(
        (
            node.id,
            node.do,
            node.local,
            node.value,
            node.place and (id(node.place.table), node.place.field.name, node.place.indices),
            node.args,
            node.then and node.then.id,
            node.other and node.other.id,
        )
        for node in sorted(seen.values(), key=lambda node: node.id)
    )
    stops = tuple(stop.id for stop in slots.entries)
    return nodes, stops, tuple(sorted(slots.slot.items())), tuple(sorted((n, tuple(z)) for n, z in slots.zero.items()))


class LikeThreads:
    """The groups of a system, as the engine knows them."""

    def __init__(self, system: System) -> None:
        self.bases, self.groups = system.bases, like_threads(system)
        self.length = {group[0]: system.pc_bytes + system.slots[group[0]].count for group in self.groups}
        numbers = [len(self.groups)]
        for group in self.groups:
            numbers += [len(group), self.length[group[0]], *(system.bases[t] for t in group)]
        self.numbers = numbers

    def in_order(self, state: npt.NDArray[uint8], who: list[int]) -> None:
        """Put the threads of each group in order, in place; ``who`` is stored in the place of whom, and moves along."""
        for group in self.groups:
            length = self.length[group[0]]
            places = [(bytes(state[self.bases[t] : self.bases[t] + length]), who[t]) for t in group]
            places.sort(key=lambda place: place[0])
            for t, (block, thread) in zip(group, places, strict=True):
                state[self.bases[t] : self.bases[t] + length] = list(block)
                who[t] = thread
