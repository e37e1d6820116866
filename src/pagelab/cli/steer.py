# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab steer``: force the schedule of a counterexample onto a booted kernel, and tell what the kernel did."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.errors import BadInput, Inconclusive

if TYPE_CHECKING:
    from rich.console import Console

    from pagelab.steer.force import Forced, Run
    from pagelab.steer.planner import Case, Planned

EXAMPLE = """\
examples:
  pagelab check 5.10 --scenario offline-free --property stray --json > race.json
  pagelab steer race.json --kernel 5.10            the race of September 2020, in a real kernel
  pagelab steer race.json --kernel 6.1             the same schedule, in a kernel that has the fix
  pagelab steer race.json --kernel 5.10 --times 20 --html race.html
  pagelab check 5.10 --scenario offline-free --json | pagelab steer - --kernel 5.10

exit status: 1 reproduced, 0 not reproduced: the kernel does otherwise, 4 it cannot be forced, or something
came in between"""


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "counterexample", metavar="COUNTEREXAMPLE.json", help="what `pagelab check --json` printed; - for stdin"
    )
    parser.add_argument("--kernel", required=True, metavar="NAME", help="one of `pagelab kernels`, fetched if needed")
    parser.add_argument("--times", metavar="N", type=int, default=1, help="how many guests to steer (default 1)")
    parser.add_argument("--plan", action="store_true", help="only make the plan, boot nothing")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="keep the captures of the runs here")
    parser.add_argument("--html", metavar="FILE", help="write a page: what the checker said, what the kernel did")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Force what the file says is violated.

    :raises BadInput: for a file that is no counterexample, or a kernel that is unknown.
    """
    from pagelab.guest.kernels import check_name
    from pagelab.steer.source import read_cases

    check_name(args.kernel)
    if args.times < 1:
        raise BadInput(f"--times {args.times}: a number of guests is 1 or more", "leave it out for one")
    if args.html:
        from pagelab.report.page import check_path

        check_path(Path(args.html))
    if args.output is not None and args.output.exists() and any(args.output.iterdir()):
        raise BadInput(f"{args.output}: this directory is not empty", "name a new one")
    cases = read_cases(args.counterexample)
    how = How(args.kernel, args.times, args.output, args.plan, quiet=args.json)
    done = steer_cases([case for case, _ in cases], how)
    if args.json:
        import json

        from pagelab.steer.force import document

        print(json.dumps([document(forced) for forced in done], indent=2))
    if args.html:
        write_page([(element, forced) for (_, element), forced in zip(cases, done, strict=True)], args.html)
    if args.plan:
        return 0 if all(forced.planned.plan is not None for forced in done) else Inconclusive.status
    from pagelab.steer.force import status_of

    return status_of(Counter(forced.verdict.outcome for forced in done))


@dataclass(frozen=True, slots=True)
class How:
    """On which kernel, in how many guests, where their captures go; ``plan_only``: in none.  ``quiet``: say nothing."""

    kernel: str
    times: int = 1
    output: Path | None = None
    plan_only: bool = False
    quiet: bool = False


def steer_cases(cases: Sequence[Case], how: How) -> list[Forced]:
    """Plan each case and force it, one after the other, and tell about it."""
    from rich.console import Console

    from pagelab.check.engine_code import prepare
    from pagelab.steer.code import code_of
    from pagelab.steer.planner import plan_for

    prepare()
    errors, console = Console(stderr=True, highlight=False), Console(highlight=False, quiet=how.quiet)
    code = code_of(how.kernel)
    done: list[Forced] = []
    for case in cases:
        with errors.status("planning") as status:
            planned = plan_for(case, how.kernel, code, status.update)
        say_plan(case, how.kernel, planned, console)
        one = how
        if how.output is not None and len(cases) > 1:
            one = replace(how, output=how.output / f"{case.scenario.name}-{case.property.name}")
        done.append(_force(case, one, planned, errors, console))
        if not how.plan_only:
            say_outcome(done[-1], console)
    return done


def _force(case: Case, how: How, planned: Planned, errors: Console, console: Console) -> Forced:
    from pagelab.cli.steps import Steps
    from pagelab.steer.force import force

    def after(number: int, run: Run) -> None:
        if how.times > 1:
            console.print(f"  {number:3} of {how.times}  {coloured(run.verdict.outcome.value)}  {run.seconds:.1f} s")

    if planned.plan is None or how.plan_only:
        return force(case, how.kernel, planned, 0)
    with Steps(errors, f"steer {how.kernel}: {case.scenario.name} {case.property.name}") as steps:
        return force(
            case,
            how.kernel,
            planned,
            how.times,
            how.output,
            lambda name, seconds: steps.begin(name) if seconds is None else steps.end(),
            after,
        )


def steer_documents(documents: Sequence[dict[str, Any]], kernel: str, *, quiet: bool) -> None:
    """Force what a check found violated; what came of it is added to each element as ``steered``."""
    from pagelab.steer.force import document
    from pagelab.steer.source import cases_of

    if any(one["verdict"] == "violated" for one in documents):
        cases = cases_of(list(documents), "the check")
        for (_, element), forced in zip(
            cases, steer_cases([case for case, _ in cases], How(kernel, quiet=quiet)), strict=True
        ):
            element["steered"] = document(forced)


def coloured(outcome: str) -> str:
    """The outcome with its colour."""
    colour = {"reproduced": "bold red", "not reproduced": "green", "cannot be forced": "yellow"}.get(outcome, "yellow")
    return f"[{colour}]{outcome}[/]"


def say_plan(case: Case, kernel: str, planned: Planned, console: Console) -> None:
    """The moves, before anything is booted."""
    from pagelab.steer.verdict import stop_words

    console.print(
        f"[bold]{case.design}[/]  {case.scenario.name}  [bold]{case.property.name}[/]: {case.property.words}",
        soft_wrap=True,
    )
    plan = planned.plan
    if plan is None:
        console.print(f"  no plan for kernel {kernel}: {planned.why_not}", soft_wrap=True, markup=False)
        for reason in planned.reasons:
            console.print(f"    {reason}", soft_wrap=True, markup=False)
        return
    console.print(f"  the plan for kernel {kernel}:", markup=False)
    for number, move in enumerate(plan.moves, 1):
        console.print(
            f"  {number:2}  CPU {move.cpu}  {move.thread:10} runs to {stop_words(move)}", soft_wrap=True, markup=False
        )
    console.print(f"  {len(plan.moves) + 1:2}  all CPUs run on", markup=False)
    if planned.left_out:
        console.print(f"      without {', '.join(planned.left_out)}, which it does not need", style="dim", markup=False)


def say_outcome(forced: Forced, console: Console) -> None:
    """What the kernel did at each move, what its trace holds, and the verdict."""
    from pagelab.steer.evidence import lines
    from pagelab.steer.force import moves_of

    plan = forced.planned.plan
    if plan is not None and forced.runs:
        run = forced.told
        for number, move in enumerate(moves_of(plan, run), 1):
            _say_move(number, move, console)
        evidence = lines(run.events)
        if evidence:
            console.print("  the kernel's trace:", markup=False)
        for line in evidence:
            console.print(f"      {line}", markup=False, soft_wrap=True)
    verdict = forced.verdict
    times = f", {forced.times} of {len(forced.runs)} times" if len(forced.runs) > 1 else ""
    release = next((run.steered.release for run in forced.runs if run.steered is not None), "")
    on = f"  on {release}" if release else ""
    console.print(f"{coloured(verdict.outcome.value)}{times}{on}: ", end="")
    console.print(verdict.reason, markup=False, soft_wrap=True)


def _say_move(number: int, move: dict[str, Any], console: Console) -> None:
    if move["reached"] is None:
        console.print(f"  {number:2}  was not tried", style="dim", markup=False)
        return
    mark, colour = ("✓", "green") if move["reached"] and not move["differences"] else ("✗", "red")
    console.print(f"  {number:2}  [{colour}]{mark}[/] CPU {move['cpu']}  {move['thread']}: ", end="", soft_wrap=True)
    said = f"held at {move['until']}" if move["reached"] else f"not held at {move['until']}: {move['words']}"
    console.print(said, markup=False, soft_wrap=True)
    for words in move["seen"]:
        console.print(f"           {words}", style="dim", markup=False, soft_wrap=True)
    for words in move["differences"]:
        console.print(f"           other than the model says: {words}", style="red", markup=False, soft_wrap=True)


def write_page(done: list[tuple[dict[str, Any], Forced]], file: str) -> None:
    """Write the page."""
    from rich.console import Console

    from pagelab.report.page import write_page as write
    from pagelab.report.steered import page_of

    write(Path(file), page_of(done))
    Console(stderr=True, highlight=False).print(f"wrote {file}", markup=False, soft_wrap=True)
