# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that have booted, kept as QEMU saved them: a run that goes on from there spares the boot.

The state of such a guest is that before any memory is hot-added, so nothing of a run is in it.  Only emulated guests
are kept: under KVM a boot takes a second, and the state would need the same CPU.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pagelab.cache import cache_directory

if TYPE_CHECKING:
    from pagelab.guest.qemu import Setup

#: Seconds after which what a run left behind, which was killed while it copied, is in nobody's way any more.
STALE = 3600
#: Of 60 to 300 MB each; those that were not used for the longest time go first.
MOST = 32


def place(setup: Setup) -> Path:
    """Where a guest with this setup is kept: all that QEMU and the guest's kernel have seen by then makes the name."""
    from pagelab.guest.qemu import arguments, qemu_version

    disk = None if setup.disk is None else Path("disk")
    words = arguments(replace(setup, kernel=Path("kernel"), initramfs=Path("initramfs"), disk=disk))
    known = hashlib.sha256()
    for file in (setup.kernel, setup.initramfs):
        known.update(hashlib.sha256(file.read_bytes()).digest())
    known.update(repr((words, qemu_version())).encode())
    return cache_directory("boots") / known.hexdigest()[:24]


def use(kept: Path) -> bool:
    """Whether it is there; from now on it counts as used last."""
    try:
        os.utime(kept)
    except OSError:
        return False
    return True


def keep(saved: Path, kept: Path) -> None:
    """Move what was saved to its place, whole or not at all; if there is no room for it, it is not kept."""
    fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        shutil.move(saved, fresh)
        fresh.rename(kept)
    except OSError:
        fresh.unlink(missing_ok=True)
        saved.unlink(missing_ok=True)
        return
    there = sorted(kept.parent.iterdir(), key=_used, reverse=True)
    whole = [path for path in there if not path.name.startswith(".")]
    stale = [path for path in there if path.name.startswith(".") and _used(path) < time.time() - STALE]
    for path in (*whole[MOST:], *stale):
        path.unlink(missing_ok=True)


def _used(path: Path) -> float:
    """When it was used last; another run may have removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
