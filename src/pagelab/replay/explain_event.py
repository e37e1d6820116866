# SPDX-License-Identifier: GPL-2.0-or-later
"""Explain how one event of a capture is judged: replay up to it, look at the model, then let it speak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pagelab.capture.events import Kind
from pagelab.errors import BadInput
from pagelab.lang.declare import ModelFault
from pagelab.replay import rules, tables
from pagelab.replay.explain import events_around, lists_of, words_of
from pagelab.replay.result import REASONS

if TYPE_CHECKING:
    from pagelab.lang.native import Program
    from pagelab.replay.zone import ReplayZone

#: Expectations that are shown at most.
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Explained:
    """One event, and why it was judged so.

    ``judged``: "exact", "missed", "unknown", or "not scored".  ``expected``: what the model expects next on its CPU
    under zone->lock, before the event.  ``reason``: why it is unknown.  ``rule``, ``kernel``, ``decides``: see
    :class:`pagelab.replay.rules.Rule`.  ``lists``: the model's, before the event.
    """

    event: int
    time: int
    judged: str
    observed: str
    expected: str
    reason: str
    rule: str
    kernel: str
    decides: str
    around: list[str]
    lists: list[str]

    @property
    def status(self) -> int:
        """Exit status: 0, 1 if it was missed, 4 if it is unknown."""
        return {"missed": 1, "unknown": 4}.get(self.judged, 0)


def row_of(zone_events: ReplayZone, number: int, path: Path) -> int:
    """The row of an event of the trace among those of the zone.

    :raises BadInput: if it is not of this zone.
    """
    row = int(np.searchsorted(zone_events.first, number))
    if row < len(zone_events) and int(zone_events.first[row]) == number:
        return row
    if not len(zone_events):
        raise BadInput(f"{path}: no event concerns the zone that is replayed", "record another workload")
    near = int(zone_events.first[min(row, len(zone_events) - 1)])
    raise BadInput(
        f"{path}: event {number} is not one of the {len(zone_events):,} that concern the zone that is replayed",
        f"the next one is {near}; `pagelab replay` names events by their number in the trace, from 0",
    )


def explain_event(path: Path, design: str | None, number: int) -> Explained:
    """Replay up to an event and explain it.

    :param number: its number in the trace, from 0, as the score names events.
    :raises BadInput: if the capture is damaged, or has no such event.
    """
    from pagelab.replay.design import design_of
    from pagelab.replay.run import build, read_checked, zone_under

    capture = read_checked(path)
    zone_events = zone_under(design if design is not None else design_of(capture), capture)
    row = row_of(zone_events, number, path)
    program = build(zone_events)
    fault = ""
    program.call("link_events", len(zone_events))
    try:
        program.call("replay", 0, row)
    except ModelFault as stopped:
        fault = str(stopped)
        program.table(tables.verdict)["reason"] = tables.REASON_FAULT
    cpu = int(zone_events.columns["cpu"][row])
    lists, expected = lists_of(program, zone_events, cpu), _expected(program, zone_events, cpu)
    before, counts = program.table(tables.score).copy(), program.table(tables.reason)["count"].copy()
    try:
        program.call("replay", row, row + 1)
    except ModelFault as stopped:
        fault = str(stopped)
    judged = "missed" if fault else _judged(before, program.table(tables.score))
    # From some events on nothing can be judged; others are undecided by themselves.
    why = int(program.table(tables.verdict)["reason"])
    if why == tables.REASON_NONE:
        why = int(np.argmax(program.table(tables.reason)["count"] - counts))
    kind = Kind(int(zone_events.columns["kind"][row]))
    rule = rules.SILENT if judged == "not scored" else rules.PREDICTED.get(kind, rules.SILENT)
    gave_up = why != tables.REASON_NONE and judged not in ("exact", "missed")
    if gave_up:
        rule = rules.UNKNOWN.get(why, rules.SILENT)
    return Explained(
        event=number,
        time=int(capture.events.time[number]),
        judged=judged,
        observed=words_of(zone_events, row),
        expected=expected,
        reason=fault or (REASONS.get(why, "") if gave_up else ""),
        rule=rule.rule,
        kernel=rule.kernel,
        decides=rule.decides,
        around=events_around(capture, zone_events, row),
        lists=lists,
    )


def _judged(before: np.ndarray, after: np.ndarray) -> str:
    """What the scores say of what came between."""
    grown = {name: int(after[name].sum() - before[name].sum()) for name in ("total", "exact", "unknown")}
    if grown["total"] > grown["exact"] + grown["unknown"]:
        return "missed"
    if grown["unknown"]:
        return "unknown"
    return "exact" if grown["exact"] else "not scored"


def _expected(program: Program, zone_events: ReplayZone, cpu: int) -> str:
    """What the trace still owes on a CPU."""
    place = program.table(tables.cpu_replay)[cpu]
    ring = program.table(tables.expected)[cpu]
    first, end = int(place["popped"]), int(place["pushed"])
    some = []
    for number in range(first, min(end, first + SHOWN)):
        one = ring[number & (tables.capture.expected_size - 1)]
        words = Kind(int(one["kind"])).name.lower()
        if one["page"] >= 0:
            words += f" pfn {zone_events.start_pfn + int(one['page']):#x} order {int(one['order'])}"
        some.append(words)
    if end - first > SHOWN:
        some.append(f"and {end - first - SHOWN} more")
    return ", ".join(some)
