# SPDX-License-Identifier: GPL-2.0-or-later
"""The diagram fits its width, shows every step, and needs no colour."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from pagelab.check.counterexample import Told
from pagelab.lang.stepped import Thread
from pagelab.report.case import Case
from pagelab.report.diagram import LEAST, Diagram
from pagelab.report.rows import bars, rows
from tests.report import models
from tests.report.conftest import tiny_case


def drawn(case: Case, width: int = 0, **console: object) -> str:
    file = io.StringIO()
    Console(file=file, highlight=False, **console).print(  # type: ignore[arg-type]
        Diagram(case.trail, case.story, case.words, width), soft_wrap=True
    )
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 160, 240])
def test_lines_are_not_wider_than_asked(race: tuple[Told, Case], width: int) -> None:
    lines = drawn(race[1], width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert max(len(line) for line in lines) > width - 20, "and the width is used"


def test_each_step_has_its_row_in_the_order_of_time(race: tuple[Told, Case]) -> None:
    case = race[1]
    numbers = [
        number
        for first, last in re.findall(r"^ *(\d+)(?:-(\d+))? ", drawn(case, 160), re.MULTILINE)
        for number in range(int(first), int(last or first) + 1)
    ]
    assert numbers == list(range(1, len(case.trail.steps) + 1))


def test_each_step_stands_in_the_lane_of_its_thread(race: tuple[Told, Case]) -> None:
    lines = drawn(race[1], 160).splitlines()
    middle = lines[0].index("CPU 1 · freer")
    (isolates,) = (line for line in lines if "pageblock[0].migratetype: MIGRATE_MOVABLE → MIGRATE_ISOLATE" in line)
    (puts,) = (line for line in lines if "mem_map[0].state: IN_FLIGHT → ON_PCPLIST" in line)
    assert isolates.index("pageblock[0]") < middle < puts.index("mem_map[0]")


def test_nothing_but_text_goes_into_a_pipe(race: tuple[Told, Case]) -> None:
    text = drawn(race[1])
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) > 80, "a pipe is no terminal of 80 columns"
    for words in ("●", "stale from step", "overtakes step", "too early: it changes in step", "this breaks it", "═══"):
        assert words in text


def test_no_colour_where_none_is_wanted(race: tuple[Told, Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\d", drawn(race[1], 100, force_terminal=True))
    monkeypatch.delenv("NO_COLOR")
    assert re.search(r"\x1b\[[\d;]*3\d", drawn(race[1], 100, force_terminal=True, color_system="truecolor"))


def test_a_terminal_of_another_encoding_gets_signs_that_it_has(race: tuple[Told, Case]) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="latin-1")
    case = race[1]
    Console(file=file, highlight=False).print(Diagram(case.trail, case.story, case.words, 100), soft_wrap=True)
    file.flush()
    text = raw.getvalue().decode("latin-1")
    assert "pcp_list[1, MOVABLE].head: NIL > 0" in text
    assert "===" in text


def test_bars_last_as_long_as_locks_are_held(race: tuple[Told, Case]) -> None:
    case = race[1]
    for bar in bars(case.trail, case.words):
        cell = case.trail.cells[bar.byte]
        end = bar.end or len(case.trail.states)
        for k, state in enumerate(case.trail.states):
            within = bar.begin <= k < end
            others = [b for b in bars(case.trail, case.words) if b.byte == bar.byte and b is not bar]
            if within or not any(b.begin <= k < (b.end or len(case.trail.states)) for b in others):
                assert bool(state[cell.byte]) is within
    assert {bar.irqs for bar in bars(case.trail, case.words)} == {True, False}


def test_steps_of_a_line_share_a_row_unless_they_matter(race: tuple[Told, Case]) -> None:
    case = race[1]
    some = rows(case.trail, case.story, case.words)
    assert any(len(row.steps) > 1 for row in some)
    assert all(len(row.steps) == 1 for row in some if row.points)
    assert sum(row.preempted for row in some) == 2


def test_many_threads_get_narrow_lanes_and_text_beside_them() -> None:
    threads = [Thread(f"adder {n}", models.add) for n in range(3)]
    threads.append(Thread("setter", models.set_value))
    threads.append(Thread("looker", models.see_no_value))
    case = tiny_case(threads, cpus=1)[1]
    narrow = Diagram(case.trail, case.story, case.words, 60)
    narrow.lay_out(len(case.trail.taking_part()) * (LEAST - 5))
    assert narrow.beside > 0
    assert all(lane.width == 0 for lane in narrow.lanes)
    wide = Diagram(case.trail, case.story, case.words, 60)
    wide.lay_out(len(case.trail.taking_part()) * 60)
    assert wide.beside == 0
    assert all(lane.width >= LEAST for lane in wide.lanes)


def test_why_the_turn_goes_over_is_said() -> None:
    threads = [Thread("one", models.first_then_second), Thread("two", models.second_then_first)]
    text = drawn(tiny_case(threads)[1], 100)
    assert re.search(r"(one|two) is held up, (one|two) runs", text)


def test_no_steps_are_no_rows() -> None:
    case = tiny_case([Thread("adder", models.add)], [models.value_is_one])[1]
    assert drawn(case, 100) == "No step is taken: the initial state is where it ends.\n"
