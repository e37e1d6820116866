# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab scenarios``: the scenarios that ``pagelab check`` knows; one of them as a file to start from."""

from __future__ import annotations

import argparse
import json


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the file of this one")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = """\
examples:
  pagelab scenarios
  pagelab scenarios offline-free > mine.toml   then change it: pagelab check 5.10 --scenario mine.toml"""


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.BadInput: there is no such scenario."""
    from dataclasses import asdict

    from pagelab.check.scenario import BUNDLED, bundled, scenario_named

    if args.name and not args.json:
        print(bundled(args.name).read_text("utf-8"), end="")
        return 0
    scenarios = [scenario_named(name) for name in ([args.name] if args.name else BUNDLED)]
    if args.json:
        print(json.dumps([asdict(scenario) for scenario in scenarios], indent=2))
        return 0
    width = max(len(scenario.name) for scenario in scenarios)
    for scenario in scenarios:
        print(f"{scenario.name:{width}}  {scenario.about}")
    return 0
