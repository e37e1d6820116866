# SPDX-License-Identifier: GPL-2.0-or-later
"""Straight code: graphs to LLVM IR text, one function a procedure, registers of 64 bits.

Every function takes the address of the state first.  A fault writes its number into the head of the state and returns;
callers pass it on.  Faults of index and lock are always checked, those of arithmetic and of narrow fields on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pagelab.lang.graph import Do, Node, Place, Procedure
from pagelab.lang.layout import FAULT, FAULT_BOUND, FAULT_VALUE, Layout
from pagelab.lang.llvm_emit import DECLARATIONS, Emitter

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
    :param counted: by name of a lock field, such as ``"zone.lock"``, the field that counts how often it is taken.
    """

    def __init__(
        self,
        procedures: Iterable[Procedure],
        exported: Iterable[Procedure],
        layout: Layout,
        checks: str,
        counted: Mapping[str, Place] | None = None,
    ) -> None:
        self.counted = counted or {}
        self.procedures = list(procedures)
        self.exported = set(exported)
        self.layout = layout
        self.checks = checks
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


class _Function(Emitter):
    """The text of one procedure."""

    def __init__(self, program: StraightText, procedure: Procedure) -> None:
        super().__init__(program.layout, program.checks)
        self.program = program
        self.procedure = procedure
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

    def get(self, local: str) -> str:
        return self.value(f'load i64, ptr %"l{local}"')

    def set(self, local: str, x: str) -> None:
        if local:
            self.emit(f'store i64 {x}, ptr %"l{local}"')

    def label(self, node: Node) -> str:
        return f"n{self.ids[id(node)]}"

    def report(self, what: str, value: str = "0", bound: str = "0") -> None:
        """The fault goes into the head of the state."""
        assert self.node is not None
        self.may_fault = True
        program = self.program
        program.faults.append(Fault(what, self.procedure.name, self.procedure.file, self.node.line))
        for offset, x in ((FAULT, str(len(program.faults))), (FAULT_VALUE, value), (FAULT_BOUND, bound)):
            self.emit(f"store i64 {x}, ptr {self.value(f'getelementptr i8, ptr %s, i64 {offset}')}")
        self.emit("br label %faulted")

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
                self.count_taken(place, "1")
            case Do.UNLOCK:
                self.store(_place(node), "0")
            case Do.TRYLOCK:
                place = _place(node)
                free = self.value(f"icmp eq i64 {self.load(place)}, 0")
                self.store(place, "1")
                taken = self.value(f"zext i1 {free} to i64")
                self.set(node.local, taken)
                self.count_taken(place, taken)
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
            case Do.WAIT:
                self.fault_unless(self.truth(node.value), "waits for what only another thread could bring about")
            case Do.CHOOSE:
                low, high = (self.expression(e) for e in node.args)
                self.fault_unless(self.value(f"icmp slt i64 {low}, {high}"), "nothing to choose from", low, high)
                self.set(node.local, low)
            case Do.IRQS_TEST:
                self.set(node.local, "0")
            case Do.IRQS_OFF | Do.IRQS_ON | Do.ATOMIC | Do.ATOMIC_END | Do.WRITE_BACK:
                pass  # one thread alone cannot tell
        self.emit(f"br label %{self.target(node.then)}")

    def count_taken(self, lock: Place, taken: str) -> None:
        """Add to what counts how often a lock is taken."""
        counter = self.program.counted.get(str(lock))
        if counter is not None:
            self.store(counter, self.value(f"add i64 {self.load(counter)}, {taken}"))

    def target(self, node: Node | None) -> str:
        assert node is not None, f"{self.procedure.name}: an edge leads nowhere"
        return self.label(node)

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
