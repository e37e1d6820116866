# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a thread runs with the irqs of a CPU off: known for each node of its program before anything runs.

As with local_irq_save() and local_irq_restore(), a section within a section, or after local_irq_disable(), changes
nothing: its nodes are folded away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pagelab.lang.graph import Do, Expr
from pagelab.lang.subset import SubsetError

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode


class Off(NamedTuple):
    """What has switched the irqs off before a node: so many with-sections, local_irq_disable(), of this CPU."""

    sections: int
    disabled: bool
    cpu: Expr


ON = Off(0, False, 0)


def fold_irqs(entry: FlatNode) -> None:
    """Set ``irqs_off`` of the nodes from here on, and make empty ones of those that change nothing.

    :raises SubsetError: if that depends on the way that led to a node, or for a call that does not fit what is so.
    """
    known: dict[int, Off] = {id(entry): ON}
    todo = [entry]
    while todo:
        node = todo.pop()
        before = known[id(node)]
        node.irqs_off = None if before == ON else before.cpu
        after = _after(node, before)
        for successor in node.successors():
            if id(successor) not in known:
                known[id(successor)] = after
                todo.append(successor)
            elif known[id(successor)] != after:
                raise _error(successor, "irqs are off on one way to here and on on another")


def _after(node: FlatNode, before: Off) -> Off:
    match node.do:
        case Do.IRQS_OFF:
            after = _switched_off(node, before)
        case Do.IRQS_ON:
            after = _switched_on(node, before)
        case _:
            return before
    if (before == ON) == (after == ON):
        node.do, node.begins_step, node.value = Do.SET, False, 0
    return after


def _switched_off(node: FlatNode, before: Off) -> Off:
    cpu = node.value if before == ON else before.cpu
    if node.section:
        return Off(before.sections + 1, before.disabled, cpu)
    if before.sections:
        raise _error(node, "local_irq_disable() in a section that has the irqs off: what follows may not enable them")
    return Off(0, True, cpu)


def _switched_on(node: FlatNode, before: Off) -> Off:
    if node.section:
        after = before._replace(sections=before.sections - 1)
        return after if after.sections or after.disabled else ON
    if before.sections:
        raise _error(node, "local_irq_enable() in a section that has the irqs off")
    if not before.disabled:
        raise _error(node, "local_irq_enable() where the thread has not disabled them")
    return ON


def _error(node: FlatNode, message: str) -> SubsetError:
    _, file, line = node.frames[-1]
    return SubsetError(message, file, line)
