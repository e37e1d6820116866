# SPDX-License-Identifier: GPL-2.0-or-later
"""A schedule told step by step: who did what, at which line, with which effect; and run again in CPython."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pagelab.check.cpython import CPythonRun, NotEnabled, differences
from pagelab.check.earliest import earliest
from pagelab.check.search import Outcome, Schedule
from pagelab.errors import BadInput
from pagelab.lang.graph import FOLD, Do, Expr, Place
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import FAULTED
from pagelab.lang.store_buffer import is_buffered

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.model_file import Model
    from pagelab.lang.flatten import FlatNode


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a counterexample.  ``effect``: what was read, written, taken or given back, in words.

    ``index`` is the number of the thread, ``choice`` that of what it chose: a schedule is made of these.
    """

    step: int
    cpu: int
    thread: str
    function: str
    file: str
    line: int
    source: str
    effect: str
    index: int = 0
    choice: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the contract of ``check --json`` has it."""
        return asdict(self)


class Teller:
    """Follows a schedule in the compiled machine and puts each step into words."""

    def __init__(self, system: System) -> None:
        self.system = system

    def tell(self, initial: npt.NDArray[np.uint8], schedule: Schedule) -> list[Step]:
        """The steps of a schedule from the initial state on."""
        told = []
        state = initial.copy()
        for number, (thread, choice) in enumerate(schedule.steps, 1):
            node = self.system.node(state, thread)
            before = state.copy()
            result = self.system.step(state, thread, choice)
            effect = self.effect(node, thread, before, state)
            if result >= FAULTED:
                fault = self.system.faults[result - FAULTED]
                effect = "; ".join(part for part in (effect, f"fails: {fault.what}") if part)
            function, file, line = node.frames[-1]
            named = self.system.threads[thread]
            source = linecache.getline(file, line).strip()
            told.append(Step(number, named.cpu, named.name, function, file, line, source, effect, thread, choice))
        return told

    # ---- effects

    def value(self, e: Expr, thread: int, state: npt.NDArray[np.uint8]) -> int:
        """The value of an expression where a thread stands: all locals that it needs are in slots there."""
        if isinstance(e, int):
            return e
        if isinstance(e, str):
            slots = self.system.slots[thread]
            at = self.system.bases[thread] + self.system.pc_bytes + slots.slot[e]
            return int(state[at : at + 1].view("i1")[0])
        return int(FOLD[e.op](self.value(e.a, thread, state), self.value(e.b, thread, state)))

    def name(self, place: Place, thread: int, state: npt.NDArray[np.uint8]) -> tuple[str, tuple[int, ...]]:
        """``table[1].field`` and the indices."""
        indices = tuple(self.value(index, thread, state) for index in place.indices)
        return f"{place.table.name}{list(indices) if indices else ''}.{place.field.name}", indices

    def effect(self, node: FlatNode, thread: int, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> str:
        changed = self.changes(before, after)
        if self.system.memory != "sc" and (words := self.buffered(node, thread, before, after, changed)):
            return words
        if node.do is Do.IRQ_ENTER:
            return f"an interrupt on CPU {self.system.threads[thread].cpu}"
        if node.place is None:
            if node.do in (Do.IRQS_OFF, Do.IRQS_ON):
                words = "irqs off" if node.do is Do.IRQS_OFF else "irqs on"
                return f"{words} on CPU {self.value(node.value, thread, before)}"
            return ", ".join(changed)
        name, indices = self.name(node.place, thread, before)
        if node.do is Do.LOAD:
            row = self.system.rows(node.place.table, before)[indices]
            return f"reads {name} = {int(row[node.place.field.name])}"
        if node.do is Do.STORE:
            return ", ".join(changed) or f"{name} stays as it is"
        if node.do is Do.TRYLOCK:
            return f"gets {name}" if changed else f"does not get {name}"
        return f"{'takes' if node.do is Do.LOCK else 'gives back'} {name}"

    def buffered(
        self,
        node: FlatNode,
        thread: int,
        before: npt.NDArray[np.uint8],
        after: npt.NDArray[np.uint8],
        changed: list[str],
    ) -> str:
        """What is to be said of a step because there are store buffers; "" if nothing is."""
        if node.do is Do.WRITE_BACK:
            return f"reaches memory: {', '.join(changed) or 'a value that is there already'}"
        buffer = self.system.buffers.owned[thread]
        if buffer is None or node.place is None:
            return ""
        name, indices = self.name(node.place, thread, before)
        laid = self.system.layout.tables[node.place.table]
        row = int(np.ravel_multi_index(indices, laid.shape)) if indices else 0
        seen, now = (self.system.seen(thread, node.place.table, node.place.field.name, row, s) for s in (before, after))
        if node.do is Do.LOAD and seen != self.system.rows(node.place.table, before)[indices][node.place.field.name]:
            return f"reads {name} = {seen}, from the store buffer"
        if node.do is Do.STORE and is_buffered(node):
            return f"{name}: {seen} → {now}, in the store buffer"
        if node.do is Do.UNLOCK and is_buffered(node):
            return f"gives back {name}, in the store buffer"
        if node.do is Do.TRYLOCK:  # whatever else changed came out of the buffer
            return f"gets {name}" if not seen else f"does not get {name}"
        return ""

    def changes(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> list[str]:
        """Fields of the tables that differ between two states."""
        found = []
        for table in self.system.tables:
            old, new = (self.system.rows(table, state) for state in (before, after))
            for field in table.fields:
                for index in np.ndindex(old.shape):  # one empty index for a record
                    was, now = int(old[field][index]), int(new[field][index])
                    if was != now:
                        at = f"[{', '.join(map(str, index))}]" if index else ""
                        found.append(f"{table.name}{at}.{field}: {was} → {now}")
        return found


def holds(invariant: Callable[[], bool]) -> bool:
    """Whether an invariant holds now, asked in CPython; one that fails itself does not."""
    try:
        return bool(invariant())
    except AssertionError:
        return False


def confirm(model: Model, system: System, outcome: Outcome) -> BaseException | None:
    """Run a counterexample in CPython, comparing all tables after each step and the invariants after the last.

    :returns: what the last step raised.
    :raises RuntimeError: if CPython and the compiled machine disagree: a defect of pagelab.
    """
    assert outcome.schedule is not None
    state = system.initial(model.setup)
    with CPythonRun.of(system) as run:
        for number, (thread, choice) in enumerate(outcome.schedule.steps, 1):
            result = system.step(state, thread, choice)
            try:
                run.step(thread, choice)
            except NotEnabled as error:
                raise RuntimeError(f"CPython cannot take step {number}: {error}") from error
            except AssertionError as error:
                if result < FAULTED:
                    raise RuntimeError(f"CPython fails at step {number}: {error}") from error
                return error
            if result >= FAULTED:
                # Faults of the small state (a value that does not fit a byte) are not CPython's.
                return None
            unequal = differences(system.tables, lambda table: system.rows(table, state))
            if unequal:
                raise RuntimeError(f"after step {number} CPython and compiled code disagree: {unequal[0]}")
        for which, invariant in enumerate(system.invariants):
            if holds(invariant) != (system.good(state, which) == 1):
                raise RuntimeError(f"CPython and compiled code disagree about {invariant.__name__} in the last state")
    return None


@dataclass(frozen=True, slots=True)
class Told:
    """A counterexample, told step by step, with what it takes to run it again.

    ``raised``: what its last step raised in CPython, None if a property of states is violated.  ``repeats_from``: how
    many steps come before those that repeat for ever, -1 if nothing goes on.  Whatever runs it needs the probes of
    ``model`` attached and its design switched on.
    """

    model: Model
    system: System
    initial: npt.NDArray[np.uint8]
    schedule: Schedule
    steps: list[Step]
    raised: BaseException | None
    repeats_from: int = -1

    def to_json(self) -> dict[str, Any]:
        """As the contract of ``check --json`` has it, with the threads: what it takes to make the schedule again."""
        threads = [
            {
                "index": number,
                "name": thread.name,
                "cpu": thread.cpu,
                "function": thread.function.__name__,
                "args": list(thread.args),
                "daemon": thread.daemon,
                "interrupt": thread.interrupt,
            }
            for number, thread in enumerate(self.system.threads)
        ]
        told: dict[str, Any] = {"steps": [step.to_json() for step in self.steps], "threads": threads}
        return told | ({"repeats_from": self.repeats_from} if self.repeats_from >= 0 else {})


def tell(model: Model, system: System, initial: npt.NDArray[np.uint8], outcome: Outcome, schedule: Schedule) -> Told:
    """A schedule in which threads are held up as early as can be, told, and run in CPython."""
    schedule = earliest(system, initial, schedule)
    raised = confirm(model, system, replace(outcome, schedule=schedule))
    return Told(model, system, initial, schedule, Teller(system).tell(initial, schedule), raised)


def schedule_of(document: Mapping[str, Any], where: str) -> Schedule:
    """The schedule of an element of what ``check --json`` prints.

    :param where: what to call the document in an error.
    :raises BadInput: if there is none in it.
    """
    try:
        counterexample = document["counterexample"]
        if counterexample is None:
            raise BadInput(f"{where}: the verdict is {document.get('verdict')!r}, so there is no counterexample")
        steps = tuple((int(step["index"]), int(step["choice"])) for step in counterexample["steps"])
    except (KeyError, TypeError, ValueError) as error:
        hint = "it has to be what `pagelab check --json` prints"
        raise BadInput(f"{where}: this is no counterexample ({type(error).__name__}: {error})", hint) from None
    if not all(0 <= thread < len(counterexample.get("threads", ())) and choice >= 0 for thread, choice in steps):
        raise BadInput(f"{where}: a step names a thread that is not among the threads of the counterexample")
    return Schedule(steps)
