# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said of a graph without running it: which nodes are reached, which locals are surely assigned."""

from __future__ import annotations

from pagelab.lang.graph import Do, Node, Procedure


def drop_unreachable(procedure: Procedure) -> None:
    """List the nodes that can be reached, in order, and skip empty ones (the heads of loops, the start)."""

    def skip(node: Node | None) -> Node | None:
        seen: set[int] = set()
        while node is not None and node.do is Do.SET and not node.local and id(node) not in seen:
            seen.add(id(node))
            node = node.then
        return node

    procedure.entry = skip(procedure.entry)
    todo = [procedure.entry] if procedure.entry is not None else []
    reached: dict[int, Node] = {}
    while todo:
        node = todo.pop()
        if id(node) in reached:
            continue
        reached[id(node)] = node
        node.then, node.other = skip(node.then), skip(node.other)
        todo.extend(reversed(list(node.successors())))
    procedure.nodes = list(reached.values())


def check_assigned(procedure: Procedure) -> tuple[str, int] | None:
    """A local that some path uses before assigning it, with the line of the use; None if there is none."""
    if procedure.entry is None:
        return None
    bit = {name: 1 << i for i, name in enumerate(procedure.locals())}  # parameters first
    known = {id(procedure.entry): (1 << len(procedure.params)) - 1}
    todo = [procedure.entry]
    while todo:
        node = todo.pop()
        after = known[id(node)] | bit.get(node.local, 0)
        for successor in (node.then, node.other):
            if successor is None:
                continue
            before = known.get(id(successor), -1)
            now = before & after
            if now != before:
                known[id(successor)] = now
                todo.append(successor)
    for node in procedure.nodes:
        for name in node.uses():
            if not known[id(node)] & bit.get(name, 0):
                return name, node.line
    return None
