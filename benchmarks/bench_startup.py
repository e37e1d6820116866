# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a person waits for ``pagelab --help``, beside a Python that does nothing.  The bar: 150 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 20


def milliseconds(*arguments: str) -> tuple[float, float]:
    """Best and median wall-clock time of ``python *arguments``, in ms, over :data:`RUNS` runs."""
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - begin) * 1000)
    return min(times), statistics.median(times)


def main() -> None:
    for title, arguments in (("pagelab --help", ("-m", "pagelab", "--help")), ("an empty python", ("-c", ""))):
        best, median = milliseconds(*arguments)
        print(f"{title:16} {best:6.0f} ms best, {median:6.0f} ms median of {RUNS}")


if __name__ == "__main__":
    main()
