# SPDX-License-Identifier: GPL-2.0-or-later
"""``pagelab kernels``: what can be booted, and fetching it."""

from __future__ import annotations

import argparse
import json


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """See the command line contract in docs."""
    parser.epilog = (
        "examples:\n  pagelab kernels                      what there is, and what is in the cache\n"
        "  pagelab kernels fetch 6.1            download it, with apt and the machine's own mirror\n"
        "  pagelab kernels fetch 6.1 --refresh  look for a newer package of it"
    )
    parser.add_argument("action", nargs="?", choices=("list", "fetch"), default="list", help="list is the default")
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels to fetch, for example 6.1")
    parser.add_argument("--refresh", action="store_true", help="ask the mirror even if the kernel is in the cache")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """:raises pagelab.errors.PagelabError: unknown name, or apt, the network or the package is missing."""
    from pagelab.errors import BadInput
    from pagelab.guest import kernels

    names = [kernels.check_name(name) for name in args.names]
    if args.action == "fetch":
        if not names:
            raise BadInput("kernels fetch: which?", f"known are {', '.join(kernels.KERNELS)}")
        _fetch(names, args.refresh)
    rows = []
    for name in names or kernels.KERNELS:
        kernel = kernels.cached(name)
        row: dict[str, object] = {"name": name, "suites": list(kernels.KERNELS[name]), "cached": kernel is not None}
        if kernel is not None:
            row |= {"release": kernel.release, "version": kernel.version, "suite": kernel.suite}
        rows.append(row)
    if args.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            state = f"{row['release']}  ({row['version']}, {row['suite']})" if row["cached"] else "not fetched yet"
            print(f"{row['name']:6} {state}")
    return 0


def _fetch(names: list[str], refresh: bool) -> None:
    from rich.console import Console

    from pagelab.cli.steps import Steps
    from pagelab.guest import kernels
    from pagelab.guest.tools import fetch_tools

    with Steps(Console(stderr=True)) as steps:
        for name in names:
            steps.begin(f"fetch {name}")
            kernels.fetch(name, refresh=refresh)
        steps.begin("fetch busybox for the guest")
        fetch_tools()
