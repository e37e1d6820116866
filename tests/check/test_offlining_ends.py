# SPDX-License-Identifier: GPL-2.0-or-later
"""P5 under the designs of the kernel: where offlining ends, what that needs, and why it does not where it does not."""

from __future__ import annotations

import pytest

from pagelab.check import actors, small_zone
from pagelab.check.explore import How
from pagelab.check.kernel_model import kernel_model
from pagelab.check.liveness import check_liveness
from pagelab.check.liveness_verdict import tell_liveness
from pagelab.check.model_file import Model
from pagelab.check.properties import property_named
from pagelab.check.scenario import scenario_named
from pagelab.check.verdicts import Verdict, judge
from pagelab.lang.stepped import Thread
from pagelab.linux.designs import DESIGNS, Design, design_named
from pagelab.linux.state import ON_PCPLIST, mem_map, pcp
from tests.check.churn import churn

P5 = property_named("P5")


def verdict_of(design: str, scenario: str, fairness: str = "fifo-locks") -> Verdict:
    (verdict,) = judge(design, scenario_named(scenario), [P5], How(fairness=fairness)).verdicts
    return verdict


def test_without_a_second_drain_offlining_goes_round_for_ever() -> None:
    """The page went to CPU 1's pcplist after the only drain, and nobody frees or allocates there any more."""
    verdict = verdict_of("5.9-rc5", "offline-free")
    assert (verdict.verdict, verdict.fairness_needed) == ("violated", "")
    assert verdict.said.startswith("offliner goes round in offline_isolated() (memory_hotplug.py:")
    assert verdict.said.endswith("nobody else takes a step")
    told = tell_liveness(kernel_model("5.9-rc5", scenario_named("offline-free")), verdict)
    assert {step.thread for step in told.steps[verdict.repeats_from :]} == {"offliner"}
    state = told.initial.copy()
    for thread, choice in told.schedule.steps:
        told.system.step(state, thread, choice)
    assert told.system.ended(state, 1), "the freer is done"
    assert told.system.rows(mem_map, state)["state"][0] == ON_PCPLIST
    assert told.system.rows(pcp, state)["count"].tolist() == [0, 1]


@pytest.mark.parametrize("design", ["5.9", "rfc", "alt", "5.11", "6.1"])
def test_offlining_ends_if_the_freer_gets_zone_lock_some_time(design: str) -> None:
    verdict = verdict_of(design, "offline-free")
    assert (verdict.verdict, verdict.fairness_needed) == ("holds", "fifo-locks")


def test_under_weak_fairness_the_offliner_itself_keeps_the_freer_from_zone_lock() -> None:
    verdict = verdict_of("5.11", "offline-free", "weak")
    assert (verdict.verdict, verdict.fairness_needed) == ("violated", "fifo-locks")
    assert "freer waits in free_one_page() (pcp.py:" in verdict.said
    assert "for zone.lock: others are faster, again and again" in verdict.said


def test_a_signal_ends_it_anyway() -> None:
    assert verdict_of("5.9-rc5", "offline-signal").verdict == "holds"


def test_a_drain_that_reads_the_count_without_the_lock_misses_a_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 66eca1021a42 fixed in v6.11 and 6.1.104: zone_pcp_disable() left pages on a pcplist."""
    verdict = verdict_of("6.1.0", "offline-interrupt")
    assert (verdict.verdict, verdict.fairness_needed) == ("violated", "")
    fixed = Design("fixed", "6.1.0", frozenset({"drain_count_under_lock"}), "6.1.0 and that fix")
    monkeypatch.setitem(DESIGNS, "fixed", fixed)
    assert verdict_of("fixed", "offline-interrupt").verdict == "holds"


@pytest.mark.parametrize("design", ["5.11", "6.1", "7.2", "contig-fix"])
def test_another_that_undoes_its_failed_isolation_makes_it_go_round(design: str) -> None:
    """The pageblock is not isolated any more, and will not be: the offliner tests its type for ever."""
    verdict = verdict_of(design, "offline-contig-same")
    assert verdict.verdict == ("violated" if design in ("6.1", "7.2") else "holds")
    if verdict.verdict == "violated":
        assert "offliner goes round in offline_isolated()" in verdict.said


@pytest.mark.parametrize("design", ["7.2", "nolock-fix"])
def test_a_page_that_was_freed_without_waiting_stays_where_nobody_drains(design: str) -> None:
    assert verdict_of(design, "offline-free-nolock").verdict == ("violated" if design == "7.2" else "holds")


def test_somebody_who_allocates_for_ever_would_hide_that() -> None:
    """Why P5 assumes no more frees: they empty the pcplist that the only drain missed."""
    design_named("5.9-rc5").switch_on()
    small_zone.configure(pageblocks=2, pageblock_order=1, cpus=2, batch=1, high=2, largest=0)
    threads = [
        Thread("offliner", actors.offliner, (1, 1, 1), cpu=1),
        Thread("churner", churn, (0,), daemon=True, cpu=0),
        *(Thread(f"kworker/{cpu}", actors.kworker, (cpu,), daemon=True, cpu=cpu) for cpu in range(2)),
    ]
    model = Model("test", threads, lambda: small_zone.setup(2), [], 2, exclusive_cpus=True)
    system = model.system()
    outcome = check_liveness(system, system.initial(model.setup), "fifo-locks")
    assert (outcome.verdict, outcome.fairness_needed) == ("holds", "fifo-locks")
