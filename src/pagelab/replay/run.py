# SPDX-License-Identifier: GPL-2.0-or-later
"""Replay a capture: build the model for its machine, follow its events, give the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pagelab.capture.events import Kind
from pagelab.lang.declare import ModelFault, Tracepoint, attached
from pagelab.lang.native import Program
from pagelab.linux import trace
from pagelab.linux.designs import design_named
from pagelab.linux.highatomic import highatomic
from pagelab.linux.state import TABLES, machine, other_zone
from pagelab.replay import tables
from pagelab.replay.design import design_of
from pagelab.replay.expect import on_drain, on_moved, on_zone_locked
from pagelab.replay.explain import explain
from pagelab.replay.fallback_steps import on_extfrag
from pagelab.replay.irqs_off_steps import on_flush_drain_work
from pagelab.replay.link import link_events
from pagelab.replay.result import REASONS, SCORED, Result, Score
from pagelab.replay.steps import replay
from pagelab.replay.zone import ReplayZone, prepare_zone

if TYPE_CHECKING:
    from pagelab.capture.directory import Capture

#: Events followed between two reports of progress.
CHUNK = 1 << 20
STATE = (
    *TABLES,
    highatomic,
    tables.expected,
    tables.pending,
    tables.cpu_replay,
    tables.direct,
    tables.late,
    tables.left_over,
    tables.bulk,
    tables.last_free,
    tables.taken,
    tables.high_doubt,
    tables.score,
    tables.reason,
    tables.verdict,
    tables.hotplug,
    tables.contig,
)
PROBES: Mapping[Tracepoint, Callable[..., None]] = {
    trace.mm_page_alloc_zone_locked: on_zone_locked,
    trace.mm_page_pcpu_drain: on_drain,
    trace.move_freepages_block_done: on_moved,
    trace.mm_page_alloc_extfrag: on_extfrag,
    trace.flush_drain_work: on_flush_drain_work,
}


def is_preemptible(capture: Capture) -> bool:
    """Whether the kernel schedules a task away that is in the kernel and does not wait for anything."""
    voluntary = any(capture.config.get(f"CONFIG_PREEMPT_{mode}") == "y" for mode in ("VOLUNTARY", "NONE"))
    return not voluntary or "preempt=full" in capture.cmdline.split()


def configure(capture: Capture, zone_events: ReplayZone) -> None:
    """Set the constants of the model and of the replay for the machine and the kernel of a capture."""
    machine.configure(
        nr_pages=zone_events.nr_pages,
        nr_cpus=zone_events.nr_cpus,
        thp=capture.config.get("CONFIG_TRANSPARENT_HUGEPAGE", "y") == "y",
        cma=capture.config.get("CONFIG_CMA") == "y",
        zone_movable=zone_events.name == "Movable",
        nr_other_zones=max(len(zone_events.others), 1),
    )
    tables.capture.configure(
        nr_events=len(zone_events),
        probe_rmqueue_bulk=Kind.RMQUEUE_BULK in zone_events.probes,
        probe_free_unref_page_commit=Kind.FREE_UNREF_PAGE_COMMIT in zone_events.probes,
        probe_move_freepages_block=Kind.MOVE_FREEPAGES_BLOCK in zone_events.probes,
        probe_free_pcppages_bulk=Kind.FREE_PCPPAGES_BULK in zone_events.probes,
        probe_alloc_pages_bulk=Kind.ALLOC_PAGES_BULK in zone_events.probes,
        probe_free_pages_counted=Kind.FREE_PAGES_COUNTED in zone_events.probes,
        probe_zone_pcp_update=Kind.ZONE_PCP_UPDATE in zone_events.probes,
        probe_split_large_buddy=Kind.SPLIT_LARGE_BUDDY in zone_events.probes,
        probe_free_one_page=Kind.FREE_ONE_PAGE in zone_events.probes,
        probe_alloc_pages_bulk_page=Kind.ALLOC_PAGES_BULK_PAGE in zone_events.probes,
        probe_rmqueue_pcplist_page=Kind.RMQUEUE_PCPLIST_PAGE in zone_events.probes,
        probe_isolate_free_page=Kind.ISOLATE_FREE_PAGE in zone_events.probes,
        hits_left_out=bool(capture.probes_missed),
        preemptible=is_preemptible(capture),
        stat_threshold=stat_threshold(capture, zone_events),
        probe_online_pages=Kind.ONLINE_PAGES in zone_events.probes,
        probe_zone_set_pageset=Kind.ZONE_SET_PAGESET in zone_events.probes,
    )


def stat_threshold(capture: Capture, zone_events: ReplayZone) -> int:
    """The largest that a snapshot of the zone shows (kswapd lowers it while it is awake)."""
    zones = [snapshot.zone(zone_events.name, zone_events.node) for snapshot in capture.zoneinfo]
    shown = [pageset.stat_threshold for zone in zones if zone is not None for pageset in zone.pagesets]
    return tables.MAX_THRESHOLD if not shown or min(shown) < 0 else max(shown)


def read_checked(path: Path) -> Capture:
    """Read a capture whose files do not contradict each other.

    :raises BadInput: if it is damaged, or they do.
    """
    from pagelab.capture.consistent import check_consistent
    from pagelab.capture.directory import read_capture

    capture = read_capture(path)
    check_consistent(capture)
    return capture


def zone_under(design: str, capture: Capture) -> ReplayZone:
    """The zone of a capture, with the model's features and constants set for its machine under a design."""
    design_named(design).switch_on()
    zone_events = prepare_zone(capture, max_order=machine.max_order, has_cma=capture.config.get("CONFIG_CMA") == "y")
    configure(capture, zone_events)
    return zone_events


