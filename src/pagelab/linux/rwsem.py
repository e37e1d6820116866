# SPDX-License-Identifier: GPL-2.0-or-later
"""pcp_batch_high_lock as a read-write semaphore (kernel/locking/rwsem.c): new readers wait for waiting writers."""

from __future__ import annotations

from pagelab.lang.declare import atomic, wait_until
from pagelab.linux.state import pcp_batch_high_rwsem


def down_read() -> None:
    """Take it with other readers."""
    with atomic():
        wait_until(not pcp_batch_high_rwsem.writer and pcp_batch_high_rwsem.waiting_writers == 0)
        pcp_batch_high_rwsem.readers += 1


def up_read() -> None:
    """Give it back, as a reader."""
    with atomic():
        assert pcp_batch_high_rwsem.readers > 0, "up_read() without down_read()"
        pcp_batch_high_rwsem.readers -= 1


def down_write() -> None:
    """Take it alone.  To queue up is a step of its own: from then on no reader gets in."""
    with atomic():
        pcp_batch_high_rwsem.waiting_writers += 1
    with atomic():
        wait_until(not pcp_batch_high_rwsem.writer and pcp_batch_high_rwsem.readers == 0)
        pcp_batch_high_rwsem.waiting_writers -= 1
        pcp_batch_high_rwsem.writer = True


def up_write() -> None:
    """Give it back, as the writer."""
    pcp_batch_high_rwsem.writer = False
