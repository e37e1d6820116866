# SPDX-License-Identifier: GPL-2.0-or-later
"""What the two readers of a trace (binary and text) give back."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagelab.capture.events import Events

#: (cpu, time, count): cpu -1 if only the total is known, count -1 if the tracer did not say how many.
Lost = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Trace:
    """The events of a trace and what it says of itself.

    ``clock``: name of the trace clock, "" if the file does not say.  ``cpus``: number of CPUs whose buffers were read.
    ``ignored``: events that no :class:`~pagelab.capture.events.Kind` stands for, counted by name.
    ``uname``: sysname, node, release and machine as trace-cmd noted them, "" if it did not.
    """

    events: Events
    lost: list[Lost]
    clock: str
    cpus: int
    ignored: dict[str, int]
    uname: str = ""
    warnings: list[str] = field(default_factory=list)
