# SPDX-License-Identifier: GPL-2.0-or-later
"""What a step may read and write, found without running it: all paths through it, with the locals that are known.

Cells of the state (a field of a row, the irqs of a CPU) are bits of an integer, so a set of cells is an integer, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pagelab.lang.graph import FOLD, Do, Expr, Op, Place

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System

#: Pairs of a node and known locals that are looked at before the locals are given up.
PATIENCE = 2500

Known = tuple[tuple[str, int], ...]


class Cells:
    """Numbers for all cells of a system's state."""

    def __init__(self, system: System) -> None:
        self.first: dict[tuple[int, str], int] = {}
        self.shape: dict[int, tuple[int, ...]] = {}
        count = 0
        for table, laid in system.layout.tables.items():
            self.shape[id(table)] = laid.shape
            for name in laid.fields:
                self.first[id(table), name] = count
                count += laid.rows
        self.tokens = count
        self.cpus = system.cpus

    def interrupt(self, cpu: int) -> int:
        """Whether an interrupt of a CPU is under way."""
        return 1 << (self.tokens + self.cpus + cpu) if cpu >= 0 else 0

    def of(self, place: Place, known: Mapping[str, int]) -> int:
        """The cells that a place may be; 0 if it is surely outside of its table."""
        shape = self.shape[id(place.table)]
        rows = [0]
        for expression, size in zip(place.indices, shape, strict=True):
            index = evaluate(expression, known)
            if index is None:
                rows = [row * size + i for row in rows for i in range(size)]
            elif 0 <= index < size:
                rows = [row * size + index for row in rows]
            else:
                return 0
        cells = 0
        for row in rows:
            cells |= 1 << row
        return cells << self.first[id(place.table), place.field.name]

    def token(self, expression: Expr, known: Mapping[str, int]) -> int:
        """The irqs of a CPU, or of all CPUs if it is not known which."""
        cpu = evaluate(expression, known)
        if cpu is None:
            return ((1 << self.cpus) - 1) << self.tokens
        return 1 << (self.tokens + cpu) if 0 <= cpu < self.cpus else 0


