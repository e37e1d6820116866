# SPDX-License-Identifier: GPL-2.0-or-later
"""Which properties a step can change: those that read a column of the state which the step writes.

The others need not be asked again, and most steps only read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from pagelab.errors import BadInput
from pagelab.lang.graph import Do

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System

#: Properties that a search can look at.
MOST = 32
ALL = (1 << MOST) - 1

_WRITES = frozenset({Do.STORE, Do.LOCK, Do.UNLOCK, Do.TRYLOCK})
_IRQS = frozenset({Do.IRQS_OFF, Do.IRQS_ON, Do.IRQ_ENTER})


def _column(node: FlatNode) -> Hashable:
    assert node.place is not None
    return id(node.place.table), node.place.field.name


def _written(nodes: Iterable[FlatNode]) -> set[Hashable]:
    columns: set[Hashable] = set()
    for node in nodes:
        if node.do in _WRITES:
            columns.add(_column(node))
        elif node.do in _IRQS:
            columns.add("irqs")
    return columns


def _read(nodes: Iterable[FlatNode]) -> set[Hashable]:
    columns: set[Hashable] = set()
    for node in nodes:
        if node.place is not None:
            columns.add(_column(node))
        elif node.do is Do.IRQS_TEST:
            columns.add("irqs")
    return columns


def _step_from(stop: FlatNode) -> list[FlatNode]:
    """The nodes of the step that begins at a stop."""
    todo, seen = [stop], {stop.id: stop}
    while todo:
        for following in todo.pop().successors():
            if not following.begins_step and following.id not in seen:
                seen[following.id] = following
                todo.append(following)
    return list(seen.values())


def stops_of(system: System) -> int:
    """Room for the stops of any thread, which are numbered from 1."""
    return 1 + max(len(slots.entries) for slots in system.slots)


def properties_touched(system: System) -> list[int]:
    """For [thread * stops_of(system) + stop] the properties, as bits, that the step from there may change.

    :raises BadInput: for more properties than there are bits.
    """
    if len(system.invariants) > MOST:
        raise BadInput(f"there are {len(system.invariants)} invariants", f"check at most {MOST} of them at once")
    stops = stops_of(system)
    touched = [0] * (len(system.programs) * stops)
    if getattr(system, "memory", "sc") != "sc":
        return [ALL] * len(touched)
    read = [_read(program.nodes) for program in system.checked]
    for t, slots in enumerate(system.slots):
        for i, stop in enumerate(slots.entries, 1):
            written = _written(_step_from(stop))
            touched[t * stops + i] = sum(1 << k for k, columns in enumerate(read) if columns & written)
    return touched
