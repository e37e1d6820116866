# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab check DESIGN``: scenarios under designs, as a table or one in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from pagelab.check.explore import How
from pagelab.check.kernel_model import applies
from pagelab.check.pool import Done, Task, work_through
from pagelab.check.properties import PROPERTIES, Property, property_named
from pagelab.check.scenario import BUNDLED, Scenario, scenario_named
from pagelab.check.table import Table, violations
from pagelab.check.verdicts import Judgement, Verdict, counterexample, judge
from pagelab.cli import counterexamples
from pagelab.cli.check import needs, print_json, progress_of
from pagelab.errors import Inconclusive
from pagelab.linux.designs import DESIGNS, design_named
from pagelab.report.case import Title

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pagelab.check.counterexample import Told


def status_of(verdicts: set[str]) -> int:
    """The exit status for what was found."""
    return 1 if "violated" in verdicts else Inconclusive.status if "inconclusive" in verdicts else 0


def properties_of(args: argparse.Namespace) -> list[Property]:
    """Those that were named, or all."""
    return [property_named(name) for name in dict.fromkeys(args.property)] or list(PROPERTIES)


# ---- one scenario, in full


def check_scenario(args: argparse.Namespace, how: How) -> int:
    """A scenario under a design: its verdicts, and each violation with its counterexample."""
    properties = properties_of(args)
    design_named(args.target)
    scenario = scenario_named(args.scenario)
    with Console(stderr=True).status("exploring") as status:
        judgement = judge(args.target, scenario, properties, how, lambda so_far: status.update(progress_of(so_far)))
    console = Console(highlight=False)
    if not args.json:
        say_verdicts(judgement, scenario, console)
    documents, pages, first = [], [], None
    for one, verdict in zip(properties, judgement.verdicts, strict=True):
        told = None
        if verdict.schedule is not None:
            told = counterexample(judgement, scenario, one, how)
            first = first or told
            if args.html:
                pages.append(counterexamples.data(told, title_of(judgement, verdict)))
            if not args.json:
                say_counterexample(judgement, verdict, told, console)
        documents.append(judgement.document(verdict, told.to_json() if told else None))
    steer(documents, args)
    if args.json:
        print_json(documents)
    counterexamples.write(pages, args.html)
    if args.pdb and first is not None:
        counterexamples.debug(first)
    return status_of({verdict.verdict for verdict in judgement.verdicts})


def say_verdicts(judgement: Judgement, scenario: Scenario, console: Console) -> None:
    """Each property with its verdict, and what the verdicts rest on."""
    console.print(f"[bold]{judgement.design}[/]  {judgement.scenario}: {scenario.about}", soft_wrap=True)
    width = max(len(verdict.property) for verdict in judgement.verdicts)
    for verdict in judgement.verdicts:
        colour = {"holds": "green", "violated": "bold red"}.get(verdict.verdict, "yellow")
        nothing = "" if verdict.claimed else " (this design never says so)"
        said = f": {verdict.said}" if verdict.said not in ("", verdict.words) else ""
        fair = needs(verdict.outcome, verdict.fairness_needed) if verdict.fairness else ""
        console.print(
            f"  {verdict.property:{width}}  [{colour}]{verdict.verdict:12}[/]  {verdict.words}{nothing}{fair}{said}",
            soft_wrap=True,
        )
    label = judgement.label
    console.print(
        f"{progress_of(judgement.outcome)}, {judgement.outcome.seconds:.2f} s\n"
        f"Bounded: {label['bounded']}. Steps: {label['granularity']}. Memory: {label['memory']}. "
        f"Fairness: {label['fairness']}. Reduction: {label['reduction']}. Approximation: {label['approximation']}.",
        style="dim",
        soft_wrap=True,
    )


def say_counterexample(judgement: Judgement, verdict: Verdict, told: Told, console: Console) -> None:
    """A violation, step by step."""
    console.print()
    console.print(
        f"[bold]{judgement.design}[/]  {judgement.scenario}  "
        f"[bold red]{verdict.property} is violated[/]: {verdict.said}",
        soft_wrap=True,
    )
    counterexamples.show(told, title_of(judgement, verdict), console)


def title_of(judgement: Judgement, verdict: Verdict) -> Title:
    """What a counterexample is about."""
    label = {"states": progress_of(verdict.outcome or judgement.outcome), **judgement.label_of(verdict)}
    return Title(judgement.design, judgement.scenario, verdict.property, verdict.said, label)


