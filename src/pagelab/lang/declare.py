# SPDX-License-Identifier: GPL-2.0-or-later
"""Declare the state of a model: tables of integer fields, locks, per-build constants, tracepoints.

The declarations are ordinary Python objects, so a model runs (and is debugged) as it is written; the compiler reads the
same objects to lay the state out as bytes.

    class Page:
        next: i32 = NIL

    class Zone:
        lock: Lock
        free_pages: i64 = 0

    mem_map = table("mem_map", Page, lambda: machine.nr_pages)      # mem_map[page].next
    zone = record("zone", Zone)                                     # zone.free_pages
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Generic, TypeVar, cast

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

R = TypeVar("R")

#: Width in bits of an integer field; a value outside it is a fault, never a wrap-around.
i8 = Annotated[int, 8]
i16 = Annotated[int, 16]
i32 = Annotated[int, 32]
i64 = Annotated[int, 64]

#: No page, no list entry.
NIL = -1


class ModelFault(AssertionError):
    """The model did what the kernel must never do: a wild index, a value too large, a lock taken twice."""


class Stepper(typing.Protocol):
    """Who decides when a thread that runs in CPython takes its next step, if anybody does."""

    def irqs_off(self, cpu: int) -> None: ...
    def irqs_on(self, cpu: int) -> None: ...
    def local_irq_disable(self, cpu: int) -> None: ...
    def local_irq_enable(self, cpu: int) -> None: ...
    def irqs_are_off(self, cpu: int) -> bool: ...
    def begin_atomic(self) -> None: ...
    def end_atomic(self) -> None: ...
    def wait_until(self, condition: bool) -> None: ...
    def choose(self, low: int, high: int) -> int: ...
    def write_back(self, buffer: int) -> None: ...


#: None while the model simply runs; see pagelab.check.cpython.
stepper: Stepper | None = None


class Lock:
    """A lock field: ``with row.lock:`` or ``lock(row.lock)``, ``trylock(row.lock)``, ``unlock(row.lock)``."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = False

    def take(self) -> None:
        """Take it; alone nobody waits, so a lock that is held is a deadlock."""
        if self.held:
            raise ModelFault("lock taken that is already held, by one thread: a deadlock")
        self.held = True

    def try_to_take(self) -> bool:
        """Take it unless somebody holds it; whether it was taken."""
        taken = not self.held
        self.held = True
        return taken

    def is_held(self) -> bool:
        """Whether somebody holds it."""
        return self.held

    def give_back(self) -> None:
        """Somebody else may take it."""
        if not self.held:
            raise ModelFault("lock given back that nobody holds")
        self.held = False

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or self.held:
            self.give_back()


def lock(lock: Lock) -> None:
    """Take a lock that some later unlock() gives back, where no with-section can."""
    lock.take()


def trylock(lock: Lock) -> bool:
    """Take the lock unless somebody holds it; say whether it was taken."""
    return lock.try_to_take()


def unlock(lock: Lock) -> None:
    """Give back a lock that lock() or trylock() took."""
    lock.give_back()


def held(lock: Lock) -> bool:
    """Whether somebody holds the lock.  For properties: who acts on it is too late."""
    return lock.is_held()


@contextmanager
def irqs_off(cpu: int) -> Iterator[None]:
    """A section of this CPU that no other context of it can enter.  One thread alone cannot tell; the checker can."""
    if stepper is None:
        yield
        return
    stepper.irqs_off(cpu)
    yield
    stepper.irqs_on(cpu)


def local_irq_disable(cpu: int) -> None:
    """As ``irqs_off(cpu)``, until local_irq_enable(), where no with-section can.  Again, it changes nothing."""
    if stepper is not None:
        stepper.local_irq_disable(cpu)


def local_irq_enable(cpu: int) -> None:
    """The end of what local_irq_disable() began."""
    if stepper is not None:
        stepper.local_irq_enable(cpu)


