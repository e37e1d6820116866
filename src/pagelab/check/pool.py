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


@contextmanager
def ctrl_c(*, waits: bool) -> Iterator[None]:
    """Whether Ctrl-C comes at once, or when this is over; processes begun here inherit it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK if waits else signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
