# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab check``: explore every interleaving of a model, and show the shortest schedule that breaks it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.errors import BadInput

if TYPE_CHECKING:
    from pagelab.check.counterexample import Told
    from pagelab.check.explore import How
    from pagelab.check.model_file import Model
    from pagelab.check.search import Outcome
    from pagelab.report.case import Title

EXAMPLE = """\
example:
  pagelab check                                all designs and scenarios: a table of verdicts
  pagelab check 5.9-rc5                        the race of September 2020; then: rfc, alt, 5.11, 6.1
  pagelab check 5.10 --scenario contig-free    one scenario (`pagelab scenarios`), or a TOML file of your own
  pagelab check 5.9-rc5 --property stray       only that property, with the schedule that breaks it
  pagelab check 5.11 --scenario offline-free --memory tso
  pagelab check examples/protocol_p.py --set DESIGN=3 --set C=2

A model file defines threads(), and may define setup(), invariants(), cpus() and parameters; see
docs/reference/language.md, and docs/reference/scenarios.md for scenarios.  Each access to a shared field, each lock
operation and each boundary of an irqs-off section is one step (unless the model says `with atomic():`); nothing is
approximated.  With --memory tso each CPU has a store buffer, as on x86; nothing is reduced then.

exit status: 0 all hold, 1 something is violated, 4 a limit was reached first"""


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "target", nargs="?", metavar="DESIGN|FILE.py", help="a design (`pagelab designs`), or a file with a model"
    )
    parser.add_argument("--scenario", metavar="NAME|FILE.toml", help="only this one, of a design")
    parser.add_argument("--property", metavar="P", action="append", default=[], help="only this one, of a design")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="set a parameter of the model")
    parser.add_argument("--unreduced", action="store_true", help="explore without any reduction")
    parser.add_argument(
        "--visited",
        choices=("full", "compressed", "bitstate"),
        default="full",
        help="what to keep of a state: all of it, a hash, or three bits; the odds of the latter two are printed",
    )
    parser.add_argument(
        "--memory",
        choices=("sc", "tso"),
        default="sc",
        help="sequentially consistent (sc), or a store buffer a CPU (tso)",
    )
    parser.add_argument(
        "--fairness",
        choices=("none", "weak", "fifo-locks"),
        help="what P5, that offlining ends, assumes: nothing, that threads get their turn, or also that locks serve "
        "who waits in turn (default); of a model in a file: check that its threads end, under this assumption",
    )
    parser.add_argument("--max-states", metavar="N", type=int, help="give up at so many states")
    parser.add_argument("--max-memory", metavar="M", default="", help="give up at so much memory, such as 4G")
    parser.add_argument("--workers", metavar="N", type=int, default=0, help="how many cores to use (default: all)")
    parser.add_argument("--html", metavar="FILE", help="write the counterexamples to one page, to step through")
    parser.add_argument(
        "--steer", metavar="KERNEL", help="force what is violated onto a booted kernel (`pagelab steer`)"
    )
    parser.add_argument("--pdb", action="store_true", help="stop at the last step of a counterexample in the debugger")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = EXAMPLE


def how_of(args: argparse.Namespace) -> How:
    """How to explore.

    :raises BadInput: for a limit that not even the initial state keeps.
    """
    from pagelab.check.explore import How
    from pagelab.check.search import FIRST_SLOTS, MOST_STATES
    from pagelab.check.visited import SLOT_BYTES
    from pagelab.cli.memory import memory_limit

    states = MOST_STATES if args.max_states is None else min(args.max_states, MOST_STATES)
    if states < 1:
        raise BadInput(f"--max-states {args.max_states}: the initial state alone is one", "give a larger number")
    memory = memory_limit(args.max_memory)
    least = 2 * FIRST_SLOTS * SLOT_BYTES
    if memory < least:
        raise BadInput(
            f"--max-memory {args.max_memory}: the initial state and what finds it again take {least >> 10}K",
            "give more, such as 500M",
        )
    if args.workers < 0:
        raise BadInput(f"--workers {args.workers}: a number of cores is 1 or more", "leave it out to use all there are")
    return How(
        unreduced=args.unreduced,
        max_states=states,
        max_memory=memory,
        workers=args.workers,
        visited=args.visited,
        memory=args.memory,
        fairness=args.fairness or "fifo-locks",
    )


def main(args: argparse.Namespace) -> int:
    """Explore and report.

    :returns: 0 holds, 1 violated, 4 inconclusive.
    :raises BadInput: for a model that cannot be explored.
    """
    how = how_of(args)
    if args.html:
        from pagelab.report.page import check_path

        check_path(Path(args.html))
    if args.steer:
        from pagelab.guest.kernels import check_name

        check_name(args.steer)
    if args.target and (args.target.endswith(".py") or Path(args.target).is_file()):
        return check_file(args, how)
    from pagelab.check.engine_code import prepare
    from pagelab.cli import check_designs

    prepare()
    if args.set:
        raise BadInput("--set sets a parameter of a model in a file, not of a design")
    if args.target and args.scenario:
        return check_designs.check_scenario(args, how)
    return check_designs.check_table(args, how)


def check_file(args: argparse.Namespace, how: How) -> int:
    """Explore a model in a file."""
    from pagelab.check.model_file import load_file
    from pagelab.lang.declare import attached

    for option, value in (("--property", args.property), ("--scenario", args.scenario), ("--steer", args.steer)):
        if value:
            raise BadInput(f"{option} is for a design, not for a file")
    try:
        model = replace(load_file(Path(args.target), args.set), memory=how.memory)
    except SyntaxError as error:
        raise not_a_model(error) from None
    with attached(model.probes):
        outcome, told = (explore_runs if args.fairness else explore_file)(model, how)
        if args.json:
            print_json([document(model, outcome, told)])
        if told is None and not args.json:
            say_verdict(model, outcome)
        elif told is not None:
            from pagelab.cli import counterexamples

            title = title_of(model, outcome)
            if not args.json:
                say_verdict(model, outcome)
                counterexamples.show(told, title)
            counterexamples.write([counterexamples.data(told, title)] if args.html else [], args.html)
            if args.pdb:
                counterexamples.debug(told)
    return {"violated": 1, "inconclusive": 4}.get(outcome.verdict, 0)


