# SPDX-License-Identifier: GPL-2.0-or-later
"""The search against others': Protocol P has the states and transitions that SPIN counts, and TLC where it can.

The numbers come from SPIN 6.5.2 (``-o1 -o2 -o3``, ``-DNOREDUCE -DSAFETY``, which prints one transition more), the
lengths of shortest schedules from TLC 2.15.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.check.model_file import load_file
from pagelab.check.search import Outcome, Search
from pagelab.errors import BadInput

FILE = Path(__file__).parents[2] / "examples" / "protocol_p.py"


def settings(design: int, size: tuple[int, int, int, int], *options: str) -> list[str]:
    """``--set`` arguments of a configuration; ``size`` is (C, NP, W, K), an option without value is 1."""
    given = [f"{name}={value}" for name, value in zip(("C", "NP", "W", "K"), size, strict=True)]
    return [f"DESIGN={design}", *given, *(o if "=" in o else f"{o}=1" for o in options)]


def explore(given: list[str]) -> Outcome:
    model = load_file(FILE, given)
    system = model.system()
    return Search(system, system.initial(model.setup)).run()


@pytest.mark.parametrize(
    ("design", "size", "options", "states", "transitions"),
    [
        # The rows of the protocol's own table.
        (3, (2, 2, 2, 1), "", 9_822, 26_594),
        (4, (2, 2, 2, 1), "", 6_974, 18_578),
        (2, (2, 4, 2, 2), "", 88_182, 247_549),
        (3, (1, 2, 2, 1), "SYSCTL", 5_310, 12_142),
        (3, (1, 4, 2, 1), "NI=2", 35_379, 89_761),
        # One for each option, and mixtures.
        (2, (2, 2, 2, 1), "CHK TSO", 4_704, 12_965),
        (2, (1, 2, 2, 1), "SYSCTL=2", 7_589, 21_164),
        (2, (1, 4, 2, 1), "OWN=0 NI=2", 139_913, 369_330),
        (2, (2, 4, 2, 2), "ND", 137_105, 386_733),
        (2, (1, 4, 2, 1), "CHK TSO NI=2", 36_250, 104_098),
        (3, (2, 4, 2, 1), "RFC_OUT", 10_071, 27_305),
        (3, (2, 4, 2, 1), "DRAIN_FIRST", 10_225, 27_679),
        (3, (2, 2, 2, 1), "RFC_OUT DRAIN_FIRST", 10_474, 28_390),
        (3, (2, 2, 2, 1), "RFC_OUT SYSCTL", 30_563, 92_925),
        (3, (1, 2, 2, 2), "SYSCTL ND", 36_678, 85_177),
        (3, (2, 4, 2, 2), "TSO", 386_320, 1_421_100),
        (3, (2, 4, 2, 1), "CHK NI=2", 98_835, 282_076),
        (4, (2, 4, 2, 1), "TSO NI=2", 55_708, 183_706),
        (4, (2, 4, 2, 1), "SYSCTL NI=2", 48_476, 129_736),
        (4, (1, 2, 2, 3), "CHK", 15_100, 30_482),
        (3, (1, 4, 3, 1), "SYSCTL", 27_999, 70_566),
        (2, (3, 6, 1, 1), "CHK SYSCTL=2 ND TSO", 2_268, 6_318),
        (3, (3, 6, 1, 1), "OWN=0 RFC_OUT DRAIN_FIRST TSO BATCH=1", 11_805, 38_657),
        (3, (2, 6, 1, 1), "OWN=0 SYSCTL RFC_OUT DRAIN_FIRST TSO HIGH=2 BATCH=1", 10_384, 29_006),
        (3, (2, 2, 1, 2), "OWN=0 SYSCTL TSO HIGH=2", 10_565, 28_455),
        (4, (1, 2, 1, 3), "OWN=0 SYSCTL ND HIGH=1", 7_867, 14_677),
        (4, (2, 4, 1, 1), "OWN=0 NI=2 SYSCTL", 17_584, 36_037),
        (4, (2, 4, 1, 1), "SYSCTL BATCH=3", 1_346, 2_776),
        # Violated: all states, past the violations.
        (1, (2, 2, 2, 1), "CHK ASSERT=0", 2_068, 4_800),
        (1, (2, 4, 2, 2), "ASSERT=0", 73_490, 205_461),
        (3, (1, 4, 2, 1), "RFC_OUT NI=2 ASSERT=0", 57_828, 152_579),
        (1, (2, 4, 1, 1), "NI=2 ND TSO HIGH=4 ASSERT=0", 12_199, 33_881),
        (3, (3, 4, 1, 3), "CHK SYSCTL DRAIN_FIRST TSO ASSERT=0", 10_840, 27_798),
        (4, (3, 2, 1, 2), "CHK SYSCTL=2 ASSERT=0", 32_144, 81_691),
    ],
)
def test_counts_are_those_of_other_checkers(
    design: int, size: tuple[int, int, int, int], options: str, states: int, transitions: int
) -> None:
    outcome = explore(settings(design, size, *options.split()))
    assert (outcome.verdict, outcome.states, outcome.transitions) == ("holds", states, transitions)


@pytest.mark.parametrize(
    ("design", "size", "options", "steps", "violation"),
    [
        (1, (1, 2, 1, 1), "", 21, "escaped its isolation"),
        (1, (2, 2, 2, 1), "", 33, "escaped its isolation"),
        (1, (2, 2, 2, 1), "CHK", 23, "escaped its isolation"),
        (1, (2, 4, 2, 2), "", 33, "escaped its isolation"),
    ],
)
def test_shortest_schedules_are_as_long_as_those_of_tlc(
    design: int, size: tuple[int, int, int, int], options: str, steps: int, violation: str
) -> None:
    outcome = explore(settings(design, size, *options.split()))
    assert outcome.verdict == "violated"
    assert violation in outcome.violation
    assert outcome.schedule is not None
    assert len(outcome.schedule.steps) == steps


@pytest.mark.parametrize(
    ("design", "size", "options", "violation"),
    [
        (3, (1, 2, 1, 1), "CHK TSO", "escaped its isolation"),
        (3, (1, 4, 2, 1), "RFC_OUT NI=2", "escaped its isolation"),
        (3, (1, 4, 2, 1), "DRAIN_FIRST NI=2", "escaped its isolation"),
        (3, (1, 2, 1, 1), "SYSCTL=2", "high_follows_isolation does not hold"),
    ],
)
def test_what_spin_finds_broken_is_found_broken(
    design: int, size: tuple[int, int, int, int], options: str, violation: str
) -> None:
    outcome = explore(settings(design, size, *options.split()))
    assert outcome.verdict == "violated"
    assert violation in outcome.violation


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["DESIGN=5"], "DESIGN is 5: it must be 1, 2, 3 or 4"),
        (["C=0"], "C, W, K and NI are 0, 2, 1 and 1: each must be at least 1"),
        (["C=8"], "C is 8, NP 2 and K 1: a byte holds at most 7 CPUs"),
        (["K=200"], "C is 2, NP 2 and K 200: a byte holds at most 7 CPUs, 127 pages and 127 operations"),
        (["NP=3"], "NP is 3: it must be even, and 2 or more for 1 isolators"),
        (["NI=2"], "NP is 2: it must be even, and 4 or more for 2 isolators"),
        (["W=3"], "OWN is 3: it must be 0 to 2 with 3 workers and 2 pages"),
        (["DESIGN=2", "SYSCTL=1"], "SYSCTL is 1: design 2 has no lock for the sysctl writer; use designs 3 and 4"),
    ],
)
def test_configurations_that_the_protocol_does_not_have(given: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_file(FILE, given)
