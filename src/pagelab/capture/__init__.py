# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what a kernel recorded: trace, zoneinfo, configuration, symbols."""

from __future__ import annotations

from pagelab.capture.directory import Capture, read_capture

__all__ = ["Capture", "check_consistent", "read_capture"]


def check_consistent(capture: Capture) -> None:
    """See :func:`pagelab.capture.consistent.check_consistent`."""
    from pagelab.capture import consistent

    consistent.check_consistent(capture)
