# SPDX-License-Identifier: GPL-2.0-or-later
"""Hold the model against real kernels: record and replay kernel x zone x workload x CPUs, and write the table of it.

``python tools/conformance.py`` boots a kernel for each row, replays what it recorded, and keeps the score in
``build/conformance``: a run that was ended goes on where it was.  ``--page FILE`` writes all below the mark in a page;
with ``--kept`` from the scores that are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pagelab.errors import PagelabError
from pagelab.guest.record import Plan, record
from pagelab.guest.workloads import DEFAULT_PAGES
from pagelab.replay.run import replay_capture

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "conformance"
#: What stands below this line of the page is written by this program.
MARK = "<!-- table: tools/conformance.py --page docs/reference/conformance.md -->\n"
KERNELS = ("5.10", "6.1", "6.12", "7.2")
ZONES = ("movable", "kernel")
WORKLOADS = ("churn", "files", "fork", "stress-ng")
CPUS = (1, 2, 4)
OFFLINE = (0, 3)
STRESS = "stress-ng --vm 2 --vm-bytes {kib}K --vm-ops {operations} --seed {seed}"
#: Of stress-ng, for each page that another workload allocates: operations, and memory of each worker.
OPERATIONS, KIB = 1 / 6, 0.8
#: More than there is, so that pages are swapped out (to the scratch disk), by kswapd and by those who want memory.
SWAP = (
    "mkswap /dev/vda > /dev/null && swapon /dev/vda && echo 60 > /proc/sys/vm/swappiness &&"
    " stress-ng --vm 2 --vm-bytes 380M --vm-ops 400 --seed {seed}; swapoff /dev/vda"
)
#: Workloads that are not built in, or during which something else goes on; ``unplug`` and ``gigantic`` call
#: alloc_contig_range().
OTHERS: dict[str, dict[str, Any]] = {
    "stress-ng": {"command": STRESS},
    "stress-ng+thp": {"command": STRESS, "thp": "always"},
    "stress-ng+swap": {"command": SWAP, "memory_mib": 256},
    "churn+unplug": {"virtio_mem_mib": 100},
    "files+unplug": {"virtio_mem_mib": 100},
    "churn+gigantic": {"gigantic": 2, "memory_mib": 2048},
    "files+gigantic": {"gigantic": 2, "memory_mib": 2048},
}
EVERY_WORKLOAD = tuple(dict.fromkeys((*WORKLOADS, *OTHERS)))
SCORES = ("alloc", "refill", "drain", "free", "isolate", "pageset", "fallback")
#: Seconds after which a guest is given up.
PATIENCE = 900
#: How often a capture is made again of which the kernel left out hits of probes: about 1 in 100.
AGAIN = 2


@dataclass(frozen=True, slots=True)
class Row:
    """What is recorded; ``offline``: memory blocks that are taken offline meanwhile."""

    kernel: str
    zone: str
    workload: str
    cpus: int
    offline: int

    def name(self, seed: int) -> str:
        """Of the file with the score."""
        return f"{self.kernel}-{self.zone}-{self.workload}-{self.cpus}-{self.offline}-{seed}"

    def plan(self, seed: int, pages: int) -> Plan:
        """What to record.  A guest goes on from the boot of an earlier one with the same setup."""
        what: dict[str, Any] = {**OTHERS.get(self.workload, {})}
        program, _, _ = self.workload.partition("+")
        if program == "stress-ng":
            sizes = {"operations": round(pages * OPERATIONS), "kib": round(pages * KIB)}
            what |= {"packages": (program,), "command": what["command"].format(seed=seed, **sizes)}
        else:
            what["workload"] = program
        what |= {"kernel": self.kernel, "zone": self.zone, "cpus": self.cpus, "offline": self.offline}
        return Plan(**what, seed=seed, pages=pages, timeout=PATIENCE, resume=True)

    @property
    def possible(self) -> bool:
        """Two cannot shrink the memory; huge pages of 1 GiB do not go with a movable zone before 7.2."""
        if self.workload.endswith(("+unplug", "+swap")):
            return not self.offline
        return self.zone == "kernel" or self.kernel == "7.2" or not self.workload.endswith("+gigantic")


def one_line(error: PagelabError) -> str:
    return " ".join(str(error).split())[-300:]


def manifest(capture: Path) -> dict[str, Any]:
    """What capture.toml says."""
    return tomllib.loads((capture / "capture.toml").read_text("utf-8"))


def score(row: Row, seed: int, pages: int, keep: Path | None) -> dict[str, Any]:
    """Record and replay; what came of it."""
    with tempfile.TemporaryDirectory(prefix="pagelab-conformance-") as work:
        capture = Path(work) / "capture"
        for again in itertools.count():
            try:
                release = record(row.plan(seed, pages), capture, force=True).release
            except PagelabError as error:
                return {**asdict(row), "seed": seed, "trouble": f"record: {one_line(error)}"}
            if again == AGAIN or not manifest(capture)["trace"]["probes_missed"]:
                break
        found = judged(row, seed, release, capture) | {"again": again}
        if keep is not None and (found["trouble"] or found["status"]):
            shutil.copytree(capture, keep / row.name(seed), dirs_exist_ok=True)
    return found


def judged(row: Row, seed: int, release: str, capture: Path) -> dict[str, Any]:
    """Replay; what came of it."""
    found: dict[str, Any] = {**asdict(row), "seed": seed, "release": release}
    try:
        result = replay_capture(capture)
    except PagelabError as error:
        return found | {"trouble": f"replay: {one_line(error)}"}
    replayed = result.to_json()
    sums = {name: sum(replayed[one][name] for one in SCORES) for name in ("total", "exact", "unknown")}
    return found | {
        "status": result.status,
        "design": replayed["design"],
        "events": replayed["events"],
        **sums,
        "missed": sums["total"] - sums["exact"] - sums["unknown"],
        "reasons": replayed["unknown_reasons"],
        "fault": replayed["fault"],
        "rate": replayed["events_per_second"],
        "trouble": "",
    }


def scored(row: Row, seed: int, pages: int, keep: Path | None) -> dict[str, Any]:
    """The score that is kept, or a new one; what could not be judged is tried again."""
    path = KEPT / f"{row.name(seed)}.json"
    if not path.is_file() or json.loads(path.read_text())["trouble"]:
        found = score(row, seed, pages, keep)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(found, indent=1))
        fresh.rename(path)
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def scores(
    rows: Iterable[Row], seeds: Iterable[int], pages: int, keep: Path | None, jobs: int
) -> Iterator[dict[str, Any]]:
    """All scores, each as soon as it is known."""
    for directory in (KEPT, *([keep] if keep is not None else [])):
        directory.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(jobs)
    try:
        waiting = [pool.submit(scored, row, seed, pages, keep) for seed, row in itertools.product(seeds, rows)]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def kept(wanted: Mapping[str, Collection[Any] | None]) -> Iterator[dict[str, Any]]:
    """The scores that are kept, whatever their seeds; of each field of a row the values that are wanted, or all."""
    for path in sorted(KEPT.glob("*.json")):
        one = json.loads(path.read_text())
        if all(values is None or one[name] in values for name, values in wanted.items()):
            yield one


def row_of(capture: Path) -> tuple[Row, int, str]:
    """What was recorded, with its seed and the kernel's release, as the capture tells."""
    facts = manifest(capture)
    work = facts["workload"]
    workload = work["command"].split()[0] if work.get("command") else work["name"]
    if workload == "mkswap":
        workload = "stress-ng+swap"
    elif facts["guest"].get("transparent_hugepage", "never") != "never":
        workload += "+thp"
    if facts.get("contig"):
        workload += "+unplug" if facts["contig"][0]["of"] == "virtio_mem" else "+gigantic"
    kernel, guest = facts["kernel"], facts["guest"]
    blocks = {entry["block"] for entry in facts.get("offline", [])}
    row = Row(kernel["name"], guest["zone"], workload, guest["cpus"], len(blocks))
    return row, work["seed"], kernel["release"]


