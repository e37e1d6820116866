# SPDX-License-Identifier: GPL-2.0-or-later
"""Native code and CPython run the same model: 100,000 random operations, the same results, fields and faults.

Each design, in a movable zone and in a kernel zone, gets an equal share.  The result of every operation is compared;
all fields of all tables, and what the tracepoints reported, every :data:`COMPARE_EVERY` operations and at the end.
"""

from __future__ import annotations

import functools
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pagelab.lang import declare
from pagelab.lang.declare import ModelFault, attached, table_of
from pagelab.lang.native import Program
from pagelab.linux.designs import DESIGNS
from pagelab.linux.features import features
from pagelab.linux.highatomic import highatomic
from pagelab.linux.state import TABLES, machine
from tests.linux import native_driver
from tests.linux.lab import configured
from tests.linux.native_driver import FAULTS, OPERATIONS, driver, fault, live, setup, slots, step

OPERATIONS_WANTED = 100_000
COMPARE_EVERY = 400
SEQUENCE = 800  # with 5 bytes each, about half of what hypothesis draws at most
ZONES = {
    # Only movable pages, so that memory may run out.
    "movable": {"nr_pages": 4096, "nr_cpus": 2, "cma": False, "zone_movable": True},
    "kernel": {"nr_pages": 8192, "nr_cpus": 3, "cma": True, "zone_movable": False},
}
CASES = [pytest.param(design, zone, id=f"{design}-{zone}") for design in DESIGNS for zone in ZONES]
SHARE = -(-OPERATIONS_WANTED // len(CASES))
DRIVER_TABLES = (highatomic, driver, live, slots)

#: How often each operation comes.
WEIGHTS = {"allocate": 30, "free": 25, "allocate many": 6, "free many": 6, "free a list": 5, "bulk allocation": 5}
OPS = [i for i, name in enumerate(OPERATIONS) for _ in range(WEIGHTS.get(name, 1))]
BYTES = 5  # an operation; hypothesis draws bytes evenly, and all of a sequence in one go
SEQUENCES = st.binary(min_size=SEQUENCE * BYTES, max_size=SEQUENCE * BYTES)

Operation = tuple[int, int, int, int]


def decode(drawn: bytes) -> list[Operation]:
    """Operations, with their parameters, from bytes."""
    return [(OPS[op % len(OPS)], a & 3, b, c) for op, a, b, c in struct.iter_unpack("<BBBH", drawn)]


@contextmanager
def zone_of_design(design: str, zone: str) -> Iterator[None]:
    """The constants, features and probes of one case, for native code that is built and for CPython."""
    before = {name: getattr(features, name) for name in vars(type(features)) if not name.startswith("_")}
    with configured(machine, **ZONES[zone]), attached(native_driver.PROBES):
        DESIGNS[design].switch_on()
        try:
            yield
        finally:
            features.configure(**before)


@functools.cache
def built(design: str, zone: str) -> Program:
    """The program of a case; its constants are in force."""
    return Program([setup, step, fault], [*TABLES, *DRIVER_TABLES])


def begin(program: Program) -> None:
    """The same fresh zone twice, most of it online."""
    program.reset()
    for table in (*TABLES, *DRIVER_TABLES):
        table_of(table).reset()
    online = machine.nr_pages - native_driver.MEMORY_BLOCK
    program.call("setup", online)
    setup(online)


def follow(program: Program, operations: list[Operation], compare_every: int) -> str:
    """Run a sequence in both; what was seen when they first differed, or ""."""
    begin(program)
    for number, operation in enumerate(operations, 1):
        native, cpython = program.call("step", *operation), int(step(*operation))
        what = f"operation {number}, {OPERATIONS[operation[0]]} {operation[1:]}"
        if native != cpython:
            return f"{what}: CPython {cpython}, native {native}"
        if number % compare_every == 0 or number == len(operations):
            found = program.differences()
            if found:
                return f"{what}: {'; '.join(found[:5])}"
    return ""


@pytest.mark.parametrize(("design", "zone"), CASES)
def test_native_code_does_what_cpython_does(design: str, zone: str) -> None:
    done = 0

    # A failure is not shrunk, which takes minutes: the operation that it begins with is found instead.
    @settings(max_examples=-(-SHARE // SEQUENCE), phases=[Phase.generate])
    @given(SEQUENCES)
    def run(drawn: bytes) -> None:
        nonlocal done
        operations = decode(drawn)
        if follow(program, operations, COMPARE_EVERY):
            pytest.fail(follow(program, operations, 1))
        done += len(operations)

    with zone_of_design(design, zone):
        program = built(design, zone)
        run()
    assert done >= SHARE


Fault = tuple[str, str]  # the place and what it says; or "" and the result


def of_cpython(operation: Operation) -> Fault:
    """What fault() comes to in CPython."""
    try:
        return "", str(int(fault(*operation)))
    except AssertionError as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = [f for f in frames if f.filename != declare.__file__][-1]
        # Faults that the language finds are worded otherwise; what an assert says is the same.
        words = "" if isinstance(error, ModelFault) else str(error)
        return f"{frame.filename}:{frame.lineno}: {frame.name}", words


def of_native(program: Program, operation: Operation) -> Fault:
    """What fault() comes to in native code."""
    try:
        return "", str(program.call("fault", *operation))
    except ModelFault as error:
        file, line, procedure, words = str(error).split(":", 3)
        return f"{file}:{line}:{procedure}", words


def differences_but_locks(program: Program) -> list[str]:
    """A fault in CPython leaves its with-sections, one in native code stops where it is."""
    locks = {f"{t.name}[{{}}].{f.name}" for t in program.layout.tables for f in t.fields.values() if f.kind == "lock"}
    rows = machine.nr_cpus
    names = {name.format(row) for name in locks for row in range(rows)}
    return [found for found in program.differences() if found.split(":")[0] not in names]


def check_fault(program: Program, operation: Operation) -> Fault:
    native, cpython = of_native(program, operation), of_cpython(operation)
    assert native[0] == cpython[0]
    if native[0]:
        assert cpython[1] in native[1]
    else:
        assert native[1] == cpython[1]
    assert differences_but_locks(program) == []
    return native


@pytest.mark.parametrize(("design", "zone"), CASES)
def test_native_code_faults_where_cpython_faults(design: str, zone: str) -> None:
    faults = st.tuples(
        st.sampled_from(range(len(FAULTS))),
        st.integers(0, 3),
        st.integers(0, 255),
        st.integers(-2, ZONES[zone]["nr_pages"] + 1),
    )

    @settings(max_examples=10)
    @given(st.binary(min_size=40 * BYTES, max_size=40 * BYTES), faults)
    def run(drawn: bytes, operation: Operation) -> None:
        begin(program)
        for before in decode(drawn):
            assert program.call("step", *before) == step(*before)
        check_fault(program, operation)

    with zone_of_design(design, zone):
        program = built(design, zone)
        run()


@pytest.mark.parametrize(
    ("name", "b", "c", "place", "words"),
    [
        ("free any page", 0, 5000, "free_pages_prepare", "page freed that is not allocated"),
        ("free any page", 0, 8192, "free_pages_prepare", "index of table mem_map is outside its 8192 rows"),
        ("free any page", 0, -1, "free_pages_prepare", "value -1, bound 8192"),
        ("allocate any migratetype", 4, 7, "__rmqueue_smallest", "index of table free_area"),
        ("allocate any migratetype", 4, 6, "fallbacks", "only a type that has pcplists falls back to others"),
        ("drain any CPU", 0, 3, "drain_pages_zone_once", "index of table pcp is outside its 3 rows"),
        ("zone->lock is held", 0, 0, "rmqueue_buddy", "zone.lock taken that is already held: a deadlock"),
        ("pcp->lock is held", 0, 0, "drain_pages_zone_once", "pcp.lock taken that is already held: a deadlock"),
        ("online twice", 0, 0, "move_pfn_range_to_zone", "memory brought online twice"),
        ("list too long", 65, 0, "fault", "index of table page_vec is outside its 64 rows"),
        ("wrong pcp->count", 0, 0, "free_pcppages_bulk", "pcp->count says that there are pages"),
        ("free list leads out of the zone", 0, 0, "__del_page_from_free_list", "value 8192, bound 8192"),
    ],
)
def test_each_fault_is_found(name: str, b: int, c: int, place: str, words: str) -> None:
    with zone_of_design("6.1", "kernel"):
        program = built("6.1", "kernel")
        begin(program)
        for i in range(3):  # allocate, for the list that is too long
            operation = (OPERATIONS.index("allocate many"), 0, 255, 1 + i)
            assert program.call("step", *operation) == step(*operation)
        found = check_fault(program, (FAULTS.index(name), 0, b, c))
    assert found[0].endswith(f" {place}")
    assert words in found[1]
