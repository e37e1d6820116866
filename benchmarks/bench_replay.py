# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture predicted: events a second once it is loaded, and what comes before that, beside ``trace-cmd report``.

The bar is 5 M events/s once loaded, and 3 GiB for a capture of 20 million events, which
``pagelab record --kernel 6.1 --pages 3700000 --memory 2G --timeout 3000 -o DIR`` makes in some ten minutes.
Not every event is of the zone that is predicted: those of other zones only tell that their CPU went on, so a second
figure counts the zone's own events alone, in the same time.

Nobody else predicts a kernel's pages.  The peer is what one would otherwise do first with such a trace: print it with
``trace-cmd report``, to /dev/null.  bench_read_trace.py measures the reader alone on a larger trace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.measure import Figure, Ratio, arguments, processor_time, report, speed_up
from pagelab.capture.directory import Capture, read_capture
from pagelab.errors import PagelabError
from pagelab.lang.native import Program
from pagelab.linux.designs import design_named
from pagelab.linux.state import machine
from pagelab.replay import tables
from pagelab.replay.design import design_of
from pagelab.replay.run import build, configure, follow
from pagelab.replay.zone import ReplayZone, prepare_zone

BUNDLED = Path(__file__).resolve().parents[1] / "captures"
TARGET = 5.0
#: GiB, of a capture of 20 million events.
MEMORY = 3.0


def load(capture: Capture) -> tuple[ReplayZone, Program]:
    """What ``pagelab replay`` does between reading and following."""
    design_named(design_of(capture)).switch_on()
    zone = prepare_zone(capture, max_order=machine.max_order, has_cma=capture.config.get("CONFIG_CMA") == "y")
    configure(capture, zone)
    return zone, build(zone)


def seconds(work: Callable[[], object], runs: int, clock: Callable[[], float] = processor_time) -> list[float]:
    """Of each run."""
    found = []
    for _ in range(runs):
        begin = clock()
        work()
        found.append(clock() - begin)
    return found


def silently(command: list[str]) -> None:
    """Run a program, its output away; its status may be a finding or inconclusive."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1, 4):
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}")


def peak_memory(command: list[str]) -> float:
    """GiB that a program had at most, mapped files too; not below what this process has, which it begins as."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_maxrss / (1 << 20)


def rate(name: str, events: int, times: list[float], target: float | None = None) -> Figure:
    """Million events a second, best of the runs."""
    samples = [events / 1e6 / t for t in times]
    return Figure(name, max(samples), "M events/s", samples, target)


def follow_again(program: Program, count: int, runs: int) -> list[float]:
    """Processor time of each run from the zone's empty state to the last event; each must come to the same score."""
    before = program.state.copy()
    scores = set()

    def work() -> None:
        followed, fault = follow(program, count, lambda done, total: None)
        assert followed == count, fault
        scores.add(program.table(tables.score).tobytes())

    times = []
    for _ in range(runs):
        program.state[:] = before
        times += seconds(work, 1)
    assert len(scores) == 1, "one capture, but several scores"
    return times


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("capture", nargs="?", type=Path, help="a capture (default: the first in captures/)")
    args = parser.parse_args()
    bundled = sorted(BUNDLED.glob("*.tar.zst"))
    if args.capture is None and not bundled:
        parser.error(f"{BUNDLED} holds no capture: name one")
    path = args.capture or bundled[0]
    command = [sys.executable, "-m", "pagelab", "replay", str(path), "--json"]
    peak = peak_memory(command)
    try:
        read_capture(path)  # loads the compiled reader
        capture = read_capture(path)
        zone, program = load(capture)
    except PagelabError as error:
        parser.error(str(error))
    own = int(np.count_nonzero(zone.columns["page"].astype(np.int64) >= 0))
    following = follow_again(program, len(zone), max(args.runs, 20))
    reading = seconds(lambda: read_capture(path), args.runs)
    preparing = seconds(lambda: load(capture), args.runs)
    whole = seconds(lambda: silently(command), args.runs, time.perf_counter)
    events = len(capture.events)
    replayed = rate("replay once loaded", len(zone), following, TARGET)
    read = rate("reading, all files of the capture", events, reading)
    figures = [
        replayed,
        rate("replay once loaded, the zone's own events", own, following),
        read,
        Figure("choosing the zone, compiling the model", min(preparing), "s", preparing),
        Figure("pagelab replay, the whole command, by the clock", min(whole), "s", whole),
        Figure("pagelab replay, memory at its peak", peak, "GiB", target=MEMORY),
    ]
    ratios: list[Ratio] = []
    missing = ""
    if shutil.which("trace-cmd") is None or capture.trace.suffix != ".dat":
        missing = "; no trace-cmd or no trace.dat here, so nothing to compare with"
    else:
        printing = seconds(lambda: silently(["trace-cmd", "report", str(capture.trace)]), args.runs)
        printed = rate("trace-cmd report > /dev/null", events, printing)
        figures.append(printed)
        ratios = [speed_up(f"{f.name}, over trace-cmd report", f, printed) for f in (replayed, read)]
    about = (
        f"{path.name}: {events:,} events, of which {len(zone):,} are followed and {own:,} are of the zone "
        f"{zone.name}, {zone.nr_cpus} CPUs; processor time, best of {args.runs} runs{missing}"
    )
    report("replay", about, figures, ratios, args.json)


if __name__ == "__main__":
    main()
