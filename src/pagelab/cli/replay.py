# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab replay``: predict every page of a capture with the model, and score the prediction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pagelab.replay.result import Divergence, Result

EXAMPLE = """\
example:
  pagelab record --kernel 6.1 --workload churn --cpus 2 --seed 1 -o churn
  pagelab replay churn

  pagelab replay churn --explain 4711    why event 4711 was judged as it was
  pagelab replay churn --design 5.10     what if it had been 5.10

what is scored:
  alloc    the page that an allocation got
  refill   pages taken from the free lists to a pcplist (or past it), one by one
  drain    pages given back from a pcplist to the free lists, one by one, with their migratetype
  free     frees of pages that the model, too, holds for allocated
  isolate  free pages moved when a pageblock is isolated or un-isolated
  pageset  values of pcp->high and pcp->batch that were set

exit status: 0 all exact, 1 something happened otherwise than predicted, 4 the capture does not decide all"""

ROWS = {
    "alloc": "allocations",
    "refill": "refills",
    "drain": "drains",
    "free": "frees",
    "isolate": "isolation moves",
    "pageset": "high and batch",
    "fallback": "fallbacks",
}


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("capture", type=Path, metavar="DIR", help="a capture: a directory, or a .tar.zst of it")
    parser.add_argument(
        "--design", metavar="D", help="what if the kernel had had this design: the same work under both"
    )
    parser.add_argument("--explain", type=int, metavar="N", help="show event N of the trace, and why it was judged so")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = EXAMPLE


def main(args: argparse.Namespace) -> int:
    """Replay and report.

    :returns: 0 exact, 1 not exact, 4 not all decided; for what another design would have done 0, or 4 if it stopped.
    """
    if args.explain is not None:
        return explain_one(args)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pagelab.replay.run import replay_capture
    from pagelab.replay.whatif import what_if_capture

    console = Console(stderr=True)
    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replay", total=None)
        answer = None
        if args.design is not None:
            answer = what_if_capture(
                args.capture, args.design, lambda done, total: bar.update(task, completed=done, total=total)
            )
        result = replay_capture(
            args.capture, args.design, lambda done, total: bar.update(task, completed=done, total=total)
        )
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    if args.json:
        import msgspec

        document = result.to_json() | ({"what_if": answer.to_json()} if answer else {})
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    elif answer is not None:
        from pagelab.cli.replay_whatif import report_what_if

        report_what_if(answer, Console(highlight=False))
    else:
        report(result, Console(highlight=False))
    return result.status if answer is None else answer.status


def explain_one(args: argparse.Namespace) -> int:
    """Show one event; the exit status is that of its judgement."""
    from rich.console import Console

    from pagelab.replay.explain_event import explain_event

    one = explain_event(args.capture, args.design, args.explain)
    if args.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(one), indent=2).decode())
        return one.status
    console = Console(highlight=False)
    style = {"exact": "green", "missed": "red", "unknown": "yellow"}.get(one.judged, "")
    console.print(f"[bold]event {one.event}[/], time {one.time}: [{style or 'dim'}]{one.judged}[/]")
    for name, words in (
        ("observed", one.observed),
        ("expected", one.expected),
        ("reason", one.reason),
        ("rule", one.rule),
        ("kernel", one.kernel),
        ("would tell", one.decides),
    ):
        if words:
            console.print(f"  {name:10} {words}", markup=False, soft_wrap=True)
    for title, lines in (("events around it", one.around), ("the model's lists before it", one.lists)):
        console.print(f"\n{title}", style="bold")
        for line in lines:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    return one.status


def report(result: Result, console: Console) -> None:
    """The score as a table, and the first divergence with the model's lists around it."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("exact", "of", "missed", "unknown", ""):
        table.add_column(name, justify="right")
    for name, label in ROWS.items():
        score = result.scores[name]
        if score.total == 0:
            continue
        good = score.exact == score.total
        table.add_row(
            label,
            f"{score.exact:,}",
            f"{score.total:,}",
            f"{score.missed:,}",
            f"{score.unknown:,}",
            f"[{'green' if good else 'red' if score.missed else 'yellow'}]{_percent(score.exact, score.total)}[/]",
        )
    console.print(f"[bold]Linux {result.kernel}[/]  design {result.design}  {result.zone}  {result.cpus} CPUs")
    console.print()
    console.print(table)
    console.print()
    if result.exact:
        console.print("[green]exact[/]: the model named every page that the kernel chose, before it looked")
    elif result.pages_exact:
        console.print(
            "[yellow]inconclusive[/]: every page is as predicted, but not all values of high and batch could be judged"
        )
    elif result.missed:
        console.print("[red]not exact[/]: the kernel did otherwise than the model said; the first time is shown below")
    else:
        console.print("[yellow]inconclusive[/]: nothing happened otherwise than predicted, but not all could be judged")
    rate = result.events / result.seconds / 1e6 if result.seconds else 0
    took = f"{result.seconds:.3f} s ({rate:.0f} M events/s), {result.seconds_total:.1f} s in all"
    console.print(f"{result.events:,} events in {took}", style="dim")
    for reason, count in result.unknown_reasons.items():
        begin = result.unknown_from[reason]
        where = f"; from event {begin} on, see --explain {begin}" if begin >= 0 else ""
        console.print(f"unknown: {count:,} events: {reason}{where}", style="yellow", markup=False, soft_wrap=True)
    if result.fault:
        style = "yellow" if result.unmodelled else "red"
        console.print(f"the model stopped: {result.fault}", style=style, markup=False, soft_wrap=True)
    if result.first_divergence is not None:
        console.print()
        show_divergence(result.first_divergence, console)


def _percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all."""
    return f"{part * 10000 // whole / 100:.2f} %"


def show_divergence(divergence: Divergence, console: Console) -> None:
    """What happened, what the model had said, and what it held."""
    console.print(f"first divergence: event {divergence.event}, time {divergence.time}", style="bold red")
    console.print(f"  observed   {divergence.observed}", markup=False)
    console.print(f"  predicted  {divergence.predicted}", markup=False)
    for title, lines in (("events around it", divergence.around), ("the model's lists", divergence.lists)):
        console.print(f"\n{title}", style="bold")
        for line in lines:
            console.print(f"  {line}", markup=False, soft_wrap=True)
