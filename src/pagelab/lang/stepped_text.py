# SPDX-License-Identifier: GPL-2.0-or-later
"""Stepped code: one thread's program to LLVM IR text, as a function that takes one step in a state.

The state holds, behind the tables, for each thread the number of the node it stops at (two bytes) and its slots.  A
step does what its node does and then all local work, up to the next node at which others may come in.
"""

from __future__ import annotations

from collections.abc import Callable

from pagelab.lang.contexts import ANYWHERE, Context
from pagelab.lang.flatten import FlatNode, Flattener
from pagelab.lang.graph import Do, Place
from pagelab.lang.layout import Layout
from pagelab.lang.llvm_emit import Emitter
from pagelab.lang.slots import Slots
from pagelab.lang.store_buffer import Buffer, is_buffered

#: What step() returns; from FAULTED on it is FAULTED plus the number of the fault.
BLOCKED, STEPPED, ENDED, NO_CHOICE, MORE_CHOICES, FAULTED = 0, 1, 2, 3, 4, 16
#: Number of a thread's first stop is 1; a thread at 0 has not begun.
NOT_BEGUN = 0


class SteppedThread(Emitter):
    """The text of ``i32 @thread.N(ptr %s, i32 %choice)``.

    :param base: first byte of the thread in the state.
    :param cpus: how many CPUs there are; each has a byte behind the tables for its irqs-off section, and if there are
        interrupts another, behind all of those, for the one that is under way.
    :param fault: gives a fault a number; called with what it is and the node.
    :param context: what else its steps wait for.
    :param buffer: what its stores go through, None if they reach memory at once.
    :param pc_bytes: bytes for the number of the stop that it stands at, before its slots.
    """

    def __init__(
        self,
        number: int,
        program: Flattener,
        slots: Slots,
        base: int,
        layout: Layout,
        fault: Callable[[str, FlatNode], int],
        cpus: int = 0,
        context: Context = ANYWHERE,
        buffer: Buffer | None = None,
        pc_bytes: int = 2,
    ) -> None:
        super().__init__(layout, "all")
        self.pc_type, self.first_slot = f"i{8 * pc_bytes}", base + pc_bytes
        self.cpus, self.context, self.buffer = cpus, context, buffer
        self.program, self.slots, self.base, self.fault = program, slots, base, fault
        self.node = program.entry
        self.pc = {node.id: i + 1 for i, node in enumerate(slots.entries)}
        self.stops: dict[int, FlatNode] = {}
        self.lines.append(f"define i32 @thread.{number}(ptr noalias %s, i32 %choice) nounwind {{")
        self.write()
        self.lines.append("}")

    def write(self) -> None:
        assigned = sorted({node.local for node in self.program.nodes if node.local} - self.slots.slot.keys())
        for name in assigned:
            self.emit(f'%"l{name}" = alloca i64')
        self.emit("%result = alloca i32")
        self.emit(f"store i32 {STEPPED}, ptr %result")
        kind = self.pc_type
        pc = self.value(f"load {kind}, ptr {self.at(self.base)}, align 1")
        cases = " ".join(f"{kind} {number}, label %e{node_id}" for node_id, number in self.pc.items())
        self.emit(f"switch {kind} {pc}, label %ended [{kind} {NOT_BEGUN}, label %begin {cases}]")
        for label, result in (("ended", ENDED), ("blocked", BLOCKED), ("nochoice", NO_CHOICE)):
            self.lines.append(f"{label}:")
            self.emit(f"ret i32 {result}")
        self.lines.append("begin:")
        self.emit(f"br label %{self.target(self.program.entry)}")
        for node in self.slots.entries:
            self.lines.append(f"e{node.id}:")
            if node is self.program.end:
                self.emit("br label %ended")
                continue
            self.wait_for_turn(node)
            if node.id in self.slots.chooses:
                self.emit(f"br label %n{node.id}")
            else:
                only = self.value("icmp eq i32 %choice, 0")
                self.emit(f"br i1 {only}, label %n{node.id}, label %nochoice")
        for node in self.program.nodes:
            if node is not self.program.end:
                self.node = node
                self.lines.append(f"n{node.id}:")
                self.write_node(node)
        for node in self.stops.values():
            self.lines.append(f"y{node.id}:")
            for slot in self.slots.zero[node.id]:
                self.emit(f"store i8 0, ptr {self.at(self.first_slot + slot)}")
            self.emit(f"store {self.pc_type} {self.pc[node.id]}, ptr {self.at(self.base)}, align 1")
            if self.context.interrupt and node is self.program.end:
                self.empty_buffer()
                self.emit(f"store i8 0, ptr {self.interrupt_under_way(str(self.context.cpu))}")
            self.emit(f"ret i32 {self.value('load i32, ptr %result')}")

    # ---- memory

    def load(self, place: Place) -> str:
        if self.buffer is None or not self.buffer.may_hold(place):
            return super().load(place)
        return self.value(f"call i64 @seen.{self.buffer.number}(ptr %s, i64 {self.byte_of(self.address(place)[0])})")

    def store(self, place: Place, x: str) -> None:
        if self.buffer is None or place.table.ghost:
            super().store(place, x)
        elif is_buffered(self.node):
            at, width = self.address(place)
            byte, x = self.byte_of(at), self.narrow(place, width, x)
            self.go_on_if(self.value(f"call i1 @put.{self.buffer.number}(ptr %s, i64 {byte}, i8 {x})"))
        else:
            self.empty_buffer()
            super().store(place, x)

    def byte_of(self, address: str) -> str:
        """An address as the number of a byte in the state."""
        first, at = (self.value(f"ptrtoint ptr {pointer} to i64") for pointer in ("%s", address))
        return self.value(f"sub i64 {at}, {first}")

    def empty_buffer(self) -> None:
        if self.buffer is not None:
            self.emit(f"call void @empty.{self.buffer.number}(ptr %s)")

    # ---- pieces

    def at(self, offset: int) -> str:
        return self.value(f"getelementptr i8, ptr %s, i64 {offset}")

    def get(self, local: str) -> str:
        if local not in self.slots.slot:
            return self.value(f'load i64, ptr %"l{local}"')
        x = self.value(f"load i8, ptr {self.at(self.first_slot + self.slots.slot[local])}")
        return self.value(f"sext i8 {x} to i64")

    def set(self, local: str, x: str) -> None:
        if not local:
            return
        if local not in self.slots.slot:
            self.emit(f'store i64 {x}, ptr %"l{local}"')
            return
        if x.startswith("%"):
            good = self.value(f"icmp ult i64 {self.value(f'add i64 {x}, 128')}, 256")
            self.fault_unless(good, f"local {local.split('#')[0]} does not fit the 8 bits of a slot")
            x = self.value(f"trunc i64 {x} to i8")
        self.emit(f"store i8 {x}, ptr {self.at(self.first_slot + self.slots.slot[local])}")

    def report(self, what: str, value: str = "0", bound: str = "0") -> None:
        """The fault's number is the result; where it is, the state before the step says."""
        self.emit(f"ret i32 {FAULTED + self.fault(what, self.node)}")

    def target(self, node: FlatNode | None) -> str:
        assert node is not None, "an edge leads nowhere"
        if node.begins_step:
            self.stops[node.id] = node
            return f"y{node.id}"
        return f"n{node.id}"

    def place_of(self, node: FlatNode) -> Place:
        assert node.place is not None
        return node.place

    # ---- nodes

    def write_node(self, node: FlatNode) -> None:
        match node.do:
            case Do.SET:
                self.set(node.local, self.expression(node.value))
            case Do.LOAD:
                self.set(node.local, self.load(self.place_of(node)))
            case Do.STORE:
                self.store(self.place_of(node), self.expression(node.value))
            case Do.LOCK:
                free = self.value(f"icmp eq i64 {self.load(self.place_of(node))}, 0")
                self.go_on_if(free)
                self.store(self.place_of(node), "1")
            case Do.UNLOCK:
                held = self.value(f"icmp ne i64 {self.load(self.place_of(node))}, 0")
                self.fault_unless(held, f"{node.place} given back that nobody holds")
                self.store(self.place_of(node), "0")
            case Do.TRYLOCK:
                free = self.value(f"icmp eq i64 {self.load(self.place_of(node))}, 0")
                self.store(self.place_of(node), "1")
                self.set(node.local, self.value(f"zext i1 {free} to i64"))
            case Do.WAIT:
                self.go_on_if(self.truth(node.value))
            case Do.CHOOSE:
                self.choose(node)
            case Do.WRITE_BACK:
                self.go_on_if(self.value(f"call i1 @write_back.{node.value}(ptr %s)"))
            case Do.IRQS_OFF:
                cpu = self.expression(node.value)
                token = self.irq_token(cpu)
                self.go_on_if_zero(token)
                if self.context.stops_interrupts(node):
                    self.go_on_if_zero(self.interrupt_under_way(cpu), unless=cpu if self.context.interrupt else "")
                self.empty_buffer()
                self.emit(f"store i8 1, ptr {token}")
            case Do.IRQS_TEST:
                off = self.value(f"load i8, ptr {self.irq_token(self.expression(node.value))}")
                self.set(node.local, self.value(f"zext i8 {off} to i64"))
            case Do.IRQS_ON:
                self.empty_buffer()
                self.emit(f"store i8 0, ptr {self.irq_token(self.expression(node.value))}")
            case Do.IRQ_ENTER:
                self.empty_buffer()
                self.emit(f"store i8 1, ptr {self.interrupt_under_way(str(self.context.cpu))}")
            case Do.ASSERT:
                self.report(node.text)
                return
            case Do.BRANCH:
                truth = self.truth(node.value)
                self.emit(f"br i1 {truth}, label %{self.target(node.then)}, label %{self.target(node.other)}")
                return
            case _:
                pass  # the beginning of a section: the step itself is all there is
        self.emit(f"br label %{self.target(node.then)}")

    def go_on_if(self, condition: str) -> None:
        """The step cannot be taken otherwise; what it changed so far, the searcher throws away."""
        self.count += 1
        self.emit(f"br i1 {condition}, label %w{self.count}, label %blocked")
        self.lines.append(f"w{self.count}:")

    def wait_for_turn(self, node: FlatNode) -> None:
        """One context of a CPU runs at a time."""
        cpu = self.context.cpu
        if self.context.waits_for_irqs(node):
            known = node.irqs_off is None or isinstance(node.irqs_off, int)
            mine = "" if known else self.expression(node.irqs_off or 0)
            self.go_on_if_zero(self.at(self.layout.bytes + cpu), unless=mine)
        if self.context.waits_for_interrupts(node):
            self.go_on_if_zero(self.interrupt_under_way(str(cpu)))

    def go_on_if_zero(self, byte: str, unless: str = "") -> None:
        """A byte of the state; ``unless`` is a register with the number of a CPU: it does not matter if it is ours."""
        good = self.value(f"icmp eq i8 {self.value(f'load i8, ptr {byte}')}, 0")
        if unless:
            good = self.value(f"or i1 {good}, {self.value(f'icmp eq i64 {unless}, {self.context.cpu}')}")
        self.go_on_if(good)

    def interrupt_under_way(self, cpu: str) -> str:
        """The byte of a CPU that says whether an interrupt is under way there."""
        return self.value(f"getelementptr i8, ptr {self.at(self.layout.bytes + self.cpus)}, i64 {cpu}")

    def irq_token(self, cpu: str) -> str:
        """The byte of a CPU that says whether some context runs there with irqs off."""
        self.fault_unless(self.value(f"icmp ult i64 {cpu}, {self.cpus}"), f"no such CPU among {self.cpus}")
        return self.value(f"getelementptr i8, ptr {self.at(self.layout.bytes)}, i64 {cpu}")

    def choose(self, node: FlatNode) -> None:
        low, high = (self.expression(e) for e in node.args)
        chosen = self.value(f"add i64 {low}, {self.value('zext i32 %choice to i64')}")
        good = self.value(f"icmp slt i64 {chosen}, {high}")
        self.count += 1
        self.emit(f"br i1 {good}, label %w{self.count}, label %nochoice")
        self.lines.append(f"w{self.count}:")
        more = self.value(f"icmp slt i64 {self.value(f'add i64 {chosen}, 1')}, {high}")
        self.emit(f"store i32 {self.value(f'select i1 {more}, i32 {MORE_CHOICES}, i32 {STEPPED}')}, ptr %result")
        self.set(node.local, chosen)
