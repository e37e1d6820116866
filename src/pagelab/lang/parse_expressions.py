# SPDX-License-Identifier: GPL-2.0-or-later
"""From expressions of annotated Python to nodes and expressions of a graph."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import NoReturn

from pagelab.lang import declare
from pagelab.lang.declare import Constants, Tracepoint
from pagelab.lang.graph import Do, Expr, Node, Place, Procedure, operation
from pagelab.lang.subset import Names, SubsetError

BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
COMPARE: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}

#: Edges that still lead nowhere: (node, whether its ``other`` edge).
Dangling = list[tuple[Node, bool]]


class Expressions:
    """Builds nodes for the expressions of one function; the statements are :mod:`pagelab.lang.parse`'s.

    :param visit: gives the graph of a function that is called.
    """

    def __init__(self, function: FunctionType, visit: Callable[..., Procedure]) -> None:
        self.function = function
        self.file = function.__code__.co_filename
        self.visit = visit
        self.names = Names(function)
        self.line = function.__code__.co_firstlineno
        self.sections = 0  # atomic sections that are open
        self.temporaries = 0
        self.dangling: Dangling = []
        self.local_names: set[str] = set()
        self.procedure = Procedure(function.__name__, self.file, self.line, (), False)

    def fail(self, message: str) -> NoReturn:
        raise SubsetError(message, self.file, self.line)

    # ---- graph building

    def emit(self, node: Node) -> Node:
        """Append a node: every dangling edge leads to it, its ``then`` edge dangles."""
        node.within_step = self.sections > 0
        self.connect(self.dangling, node)
        self.dangling = [] if node.do is Do.RETURN else [(node, False)]
        return node

    @staticmethod
    def connect(edges: Dangling, target: Node) -> None:
        for node, other in edges:
            if other:
                node.other = target
            else:
                node.then = target

    def temporary(self) -> str:
        self.temporaries += 1
        return f".{self.temporaries}"

    # ---- expressions

    def expression(self, e: ast.expr) -> Expr:  # noqa: RET503 (fail() does not return)
        self.line = e.lineno
        match e:
            case ast.Constant(value=bool() | int() as value):
                return int(value)
            case ast.Name() if e.id in self.local_names:
                return e.id
            case ast.Name():
                return self.global_constant(e)
            case ast.Attribute():
                if (fixed := self.fixed_attribute(e)) is not None:
                    return fixed
                place = self.place(e)
                if place.field.kind == "lock":
                    self.fail(f"{place} is a lock: use `with`, trylock() or unlock()")
                local = self.temporary()
                self.emit(Node(Do.LOAD, e.lineno, local=local, place=place))
                return local
            case ast.BinOp():
                if type(e.op) not in BINARY:
                    self.fail(f"operator {type(e.op).__name__} is outside the language")
                return self.operation(BINARY[type(e.op)], self.expression(e.left), self.expression(e.right))
            case ast.UnaryOp(op=ast.USub()):
                return self.operation("-", 0, self.expression(e.operand))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.expression(e.operand)
            case ast.UnaryOp(op=ast.Not()):
                return self.operation("not", self.expression(e.operand))
            case ast.UnaryOp(op=ast.Invert()):
                return self.operation("^", self.expression(e.operand), -1)
            case ast.Compare(ops=[ast.In() | ast.NotIn()]):
                return self.membership(e)
            case ast.Compare(ops=[op]):
                if type(op) not in COMPARE:
                    self.fail(f"comparison {type(op).__name__} is outside the language")
                return self.operation(COMPARE[type(op)], self.expression(e.left), self.expression(e.comparators[0]))
            case ast.Compare() | ast.BoolOp():
                return self.choose(self.condition(e), 1, 0)
            case ast.IfExp():
                return self.choose(self.condition(e.test), e.body, e.orelse)
            case ast.Call():
                return self.call(e)
        self.fail(f"`{ast.unparse(e)}` is outside the language")

    def membership(self, e: ast.Compare) -> Expr:
        """``a in (B, c)``: all are compared, so none may do more than that."""
        among = e.comparators[0]
        if not isinstance(among, ast.Tuple | ast.Set) or not among.elts:
            self.fail("`in` takes a tuple of locals and constants")
        value = self.expression(e.left)
        found: Expr = 0
        for one in among.elts:
            if any(isinstance(x, ast.Attribute | ast.Call) for x in ast.walk(one)) and self.names.constant(one) is None:
                self.fail(f"`{ast.unparse(one)}` is neither a local nor a constant")
            member = self.expression(one)
            found = self.operation("|", found, self.operation("==", value, member))
        return self.operation("not", found) if isinstance(e.ops[0], ast.NotIn) else found

    def operation(self, op: str, a: Expr, b: Expr = 0) -> Expr:
        try:
            return operation(op, a, b)
        except (ZeroDivisionError, ValueError) as error:
            self.fail(f"constant expression: {error}")

    def fixed_attribute(self, e: ast.Attribute) -> int | None:
        value = self.names.constant(e)
        if value is None and isinstance(self.names.lookup(e.value), Constants):
            self.fail(f"{ast.unparse(e)} is not a declared constant")
        return value

    def global_constant(self, e: ast.Name) -> int:
        value = self.names.constant(e)
        if value is None:
            what = "not defined" if self.names.lookup(e) is None else "not an integer constant"
            self.fail(f"name {e.id} is {what}")
        return value

    def choose(self, edges: tuple[Dangling, Dangling], yes: ast.expr | int, no: ast.expr | int) -> Expr:
        """The value of a condition: a local that is set on both ways, or a constant if only one way exists."""
        values: list[tuple[Dangling, Expr]] = []
        for way, result in zip(edges, (yes, no), strict=True):
            if not way:
                continue
            self.dangling = way
            value = result if isinstance(result, int) else self.expression(result)
            values.append((self.dangling, value))
        if len(values) == 1:
            self.dangling, value = values[0]
            return value
        local = self.temporary()
        joined: Dangling = []
        for way, value in values:
            self.dangling = way
            self.emit(Node(Do.SET, self.line, local=local, value=value))
            joined += self.dangling
        self.dangling = joined
        return local

    def condition(self, e: ast.expr) -> tuple[Dangling, Dangling]:
        """Branch on an expression; the edges where it is true, and where it is false."""
        self.line = e.lineno
        if isinstance(e, ast.BoolOp):
            is_and = isinstance(e.op, ast.And)
            left: Dangling = []
            for operand in e.values:
                true, false = self.condition(operand)
                left += false if is_and else true
                self.dangling = true if is_and else false
                if not self.dangling:
                    break
            return (self.dangling, left) if is_and else (left, self.dangling)
        if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.Not):
            true, false = self.condition(e.operand)
            return false, true
        if isinstance(e, ast.Compare) and len(e.ops) > 1:
            return self.chain(e)
        value = self.expression(e)
        return self.branch(value)

    def branch(self, value: Expr) -> tuple[Dangling, Dangling]:
        if isinstance(value, int):
            edges, self.dangling = self.dangling, []
            return (edges, []) if value else ([], edges)
        node = self.emit(Node(Do.BRANCH, self.line, value=value))
        self.dangling = []
        return [(node, False)], [(node, True)]

    def chain(self, e: ast.Compare) -> tuple[Dangling, Dangling]:
        """a < b < c: b once, c only if a < b."""
        left = self.expression(e.left)
        false: Dangling = []
        for op, comparator in zip(e.ops, e.comparators, strict=True):
            if type(op) not in COMPARE:
                self.fail(f"comparison {type(op).__name__} is outside the language")
            right = self.expression(comparator)
            yes, no = self.branch(self.operation(COMPARE[type(op)], left, right))
            false += no
            self.dangling = yes
            left = right
            if not yes:
                break
        return self.dangling, false

    def place(self, e: ast.expr) -> Place:
        """``table[i, j].field`` or ``record.field``."""
        self.line = e.lineno
        if not isinstance(e, ast.Attribute):
            self.fail(f"`{ast.unparse(e)}` is not a field of a table")
        indices: tuple[Expr, ...] = ()
        base = e.value
        table = self.names.table(base.value if isinstance(base, ast.Subscript) else base)
        if table is None:
            self.fail(f"`{ast.unparse(base)}` is neither a table row nor a constant")
        if isinstance(base, ast.Subscript):
            index = base.slice
            parts = index.elts if isinstance(index, ast.Tuple) else [index]
            indices = tuple(self.expression(part) for part in parts)
        if len(indices) != len(table.sizes):
            self.fail(f"table {table.name} takes {len(table.sizes)} indices, not {len(indices)}")
        field = table.fields.get(e.attr)
        if field is None:
            self.fail(f"table {table.name} has no field {e.attr} (it has {', '.join(table.fields)})")
        return Place(table, field, indices)

    def lock_place(self, e: ast.expr) -> Place:
        place = self.place(e)
        if place.field.kind != "lock":
            self.fail(f"{place} is not a lock")
        return place

    def call(self, e: ast.Call) -> Expr:
        line = e.lineno
        target = self.names.function(e.func) if isinstance(e.func, ast.Name | ast.Attribute) else None
        if target in (declare.lock, declare.trylock, declare.unlock):
            if len(e.args) != 1 or e.keywords:
                self.fail(f"{ast.unparse(e.func)}() takes one lock")
            place = self.lock_place(e.args[0])
            if target is not declare.trylock:
                self.emit(Node(Do.LOCK if target is declare.lock else Do.UNLOCK, line, place=place))
                return 0
            local = self.temporary()
            self.emit(Node(Do.TRYLOCK, line, local=local, place=place))
            return local
        if target is declare.held and len(e.args) == 1:
            local = self.temporary()
            self.emit(Node(Do.LOAD, line, local=local, place=self.lock_place(e.args[0])))
            return local
        if target in (declare.local_irq_disable, declare.local_irq_enable) and len(e.args) == 1:
            do = Do.IRQS_OFF if target is declare.local_irq_disable else Do.IRQS_ON
            self.emit(Node(do, line, value=self.expression(e.args[0])))
            return 0
        if target is declare.write_back and len(e.args) == 1:
            self.emit(Node(Do.WRITE_BACK, line, value=self.expression(e.args[0])))
            return 0
        if target is declare.irqs_are_off and len(e.args) == 1:
            cpu = self.expression(e.args[0])
            local = self.temporary()
            self.emit(Node(Do.IRQS_TEST, line, local=local, value=cpu))
            return local
        if target is min or target is max:
            if len(e.args) != 2 or e.keywords:
                self.fail(f"{target.__name__}() takes two integers")
            return self.operation(target.__name__, self.expression(e.args[0]), self.expression(e.args[1]))
        if target is declare.wait_until and len(e.args) == 1:
            return self.wait(e)
        if target is declare.choose and len(e.args) == 2:
            bounds = (self.expression(e.args[0]), self.expression(e.args[1]))
            local = self.temporary()
            self.emit(Node(Do.CHOOSE, line, local=local, args=bounds))
            return local
        if target is bool or target is int:
            value = self.expression(e.args[0])
            return self.operation("!=", value, 0) if target is bool else value
        if isinstance(target, Tracepoint):
            return self.trace(target, e)
        if not isinstance(target, FunctionType):
            self.fail(f"call of `{ast.unparse(e.func)}`, which is not a procedure of the model")
        args = self.arguments(target, e)
        callee = self.visit(target, self, line)
        self.line = line
        local = self.temporary() if callee.returns_value else ""
        self.emit(Node(Do.CALL, line, local=local, callee=callee, args=args))
        if callee not in self.procedure.callees:
            self.procedure.callees.append(callee)
        return local or 0

    def wait(self, e: ast.Call) -> Expr:
        if self.sections == 0:
            self.fail("wait_until() belongs into `with atomic():`, which makes one step of it and what it reads")
        self.emit(Node(Do.WAIT, e.lineno, value=self.expression(e.args[0])))
        return 0

    def open_section(self, line: int) -> None:
        self.emit(Node(Do.ATOMIC, line))
        self.sections += 1

    def arguments(self, target: FunctionType, e: ast.Call) -> tuple[Expr, ...]:
        code = target.__code__
        params = code.co_varnames[: code.co_argcount]
        given: dict[str, Expr] = {}
        if len(e.args) > len(params):
            self.fail(f"{target.__name__}() takes {len(params)} arguments, not {len(e.args)}")
        for name, arg in zip(params, e.args, strict=False):
            given[name] = self.expression(arg)
        for keyword in e.keywords:
            if keyword.arg is None or keyword.arg not in params or keyword.arg in given:
                self.fail(f"{target.__name__}() does not take argument {keyword.arg} here")
            given[keyword.arg] = self.expression(keyword.value)
        defaults = target.__defaults__ or ()
        for name, value in zip(params[len(params) - len(defaults) :], defaults, strict=True):
            given.setdefault(name, int(value))
        missing = [name for name in params if name not in given]
        if missing:
            self.fail(f"call of {target.__name__}() lacks {', '.join(missing)}")
        return tuple(given[name] for name in params)

    def trace(self, point: Tracepoint, e: ast.Call) -> Expr:
        """A call of the attached probe; nothing at all if none is attached."""
        for arg in e.args:
            if any(isinstance(x, ast.Attribute | ast.Call | ast.Subscript) for x in ast.walk(arg)) and (
                self.names.constant(arg) is None
            ):
                self.fail(f"arguments of tracepoint {point.name} must be locals or constants: `{ast.unparse(arg)}`")
        if point.probe is None:
            return 0
        if not isinstance(point.probe, FunctionType):
            self.fail(f"the probe attached to tracepoint {point.name} is not a procedure")
        args = self.arguments(point.probe, e)
        callee = self.visit(point.probe, self, e.lineno)
        self.emit(Node(Do.CALL, e.lineno, callee=callee, args=args))
        if callee not in self.procedure.callees:
            self.procedure.callees.append(callee)
        return 0