def fill_in(program: Program, zone_events: ReplayZone) -> None:
    """Give a program the events, and what it has to know of other zones."""
    program.bind(tables.event, zone_events.columns)
    others = program.table(other_zone)
    for i in range(len(others)):
        managed, high, user = zone_events.others[i] if i < len(zone_events.others) else (0, 0, False)
        others[i]["managed_pages"], others[i]["watermark_high"], others[i]["holds_user_pages"] = managed, high, user


def build(zone_events: ReplayZone) -> Program:
    """Compile the model and the replay for the constants of now, with the zone as it was before its first page."""
    with attached(PROBES):
        program = Program([link_events, replay], STATE)
    fill_in(program, zone_events)
    if not zone_events.start_known:
        program.table(tables.verdict)["reason"] = tables.REASON_START
    return program


def follow(program: Program, count: int, progress: Callable[[int, int], None]) -> tuple[int, str]:
    """Follow ``count`` events; returns how many were followed and the fault that stopped it, if any."""
    program.call("link_events", count)
    at = 0
    while at < count:
        end = min(at + CHUNK, count)
        try:
            program.call("replay", at, end)
        except ModelFault as fault:
            return max(int(program.table(tables.cpu_replay)["last"].max()), at), str(fault)
        at = end
        progress(at, count)
    return count, ""


def replay_capture(
    path: Path, design: str | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> Result:
    """Read a capture, predict its events and score the prediction.

    :param design: name of a design to predict with; by default the one that the capture shows.
    :param progress: called with the number of events followed, and of all.
    :raises BadInput: if the capture is damaged, or its kernel has features that no design models.
    """
    began = time.perf_counter()
    capture = read_checked(path)
    chosen = design_named(design if design is not None else design_of(capture))
    zone_events = zone_under(chosen.name, capture)
    program = build(zone_events)
    started = time.perf_counter()
    followed, fault = follow(program, len(zone_events), progress)
    unmodelled = "not modelled" in fault
    if fault:
        # What comes after a fault is as unknown as what comes after a divergence.
        why = tables.REASON_UNMODELLED if unmodelled else tables.REASON_FAULT
        why = tables.REASON_LEFT_OUT if capture.probes_missed else why
        program.table(tables.verdict)["reason"] = why
        program.call("replay", followed, len(zone_events))
    ended = time.perf_counter()
    scores = program.table(tables.score)
    reason = program.table(tables.reason)
    reasons, began_at = reason["count"], reason["first"]
    return Result(
        kernel=capture.release,
        design=chosen.name,
        features=chosen.feature_names(),
        zone=f"Node {zone_events.node}, zone {zone_events.name}",
        cpus=zone_events.nr_cpus,
        events=len(zone_events),
        scores={
            name: Score(*(int(row[field]) for field in ("total", "exact", "unknown")))
            for name, row in zip(SCORED, scores, strict=True)
        },
        unknown_reasons={text: int(reasons[number]) for number, text in REASONS.items() if reasons[number]},
        unknown_from={
            text: int(zone_events.first[began_at[number]]) if began_at[number] >= 0 else -1
            for number, text in REASONS.items()
            if reasons[number]
        },
        first_divergence=explain(program, capture, zone_events),
        fault=fault,
        unmodelled=unmodelled or bool(capture.probes_missed),
        seconds=ended - started,
        seconds_total=ended - began,
        warnings=list(capture.warnings),
    )
