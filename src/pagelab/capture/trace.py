# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two readers of a trace (binary and text) give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields

import numpy as np

from pagelab.capture.events import Events, Kind

#: (cpu, time, count): cpu -1 if only the total is known, count -1 if the tracer did not say how many.
Lost = tuple[int, int, int]
#: (time, cpu, text): what somebody wrote into trace_marker.
Mark = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Trace:
    """The events of a trace and what it says of itself.

    ``clock``: name of the trace clock, "" if the file does not say.  ``cpus``: number of CPUs that were traced.
    ``ignored``: events that no :class:`~pagelab.capture.events.Kind` stands for, counted by name.
    ``uname``: sysname, node, release and machine as trace-cmd noted them, "" if it did not.
    """

    events: Events
    lost: list[Lost]
    clock: str
    cpus: int
    ignored: dict[str, int]
    marks: list[Mark]
    uname: str = ""
    #: Whether the file says how many CPUs there were; otherwise ``cpus`` is the last that has events, plus 1.
    all_cpus: bool = True
    warnings: list[str] = field(default_factory=list)


_DTYPES = {
    "time": np.int64,
    "cpu": np.int16,
    "pid": np.int32,
    "context": np.uint8,
    "kind": np.uint8,
    "order": np.int8,
    "migratetype": np.int8,
}


def empty_events(rows: int) -> Events:
    """Columns of ``rows`` rows, not filled."""
    return Events(**{f.name: np.empty(rows, _DTYPES.get(f.name, np.int64)) for f in dataclass_fields(Events)})


def lost_of(events: Events) -> list[Lost]:
    """The LOST rows."""
    rows = np.flatnonzero(events.kind == Kind.LOST)
    columns = (events.cpu[rows].tolist(), events.time[rows].tolist(), events.arg[rows].tolist())
    return list(zip(*columns, strict=True))
