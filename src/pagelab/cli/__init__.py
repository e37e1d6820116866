# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``main.py`` is the frame; a verb is a file with ``set_arguments(parser)`` and ``main(args)``."""

from __future__ import annotations
