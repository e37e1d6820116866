# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab features``: the upstream changes that the model knows."""

from __future__ import annotations

import argparse
import json


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", nargs="?", metavar="FEATURE", help="only this one, with its commit and subject")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = "examples:\n  pagelab features\n  pagelab features drain_count_under_lock"


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.BadInput: there is no such feature."""
    import difflib

    from pagelab.errors import BadInput
    from pagelab.linux.features import FEATURES

    rows = [feature for feature in FEATURES if args.name in (None, feature.name)]
    if not rows:
        near = difflib.get_close_matches(args.name, [feature.name for feature in FEATURES], n=1)
        hint = f"did you mean {near[0]}?" if near else "`pagelab features` lists them"
        raise BadInput(f"there is no feature {args.name!r}", hint)
    if args.json:
        fields = ("name", "commit", "mail", "subject", "release", "stable", "effect")
        print(json.dumps([{field: getattr(feature, field) for field in fields} for feature in rows], indent=2))
    elif args.name:
        print(rows[0].name)
        print(f"  {rows[0].comment[2:]}")
        print(f"  {rows[0].effect}")
    else:
        width = max(len(feature.name) for feature in rows)
        for feature in rows:
            releases = feature.release + (f", {feature.stable}" if feature.stable else "")
            print(f"{feature.name:{width}}  {feature.commit or feature.mail:12}  {releases:14}  {feature.effect}")
    return 0
