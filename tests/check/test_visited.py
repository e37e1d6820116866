# SPDX-License-Identifier: GPL-2.0-or-later
"""Visited sets that keep less than whole states: the same result where there is room, and honest odds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pagelab.check.counterexample import confirm
from pagelab.check.model_file import Model, load_file
from pagelab.check.search import Search
from pagelab.check.visited import BITSTATE, COMPRESSED, FULL, VISITED, expected_left_out
from pagelab.lang.stepped import System

FILE = Path(__file__).parents[2] / "examples" / "protocol_p.py"


def protocol(*settings: str) -> tuple[Model, System]:
    model = load_file(FILE, ["C=2", "NP=4", "W=2", "K=2", *settings])
    return model, model.system()


@pytest.mark.parametrize("name", VISITED)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_states(name: str, workers: int) -> None:
    model, system = protocol("DESIGN=2")
    outcome = Search(system, system.initial(model.setup), visited=VISITED[name], workers=workers).run()
    assert (outcome.states, outcome.transitions, outcome.verdict) == (88_182, 247_549, "holds")
    assert (outcome.odds == "") == (name == "full")


def test_states_that_were_expanded_take_no_memory() -> None:
    model, system = protocol("DESIGN=3")
    initial = system.initial(model.setup)
    full, compressed = (Search(system, initial, visited=v).run() for v in (FULL, COMPRESSED))
    assert full.states == compressed.states
    assert compressed.memory_bytes * 2 < full.memory_bytes


@pytest.mark.parametrize("visited", [COMPRESSED, BITSTATE])
def test_violations_are_found_and_run_in_cpython(visited: object) -> None:
    model, system = protocol("DESIGN=1", "CHK=1")
    outcome = Search(system, system.initial(model.setup), visited=visited).run()  # type: ignore[arg-type]
    assert outcome.verdict == "violated"
    assert isinstance(confirm(model, system, outcome), AssertionError)


def test_too_few_bits_leave_states_out_and_say_so() -> None:
    model, system = protocol("DESIGN=3")
    initial = system.initial(model.setup)
    whole = Search(system, initial).run().states
    outcome = Search(system, initial, visited=BITSTATE, max_memory=1 << 20).run()
    assert outcome.states < whole
    left_out = float(outcome.odds.split("about ")[1].split()[0])
    assert left_out > 10, "of those that were seen; what follows from them was not"


def test_the_expected_number_left_out_is_what_chance_gives() -> None:
    chance = np.random.default_rng(1)
    bits, states = 1 << 16, 20_000
    table = np.zeros(bits, np.bool_)
    left_out = 0
    for positions in chance.integers(0, bits, (states, 3)):
        left_out += bool(table[positions].all())
        table[positions] = True
    assert expected_left_out(states, bits) == pytest.approx(left_out, rel=0.1)
