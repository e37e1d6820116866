# SPDX-License-Identifier: GPL-2.0-or-later
"""The stepped machine: threads over one small state, one atomic step at a time.

``System`` compiles the threads' programs to ``i32 step(state, thread, choice)``, which a search engine calls by
address; it knows the initial state, and says what a thread is about to do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagelab.errors import BadInput
from pagelab.lang.contexts import ANYWHERE, Context, contexts
from pagelab.lang.declare import Lock, Table, table_of
from pagelab.lang.flatten import FlatNode, Flattener, Frame
from pagelab.lang.layout import Layout
from pagelab.lang.llvm_emit import DECLARATIONS
from pagelab.lang.native import compile_text, tables_of
from pagelab.lang.parse import parse
from pagelab.lang.slots import Slots
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, NOT_BEGUN, SteppedThread
from pagelab.lang.store_buffer import WORDS as MEMORY_WORDS
from pagelab.lang.store_buffer import Buffer, StoreBuffers, buffers_of, store_buffer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.lang.graph import Procedure

#: The local that holds what an invariant returns.
_RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a scenario: what it runs, with which constant arguments, and what to call it.

    ``daemon``: it need not come to its end, like a kernel thread that waits for work.  ``cpu``: where it runs, -1 if
    that does not matter; the steps depend on it only in a system with ``exclusive_cpus``.  ``interrupt``: it may begin
    wherever the irqs of its CPU are on, and then runs to its end before any task of that CPU goes on.
    """

    name: str
    function: Callable[..., object]
    args: tuple[int, ...] = ()
    daemon: bool = False
    cpu: int = -1
    interrupt: bool = False


def is_store_buffer(thread: Thread) -> bool:
    """Whether a thread is no context of its CPU but its store buffer."""
    return thread.function is store_buffer


@dataclass(frozen=True, slots=True)
class SteppedFault:
    """A place where a step can fault."""

    what: str
    frame: Frame


