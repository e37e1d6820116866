# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules for kernels whose pcplists size themselves: what is given back, by whom, and pages that are freed as one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.lang.declare import table_of
from pagelab.linux.state import IN_FLIGHT, ON_PCPLIST, TAIL, mem_map
from pagelab.replay import tables, tuned_steps
from tests.linux.lab import configured, zone_of


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with zone_of(nr_pages=64), configured(tables.capture, nr_events=2):
        for one in (tables.cpu_replay, tables.left_over):
            table_of(one).reset()
        yield


def events(*pids: int) -> None:
    table_of(tables.event).reset()
    for i, pid in enumerate(pids):
        tables.event[i].pid = pid


def test_single_pages_in_a_row_are_freed_as_one() -> None:
    for page in range(8, 12):
        mem_map[page].state = IN_FLIGHT
    tuned_steps.join_prepared(8, 2)
    assert [mem_map[page].state for page in range(8, 12)] == [IN_FLIGHT, TAIL, TAIL, TAIL]
    assert mem_map[8].compound_order == 2


def test_pages_of_which_one_is_elsewhere_are_not() -> None:
    for page in range(8, 12):
        mem_map[page].state = IN_FLIGHT
    mem_map[10].state = ON_PCPLIST
    tuned_steps.join_prepared(8, 2)
    assert mem_map[8].compound_order == 0
    assert mem_map[9].state == IN_FLIGHT


def test_who_was_come_upon_goes_on_with_what_he_has_still_to_give_back() -> None:
    events(7, 8)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 90
    tables.cpu_replay[0].give_back_from = 4
    tuned_steps.set_aside(1, 0)
    tables.cpu_replay[0].give_back = 5
    assert tuned_steps.goes_on(1, 0)
    tables.cpu_replay[0].give_back = 0
    assert tuned_steps.goes_on(0, 0)
    assert (tables.cpu_replay[0].give_back, tables.cpu_replay[0].give_back_from) == (90, 4)


def test_who_begins_anew_had_given_up() -> None:
    events(7, 8)
    tuned_steps.set_aside(0, 0)
    tables.cpu_replay[0].give_back = 90
    tuned_steps.set_aside(1, 0)
    tuned_steps.set_aside(0, 0)
    assert not tuned_steps.goes_on(0, 0)


def test_a_task_that_drains_may_go_on_elsewhere() -> None:
    events(7, 8)
    tables.cpu_replay[0].draining = 1
    tables.cpu_replay[0].draining_pid = 7
    tuned_steps.drainer_moved(1, 1)
    assert tables.cpu_replay[1].draining == -1
    tuned_steps.drainer_moved(0, 1)
    assert (tables.cpu_replay[0].draining, tables.cpu_replay[1].draining) == (-1, 1)
