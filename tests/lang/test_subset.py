# SPDX-License-Identifier: GPL-2.0-or-later
"""What is outside the language is refused, with file and line."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from pagelab.lang.graph import Do
from pagelab.lang.parse import parse
from pagelab.lang.subset import SubsetError
from tests.lang import toy

HEAD = """from pagelab.lang.declare import *
from tests.lang.toy import build, cell, grid, seen, total

"""
NUMBERS = itertools.count()


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], FunctionType]:
    def make(text: str) -> FunctionType:
        path = tmp_path / f"model_{next(NUMBERS)}.py"
        path.write_text(HEAD + text)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = module.f
        assert isinstance(found, FunctionType)
        return found

    return make


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("def f(a: int) -> int:\n    return a / 2", 5, "operator Div"),
        ("def f(a: int) -> int:\n    x = [a]\n    return 1", 5, r"`\[a\]` is outside the language"),
        ("def f(a) -> int:\n    return 1", 4, "parameter a of f has no annotation"),
        ("def f(a: int) -> int:\n    if a:\n        return 1", 6, "f can end without returning a value"),
        ("def f(a: int) -> int:\n    if a:\n        b = 1\n    return b", 7, "local b may be used before"),
        ("def f(a: int) -> int:\n    return cell[a].colour", 5, "table cell has no field colour"),
        ("def f(a: int) -> int:\n    return cell[a, 0].value", 5, "table cell takes 1 indices, not 2"),
        ("def f(a: int) -> int:\n    return cell[a].lock", 5, "cell.lock is a lock"),
        ("def f(a: int) -> None:\n    cell[a].lock = 1", 5, "cannot be assigned"),
        ("def f(a: int) -> None:\n    with cell[a].value:\n        pass", 5, "cell.value is not a lock"),
        ("def f(a: int) -> int:\n    return f(a - 1)", 5, "recursion is outside the language: f -> f"),
        ("def f(a: int) -> int:\n    return nothing", 5, "name nothing is not defined"),
        ("def f(a: int) -> int:\n    return build.colour", 5, "build.colour is not a declared constant"),
        ("def f(a: int) -> int:\n    return print(a)", 5, "call of `print`"),
        ("def f(a: int) -> None:\n    seen(total.sum)", 5, "arguments of tracepoint seen must be locals"),
        ("def f(a: int) -> None:\n    for i in (1, 2):\n        pass", 5, r"for loops run over range\(...\)"),
        ("def f(a: int) -> None:\n    for i in range(0, a, a):\n        pass", 5, "step of range"),
        ("def f(a: int) -> None:\n    try:\n        pass\n    finally:\n        pass", 5, "statement `try:`"),
        ("def f(a: int) -> None:\n    total = a", 4, "local total hides the table"),
        ("def f(a: int) -> int:\n    return 1 // 0", 5, "constant expression"),
        ("def f(a: int) -> None:\n    with irqs_off(a) as b:\n        pass", 5, "outside the language"),
        ("def f(a: int, *b: int) -> None:\n    pass", 4, "only plain parameters"),
        ("def f(a: int) -> None:\n    g(b=1)\n\ndef g(a: int) -> None:\n    pass", 5, "does not take argument b"),
        ("def f(a: int) -> None:\n    g()\n\ndef g(a: int) -> None:\n    pass", 5, "lacks a"),
        ("def f(a: int) -> int:\n    return 'x'", 5, "outside the language"),
        ("def f(a: int) -> int:\n    return a in a", 5, "`in` takes a tuple of locals and constants"),
        ("def f(a: int) -> int:\n    return a in (1, cell[a].value)", 5, "neither a local nor a constant"),
        ("def f(a: int) -> None:\n    return 1", 5, "declared to return None"),
    ],
)
def test_refused(function: Callable[[str], FunctionType], text: str, line: int, message: str) -> None:
    with pytest.raises(SubsetError, match=message) as caught:
        parse([function(text)])
    assert caught.value.lineno == line
    assert str(caught.value.filename).endswith(".py")


def test_shared_accesses_are_explicit() -> None:
    graph = parse([toy.sections])[toy.sections]
    kinds = {node.do for node in graph.nodes}
    assert {Do.LOCK, Do.UNLOCK, Do.TRYLOCK, Do.IRQS_OFF, Do.IRQS_ON, Do.LOAD, Do.STORE} <= kinds
    assert all(node.shared == (node.do not in {Do.SET, Do.BRANCH, Do.RETURN}) for node in graph.nodes)


def test_each_way_out_of_a_section_releases_it(function: Callable[[str], FunctionType]) -> None:
    f = function(
        "def f(a: int) -> int:\n    with total.lock, irqs_off(a):\n        if a:\n            return 1\n    return 2"
    )
    nodes = parse([f])[f].nodes
    for kind, times in ((Do.LOCK, 1), (Do.UNLOCK, 2), (Do.IRQS_OFF, 1), (Do.IRQS_ON, 2)):
        assert sum(n.do is kind for n in nodes) == times


def test_folded_code_is_not_read(function: Callable[[str], FunctionType]) -> None:
    f = function("def f(a: int) -> int:\n    if build.deep:\n        import os\n    return a")
    assert [n.do for n in parse([f])[f].nodes] == [Do.RETURN]
