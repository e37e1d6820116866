# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled model's pcp fast path and a random live set, beside the same source in CPython and beside C.

A zone of 1 M pages (4 GiB), four CPUs, Linux 6.1 in its newest form, one thread.  A pair is an allocation and a free.

fast     the same page again and again, through the pcplist: the bar is 60 M pairs/s
random   half a million pages are live; a random one is freed, or one more allocated: the bar is 15 M pairs/s
bursts   the same, but 1024 frees and then 1024 allocations, so that most go on to the free lists and come from there

All of them arrive at the same pages, which is compared.  The C (peer.c) checks nothing; the model checks every index,
lock and assertion ("index"), or also that every value fits its field and no arithmetic overflows ("all", the default).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt

from benchmarks import straight_model
from benchmarks.measure import Figure, Ratio, arguments, report, speed_up
from pagelab.lang.declare import attached
from pagelab.lang.native import Program
from pagelab.linux.designs import design_named
from pagelab.linux.state import pcp, zone
from pagelab.linux.trace import mm_page_pcpu_drain

TARGETS = {"fast": 60.0, "random": 15.0}
PAIRS = {"fast": 4_000_000, "random": 2_000_000, "bursts": 2_000_000}
BURST = 1024
WARM_UP = 4_000_000
CPYTHON_PAIRS = {"fast": 10 * BURST, "random": 10 * BURST, "bursts": 2 * BURST}

#: Call a procedure of a contender.
Call = Callable[..., int]


def run(call: Call, loop: str, pairs: int) -> int:
    """``pairs`` allocations and as many frees; returns all pages that were seen, xor-ed."""
    if loop == "fast":
        return call("fast", pairs)
    if loop == "random":
        return call("toggle", 2 * pairs)
    return call("bursts", pairs // BURST, BURST)


def warm(call: Call) -> None:
    """Half a million live pages, in no order any more."""
    call("fill")
    call("toggle", WARM_UP)


def built(checks: str) -> Program:
    """The model, its memory online and the live set in place."""
    program = Program(straight_model.ENTRIES, straight_model.STATE, checks=checks)
    program.call("setup")
    warm(program.call)
    return program


class Peer:
    """peer.c with ``gcc -O2``."""

    def __init__(self, high: int, batch: int) -> None:
        with tempfile.TemporaryDirectory() as directory:
            library = Path(directory) / "peer.so"
            source = Path(__file__).with_name("peer.c")
            subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
            self.library = ctypes.CDLL(str(library))
        pages = straight_model.NR_PAGES
        self.library.peer_new.restype = ctypes.c_void_p
        self.library.peer_live.restype = ctypes.POINTER(ctypes.c_int32)
        self.zone = self.library.peer_new(pages, ctypes.c_int64(pages), high, batch)
        warm(self.call)

    def call(self, name: str, *args: int) -> int:
        function = getattr(self.library, f"peer_{name}")
        function.restype = ctypes.c_int64
        return int(function(ctypes.c_void_p(self.zone), *(ctypes.c_int64(arg) for arg in args)))

    def live(self) -> npt.NDArray[np.int32]:
        pointer = self.library.peer_live(ctypes.c_void_p(self.zone))
        return np.ctypeslib.as_array(pointer, (straight_model.NR_PAGES,))


def cpython_call(name: str, *args: int) -> int:
    """A procedure of the model in CPython."""
    return int(getattr(straight_model, name)(*args) or 0)


def shares_drained(program: Program) -> dict[str, float]:
    """Of the pages that a loop frees, the share that the pcplists pass on to the free lists."""
    with attached({mm_page_pcpu_drain: straight_model.count_drain}):
        counting = Program(straight_model.ENTRIES, straight_model.STATE)
    shares = {}
    for loop in PAIRS:
        counting.state[:] = program.state
        pairs = 100 * BURST
        run(counting.call, loop, pairs)
        shares[loop] = int(counting.table(straight_model.loop)["drained"]) / pairs
    return shares


def measure(loop: str, contenders: dict[str, Call], runs: int, pairs: int) -> dict[str, Figure]:
    """The rate of a loop in million pairs a second of processor time; the contenders take turns."""
    pairs = pairs // BURST * BURST
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, call in contenders.items():
            begin = time.thread_time()
            run(call, loop, pairs)
            samples[name].append(pairs / 1e6 / (time.thread_time() - begin))
    return {name: Figure(f"{loop}, {name}", max(found), "M pairs/s", found) for name, found in samples.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--no-cpython", action="store_true", help="leave CPython out, which takes half a minute")
    parser.add_argument("--numba", action="store_true", help="compare with numba too, not only where there is no gcc")
    args = parser.parse_args()
    design_named("6.1").switch_on()
    straight_model.configure(straight_model.NR_PAGES)
    programs = {f'model, checks "{checks}"': built(checks) for checks in ("all", "index")}
    contenders: dict[str, Call] = {name: program.call for name, program in programs.items()}
    first, model = next(iter(programs.items()))
    high, batch = (int(model.table(pcp)[name][0]) for name in ("high", "batch"))
    peer = Peer(high, batch) if shutil.which("gcc") else None
    if peer is not None:
        contenders["C, gcc -O2"] = peer.call
    numba = None
    if peer is None or args.numba:
        from benchmarks.peer_numba import NumbaPeer

        numba = NumbaPeer(straight_model.NR_PAGES, high, batch)
        before = numba.state.copy()
        warm(numba.call)
        for loop in PAIRS:
            run(numba.call, loop, BURST)  # so that numba compiles it now
        numba.state[:] = before
        warm(numba.call)
        contenders["numba"] = numba.call
    shares = shares_drained(model)
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    for loop, pairs in PAIRS.items():
        found = measure(loop, contenders, args.runs, pairs)
        found[first].target = TARGETS.get(loop)
        found[first].note = f"{shares[loop]:.1%} of the pages go on to the free lists"
        figures += found.values()
        for name in programs:
            peers = [other for other in contenders if other not in programs]
            ratios += [speed_up(f"{found[name].name}, over {other}", found[name], found[other]) for other in peers]
    for program in programs.values():
        assert (program.state == model.state).all(), "the two builds chose other pages"
    if peer is not None:
        assert (peer.live() == model.table(straight_model.live)["page"]).all(), "C and the model chose other pages"
        assert peer.call("free_pages") == int(model.table(zone)["free_pages"])
    if numba is not None:
        assert (numba.live() == model.table(straight_model.live)["page"]).all(), "numba and the model chose other pages"
        assert numba.free_pages() == int(model.table(zone)["free_pages"])
    if not args.no_cpython:
        model.to_cpython()
        for loop, pairs in CPYTHON_PAIRS.items():
            ours = next(f for f in figures if f.name == f"{loop}, {first}")
            (theirs,) = measure(loop, {"CPython": cpython_call}, 1, pairs).values()
            run(model.call, loop, pairs // BURST * BURST)
            figures.append(theirs)
            ratios.append(speed_up(f"{ours.name}, over CPython", ours, theirs))
        assert model.differences() == [], "CPython and the model chose other pages"
    about = (
        f"zone of {straight_model.NR_PAGES:,} pages, pcp high {high}, batch {batch}; "
        f"processor time, best of {args.runs} runs" + ("" if peer else "; no gcc here, so no C")
    )
    report("straight", about, figures, ratios, args.json)


if __name__ == "__main__":
    main()
