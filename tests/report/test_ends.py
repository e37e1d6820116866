# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a last state is what is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pagelab.check.counterexample import Told
from pagelab.linux.migratetype import MIGRATE_ISOLATE
from pagelab.linux.state import ALLOCATED, mem_map, pageblock, pcp, zone
from pagelab.report.case import Case
from pagelab.report.linux_ends import ENDS, View


def bend(told: Told, table: object, field: str, value: int, *index: int) -> Any:
    """The initial state with another value in it: page 0 is in use, page 1 and the pages 2 and 3 are free."""
    state = told.initial.copy()
    told.system.rows(table, state)[index][field] = value
    return state


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("P1", (mem_map, "state", ALLOCATED, 1), "page 1 is on a free list, and its state says otherwise"),
        ("P2", (zone, "free_pages", 7), "NR_FREE_PAGES is 7, and the lists hold 3"),
        ("P3", (pcp, "count", 2, 1), "pcp[1].count is 2, and its lists hold 0"),
        ("P7", (pageblock, "migratetype", MIGRATE_ISOLATE, 1), "nr_isolate_pageblock is 0, and 1 of the pageblocks"),
        ("P9", (pcp, "high", 0, 0), "pcp[0] has high 0 and batch 1, and the zone's are 2 and 1"),
    ],
)
def test_the_numbers_that_do_not_fit(race: tuple[Told, Case], name: str, change: tuple[Any, ...], says: str) -> None:
    told = race[0]
    table, field, value, *index = change
    end: Callable[[View], str] = ENDS[name]
    assert says in end(View(told.system, bend(told, table, field, value, *index)))


def test_stray_pages_are_named(race: tuple[Told, Case]) -> None:
    trail = race[1].trail
    assert "page 0 is stray" in ENDS["stray"](View(trail.system, trail.states[-1]))
    assert ENDS["stray"](View(trail.system, trail.states[0])) == ""


def test_a_list_that_comes_back_to_itself_has_an_end(race: tuple[Told, Case]) -> None:
    told = race[0]
    view = View(told.system, bend(told, mem_map, "next", 1, 1))
    assert list(view.chain(1)) == [1]
