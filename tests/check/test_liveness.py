# SPDX-License-Identifier: GPL-2.0-or-later
"""Liveness of tiny models, whose verdicts are known, and of the designs of the kernel."""

from __future__ import annotations

import pytest

from pagelab.check.fair_cycles import FAIRNESS
from pagelab.check.liveness import LivenessOutcome, check_liveness, confirm_lasso
from pagelab.check.model_file import Model
from pagelab.check.state_graph import MOST_THREADS
from pagelab.errors import BadInput
from pagelab.lang.stepped import Thread
from tests.check import waiting

SPINNER = Thread("spinner", waiting.spin)
TICK = Thread("tick", waiting.tick, daemon=True)


def check(
    threads: list[Thread],
    fairness: str,
    *,
    exclusive_cpus: bool = False,
    memory: str = "sc",
    max_states: int = 1 << 20,
    max_memory: int = 1 << 30,
) -> LivenessOutcome:
    """Check a model; a lasso must be one in CPython, too."""
    model = Model("test", threads, None, [], 2, exclusive_cpus=exclusive_cpus, memory=memory)
    system = model.system()
    initial = system.initial()
    outcome = check_liveness(system, initial, fairness, max_states=max_states, max_memory=max_memory)
    if outcome.lasso is not None:
        confirm_lasso(model, system, outcome.lasso)
    return outcome


def needed(threads: list[Thread], *, exclusive_cpus: bool = False, memory: str = "sc") -> str:
    """The weakest fairness under which all threads end; each kind must say the same of it."""
    outcomes = [check(threads, fairness, exclusive_cpus=exclusive_cpus, memory=memory) for fairness in FAIRNESS]
    (weakest,) = {outcome.fairness_needed for outcome in outcomes}
    for fairness, outcome in zip(FAIRNESS, outcomes, strict=True):
        holds = bool(weakest) and FAIRNESS.index(fairness) >= FAIRNESS.index(weakest)
        assert outcome.verdict == ("holds" if holds else "violated")
        assert (outcome.lasso is None) == holds
    return weakest


def test_threads_without_loops_end_whatever_happens() -> None:
    assert needed([Thread("a", waiting.finish), Thread("b", waiting.finish_under_lock)]) == "none"


def test_a_spinning_thread_ends_if_the_other_gets_its_turn() -> None:
    threads = [SPINNER, Thread("finisher", waiting.finish)]
    assert needed(threads) == "weak"
    lasso = check(threads, "none").lasso
    assert lasso is not None
    assert (lasso.prefix.steps, lasso.cycle.steps) == ((), ((0, 0),))
    assert lasso.starving == (0, 1)
    assert "spinner goes round in spin() (waiting.py:" in lasso.words
    assert "finisher could go on in finish() (waiting.py:" in lasso.words
    assert "but never gets its turn" in lasso.words


def test_a_daemon_may_go_round_for_ever_and_gets_its_turn_like_others() -> None:
    assert needed([TICK]) == "none"
    assert needed([TICK, Thread("finisher", waiting.finish)]) == "weak"
    assert needed([SPINNER, Thread("finisher", waiting.finish, daemon=True)]) == "weak"


def test_a_lock_that_is_given_back_again_and_again_needs_a_queue() -> None:
    threads = [Thread("spinner", waiting.spin_under_lock), Thread("finisher", waiting.finish_under_lock)]
    assert needed(threads) == "fifo-locks"
    lasso = check(threads, "weak").lasso
    assert lasso is not None
    assert lasso.prefix.steps == ()
    assert set(lasso.cycle.steps) == {(0, 0)}
    assert len(lasso.cycle.steps) == 3, "lock, look, unlock"
    assert "finisher waits in finish_under_lock() (waiting.py:" in lasso.words
    assert "for waiting.lock: others are faster, again and again" in lasso.words


def test_two_that_try_a_lock_can_keep_a_third_from_it_who_waits() -> None:
    threads = [Thread(f"trier {i}", waiting.spin_under_trylock) for i in range(2)]
    assert needed([*threads, Thread("finisher", waiting.finish_under_lock)]) == "fifo-locks"


def test_who_only_tries_a_lock_is_in_no_queue() -> None:
    """Both let go of their first lock at the same time, again and again."""
    threads = [Thread("first", waiting.take_both, (0,)), Thread("second", waiting.take_both, (1,))]
    assert needed(threads) == ""
    lasso = check(threads, "fifo-locks").lasso
    assert lasso is not None
    assert lasso.starving == (0, 1)
    assert {thread for thread, _ in lasso.cycle.steps} == {0, 1}
    assert "nobody else takes a step" in lasso.words


def test_a_lost_wakeup_is_waited_for_under_any_fairness() -> None:
    threads = [Thread("sleeper", waiting.sleep_unless_done), Thread("waker", waiting.wake_up)]
    assert needed(threads) == ""
    lasso = check(threads, "fifo-locks").lasso
    assert lasso is not None
    assert lasso.kind == "deadlock"
    assert lasso.starving == (0,)
    assert len(lasso.prefix.steps) == 4
    assert lasso.words.startswith("sleeper waits in sleep_unless_done() (waiting.py:")
    assert lasso.words.endswith("nobody can take a step")


def test_a_lost_wakeup_is_found_while_others_go_on_for_ever() -> None:
    threads = [Thread("sleeper", waiting.sleep_unless_done), Thread("waker", waiting.wake_up), TICK]
    lasso = check(threads, "fifo-locks").lasso
    assert lasso is not None
    assert lasso.kind == "cycle"
    assert lasso.starving == (0,)
    assert "sleeper waits in sleep_unless_done()" in lasso.words
    assert "tick takes 3 steps a round, in tick()" in lasso.words or "tick takes" in lasso.words


