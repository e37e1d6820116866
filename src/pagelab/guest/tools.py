# SPDX-License-Identifier: GPL-2.0-or-later
"""The program that runs the guest beside the workload: busybox."""

from __future__ import annotations

from pagelab.guest.apt import Suite, Tree

#: One suite for all kernels, so that all captures are made by the same shell.
SUITE = "bookworm"
PACKAGES = ("busybox-static",)


def fetch_tools() -> Tree:
    """busybox-static, unpacked; from the cache if it was fetched before.

    :raises MissingTool: it cannot be fetched.
    """
    return Suite(SUITE).tree(PACKAGES, dependencies=False)
