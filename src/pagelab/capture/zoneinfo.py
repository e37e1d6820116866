# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/zoneinfo: sizes, watermarks and pcplists of every zone, see ``zoneinfo_show_print()`` of mm/vmstat.c."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NoReturn

from pagelab.capture.files import read_lines
from pagelab.errors import BadInput

_HINT = "It has to be a copy of /proc/zoneinfo of the machine that was traced."

_ZONE = re.compile(r"Node (\d{1,6}), zone +(\S+)$")
# Later kernels have more lines of each sort ("promo", for example): any name is taken.
_PAGES = re.compile(r"  (?:pages|     ) (\w+) +(\d{1,18})$")
_PROTECTION = re.compile(r"        protection: \((-?\d{1,18}(?:, -?\d{1,18})*)\)$")
_COUNTER = re.compile(r"      (\w+) +(-?\d{1,20})$")
_CPU = re.compile(r"    cpu: (\d{1,6})$")
_PAGESET = re.compile(r"              (\w+): +(-?\d{1,18})$")
_TAIL = re.compile(r"  (vm stats threshold|\w+): +(\d{1,18})$")


@dataclass(frozen=True, slots=True)
class Pageset:
    """The pcplists of one CPU in one zone, in pages.  ``high_min`` and ``high_max`` since v6.7, -1 before."""

    cpu: int
    count: int
    high: int
    batch: int
    high_min: int = -1
    high_max: int = -1
    #: vm stats threshold of this CPU, -1 if not shown.
    stat_threshold: int = -1


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone.  Sizes and watermarks in pages; ``boost`` since v5.12 and ``cma`` since v5.11, 0 before.

    Of an unpopulated zone (``present`` 0) the kernel shows neither pagesets nor counters nor ``start_pfn``, here -1.
    """

    node: int
    name: str
    free: int
    boost: int
    min: int
    low: int
    high: int
    spanned: int
    present: int
    managed: int
    cma: int
    protection: tuple[int, ...]
    start_pfn: int
    pagesets: tuple[Pageset, ...]
    #: nr_free_pages and the other counters of the zone, numa_hit and its like included.
    counters: Mapping[str, int]
    #: The counters of the node, with its first populated zone only.
    node_counters: Mapping[str, int]

    @property
    def end_pfn(self) -> int:
        """The pfn after the last that the zone spans."""
        return self.start_pfn + self.spanned

    def __str__(self) -> str:
        return f"Node {self.node}, zone {self.name}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One ``zoneinfo/NN-label.txt``."""

    number: int
    label: str
    path: Path
    zones: tuple[Zone, ...]

    def zone(self, name: str, node: int = 0) -> Zone | None:
        """The zone of that name, ``None`` if there is none."""
        return next((zone for zone in self.zones if (zone.node, zone.name) == (node, name)), None)


@dataclass(slots=True)
class _Draft:
    """A zone while its lines are read."""

    node: int
    name: str
    line: int
    pages: dict[str, int] = field(default_factory=dict)
    protection: tuple[int, ...] | None = None
    tail: dict[str, int] = field(default_factory=dict)
    pagesets: list[dict[str, int]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    node_counters: dict[str, int] = field(default_factory=dict)
    in_node: bool = False
    in_pagesets: bool = False


_SIZES = ("free", "boost", "min", "low", "high", "spanned", "present", "managed", "cma")
_LATER_SIZES = ("boost", "cma")


def _pageset(values: dict[str, int]) -> Pageset:
    return Pageset(**{f.name: values[f.name] for f in fields(Pageset) if f.name in values})


class _Parser:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.zones: list[Zone] = []
        self.draft: _Draft | None = None

    def fail(self, message: str, line: int = 0) -> NoReturn:
        raise BadInput(f"{self.path}: line {line or self.number}: {message}", _HINT)

    def parse(self, lines: list[str]) -> tuple[Zone, ...]:
        for line in lines:
            self.number += 1
            if match := _ZONE.match(line):
                self.finish()
                self.draft = _Draft(int(match[1]), match[2], self.number)
            elif self.draft is None:
                self.fail(f"expected 'Node N, zone NAME', found {line[:60]!r}")
            elif not self.take(self.draft, line):
                self.fail(f"this is no line of zoneinfo: {line[:60]!r}")
        self.finish()
        return tuple(self.zones)

    def take(self, draft: _Draft, line: str) -> bool:
        """Sorts a line into the draft; false if it is none that a kernel prints there."""
        if line == "  per-node stats":
            draft.in_node = True
        elif match := _PAGES.match(line):
            draft.in_node = False
            if match[1] in draft.pages:
                self.fail(f"{match[1]!r} is there twice")
            draft.pages[match[1]] = int(match[2])
        elif match := _PROTECTION.match(line):
            draft.protection = tuple(int(value) for value in match[1].split(", "))
        elif line == "  pagesets":
            draft.in_pagesets = True
        elif match := _CPU.match(line):
            if not draft.in_pagesets or any(pageset["cpu"] == int(match[1]) for pageset in draft.pagesets):
                self.fail("expected a CPU of 'pagesets' that was not named before")
            draft.pagesets.append({"cpu": int(match[1])})
        elif (match := _PAGESET.match(line)) and draft.pagesets:
            draft.pagesets[-1][match[1]] = int(match[2])
        elif match := _TAIL.match(line):
            if match[1] == "vm stats threshold" and draft.pagesets:
                draft.pagesets[-1]["stat_threshold"] = int(match[2])
            draft.tail[match[1]] = int(match[2])
        elif match := _COUNTER.match(line):
            (draft.node_counters if draft.in_node else draft.counters)[match[1]] = int(match[2])
        else:
            return False
        return True

    def finish(self) -> None:
        """The draft's zone is over: all that the kernel prints must have been there."""
        draft = self.draft
        if draft is None:
            return
        where = f"Node {draft.node}, zone {draft.name}"
        for name in _SIZES:
            if name not in draft.pages and name not in _LATER_SIZES:
                self.fail(f"{where} (line {draft.line}) has no line {name!r}; was the file cut?")
        if draft.protection is None:
            self.fail(f"{where} (line {draft.line}) has no line 'protection'; was the file cut?")
        if draft.pages["present"] and "start_pfn" not in draft.tail:
            self.fail(f"{where} (line {draft.line}) has no line 'start_pfn'; was the file cut?")
        if draft.pages["present"] and not draft.pagesets:
            self.fail(f"{where} (line {draft.line}) has no 'pagesets'; was the file cut?")
        for pageset in draft.pagesets:
            for name in ("count", "high", "batch"):
                if name not in pageset:
                    self.fail(f"{where} (line {draft.line}), cpu {pageset['cpu']} has no line {name!r}")
        if any((draft.node, draft.name) == (zone.node, zone.name) for zone in self.zones):
            self.fail(f"{where} is there twice", draft.line)
        sizes = {name: draft.pages.get(name, 0) for name in _SIZES}
        self.zones.append(
            Zone(
                node=draft.node,
                name=draft.name,
                protection=draft.protection,
                start_pfn=draft.tail.get("start_pfn", -1),
                pagesets=tuple(_pageset(pageset) for pageset in draft.pagesets),
                counters=draft.counters,
                node_counters=draft.node_counters,
                **sizes,
            )
        )
        self.draft = None


def read_zoneinfo(path: Path) -> tuple[Zone, ...]:
    """The zones of a copy of /proc/zoneinfo, in its order.

    :raises BadInput: it is none, or cut; the sentence names the line.
    """
    return _Parser(path).parse(read_lines(path))
