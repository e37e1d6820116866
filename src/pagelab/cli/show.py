# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab show``: a procedure of the model as a design has it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("design", metavar="DESIGN", help="`pagelab designs` lists them")
    parser.add_argument("procedure", nargs="?", metavar="PROCEDURE", help="by its name in the kernel; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = "examples:\n  pagelab show 6.1 drain_pages_zone\n  pagelab show 6.1.0 | less"


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.BadInput: there is no such design or procedure."""
    import difflib

    from pagelab.errors import BadInput
    from pagelab.linux.designs import design_named
    from pagelab.linux.effective import effective_source, procedures

    design = design_named(args.design)
    functions = procedures()
    if args.procedure is not None:
        if args.procedure not in functions:
            near = difflib.get_close_matches(args.procedure, functions, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`pagelab show {design.name}` prints all"
            raise BadInput(f"design {design.name} has no procedure {args.procedure!r}", hint)
        functions = {args.procedure: functions[args.procedure]}
    design.switch_on()
    rows = [
        {
            "procedure": name,
            "file": f"pagelab/linux/{Path(function.__code__.co_filename).name}",
            "line": function.__code__.co_firstlineno,
            "source": effective_source(function),
        }
        for name, function in functions.items()
    ]
    if args.json:
        print(json.dumps({"design": design.name, "features": design.feature_names(), "procedures": rows}, indent=2))
    else:
        print("\n\n".join(f"# {row['file']}:{row['line']}\n{row['source']}" for row in rows), end="")
    return 0
