# SPDX-License-Identifier: GPL-2.0-or-later
"""An allocator that never stops, for the tests of liveness."""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.page_alloc import free_the_page, get_page_from_freelist


def churn(cpu: int) -> None:
    while True:
        page = get_page_from_freelist(cpu, 0, 0, MIGRATE_MOVABLE)
        if page != NIL:
            free_the_page(cpu, page, 0)