def print_json(document: object) -> None:
    """One document on stdout."""
    import json

    print(json.dumps(document, indent=2))


def not_a_model(error: SyntaxError) -> BadInput:
    """What is outside the language, and where."""
    hint = "docs/reference/language.md says what a model may use"
    return BadInput(f"{error.filename}:{error.lineno}: {error.msg}", hint)


def explore_file(model: Model, how: How) -> tuple[Outcome, Told | None]:
    """Search one model; a counterexample comes step by step, after it has been run in CPython."""
    from pagelab.check.explore import explore
    from pagelab.cli.live import Live

    try:
        system = model.system()
        initial = system.initial_bytes(model.setup)
    except SyntaxError as error:
        raise not_a_model(error) from None
    except (ValueError, AssertionError) as error:
        raise BadInput(f"{model.name}: the initial state cannot be made: {error}") from None
    with Live() as live:
        outcome = explore(system, initial, how, progress=lambda so_far: live.show(progress_of(so_far)))
    if outcome.schedule is None:
        return outcome, None
    from pagelab.check.counterexample import tell
    from pagelab.check.fewest import fewest_preemptions

    state = system.initial(model.setup)
    schedule = fewest_preemptions(system, state, outcome.states, how.max_memory) or outcome.schedule
    return outcome, tell(model, system, state, outcome, schedule)


def explore_runs(model: Model, how: How) -> tuple[Outcome, Told | None]:
    """Whether the threads of a model that are no daemons come to their end."""
    from pagelab.check.liveness_verdict import liveness_verdict, tell_liveness
    from pagelab.check.verdicts import Verdict
    from pagelab.cli.live import Live

    try:
        with Live() as live:
            verdict = liveness_verdict(Verdict("", "", ""), model, how, lambda so_far: live.show(progress_of(so_far)))
    except SyntaxError as error:
        raise not_a_model(error) from None
    assert verdict.outcome is not None
    return verdict.outcome, None if verdict.schedule is None else tell_liveness(model, verdict)


def progress_of(outcome: Outcome) -> str:
    """How far a search is."""
    rate = outcome.transitions / outcome.seconds / 1e6 if outcome.seconds else 0
    return (
        f"{outcome.states:,} states, {outcome.transitions:,} transitions ({rate:.1f} M/s), depth {outcome.depth}, "
        f"{outcome.memory_bytes >> 20:,} MiB"
    )


def document(model: Model, outcome: Outcome, told: Told | None) -> dict[str, Any]:
    """One element of the list that ``check --json`` prints, for a model in a file."""
    return {
        "design": model.name,
        "scenario": None,
        "verdict": outcome.verdict,
        "property": outcome.violation or None,
        "states": outcome.states,
        "transitions": outcome.transitions,
        "depth": outcome.depth,
        "seconds": round(outcome.seconds, 6),
        "memory_bytes": outcome.memory_bytes,
        "reduction": outcome.reduction,
        "approximation": outcome.odds or "none",
        "counterexample": told.to_json() if told is not None else None,
    } | ({"fairness_needed": outcome.fairness_needed or None} if outcome.fairness else {})


def label_of(model: Model, outcome: Outcome) -> dict[str, str]:
    """What a verdict rests on, in words."""
    from pagelab.lang.store_buffer import WORDS as MEMORY_WORDS

    return {
        "states": progress_of(outcome),
        "bounded": f"{len(model.threads)} threads",
        "granularity": "every load, store and lock operation is a step",
        "memory": MEMORY_WORDS[model.memory],
        "fairness": outcome.fairness or "none needed: these are properties of states",
        "reduction": outcome.reduction,
        "approximation": outcome.odds or "none",
    }


def title_of(model: Model, outcome: Outcome) -> Title:
    """What a counterexample of a model in a file is about."""
    from pagelab.report.case import Title

    return Title(model.name, "", "", outcome.violation, label_of(model, outcome))


def needs(outcome: Outcome | None, fairness: str) -> str:
    """The weakest fairness under which threads end, in parentheses; "" if it is not known."""
    if fairness:
        return f" (fairness needed: {fairness})"
    known = outcome is not None and outcome.verdict == "violated" and outcome.complete
    return " (whatever the fairness)" if known else ""


def say_verdict(model: Model, outcome: Outcome) -> None:
    """The verdict with what it rests on."""
    from rich.console import Console

    console = Console(highlight=False)
    colour = {"holds": "green", "violated": "red"}.get(outcome.verdict, "yellow")
    said = f": {outcome.violation}" if outcome.violation else ""
    if outcome.fairness:
        said = f" under {outcome.fairness}{needs(outcome, outcome.fairness_needed)}{said}"
    console.print(f"[bold]{model.name}[/]  [bold {colour}]{outcome.verdict}[/]{said}", soft_wrap=True)
    label = label_of(model, outcome)
    console.print(
        f"{label['bounded']}, {label['states']}, {outcome.seconds:.2f} s; {label['granularity']}, {label['memory']}, "
        f"reduction: {label['reduction']}",
        style="dim",
        soft_wrap=True,
    )
    if outcome.odds:
        console.print(outcome.odds, style="yellow", soft_wrap=True)
