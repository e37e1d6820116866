# SPDX-License-Identifier: GPL-2.0-or-later
"""Straight programs: compile procedures with LLVM, hold their state, call them from CPython or by address."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pagelab.lang.declare import Lock, ModelFault, Table, table_of
from pagelab.lang.graph import Place, Procedure
from pagelab.lang.layout import Layout
from pagelab.lang.llvm_text import StraightText
from pagelab.lang.parse import parse

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from llvmlite.binding import TargetMachine


def tables_of(procedures: Iterable[Procedure]) -> set[Table[Any]]:
    """The tables that procedures touch."""
    return {node.place.table for p in procedures for node in p.nodes if node.place is not None}


class Program:
    """Procedures compiled for the constants, features and probes of this moment, with one state.

    :param entries: functions of a model that will be called from outside.
    :param tables: tables that the state must hold even if no procedure touches them.
    :param checks: see :class:`~pagelab.lang.llvm_text.StraightText`.
    :param counted: by name of a lock field, such as ``"zone.lock"``, a record and its field that counts how
        often it is taken.
    :raises SubsetError: for source outside the modelling language.

    ``program.call("rmqueue", 0, 0, 1)`` runs a procedure; ``program.address["rmqueue"]`` is its machine code, of C type
    ``int64_t f(void *state, int64_t ...)``; ``program.state`` are the bytes it works on.
    """

    def __init__(
        self,
        entries: Iterable[Callable[..., object]],
        tables: Iterable[object] = (),
        *,
        checks: str = "all",
        counted: Mapping[str, tuple[object, str]] | None = None,
    ) -> None:
        import numpy as np

        functions = list(entries)
        graphs = parse(functions)
        self.layout = Layout(tables_of(graphs.values()) | {table_of(t) for t in tables})
        exported = [graphs[f] for f in functions]
        counters = {
            lock: Place(table_of(counter), table_of(counter).fields[field], ())
            for lock, (counter, field) in (counted or {}).items()
        }
        text = StraightText(graphs.values(), exported, self.layout, checks, counters)
        self.text = text.text
        self.faults = text.faults
        self._engine, self.address = compile_text(self.text, [p.name for p in exported])
        self.params = {p.name: p.params for p in exported}
        self._functions = {
            name: ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * len(self.params[name]))(address)
            for name, address in self.address.items()
        }
        self._memory = np.zeros(self.layout.bytes + 64, np.uint8)
        skip = -self._memory.ctypes.data % 64
        self.state: npt.NDArray[np.uint8] = self._memory[skip : skip + self.layout.bytes]
        self._bound: dict[tuple[str, str], Any] = {}
        self.reset()

    def reset(self) -> None:
        """All fields to their initial values; columns stay bound."""
        for table, laid in self.layout.tables.items():
            if laid.row_bytes:
                rows = self.table(table)
                for name, field in table.fields.items():
                    rows[name] = field.initial
        self.state[:24] = 0

    def table(self, table: object) -> npt.NDArray[Any]:
        """The rows of a table or record in the state: a structured array that can be read and written."""
        return self.layout.view(table_of(table), self.state)

    def bind(self, table: Table[Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Give a table of columns its arrays, which are used in place.

        :raises ValueError: if an array has another type than the table was built for, or another length than the rest.
        """
        laid = self.layout.tables.get(table)
        if laid is None:
            return  # no procedure reads it
        rows = len(arrays[next(iter(laid.fields))])
        for name, (offset, width) in laid.fields.items():
            array = arrays[name]
            if array.dtype.itemsize != width or array.dtype.kind not in "iub" or len(array) != rows:
                raise ValueError(
                    f"{table.name}.{name} needs {rows} integers of {width} bytes, got {array.dtype}[{len(array)}]"
                )
            if not array.flags.c_contiguous:
                raise ValueError(f"{table.name}.{name} needs a contiguous array")
            self._bound[table.name, name] = array
            self.state[laid.offset + offset :][:8].view("i8")[0] = array.ctypes.data
        self.state[laid.count :][:8].view("i8")[0] = rows

    def call(self, name: str, *args: int) -> int:
        """Run a procedure.

        :raises ModelFault: for a fault, with the line of the model.
        """
        result = int(self._functions[name](self.state.ctypes.data, *args))
        number, value, bound = (int(x) for x in self.state[:24].view("i8"))
        if number:
            self.state[:24] = 0
            fault = self.faults[number - 1]
            detail = f" (value {value}, bound {bound})" if value or bound else ""
            raise ModelFault(f"{fault.file}:{fault.line}: {fault.procedure}: {fault.what}{detail}")
        return result

    def to_cpython(self) -> None:
        """Copy the state into the declared tables, for a run in CPython."""
        for table, laid in self.layout.tables.items():
            if not laid.row_bytes:
                continue
            table.reset()
            rows = self.table(table).reshape(-1)
            for name, field in table.fields.items():
                for row, x in zip(table.rows, rows[name].tolist(), strict=True):
                    if field.kind == "lock":
                        getattr(row, name).held = bool(x)
                    else:
                        setattr(row, name, x)

    def differences(self) -> list[str]:
        """Fields in which the declared tables (a run in CPython) differ from this state; empty when all agree."""
        found = []
        for table, laid in self.layout.tables.items():
            if not laid.row_bytes:
                continue
            rows = self.table(table).reshape(-1)
            for name in table.fields:
                for i, (row, x) in enumerate(zip(table.rows, rows[name].tolist(), strict=True)):
                    mine = getattr(row, name)
                    if (mine.held if isinstance(mine, Lock) else mine) != x:
                        found.append(f"{table.name}[{i}].{name}: CPython {mine}, native {x}")
        return found


def compile_text(text: str, names: list[str], *, optimise: bool = True) -> tuple[Any, dict[str, int]]:
    """Machine code of LLVM IR text; the engine must live as long as the addresses are used.

    :param optimise: at O1, or not at all, which takes a tenth of the time.
    """
    from pagelab.lang.machine_code import load

    whole = f'{text}\n!0 = !{{!"branch_weights", i32 1000000, i32 1}}\n'

    def make(machine: TargetMachine) -> bytes:
        import llvmlite.binding as llvm

        module = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"\n{whole}')
        if optimise:
            builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
            builder.getModulePassManager().run(module, builder)
        code: bytes = machine.emit_object(module)
        return code

    engine = load([whole.encode()], make, int(optimise))
    return engine, {name: engine.get_function_address(name) for name in names}
