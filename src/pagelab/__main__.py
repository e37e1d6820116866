# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m pagelab``: the same as the command ``pagelab``."""

from __future__ import annotations

import sys

from pagelab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
