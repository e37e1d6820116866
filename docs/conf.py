# SPDX-License-Identifier: GPL-2.0-or-later
"""Sphinx: `make docs`."""

from __future__ import annotations

from pagelab import __version__

project = "pagelab"
author = "The pagelab authors"
copyright = author
release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "pagelab"
