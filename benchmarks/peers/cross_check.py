# SPDX-License-Identifier: GPL-2.0-or-later
"""Random configurations of Protocol P: pagelab must find what SPIN finds.

Unreduced, the same number of states and transitions; where something is violated, the same verdict, and the same
numbers once nothing is asserted any more.  With reductions, the same verdict.  What pagelab cannot explore within
``--most-states`` is drawn again.  Exit status 1 if anything differs.

    cross_check.py [--seed N] [--count N] [--most-states N] [DESIGN,C,NP,W,K[,NAME=VALUE...]]...

Needs the Debian packages spin and gcc.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.checkers import EXAMPLE, SIZES, Configuration, spin
from pagelab.check.explore import How, explore
from pagelab.check.model_file import load_file
from pagelab.check.search import Outcome

#: Option -> its values besides the default, and how often it is drawn.
OPTIONS = {
    "NI": ((2,), 0.3),
    "CHK": ((1,), 0.3),
    "SYSCTL": ((1, 2), 0.4),
    "ND": ((1,), 0.3),
    "RFC_OUT": ((1,), 0.2),
    "DRAIN_FIRST": ((1,), 0.2),
    "TSO": ((1,), 0.3),
    "HIGH": ((1, 2, 4), 0.1),
    "BATCH": ((1, 3), 0.1),
}


def draw(chance: random.Random) -> Configuration:
    """Any configuration that the protocol has."""
    while True:
        values = {"DESIGN": chance.choice((1, 2, 3, 3, 3, 4, 4))}
        values.update({"C": chance.randint(1, 3), "NP": chance.choice((2, 4, 6))})
        values.update({"W": chance.randint(1, 3), "K": chance.randint(1, 3)})
        owners = chance.randint(0, values["W"])
        if owners != values["W"] or chance.random() < 0.1:
            values["OWN"] = owners
        for name, (choices, share) in OPTIONS.items():
            if chance.random() < share:
                values[name] = chance.choice(choices)
        enough = values["NP"] >= max(owners, 2 * values.get("NI", 1))
        if enough and (values.get("SYSCTL") != 1 or values["DESIGN"] >= 3):
            return Configuration(values)


def pagelab(one: Configuration, how: How, *, asserting: bool = True) -> Outcome:
    """Explore it in this process."""
    model = load_file(EXAMPLE, one.settings + ([] if asserting else ["ASSERT=0"]))
    system = model.system()
    return explore(system, system.initial_bytes(model.setup), how)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``verdict`` is that of pagelab; the counts are pagelab's of all states, also past a violation."""

    verdict: str
    states: int
    transitions: int
    differences: tuple[str, ...]


def compare(one: Configuration, most: int, workers: int) -> Comparison | None:
    """Let both explore it; None if it has too many states."""
    every = How(unreduced=True, max_states=most, workers=workers)
    ours = counted = pagelab(one, every)
    if ours.verdict == "violated":
        counted = pagelab(one, every, asserting=False)
    if counted.verdict == "inconclusive":
        return None
    verdicts = {"pagelab": ours.verdict, "pagelab with reductions": pagelab(one, How(workers=workers)).verdict}
    theirs = spin(one, reduced=False, optimise="-O0")  # most of the time is gcc's
    verdicts["SPIN"] = theirs.verdict
    if ours.verdict == "violated":
        theirs = spin(one, reduced=False, asserting=False, optimise="-O0")
        verdicts |= {"pagelab, nothing asserted": counted.verdict, "SPIN, nothing asserted": theirs.verdict}
    expected = {who: "holds" if "asserted" in who else ours.verdict for who in verdicts}
    found = [f"{who}: {verdict}" for who, verdict in verdicts.items() if verdict != expected[who]]
    # SPIN counts one transition more: the initial step.
    if (counted.states, counted.transitions + 1) != (theirs.states, theirs.transitions):
        found.append(f"SPIN counts {theirs.states:,} states, {theirs.transitions - 1:,} transitions")
    return Comparison(ours.verdict, counted.states, counted.transitions, tuple(found))


def wanted(args: argparse.Namespace) -> Iterator[Configuration]:
    """Those that were named, or random ones without end."""
    if args.configurations:
        yield from map(Configuration.parse, args.configurations)
        return
    chance = random.Random(args.seed)
    seen = set()
    for _ in count():
        one = draw(chance)
        if str(one) not in seen:
            seen.add(str(one))
            yield one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", metavar="DESIGN,C,NP,W,K[,NAME=VALUE]")
    parser.add_argument("--seed", type=int, default=1, help="of the configurations that are drawn")
    parser.add_argument("--count", type=int, default=20, help="configurations to compare")
    parser.add_argument("--most-states", type=int, default=300_000, help="draw another one if there are more")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no other one after that time")
    parser.add_argument("--workers", type=int, default=1, help="cores that pagelab uses")
    args = parser.parse_args()
    begin, agreed = time.monotonic(), 0
    differing: list[str] = []
    for one in wanted(args):
        if agreed + len(differing) >= args.count or time.monotonic() - begin > args.seconds:
            break
        result = compare(one, args.most_states, args.workers)
        if result is None:
            continue
        counts = f"{result.verdict}, {result.states:,} states, {result.transitions:,} transitions"
        print(
            f"{'DIFFERS' if result.differences else 'agrees '} {one}: {counts}",
            *result.differences,
            sep="; ",
            flush=True,
        )
        if result.differences:
            differing.append(
                ",".join(f"{value}" if name in SIZES else f"{name}={value}" for name, value in one.values.items())
            )
        else:
            agreed += 1
    print(f"{agreed} configurations agree, {len(differing)} differ {' '.join(differing)}".rstrip())
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
