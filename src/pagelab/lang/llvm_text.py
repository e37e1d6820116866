# SPDX-License-Identifier: GPL-2.0-or-later
"""Straight code: graphs to LLVM IR text, one function a procedure, registers of 64 bits.

Every function takes the address of the state first.  A fault writes its number into the head of the state and returns;
callers pass it on.  Faults of index and lock are always checked, those of arithmetic and of narrow fields on request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pagelab.lang.graph import COMPARISONS, Do, Expr, Node, Op, Place, Procedure
from pagelab.lang.layout import FAULT, FAULT_BOUND, FAULT_VALUE, Layout

ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
PREDICATES = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
MINMAX = {"min": "smin", "max": "smax"}
#: Intrinsics that the text may call.
DECLARATIONS = "\n".join(
    [f"declare {{i64, i1}} @llvm.s{op}.with.overflow.i64(i64, i64)" for op in ("add", "sub", "mul")]
    + [f"declare i64 @llvm.{op}.i64(i64, i64)" for op in MINMAX.values()]
)
#: A procedure of at most this many nodes is always inlined, and one with a single caller up to the second bound.
INLINE_NODES, INLINE_ONCE_NODES = 8, 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where a program can fault: what, and the line of the model."""

    what: str
    procedure: str
    file: str
    line: int


class StraightText:
    """LLVM IR of a set of procedures over one layout.

    :param exported: procedures that are called from outside, under their own names.
    :param checks: ``"index"``: wild indices, locks, asserts, division by 0; ``"all"``: also 64-bit overflow, shift
        counts, and values that do not fit their field.
    """

    def __init__(
        self, procedures: Iterable[Procedure], exported: Iterable[Procedure], layout: Layout, checks: str
    ) -> None:
        if checks not in ("index", "all"):
            raise ValueError(f"checks is {checks!r}, must be 'index' or 'all'")
        self.procedures = list(procedures)
        self.exported = set(exported)
        self.layout = layout
        self.check_all = checks == "all"
        self.faults: list[Fault] = []
        self.callers: dict[Procedure, int] = {}
        for procedure in self.procedures:
            for node in procedure.nodes:
                if node.callee is not None:
                    self.callers[node.callee] = self.callers.get(node.callee, 0) + 1
        self.symbols: dict[Procedure, str] = {}
        self.can_fault: dict[Procedure, bool] = {}
        lines = []
        for procedure in self.procedures:
            self.symbols[procedure] = f"{procedure.name}.{len(self.symbols)}"
            lines += _Function(self, procedure).lines
        for procedure in self.exported:
            lines += self._export(procedure)
        self.text = DECLARATIONS + "\n" + "\n".join(lines) + "\n"

    def _export(self, procedure: Procedure) -> list[str]:
        params = "".join(f", i64 %{i}" for i in range(1, len(procedure.params) + 1))
        return [
            f'define i64 @"{procedure.name}"(ptr noalias %0{params}) {{',
            f'  %r = call i64 @"{self.symbols[procedure]}"(ptr %0{params})',
            "  ret i64 %r",
            "}",
        ]

    def attributes(self, procedure: Procedure) -> str:
        size = len(procedure.nodes)
        once = self.callers.get(procedure, 0) <= 1
        return " alwaysinline" if size <= INLINE_NODES or (once and size <= INLINE_ONCE_NODES) else ""