class System:
    """Threads compiled to steps, for the constants, features and probes of this moment.

    :param threads: what runs.
    :param invariants: functions without arguments that return whether a state is good; checked in every state.
    :param tables: tables that the state must hold even if no thread touches them.
    :param cpus: CPUs that irqs-off sections name.  A section keeps the other contexts of its CPU from entering one.
    :param exclusive_cpus: it keeps them from taking any step, and threads may be interrupts; see
        :mod:`pagelab.lang.contexts`.
    :param memory: ``"sc"``: sequentially consistent; ``"tso"``: with a store buffer a CPU, whose daemons come behind
        the threads; see :mod:`pagelab.lang.store_buffer`.
    :raises SubsetError: for source outside the modelling language.
    :raises BadInput: for a thread on a CPU that does not exist, or an interrupt where CPUs are not exclusive.
    """

    def __init__(
        self,
        threads: Sequence[Thread],
        invariants: Sequence[Callable[[], bool]] = (),
        tables: Iterable[object] = (),
        *,
        cpus: int = 0,
        exclusive_cpus: bool = False,
        memory: str = "sc",
    ) -> None:
        self.threads = list(threads)
        self.invariants = list(invariants)
        buffered = [] if memory == "sc" else [store_buffer]
        graphs = parse([*(t.function for t in threads), *invariants, *buffered])
        self.checked = [Flattener(graphs[f], (), result=_RETURNED) for f in invariants]
        self.programs = [Flattener(graphs[t.function], t.args, interrupt=t.interrupt) for t in threads]
        self.exclusive_cpus = exclusive_cpus
        self.contexts = self._contexts(cpus)
        if memory not in MEMORY_WORDS:
            raise BadInput(f"there is no memory model {memory!r}", f"there are {', '.join(MEMORY_WORDS)}")
        self.memory = memory
        owned = self._add_buffers(graphs.get(store_buffer))
        self.slots = [Slots(program) for program in self.programs]
        touched = tables_of(graphs.values()) | {table_of(t) for t in tables}
        widths = {(t.name, name): 1 for t in touched for name in t.fields}
        self.layout = Layout(touched, widths, packed=True)
        self.bases: list[int] = []
        self.cpus = cpus
        used = self.layout.bytes + cpus * (2 if any(t.interrupt for t in threads) else 1)
        self.pc_bytes = 1 if all(len(slots.entries) < 1 << 8 for slots in self.slots) else 2
        for slots in self.slots:
            self.bases.append(used)
            used += self.pc_bytes + slots.count
        self.buffers = StoreBuffers(owned, self.layout, used)
        used += self.buffers.bytes
        self.used = used
        # The engine reads two bytes where a stop is kept, also if it has one only.
        self.bytes = -(-max(used, self.bases[-1] + 2) // 8) * 8
        self.faults: list[SteppedFault] = []
        self.text = self._text(self.checked, cpus)
        own = [f"thread.{i}" for i in range(len(self.programs))]
        self._engine, self.address = compile_text(self.text, ["step", "good", *own], optimise=False)
        #: Addresses of i32 f(state, choice), the step of one thread.
        self.steps = [self.address[name] for name in own]
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
        self._step = kind(self.address["step"])
        self._good = kind(self.address["good"])

    def _contexts(self, cpus: int) -> list[Context]:
        if self.exclusive_cpus:
            return contexts(self.threads, self.programs, cpus)
        for thread in self.threads:
            if thread.interrupt:
                raise BadInput(
                    f"thread {thread.name} is an interrupt, but the contexts of a CPU do not exclude each other",
                    "let the model define exclusive_cpus(), returning True",
                )
        return [ANYWHERE for _ in self.threads]

    def _add_buffers(self, program: Procedure | None) -> list[Buffer | None]:
        """The buffer of each thread, and a daemon for each buffer; their program is there if there are any."""
        if program is None:
            return [None for _ in self.threads]
        owned = buffers_of(self.threads, self.programs)
        for buffer in sorted({buffer for buffer in owned if buffer is not None}):
            name = f"store buffer of {buffer.name}"
            self.threads.append(Thread(name, store_buffer, (buffer.number,), daemon=True, cpu=buffer.cpu))
            self.programs.append(Flattener(program, (buffer.number,)))
            self.contexts.append(ANYWHERE)
            owned.append(None)
        return owned

    def _fault(self, what: str, node: FlatNode) -> int:
        self.faults.append(SteppedFault(what, node.frames[-1]))
        return len(self.faults) - 1

    def _text(self, checked: list[Flattener], cpus: int) -> str:
        lines = [DECLARATIONS, *self.buffers.text()]
        for i, (program, slots) in enumerate(zip(self.programs, self.slots, strict=True)):
            lines += SteppedThread(
                i,
                program,
                slots,
                self.bases[i],
                self.layout,
                self._fault,
                cpus,
                self.contexts[i],
                self.buffers.owned[i],
                self.pc_bytes,
            ).lines
        lines += _dispatch("step", len(self.programs), "thread", ENDED)
        # An invariant is a thread that runs to its end in one go and says by its result whether it came through.
        for i, program in enumerate(checked):
            for node in program.nodes:
                node.begins_step = node is program.end
            lines += _Invariant(i, program, self.layout, self._fault, cpus).lines
        lines += _dispatch("good", len(checked), "invariant", 1)
        return "\n".join(lines) + "\n"

    # ---- states

    def initial(self, setup: Callable[[], object] | None = None) -> npt.NDArray[np.uint8]:
        """The state in which all threads stand before their first step, after ``setup`` has run in CPython.

        :raises ModelFault: if the setup faults.
        :raises ValueError: if a value does not fit the byte that states have for it.
        """
        import numpy as np

        return np.frombuffer(self.initial_bytes(setup), np.uint8)

    def initial_bytes(self, setup: Callable[[], object] | None = None) -> bytearray:
        """The same, without numpy, whose import takes longer than a small search."""
        for table in self.layout.tables:
            table.reset()
        if setup is not None:
            setup()
        state = bytearray(self.bytes)
        for table, laid in self.layout.tables.items():
            for i, row in enumerate(table.rows):
                for name, (offset, _) in laid.fields.items():
                    value = getattr(row, name)
                    number = int(value.held) if isinstance(value, Lock) else int(value)
                    if not -128 <= number < 128:
                        raise ValueError(f"{table.name}[{i}].{name} is {number} at the start: states hold -128 to 127")
                    state[laid.offset + i * laid.row_bytes + offset] = number & 0xFF
        memory = (ctypes.c_char * self.bytes).from_buffer(state)
        for i in range(len(self.threads)):
            self._step(ctypes.addressof(memory), i, 0)
        return state

    def step(self, state: npt.NDArray[np.uint8], thread: int, choice: int = 0) -> int:
        """Take a step in place; what it returns is told in :mod:`pagelab.lang.stepped_text`.

        After BLOCKED, ENDED and NO_CHOICE the state is as it was; from FAULTED on it is not to be used any more.
        """
        return int(self._step(state.ctypes.data, thread, choice))

    def good(self, state: npt.NDArray[np.uint8], invariant: int) -> int:
        """Whether an invariant holds in a state: 1 if it does, 0 if not, or a fault."""
        return int(self._good(state.ctypes.data, invariant, 0))

    def pc(self, state: npt.NDArray[np.uint8] | bytearray, thread: int) -> int:
        """Number of the stop that a thread stands at."""
        base = self.bases[thread]
        return int.from_bytes(bytes(state[base : base + self.pc_bytes]), "little")

    def node(self, state: npt.NDArray[np.uint8], thread: int) -> FlatNode:
        """What a thread does next."""
        pc = self.pc(state, thread)
        assert pc != NOT_BEGUN
        return self.slots[thread].entries[pc - 1]

    def ended(self, state: npt.NDArray[np.uint8], thread: int) -> bool:
        """Whether a thread has come to its end."""
        return self.node(state, thread) is self.programs[thread].end

    def rows(self, table: object, state: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
        """The rows of a table or record in a state: a view."""
        return self.layout.view(table_of(table), state)

    def seen(self, thread: int, table: object, field: str, row: int, state: npt.NDArray[np.uint8]) -> int:
        """The value that a thread sees in a field: its CPU's store buffer may know a newer one than memory."""
        laid = self.layout.tables[table_of(table)]
        return self.buffers.seen(state, thread, laid.offset + row * laid.row_bytes + laid.fields[field][0])

    @property
    def memory_words(self) -> str:
        """The memory model, for people."""
        return MEMORY_WORDS[self.memory]

    def idle(self, state: npt.NDArray[np.uint8]) -> bool:
        """Whether all threads but daemons have ended."""
        return all(self.ended(state, i) for i, thread in enumerate(self.threads) if not thread.daemon)

    @property
    def tables(self) -> list[Table[object]]:
        """The tables in a state."""
        return list(self.layout.tables)


class _Invariant(SteppedThread):
    """The text of ``i32 @invariant.N(ptr %s, i32 %choice)``: 0 bad, 1 good, or a fault."""

    def __init__(
        self, number: int, program: Flattener, layout: Layout, fault: Callable[[str, FlatNode], int], cpus: int
    ) -> None:
        super().__init__(number, program, Slots(program), 0, layout, fault, cpus)
        self.lines[0] = self.lines[0].replace("@thread.", "@invariant.")

    def write(self) -> None:
        for name in sorted({node.local for node in self.program.nodes if node.local}):
            self.emit(f'%"l{name}" = alloca i64')
        self.emit(f"br label %{self.target(self.program.entry)}")
        self.lines += ["blocked:", f"  ret i32 {BLOCKED}", "nochoice:", f"  ret i32 {BLOCKED}"]
        for node in self.program.nodes:
            self.node = node
            self.lines.append(f"n{node.id}:")
            if node is self.program.end:
                good = self.value(f"icmp ne i64 {self.get(_RETURNED)}, 0")
                self.emit(f"ret i32 {self.value(f'zext i1 {good} to i32')}")
            else:
                self.write_node(node)

    def target(self, node: FlatNode | None) -> str:
        assert node is not None
        return f"n{node.id}"

    def get(self, local: str) -> str:
        return self.value(f'load i64, ptr %"l{local}"')

    def set(self, local: str, x: str) -> None:
        if local:
            self.emit(f'store i64 {x}, ptr %"l{local}"')


def _dispatch(name: str, count: int, target: str, otherwise: int) -> list[str]:
    """``i32 @name(ptr, i32 which, i32 choice)``, which calls one of the targets."""
    cases = " ".join(f"i32 {i}, label %t{i}" for i in range(count))
    lines = [
        f"define i32 @{name}(ptr noalias %s, i32 %which, i32 %choice) {{",
        f"  switch i32 %which, label %none [{cases}]",
        "none:",
        f"  ret i32 {otherwise}",
    ]
    for i in range(count):
        lines += [f"t{i}:", f"  %r{i} = tail call i32 @{target}.{i}(ptr %s, i32 %choice)", f"  ret i32 %r{i}"]
    return [*lines, "}"]


__all__ = ["FAULTED", "SteppedFault", "System", "Thread"]
