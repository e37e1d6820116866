# SPDX-License-Identifier: GPL-2.0-or-later
"""The designs of the kernel, searched: which of them keep which promise.

These verdicts are results: where one changes, the model changed, and docs/explanation/verdicts.md may have to.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.check.explore import How
from pagelab.check.kernel_model import kernel_model
from pagelab.check.properties import PROPERTIES, property_named
from pagelab.check.scenario import parse_scenario, scenario_named
from pagelab.check.search import Search
from pagelab.check.verdicts import counterexample, judge
from pagelab.lang.declare import attached
from pagelab.linux.designs import DESIGNS
from pagelab.linux.features import FEATURES, features
from pagelab.linux.state import Machine, machine

OF_STATES = [one for one in PROPERTIES if one.kind != "liveness"]
ONE_CORE = How(workers=1)
#: Designs without anything that keeps a page off a pcplist while memory goes offline.
RACY = ("5.9-rc5", "5.9", "5.10")


@pytest.fixture(autouse=True)
def the_machine_as_it_was() -> Iterator[None]:
    constants = {name: getattr(machine, name) for name in Machine.__annotations__}
    before = {feature.name: getattr(features, feature.name) for feature in FEATURES}
    yield
    machine.configure(**constants)
    features.configure(**before)


def violated(design: str, scenario: str) -> set[str]:
    """What is violated; all states were explored."""
    judgement = judge(design, scenario_named(scenario), OF_STATES, ONE_CORE)
    assert judgement.outcome.complete
    assert judgement.outcome.finished, "some run ends"
    return {verdict.property for verdict in judgement.verdicts if verdict.verdict == "violated"}


@pytest.mark.parametrize("design", DESIGNS)
def test_one_offliner_and_one_freer(design: str) -> None:
    assert violated(design, "offline-free") == ({"stray"} if design in RACY else set())


@pytest.mark.parametrize("design", ["5.9", "rfc", "alt", "5.11", "6.1"])
def test_a_list_of_pages(design: str) -> None:
    assert violated(design, "offline-free-list") == ({"stray"} if design in RACY else set())


@pytest.mark.parametrize(
    ("design", "scenario"),
    [
        ("rfc", "offline-sysctl"),
        ("alt", "offline-sysctl"),
        ("6.1", "offline-sysctl"),
        ("rfc", "offline-signal"),
        ("5.11", "offline-signal"),
        ("rfc", "offline-cpu-down"),
        ("6.1", "offline-cpu-down"),
        ("rfc", "offline-last-pageblock"),
        ("6.1", "offline-last-pageblock"),
    ],
)
def test_somebody_else_while_memory_goes_offline(design: str, scenario: str) -> None:
    assert violated(design, scenario) == set()


@pytest.mark.parametrize("design", ["6.1.0", "6.1"])
def test_a_drain_that_trusts_a_count_it_reads_without_the_lock_misses_a_refill(design: str) -> None:
    assert violated(design, "offline-allocate") == ({"P6", "stray"} if design == "6.1.0" else set())


@pytest.mark.parametrize("design", ["5.9-rc5", "rfc-v1", "rfc", "alt", "5.11", "6.1", "6.12", "7.2"])
def test_a_range_by_its_place_is_promised_nothing_since_5_11(design: str) -> None:
    assert violated(design, "contig-free") == (set() if design in ("rfc-v1", "rfc", "alt") else {"stray"})


@pytest.mark.parametrize("design", ["7.2", "nolock-fix"])
def test_a_free_that_does_not_wait_gets_to_disabled_pcplists_and_stays_there(design: str) -> None:
    """free_pages_nolock() returns before it looks whether the pcplist is full; nobody drains it again."""
    assert violated(design, "offline-free-nolock") == ({"P6", "stray"} if design == "7.2" else set())


@pytest.mark.parametrize("design", ["5.10", "rfc", "alt", "6.1"])
def test_pages_of_a_cpu_that_goes_away(design: str) -> None:
    """They are on pcplists that no drain visits, until the last of the CPU is gone."""
    assert violated(design, "contig-cpu-down") == ({"stray", "P6"} if design == "rfc" else {"stray"})


@pytest.mark.parametrize("design", ["5.10", "5.11", "6.1", "6.12", "7.2", "contig-fix"])
def test_a_failing_isolation_gives_back_what_others_isolated_since_5_19(design: str) -> None:
    """alloc_contig_range() undoes the isolation of its range even if another had isolated it."""
    wrong = {"P2", "P4", "P7"}
    expected = {"5.10": {"stray"}, "6.1": wrong, "6.12": wrong, "7.2": wrong}
    assert violated(design, "offline-contig-same") == expected.get(design, set())


@pytest.mark.parametrize("design", ["5.9-rc5", "alt", "6.1"])
def test_a_range_that_cuts_through_free_pages_may_be_part_of_larger_ones_when_it_passes(design: str) -> None:
    """Free pages merge across the ends of a range that is tested; all that counts is which list they are on."""
    assert violated(design, "contig-splits") == (set() if design == "alt" else {"stray"})


@pytest.mark.parametrize("design", ["5.9", "5.10", "rfc", "6.1"])
def test_memory_comes_online_while_pages_are_freed(design: str) -> None:
    assert violated(design, "online-free") == set()


def finds(design: str, scenario: str, name: str) -> str:
    """The first violation of one property, with the fewest steps."""
    model = kernel_model(design, scenario_named(scenario), [property_named(name)])
    with attached(model.probes):
        system = model.system()
        return Search(system, system.initial(model.setup)).run().violation


def test_in_the_proposal_the_second_to_isolate_does_not_wait_for_the_drain_of_the_first() -> None:
    assert finds("rfc", "contig-neighbours", "P6") == "disabled_pcplists_are_empty does not hold"


def test_the_last_in_the_proposal_enables_what_the_next_has_disabled() -> None:
    """The first is done: no pageblock is isolated any more.  Before it has stored the old high, the second isolates and
    stores 0; then the first goes on.  Both hold pcp_batch_high_lock, for reading."""
    text = """
        name = "mine"
        about = "without a page that is in use at the start"
        cpus = 2
        zone = { pageblocks = 2, pageblock_order = 1, batch = 1, high = 2 }
        [[thread]]
        name = "offliner"
        cpu = 1
        run = "offline_pages"
        pageblock = 1
        [[thread]]
        name = "contig"
        cpu = 0
        run = "alloc_contig_range"
        page = 0
        count = 2
    """
    scenario = parse_scenario("\n".join(line.strip() for line in text.splitlines()), "mine.toml")
    one = property_named("P6")
    judgement = judge("rfc", scenario, [one], ONE_CORE)
    assert judgement.worst == "violated"
    steps = counterexample(judgement, scenario, one, ONE_CORE).steps
    stores = [(step.thread, step.effect) for step in steps if step.effect.startswith("pcp[0].high: ")]
    assert ("contig", "pcp[0].high: 0 → 2") in stores
    assert judge("5.11", scenario, OF_STATES, ONE_CORE).worst == "holds"


def test_memory_goes_offline_while_it_is_in_use_since_5_19() -> None:
    assert finds("6.1", "offline-contig-allocate", "bug").startswith("BUG: memory goes offline that is not free")