def evaluate(expression: Expr, known: Mapping[str, int]) -> int | None:
    """The value of an expression, None if that depends on what is not known."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return known.get(expression)
    a, b = evaluate(expression.a, known), evaluate(expression.b, known)
    if a is None or b is None:
        return None
    try:
        return int(FOLD[expression.op](a, b))
    except (ZeroDivisionError, ValueError, OverflowError):
        return None


@dataclass(slots=True)
class Effect:
    """What a step may do, at most.

    ``next``: ids of the stops that may follow; ``waits``: whether it may be impossible to take; ``waits_first``: only
    its first operation makes it so; ``passes``: whether it may be possible at all; ``chooses``: whether it has several
    outcomes.  ``decisive``: what is read on the ways to a result of 0, for properties.
    """

    reads: int = 0
    writes: int = 0
    next: set[int] = field(default_factory=set)
    waits: bool = False
    waits_first: bool = True
    passes: bool = False
    chooses: bool = False
    decisive: int = 0


class Explorer:
    """Looks at the steps of one program.

    :param live: by id of a node the locals that are needed from there on; what is known of others is forgotten.
    """

    def __init__(self, cells: Cells, live: Mapping[int, frozenset[str]], end: FlatNode) -> None:
        self.cells, self.live, self.end = cells, live, end

    def effect(self, entry: FlatNode, held: int) -> Effect:
        """Of the step that begins at a node, while the locks in ``held`` are taken and irqs off, by somebody else."""
        effect = self._explore(entry, held, forget=False)
        return effect if effect is not None else self._sure(self._explore(entry, held, forget=True))

    @staticmethod
    def _sure(effect: Effect | None) -> Effect:
        assert effect is not None, "there are not so many nodes"
        return effect

    def _explore(self, entry: FlatNode, held: int, *, forget: bool) -> Effect | None:
        effect = Effect()
        start: tuple[FlatNode, Known] = (entry, ())
        before: dict[tuple[int, Known], list[tuple[int, Known]]] = {(entry.id, ()): []}
        read: dict[tuple[int, Known], int] = {}
        bad: list[tuple[int, Known]] = []
        todo = [start]
        while todo:
            node, known = todo.pop()
            here = (node.id, known)
            if len(before) > PATIENCE and not forget:
                return None
            for then, after in self._go(node, dict(known), held, effect, here, read, node is entry):
                if then is self.end:
                    effect.passes = True
                    effect.next.add(then.id)
                    if dict(after).get("returned", 0) == 0:
                        bad.append(here)
                elif then.begins_step:
                    effect.passes = True
                    effect.next.add(then.id)
                else:
                    kept = (
                        ()
                        if forget
                        else tuple(sorted((name, x) for name, x in after.items() if name in self.live[then.id]))
                    )
                    following = (then.id, kept)
                    if following in before:
                        before[following].append(here)
                    else:
                        before[following] = [here]
                        todo.append((then, kept))
        reached = set(bad)
        while bad:
            here = bad.pop()
            effect.decisive |= read.get(here, 0)
            for earlier in before[here]:
                if earlier not in reached:
                    reached.add(earlier)
                    bad.append(earlier)
        return effect

    def _go(
        self,
        node: FlatNode,
        known: dict[str, int],
        held: int,
        effect: Effect,
        here: tuple[int, Known],
        read: dict[tuple[int, Known], int],
        first: bool,
    ) -> Iterable[tuple[FlatNode, dict[str, int]]]:
        """The nodes that may follow, with what is known there."""
        value: int | None = None
        reads = writes = 0
        match node.do:
            case Do.LOAD:
                reads = self._cells(node, known)
                value = 1 if reads & held and reads & (reads - 1) == 0 else None
            case Do.STORE | Do.UNLOCK:
                writes = self._cells(node, known)
                reads = writes if node.do is Do.UNLOCK else 0
            case Do.LOCK:
                reads = writes = self._cells(node, known)
            case Do.TRYLOCK:
                reads = writes = self._cells(node, known)
                value = 0 if reads & held and reads & (reads - 1) == 0 else None
            case Do.IRQS_OFF | Do.IRQS_ON:
                reads = writes = self.cells.token(node.value, known)
            case Do.IRQS_TEST:
                reads = self.cells.token(node.value, known)
                value = 1 if reads & held and reads & (reads - 1) == 0 else None
            case Do.SET:
                value = evaluate(node.value, known)
            case Do.CHOOSE:
                effect.chooses = effect.waits = True
                effect.waits_first = False
            case Do.WAIT:
                effect.waits, effect.waits_first = True, False
                if evaluate(node.value, known) == 0:
                    return
            case Do.ASSERT:
                effect.passes = True
                return
            case _:
                pass
        effect.reads |= reads
        effect.writes |= writes
        read[here] = reads
        if node.do in (Do.LOCK, Do.IRQS_OFF):
            effect.waits = True
            effect.waits_first = effect.waits_first and first
            if reads & held and reads & (reads - 1) == 0:
                return
        if node.do is Do.BRANCH:
            truth = evaluate(node.value, known)
            if truth is None or truth:
                assert node.then is not None
                yield node.then, known
            if not truth:
                assert node.other is not None
                yield node.other, known
            return
        if node.local:
            known.pop(node.local, None)
            if value is not None:
                known[node.local] = value
        assert node.then is not None, "an edge leads nowhere"
        yield node.then, known

    def _cells(self, node: FlatNode, known: Mapping[str, int]) -> int:
        assert node.place is not None
        return self.cells.of(node.place, known)


def locks_held(entry: FlatNode, cells: Cells) -> dict[int, int]:
    """By id of a node, the locks and irqs that the thread surely holds when it comes there."""
    Facts = tuple[int, frozenset[tuple[str, int]]]
    facts: dict[int, Facts] = {entry.id: (0, frozenset())}
    todo = [entry]
    while todo:
        node = todo.pop()
        for then, after in _facts_after(node, *facts[node.id], cells):
            if then.id not in facts:
                facts[then.id] = after
                todo.append(then)
                continue
            held, tries = facts[then.id]
            both = (held & after[0], tries & after[1])
            if both != facts[then.id]:
                facts[then.id] = both
                todo.append(then)
    return {number: held for number, (held, _) in facts.items()}


def _facts_after(
    node: FlatNode, held: int, tries: frozenset[tuple[str, int]], cells: Cells
) -> Iterable[tuple[FlatNode, tuple[int, frozenset[tuple[str, int]]]]]:
    """What is sure after a node: locks held, and locals that say whether a lock was taken."""
    if node.do is Do.BRANCH:
        assert node.then is not None
        assert node.other is not None
        taken = _locks_of(node.value, tries)
        not_taken = _locks_of(node.value.a, tries) if isinstance(node.value, Op) and node.value.op == "not" else 0
        yield node.then, (held | taken, tries)
        yield node.other, (held | not_taken, tries)
        return
    if node.local:
        tries = frozenset(fact for fact in tries if fact[0] != node.local)
    if node.do in (Do.LOCK, Do.TRYLOCK, Do.UNLOCK):
        assert node.place is not None
        some = cells.of(node.place, {})
        sure = some & (some - 1) == 0
        if node.do is Do.LOCK and sure:
            held |= some
        elif node.do is Do.UNLOCK:
            held &= ~some
        elif node.do is Do.TRYLOCK and sure and node.local:
            tries |= {(node.local, some)}
    elif node.do is Do.SET and node.local and isinstance(node.value, str):
        tries |= {(node.local, lock) for name, lock in tries if name == node.value}
    elif node.do in (Do.IRQS_OFF, Do.IRQS_ON):
        token = cells.token(node.value, {})
        held = held | token if node.do is Do.IRQS_OFF and token & (token - 1) == 0 else held & ~token
    if node.then is not None:
        yield node.then, (held, tries)


def _locks_of(expression: Expr, tries: frozenset[tuple[str, int]]) -> int:
    """The locks that are held where an expression is true."""
    held = 0
    if isinstance(expression, str):
        for name, lock in tries:
            if name == expression:
                held |= lock
    return held
