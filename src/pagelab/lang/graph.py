# SPDX-License-Identifier: GPL-2.0-or-later
"""The control-flow graph of a procedure: what is shared, what is local, what is called.

Expressions are pure over locals; every access to shared state, every lock operation and every irq boundary is a node of
its own.  Straight code runs through the nodes; a stepped machine stops at the shared ones.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pagelab.lang.declare import Field, Table


class Op(NamedTuple):
    """An operation on locals and constants: two operands, or one and ``b`` is 0 ('not')."""

    op: str
    a: Expr
    b: Expr = 0


#: A constant, the name of a local, or an operation.
Expr: TypeAlias = "int | str | Op"


class Place(NamedTuple):
    """A field of one row of a table; ``indices`` has one expression a dimension."""

    table: Table[Any]
    field: Field
    indices: tuple[Expr, ...]

    def __str__(self) -> str:
        return f"{self.table.name}.{self.field.name}"


class Do(enum.Enum):
    """What a node does."""

    SET = "set"  # local = expression
    BRANCH = "branch"  # on expression: then or other
    ASSERT = "assert"
    CALL = "call"
    RETURN = "return"
    # Shared: visible to other CPUs.
    LOAD = "load"
    STORE = "store"
    LOCK = "lock"
    UNLOCK = "unlock"
    TRYLOCK = "trylock"
    IRQS_OFF = "irqs_off"  # value: the CPU; waits while some context has its irqs off
    IRQS_ON = "irqs_on"
    IRQS_TEST = "irqs_test"  # local = whether the CPU has its irqs off
    ATOMIC = "atomic"  # begins a section that is one step
    WRITE_BACK = "write_back"  # value: a store buffer, whose oldest entry reaches memory; waits while there is none
    IRQ_ENTER = "irq_enter"  # an interrupt begins; only in a thread's program, see pagelab.lang.contexts
    # Within the step of the node before.
    ATOMIC_END = "atomic_end"
    WAIT = "wait"  # the step cannot be taken unless the expression holds
    CHOOSE = "choose"  # local = any of args[0] to args[1] - 1


SHARED = frozenset(
    {
        Do.LOAD,
        Do.STORE,
        Do.LOCK,
        Do.UNLOCK,
        Do.TRYLOCK,
        Do.IRQS_OFF,
        Do.IRQS_ON,
        Do.IRQS_TEST,
        Do.ATOMIC,
        Do.WRITE_BACK,
        Do.IRQ_ENTER,
    }
)


@dataclass(slots=True, eq=False)
class Node:
    """One step.  ``then`` follows it; ``other`` follows a branch whose expression is 0."""

    do: Do
    line: int
    local: str = ""  # what SET, LOAD, TRYLOCK and CALL assign; "" for a CALL whose value is not used
    value: Expr = 0  # SET, BRANCH, ASSERT, RETURN, STORE, IRQS_*
    place: Place | None = None
    callee: Procedure | None = None
    args: tuple[Expr, ...] = ()
    text: str = ""  # ASSERT: what to say
    then: Node | None = None
    other: Node | None = None
    within_step: bool = False  # inside an atomic section
    section: bool = False  # IRQS_*: of a with-section, which changes nothing within another

    @property
    def shared(self) -> bool:
        """Whether a step of its own begins here: other CPUs may come in before it."""
        return self.do in SHARED and not self.within_step

    def successors(self) -> Iterator[Node]:
        """The nodes that may follow."""
        if self.then is not None:
            yield self.then
        if self.other is not None:
            yield self.other

    def uses(self) -> list[str]:
        """Names of the locals that this node reads."""
        return locals_of(self.value, *self.args, *(self.place.indices if self.place is not None else ()))


@dataclass(slots=True, eq=False)
class Procedure:
    """A procedure of the model: its nodes start at ``entry``."""

    name: str
    file: str
    line: int
    params: tuple[str, ...]
    returns_value: bool
    entry: Node | None = None
    nodes: list[Node] = field(default_factory=list)
    callees: list[Procedure] = field(default_factory=list)

    def locals(self) -> list[str]:
        """All locals, parameters first."""
        names = dict.fromkeys(self.params)
        names.update(dict.fromkeys(n.local for n in self.nodes if n.local))
        return list(names)


def locals_of(*expressions: Expr) -> list[str]:
    """Names of the locals in expressions."""
    found = []
    for expression in expressions:
        if isinstance(expression, str):
            found.append(expression)
        elif isinstance(expression, Op):
            found += locals_of(expression.a, expression.b)
    return found


FOLD: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b),
    ">=": lambda a, b: int(a >= b),
    "min": min,
    "max": max,
    "not": lambda a, b: int(not a),
}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


def operation(op: str, a: Expr, b: Expr = 0) -> Expr:
    """The operation, computed now if both operands are constants.

    :raises ZeroDivisionError: for a division of constants by 0.
    :raises ValueError: for a shift of constants by a negative count.
    """
    if isinstance(a, int) and isinstance(b, int):
        return int(FOLD[op](a, b))
    if b == 0 and op in ("+", "-", "<<", ">>", "|", "^"):
        return a
    if a == 0 and op in ("+", "|"):
        return b
    if b == 1 and op in ("*", "//"):
        return a
    return Op(op, a, b)
