# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios: a zone of a few pages and a few threads, as TOML files that a user can copy and change.

docs/reference/scenarios.md tells what a file may say.  What is impossible is told in one sentence: which file, which
field, what is wrong with it, and what to do.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pagelab.check.scenario_fields import Fields, Problem
from pagelab.errors import BadInput

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: The bundled scenarios, in the order in which tables show them: the race of the mail first.
BUNDLED = (
    "offline-free",
    "offline-two-freers",
    "offline-three-freers",
    "offline-free-list",
    "offline-free-nolock",
    "offline-allocate",
    "offline-interrupt",
    "offline-vmstat",
    "offline-reclaim",
    "offline-signal",
    "offline-fails",
    "offline-last-pageblock",
    "offline-neighbours",
    "offline-sysctl",
    "offline-contig-neighbours",
    "offline-contig-same",
    "offline-contig-allocate",
    "offline-cpu-down",
    "online-free",
    "online-allocate",
    "contig-free",
    "online-contig",
    "contig-same",
    "contig-neighbours",
    "contig-splits",
    "contig-three",
    "contig-sysctl",
    "contig-cpu-down",
    "drain-cpu-down",
)

CPUS, THREADS, PAGES = 4, 8, 64  # at most; small enough for states of single bytes


@dataclass(frozen=True, slots=True)
class SmallZone:
    """The zone.  ``largest``: the order of the largest free page, beyond that of a pageblock."""

    pageblocks: int
    pageblock_order: int
    largest: int
    batch: int
    high: int
    movable: bool
    watermark_min: int

    @property
    def pages(self) -> int:
        """Pages of the zone."""
        return self.pageblocks << self.pageblock_order

    @property
    def largest_free_page(self) -> int:
        """Pages of the largest free page, which memory that goes offline is aligned to."""
        return 1 << (self.pageblock_order + self.largest)


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages are at the start: in use (``unmovable`` ones cannot be migrated), on pcplists, offline, or free.

    ``pcplists``: one for each CPU, the page that was freed first in front.  ``offline`` lists pageblocks.
    """

    allocated: tuple[int, ...]
    unmovable: tuple[int, ...]
    pcplists: tuple[tuple[int, ...], ...]
    offline: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Runner:
    """A thread.  ``parameters`` are in the order of the procedure's, after the CPU."""

    name: str
    cpu: int
    run: str
    interrupt: bool
    parameters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A zone, what is in it, and who does what to it.

    ``needs`` and ``without``: features that a design has to have, or must not have; ``reason`` says why.
    """

    name: str
    about: str
    cpus: int
    zone: SmallZone
    pages: Pages
    threads: tuple[Runner, ...]
    needs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    reason: str = ""

    def bounds(self) -> str:
        """What bounds a verdict, in words."""
        zone, threads = self.zone, len(self.threads)
        return (
            f"{threads} thread{'s' * (threads != 1)} on {self.cpus} CPU{'s' * (self.cpus != 1)}, "
            f"{zone.pages} pages in {zone.pageblocks} pageblock{'s' * (zone.pageblocks != 1)}, "
            f"batch {zone.batch}, high {zone.high}"
        )


def bundled(name: str) -> Traversable:
    """The file of a bundled scenario.

    :raises BadInput: if there is none of that name.
    """
    if name not in BUNDLED:
        near = difflib.get_close_matches(name, BUNDLED, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadInput(
            f"there is no scenario {name!r}", f"{hint}`pagelab scenarios` lists them; a file's name ends in .toml"
        )
    return files("pagelab.check") / "scenarios" / f"{name}.toml"


def scenario_named(name: str) -> Scenario:
    """A bundled scenario by its name, or one from a file, if the name ends in .toml or is a path.

    :raises BadInput: if there is none, or if it is impossible.
    """
    if not name.endswith(".toml") and "/" not in name:
        return parse_scenario(bundled(name).read_text("utf-8"), f"{name}.toml")
    try:
        text = Path(name).read_text("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{name}: there is no such file", "`pagelab scenarios` lists those that are built in") from None
    except IsADirectoryError:
        raise BadInput(f"{name}: this is a directory", "name one scenario file") from None
    except UnicodeDecodeError:
        raise BadInput(
            f"{name}: this is not text", "a scenario is a TOML file; copy one: `pagelab scenarios NAME`"
        ) from None
    return parse_scenario(text, name)


def parse_scenario(text: str, file: str) -> Scenario:
    """A scenario from the text of its file.

    :param file: what to call it when something is wrong.
    :raises BadInput: if it is impossible.
    """
    copy = "`pagelab scenarios NAME` prints one to start from"
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file}: this is not TOML: {error}", copy) from None
    if not content:
        raise BadInput(f"{file}: it is empty", copy)
    try:
        return _scenario(Fields(content, ""))
    except Problem as problem:
        raise BadInput(f"{file}: {problem.what}", problem.remedy) from None


def _scenario(top: Fields) -> Scenario:
    from pagelab.check.scenario_rules import check_rules

    name = top.text("name", 40)
    about = top.text("about", 200)
    cpus = top.number("cpus", 1, CPUS)
    zone = _zone(top.table("zone"))
    pages = _pages(top.table("pages", empty=True), zone, cpus)
    needs, without, reason = _designs(top.table("designs", empty=True))
    tables = top.tables("thread", "threads")
    if not tables:
        raise Problem("it has no threads", "add a [[thread]] with name, cpu and run")
    if len(tables) > THREADS:
        raise Problem(f"it has {len(tables)} threads", f"at most {THREADS} can be explored")
    top.finish()
    names = [table.text("name", 24) for table in tables]
    cpu_of = {table.peek("name"): table.peek("cpu") for table in tables}
    threads = tuple(_thread(table, one, cpus, cpu_of) for table, one in zip(tables, names, strict=True))
    scenario = Scenario(name, about, cpus, zone, pages, threads, needs, without, reason)
    check_rules(scenario)
    return scenario


def _zone(fields: Fields) -> SmallZone:
    pageblocks = fields.number("pageblocks", 1, 16)
    order = fields.number("pageblock_order", 1, 4)
    largest = fields.number("largest", 0, 2, 0)
    batch = fields.number("batch", 1, 31)
    high = fields.number("high", 0, 127)
    movable = fields.choice("kind", ("movable", "normal"), "movable") == "movable"
    watermark_min = fields.number("watermark_min", 0, PAGES, 0)
    fields.finish()
    zone = SmallZone(pageblocks, order, largest, batch, high, movable, watermark_min)
    if zone.pages > PAGES:
        raise Problem(f"the zone has {zone.pages} pages", f"take at most {PAGES}: fewer or smaller pageblocks")
    if zone.largest_free_page > zone.pages:
        raise Problem(
            f"zone.largest is {largest}: a free page of {zone.largest_free_page} pages is larger than the zone of "
            f"{zone.pages}",
            "set zone.largest = 0, or add pageblocks",
        )
    return zone


def _pages(fields: Fields, zone: SmallZone, cpus: int) -> Pages:
    allocated = fields.numbers("allocated")
    unmovable = fields.numbers("unmovable")
    offline = fields.numbers("offline_pageblocks")
    pcplists = fields.lists("pcplists")
    fields.finish()
    if len(pcplists) > cpus:
        raise Problem(f"pages.pcplists has {len(pcplists)} lists for {cpus} CPUs", "give one list for each CPU")
    return Pages(allocated, unmovable, pcplists + ((),) * (cpus - len(pcplists)), offline)


def _designs(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    from pagelab.linux.features import FEATURES

    known = tuple(feature.name for feature in FEATURES)
    needs = fields.names("needs", known, "feature", "`pagelab features` lists them")
    without = fields.names("without", known, "feature", "`pagelab features` lists them")
    reason = fields.text("reason", 200, needed=bool(needs or without))
    fields.finish()
    return needs, without, reason


def _thread(fields: Fields, name: str, cpus: int, cpu_of: dict[object, object]) -> Runner:
    from pagelab.check.actors import PROCEDURES

    fields.where = f"thread {name!r}"
    cpu = fields.number("cpu", 0, 127)
    if cpu >= cpus:
        last = f"CPUs are 0 to {cpus - 1}" if cpus > 1 else "the only CPU is 0"
        raise Problem(f"thread {name!r} is on CPU {cpu} of {cpus}", f"{last}; change its cpu, or cpus")
    run = fields.choice("run", tuple(PROCEDURES), what="procedure")
    interrupt = fields.flag("interrupt")
    parameters = []
    for key, kind in PROCEDURES[run].parameters.items():
        if kind == "thread":
            target = fields.text(key, 24)
            if target not in cpu_of:
                raise Problem(
                    f"thread {name!r}: {key} is {target!r}, and there is no such thread", "name one of this file"
                )
            on = cpu_of[target]
            parameters.append(on if isinstance(on, int) else 0)
        else:
            low = 1 if kind == "count" else 0
            parameters.append(fields.number(key, low, 127, 1 if kind == "count" else None))
    fields.finish(f"{run} takes {', '.join(PROCEDURES[run].parameters) or 'no parameters'}")
    return Runner(name, cpu, run, interrupt, tuple(parameters))
