# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that run inside the guest beside the workload: busybox and trace-cmd."""

from __future__ import annotations

from pagelab.guest.apt import Suite, Tree

#: One suite for all kernels, so that captures of all are written by the same trace-cmd.
SUITE = "bookworm"
PACKAGES = ("busybox-static", "trace-cmd")


def fetch_tools() -> Tree:
    """busybox-static and trace-cmd with its libraries, unpacked; from the cache if they were fetched before.

    :raises MissingTool: they cannot be fetched.
    """
    return Suite(SUITE).tree(PACKAGES)
