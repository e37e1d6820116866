# SPDX-License-Identifier: GPL-2.0-or-later
"""Stop before the last step of a counterexample, in the debugger, at its line of the model's own source.

The threads of the scenario are threads of Python that wait for their turn, so that the frames of all of them can be
looked at; ``next`` takes the last step.
"""

from __future__ import annotations

import contextlib
import pdb
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from pagelab.check import cpython, cpython_buffer
from pagelab.check.cpython import CPythonRun
from pagelab.lang import declare
from pagelab.lang.declare import attached

if TYPE_CHECKING:
    from pagelab.check.counterexample import Told

#: Files between a line of the model and where its thread waits.
_MACHINERY = frozenset(
    module.__file__ for module in (contextlib, cpython, cpython_buffer, declare, threading, sys.modules[__name__])
)


def debug_last_step(told: Told, stdin: TextIO | None = None, stdout: TextIO | None = None) -> None:
    """Run a counterexample in CPython up to its last step, and let a person look around there."""
    with attached(told.model.probes):
        told.system.initial(told.model.setup)
        with CPythonRun.of(told.system) as run:
            for thread, choice in told.schedule.steps[:-1]:
                run.step(thread, choice)
            LastStep(told, run, stdin, stdout).interact()


class LastStep(pdb.Pdb):
    """The debugger before the last step.  ``next``, ``step`` and ``continue`` take it; ``threads`` and ``thread`` show
    where the others stand."""

    def __init__(self, told: Told, run: CPythonRun, stdin: TextIO | None, stdout: TextIO | None) -> None:
        super().__init__(stdin=stdin, stdout=stdout, nosigint=True)
        self.told, self.run_of_threads = told, run
        self.shown = told.schedule.steps[-1][0] if told.schedule.steps else 0
        self.taken = not told.schedule.steps
        self.again = True

    def interact(self) -> None:
        """Until the person has seen enough."""
        steps = len(self.told.steps)
        if self.taken:
            self.message("The initial state is where it ends: no step was taken.")
        else:
            self.message(f"Before the last step, {steps} of {steps}.  `next` takes it, `threads` lists all threads.")
        while self.again:
            self.again = False
            frame = self.frame_of(self.shown)
            if frame is None:
                self.message(f"{self.name_of(self.shown)} has ended.")
                frame = next((f for t in range(len(self.told.system.threads)) if (f := self.frame_of(t))), None)
                if frame is None:
                    return
            self.reset()
            self.interaction(frame, None)

    def name_of(self, thread: int) -> str:
        """The name of a thread, with its CPU."""
        named = self.told.system.threads[thread]
        return f"{named.name} (CPU {named.cpu})" if named.cpu >= 0 else named.name

    def frame_of(self, thread: int) -> FrameType | None:
        """Where a thread stands in the source of the model; None if it has ended, or is none of Python's."""
        if thread >= len(self.run_of_threads.runners):
            return None
        runner = self.run_of_threads.runners[thread]
        if runner.ended:
            return None
        frame: FrameType | None = sys._current_frames().get(runner.worker.ident or 0)
        while frame is not None and frame.f_code.co_filename in _MACHINERY:
            frame = frame.f_back
        return frame

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames of the model, without those that run it."""
        stack, current = super().get_stack(f, t)
        ours = [one for one in stack if one[0].f_code.co_filename not in _MACHINERY]
        return (ours, len(ours) - 1) if ours else (stack, current)

    # ---- commands

    def do_next(self, arg: str) -> bool:
        """n(ext)

        Take the last step, and stop where its thread stands then.
        """
        if self.taken:
            self.message("The last step has been taken; `quit` ends.")
            return False
        self.taken = True
        thread, choice = self.told.schedule.steps[-1]
        try:
            self.run_of_threads.step(thread, choice)
        except AssertionError as error:
            self.message(f"{type(error).__name__}: {error}")
            self.again = False
            self.reset()
            self.interaction(None, error.__traceback__)
            return True
        self.message(f"The last step is taken: {self.verdict()}.")
        self.shown, self.again = thread, True
        return True

    do_n = do_next
    do_step = do_s = do_next

    def do_continue(self, arg: str) -> bool:
        """c(ont(inue))

        Take the last step if it was not taken; then the end.
        """
        if self.taken:
            return True
        return self.do_next(arg)

    do_c = do_cont = do_continue

    def do_threads(self, arg: str) -> None:
        """threads

        List the threads of the scenario with the line that each stands at.
        """
        for thread in range(len(self.told.system.threads)):
            frame = self.frame_of(thread)
            where = f"{frame.f_code.co_name}:{frame.f_lineno}" if frame is not None else "has ended"
            self.message(f"{'>' if thread == self.shown else ' '} {thread} {self.name_of(thread)}: {where}")

    def do_thread(self, arg: str) -> bool:
        """thread NUMBER

        Go to where another thread stands.
        """
        if not arg.isdecimal() or int(arg) >= len(self.told.system.threads):
            self.error("thread NUMBER: see `threads`")
            return False
        self.shown, self.again = int(arg), True
        return True

    def verdict(self) -> str:
        """What the state after the last step is."""
        names = [one.__name__ for one in self.told.system.invariants if not self.holds(one)]
        return f"{', '.join(f'{name}()' for name in names)} does not hold" if names else "it ends here"

    @staticmethod
    def holds(invariant: Any) -> bool:
        """Whether an invariant holds now, asked in CPython."""
        return bool(invariant())


__all__ = ["LastStep", "debug_last_step"]
