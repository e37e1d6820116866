# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: the machine, the best of several runs, figures as a table or as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Figure:
    """One measured value; ``target`` is what it has to reach: at least, or for seconds and memory at most.

    ``samples``: all runs, in the order in which they were made; ``value`` is the best of them.
    """

    name: str
    value: float
    unit: str
    samples: list[float] = field(default_factory=list)
    target: float | None = None
    note: str = ""

    @property
    def lower_is_better(self) -> bool:
        return self.unit in ("s", "ms", "GiB")

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached, None if there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.lower_is_better else self.value >= self.target

    def line(self) -> str:
        """For a person."""
        middle = statistics.median(self.samples) if self.samples else self.value
        text = f"{self.name:46} {self.value:10.3f} {self.unit:12} median {middle:10.3f}"
        if self.target is not None:
            sign = "<=" if self.lower_is_better else ">="
            text += f"   target {sign} {self.target:g}: {'reached' if self.reached else 'MISSED'}"
        return f"{text}   {self.note}".rstrip()


@dataclass
class Ratio:
    """How many times faster the first of two figures is."""

    name: str
    value: float

    def line(self) -> str:
        """For a person."""
        return f"{self.name:46} {self.value:10.2f} times"


def speed_up(name: str, ours: Figure, peer: Figure) -> Ratio:
    """Times that ours is faster than the peer; both in the same unit."""
    assert ours.unit == peer.unit
    ratio = peer.value / ours.value if ours.lower_is_better else ours.value / peer.value
    return Ratio(name, ratio)


def cpu_model() -> str:
    """As /proc/cpuinfo has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """What was measured on; ``load`` is the average of the last minute, of which the benchmark itself is a part."""
    versions = {name: importlib.metadata.version(name) for name in ("llvmlite", "numba", "numpy")}
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
        **versions,
    }


def processor_time() -> float:
    """Seconds that this process and its ended children worked; others on the machine spoil it less than a clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    summary = (doc or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--runs", type=int, default=7, help="runs of which the best counts (default: %(default)s)")
    return parser


def report(benchmark: str, about: str, figures: list[Figure], ratios: list[Ratio], as_json: bool) -> None:
    """Print what was measured."""
    here = machine()
    if as_json:
        document = {
            "benchmark": benchmark,
            "about": about,
            "machine": here,
            "figures": [{**asdict(f), "reached": f.reached} for f in figures],
            "ratios": [asdict(r) for r in ratios],
        }
        print(json.dumps(document, indent=2))
        return
    print(about)
    print(f"{here['cpus']} x {here['cpu']}, load {here['load']}, Python {here['python']}, llvmlite {here['llvmlite']}")
    for line in (*(f.line() for f in figures), *(r.line() for r in ratios)):
        print(line)
