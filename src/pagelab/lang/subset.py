# SPDX-License-Identifier: GPL-2.0-or-later
"""Find the source of a procedure and resolve the names in it; errors name file and line."""

from __future__ import annotations

import ast
import enum
import functools
import linecache
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from pagelab.lang.declare import Constants, Table, table_of


class SubsetError(SyntaxError):
    """Something in a model is outside the modelling language.  Carries file, line and the line's text."""

    def __init__(self, message: str, file: str, line: int) -> None:
        super().__init__(message, (file, line, None, linecache.getline(file, line)))


@functools.lru_cache(maxsize=256)
def _tree(file: str, text: str) -> ast.Module:
    return ast.parse(text, file)


def _first_line(node: ast.stmt) -> int:
    """The line of a statement, or of its first decorator."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return decorators[0].lineno if decorators else node.lineno


def _defined_at(tree: ast.Module, line: int) -> ast.FunctionDef | None:
    """The function whose ``def`` or first decorator stands in a line."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        # Statements alone: no expression defines a function of the language.
        for name in ("body", "orelse", "finalbody", "handlers"):
            for one in getattr(node, name, ()):
                if _first_line(one) <= line <= one.end_lineno:
                    if isinstance(one, ast.FunctionDef) and _first_line(one) == line:
                        return one
                    todo.append(one)
    return None


def definition(function: FunctionType) -> ast.FunctionDef:
    """The syntax tree of a function, from its file.

    :raises SubsetError: if its source cannot be found.
    """
    file = function.__code__.co_filename
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file, function.__globals__))
    node = _defined_at(_tree(file, text), function.__code__.co_firstlineno) if text else None
    if node is None:
        raise SubsetError(f"the source of {function.__name__} cannot be found", file, function.__code__.co_firstlineno)
    return node


class Names:
    """The names that one procedure sees outside itself: its module's globals."""

    def __init__(self, function: FunctionType) -> None:
        self.globals: dict[str, Any] = function.__globals__

    def lookup(self, node: ast.expr) -> Any:
        """The object that ``name`` or ``name.attribute`` means, or None if it is not a fixed object."""
        if isinstance(node, ast.Name):
            if node.id in self.globals:
                return self.globals[node.id]
            builtins = self.globals["__builtins__"]
            return vars(builtins).get(node.id) if isinstance(builtins, ModuleType) else builtins.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.lookup(node.value)
            if isinstance(owner, Constants | ModuleType) or (isinstance(owner, type) and issubclass(owner, enum.Enum)):
                return getattr(owner, node.attr, None)
        return None

    def constant(self, node: ast.expr) -> int | None:
        """The value of a module constant, an enum member or a constant of the build."""
        value = self.lookup(node)
        return int(value) if isinstance(value, int) else None

    def table(self, node: ast.expr) -> Table[Any] | None:
        """The table that a name means, for a record too."""
        try:
            return table_of(self.lookup(node))
        except TypeError:
            return None

    def function(self, node: ast.expr) -> Callable[..., object] | None:
        """The callable that a name means."""
        value = self.lookup(node)
        return value if callable(value) else None