def steer(documents: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Force what is violated onto the kernel that was named, if one was."""
    if args.steer:
        from pagelab.cli.steer import steer_documents

        steer_documents(documents, args.steer, quiet=args.json)


# ---- many scenarios, as a table


def check_table(args: argparse.Namespace, how: How) -> int:
    """All scenarios that apply, or the one that is named, under one design or all."""
    properties = properties_of(args)
    designs = [design_named(args.target).name] if args.target else list(DESIGNS)
    scenarios = [scenario_named(name) for name in ([args.scenario] if args.scenario else BUNDLED)]
    names = tuple(one.name for one in properties)
    tasks = [
        Task(design, scenario, names, how, tell=args.json or bool(args.steer))
        for design in designs
        for scenario in scenarios
        if applies(scenario, design)
    ]
    run = TableRun(tasks, properties, None if args.json else Console(highlight=False), one_design=len(designs) == 1)
    run.all()
    first = None if args.json else run.summary(called=args.scenario or "")
    documents = [document for done in run.done for document in documents_of(done)] if args.json or args.steer else []
    if not run.interrupted:
        steer(documents, args)
    if args.json:
        print_json(documents)
    if args.pdb and first is not None:
        counterexamples.debug(first)
    if args.html:
        counterexamples.write(run.pages(), args.html)
    if run.interrupted:
        return Inconclusive.status
    return status_of({done.judgement.worst for done in run.done})


def documents_of(done: Done) -> list[dict[str, Any]]:
    """What ``--json`` prints of a row."""
    return [done.judgement.document(verdict, done.told.get(verdict.property)) for verdict in done.judgement.verdicts]


class TableRun:
    """Works through tasks and prints their rows, to ``console`` if there is one.

    Of one design a counterexample is told in full, before the table if its first scenario has one: they go from simple
    to intricate, and nobody should have to wait for the intricate ones.
    """

    def __init__(
        self, tasks: Sequence[Task], properties: Sequence[Property], console: Console | None, *, one_design: bool
    ) -> None:
        self.tasks, self.properties, self.console, self.one_design = tasks, properties, console, one_design
        self.done: list[Done] = []
        self.told: Told | None = None
        self.interrupted = False
        self.table = Table(console or Console(), properties, [task.scenario.name for task in tasks])

    def all(self) -> None:
        """Do all tasks; Ctrl-C ends it with what is done."""
        status = Console(stderr=True).status("")

        def begun(number: int) -> None:
            if number < len(self.tasks):
                task = self.tasks[number]
                status.update(f"{number} of {len(self.tasks)} done; {task.design} {task.scenario.name}")

        begun(0)
        status.start()
        try:
            for done in work_through(self.tasks, begun):
                status.stop()  # it would take what is printed for its own
                self.print_row(done)
                status.start()
        except KeyboardInterrupt as stop:
            if type(stop) is not KeyboardInterrupt:  # SIGTERM, SIGHUP: nobody waits for what is done so far
                raise
            self.interrupted = True
        finally:
            status.stop()

    def print_row(self, done: Done) -> None:
        """A row, below the name of its design if it is the first of it."""
        first = not self.done or self.done[-1].task.design != done.task.design
        self.done.append(done)
        if self.console is None:
            return
        if first:
            if self.one_design:
                self.told = self.tell_first()
            if len(self.done) > 1 or self.told is not None:
                self.console.print()
            self.table.title(done.task.design, DESIGNS[done.task.design].about)
        self.table.row(done)
        self.console.file.flush()

    def summary(self, *, called: str = "") -> Told | None:
        """What the symbols mean, what the verdicts rest on, each violation with its command; one of them in full."""
        console = self.console
        assert console is not None
        self.table.legend()
        if self.done:
            label = self.done[0].judgement.label
            console.print(
                "\n".join(f"{one.name}: {one.words}" for one in self.properties)
                + f"\nEach verdict is bounded by its scenario (`pagelab scenarios`); {label['granularity']}; memory is "
                f"{label['memory']}; fairness: {label['fairness']}; approximation: {label['approximation']}.",
                style="dim",
                soft_wrap=True,
            )
        if self.interrupted:
            console.print(f"[yellow]interrupted[/]: {len(self.done)} of {len(self.tasks)} were done", soft_wrap=True)
        lines = violations(self.done, called)
        if lines:
            console.print()
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)
        if self.told is None and self.one_design and not self.interrupted:
            self.told = self.tell_first()
        return self.told

    def tell_first(self) -> Told | None:
        """The shortest counterexample of the first scenario that has any."""
        assert self.console is not None
        for done in self.done:
            found = [
                (len(verdict.schedule.steps), number)
                for number, verdict in enumerate(done.judgement.verdicts)
                if verdict.schedule is not None
            ]
            if found:
                _, number = min(found)
                told = counterexample(done.judgement, done.task.scenario, self.properties[number], done.task.how)
                say_counterexample(done.judgement, done.judgement.verdicts[number], told, self.console)
                return told
        return None

    def pages(self) -> list[dict[str, Any]]:
        """What a page needs of all counterexamples; each is looked for again, since functions do not travel."""
        found = []
        with Console(stderr=True).status("") as status:
            for done in self.done:
                for one, verdict in zip(self.properties, done.judgement.verdicts, strict=True):
                    if verdict.schedule is not None:
                        status.update(f"for the page: {done.task.design} {done.task.scenario.name} {one.name}")
                        told = counterexample(done.judgement, done.task.scenario, one, done.task.how)
                        found.append(counterexamples.data(told, title_of(done.judgement, verdict)))
        return found