class _Function:
    """The text of one procedure."""

    def __init__(self, program: StraightText, procedure: Procedure) -> None:
        self.program = program
        self.procedure = procedure
        self.lines: list[str] = []
        self.count = 0
        self.ids = {id(node): i for i, node in enumerate(procedure.nodes)}
        self.may_fault = False
        self.node: Node | None = None
        self.write()

    def write(self) -> None:
        procedure, program = self.procedure, self.program
        params = "".join(f", i64 %p{i}" for i in range(len(procedure.params)))
        attributes = program.attributes(procedure)
        self.lines.append(
            f'define internal i64 @"{program.symbols[procedure]}"(ptr noalias %s{params}) nounwind{attributes} {{'
        )
        for name in procedure.locals():
            self.emit(f'%"l{name}" = alloca i64')
        for i, name in enumerate(procedure.params):
            self.emit(f'store i64 %p{i}, ptr %"l{name}"')
        if procedure.entry is None:
            self.emit("ret i64 0")
        else:
            self.emit(f"br label %{self.label(procedure.entry)}")
        for node in procedure.nodes:
            self.node = node
            self.lines.append(f"{self.label(node)}:")
            self.write_node(node)
        if self.may_fault:
            self.lines.append("faulted:")
            self.emit("ret i64 0")
        self.lines.append("}")
        program.can_fault[procedure] = self.may_fault

    # ---- pieces

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str) -> str:
        self.count += 1
        self.emit(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def label(self, node: Node) -> str:
        return f"n{self.ids[id(node)]}"

    def fault_unless(self, condition: str, what: str, value: str = "0", bound: str = "0") -> None:
        """Go on if the i1 holds; otherwise report and leave the procedure."""
        assert self.node is not None
        self.may_fault = True
        self.count += 1
        good, bad = f"g{self.count}", f"f{self.count}"
        self.emit(f"br i1 {condition}, label %{good}, label %{bad}, !prof !0")
        self.lines.append(f"{bad}:")
        self.report(what, value, bound)
        self.lines.append(f"{good}:")

    def report(self, what: str, value: str = "0", bound: str = "0") -> None:
        assert self.node is not None
        self.may_fault = True
        program = self.program
        program.faults.append(Fault(what, self.procedure.name, self.procedure.file, self.node.line))
        for offset, x in ((FAULT, str(len(program.faults))), (FAULT_VALUE, value), (FAULT_BOUND, bound)):
            self.emit(f"store i64 {x}, ptr {self.value(f'getelementptr i8, ptr %s, i64 {offset}')}")
        self.emit("br label %faulted")

    def expression(self, e: Expr) -> str:
        """An i64."""
        if isinstance(e, int):
            return str(e)
        if isinstance(e, str):
            return self.value(f'load i64, ptr %"l{e}"')
        if e.op in COMPARISONS or e.op == "not":
            return self.value(f"zext i1 {self.truth(e)} to i64")
        a, b = self.expression(e.a), self.expression(e.b)
        if e.op in MINMAX:
            return self.value(f"call i64 @llvm.{MINMAX[e.op]}.i64(i64 {a}, i64 {b})")
        if e.op in ("+", "-", "*") and self.program.check_all:
            pair = self.value(f"call {{i64, i1}} @llvm.s{ARITHMETIC[e.op]}.with.overflow.i64(i64 {a}, i64 {b})")
            over = self.value(f"extractvalue {{i64, i1}} {pair}, 1")
            self.fault_unless(self.value(f"xor i1 {over}, true"), f"{e.op} overflows 64 bits", a, b)
            return self.value(f"extractvalue {{i64, i1}} {pair}, 0")
        if e.op in ARITHMETIC:
            return self.value(f"{ARITHMETIC[e.op]} i64 {a}, {b}")
        if e.op in ("<<", ">>"):
            return self.shift(e.op, a, b)
        return self.divide(e, a, b)

    def shift(self, op: str, a: str, b: str) -> str:
        if self.program.check_all and not b.isdecimal():
            self.fault_unless(self.value(f"icmp ult i64 {b}, 64"), "shift count outside 0..63", b, "64")
        if op == ">>":
            return self.value(f"ashr i64 {a}, {b}")
        shifted = self.value(f"shl i64 {a}, {b}")
        if self.program.check_all:
            back = self.value(f"ashr i64 {shifted}, {b}")
            self.fault_unless(self.value(f"icmp eq i64 {back}, {a}"), "<< overflows 64 bits", a, b)
        return shifted

    def divide(self, e: Op, a: str, b: str) -> str:
        """Python's division rounds down, LLVM's towards 0."""
        self.fault_unless(self.value(f"icmp ne i64 {b}, 0"), "division by 0", a)
        remainder = self.value(f"srem i64 {a}, {b}")
        signs = self.value(f"xor i64 {remainder}, {b}")
        uneven = self.value(f"icmp ne i64 {remainder}, 0")
        wrong = self.value(f"and i1 {uneven}, {self.value(f'icmp slt i64 {signs}, 0')}")
        if e.op == "%":
            return self.value(f"select i1 {wrong}, i64 {self.value(f'add i64 {remainder}, {b}')}, i64 {remainder}")
        return self.value(f"sub i64 {self.value(f'sdiv i64 {a}, {b}')}, {self.value(f'zext i1 {wrong} to i64')}")

    def truth(self, e: Expr) -> str:
        """An i1."""
        if isinstance(e, Op) and e.op in COMPARISONS:
            a = self.expression(e.a)
            return self.value(f"icmp {PREDICATES[e.op]} i64 {a}, {self.expression(e.b)}")
        if isinstance(e, Op) and e.op == "not":
            return self.value(f"icmp eq i64 {self.expression(e.a)}, 0")
        return self.value(f"icmp ne i64 {self.expression(e)}, 0")

    def address(self, place: Place) -> tuple[str, int]:
        """The address of a field and its bytes; indices are checked."""
        laid = self.program.layout.tables[place.table]
        row = "0"
        for index, size in zip(place.indices, laid.shape, strict=True):
            i = self.expression(index)
            if not (isinstance(index, int) and 0 <= index < size):
                good = self.value(f"icmp ult i64 {i}, {size}")
                self.fault_unless(good, f"index of table {place.table.name} is outside its {size} rows", i, str(size))
            row = i if row == "0" else self.value(f"add i64 {self.value(f'mul i64 {row}, {size}')}, {i}")
        within, width = laid.fields[place.field.name]
        if laid.row_bytes:
            bytes_in = row if row == "0" else self.value(f"mul i64 {row}, {laid.row_bytes}")
            base = self.value(f"getelementptr i8, ptr %s, i64 {laid.offset + within}")
            return self.value(f"getelementptr i8, ptr {base}, i64 {bytes_in}"), width
        slot = self.value(f"getelementptr i8, ptr %s, i64 {laid.offset + within}")
        array = self.value(f"load ptr, ptr {slot}")
        return self.value(f"getelementptr i{8 * width}, ptr {array}, i64 {row}"), width

    def load(self, place: Place) -> str:
        at, width = self.address(place)
        x = self.value(f"load i{8 * width}, ptr {at}, align 1")
        return x if width == 8 else self.value(f"sext i{8 * width} {x} to i64")

    def store(self, place: Place, x: str) -> None:
        at, width = self.address(place)
        if width < 8 and x.startswith("%"):
            if self.program.check_all:
                half, size = 1 << (8 * width - 1), 1 << 8 * width
                good = self.value(f"icmp ult i64 {self.value(f'add i64 {x}, {half}')}, {size}")
                self.fault_unless(good, f"value does not fit the {8 * width} bits of {place}", x, str(half))
            x = self.value(f"trunc i64 {x} to i{8 * width}")
        self.emit(f"store i{8 * width} {x}, ptr {at}, align 1")

    # ---- nodes

    def write_node(self, node: Node) -> None:
        match node.do:
            case Do.SET:
                self.set(node.local, self.expression(node.value))
            case Do.LOAD:
                self.set(node.local, self.load(_place(node)))
            case Do.STORE:
                self.store(_place(node), self.expression(node.value))
            case Do.LOCK:
                place = _place(node)
                held = self.load(place)
                self.fault_unless(
                    self.value(f"icmp eq i64 {held}, 0"), f"{place} taken that is already held: a deadlock"
                )
                self.store(place, "1")
            case Do.UNLOCK:
                self.store(_place(node), "0")
            case Do.TRYLOCK:
                place = _place(node)
                free = self.value(f"icmp eq i64 {self.load(place)}, 0")
                self.store(place, "1")
                self.set(node.local, self.value(f"zext i1 {free} to i64"))
            case Do.CALL:
                self.call(node)
            case Do.ASSERT:
                self.report(node.text)
                return
            case Do.RETURN:
                self.emit(f"ret i64 {self.expression(node.value)}")
                return
            case Do.BRANCH:
                truth = self.truth(node.value)
                self.emit(f"br i1 {truth}, label %{self.target(node.then)}, label %{self.target(node.other)}")
                return
            case Do.IRQS_OFF | Do.IRQS_ON:
                pass  # one thread alone cannot tell
        self.emit(f"br label %{self.target(node.then)}")

    def target(self, node: Node | None) -> str:
        assert node is not None, f"{self.procedure.name}: an edge leads nowhere"
        return self.label(node)

    def set(self, local: str, x: str) -> None:
        if local:
            self.emit(f'store i64 {x}, ptr %"l{local}"')

    def call(self, node: Node) -> None:
        callee, program = node.callee, self.program
        assert callee is not None
        args = "".join(f", i64 {self.expression(a)}" for a in node.args)
        result = self.value(f'call i64 @"{program.symbols[callee]}"(ptr %s{args})')
        if program.can_fault[callee]:
            self.may_fault = True
            self.count += 1
            number = self.value(f"load i64, ptr {self.value(f'getelementptr i8, ptr %s, i64 {FAULT}')}")
            good = self.value(f"icmp eq i64 {number}, 0")
            self.emit(f"br i1 {good}, label %c{self.count}, label %faulted, !prof !0")
            self.lines.append(f"c{self.count}:")
        self.set(node.local, result)


def _place(node: Node) -> Place:
    assert node.place is not None
    return node.place
