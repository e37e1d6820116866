# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a schedule in CPython: the model's own source, one thread of Python for each thread of the scenario.

Rows and locks are given classes that stop before each access until it is the thread's turn.  The steps are those of the
compiled machine, so a counterexample can be followed, line by line, in a debugger.
"""

from __future__ import annotations

import functools
import threading
import typing
from collections.abc import Callable, Sequence
from types import TracebackType

from pagelab.check.cpython_buffer import CPythonBuffer, Place
from pagelab.lang import declare
from pagelab.lang.declare import Lock, ModelFault, Record, Table
from pagelab.lang.stepped import System, Thread, is_store_buffer
from pagelab.lang.store_buffer import ENTRIES

#: Seconds after which a thread that takes a step is given up for lost.
PATIENCE = 60


class NotEnabled(Exception):
    """The schedule wants a step that cannot be taken: a lock is held, or a condition does not hold."""


class _Killed(BaseException):
    """Unwinds a thread that is not needed any more."""


class _Runner:
    """One thread of the scenario."""

    def __init__(self, thread: Thread, exclusive_cpus: bool, buffer: CPythonBuffer | None) -> None:
        self.thread = thread
        self.takes_turns = exclusive_cpus and not is_store_buffer(thread)
        self.interrupt = exclusive_cpus and thread.interrupt
        self.buffer = buffer
        self.go = threading.Semaphore(0)
        self.arrived = threading.Semaphore(0)
        self.ended = False
        self.killed = False
        self.atomic = 0
        self.irqs_off = 0  # what has them off: sections, and local_irq_disable()
        self.choice = 0
        self.error: BaseException | None = None
        self.worker = threading.Thread(target=self.run, name=thread.name, daemon=True)

    def run(self) -> None:
        _current.runner = self
        try:
            if self.interrupt:
                self.stop()  # its arrival
                self.empty_buffer()
            self.thread.function(*self.thread.args)
        except _Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - handed on to whoever took the step
            self.error = error
        self.ended = True
        self.arrived.release()

    def stop(self) -> None:
        """Wait for the turn to take the next step."""
        if self.atomic or self.killed:  # killed: it unwinds through the ends of its sections
            return
        self.arrived.release()
        self.go.acquire()
        if self.killed:
            raise _Killed

    def empty_buffer(self) -> None:
        """All that the CPU stored is in memory from now on."""
        if self.buffer is not None:
            self.buffer.empty()

    def seen(self, place: Place, memory: object) -> object:
        """The value that the thread sees at a place."""
        return memory if self.buffer is None else self.buffer.seen(place, memory)

    def store(self, place: Place, value: object, write: Callable[[], None]) -> None:
        """A store that is a step goes into the buffer; another acts on memory."""
        if self.buffer is None or self.atomic:
            self.empty_buffer()
            write()
        elif self.buffer.full:
            raise NotEnabled("the store buffer is full")
        else:
            self.buffer.put(place, value, write)


_current = threading.local()


def _runner() -> _Runner | None:
    return getattr(_current, "runner", None)


class _SteppedLock(Lock):
    """A lock whose operations are steps."""

    __slots__ = ()

    def take(self) -> None:
        if (runner := _runner()) is not None:
            runner.stop()
            runner.empty_buffer()
            if self.held:
                raise NotEnabled("the lock is held")
        super().take()

    def try_to_take(self) -> bool:
        if (runner := _runner()) is not None:
            runner.stop()
            runner.empty_buffer()
        return super().try_to_take()

    def is_held(self) -> bool:
        if (runner := _runner()) is not None:
            runner.stop()
            return bool(runner.seen((id(self), 0), self.held))
        return super().is_held()

    def give_back(self) -> None:
        if (runner := _runner()) is not None:
            runner.stop()
            if not runner.seen((id(self), 0), self.held):
                raise ModelFault("lock given back that nobody holds")
            runner.store((id(self), 0), False, super().give_back)
            return
        super().give_back()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # otherwise the run is over, and unwinding takes no steps
            self.give_back()


@functools.cache
def _stepped(row_class: type, ghost: bool) -> type:
    """A class of rows that stops before each access to an integer field; its instances are laid out alike."""
    members: dict[str, object] = {"__slots__": ()}
    for base in row_class.__mro__:
        for name in base.__dict__.get("__slots__", ()):
            members[name] = _field(base.__dict__[name], ghost)
    return type(row_class.__name__, (row_class,), members)


def _field(slot: typing.Any, ghost: bool) -> property:
    def read(row: object) -> object:
        value = slot.__get__(row)
        runner = _runner()
        if runner is None or isinstance(value, Lock):
            return value
        runner.stop()
        return runner.seen((id(row), id(slot)), slot.__get__(row))

    def write(row: object, value: object) -> None:
        runner = _runner()
        if runner is not None:
            runner.stop()
        if runner is None or ghost:
            slot.__set__(row, value)
        else:
            runner.store((id(row), id(slot)), value, functools.partial(slot.__set__, row, value))

    return property(read, write)


class CPythonRun:
    """Threads over the tables as they are now; ``with CPythonRun(...) as run: run.step(0)``.

    :param tables: all tables and records that the threads touch.
    :param exclusive_cpus: the contexts of a CPU exclude each other, see :mod:`pagelab.lang.contexts`.
    :param buffers: for each thread the number of its store buffer, -1 for none; none at all if this is empty.
    """

    def __init__(
        self,
        threads: Sequence[Thread],
        tables: Sequence[Table[object]],
        *,
        exclusive_cpus: bool = False,
        buffers: Sequence[int] = (),
    ) -> None:
        self.tables = list(tables)
        self.buffers = [CPythonBuffer(ENTRIES) for _ in range(max(buffers, default=-1) + 1)]
        numbers = buffers or [-1] * len(threads)
        self.runners = [
            _Runner(thread, exclusive_cpus, self.buffers[number] if number >= 0 else None)
            for thread, number in zip(threads, numbers, strict=True)
        ]
        #: By CPU, who has its irqs off, and which interrupt is under way.
        self.irqs_off_by: dict[int, _Runner] = {}
        self.interrupted_by: dict[int, _Runner] = {}

    @classmethod
    def of(cls, system: System) -> CPythonRun:
        """The threads of a system, which take the same steps as there."""
        numbers = [-1 if buffer is None else buffer.number for buffer in system.buffers.owned]
        return cls(system.threads, system.tables, exclusive_cpus=system.exclusive_cpus, buffers=numbers)

    def __enter__(self) -> CPythonRun:
        for table in self.tables:
            for row in table.rows:
                for name, field in table.fields.items():
                    if field.kind == "lock":
                        getattr(row, name).__class__ = _SteppedLock
                row.__class__ = _stepped(table.row_class, table.ghost)
        declare.stepper = self
        for runner in self.runners:
            runner.worker.start()
            self._wait(runner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self.runners:
            if not runner.ended:
                runner.killed = True
                runner.go.release()
                runner.worker.join(PATIENCE)
        declare.stepper = None
        for table in self.tables:
            plain = table.row_class
            for row in table.rows:
                row.__class__ = plain
                for name, field in table.fields.items():
                    if field.kind == "lock":
                        getattr(row, name).__class__ = Lock

    def _wait(self, runner: _Runner) -> None:
        if not runner.arrived.acquire(timeout=PATIENCE):
            raise ModelFault(f"thread {runner.thread.name} does not come to its next step")

    def step(self, thread: int, choice: int = 0) -> None:
        """Let a thread take its next step.

        :raises NotEnabled: if it cannot be taken.
        :raises ModelFault: or AssertionError: what the model raised, with its traceback.
        """
        runner = self.runners[thread]
        if runner.ended:
            raise NotEnabled(f"thread {runner.thread.name} has ended")
        if runner.takes_turns:
            self._wait_for_turn(runner)
        runner.choice = choice
        runner.go.release()
        self._wait(runner)
        self._end_interrupt(runner)
        if runner.error is not None:
            raise runner.error

    def _wait_for_turn(self, runner: _Runner) -> None:
        """One context of a CPU runs at a time."""
        cpu = runner.thread.cpu
        if self.irqs_off_by.get(cpu, runner) is not runner:
            raise NotEnabled(f"CPU {cpu} has its irqs off")
        if self.interrupted_by.get(cpu, runner) is not runner:
            raise NotEnabled(f"an interrupt is under way on CPU {cpu}")
        if runner.interrupt:
            self.interrupted_by[cpu] = runner

    def _end_interrupt(self, runner: _Runner) -> None:
        if runner.ended and runner.interrupt:
            self.interrupted_by.pop(runner.thread.cpu)
            runner.empty_buffer()

    # ---- called by the model's threads through pagelab.lang.declare

    @staticmethod
    def _me() -> _Runner | None:
        return _runner()

    def irqs_off(self, cpu: int) -> None:
        """A section within another is folded into it."""
        me = self._me()
        if me is None:
            return
        me.irqs_off += 1
        if me.irqs_off == 1:
            me.stop()
            if cpu in self.irqs_off_by:
                raise NotEnabled(f"CPU {cpu} has its irqs off")
            if self.interrupted_by.get(cpu, me) is not me:
                raise NotEnabled(f"an interrupt is under way on CPU {cpu}")
            me.empty_buffer()
            self.irqs_off_by[cpu] = me

    def irqs_on(self, cpu: int) -> None:
        """The end of a section."""
        me = self._me()
        if me is None:
            return
        if me.irqs_off == 1:
            me.stop()
            me.empty_buffer()
            self.irqs_off_by.pop(cpu, None)
        me.irqs_off -= 1

    def local_irq_disable(self, cpu: int) -> None:
        """Only the first changes anything."""
        me = self._me()
        if me is not None and me.irqs_off == 0:
            self.irqs_off(cpu)

    def local_irq_enable(self, cpu: int) -> None:
        """What it ends, local_irq_disable() began."""
        self.irqs_on(cpu)

    def irqs_are_off(self, cpu: int) -> bool:
        """Whether some thread is in a section of that CPU."""
        if (me := self._me()) is not None:
            me.stop()
        return cpu in self.irqs_off_by

    def begin_atomic(self) -> None:
        """One step from here on."""
        if (me := self._me()) is not None:
            me.stop()
            me.atomic += 1

    def end_atomic(self) -> None:
        """The next access is a step of its own again."""
        if (me := self._me()) is not None:
            me.atomic -= 1

    @staticmethod
    def wait_until(condition: bool) -> None:
        """The step cannot be taken otherwise."""
        if not condition:
            raise NotEnabled("what the step waits for does not hold")

    def choose(self, low: int, high: int) -> int:
        """What the schedule chose."""
        me = self._me()
        chosen = low + (me.choice if me is not None else 0)
        if chosen >= high:
            raise NotEnabled(f"there is no choice {chosen} among {low} to {high - 1}")
        return chosen

    def write_back(self, buffer: int) -> None:
        """The oldest entry of a store buffer reaches memory."""
        if (me := self._me()) is not None:
            me.stop()
            if not self.buffers[buffer].entries:
                raise NotEnabled("the store buffer is empty")
            self.buffers[buffer].write_back()


def differences(system_tables: Sequence[Table[object]], rows_of: Callable[[Table[object]], typing.Any]) -> list[str]:
    """Fields of the tables in CPython that differ from a compiled state; call it while no thread takes a step."""
    found = []
    for table in system_tables:
        rows = rows_of(table).reshape(-1)
        for name in table.fields:
            for i, (row, x) in enumerate(zip(table.rows, rows[name].tolist(), strict=True)):
                mine = getattr(row, name)
                number = int(mine.held) if isinstance(mine, Lock) else int(mine)
                if number != x:
                    found.append(f"{table.name}[{i}].{name}: CPython {number}, compiled {x}")
    return found


__all__ = ["CPythonRun", "NotEnabled", "Record", "differences"]
