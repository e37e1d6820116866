# SPDX-License-Identifier: GPL-2.0-or-later
"""What all LLVM text of a model shares: expressions, fields of tables, checks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pagelab.lang.graph import COMPARISONS, Expr, Op, Place
from pagelab.lang.layout import Layout

ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
PREDICATES = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
MINMAX = {"min": "smin", "max": "smax"}
#: Intrinsics that the text may call.
DECLARATIONS = "\n".join(
    [f"declare {{i64, i1}} @llvm.s{op}.with.overflow.i64(i64, i64)" for op in ("add", "sub", "mul")]
    + [f"declare i64 @llvm.{op}.i64(i64, i64)" for op in MINMAX.values()]
)


class Emitter(ABC):
    """Writes LLVM IR of one function over the state ``%s``, in registers of 64 bits.

    :param checks: ``"index"``: wild indices, division by 0; ``"all"``: also 64-bit overflow, shift counts, values that
        do not fit their field.
    """

    def __init__(self, layout: Layout, checks: str) -> None:
        if checks not in ("index", "all"):
            raise ValueError(f"checks is {checks!r}, must be 'index' or 'all'")
        self.layout = layout
        self.check_all = checks == "all"
        self.lines: list[str] = []
        self.count = 0

    @abstractmethod
    def get(self, local: str) -> str:
        """The value of a local, an i64."""

    @abstractmethod
    def set(self, local: str, x: str) -> None:
        """Assign a local; "" is none."""

    @abstractmethod
    def report(self, what: str, value: str = "0", bound: str = "0") -> None:
        """Report a fault and leave the function."""

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, text: str) -> str:
        self.count += 1
        register = f"%v{self.count}"
        self.lines.append(f"  {register} = {text}")
        return register

    def fault_unless(self, condition: str, what: str, value: str = "0", bound: str = "0") -> None:
        """Go on if the i1 holds; otherwise report and leave the function."""
        self.count += 1
        good, bad = f"g{self.count}", f"f{self.count}"
        self.emit(f"br i1 {condition}, label %{good}, label %{bad}, !prof !0")
        self.lines.append(f"{bad}:")
        self.report(what, value, bound)
        self.lines.append(f"{good}:")

    def expression(self, e: Expr) -> str:
        """An i64."""
        if isinstance(e, int):
            return str(e)
        if isinstance(e, str):
            return self.get(e)
        if e.op in COMPARISONS or e.op == "not":
            return self.value(f"zext i1 {self.truth(e)} to i64")
        a, b = self.expression(e.a), self.expression(e.b)
        if e.op in MINMAX:
            return self.value(f"call i64 @llvm.{MINMAX[e.op]}.i64(i64 {a}, i64 {b})")
        if e.op in ("+", "-", "*") and self.check_all:
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
        if self.check_all and not b.isdecimal():
            self.fault_unless(self.value(f"icmp ult i64 {b}, 64"), "shift count outside 0..63", b, "64")
        if op == ">>":
            return self.value(f"ashr i64 {a}, {b}")
        shifted = self.value(f"shl i64 {a}, {b}")
        if self.check_all:
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
        laid = self.layout.tables[place.table]
        row = "0"
        for index, size in zip(place.indices, laid.shape, strict=True):
            i = self.expression(index)
            if place.table.columns:
                count = self.value(f"load i64, ptr {self.value(f'getelementptr i8, ptr %s, i64 {laid.count}')}")
                good = self.value(f"icmp ult i64 {i}, {count}")
                self.fault_unless(good, f"index of table {place.table.name} is outside its columns", i, count)
            elif not (isinstance(index, int) and 0 <= index < size):
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
        self.emit(f"store i{8 * width} {self.narrow(place, width, x)}, ptr {at}, align 1")

    def narrow(self, place: Place, width: int, x: str) -> str:
        """An i64 as what a field of so many bytes holds."""
        if width == 8 or not x.startswith("%"):
            return x
        if self.check_all:
            half, size = 1 << (8 * width - 1), 1 << 8 * width
            good = self.value(f"icmp ult i64 {self.value(f'add i64 {x}, {half}')}, {size}")
            self.fault_unless(good, f"value does not fit the {8 * width} bits of {place}", x, str(half))
        return self.value(f"trunc i64 {x} to i{8 * width}")
