# SPDX-License-Identifier: GPL-2.0-or-later
"""What if the recorded kernel had had another design: the same work done by two of them, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pagelab.capture.events import Kind
from pagelab.errors import BadInput
from pagelab.lang.declare import NIL, ModelFault, Tracepoint, attached
from pagelab.lang.native import Program
from pagelab.linux import trace
from pagelab.linux.designs import design_named
from pagelab.linux.drain import drain_work_now
from pagelab.linux.highatomic import highatomic
from pagelab.linux.state import TABLES
from pagelab.replay import tables, whatif_tables
from pagelab.replay.design import design_of
from pagelab.replay.whatif_steps import finish, on_drain, on_zone_locked, what_if
from pagelab.replay.zone import ReplayZone

if TYPE_CHECKING:
    from pagelab.capture.directory import Capture

#: Events done between two reports of progress.
CHUNK = 1 << 20
STATE = (
    *TABLES,
    highatomic,
    tables.hotplug,
    whatif_tables.held,
    whatif_tables.holds,
    whatif_tables.counts,
    whatif_tables.targets,
    whatif_tables.offlining,
)
PROBES: Mapping[Tracepoint, Callable[..., None]] = {
    trace.mm_page_alloc_zone_locked: on_zone_locked,
    trace.mm_page_pcpu_drain: on_drain,
    trace.flush_drain_work: drain_work_now,
}
COUNTED = {
    "zone.lock": (whatif_tables.counts, "zone_lock"),
    "pcp.lock": (whatif_tables.counts, "pcp_lock"),
    "mm.pcpu_drain_mutex": (whatif_tables.counts, "drains"),
}
KEEPS = (
    "the order of allocations and frees, their CPUs, orders and migratetypes",
    "when memory came online, and when offlining began, looked at the range and ended",
)
CANNOT_KNOW = (
    "races within one call, which `pagelab check` explores: here each is done as a whole when its event shows",
    "how much sooner or later the tasks would have gone on, and what they would have done then",
    "what other zones would have served or lacked; watermarks and reclaim stay as they were recorded",
    "pages that are pinned: the model migrates all that is movable",
    "allocations in bulk and frees that the trace does not show",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the recorded work took under one design.

    Pages are base pages.  ``holds``: how often so many pages were freed in one hold of zone->lock, by the power of two
    that the number is at least.  ``fault``: what stopped the model before the end, or "".
    """

    design: str
    allocations: int
    allocations_failed: int
    frees: int
    frees_unmatched: int
    zone_lock: int
    pcp_lock: int
    drains: int
    refilled: int
    given_back: int
    most_in_hold: int
    on_pcplists: int
    stray: int
    stray_left: int
    tests_failed: int
    migrated: int
    onlined: int
    offlined: int
    offline_failed: int
    offline_given_up: int
    holds: dict[int, int]
    fault: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the trace itself shows of it, for comparison with the first of the two: base pages."""

    refilled: int
    given_back: int


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The same work under the recorded kernel's design and under another."""

    kernel: str
    zone: str
    cpus: int
    events: int
    observed: Observed
    recorded: Cost
    other: Cost
    seconds: float

    @property
    def status(self) -> int:
        """Exit status: 0, or 4 if the model could not come to the end."""
        return 4 if self.recorded.fault or self.other.fault else 0

    def to_json(self) -> dict[str, Any]:
        """What ``replay --design D --json`` has as ``what_if``."""
        return {
            "observed": asdict(self.observed),
            "recorded": asdict(self.recorded),
            "other": asdict(self.other),
            "keeps": list(KEEPS),
            "cannot_know": list(CANNOT_KNOW),
            "seconds": round(self.seconds, 3),
        }


def cost_of(
    design: str, capture: Capture, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Cost, ReplayZone]:
    """Do the work of a capture under a design."""
    from pagelab.replay.run import fill_in, zone_under

    zone_events = zone_under(design, capture)
    with attached(PROBES):
        program = Program([what_if, finish], STATE, counted=COUNTED)
    fill_in(program, zone_events)
    total, at, fault = len(zone_events), 0, ""
    while at < total and not fault:
        end = min(at + CHUNK, total)
        try:
            program.call("what_if", at, end)
        except ModelFault as stopped:
            fault = str(stopped)
        at = end
        progress(at, total)
    if not fault:
        program.call("finish")
    counts = program.table(whatif_tables.counts)[()]
    holds = program.table(whatif_tables.holds)["count"]
    named = {name: int(counts[name]) for name in (one.name for one in fields(Cost)) if name in whatif_tables.COUNTED}
    bins = {1 << b: int(count) for b, count in enumerate(holds) if count}
    return Cost(design=design, holds=bins, fault=fault, **named), zone_events


def observed(zone_events: ReplayZone) -> Observed:
    """The pages that went to pcplists and came from them, as the trace shows them."""
    kind, in_zone = zone_events.columns["kind"], zone_events.columns["page"] != NIL
    pages = np.int64(1) << np.maximum(zone_events.columns["order"], 0).astype(np.int64)

    def total(which: Kind) -> int:
        return int(pages[(kind == which) & in_zone].sum())

    return Observed(total(Kind.MM_PAGE_ALLOC_ZONE_LOCKED), total(Kind.MM_PAGE_PCPU_DRAIN))


def what_if_capture(
    path: Path, design: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> WhatIf | None:
    """Do the work of a capture under its own design and under another; None if it is its own, or that is not known.

    :raises BadInput: if the capture is damaged, or there is no such design.
    """
    from pagelab.replay.run import read_checked

    began = time.perf_counter()
    design_named(design)
    capture = read_checked(path)
    try:
        own = design_of(capture)
    except BadInput:
        return None
    if own == design:
        return None
    recorded, zone_events = cost_of(own, capture, lambda done, total: progress(done, 2 * total))
    other, _ = cost_of(design, capture, lambda done, total: progress(total + done, 2 * total))
    return WhatIf(
        kernel=capture.release,
        zone=f"Node {zone_events.node}, zone {zone_events.name}",
        cpus=zone_events.nr_cpus,
        events=len(zone_events),
        observed=observed(zone_events),
        recorded=recorded,
        other=other,
        seconds=time.perf_counter() - began,
    )
