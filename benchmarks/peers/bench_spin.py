# SPDX-License-Identifier: GPL-2.0-or-later
"""Protocol P, every interleaving: ``pagelab check`` beside SPIN, in one run, on one core each.

Printed for each configuration: transitions and states a second of the search alone, bytes a stored state, peak memory
of the process, and the wall-clock time from start to verdict, which for SPIN includes its own run and gcc's.  SPIN runs
unreduced, and with its defaults (partial order reduction, merging), as a user would start it.  Unreduced, both must
count the same states and transitions.

    bench_spin.py [--repeat N] [DESIGN,C,NP,W,K[,NAME=VALUE...]]...

Needs the Debian packages spin and gcc.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = HERE / "pcp.pml"
EXAMPLE = ROOT / "examples" / "protocol_p.py"
CONFIGURATIONS = ("3,2,2,2,1", "3,2,4,2,2", "3,2,4,2,3", "3,2,4,2,2,NI=2", "4,2,4,3,1", "2,2,4,3,2")
#: Options that the Promela text has as plain macros.
MACROS = {"CHK", "ND", "RFC_OUT", "DRAIN_FIRST", "TSO"}
#: The hash table of pan has 2**HASH_BITS slots of 8 bytes: its default.
HASH_BITS = 24
#: Steps that pan's stack has room for.
DEPTH = 2_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one tool gave.  Times in seconds; ``search`` is that of the search alone."""

    verdict: str
    states: int
    transitions: int
    search: float
    to_verdict: float
    state_bytes: float
    peak_mib: float


def timed(command: list[str], where: Path, environment: dict[str, str] | None = None) -> tuple[str, float, float]:
    """Run it; what it wrote to stdout, its wall-clock time in s, its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=where, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode not in ((0, 1) if environment else (0,)):  # pagelab's 1 is a verdict
        sys.exit(f"bench_spin: `{' '.join(command)}` ended with status {process.returncode}: {text[-400:]}")
    return text, took, usage.ru_maxrss / 1024


def values(configuration: str) -> dict[str, int]:
    """``"3,2,4,2,2,NI=2"``: design, CPUs, pages, workers, operations, then options."""
    parts = configuration.split(",")
    given = dict(zip(("DESIGN", "C", "NP", "W", "K"), map(int, parts[:5]), strict=True))
    for part in parts[5:]:
        name, _, value = part.partition("=")
        given[name] = int(value or 1)
    return given


def pagelab(given: dict[str, int]) -> Run:
    """``pagelab check --unreduced --json`` as a person starts it."""
    command = [sys.executable, "-m", "pagelab", "check", str(EXAMPLE), "--unreduced", "--json"]
    for name, value in given.items():
        command += ["--set", f"{name}={value}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    text, took, peak = timed(command, ROOT, environment)
    found = json.loads(text)[0]
    return Run(
        found["verdict"],
        found["states"],
        found["transitions"],
        found["seconds"],
        took,
        found["memory_bytes"] / found["states"],
        peak,
    )


def spin(given: dict[str, int], *, reduced: bool) -> Run:
    """``spin -a``, ``gcc -O2``, ``pan``; the states' bytes with pan's overhead and their share of its hash table."""
    names = {"C": "NC"}
    defines = [f"-D{name}" if name in MACROS else f"-D{names.get(name, name)}={v}" for name, v in given.items()]
    owners = given.get("OWN", given["W"])
    states = ",".join("0" if p < owners else "2" for p in range(given["NP"]))
    with tempfile.TemporaryDirectory(prefix="pan.") as directory:
        where = Path(directory)
        plain = [] if reduced else ["-o1", "-o2", "-o3"]
        steps = [
            ["spin", *plain, "-a", *defines, f"-DINIT_ST={{{states}}}", str(MODEL)],
            ["gcc", "-O2", "-w", "-DSAFETY", "-DVECTORSZ=4096", "-DMEMLIM=9000"]
            + ([] if reduced else ["-DNOREDUCE"])
            + ["-o", "pan", "pan.c"],
            ["./pan", f"-m{DEPTH}", f"-w{HASH_BITS}"],
        ]
        total = 0.0
        for command in steps:
            text, took, peak = timed(command, where)
            total += took

    def number(pattern: str) -> float:
        match = re.search(pattern, text)
        if match is None:
            sys.exit(f"bench_spin: pan's output has no {pattern!r}")
        return float(match[1])

    if "max search depth too small" in text:
        sys.exit(f"bench_spin: {DEPTH} steps are too few for SPIN's depth-first search of {given}")
    count = int(number(r"([\d.e+]+) states, stored"))
    memory = number(r"([\d.]+)\s+actual memory usage for states") if "actual memory usage for states" in text else 0.0
    table = number(r"([\d.]+)\s+memory used for hash table")
    return Run(
        "holds" if int(number(r"errors: (\d+)")) == 0 else "violated",
        count,
        int(number(r"([\d.e+]+) transitions")),
        max(number(r"elapsed time ([\d.e+-]+) seconds") if "elapsed time" in text else took, 0.01),
        total,
        (memory + table) * 2**20 / count,
        peak,
    )


def show(title: str, run: Run) -> None:
    rates = f"{run.transitions / run.search / 1e6:6.2f} M transitions/s {run.states / run.search / 1e6:6.2f} M states/s"
    print(
        f"  {title:14} {run.verdict:9} {run.states:>10,} states {run.transitions:>11,} transitions {rates} "
        f"{run.state_bytes:7.0f} B/state {run.peak_mib:6.0f} MiB peak {run.to_verdict:6.2f} s to the verdict"
    )


def compare(configuration: str, repeat: int) -> bool:
    """Measure one configuration; whether both tools agree."""
    given = values(configuration)
    ours, full, default = [], [], []
    for _ in range(repeat):  # in turn, so that what else the machine does hits all alike
        ours.append(pagelab(given))
        full.append(spin(given, reduced=False))
        default.append(spin(given, reduced=True))
    best, other = min(ours, key=lambda r: r.search), min(full, key=lambda r: r.search)
    print(f"design {configuration}")
    show("pagelab", best)
    show("SPIN unreduced", other)
    quickest = min(default, key=lambda r: r.to_verdict)
    show("SPIN default", quickest)
    speed = (best.transitions / best.search) / (other.transitions / other.search)
    wait = min(r.to_verdict for r in ours)
    print(
        f"  ratios: transitions/s {speed:.1f}; time to the verdict {min(r.to_verdict for r in full) / wait:.1f} "
        f"(SPIN unreduced), {quickest.to_verdict / wait:.1f} (SPIN default)"
    )
    # SPIN counts one transition more: the initial step.
    same = best.verdict == "violated" or (best.states, best.transitions + 1) == (other.states, other.transitions)
    if not same or best.verdict != other.verdict:
        print("  THE COUNTS OR VERDICTS DIFFER")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", default=CONFIGURATIONS, metavar="DESIGN,C,NP,W,K[,NAME=VALUE]")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each tool; the best counts")
    args = parser.parse_args()
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if missing:
        print(f"bench_spin: {' and '.join(missing)} not found; install the package of that name", file=sys.stderr)
        return 3
    pagelab(values("3,1,2,1,1"))  # compiles the search engine, once a machine
    agreed = [compare(one, args.repeat) for one in args.configurations]
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