def recorded(directories: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The scores of captures that were recorded earlier."""
    for capture in sorted(found.parent for directory in directories for found in directory.glob("*/capture.toml")):
        row, seed, release = row_of(capture)
        yield judged(row, seed, release, capture)


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 means all."""
    return f"{part * 10000 // whole / 100:.2f} %" if whole else "–"


def ranges(numbers: Iterable[int]) -> str:
    """``1–3, 7``: those that follow each other are one range."""
    words: list[list[int]] = []
    for number in sorted(set(numbers)):
        if words and words[-1][-1] == number - 1:
            words[-1][1:] = [number]
        else:
            words.append([number])
    return ", ".join("–".join(map(str, word)) for word in words)


def table(found: Sequence[dict[str, Any]]) -> str:
    """A row for each kernel, zone, workload, number of CPUs, with and without offlining; then the reasons."""
    numbers = ("predicted", "exact", "unknown", "missed", "M events/s")
    lines = [
        f"| kernel | zone | workload | CPUs | offline | captures | seeds | {' | '.join(numbers)} |",
        "|---|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    reasons: Counter[tuple[str, str, str]] = Counter()
    troubles: Counter[tuple[str, str]] = Counter()

    def key(one: dict[str, Any]) -> tuple[Any, ...]:
        return KERNELS.index(one["kernel"]), one["zone"], one["workload"], one["cpus"], one["offline"]

    for (_, zone, workload, cpus, offline), group in itertools.groupby(sorted(found, key=key), key):
        some = list(group)
        kernel = some[0]["kernel"]
        scored = [one for one in some if not one["trouble"]]
        for one in some:
            if one["trouble"]:
                troubles[kernel, one["trouble"]] += 1
            for reason, count in one.get("reasons", {}).items():
                reasons[kernel, zone, reason] += count
        total, exact, unknown, missed = (sum(one[n] for one in scored) for n in ("total", "exact", "unknown", "missed"))
        rates = [one["rate"] for one in scored if one["rate"]]
        rate = f"{sum(rates) / len(rates) / 1e6:.0f}" if rates else "–"
        seeds = ranges(one["seed"] for one in scored)
        count = f"{len(scored)}" if len(scored) == len(some) else f"{len(scored)} of {len(some)}"
        lines.append(
            f"| {kernel} | {zone} | {workload} | {cpus} | {offline} | {count} | {seeds} | {total:,} "
            f"| {percent(exact, total)} | {percent(unknown, total)} | {missed:,} | {rate} |"
        )
    releases = sorted({one["release"] for one in found if one.get("release")})
    lines += ["", f"Kernels: {', '.join(releases)}.", ""]
    if again := sum(one.get("again", 0) for one in found):
        lines += [f"Recorded again, because the kernel had left out hits of probes: {again}.", ""]
    if reasons:
        lines += ["| kernel | zone | unknown events | because |", "|---|---|---:|---|"]
        lines += [f"| {k} | {zone} | {n:,} | {reason} |" for (k, zone, reason), n in sorted(reasons.items())]
    if troubles:
        lines += ["", "Captures that could not be judged:", ""]
        lines += [f"- {kernel}, {n} times: {words}" for (kernel, words), n in sorted(troubles.items())]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """:returns: 0 if nothing was missed, 1 if something was, 3 if a capture could not be judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="captures a row (default 1)")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="the lowest of them (default 1)")
    parser.add_argument(
        "--pages", type=int, default=DEFAULT_PAGES, metavar="N", help=f"a capture allocates (default {DEFAULT_PAGES})"
    )
    for name, values in (("kernel", KERNELS), ("zone", ZONES), ("workload", EVERY_WORKLOAD)):
        parser.add_argument(f"--{name}", action="append", choices=values, help="only these (default: all)")
    for name, numbers in (("cpus", CPUS), ("offline", OFFLINE)):
        parser.add_argument(f"--{name}", action="append", type=int, help=f"only these (default: {numbers})")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="guests at the same time (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep captures that are not exact there")
    parser.add_argument("--kept", action="store_true", help="the scores that are kept, record nothing")
    parser.add_argument(
        "--captures",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="score the captures in DIR, record nothing",
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table below the mark in this page")
    args = parser.parse_args(argv)
    every = [
        Row(*each)
        for each in itertools.product(
            args.kernel or KERNELS,
            args.zone or ZONES,
            args.workload or EVERY_WORKLOAD,
            args.cpus or CPUS,
            OFFLINE if args.offline is None else args.offline,
        )
    ]
    rows = [row for row in every if row.possible]
    if args.kept or args.captures:
        wanted = {name: getattr(args, name) for name in Row.__dataclass_fields__}
        chosen = itertools.chain(kept(wanted) if args.kept else (), recorded(args.captures))
    else:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        chosen = itertools.chain(scores(rows, seeds, args.pages, args.keep, args.jobs))
    found = []
    for one in chosen:
        found.append(one)
        row = Row(*(one[name] for name in Row.__dataclass_fields__))
        words = (
            one["trouble"]
            or f"{one['exact']:,} of {one['total']:,}, unknown {one['unknown']:,}, missed {one['missed']}"
        )
        print(f"{len(found)}: {row.name(one['seed'])}: {words}", file=sys.stderr, flush=True)
    text = table(found)
    if args.page is None:
        print(text, end="")
    else:
        before = args.page.read_text("utf-8").partition(MARK)[0]
        args.page.write_text(before + MARK + "\n" + text, "utf-8")
    if any(one["trouble"] for one in found):
        return 3
    return 1 if any(one["missed"] or one["fault"] for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
