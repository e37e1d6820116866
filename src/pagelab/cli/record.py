# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab record``: boot a kernel, work its hot-added memory, write a capture."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

EXAMPLE = """\
examples:
  pagelab record --kernel 6.1 --workload churn --cpus 2 --seed 1 -o runs/1
  pagelab record --kernel 6.1 --workload files --offline 3 -o runs/2
  pagelab record --kernel 6.1 --package stress-ng --command 'stress-ng --vm 2 --vm-ops 20000 --seed 7' -o runs/3"""


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """See the command line contract in docs."""
    parser.epilog = EXAMPLE
    parser.add_argument("--kernel", required=True, metavar="NAME", help="one of `pagelab kernels`, fetched if needed")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", type=Path, help="where the capture goes")
    parser.add_argument("--force", action="store_true", help="replace DIR if it is there")
    work = parser.add_argument_group("what it does")
    work.add_argument("--workload", default="churn", metavar="W", help="churn (default), files or fork")
    work.add_argument("--seed", default=1, type=int, metavar="N", help="of the workload's random choices (default 1)")
    work.add_argument("--pages", type=int, metavar="N", help="pages allocated, all CPUs (default 120000)")
    work.add_argument("--command", metavar="LINE", help="a shell command instead of a built-in workload")
    work.add_argument("--package", default=[], action="append", metavar="NAME", help="Debian package the command needs")
    work.add_argument("--offline", default=0, type=int, metavar="N", help="take N memory blocks offline meanwhile")
    work.add_argument("--online-again", action="store_true", help="bring each of them back")
    work.add_argument(
        "--gigantic", default=0, type=int, metavar="N", help="N times allocate a huge page of 1 GiB and free it"
    )
    work.add_argument(
        "--virtio-mem", metavar="M", help="the memory is a virtio-mem device: unplug M of it, plug it again"
    )
    machine = parser.add_argument_group("the guest")
    machine.add_argument("--cpus", default=2, type=int, metavar="N", help="number of CPUs (default 2)")
    machine.add_argument("--memory", default="1G", metavar="M", help="memory to hot-add, 128M to 4G (default 1G)")
    machine.add_argument("--zone", default="movable", choices=("movable", "kernel"), help="where that memory goes")
    machine.add_argument("--thp", default="never", choices=("never", "madvise", "always"), help="huge pages (never)")
    machine.add_argument("--accelerator", default="auto", choices=("auto", "tcg", "kvm"), help="how QEMU runs it")
    machine.add_argument(
        "--resume",
        action="store_true",
        help="go on from the boot of an earlier run with the same guest, kept below ~/.cache/pagelab/boots",
    )
    machine.add_argument("--timeout", default=300.0, type=float, metavar="S", help="give up after S seconds (300)")
    trace = parser.add_argument_group("the trace")
    trace.add_argument("--clock", default="counter", metavar="NAME", help="trace clock (default counter)")
    trace.add_argument("--no-probes", action="store_true", help="tracepoints only, no kprobes")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def megabytes(text: str, option: str = "--memory") -> int:
    """``512M`` or ``2G`` in MiB.

    :raises BadInput: anything else.
    """
    from pagelab.errors import BadInput

    match = re.fullmatch(r"(\d{1,6})\s*([MG])(?:iB|B)?", text, re.IGNORECASE)
    if match is None:
        raise BadInput(f"{option} {text!r} is not a size", "give for example 512M or 2G")
    return int(match[1]) * (1024 if match[2] in "gG" else 1)


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.PagelabError: bad arguments, missing programs, a guest that failed."""
    from rich.console import Console

    from pagelab.cli.steps import Steps
    from pagelab.errors import BadInput
    from pagelab.guest.record import Plan, record
    from pagelab.guest.workloads import DEFAULT_PAGES

    if args.command is not None and not args.command.strip():
        raise BadInput("--command is empty", "give a command line, or a --workload instead")
    plan = Plan(
        kernel=args.kernel,
        workload=args.workload,
        seed=args.seed,
        cpus=args.cpus,
        memory_mib=megabytes(args.memory),
        zone=args.zone,
        clock=args.clock,
        pages=DEFAULT_PAGES if args.pages is None else args.pages,
        offline=args.offline,
        online_again=args.online_again,
        gigantic=args.gigantic,
        virtio_mem_mib=0 if args.virtio_mem is None else megabytes(args.virtio_mem, "--virtio-mem"),
        thp=args.thp,
        with_probes=not args.no_probes,
        packages=tuple(args.package),
        command=args.command or "",
        accelerator=args.accelerator,
        timeout=args.timeout,
        resume=args.resume,
    )
    plan.check()
    console = Console(stderr=True)
    what = "command" if plan.command else plan.workload
    with Steps(console, f"record {plan.kernel} {what}") as steps:
        outcome = record(
            plan,
            args.output,
            lambda name, seconds: steps.begin(name) if seconds is None else steps.end(),
            force=args.force,
        )
    if outcome.lost:
        # The buffers are as large as a built-in workload of that many pages needs.
        hint = "more --pages make them larger" if plan.command else "fewer --pages"
        console.print(
            f"pagelab: {outcome.lost} events were lost: the trace buffers were full\n  hint: {hint}",
            markup=False,
            highlight=False,
        )
    if args.json:
        print(
            json.dumps(
                {
                    "capture": str(outcome.capture),
                    "kernel": outcome.kernel,
                    "release": outcome.release,
                    "seconds": round(outcome.seconds, 2),
                    "accelerator": outcome.accelerator,
                    "events": outcome.events,
                    "lost": outcome.lost,
                    "steps": outcome.steps,
                    "offline": outcome.offline,
                    "contig": outcome.contig,
                }
            )
        )
    else:
        print(f"{outcome.capture}: {outcome.events:,} events of {outcome.release}")
        for block in outcome.offline:
            print(f"  memory block {block['block']}: {block['result']}, {block['seconds']:.2f} s")
        for contig in outcome.contig:
            reached = f"{contig['reached']} of {contig['goal']}"
            print(f"  {contig['of']}: {reached}, {contig['seconds']:.2f} s")
    return 0
