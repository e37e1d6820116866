# SPDX-License-Identifier: GPL-2.0-or-later
"""Which locals of a thread live from one step to the next, and where in the state they are kept.

Locals that are never needed at the same time share a slot, and a slot whose local is dead is zeroed, so that situations
that differ in nothing that matters are one state.

Sets of locals and of slots are bits of an integer here: there is a set for each of thousands of nodes.
"""

from __future__ import annotations

from pagelab.lang.flatten import Flattener
from pagelab.lang.graph import Do


class Slots:
    """Slots of one thread's program.

    ``entries``: the nodes at which it can stop, in the order of their numbers; ``live``: by id of a node, the locals
    needed at or after it; ``slot``: slot of each local that lives across a stop; ``zero``: by id of an entry, the slots
    to clear when stopping there; ``chooses``: ids of the entries whose step may choose.
    """

    def __init__(self, program: Flattener) -> None:
        self.nodes = program.nodes  # a node's id is its place in the list
        self.entries = [node for node in self.nodes if node.begins_step]
        self._following = [[following.id for following in node.successors()] for node in self.nodes]
        self._bit: dict[str, int] = {}
        live = self._liveness()
        self.live = self._named(live)
        self.slot = self._colour(live)
        self.count = 1 + max(self.slot.values(), default=-1)
        self.zero = self._dirty()
        self.chooses = self._choices()

    def _bits(self, names: list[str]) -> int:
        bits = 0
        for name in names:
            bits |= self._bit.setdefault(name, 1 << len(self._bit))
        return bits

    def _liveness(self) -> list[int]:
        """The locals needed at or after each node."""
        uses = [self._bits(node.uses()) for node in self.nodes]
        kept = [~self._bits([node.local]) if node.local else -1 for node in self.nodes]
        before: list[list[int]] = [[] for _ in self.nodes]
        for number, following in enumerate(self._following):
            for successor in following:
                before[successor].append(number)
        live = [0] * len(self.nodes)
        todo = list(range(len(self.nodes)))
        waiting = [True] * len(self.nodes)
        while todo:
            number = todo.pop()
            waiting[number] = False
            now = uses[number] | self._after(number, live) & kept[number]
            if now != live[number]:
                live[number] = now
                for one in before[number]:
                    if not waiting[one]:
                        waiting[one] = True
                        todo.append(one)
        return live

    def _after(self, number: int, live: list[int]) -> int:
        needed = 0
        for successor in self._following[number]:
            needed |= live[successor]
        return needed

    def _named(self, live: list[int]) -> dict[int, frozenset[str]]:
        names = list(self._bit)
        sets = {bits: frozenset(names[i] for i in places(bits)) for bits in set(live)}
        return {number: sets[bits] for number, bits in enumerate(live)}

    def _colour(self, live: list[int]) -> dict[str, int]:
        """Greedy colouring: two locals that are needed at the same time get different slots."""
        across = 0
        for entry in self.entries:
            across |= live[entry.id]
        groups = {bits & across for bits in live}
        for node in self.nodes:
            own = self._bit[node.local] if node.local else 0
            groups.add((self._after(node.id, live) | own) & across)
        kept = {name: bit for name, bit in self._bit.items() if bit & across}
        conflicts = {name: self._together(bit, groups) & ~bit for name, bit in kept.items()}
        slot: dict[str, int] = {}
        for name in sorted(kept, key=lambda n: (-conflicts[n].bit_count(), n)):
            taken = {number for other, number in slot.items() if conflicts[name] & kept[other]}
            slot[name] = next(i for i in range(len(kept)) if i not in taken)
        return slot

    @staticmethod
    def _together(bit: int, groups: set[int]) -> int:
        """All that are in a group with one."""
        found = 0
        for group in groups:
            if group & bit:
                found |= group
        return found

    def _dirty(self) -> dict[int, list[int]]:
        """Slots that may hold a dead local when a stop is reached."""
        alive = {entry.id: 0 for entry in self.entries}
        for entry in self.entries:
            for name in self.live[entry.id]:
                alive[entry.id] |= 1 << self.slot[name]
        own = [1 << self.slot[node.local] if node.local in self.slot else 0 for node in self.nodes]
        dirty = [alive.get(number, 0) for number in range(len(self.nodes))]
        zero = dict.fromkeys(alive, 0)
        todo = list(range(len(self.nodes)))
        while todo:
            number = todo.pop()
            now = dirty[number] | own[number]
            for successor in self._following[number]:
                if successor in alive:
                    zero[successor] |= now & ~alive[successor]
                elif now & ~dirty[successor]:
                    dirty[successor] |= now
                    todo.append(successor)
        return {number: places(bits) for number, bits in zero.items()}

    def _choices(self) -> set[int]:
        """The entries whose step may choose."""
        choosing = [node.id for node in self.nodes if node.do is Do.CHOOSE]
        if not choosing:
            return set()
        found = set()
        for entry in self.entries:
            todo, seen = [entry.id], {entry.id}
            while todo:
                number = todo.pop()
                if number in choosing:
                    found.add(entry.id)
                for successor in self._following[number]:
                    if successor not in seen and not self.nodes[successor].begins_step:
                        seen.add(successor)
                        todo.append(successor)
        return found


def places(bits: int) -> list[int]:
    """Which bits of an integer are set."""
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found
