# SPDX-License-Identifier: GPL-2.0-or-later
"""Litmus tests: as model files for the search, and as graphs of events by which a memory model is defined.

A thread is a list of ``("W", place, value)``, ``("R", place)`` and ``("F",)``, a locked instruction on something else.
An outcome is what the reads returned, thread by thread, and then the last values of the places.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pagelab.check.model_file import Model, load_file
from pagelab.lang.stepped import System
from pagelab.lang.stepped_text import BLOCKED, ENDED

Operation = tuple[Any, ...]
Program = Sequence[Sequence[Operation]]
Outcome = tuple[int, ...]

HEAD = """from pagelab.lang.declare import atomic, i8, record, table
from pagelab.lang.stepped import Thread
class Place:
    v: i8 = 0
class Fence:
    v: i8 = 0
class Register:
    v: i8 = 0
place = table("place", Place, lambda: {places})
fence = table("fence", Fence, lambda: {threads})
register = table("register", Register, lambda: {reads}, ghost=True)
"""


def reads_of(program: Program) -> int:
    return sum(op[0] == "R" for thread in program for op in thread)


def places_of(program: Program) -> int:
    return 1 + max(int(op[1]) for thread in program for op in thread if len(op) > 1)


def model(program: Program, file: Path, cpus: Sequence[int] = ()) -> Model:
    """The model of a litmus test; ``cpus``: where the threads run, each on one of its own by default."""
    lines = [HEAD.format(places=places_of(program), threads=len(program), reads=max(reads_of(program), 1))]
    register = 0
    for number, thread in enumerate(program):
        lines.append(f"def t{number}() -> None:")
        for op in thread:
            if op[0] == "W":
                lines.append(f"    place[{op[1]}].v = {op[2]}")
            elif op[0] == "R":
                lines.append(f"    register[{register}].v = place[{op[1]}].v")
                register += 1
            else:
                lines += ["    with atomic():", f"        fence[{number}].v = 1"]
    threads = [f"Thread('t{n}', t{n}, cpu={cpus[n] if cpus else -1})" for n in range(len(program))]
    lines += ["def threads() -> list[Thread]:", f"    return [{', '.join(threads)}]", ""]
    file.write_text("\n".join(lines))
    return load_file(file, [])


def found(program: Program, file: Path, memory: str, cpus: Sequence[int] = ()) -> set[Outcome]:
    """The outcomes that the compiled machine reaches."""
    loaded = model(program, file, cpus)
    system = System(loaded.threads, memory=memory, cpus=8)
    names = {table.name: table for table in system.tables}
    initial = system.initial()
    seen, todo, outcomes = {initial.tobytes()}, [initial], set()
    while todo:
        state = todo.pop()
        able = 0
        for thread in range(len(system.threads)):
            following = state.copy()
            if system.step(following, thread) in (BLOCKED, ENDED):
                continue
            able += 1
            if following.tobytes() not in seen:
                seen.add(following.tobytes())
                todo.append(following)
        if not able:
            values = system.rows(names["register"], state)["v"].tolist() if "register" in names else []
            outcomes.add((*values[: reads_of(program)], *system.rows(names["place"], state)["v"].tolist()))
    return outcomes


class _Event(NamedTuple):
    number: int
    thread: int
    kind: str
    place: int
    value: int


def defined(program: Program, memory: str) -> set[Outcome]:
    """The outcomes that the model allows by its definition: no cycle in the orders that all CPUs agree on.

    Alglave, Maranget and Tautschnig, "Herding cats" (2014), figure 21 (SC), section 4.2 (TSO).
    """
    events = list(_events(program))
    writes = [e for e in events if e.kind == "W"]
    reads = [e for e in events if e.kind == "R"]
    places = range(places_of(program))
    outcomes = set()
    orders = itertools.product(*(itertools.permutations([w for w in writes if w.place == p]) for p in places))
    for coherence in orders:
        for sources in itertools.product(*([None, *(w for w in writes if w.place == r.place)] for r in reads)):
            if _allowed(events, coherence, dict(zip(reads, sources, strict=True)), memory):
                values = [0 if w is None else w.value for w in sources]
                outcomes.add((*values, *(order[-1].value if order else 0 for order in coherence)))
    return outcomes


def _events(program: Program) -> Iterator[_Event]:
    number = 0
    for index, thread in enumerate(program):
        for op in thread:
            yield _Event(number, index, op[0], op[1] if len(op) > 1 else -1, op[2] if len(op) > 2 else 0)
            number += 1


Edge = tuple[_Event, _Event]


def _allowed(
    events: Sequence[_Event],
    coherence: Sequence[Sequence[_Event]],
    sources: dict[_Event, _Event | None],
    memory: str,
) -> bool:
    program = [(a, b) for a, b in itertools.combinations(events, 2) if a.thread == b.thread]
    co = [edge for order in coherence for edge in itertools.combinations(order, 2)]
    rf = [(w, r) for r, w in sources.items() if w is not None]
    fr = [
        (r, after)
        for r, w in sources.items()
        for after in coherence[r.place]
        if w is None or coherence[r.place].index(after) > coherence[r.place].index(w)
    ]
    one_place = [(a, b) for a, b in program if a.place == b.place]
    if _cyclic([*one_place, *co, *rf, *fr]):
        return False
    if memory == "sc":
        return not _cyclic([*program, *co, *rf, *fr])
    kept = [(a, b) for a, b in program if (a.kind, b.kind) != ("W", "R")]
    fenced = [(a, b) for a, b in program if any((a, f) in program and (f, b) in program for f in _fences(events))]
    external = [(w, r) for w, r in rf if w.thread != r.thread]
    return not _cyclic([*kept, *fenced, *external, *co, *fr])


def _fences(events: Iterable[_Event]) -> list[_Event]:
    return [e for e in events if e.kind == "F"]


def _cyclic(edges: Iterable[Edge]) -> bool:
    after: dict[int, set[int]] = {}
    for a, b in edges:
        after.setdefault(a.number, set()).add(b.number)
        after.setdefault(b.number, set())
    while after:
        ends = [n for n, following in after.items() if not following]
        if not ends:
            return True
        for n in ends:
            del after[n]
        for following in after.values():
            following.difference_update(ends)
    return False