def irqs_are_off(cpu: int) -> bool:
    """Whether some context of this CPU is in an irqs-off section.  For properties; False where only one thread runs."""
    return stepper is not None and stepper.irqs_are_off(cpu)


@contextmanager
def atomic() -> Iterator[None]:
    """A section that is one step: nobody comes in between.  For models coarser than single loads and stores."""
    if stepper is None:
        yield
        return
    stepper.begin_atomic()
    yield
    stepper.end_atomic()


def wait_until(condition: bool) -> None:
    """Within ``atomic()``: the section can be entered only when the condition holds.

    :raises ModelFault: in a run of one thread, where nobody could make it true.
    """
    if stepper is not None:
        stepper.wait_until(condition)
    elif not condition:
        raise ModelFault("waits for what only another thread could bring about")


def choose(low: int, high: int) -> int:
    """Any of ``low`` to ``high - 1``: a checker tries them all, a run takes the first.  At most one a step."""
    if low >= high:
        raise ModelFault(f"nothing to choose from {low} to {high - 1}")
    return low if stepper is None else stepper.choose(low, high)


def write_back(buffer: int) -> None:
    """The oldest entry of a store buffer reaches memory; waits while there is none.  See pagelab.lang.store_buffer."""
    if stepper is not None:
        stepper.write_back(buffer)


class Field(typing.NamedTuple):
    """One field of a table: name, kind ('int', 'bool' or 'lock'), width in bits, initial value."""

    name: str
    kind: str
    bits: int
    initial: int


