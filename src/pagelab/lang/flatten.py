# SPDX-License-Identifier: GPL-2.0-or-later
"""One thread's program: the graph of a procedure with all calls expanded, arguments that are constant folded in.

A stepped machine stops in the middle of procedures, so it has no calls; each call becomes a copy of what is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pagelab.lang.graph import SHARED, Do, Expr, Node, Op, Place, Procedure, locals_of, operation
from pagelab.lang.irqs import fold_irqs

#: A place in the source: procedure, file, line.
Frame = tuple[str, str, int]


@dataclass(slots=True, eq=False, repr=False)
class FlatNode:
    """A node of a thread's program.  ``frames``: where it stands, the innermost procedure last.

    ``begins_step``: other threads may come in before it.  ``irqs_off``: the CPU whose irqs this thread has off when it
    comes here, None if it has none off.  ``given``: for each frame the arguments that it was called with, by name, but
    for those that it assigns.
    """

    do: Do
    frames: tuple[Frame, ...]
    begins_step: bool = False
    local: str = ""
    value: Expr = 0
    place: Place | None = None
    args: tuple[Expr, ...] = ()
    text: str = ""
    then: FlatNode | None = None
    other: FlatNode | None = None
    id: int = -1
    section: bool = False
    irqs_off: Expr | None = None
    given: tuple[Mapping[str, Expr], ...] = ()

    def __repr__(self) -> str:
        function, file, line = self.frames[-1]
        return f"<{self.do.value} of {function} at {file}:{line}>"

    def successors(self) -> Iterator[FlatNode]:
        """The nodes that may follow."""
        if self.then is not None:
            yield self.then
        if self.other is not None:
            yield self.other

    def uses(self) -> list[str]:
        """Names of the locals that this node reads."""
        return locals_of(self.value, *self.args, *(self.place.indices if self.place is not None else ()))


def substitute(e: Expr, names: Mapping[str, Expr]) -> Expr:
    """The expression with its locals renamed or replaced, folded where that makes it constant."""
    if isinstance(e, int):
        return e
    if isinstance(e, str):
        return names[e]
    a, b = substitute(e.a, names), substitute(e.b, names)
    try:
        return operation(e.op, a, b)
    except (ZeroDivisionError, ValueError):
        return Op(e.op, a, b)  # faults when it is reached


class Flattener:
    """Expands one call; ``entry`` is where it starts, ``end`` where the thread has ended.

    :param result: a local that gets what the procedure returns, "" for none.
    :param interrupt: it begins with a node that says so.
    """

    def __init__(
        self, procedure: Procedure, args: tuple[int, ...], result: str = "", *, interrupt: bool = False
    ) -> None:
        self.instances = 0
        self._assigned: dict[Procedure, tuple[set[str], list[Node]]] = {}
        self.end = FlatNode(Do.RETURN, ((procedure.name, procedure.file, procedure.line),), begins_step=True)
        self.entry = _skip(self.expand(procedure, args, (), None, result, self.end))
        self.reachable()
        fold_irqs(self.entry)
        self.entry = _skip(self.entry)
        if interrupt:
            self.entry = FlatNode(Do.IRQ_ENTER, self.end.frames, begins_step=True, then=self.entry)
        self.nodes = self.reachable()

    def expand(
        self,
        procedure: Procedure,
        args: tuple[Expr, ...],
        frames: tuple[Frame, ...],
        around: Node | None,
        result: str,
        after: FlatNode,
        given: tuple[Mapping[str, Expr], ...] = (),
    ) -> FlatNode:
        """A copy of a procedure; its first node.

        ``around``: the call, with the sections that it stands in; ``result`` is assigned what it returns, ``after``
        follows it; ``given``: what the frames around it were called with.
        """
        self.instances += 1
        number = self.instances
        assigned, once = self._assignments(procedure)
        names: dict[str, Expr] = {name: f"{name}#{number}" for name in procedure.locals()}
        here = (*frames, (procedure.name, procedure.file, procedure.line))
        first = last = FlatNode(Do.SET, here)
        for name, arg in zip(procedure.params, args, strict=True):
            # A caller's local cannot change while the call lasts.
            if name not in assigned and isinstance(arg, int | str):
                names[name] = arg
            else:
                last.then = FlatNode(Do.SET, here, local=f"{name}#{number}", value=arg)
                last = last.then
        given = (*given, {name: names[name] for name in procedure.params if name not in assigned})
        # Locals that are assigned once, and a constant, are replaced by it: the limit of a loop, for example.
        for node in once:
            value = substitute(node.value, names)
            if isinstance(value, int) and names[node.local] == f"{node.local}#{number}":
                names[node.local] = value
        copies: dict[int, FlatNode] = {}
        todo: list[tuple[Node, FlatNode]] = []

        def copy(node: Node | None) -> FlatNode:
            while node is not None and node.do is Do.BRANCH:
                value = substitute(node.value, names)
                if not isinstance(value, int):
                    break
                node = node.then if value else node.other
            assert node is not None, f"{procedure.name}: an edge leads nowhere"
            if id(node) not in copies:
                inside = node.within_step or (around is not None and around.within_step)
                place = node.place
                if place is not None and place.indices:
                    place = place._replace(indices=tuple([substitute(index, names) for index in place.indices]))
                copies[id(node)] = FlatNode(
                    node.do,
                    (*frames, (procedure.name, procedure.file, node.line)),
                    begins_step=node.do in SHARED and not inside,
                    local=_target(names, node.local),
                    value=substitute(node.value, names),
                    place=place,
                    args=tuple([substitute(arg, names) for arg in node.args]),
                    text=node.text,
                    section=node.section,
                    given=given,
                )
                todo.append((node, copies[id(node)]))
            return copies[id(node)]

        last.then = copy(procedure.entry)
        while todo:
            node, made = todo.pop()
            if node.do is Do.RETURN:
                made.do, made.local, made.then = Do.SET, result, after
            elif node.do is Do.CALL:
                assert node.callee is not None
                call = Node(
                    Do.CALL,
                    node.line,
                    within_step=node.within_step or (around is not None and around.within_step),
                )
                made.do = Do.SET
                target, made.local = made.local, ""
                made.then = self.expand(node.callee, made.args, made.frames, call, target, copy(node.then), given)
                made.args = ()
            elif node.do is not Do.ASSERT:
                made.then = copy(node.then)
                if node.do is Do.BRANCH:
                    made.other = copy(node.other)
        return first

    def _assignments(self, procedure: Procedure) -> tuple[set[str], list[Node]]:
        """The locals that a procedure assigns; the nodes that set one which no other assigns, and no caller gives."""
        if procedure not in self._assigned:
            times: dict[str, int] = dict.fromkeys(procedure.params, 1)
            for node in procedure.nodes:
                if node.local:
                    times[node.local] = times.get(node.local, 0) + 1
            once = [node for node in procedure.nodes if node.do is Do.SET and times.get(node.local) == 1]
            self._assigned[procedure] = {node.local for node in procedure.nodes if node.local}, once
        return self._assigned[procedure]

    def reachable(self) -> list[FlatNode]:
        """All nodes that can be reached, without the empty ones, numbered."""
        todo = [self.entry]
        reached: dict[int, FlatNode] = {}
        while todo:
            node = todo.pop()
            if id(node) in reached:
                continue
            reached[id(node)] = node
            if node.then is not None:
                node.then = _skip(node.then)
                todo.append(node.then)
            if node.other is not None:
                node.other = _skip(node.other)
                todo.append(node.other)
        for number, node in enumerate(reached.values()):
            node.id = number
        return list(reached.values())


def _target(names: Mapping[str, Expr], local: str) -> str:
    """The local that a node assigns; "" if it was replaced by its constant."""
    name = names[local] if local else ""
    return name if isinstance(name, str) else ""


def _skip(node: FlatNode) -> FlatNode:
    """The first node from here on that does something."""
    seen = set()
    while (node.do is Do.ATOMIC_END or (node.do is Do.SET and not node.local)) and node.then is not None:
        if id(node) in seen:
            break
        seen.add(id(node))
        node = node.then
    return node