def test_a_condition_that_comes_and_goes_is_no_lock() -> None:
    writer = Thread("writer", waiting.write_again_and_again)
    assert needed([writer, Thread("waiter", waiting.wait_for_work)]) == ""
    assert needed([writer, Thread("reader", waiting.read_once)]) == "fifo-locks", "down_read() is a lock"


def test_who_has_its_cpu_to_itself_again_and_again_gets_a_turn() -> None:
    finisher = Thread("finisher", waiting.finish_with_irqs_off, (0,), cpu=0)
    assert needed([Thread("spinner", waiting.spin_with_irqs_off, (0,), cpu=0), finisher]) == "weak"
    assert needed([Thread("hog", waiting.hog_with_irqs_off, (0,), cpu=0), finisher]) == ""


def test_on_a_cpu_of_its_own_irqs_each_step_waits_for_them() -> None:
    threads = [Thread("spinner", waiting.spin_with_irqs_off, (0,), cpu=0), Thread("finisher", waiting.finish, cpu=0)]
    assert needed(threads, exclusive_cpus=True) == "weak"
    hog = Thread("hog", waiting.hog_with_irqs_off, (0,), cpu=0)
    assert needed([hog, Thread("finisher", waiting.finish, cpu=0)], exclusive_cpus=True) == ""
    assert needed([hog, Thread("finisher", waiting.finish, cpu=1)], exclusive_cpus=True) == "weak"


def test_an_interrupt_comes_some_time() -> None:
    interrupt = Thread("interrupt", waiting.finish, cpu=0, interrupt=True)
    assert (
        needed([Thread("spinner", waiting.spin_with_irqs_off, (0,), cpu=0), interrupt], exclusive_cpus=True) == "weak"
    )


def test_store_buffers_are_written_back_some_time() -> None:
    threads = [Thread("finisher", waiting.finish, cpu=0), Thread("spinner", waiting.spin, cpu=1)]
    assert needed(threads, memory="tso") == "weak"
    model = Model("test", threads, None, [], 2, memory="tso")
    system = model.system()
    state = system.initial()
    while not system.ended(state, 0):
        system.step(state, 0)
    assert check_liveness(system, state, "none").verdict == "violated", "the store is in the buffer, and stays there"
    assert check_liveness(system, state, "weak").verdict == "holds"


def test_choices_are_not_fair() -> None:
    lasso = check([Thread("tosser", waiting.toss)], "fifo-locks").lasso
    assert lasso is not None
    assert (lasso.prefix.steps, lasso.cycle.steps) == ((), ((0, 1),)) or lasso.cycle.steps[-1][0] == 0


def test_a_fault_ends_a_run_before_its_threads_have_ended() -> None:
    lasso = check([SPINNER, Thread("mortal", waiting.die), Thread("finisher", waiting.finish)], "fifo-locks").lasso
    assert lasso is not None
    assert lasso.kind == "fault"
    assert lasso.words.startswith("mortal fails in die() (waiting.py:")


def test_a_fault_is_told_only_if_nothing_else_keeps_threads_from_their_end() -> None:
    threads = [SPINNER, Thread("mortal", waiting.die), Thread("finisher", waiting.finish)]
    kinds = {}
    for fairness in FAIRNESS:
        lasso = check(threads, fairness).lasso
        assert lasso is not None
        kinds[fairness] = lasso.kind
    assert kinds == {"none": "cycle", "weak": "fault", "fifo-locks": "fault"}, (
        "weak: it has to take the step that fails"
    )


def test_a_fault_after_all_have_ended_is_for_other_properties() -> None:
    finisher = Thread("finisher", waiting.finish)
    assert needed([finisher, Thread("mortal", waiting.die_when_done, daemon=True)]) == "none"


def test_only_the_threads_asked_for_have_to_end() -> None:
    threads = [SPINNER, Thread("finisher", waiting.finish_under_lock)]
    model = Model("test", [SPINNER, Thread("other", waiting.give_way, (0,))], None, [], 0)
    system = model.system()
    initial = system.initial()
    assert check_liveness(system, initial, "weak", [1]).verdict == "violated", "nobody gives way to it"
    model = Model("test", threads, None, [], 0)
    system = model.system()
    assert check_liveness(system, system.initial(), "weak", [1]).fairness_needed == "weak"
    assert check_liveness(system, system.initial(), "weak", []).fairness_needed == "none"


def test_limits_are_inconclusive_unless_something_is_found_before() -> None:
    ways = [Thread(f"t{i}", waiting.give_way, (i % 2,)) for i in range(4)]
    assert check([*ways, TICK, Thread("f", waiting.finish)], "weak", max_states=20).verdict == "inconclusive"
    outcome = check([SPINNER, *ways, Thread("f", waiting.finish)], "none", max_states=20)
    assert outcome.verdict == "violated"
    assert (outcome.fairness_needed, outcome.complete) == ("", False), "unknown: not all was seen"
    assert check([*ways, TICK], "weak", max_memory=1 << 16).verdict == "inconclusive"


def test_ctrl_c_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pagelab.check.state_graph.graph_of", interrupted)
    outcome = check([SPINNER], "weak")
    assert (outcome.verdict, outcome.interrupted) == ("inconclusive", True)
    assert outcome.states > 0


def test_there_is_room_for_so_many_threads() -> None:
    model = Model("test", [Thread(f"t{i}", waiting.die) for i in range(MOST_THREADS + 1)], None, [], 0)
    system = model.system()
    with pytest.raises(BadInput, match="33 threads: liveness is checked for at most 32"):
        check_liveness(system, system.initial(), "weak", max_states=10)
