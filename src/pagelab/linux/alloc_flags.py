# SPDX-License-Identifier: GPL-2.0-or-later
"""How an allocation may go about it: alloc_flags of mm/internal.h, as far as they reach the lists."""

from __future__ import annotations

ALLOC_OOM = 0x08  # a victim of the OOM killer
ALLOC_NON_BLOCK = 0x10
ALLOC_CMA = 0x80  # may use CMA pageblocks
ALLOC_NOFRAGMENT = 0x100  # do not mix migratetypes in a pageblock
ALLOC_HIGHATOMIC = 0x200  # may use the HIGHATOMIC reserve
