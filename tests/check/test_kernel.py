# SPDX-License-Identifier: GPL-2.0-or-later
"""The designs of the kernel, searched: which of them keep which promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from pagelab.check import actors, ghost, small_zone
from pagelab.check.counterexample import confirm
from pagelab.check.model_file import Model
from pagelab.check.properties import PROPERTIES
from pagelab.check.search import Outcome, Search
from pagelab.lang.declare import attached
from pagelab.lang.stepped import System, Thread
from pagelab.linux.designs import DESIGNS
from pagelab.linux.features import FEATURES, features
from pagelab.linux.state import Machine, machine

ZONE = {"pageblocks": 2, "pageblock_order": 1, "cpus": 2, "batch": 1, "high": 2, "largest": 0}
WORKERS = [Thread(f"kworker{cpu}", actors.kworker, (cpu,), daemon=True, cpu=cpu) for cpu in range(2)]
OFFLINER = Thread("offliner", actors.offliner, (1, 1, 1), cpu=1)
FREER = Thread("freer", actors.freer, (0, 2), cpu=0)


@contextmanager
def the_machine_as_it_was() -> Iterator[None]:
    constants = {name: getattr(machine, name) for name in Machine.__annotations__}
    before = {feature.name: getattr(features, feature.name) for feature in FEATURES}
    try:
        yield
    finally:
        machine.configure(**constants)
        features.configure(**before)


def search(
    design: str,
    threads: list[Thread],
    names: Iterable[str] = (),
    allocated: Iterable[int] = (2,),
    offline: Iterable[int] = (),
    on_pcplists: Mapping[int, Iterable[int]] | None = None,
    **zone: int,
) -> Outcome:
    """Search a scenario for violations of all properties, or of those named; violations are run in CPython too."""
    with the_machine_as_it_was(), attached(ghost.PROBES):
        DESIGNS[design].switch_on()
        sizes = ZONE | zone
        small_zone.configure(**sizes)
        holds = [one.holds for one in PROPERTIES if not names or one.name in names]
        chosen = tuple(allocated)

        def setup() -> None:
            small_zone.setup(sizes["pageblocks"], chosen, offline, on_pcplists)

        model = Model("test", [*threads, *WORKERS], setup, holds, 2)
        system = System(model.threads, model.invariants, [ghost.ghost, ghost.block_ghost], cpus=2)
        outcome = Search(system, system.initial(setup), max_memory=1 << 30).run()
        if outcome.schedule is not None:
            confirm(model, system, outcome)
        return outcome


@pytest.mark.parametrize("design", DESIGNS)
def test_one_offliner_and_one_freer(design: str) -> None:
    outcome = search(design, [OFFLINER, FREER])
    if design in ("5.9-rc5", "5.9", "5.10"):
        assert outcome.violation == "no_stray_pages does not hold"
        assert outcome.depth < 70
    else:
        assert outcome.verdict == "holds"
        assert outcome.finished


@pytest.mark.parametrize("design", ["5.9-rc5", "5.9", "5.10"])
def test_that_race_is_the_only_thing_that_goes_wrong(design: str) -> None:
    others = [one.name for one in PROPERTIES if one.name != "stray"]
    assert search(design, [OFFLINER, FREER], others).verdict == "holds"


@pytest.mark.parametrize("design", ["5.9", "rfc", "alt", "5.11", "6.1"])
def test_a_list_of_pages(design: str) -> None:
    outcome = search(design, [OFFLINER, Thread("freer", actors.list_freer, (0, 2, 2), cpu=0)], allocated=(2, 3))
    assert outcome.verdict == ("violated" if design == "5.9" else "holds")


@pytest.mark.parametrize("design", ["5.10", "rfc", "alt", "5.11", "6.1"])
def test_an_allocator_takes_and_returns_pages(design: str) -> None:
    outcome = search(design, [OFFLINER, Thread("allocator", actors.allocator, (0, 1), cpu=0)], allocated=())
    assert outcome.verdict == ("violated" if design == "5.10" else "holds")


@pytest.mark.parametrize("design", ["5.9-rc5", "rfc-v1", "rfc", "alt", "5.11", "6.1"])
def test_a_range_by_its_place_is_promised_nothing_since_5_11(design: str) -> None:
    outcome = search(design, [Thread("contig", actors.contig, (1, 2, 2), cpu=1), FREER])
    assert outcome.verdict == ("violated" if design in ("5.9-rc5", "5.11", "6.1") else "holds")
    if outcome.verdict == "violated":
        assert outcome.violation == "no_stray_pages does not hold"


def test_two_that_isolate_undo_each_others_disabling_in_the_proposal() -> None:
    """The first is done: no pageblock is isolated any more.  Before it has stored the old high, the second isolates and
    stores 0; then the first goes on.  Both hold pcp_batch_high_lock, for reading."""
    threads = [OFFLINER, Thread("contig", actors.contig, (0, 4, 4), cpu=0)]
    outcome = search("rfc", threads, ["P6"], (), pageblocks=4)
    assert outcome.violation == "disabled_pcplists_are_empty does not hold"
    assert search("5.11", threads, (), (), pageblocks=4).verdict == "holds"


@pytest.mark.parametrize("design", ["5.10", "5.11", "6.1"])
def test_a_failing_isolation_gives_back_what_others_isolated_since_5_19(design: str) -> None:
    """alloc_contig_range() undoes the isolation of its range even if another had isolated it."""
    threads = [OFFLINER, Thread("contig", actors.contig, (0, 2, 2), cpu=0)]
    outcome = search(design, threads, ["P4"], ())
    assert outcome.verdict == ("violated" if design == "6.1" else "holds")


@pytest.mark.parametrize("design", ["rfc-v1", "rfc", "alt", "5.11", "6.1"])
@pytest.mark.parametrize(
    "other", [Thread("sysctl", actors.sysctl_writer, (0, 2), cpu=0), Thread("signal", actors.signal, (0, 1), cpu=0)]
)
def test_somebody_else_while_memory_goes_offline(design: str, other: Thread) -> None:
    assert search(design, [OFFLINER, FREER, other]).verdict == "holds"


@pytest.mark.parametrize("design", DESIGNS)
def test_memory_comes_online_while_pages_are_freed(design: str) -> None:
    threads = [Thread("onliner", actors.onliner, (1, 1, 1), cpu=1), Thread("freer", actors.freer, (0, 1), cpu=0)]
    assert search(design, threads, allocated=(1,), offline=(1,)).verdict == "holds"


@pytest.mark.parametrize("design", ["alt", "5.11", "6.1"])
def test_pages_of_a_cpu_that_goes_away(design: str) -> None:
    """Its pages are on pcplists that no drain visits, until the last of it is gone."""
    threads = [
        Thread("contig", actors.contig, (0, 2, 2), cpu=0),
        Thread("cpu_down", actors.cpu_down, (0, 1), cpu=0),
    ]
    outcome = search(design, threads, allocated=(), on_pcplists={1: (3,)})
    assert outcome.violation == "no_stray_pages does not hold"
