# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab designs``: the kernels and proposals that the model can be."""

from __future__ import annotations

import argparse
import json


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", nargs="?", metavar="DESIGN", help="only this one, with its features")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.epilog = "examples:\n  pagelab designs\n  pagelab designs 6.1"


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.BadInput: there is no such design."""
    from pagelab.linux.designs import DESIGNS, design_named
    from pagelab.linux.features import FEATURES

    rows = [design_named(args.name)] if args.name else list(DESIGNS.values())
    if args.json:
        document = [
            {
                "name": design.name,
                "base": design.base or None,
                "about": design.about,
                "features": design.feature_names(),
            }
            for design in rows
        ]
        print(json.dumps(document, indent=2))
    else:
        width = max(len(design.name) for design in rows)
        for design in rows:
            base = f" ({design.base} and {len(design.features)} features)" if design.base else ""
            print(f"{design.name:{width}}  {design.about}{base}")
        if args.name:
            mine = rows[0].feature_names()
            for feature in FEATURES:
                print(f"  {'+' if feature.name in mine else '-'} {feature.name}: {feature.effect}")
    return 0
