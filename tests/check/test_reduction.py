# SPDX-License-Identifier: GPL-2.0-or-later
"""The reductions against the search without it: the same verdicts, the same violations, the same final states."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pagelab.check import footprint
from pagelab.check.counterexample import confirm
from pagelab.check.model_file import Model, load_file
from pagelab.check.reduction import Reduction
from pagelab.check.search import Outcome, Search
from pagelab.check.symmetry import LikeThreads, like_threads
from pagelab.lang.graph import Do
from pagelab.lang.stepped import System, Thread
from pagelab.lang.stepped_text import BLOCKED, ENDED, FAULTED, NO_CHOICE
from tests.check import shelf

PROTOCOL = Path(__file__).parents[2] / "examples" / "protocol_p.py"
TABLES = (shelf.counter, shelf.per_cpu)
PROGRAMS = (
    (shelf.add, 2),
    (shelf.add_locked, 2),
    (shelf.add_with_irqs_off, 0),
    (shelf.add_with_irqs_off, 1),
    (shelf.try_it, 0),
    (shelf.try_it, 1),
    (shelf.look, 0),
    (shelf.look, 1),
    (shelf.two_locks, 0),
    (shelf.two_locks, 1),
    (shelf.assert_seen, 3),
    (shelf.take_when, 1),
)
PROPERTIES = (shelf.value_below_three, shelf.nobody_sees_both)


def random_system(seed: int) -> tuple[System, Model]:
    """Two to four threads of the shelf, which share locks, irqs and counters in all ways that it has."""
    chance = random.Random(seed)
    threads = [
        Thread(f"{i}", function, (arg,), cpu=chance.randrange(2))
        for i, (function, arg) in enumerate(chance.choices(PROGRAMS, k=chance.randint(2, 4)))
    ]
    properties = chance.sample(PROPERTIES, chance.randint(0, 2))
    system = System(threads, properties, TABLES, cpus=2, exclusive_cpus=chance.random() < 0.4)
    return system, Model("random", threads, None, list(properties), 2)


def what_it_found(outcome: Outcome, *, counted: bool) -> tuple[object, ...]:
    """All that a reduction must leave as it is; with symmetry, final states are fewer."""
    # Like threads have faults of their own, told by their words.
    violated = {(v.kind, v.words if v.kind == "fault" else v.which) for v in outcome.violations}
    return outcome.verdict, violated, (outcome.finished, outcome.deadlocks) if counted else None


def both(system: System, model: Model) -> tuple[Outcome, Outcome]:
    """The search without and with the reduction, past all violations."""
    initial = system.initial(model.setup)
    reduction = Reduction(system)
    whole = Search(system, initial, go_on=True)
    reduced = Search(system, initial, go_on=True, reduce=reduction)
    outcomes = whole.run(), reduced.run()
    counted = reduction.alike is None
    assert what_it_found(outcomes[0], counted=counted) == what_it_found(outcomes[1], counted=counted)
    if outcomes[0].states < 2_000:
        alike = LikeThreads(system)
        assert final_states(system, whole, alike) == final_states(system, reduced, alike)
    assert outcomes[1].states <= outcomes[0].states
    return outcomes


def final_states(system: System, search: Search, alike: LikeThreads) -> set[bytes]:
    """States in which nobody can take a step, like threads in order."""
    found = set()
    for state in search.stored():
        if stuck(system, state):
            ordered = state.copy()
            alike.in_order(ordered, list(range(len(system.threads))))
            found.add(ordered.tobytes())
    return found


def stuck(system: System, state: npt.NDArray[np.uint8]) -> bool:
    """Whether nobody can take a step."""
    return all(system.step(state.copy(), t) in (BLOCKED, ENDED, NO_CHOICE) for t in range(len(system.threads)))


@pytest.mark.parametrize("seed", range(80))
def test_random_threads(seed: int) -> None:
    system, model = random_system(seed)
    _, reduced = both(system, model)
    for violation in reduced.violations:
        state = system.initial()
        for step in violation.schedule.steps[:-1]:
            assert 1 <= system.step(state, *step) < FAULTED
        if violation.schedule.steps:
            last = system.step(state, *violation.schedule.steps[-1])
            assert (last >= FAULTED) == (violation.kind == "fault")
        if violation.kind == "invariant":
            assert system.good(state, violation.which) == 0


@pytest.mark.parametrize("seed", range(24))
def test_protocol_p(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice(["C=1 NP=2 W=2 K=1", "C=2 NP=2 W=2 K=1", "C=1 NP=4 W=2 K=1"])
    options = [option for option in ("CHK=1", "TSO=1", "ND=1", "RFC_OUT=1", "DRAIN_FIRST=1") if chance.random() < 0.25]
    options += [chance.choice(["NI=1", "NI=2"]) if "NP=4" in size else "NI=1"]
    design = chance.randint(1, 4)
    options += [f"SYSCTL={chance.choice([0, 1, 2] if design > 2 else [0, 2])}", f"DESIGN={design}"]
    options += [f"OWN={chance.randint(0, 2)}"]
    model = load_file(PROTOCOL, [*size.split(), *options])
    both(model.system(), model)


def test_it_saves_most_of_the_states() -> None:
    model = load_file(PROTOCOL, ["DESIGN=3", "C=2", "NP=4", "W=2", "K=2"])
    whole, reduced = both(model.system(), model)
    assert whole.verdict == "holds"
    assert reduced.states * 5 < whole.states


def test_violations_of_the_reduced_search_are_run_in_cpython() -> None:
    model = load_file(PROTOCOL, ["DESIGN=1", "C=2", "NP=2", "W=2", "K=1", "CHK=1"])
    system = model.system()
    outcome = Search(system, system.initial(model.setup), reduce=Reduction(system)).run()
    assert outcome.verdict == "violated"
    assert isinstance(confirm(model, system, outcome), AssertionError)


def test_a_trylock_sees_the_lock_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a trylock counted as waiting, no trylock would ever fail: the mistake that this reduction invites."""
    threads = [Thread("a", shelf.try_it, (0,)), Thread("b", shelf.add_with_irqs_off, (0,))]
    system = System(threads, (), TABLES, cpus=2)
    initial = system.initial()
    whole = Search(system, initial)
    whole.run()
    go = footprint.Explorer._go

    def wrong(self, node, known, held, effect, *rest):  # type: ignore[no-untyped-def]
        for then in go(self, node, known, held, effect, *rest):
            if node.do is not Do.TRYLOCK or not held & self._cells(node, known):
                yield then

    both(system, Model("right", threads, None, [], 2))
    monkeypatch.setattr(footprint.Explorer, "_go", wrong)
    reduced = Search(system, initial, reduce=Reduction(system))
    reduced.run()
    alike = LikeThreads(system)
    assert final_states(system, reduced, alike) < final_states(system, whole, alike)


def test_threads_that_run_the_same_change_places() -> None:
    model = load_file(PROTOCOL, ["DESIGN=3", "C=1", "NP=4", "W=4", "K=1", "OWN=0"])
    system = model.system()
    initial = system.initial(model.setup)
    whole = Search(system, initial).run()
    reduced = Search(system, initial, reduce=Reduction(system, order=False)).run()
    assert (whole.verdict, whole.finished) == (reduced.verdict, reduced.finished) == ("holds", whole.finished)
    assert reduced.states * 12 < whole.states <= reduced.states * 24
    assert "worker" in reduced.reduction


def test_threads_are_alike_even_if_they_begin_with_other_pages() -> None:
    system = load_file(PROTOCOL, ["DESIGN=3", "C=2", "NP=4", "W=4", "K=1"]).system()
    assert like_threads(system) == [[0, 2], [1, 3]]


def test_threads_with_other_arguments_are_not_alike() -> None:
    threads = [Thread("a", shelf.try_it, (0,)), Thread("b", shelf.try_it, (1,)), Thread("c", shelf.try_it, (1,))]
    assert like_threads(System(threads, (), TABLES, cpus=2)) == [[1, 2]]
