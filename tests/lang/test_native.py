# SPDX-License-Identifier: GPL-2.0-or-later
"""Native code and CPython run the same source: same results, same state, same faults."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagelab.lang.declare import ModelFault, attached, i64, record, table_of
from pagelab.lang.native import Program
from tests.check import shelf
from tests.lang import toy


class Taken:
    times: i64 = 0


taken = record("taken", Taken)
SMALL = st.integers(-(2**20), 2**20)


@pytest.fixture(scope="module")
def program() -> Program:
    toy.event.bind({"kind": range(6), "pfn": range(100, 106)})
    with attached({toy.seen: toy.count_seen}):
        return Program(
            [toy.arithmetic, toy.logic, toy.loops, toy.sections, toy.tables, toy.folded, toy.sum_events, toy.checked],
            [toy.cell, toy.grid],
            checks="all",
        )


def reset(program: Program) -> None:
    program.reset()
    toy.cell.reset()
    toy.grid.reset()
    table_of(toy.total).reset()


@given(SMALL, SMALL)
def test_arithmetic(program: Program, a: int, b: int) -> None:
    assert program.call("arithmetic", a, b) == toy.arithmetic(a, b)


@given(st.integers(-12, 12), st.integers(-12, 12))
def test_logic(program: Program, a: int, b: int) -> None:
    assert program.call("logic", a, b) == int(toy.logic(a, b))


@given(st.integers(-2, 20))
def test_loops(program: Program, n: int) -> None:
    assert program.call("loops", n) == toy.loops(n)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-128, 127), st.booleans())))
def test_state(program: Program, steps: list[tuple[int, int, int, bool]]) -> None:
    reset(program)
    with attached({toy.seen: toy.count_seen}):
        for a, b, v, table in steps:
            if table:
                assert program.call("tables", a, b % 3, v) == toy.tables(a, b % 3, v)
            else:
                row = 1 + a % 2
                assert program.call("sections", b, row) == toy.sections(b, row)
            assert program.differences() == []


def test_features_are_folded(program: Program) -> None:
    assert program.call("folded") == toy.folded() == 1


def test_columns(program: Program) -> None:
    kind, pfn = np.arange(6, dtype=np.int8), np.arange(100, 106, dtype=np.int64)
    program.bind(toy.event, {"kind": kind, "pfn": pfn})
    assert program.call("sum_events", 6) == toy.sum_events(6) == int((kind * pfn).sum())
    with pytest.raises(ValueError, match=r"event\.kind needs 6 integers of 1 bytes"):
        program.bind(toy.event, {"kind": pfn, "pfn": pfn})
    with pytest.raises(ValueError, match=r"event\.pfn needs 6 integers of 8 bytes, got int64\[5\]"):
        program.bind(toy.event, {"kind": kind, "pfn": pfn[:5]})


def test_columns_are_as_long_as_their_arrays(program: Program) -> None:
    kind, pfn = np.ones(9, dtype=np.int8), np.arange(9, dtype=np.int64)
    program.bind(toy.event, {"kind": kind, "pfn": pfn})
    assert program.call("sum_events", 9) == 36
    with pytest.raises(ModelFault, match=r"index of table event is outside its columns \(value 9, bound 9\)"):
        program.call("sum_events", 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("tables", 6, 0, 1), "index of table cell is outside its 6 rows"),
        (("tables", -1, 0, 1), "value -1, bound 6"),
        (("tables", 0, 3, 1), "index of table grid"),
        (("tables", 0, 0, 128), "does not fit the 8 bits of cell.value"),
        (("checked", 3), "three is not allowed"),
        (("arithmetic", 2**62, 2**62), "overflows 64 bits"),
    ],
)
def test_faults(program: Program, call: tuple[str, int], message: str) -> None:
    reset(program)
    with pytest.raises(ModelFault, match=message) as caught:
        program.call(*call)
    assert "toy.py:" in str(caught.value)
    assert program.call("checked", 1) == 1, "a fault does not outlive its report"


def test_lock_taken_twice(program: Program) -> None:
    reset(program)
    toy_cell = program.table(toy.cell)
    toy_cell["lock"][2] = 1
    with pytest.raises(ModelFault, match="deadlock"):
        program.call("sections", 1, 2)


def test_trylock_fails_when_held(program: Program) -> None:
    reset(program)
    program.table(toy.cell)["lock"][1] = 1
    program.table(toy.total)["flag"] = 1
    program.call("sections", 0, 2)
    assert program.table(toy.total)["flag"] == 0
    assert program.table(toy.cell)["lock"][1] == 1, "somebody else's lock stays held"


def test_rows_are_small_and_aligned(program: Program) -> None:
    assert program.layout.tables[toy.cell].row_bytes == 16
    assert all(laid.offset % 64 == 0 for t, laid in program.layout.tables.items() if not t.columns)


def test_state_goes_to_cpython_and_back(program: Program) -> None:
    reset(program)
    program.call("tables", 3, 1, 9)
    program.to_cpython()
    assert toy.cell[3].value == 9
    assert program.differences() == []
    toy.cell[3].value = 8
    assert program.differences() == ["cell[3].value: CPython 8, native 9"]


def test_locks_are_counted_when_they_are_taken() -> None:
    counted = {"per_cpu.lock": (taken, "times")}
    program = Program([shelf.add_with_irqs_off, shelf.add_locked, shelf.try_it], [taken], counted=counted)

    def times() -> int:
        return int(program.table(taken)["times"])

    program.call("add_with_irqs_off", 0)
    program.call("add_locked", 3)
    assert times() == 1, "not counter.lock"
    program.table(shelf.per_cpu)["lock"][1] = 1
    program.call("try_it", 1)
    assert times() == 1, "somebody else held it"
    program.table(shelf.per_cpu)["lock"][1] = 0
    program.call("try_it", 1)
    assert times() == 2
