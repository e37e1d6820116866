# SPDX-License-Identifier: GPL-2.0-or-later
"""Which locals of a thread live from one step to the next, and where in the state they are kept.

Locals that are never needed at the same time share a slot, and a slot whose local is dead is zeroed, so that situations
that differ in nothing that matters are one state.
"""

from __future__ import annotations

from pagelab.lang.flatten import FlatNode, Flattener
from pagelab.lang.graph import Do


class Slots:
    """Slots of one thread's program.

    ``entries``: the nodes at which it can stop, in the order of their numbers; ``slot``: slot of each local that lives
    across a stop; ``zero``: by id of an entry, the slots to clear when stopping there.
    """

    def __init__(self, program: Flattener) -> None:
        self.nodes = program.nodes
        self.entries = [node for node in self.nodes if node.begins_step]
        self.live = self._liveness()
        self.slot = self._colour()
        self.count = 1 + max(self.slot.values(), default=-1)
        self.zero = self._dirty()
        self.chooses = self._choices()

    def _liveness(self) -> dict[int, frozenset[str]]:
        """The locals needed at or after each node."""
        live: dict[int, frozenset[str]] = {node.id: frozenset() for node in self.nodes}
        before: dict[int, list[FlatNode]] = {node.id: [] for node in self.nodes}
        for node in self.nodes:
            for successor in node.successors():
                before[successor.id].append(node)
        todo = list(self.nodes)
        while todo:
            node = todo.pop()
            now = frozenset(node.uses()) | (self._after(node, live) - {node.local})
            if now != live[node.id]:
                live[node.id] = now
                todo.extend(before[node.id])
        return live

    @staticmethod
    def _after(node: FlatNode, live: dict[int, frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*(live[successor.id] for successor in node.successors()))

    def _colour(self) -> dict[str, int]:
        """Greedy colouring: two locals that are needed at the same time get different slots."""
        kept = frozenset().union(*(self.live[node.id] for node in self.entries))
        conflicts: dict[str, set[str]] = {name: set() for name in kept}
        for node in self.nodes:
            after = self._after(node, self.live)
            for group in (self.live[node.id] & kept, (after | {node.local}) & kept):
                for name in group:
                    conflicts[name] |= group - {name}
        slot: dict[str, int] = {}
        for name in sorted(kept, key=lambda n: (-len(conflicts[n]), n)):
            taken = {slot[other] for other in conflicts[name] if other in slot}
            slot[name] = next(i for i in range(len(kept)) if i not in taken)
        return slot

    def _dirty(self) -> dict[int, list[int]]:
        """Slots that may hold a dead local when a stop is reached."""
        alive = {node.id: {self.slot[n] for n in self.live[node.id] if n in self.slot} for node in self.entries}
        dirty: dict[int, set[int]] = {node.id: set(alive.get(node.id, ())) for node in self.nodes}
        zero: dict[int, set[int]] = {node.id: set() for node in self.entries}
        todo = list(self.nodes)
        while todo:
            node = todo.pop()
            now = dirty[node.id] | ({self.slot[node.local]} if node.local in self.slot else set())
            for successor in node.successors():
                if successor.begins_step:
                    zero[successor.id] |= now - alive[successor.id]
                elif not now <= dirty[successor.id]:
                    dirty[successor.id] |= now
                    todo.append(successor)
        return {number: sorted(slots) for number, slots in zero.items()}

    def _choices(self) -> set[int]:
        """Ids of the entries whose step may choose."""
        found = set()
        for entry in self.entries:
            todo, seen = [entry], {entry.id}
            while todo:
                node = todo.pop()
                if node.do is Do.CHOOSE:
                    found.add(entry.id)
                for successor in node.successors():
                    if successor.id not in seen and not successor.begins_step:
                        seen.add(successor.id)
                        todo.append(successor)
        return found
