# SPDX-License-Identifier: GPL-2.0-or-later
"""From annotated Python to control-flow graphs: one :class:`Procedure` a function, calls kept as calls."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NoReturn

from pagelab.lang import declare
from pagelab.lang.dataflow import check_assigned, drop_unreachable
from pagelab.lang.declare import Constants, Tracepoint
from pagelab.lang.graph import Do, Expr, Node, Op, Place, Procedure, operation
from pagelab.lang.subset import Names, SubsetError, definition

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


def parse(entries: Iterable[Callable[..., object]]) -> dict[Callable[..., object], Procedure]:
    """Graphs of the given functions and of all they call, callees first.

    Constants, features and attached probes are taken as they are now.

    :raises SubsetError: for anything outside the language; names file and line.
    """
    done: dict[Callable[..., object], Procedure] = {}
    under_way: list[FunctionType] = []

    def visit(function: FunctionType, caller: _Parser | None, line: int) -> Procedure:
        if function in done:
            return done[function]
        if function in under_way:
            chain = " -> ".join(f.__name__ for f in [*under_way[under_way.index(function) :], function])
            where = caller.file if caller else function.__code__.co_filename
            raise SubsetError(f"recursion is outside the language: {chain}", where, line)
        under_way.append(function)
        procedure = _Parser(function, visit).procedure
        under_way.pop()
        done[function] = procedure
        return procedure

    for entry in entries:
        if not isinstance(entry, FunctionType):
            raise TypeError(f"{entry!r} is not a function")
        visit(entry, None, 0)
    return done


@dataclass(slots=True)
class _Loop:
    """Where break and continue of the innermost loop go."""

    again: Node | None  # None until known: the hidden counter of a for loop comes after its body
    breaks: Dangling
    continues: Dangling
    releases: int  # how many with-sections were open when the loop began


class _Parser:
    """Builds the graph of one function."""

    def __init__(self, function: FunctionType, visit: Any) -> None:
        self.function = function
        self.file = function.__code__.co_filename
        self.visit = visit
        self.names = Names(function)
        tree = definition(function)
        self.line = tree.lineno
        self.loops: list[_Loop] = []
        self.releases: list[Node] = []  # what the open with-sections do when left, outermost first
        self.sections = 0  # atomic sections that are open
        self.irqs_off = 0  # irqs-off sections that are open
        self.temporaries = 0
        self.dangling: Dangling = []
        params = self.parameters(tree)
        self.assigned = _assigned(tree)
        self.local_names = set(params) | self.assigned
        for name in sorted(self.local_names):
            if self.names.table(ast.Name(name)) is not None:
                self.fail(f"local {name} hides the table of that name")
        returns_value = not (
            tree.returns is None or (isinstance(tree.returns, ast.Constant) and tree.returns.value is None)
        )
        self.procedure = Procedure(function.__name__, self.file, tree.lineno, params, returns_value)
        start = self.emit(Node(Do.SET, tree.lineno, local=""))
        self.block(tree.body)
        if self.dangling and returns_value:
            self.fail(f"{function.__name__} can end without returning a value")
        if self.dangling:
            self.emit(Node(Do.RETURN, self.line))
        self.procedure.entry = start.then
        drop_unreachable(self.procedure)
        unassigned = check_assigned(self.procedure)
        if unassigned is not None:
            name, line = unassigned
            raise SubsetError(f"local {name} may be used before it is assigned", self.file, line)

    def fail(self, message: str) -> NoReturn:
        raise SubsetError(message, self.file, self.line)

    def parameters(self, tree: ast.FunctionDef) -> tuple[str, ...]:
        a = tree.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
            self.fail(f"{tree.name}: only plain parameters are in the language")
        for arg in a.args:
            if arg.annotation is None:
                self.fail(f"parameter {arg.arg} of {tree.name} has no annotation: int or bool")
        return tuple(arg.arg for arg in a.args)

    # ---- graph building

    def emit(self, node: Node) -> Node:
        """Append a node: every dangling edge leads to it, its ``then`` edge dangles."""
        node.within_step = self.sections > 0
        node.irqs_off = self.irqs_off > 0
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

    # ---- statements

    def block(self, statements: list[ast.stmt]) -> None:
        for s in statements:
            if not self.dangling:
                return  # after return, break, continue, or a branch that the features fold away
            self.statement(s)

    def statement(self, s: ast.stmt) -> None:
        self.line = s.lineno
        match s:
            case ast.Assign(targets=[target]):
                self.assign(target, self.expression(s.value))
            case ast.AnnAssign(value=ast.expr() as value):
                self.assign(s.target, self.expression(value))
            case ast.AugAssign():
                self.augmented(s)
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.Expr(value=ast.Constant(value=str())) | ast.Pass():
                pass
            case ast.If():
                true, false = self.condition(s.test)
                self.dangling = true
                self.block(s.body)
                after = self.dangling
                self.dangling = false
                self.block(s.orelse)
                self.dangling = after + self.dangling
            case ast.While() if not s.orelse:
                self.while_loop(s)
            case ast.For() if not s.orelse:
                self.for_loop(s)
            case ast.With():
                self.with_section(s)
            case ast.Return():
                self.return_statement(s)
            case ast.Break() | ast.Continue():
                self.leave_loop(isinstance(s, ast.Break))
            case ast.Assert():
                self.assertion(s)
            case _:
                self.fail(f"statement `{ast.unparse(s).splitlines()[0]}` is outside the language")

    def assign(self, target: ast.expr, value: Expr) -> None:
        if isinstance(target, ast.Name):
            self.emit(Node(Do.SET, target.lineno, local=target.id, value=value))
            return
        place = self.place(target)
        if place.field.kind == "lock":
            self.fail(f"{place} is a lock and cannot be assigned")
        self.emit(Node(Do.STORE, target.lineno, place=place, value=value))

    def augmented(self, s: ast.AugAssign) -> None:
        if type(s.op) not in BINARY:
            self.fail(f"operator {type(s.op).__name__} is outside the language")
        op = BINARY[type(s.op)]
        if isinstance(s.target, ast.Name):
            self.emit(
                Node(
                    Do.SET, s.lineno, local=s.target.id, value=self.operation(op, s.target.id, self.expression(s.value))
                )
            )
            return
        place = self.place(s.target)
        local = self.temporary()
        self.emit(Node(Do.LOAD, s.lineno, local=local, place=place))
        value = self.operation(op, local, self.expression(s.value))
        self.emit(Node(Do.STORE, s.lineno, place=place, value=value))

    def assertion(self, s: ast.Assert) -> None:
        true, false = self.condition(s.test)
        text = ast.unparse(s.test)
        if isinstance(s.msg, ast.Constant) and isinstance(s.msg.value, str):
            text = s.msg.value
        elif s.msg is not None:
            self.fail("the message of an assert must be a plain string")
        if false:
            self.dangling = false
            self.line = s.lineno
            self.emit(Node(Do.ASSERT, s.lineno, value=0, text=text))
        self.dangling = true

    def while_loop(self, s: ast.While) -> None:
        head = self.emit(Node(Do.SET, s.lineno))
        loop = _Loop(head, [], [], len(self.releases))
        self.loops.append(loop)
        true, false = self.condition(s.test)
        self.dangling = true
        self.block(s.body)
        self.connect(self.dangling + loop.continues, head)
        self.loops.pop()
        self.dangling = false + loop.breaks

    def for_loop(self, s: ast.For) -> None:
        """``for x in range(...)``; a hidden counter, so that the body may assign x as Python allows."""
        if not (
            isinstance(s.target, ast.Name)
            and isinstance(s.iter, ast.Call)
            and self.names.lookup(s.iter.func) is range
            and not s.iter.keywords
            and 1 <= len(s.iter.args) <= 3
        ):
            self.fail("for loops run over range(...) with one variable")
        bounds = [self.expression(a) for a in s.iter.args]
        step = bounds[2] if len(bounds) == 3 else 1
        if not isinstance(step, int) or step == 0:
            self.fail("the step of range() must be a constant other than 0")
        low, high = (0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
        counter = self.temporary()
        limit: Expr = high
        if not isinstance(high, int):
            limit = self.temporary()
            self.emit(Node(Do.SET, s.lineno, local=limit, value=high))
        self.emit(Node(Do.SET, s.lineno, local=counter, value=low))
        head = self.emit(Node(Do.BRANCH, s.lineno, value=Op("<" if step > 0 else ">", counter, limit)))
        loop = _Loop(None, [], [], len(self.releases))
        self.loops.append(loop)
        self.emit(Node(Do.SET, s.lineno, local=s.target.id, value=counter))
        self.block(s.body)
        self.dangling = self.dangling + loop.continues
        if self.dangling:
            self.emit(Node(Do.SET, s.lineno, local=counter, value=Op("+", counter, step)))
            self.connect(self.dangling, head)
        self.loops.pop()
        self.dangling = [(head, True), *loop.breaks]

    def leave_loop(self, is_break: bool) -> None:
        loop = self.loops[-1]
        self.release(loop.releases)
        (loop.breaks if is_break else loop.continues).extend(self.dangling)
        self.dangling = []

    def with_section(self, s: ast.With) -> None:
        opened = len(self.releases)
        for item in s.items:
            e = item.context_expr
            if item.optional_vars is not None:
                self.fail("`with ... as` is outside the language")
            if isinstance(e, ast.Call) and self.names.lookup(e.func) is declare.irqs_off and len(e.args) == 1:
                cpu = self.stable(self.expression(e.args[0]))
                self.emit(Node(Do.IRQS_OFF, s.lineno, value=cpu))
                self.irqs_off += 1
                self.releases.append(Node(Do.IRQS_ON, s.lineno, value=cpu))
            elif isinstance(e, ast.Call) and self.names.lookup(e.func) is declare.atomic and not e.args:
                self.open_section(s.lineno)
                self.releases.append(Node(Do.ATOMIC_END, s.lineno))
            else:
                place = self.lock_place(e)
                place = place._replace(indices=tuple(self.stable(index) for index in place.indices))
                self.emit(Node(Do.LOCK, s.lineno, place=place))
                self.releases.append(Node(Do.UNLOCK, s.lineno, place=place))
        self.block(s.body)
        if self.dangling:
            self.release(opened)
        self.sections -= sum(node.do is Do.ATOMIC_END for node in self.releases[opened:])
        self.irqs_off -= sum(node.do is Do.IRQS_ON for node in self.releases[opened:])
        del self.releases[opened:]

    def stable(self, e: Expr) -> Expr:
        """The expression, or a local nobody else assigns that holds its value: a with-section releases what it took."""
        if isinstance(e, int) or (isinstance(e, str) and (e.startswith(".") or e not in self.assigned)):
            return e
        local = self.temporary()
        self.emit(Node(Do.SET, self.line, local=local, value=e))
        return local

    def release(self, down_to: int) -> None:
        """Leave the with-sections opened since, innermost first."""
        sections, irqs_off = self.sections, self.irqs_off
        for node in reversed(self.releases[down_to:]):
            self.sections -= node.do is Do.ATOMIC_END
            self.irqs_off -= node.do is Do.IRQS_ON
            self.emit(Node(node.do, self.line, value=node.value, place=node.place))
        self.sections, self.irqs_off = sections, irqs_off

    def return_statement(self, s: ast.Return) -> None:
        value: Expr = 0
        if s.value is not None and not (isinstance(s.value, ast.Constant) and s.value.value is None):
            if not self.procedure.returns_value:
                self.fail(f"{self.procedure.name} is declared to return None")
            value = self.expression(s.value)
        elif self.procedure.returns_value:
            self.fail(f"{self.procedure.name} must return a value here")
        self.release(0)
        self.emit(Node(Do.RETURN, s.lineno, value=value))


def _assigned(tree: ast.FunctionDef) -> set[str]:
    """Names that a function assigns, which makes them its locals."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
