# SPDX-License-Identifier: GPL-2.0-or-later
"""The race of September 2020 is found where it was, and not where it was closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.check.counterexample import Teller, confirm
from pagelab.check.fewest import fewest_preemptions
from pagelab.check.kernel_model import kernel_models
from pagelab.check.search import Search
from pagelab.errors import BadInput
from pagelab.lang.declare import attached
from pagelab.linux.features import features
from pagelab.linux.state import machine


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    kept = [(one, dict(vars(one))) for one in (machine, features)]
    yield
    for one, values in kept:
        vars(one).clear()
        vars(one).update(values)


@pytest.mark.parametrize("design", ["rfc", "5.11", "6.1"])
def test_designs_that_close_the_race(design: str) -> None:
    (model,) = kernel_models(design, ["stray"])
    with attached(model.probes):
        system = model.system()
        outcome = Search(system, system.initial(model.setup)).run()
    assert outcome.verdict == "holds"
    assert outcome.states > 1000


def test_the_race_of_the_mail() -> None:
    (model,) = kernel_models("5.9-rc5", ["stray"])
    with attached(model.probes):
        system = model.system()
        initial = system.initial(model.setup)
        outcome = Search(system, initial).run()
        assert outcome.verdict == "violated"
        schedule = fewest_preemptions(system, initial, outcome.states, 1 << 30)
        assert schedule is not None
        assert confirm(model, system, outcome) is None, "an invariant is violated, nothing is raised"
        steps = Teller(system).tell(initial, schedule)
    assert any("pageblock[0].migratetype = 1" in step.effect for step in steps if step.thread == "freer")
    assert any(step.effect == "pageblock[0].migratetype: 1 → 5" for step in steps if step.thread == "offliner")


def test_properties_are_named() -> None:
    with pytest.raises(BadInput, match="there is no property 'P99'"):
        kernel_models("6.1", ["P99"])
