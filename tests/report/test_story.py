# SPDX-License-Identifier: GPL-2.0-or-later
"""Stories are found in the steps: what was stale, who overtook it, what was decided too early, what broke it."""

from __future__ import annotations

import pytest

from pagelab.check.counterexample import Told
from pagelab.lang.stepped import Thread
from pagelab.report.case import Case
from pagelab.report.points import Point
from tests.report import models
from tests.report.conftest import kernel_case, tiny_case


def told_by(case: Case, role: str) -> list[Point]:
    return [point for point in case.story.points if point.role == role]


def test_the_race_is_told_as_the_mail_tells_it(race: tuple[Told, Case]) -> None:
    case = race[1]
    (stale,), (over,) = told_by(case, "stale"), told_by(case, "overtakes")
    (early,), (breaks,) = told_by(case, "early"), told_by(case, "breaks")
    (promise,) = told_by(case, "promise")
    assert stale.step < over.step < early.step < promise.step < breaks.step
    assert case.story.text == (
        f"CPU 1 read pageblock[0].migratetype = MIGRATE_MOVABLE ({stale.step}), then CPU 0 isolated pageblock 0 "
        f"({over.step}) and skipped CPU 1 in the drain as pcp[1].count read 0 ({early.step}), then CPU 1 put page 0 on "
        f"its pcplist ({breaks.step}): page 0 is stray: on a pcplist of CPU 1, in an isolated pageblock."
    )
    assert (stale.about, over.about) == (over.step, stale.step)


def test_the_freer_is_held_up_right_after_its_stale_read(race: tuple[Told, Case]) -> None:
    case = race[1]
    (stale,) = told_by(case, "stale")
    after = case.trail.steps[stale.step]
    assert after.switch
    assert after.wait == "", "it could have gone on"
    assert not any(case.trail.system.layout.bytes + 1 == c.cell.byte for c in case.trail.steps[stale.step - 1].changes)


def test_a_page_on_the_pcplists_of_a_cpu_that_goes_offline() -> None:
    text = kernel_case("5.11", "contig-cpu-down", "stray")[1].story.text
    assert text.startswith("hotplug took CPU 1 offline (")
    assert "then contig left CPU 1 alone as it was offline (" in text
    assert text.endswith("in an isolated pageblock.")


def test_offlining_that_never_ends_has_the_same_story(endless: tuple[Told, Case]) -> None:
    told, case = endless
    assert case.trail.kind == "lasso"
    assert "skipped CPU 1 in the drain as pcp[1].count read 0" in case.story.text
    assert case.story.text.endswith(f": from step {told.repeats_from + 1} on CPU 0 goes round in offline_isolated().")


def test_a_lost_update() -> None:
    threads = [Thread("one", models.add_and_say_so), Thread("two", models.add_and_note)]
    case = tiny_case(threads, [models.nothing_is_lost])[1]
    (stale,) = told_by(case, "stale")
    over = case.trail.steps[stale.about - 1]
    assert stale.words == "read shared.value = 0"
    assert over.thread != stale.thread
    assert case.story.text.endswith(": nothing_is_lost() does not hold.")


def test_that_it_was_time_to_look_is_not_worth_telling() -> None:
    case = tiny_case([Thread("counter", models.miscount, cpu=0)], [models.sums_are_equal], 1)[1]
    assert case.trail.steps[-1].changes[0].cell.kind == "lock"
    assert [point.words for point in told_by(case, "breaks")] == ["set shared.value to 1", "set shared.other to 2"]


def test_a_deadlock_names_who_has_what() -> None:
    threads = [Thread("one", models.first_then_second), Thread("two", models.second_then_first)]
    case = tiny_case(threads)[1]
    assert case.trail.kind == "deadlock"
    assert "one waits for shared.second, which two has (" in case.story.text
    assert "two waits for shared.first, which one has (" in case.story.text
    assert {point.role for point in case.story.points} == {"holds"}


def test_a_thread_that_waits_for_what_nobody_does() -> None:
    case = tiny_case([Thread("waiter", models.wait_for_value, cpu=0)], cpus=1)[1]
    assert case.story.text == "CPU 0 waits until shared.value == 1."


def test_a_failed_assertion() -> None:
    case = tiny_case([Thread("setter", models.set_value), Thread("looker", models.see_no_value)], cpus=1)[1]
    assert case.trail.kind == "fault"
    (breaks,), (fails,) = told_by(case, "breaks"), told_by(case, "fails")
    assert (breaks.words, fails.words) == ("set shared.value to 1", "failed: it was seen")


@pytest.mark.parametrize("memory", ["sc", "tso"])
def test_stores_that_wait_in_store_buffers(memory: str) -> None:
    threads = [
        Thread("left", models.store_left_read_right, cpu=0),
        Thread("right", models.store_right_read_left, cpu=1),
    ]
    if memory == "sc":
        with pytest.raises(AssertionError):  # there is no counterexample
            tiny_case(threads, [models.one_saw_the_other], 2, memory)
        return
    case = tiny_case(threads, [models.one_saw_the_other], 2, memory)[1]
    assert "in its store buffer only" in case.story.text
    assert "to memory" in case.story.text
    reads = [step for step in case.trail.steps if step.reads]
    assert [read.value for step in reads for read in step.reads] == [0, 0]


def test_only_what_could_have_ended_otherwise_is_told(race: tuple[Told, Case]) -> None:
    case = race[1]
    told = {point.step for point in case.story.points}
    reads = {step.number for step in case.trail.steps if step.reads}
    assert len(told) == 5, "of many steps few matter"
    assert len(reads) > 20
