# SPDX-License-Identifier: GPL-2.0-or-later
"""What the page of a counterexample is drawn from: every state, every step, where each thread stands, the source."""

from __future__ import annotations

import ast
import functools
import linecache
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.lang.graph import Do
from pagelab.report.linux_words import VALUES, KernelWords
from pagelab.report.rows import bars, note, rows

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode
    from pagelab.report.case import Case
    from pagelab.report.trail import Trail


def data_of(case: Case) -> dict[str, Any]:
    """One counterexample as JSON has it.

    ``states`` has a list of values for each state, the initial one first: the fields of all rows of all tables in the
    order of ``tables``, then for each CPU whether its irqs are off.  ``cells`` elsewhere are indices of such a list.
    """
    trail = case.trail
    number = {byte: position for position, byte in enumerate(trail.cells)}
    places: dict[FlatNode, int] = {}
    standing = [
        [_place(places, trail, thread, k) for thread in range(len(trail.system.threads))]
        for k in range(len(trail.states))
    ]
    return {
        **_title(case),
        "kernel": _kernel(trail) if isinstance(case.words, KernelWords) else None,
        "threads": [_thread(trail, t) for t in range(len(trail.system.threads))],
        "tables": [_table(trail, name) for name in _tables(trail)],
        "cpus": trail.system.cpus,
        "states": [[trail.value(cell, k) for cell in trail.cells.values()] for k in range(len(trail.states))],
        "held": _held(case, number),
        "standing": standing,
        "waits": [
            [trail.waits(state, thread) for thread in range(len(trail.system.threads))] for state in trail.states
        ],
        "locals": [
            [_locals(trail, thread, k) for thread in range(len(trail.system.threads))] for k in range(len(trail.states))
        ],
        "places": [_frames(node) for node in places],
        "sources": _sources(places),
        "steps": _steps(case, number),
        "repeats_from": trail.repeats_from,
    }


def _title(case: Case) -> dict[str, Any]:
    title = case.title
    return {
        "design": title.design,
        "scenario": title.scenario,
        "property": title.property,
        "said": title.said,
        "label": dict(title.label),
        "story": case.story.text,
    }


def _kernel(trail: Trail) -> dict[str, Any]:
    """Sizes of the zone and names of its numbers."""
    from pagelab.linux.state import machine
    from pagelab.report.linux_words import MIGRATETYPES, PAGE_STATES, WORK_STATES

    return {
        "pageblock_order": machine.pageblock_order,
        "migratetypes": MIGRATETYPES,
        "page_states": PAGE_STATES,
        "work_states": WORK_STATES,
    }


def _thread(trail: Trail, thread: int) -> dict[str, Any]:
    named = trail.system.threads[thread]
    return {
        "name": named.name,
        "cpu": named.cpu,
        "daemon": named.daemon,
        "interrupt": getattr(named, "interrupt", False),
        "call": f"{named.function.__name__}({', '.join(map(str, named.args))})",
    }


def _tables(trail: Trail) -> list[str]:
    return list(dict.fromkeys(cell.table.name for cell in trail.cells.values() if cell.table is not None))


def _table(trail: Trail, name: str) -> dict[str, Any]:
    (laid,) = (laid for table, laid in trail.system.layout.tables.items() if table.name == name)
    return {
        "name": name,
        "about": (laid.table.doc or "").strip(),
        "shape": list(laid.shape),
        "fields": [
            {"name": field, "kind": laid.table.fields[field].kind, "values": VALUES.get((name, field), {})}
            for field in laid.fields
        ],
    }


def _held(case: Case, number: Mapping[int, int]) -> list[dict[str, Any]]:
    """Who holds which lock, or has which irqs off, from which state to before which; the end may be none."""
    found = []
    for bar in bars(case.trail, case.words):
        end = bar.end or len(case.trail.states)
        found.append({"cell": number[bar.byte], "thread": bar.thread, "slot": bar.slot, "from": bar.begin, "to": end})
    return found


def _place(places: dict[FlatNode, int], trail: Trail, thread: int, state: int) -> int:
    """Number of the place where a thread stands; -1 if it has ended."""
    node = trail.system.node(trail.states[state], thread)
    return -1 if node.do is Do.RETURN else places.setdefault(node, len(places))


def _locals(trail: Trail, thread: int, state: int) -> dict[str, int]:
    """Locals that a thread still needs, the innermost one where two have the same name."""
    node = trail.system.node(trail.states[state], thread)
    slots = trail.system.slots[thread]
    kept = sorted((int(name.partition("#")[2] or 0), name) for name in slots.live[node.id] if name in slots.slot)
    named = {name.partition("#")[0]: trail.teller.value(name, thread, trail.states[state]) for _, name in kept}
    return {name: value for name, value in named.items() if name.isidentifier()}


def _frames(node: FlatNode) -> list[dict[str, Any]]:
    return [
        {"function": function, "file": Path(file).name, "line": line, "source": _key(file, line)}
        for function, file, line in node.frames
    ]


# ---- the source


def _key(file: str, line: int) -> str:
    first, _ = _extent(file, line)
    return f"{Path(file).name}:{first}"


def _sources(places: Mapping[FlatNode, int]) -> dict[str, Any]:
    """The procedures in which threads stand: number of the first line, and lines."""
    found = {}
    for node in places:
        for _, file, line in node.frames:
            first, last = _extent(file, line)
            lines = [linecache.getline(file, number).rstrip("\n") for number in range(first, last + 1)]
            found[_key(file, line)] = {"first": first, "lines": lines}
    return found


def _extent(file: str, line: int) -> tuple[int, int]:
    """First and last line of the procedure that a line is in, or the line itself."""
    around = [(first, last) for first, last in _functions(file) if first <= line <= last]
    return max(around, default=(line, line))


@functools.cache
def _functions(file: str) -> list[tuple[int, int]]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return []
    return [
        (node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]


# ---- steps


def _steps(case: Case, number: Mapping[int, int]) -> list[dict[str, Any]]:
    turns = {row.first.number: (row.turn, row.preempted) for row in rows(case.trail, case.story, case.words)}
    found = []
    for step in case.trail.steps:
        turn, preempted = turns.get(step.number, ("", False))
        points = case.story.at(step.number)
        found.append(
            {
                "step": step.number,
                "thread": step.thread,
                "choice": step.choice,
                "function": step.told.function,
                "file": Path(step.told.file).name,
                "line": step.told.line,
                "source": case.words.source(step),
                "effect": case.words.effect(step),
                "reads": [number[read.cell.byte] for read in step.reads],
                "changes": [[number[change.cell.byte], change.old, change.new] for change in step.changes],
                "turn": turn,
                "preempted": preempted,
                "points": [{"role": point.role, "note": note(point), "about": point.about} for point in points],
            }
        )
    return found
