# SPDX-License-Identifier: GPL-2.0-or-later
"""Try every violation of the designs that are kernels on the kernel itself, and write the table of what came of it.

``python tools/steering.py`` checks each design, steers each violated verdict, and keeps what came of it in
``build/steering``: a run that was ended goes on where it was.  ``--page FILE`` writes all below the mark in a page;
with ``--kept`` from what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "steering"
#: What stands below this line of the page is written by this program.
MARK = "<!-- table: tools/steering.py --page docs/reference/steering.md -->\n"
KERNELS = ("5.10", "6.1", "6.12", "7.2")
#: Seconds after which a check, or a guest, is given up.
PATIENCE = 3600
#: Of the evidence a cell holds so many lines: those that matter.
MOST_LINES = 4


def run(*arguments: str) -> tuple[int, str, str]:
    """``pagelab`` with arguments: status, stdout, stderr."""
    command = [sys.executable, "-m", "pagelab", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


def violations(kernel: str, checked: Path | None) -> Iterator[dict[str, Any]]:
    """The violated verdicts of the design that is a kernel, simple scenarios first.

    :param checked: a directory with what ``check --json`` printed, as ``KERNEL.json``; None: check now, once.
    """
    file = (checked or KEPT) / f"{kernel}.json"
    if not file.is_file():
        status, out, errors = run("check", kernel, "--json")
        if status not in (0, 1):
            sys.exit(f"check {kernel}: {errors.strip()}")
        file.write_text(out, "utf-8")
    yield from (one for one in json.loads(file.read_text("utf-8")) if one["verdict"] == "violated")


def name_of(kernel: str, element: dict[str, Any]) -> str:
    """Of the file with what came of it."""
    return f"{kernel}-{element['design']}-{element['scenario']}-{element['property']}"


def steered(kernel: str, element: dict[str, Any], times: int) -> dict[str, Any]:
    """What ``steer --json`` says of it, from the file if it was steered before."""
    file = KEPT / f"{name_of(kernel, element)}.json"
    if file.is_file():
        kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if "trouble" not in kept:
            return kept
    counterexample = KEPT / "counterexample.json"
    counterexample.write_text(json.dumps([element]), "utf-8")
    status, out, errors = run("steer", str(counterexample), "--kernel", kernel, "--times", str(times), "--json")
    if status in (0, 1, 4) and out.strip():
        (result,) = json.loads(out)
    else:
        result = {name: element[name] for name in ("design", "scenario", "property")}
        said = [line for line in errors.splitlines() if line.startswith("pagelab: ")] or [f"status {status}"]
        result |= {"kernel": kernel, "outcome": "inconclusive", "trouble": said[-1].removeprefix("pagelab: ")}
    file.write_text(json.dumps(result, indent=2), "utf-8")
    return dict(result)


def rows(kernels: Sequence[str], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All violations, each with its outcome; with ``--kept`` those that were steered."""
    for kernel in kernels:
        for element in violations(kernel, args.checked):
            if args.scenario and element["scenario"] not in args.scenario:
                continue
            if args.kept and not (KEPT / f"{name_of(kernel, element)}.json").is_file():
                continue
            yield steered(kernel, element, args.times)


def table(found: Sequence[dict[str, Any]]) -> str:
    """A row for each violation, in the order of kernels and scenarios; then how many had which outcome."""
    lines = ["| kernel | scenario | property | outcome | times | because |", "|---|---|---|---|---:|---|"]
    for one in found:
        times = f"{one.get('reproduced', 0)} of {one['times']}" if one.get("times") else "–"
        lines.append(
            f"| {one['kernel']} | {one['scenario']} | {one['property']} | {one['outcome']} | {times} | {because(one)} |"
        )
    releases = sorted({str(one["release"]) for one in found if one.get("release")})
    lines += ["", f"Kernels: {', '.join(releases) or 'none'}.", ""]
    for outcome in ("reproduced", "not reproduced", "cannot be forced", "inconclusive"):
        lines.append(f"- {outcome}: {sum(one['outcome'] == outcome for one in found)}")
    return "\n".join(lines) + "\n"


def because(one: dict[str, Any]) -> str:
    """The reason, and what matters of the trace."""
    reason = str(one.get("trouble") or one.get("reason", ""))
    if one["outcome"] == "cannot be forced" and one.get("reasons"):
        reason = str(one["reasons"][0])
    trace = [line for line in one.get("evidence", ()) if any(word in line for word in ("ret=fail", "of the scenario"))]
    cells = [reason, *(f"`{line}`" for line in trace[:MOST_LINES] if one["outcome"] == "reproduced")]
    return "<br>".join(cell.replace("|", "\\|") for cell in cells)


def main(argv: Sequence[str] | None = None) -> int:
    """:returns: 0; 3 if something stayed open."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="only these (default: all)")
    parser.add_argument("--scenario", action="append", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="guests for each violation (default 1)")
    parser.add_argument("--checked", type=Path, metavar="DIR", help="take DIR/KERNEL.json for what the checks found")
    parser.add_argument("--kept", action="store_true", help="what is kept, steer nothing")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table below the mark in this page")
    args = parser.parse_args(argv)
    KEPT.mkdir(parents=True, exist_ok=True)
    found = []
    for one in rows(args.kernel or KERNELS, args):
        found.append(one)
        words = one.get("trouble") or one.get("reason", "")
        where = f"{one['kernel']} {one['scenario']} {one['property']}"
        print(f"{len(found)}: {where}: {one['outcome']}: {words}", file=sys.stderr, flush=True)
    text = table(found)
    if args.page is None:
        print(text, end="")
    else:
        before = args.page.read_text("utf-8").partition(MARK)[0]
        args.page.write_text(before + MARK + "\n" + text, "utf-8")
    return 3 if any(one["outcome"] == "inconclusive" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
