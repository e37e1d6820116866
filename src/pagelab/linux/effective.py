# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of the model's procedures as a design has it: questions about features answered, dead branches dropped.

Works on the lines of the source, so that comments survive; a comment above a question about a feature that the design
lacks goes with it.
"""

from __future__ import annotations

import ast
import importlib
import linecache
from dataclasses import dataclass, field
from types import FunctionType

from pagelab.lang.subset import definition
from pagelab.linux.features import features

#: Modules that hold procedures, in the order in which they build on each other.
MODULES = (
    "migratetype",
    "lists",
    "buddy",
    "fallback",
    "fallback_claim",
    "rmqueue",
    "highatomic",
    "pcp_round_robin",
    "pcp_high",
    "pcp",
    "free_folios",
    "page_alloc",
    "workqueue",
    "drain",
    "rwsem",
    "pcp_tuning",
    "watermarks",
    "page_isolation",
    "contig",
    "memory_hotplug",
)


def procedures() -> dict[str, FunctionType]:
    """All procedures of the model by name, in the order of their files and lines."""
    found: dict[str, FunctionType] = {}
    for name in MODULES:
        module = importlib.import_module(f"pagelab.linux.{name}")
        mine = [f for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__]
        found |= {f.__name__: f for f in sorted(mine, key=lambda f: f.__code__.co_firstlineno)}
    return found


def effective_source(function: FunctionType) -> str:
    """The text of a procedure with the present values of ``features`` folded in."""
    return "\n".join(_Folder(function).lines()) + "\n"


@dataclass
class _Folder:
    """Rewrites one function; line numbers are those of its file, counted from 1."""

    function: FunctionType
    text: list[str] = field(init=False)

    def __post_init__(self) -> None:
        file = self.function.__code__.co_filename
        self.text = [line.rstrip("\n") for line in linecache.getlines(file, self.function.__globals__)]

    def lines(self) -> list[str]:
        """The folded text."""
        tree = definition(self.function)
        start = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
        head = self.header(start, tree.returns or tree)
        return head + self.block(tree.body, start + len(head), 0)

    # ---- expressions

    def fold(self, e: ast.expr) -> bool | str:
        """The value of an expression that features decide, or its text with what they decide left out."""
        match e:
            case ast.Attribute(value=ast.Name(id="features")):
                return bool(getattr(features, e.attr))
            case ast.UnaryOp(op=ast.Not()):
                operand = self.fold(e.operand)
                return f"not {operand}" if isinstance(operand, str) else not operand
            case ast.BoolOp():
                return self.fold_bool(e)
        return self.segment(e)

    def fold_bool(self, e: ast.BoolOp) -> bool | str:
        is_and = isinstance(e.op, ast.And)
        kept: list[str] = []
        for part in e.values:
            value = self.fold(part)
            if isinstance(value, str):
                kept.append(f"({value})" if isinstance(part, ast.BoolOp) and " or " in value else value)
            elif value is not is_and:  # decides the whole; what stands before it is still evaluated
                if not kept:
                    return value
                kept.append(str(value))
                break
        return (" and " if is_and else " or ").join(kept) if kept else is_and

    def segment(self, e: ast.expr) -> str:
        end_line = e.end_lineno or e.lineno
        parts = self.text[e.lineno - 1 : end_line]
        parts[-1] = parts[-1].encode()[: e.end_col_offset].decode()
        parts[0] = parts[0].encode()[e.col_offset :].decode()
        return " ".join(part.strip() for part in parts)

    # ---- statements

    def header(self, start: int, last: ast.AST) -> list[str]:
        """The lines from ``start`` to the colon behind ``last``."""
        end = getattr(last, "end_lineno", start) if isinstance(last, ast.expr) else start
        while not self.text[end - 1].split("#")[0].rstrip().endswith(":"):
            end += 1
        return self.text[start - 1 : end]

    def block(self, statements: list[ast.stmt], start: int, shift: int) -> list[str]:
        """The statements of a block, ``shift`` columns further left, with the comments from line ``start`` on."""
        out: list[str] = []
        for statement in statements:
            comments = self.text[start - 1 : statement.lineno - 1]
            start = (statement.end_lineno or statement.lineno) + 1
            if isinstance(statement, ast.If) and not isinstance(folded := self.fold(statement.test), str):
                if self.all_on(statement.test):
                    out += self.shifted(comments, shift)
                body = statement.body if folded else statement.orelse
                if body:
                    is_elif = not folded and self.text[body[0].lineno - 1].lstrip().startswith("elif")
                    first = body[0].lineno if is_elif else self.after_header(statement, folded)
                    deeper = 0 if is_elif else body[0].col_offset - statement.col_offset
                    lines = self.block(body, first, shift + deeper)
                    if is_elif:
                        lines[0] = lines[0].replace("elif", "if", 1)
                    out += lines
                if self.leaves(statement):
                    break
                continue
            if not isinstance(statement, ast.If) or self.all_on(statement.test):
                out += self.shifted(comments, shift)
            out += self.statement(statement, shift)
            if self.leaves(statement):
                break
        return out

    def statement(self, statement: ast.stmt, shift: int) -> list[str]:
        """One statement that stays."""
        if isinstance(statement, ast.If):
            return self.branches(statement, shift)
        if isinstance(statement, ast.While | ast.For | ast.With):
            last = {ast.While: "test", ast.For: "iter"}.get(type(statement))
            expr = getattr(statement, last) if last else statement.items[-1].context_expr  # type: ignore[union-attr]
            head = self.header(statement.lineno, expr)
            return self.shifted(head, shift) + self.block(statement.body, statement.lineno + len(head), shift)
        return self.shifted(self.text[statement.lineno - 1 : statement.end_lineno], shift)

    def branches(self, statement: ast.If, shift: int) -> list[str]:
        """An if that stays, with its elif and else."""
        head = self.header(statement.lineno, statement.test)
        after = statement.lineno + len(head)
        if _asks(statement.test):
            word = head[0].lstrip().split()[0]
            head = [" " * statement.col_offset + f"{word} {self.fold(statement.test)}:"]
        out = self.shifted(head, shift) + self.block(statement.body, after, shift)
        if not statement.orelse:
            return out
        first = statement.orelse[0]
        if isinstance(first, ast.If) and self.text[first.lineno - 1].lstrip().startswith("elif"):
            lines = self.block([first], first.lineno, shift)
            if lines and not lines[0].lstrip().startswith("elif"):  # its question was answered
                indent = " " * (statement.col_offset - shift)
                lines = [f"{indent}else:", *("    " + line for line in lines)]
            return out + lines
        otherwise = self.after_header(statement, taken=False)
        return out + self.shifted([self.text[otherwise - 2]], shift) + self.block(statement.orelse, otherwise, shift)

    def after_header(self, statement: ast.If, taken: bool) -> int:
        """The line after ``if ...:``, or after ``else:``."""
        if taken:
            return statement.lineno + len(self.header(statement.lineno, statement.test))
        line = (statement.body[-1].end_lineno or 0) + 1
        while not self.text[line - 1].lstrip().startswith("else:"):
            line += 1
        return line + 1

    def all_on(self, test: ast.expr) -> bool:
        """Whether the design has all the features that a question is about."""
        asked = [n for n in ast.walk(test) if isinstance(n, ast.Attribute) and _asks(n)]
        return all(self.fold(n) is True for n in asked if isinstance(n.value, ast.Name))

    def leaves(self, statement: ast.stmt) -> bool:
        """Whether what stands behind a statement cannot be reached, as far as jumps and features tell."""
        if isinstance(statement, ast.If) and not isinstance(folded := self.fold(statement.test), str):
            return any(self.leaves(s) for s in (statement.body if folded else statement.orelse))
        return isinstance(statement, ast.Return | ast.Break | ast.Continue)

    @staticmethod
    def shifted(lines: list[str], shift: int) -> list[str]:
        return [line[shift:] if line.strip() else "" for line in lines]


def _asks(e: ast.AST) -> bool:
    """Whether an expression asks for a feature."""
    return any(isinstance(n, ast.Name) and n.id == "features" for n in ast.walk(e))
