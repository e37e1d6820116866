# SPDX-License-Identifier: GPL-2.0-or-later
"""From annotated Python to control-flow graphs: one :class:`Procedure` a function, calls kept as calls."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FunctionType

from pagelab.lang import declare
from pagelab.lang.dataflow import check_assigned, drop_unreachable
from pagelab.lang.graph import Do, Expr, Node, Op, Procedure
from pagelab.lang.parse_expressions import BINARY, Dangling, Expressions
from pagelab.lang.subset import SubsetError, definition


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


class _Parser(Expressions):
    """Builds the graph of one function."""

    def __init__(self, function: FunctionType, visit: Callable[..., Procedure]) -> None:
        super().__init__(function, visit)
        tree = definition(function)
        self.line = tree.lineno
        self.loops: list[_Loop] = []
        self.releases: list[Node] = []  # what the open with-sections do when left, outermost first
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

    def parameters(self, tree: ast.FunctionDef) -> tuple[str, ...]:
        a = tree.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
            self.fail(f"{tree.name}: only plain parameters are in the language")
        for arg in a.args:
            if arg.annotation is None:
                self.fail(f"parameter {arg.arg} of {tree.name} has no annotation: int or bool")
        return tuple(arg.arg for arg in a.args)

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
                self.emit(Node(Do.IRQS_OFF, s.lineno, value=cpu, section=True))
                self.releases.append(Node(Do.IRQS_ON, s.lineno, value=cpu, section=True))
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
        sections = self.sections
        for node in reversed(self.releases[down_to:]):
            self.sections -= node.do is Do.ATOMIC_END
            self.emit(Node(node.do, self.line, value=node.value, place=node.place, section=node.section))
        self.sections = sections

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
    """Names that a function assigns, which makes them its locals.  Nothing but a statement assigns in the language."""
    found: set[str] = set()
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        s = todo.pop()
        targets: list[ast.expr] = []
        if isinstance(s, ast.Assign):
            targets = s.targets
        elif isinstance(s, ast.AugAssign | ast.AnnAssign | ast.For):
            targets = [s.target]
        found.update(target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(s, ast.If | ast.For | ast.While):
            todo += s.body + s.orelse
        elif isinstance(s, ast.With):
            todo += s.body
    return found
