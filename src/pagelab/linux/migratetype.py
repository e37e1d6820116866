# SPDX-License-Identifier: GPL-2.0-or-later
"""Migratetypes (include/linux/mmzone.h), numbered alike for every kernel.

The numbers are those of a kernel with CONFIG_CMA; one without calls ISOLATE 4, which the reader of a capture maps.
"""

from __future__ import annotations

MIGRATE_UNMOVABLE = 0
MIGRATE_MOVABLE = 1
MIGRATE_RECLAIMABLE = 2
MIGRATE_PCPTYPES = 3  # how many types have pcplists
MIGRATE_HIGHATOMIC = 3
MIGRATE_CMA = 4
MIGRATE_ISOLATE = 5
MIGRATE_TYPES = 6


def migratetype_is_mergeable(migratetype: int) -> bool:
    """Whether free pages of this type may merge with those of another mergeable type."""
    return migratetype < MIGRATE_PCPTYPES