def _fields(cls: type) -> list[Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = []
    for name, hint in hints.items():
        initial = getattr(cls, name, 0)
        if hint is Lock:
            fields.append(Field(name, "lock", 8, 0))
        elif hint is bool:
            fields.append(Field(name, "bool", 8, int(initial)))
        elif typing.get_origin(hint) is Annotated:
            fields.append(Field(name, "int", hint.__metadata__[0], int(initial)))
        else:
            raise SyntaxError(f"field {cls.__name__}.{name} has type {hint}: use i8, i16, i32, i64, bool or Lock")
    return fields


def _row_class(name: str, fields: Iterable[Field]) -> type:
    """A class with one slot a field, so that CPython reads and writes fields at its own speed."""
    initial = {f.name: f for f in fields}

    def __init__(self: Any) -> None:
        for field in initial.values():
            setattr(self, field.name, Lock() if field.kind == "lock" else field.initial)

    return type(name, (), {"__slots__": tuple(initial), "__init__": __init__})


class Table(Generic[R]):
    """Rows of integer fields, indexed from 0; several dimensions are indexed ``table[a, b]``.

    :param sizes: one callable a dimension, asked at each :meth:`reset`: sizes are constants of a build.
    :param columns: the fields are separate arrays given from outside (see :meth:`bind`), not part of the state.
    :param ghost: only properties know of it, and the model's threads behave as if it were not there.
    :raises SyntaxError: for a field of another type.
    """

    def __init__(
        self,
        name: str,
        cls: type[R],
        sizes: Sequence[Callable[[], int]],
        *,
        columns: bool = False,
        ghost: bool = False,
    ) -> None:
        self.name = name
        self.doc = cls.__doc__
        self.fields = {f.name: f for f in _fields(cls)}
        self.sizes = tuple(sizes)
        self.columns = columns
        self.ghost = ghost
        if ghost and any(field.kind == "lock" for field in self.fields.values()):
            raise SyntaxError(f"table {name} is a ghost, for which nobody waits: it cannot have a lock")
        self.row_class = _row_class(self.name, self.fields.values())
        self.shape: tuple[int, ...] = ()
        self.rows: list[R] = []

    def current_shape(self) -> tuple[int, ...]:
        """The sizes that the constants give now."""
        return tuple(size() for size in self.sizes)

    def reset(self) -> None:
        """All fields to their initial values, with the sizes that the constants give now."""
        self.shape = self.current_shape()
        count = 1
        for size in self.shape:
            count *= size
        self.rows = [self.row_class() for _ in range(count)]

    def bind(self, arrays: Mapping[str, Iterable[int]]) -> None:
        """Fill a table of columns for a run in CPython."""
        self.reset()
        for name, values in arrays.items():
            for row, value in zip(self.rows, values, strict=True):
                setattr(row, name, int(value))

    def __getitem__(self, index: int | tuple[int, ...]) -> R:
        if type(index) is tuple:
            flat = 0
            for i, size in zip(index, self.shape, strict=True):
                if not 0 <= i < size:
                    raise ModelFault(f"{self.name}[{', '.join(map(str, index))}] is outside {list(self.shape)}")
                flat = flat * size + i
            return self.rows[flat]
        row = cast("int", index)
        if row < 0 or row >= len(self.rows):
            raise ModelFault(f"{self.name}[{row}] is outside the {len(self.rows)} rows of the table")
        return self.rows[row]

    def __len__(self) -> int:
        return len(self.rows)


class Record(Table[R]):
    """A table of one row, whose fields are reached without an index: ``zone.free_pages``."""

    def __init__(self, name: str, cls: type[R], *, ghost: bool = False) -> None:
        super().__init__(name, cls, (), ghost=ghost)
        self.row_class = type(self.name, (self.row_class,), {"__slots__": (), "__table__": self})
        super().reset()

    def reset(self) -> None:
        """Back to the initial values; the row stays the same object."""
        self.rows[0].__init__()  # type: ignore[misc]


def table(name: str, row: type[R], *sizes: Callable[[], int], ghost: bool = False) -> Table[R]:
    """Declare a table; ``sizes`` are callables because a build decides them.  ``ghost``: only properties know of it."""
    return Table(name, row, sizes, ghost=ghost)


def columns(name: str, row: type[R], size: Callable[[], int]) -> Table[R]:
    """Declare a table whose fields are arrays from outside, such as the events of a capture.

    Native code takes as many rows as the arrays have, ``size`` is for a run in CPython.
    """
    return Table(name, row, (size,), columns=True)


def record(name: str, row: type[R], *, ghost: bool = False) -> R:
    """Declare a table of one row, which is what this returns.  ``ghost``: only properties know of it."""
    made: Record[R] = Record(name, row, ghost=ghost)
    return made.rows[0]


def table_of(declared: object) -> Table[Any]:
    """The table of a record; a table is its own."""
    found = declared if isinstance(declared, Table) else getattr(type(declared), "__table__", None)
    if not isinstance(found, Table):
        raise TypeError(f"{declared!r} is neither a table nor a record")
    return found


class Constants:
    """Base of objects whose attributes are fixed for one build: ``machine.nr_cpus``, ``features.pcp_spinlock``."""

    def configure(self, **values: int) -> None:
        """Set constants for the next build or reset.

        :raises AttributeError: for a name that was not declared.
        """
        for name, value in values.items():
            if name not in typing.get_type_hints(type(self)):  # a property is not for setting
                raise AttributeError(f"{type(self).__name__} has no constant {name}")
            setattr(self, name, value)


class Tracepoint:
    """A point of the model that reports what it did, like the kernel's tracepoint of the same name.

    Nothing is attached by default: a build without probes has no trace of it.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.probe: Callable[..., None] | None = None

    def __call__(self, *args: int) -> None:
        if self.probe is not None:
            self.probe(*args)


def tracepoint(function: Callable[..., None]) -> Tracepoint:
    """Declare a tracepoint; its body is never run."""
    return Tracepoint(function)


@contextmanager
def attached(probes: Mapping[Tracepoint, Callable[..., None]]) -> Iterator[None]:
    """Attach probes for a while, in CPython and for programs built meanwhile."""
    before = {point: point.probe for point in probes}
    for point, probe in probes.items():
        point.probe = probe
    try:
        yield
    finally:
        for point, old in before.items():
            point.probe = old
