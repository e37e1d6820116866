# SPDX-License-Identifier: GPL-2.0-or-later
"""Judge many scenarios under many designs, some at a time, each in a process of its own and on one core."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from pagelab.check.explore import How, cores
from pagelab.check.verdicts import Judgement, counterexample, judge
from pagelab.errors import Inconclusive

if TYPE_CHECKING:
    from pagelab.check.properties import Property
    from pagelab.check.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Task:
    """A scenario under a design.  Properties go by name, since functions of the model do not travel.

    ``tell``: whether its counterexamples are wanted step by step.
    """

    design: str
    scenario: Scenario
    properties: tuple[str, ...]
    how: How
    tell: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task; ``told``: by property, as JSON has them, the counterexamples if they were asked for."""

    task: Task
    judgement: Judgement
    told: dict[str, dict[str, Any]]


def chosen(names: Sequence[str]) -> list[Property]:
    """Properties by their names."""
    from pagelab.check.properties import property_named

    return [property_named(name) for name in names]


def work(task: Task) -> Done:
    """Do a task here."""
    properties = chosen(task.properties)
    judgement = judge(task.design, task.scenario, properties, task.how)
    told = {}
    if task.tell:
        for one, verdict in zip(properties, judgement.verdicts, strict=True):
            if verdict.schedule is not None:
                told[one.name] = counterexample(judgement, task.scenario, one, task.how).to_json()
    return Done(task, judgement, told)


def work_through(tasks: Sequence[Task], begun: Callable[[int], None] = lambda done: None) -> Iterator[Done]:
    """Do all tasks and give what came of them in their order; the first one here, so that it is there soon.

    Ctrl-C ends it, but never between two tasks, where the caller prints: the processes are gone when KeyboardInterrupt
    comes out.

    :param begun: told how many tasks are done, whenever one more is.
    """
    with ctrl_c(waits=True):
        for task in tasks[:1]:
            with ctrl_c(waits=False):
                done = work(task)
            if done.judgement.outcome.interrupted:
                yield done
                raise KeyboardInterrupt
            begun(1)
            yield done
        if len(tasks) > 1:
            yield from share_out(tasks[1:], begun)


def share_out(tasks: Sequence[Task], begun: Callable[[int], None]) -> Iterator[Done]:
    """Do tasks in processes, one a core.  They inherit that Ctrl-C waits: it is for this process."""
    jobs = min(tasks[0].how.workers or cores(), len(tasks))
    shares = [replace(task, how=replace(task.how, workers=1, max_memory=task.how.max_memory // jobs)) for task in tasks]
    # It is started with the first process, and starting it unblocks Ctrl-C, here and for processes begun later.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        futures: list[Future[Done]] = [pool.submit(work, task) for task in shares]
        for number, future in enumerate(futures, 2):
            with ctrl_c(waits=False):
                done = future.result()
            begun(number)
            yield done
    except BaseException as error:
        for child in multiprocessing.active_children():
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise Inconclusive(
                "a process that explored was ended from outside", "for lack of memory? set a limit: --max-memory 1G"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _CtrlC:
    """``usual``: what Ctrl-C does when it need not wait; ``noted``: that it came meanwhile."""

    usual: Any = None
    noted = False


def _note(number: int, frame: object) -> None:
    _CtrlC.noted = True


@contextmanager
def ctrl_c(*, waits: bool) -> Iterator[None]:
    """Whether Ctrl-C comes at once, or when this is over; processes begun here inherit it.

    Blocking the signal is for them.  It is not enough here: threads that libraries began earlier have it unblocked, and
    Python runs its handler in this one.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK if waits else signal.SIG_UNBLOCK, {signal.SIGINT})
    handler = signal.getsignal(signal.SIGINT)
    if handler is not _note:
        _CtrlC.usual = handler
    if callable(_CtrlC.usual):  # it is not ignored
        signal.signal(signal.SIGINT, _note if waits else _CtrlC.usual)
    try:
        if not waits:
            _hand_on()
        yield
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not _note:
            _hand_on()


def _hand_on() -> None:
    """Ctrl-C that had to wait comes now."""
    if _CtrlC.noted:
        _CtrlC.noted = False
        signal.raise_signal(signal.SIGINT)
