# SPDX-License-Identifier: GPL-2.0-or-later
"""``--pdb`` stops before the last step, in the model's own source, whatever kind of end it is."""

from __future__ import annotations

import io
import re

from pagelab.check.counterexample import Told
from pagelab.check.debugger import debug_last_step
from pagelab.lang.stepped import Thread
from tests.conftest import Pagelab
from tests.report import models
from tests.report.conftest import tiny_case


def session(told: Told, *commands: str) -> str:
    """What the debugger says to the commands."""
    out = io.StringIO()
    debug_last_step(told, io.StringIO("\n".join(commands) + "\n"), out)
    return out.getvalue()


def violated() -> Told:
    threads = [Thread("one", models.add_and_say_so, cpu=0), Thread("two", models.add_and_note, cpu=1)]
    return tiny_case(threads, [models.nothing_is_lost], 2)[0]


def test_a_violated_property_stops_before_the_last_step() -> None:
    told = violated()
    last = told.steps[-1]
    said = session(told, "w", "q")
    assert f"Before the last step, {len(told.steps)} of {len(told.steps)}" in said
    assert f"({last.line}){last.function}()" in said
    assert last.source in said
    assert "threading.py" not in said, "only frames of the model"
    assert "cpython.py" not in said


def test_next_takes_the_step_and_says_what_it_breaks() -> None:
    said = session(violated(), "p shared.value, shared.done, shared.other", "n", "p shared.value, shared.done", "q")
    assert "The last step is taken: nothing_is_lost() does not hold" in said


def test_all_threads_can_be_looked_at() -> None:
    told = violated()
    other = 1 - told.schedule.steps[-1][0]
    said = session(told, "threads", f"thread {other}", "w", "thread 7", "q")
    assert re.search(r"> \d \w+ \(CPU \d\): add_and_\w+:\d+", said)
    assert "see `threads`" in said


def test_a_failed_assertion_is_raised_by_the_last_step() -> None:
    told = tiny_case([Thread("setter", models.set_value), Thread("looker", models.see_no_value)], cpus=1)[0]
    said = session(told, "p seen if 'seen' in dir() else 'not yet'", "n", "p seen", "q")
    assert "not yet" in said
    assert "AssertionError: it was seen" in said
    assert re.search(r"\(Pdb\) 1\n", said)


def test_the_end_without_input_is_the_end_of_the_session() -> None:
    debug_last_step(violated(), io.StringIO(""), io.StringIO())


def test_a_deadlock_can_be_looked_at() -> None:
    threads = [Thread("one", models.first_then_second), Thread("two", models.second_then_first)]
    said = session(tiny_case(threads)[0], "c", "threads", "q")
    assert said.count("first_then_second:") >= 1
    assert said.count("second_then_first:") >= 1


def test_store_buffers_are_threads_too() -> None:
    threads = [
        Thread("left", models.store_left_read_right, cpu=0),
        Thread("right", models.store_right_read_left, cpu=1),
    ]
    said = session(tiny_case(threads, [models.one_saw_the_other], 2, "tso")[0], "threads", "n", "q")
    assert "store buffer of CPU 0 (CPU 0): write_back" in said or "store buffer of CPU 0 (CPU 0): store_buffer" in said
    assert "The last step is taken: one_saw_the_other() does not hold" in said


def test_the_command_stops_in_the_source_of_the_kernel_model(run_pagelab: Pagelab) -> None:
    done = run_pagelab("check", "5.9-rc5", "--scenario", "offline-free", "--property", "stray", "--pdb")
    assert done.returncode == 1, done.stderr
    assert "Before the last step" in done.stdout
    assert "linux/pcp.py" in done.stdout
    assert "Traceback" not in done.stderr
