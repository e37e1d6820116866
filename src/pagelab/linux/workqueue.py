# SPDX-License-Identifier: GPL-2.0-or-later
"""Work items that drain pcplists, one a CPU, which a worker thread of that CPU does (kernel/workqueue.c)."""

from __future__ import annotations

from pagelab.lang.declare import atomic, wait_until
from pagelab.linux.state import WORK_IDLE, WORK_QUEUED, WORK_RUNS, drain_work
from pagelab.linux.trace import flush_drain_work


def queue_work_on(owner: int) -> None:
    """Have the CPU's worker do the work soon; nothing happens if that was asked for already."""
    drain_work[owner].state = WORK_QUEUED


def flush_work(cpu: int, owner: int) -> None:
    """Wait until the CPU's work is done."""
    flush_drain_work(cpu, owner)
    with atomic():
        wait_until(drain_work[owner].state == WORK_IDLE)


def begin_work(owner: int) -> None:
    """A worker waits for work and takes it."""
    with atomic():
        wait_until(drain_work[owner].state == WORK_QUEUED)
        drain_work[owner].state = WORK_RUNS


def end_work(owner: int) -> None:
    """The work is done."""
    drain_work[owner].state = WORK_IDLE
