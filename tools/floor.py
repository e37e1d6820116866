# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints the lower bound of every dependency in a pyproject.toml as a pip constraint: ``NAME==BOUND``.

What pip then installs is the oldest set that the bounds allow.  Standard library only: it runs before anything is
installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def constraints(pyproject: Path) -> list[str]:
    """One pip constraint a dependency; raises ValueError for a dependency without a lower bound."""
    found = []
    for dependency in tomllib.loads(pyproject.read_text())["project"]["dependencies"]:
        match = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", dependency)
        if match is None:
            raise ValueError(f"{pyproject}: dependency {dependency!r} has no lower bound")
        found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    print("\n".join(constraints(Path(sys.argv[1]))))
