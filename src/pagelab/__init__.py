# SPDX-License-Identifier: GPL-2.0-or-later
"""A laboratory for the page allocator of Linux: one model, held against real kernels page by page."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
