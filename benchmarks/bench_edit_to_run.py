# SPDX-License-Identifier: GPL-2.0-or-later
"""How long after a change to the model its first result is there: a new process each time.  The bar: 1.5 s.

Each run changes a procedure of a copy of the package, so that another number must come out; then it starts Python,
imports, parses, compiles (native code, all checks), brings 4 GiB online and allocates and frees 1000 pages.  Beside it:

replay   the same change, then ``pagelab replay`` of the bundled capture, to the score
C        peer.c, changed: Python starts, gcc -O2 makes a library, which does the same
numba    peer_numba.py, changed: Python starts, numba compiles what is called, nothing cached

The peers are not the same program, but about 20 functions of it: the fast path and the buddy lists, without hotplug,
isolation, watermarks and checks.  What is measured is the time by the clock, which other work on the machine prolongs;
processor time, that of gcc included, stands beside it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Figure, arguments, processor_time, report, speed_up

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
TARGET = 1.5

#: Batch of the pcplists of a zone of 4 GiB, by the divisor that is edited; the kernel has 4.
BATCHES = {2: 127, 4: 63, 8: 31, 16: 15}

MODEL = """
import time
begin = time.perf_counter()
import straight_model
from pagelab.lang.native import Program
from pagelab.linux.designs import design_named
design_named("6.1").switch_on()
straight_model.configure(straight_model.NR_PAGES)
imported = time.perf_counter()
program = Program(straight_model.ENTRIES, straight_model.STATE)
compiled = time.perf_counter()
batch = program.call("setup")
program.call("fast", 1000)
ran = time.perf_counter()
print(batch, program.text.count("\\ndefine internal"), imported - begin, compiled - imported, ran - compiled)
"""
C = """
import ctypes, subprocess
subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", "peer.so", "peer.c"], check=True)
peer = ctypes.CDLL("./peer.so")
peer.peer_new.restype = ctypes.c_void_p
zone = ctypes.c_void_p(peer.peer_new(1 << 20, ctypes.c_int64(1 << 20), 270, 63))
peer.peer_fast(zone, ctypes.c_int64(1000))
print(peer.peer_edited())
"""
NUMBA = """
import peer_numba
peer = peer_numba.NumbaPeer(1 << 20, 270, 63)
peer.call("fast", 1000)
print(peer_numba.EDITED)
"""


#: Change the source so that the number takes effect, and run it.
Run = Callable[[int], "Ran"]


def edit(file: Path, pattern: str, text: str) -> None:
    """Replace the one place that a pattern matches."""
    changed, count = re.subn(pattern, text, file.read_text())
    if count != 1:
        raise SystemExit(f"{file.name}: {count} places match {pattern!r}, this benchmark expects one: adapt it")
    file.write_text(changed)


@dataclass
class Ran:
    """A process that has ended: how long it took, what it printed, its status."""

    clock: float
    processor: float
    words: list[str]
    status: int


def python(directory: Path, *arguments: str) -> Ran:
    """Run a new Python in a directory."""
    begin, worked = time.perf_counter(), processor_time()
    done = subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=False)
    clock, processor = time.perf_counter() - begin, processor_time() - worked
    if done.returncode not in (0, 1, 4) or "Traceback" in done.stderr:
        raise SystemExit(done.stderr)
    return Ran(clock, processor, done.stdout.split(), done.returncode)


def change_model(directory: Path, divisor: int) -> None:
    edit(directory / "pagelab/linux/pcp_tuning.py", r"(batch = max\(batch // )\d+(, 1\))", rf"\g<1>{divisor}\g<2>")


def of_model(directory: Path, phases: list[list[float]]) -> Run:
    def run(divisor: int) -> Ran:
        change_model(directory, divisor)
        ran = python(directory, "-c", MODEL)
        assert int(ran.words[0]) == BATCHES[divisor], "the change was not seen"
        phases.append([float(word) for word in ran.words[1:]])
        return ran

    return run


def of_replay(directory: Path, capture: Path) -> Run:
    def run(divisor: int) -> Ran:
        change_model(directory, divisor)
        ran = python(directory, "-m", "pagelab", "replay", str(capture), "--json")
        assert (ran.status == 0) == (divisor == 4), "another batch, and the kernel is predicted all the same"
        return ran

    return run


def of_peer(directory: Path, name: str, line: str, script: str) -> Run:
    """``line`` is put at the end of the peer's source, with the number that must come out."""
    source = (HERE / name).read_text()

    def run(divisor: int) -> Ran:
        (directory / name).write_text(f"{source}\n{line.replace('NUMBER', str(divisor))}\n")
        ran = python(directory, "-c", script)
        assert ran.words == [str(divisor)], "the change was not seen"
        return ran

    return run


def main() -> None:
    args = arguments(__doc__).parse_args()
    captures = sorted((ROOT / "captures").glob("*.tar.zst"))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copytree(ROOT / "src/pagelab", directory / "pagelab", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "straight_model.py", directory)
        phases: list[list[float]] = []
        contenders: dict[str, Run] = {"model": of_model(directory, phases)}
        if captures:
            contenders["pagelab replay"] = of_replay(directory, captures[0])
        if shutil.which("gcc"):
            line = "int peer_edited(void) { return NUMBER; }"
            contenders["C, gcc -O2"] = of_peer(directory, "peer.c", line, C)
        contenders["numba"] = of_peer(directory, "peer_numba.py", "EDITED = NUMBER", NUMBA)
        for run in contenders.values():
            run(4)  # the unchanged files get their bytecode, as they have it when a person works
        phases.clear()
        ran: dict[str, list[Ran]] = {name: [] for name in contenders}
        for number in range(args.runs):
            for contender, run in contenders.items():
                ran[contender].append(run(list(BATCHES)[number % len(BATCHES)]))
    figures = {}
    for contender, found in ran.items():
        clock = [one.clock for one in found]
        worked = min(one.processor for one in found)
        figures[contender] = Figure(
            f"edit to run, {contender}", min(clock), "s", clock, note=f"processor {worked:.2f} s"
        )
    figures["model"].target = TARGET
    procedures, *parts = (min(column) for column in zip(*phases, strict=True))
    figures["model"].note += ": import {:.2f} s, compile {:.2f} s, run {:.2f} s by the clock".format(*parts)
    peers = [contender for contender in figures if contender not in ("model", "pagelab replay")]
    ratios = [speed_up(f"model, over {peer}", figures["model"], figures[peer]) for peer in peers]
    about = f"by the clock, best of {args.runs} new processes; the model compiles {procedures:.0f} procedures"
    report("edit_to_run", about, list(figures.values()), ratios, args.json)


if __name__ == "__main__":
    main()
