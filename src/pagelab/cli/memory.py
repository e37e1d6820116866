# SPDX-License-Identifier: GPL-2.0-or-later
"""How much memory a search may use: what was asked for, or what the machine can spare."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

from pagelab.errors import BadInput

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_limit(text: str) -> int:
    """Bytes of ``4G`` or ``500M``; by default three quarters of what is to be had.

    :raises BadInput: for what is no amount of memory.
    """
    if not text:
        return to_be_had() * 3 // 4
    match = re.fullmatch(r"(\d+)([KMGT]?)i?B?", text, re.IGNORECASE)
    if match is None:
        raise BadInput(f"--max-memory {text}: this is no amount of memory", "write 500M or 4G")
    return int(match[1]) * _UNITS[match[2].upper()]


def to_be_had(root: Path = Path("/")) -> int:
    """Bytes that this process can get before anybody is killed: of the machine, its control group, its own limit."""
    limits = [_available(root), _left_in_group(root)]
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space // 2)  # what is reserved counts, too
    return min(limit for limit in limits if limit is not None)


def _available(root: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 30


def _left_in_group(root: Path) -> int | None:
    """Bytes up to the limit of the control group, None if it has none (cgroup v2, as seen from inside)."""
    with contextlib.suppress(OSError, ValueError):
        group = root / "sys/fs/cgroup"
        most = (group / "memory.max").read_text().strip()
        if most != "max":
            return max(int(most) - int((group / "memory.current").read_text()), 0)
    return None
