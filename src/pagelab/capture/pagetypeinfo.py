# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/pagetypeinfo: free pages by order and pageblocks by migratetype, see ``pagetypeinfo_show()`` of mm/vmstat.c."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pagelab.capture.files import read_lines
from pagelab.errors import BadInput

_HINT = "It has to be a copy of /proc/pagetypeinfo of the machine that was traced."

_ORDER = re.compile(r"Page block order: +(\d{1,2})$")
_PAGES = re.compile(r"Pages per block: +(\d{1,9})$")
_FREE_HEAD = re.compile(r"Free pages count per migrate type at order +([\d ]+?) *$")
_FREE = re.compile(r"Node +(\d{1,6}), zone +(\S+), type +(\S+) ((?: *>?\d{1,18})+) *$")
_BLOCKS_HEAD = re.compile(r"Number of (blocks|mixed blocks) +type +(.+?) *$")
_BLOCKS = re.compile(r"Node +(\d{1,6}), zone +(\S+) ((?: *\d{1,18})+) *$")

#: (node, zone's name)
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class PageTypeInfo:
    """One ``pagetypeinfo/NN-label.txt``.

    ``migratetypes``: names in the kernel's order, so the index is the number.  ``free[zone][type]``: number of free
    buddies by order; the kernel stops counting at 100000 (since v5.5), then the number is that bound and ``capped``
    holds (node, zone, type, order).  ``blocks[zone]``: pageblocks by migratetype.
    """

    number: int
    label: str
    path: Path
    pageblock_order: int
    migratetypes: tuple[str, ...]
    free: Mapping[Key, Mapping[str, tuple[int, ...]]]
    blocks: Mapping[Key, Mapping[str, int]]
    capped: frozenset[tuple[int, str, str, int]]


def read_pagetypeinfo(path: Path, number: int = 0, label: str = "") -> PageTypeInfo:
    """Reads a copy of /proc/pagetypeinfo.  :raises BadInput: it is none, or cut; the sentence names the line."""
    pageblock_order = -1
    orders = 0
    types: tuple[str, ...] = ()
    part = ""
    free: dict[Key, dict[str, tuple[int, ...]]] = {}
    blocks: dict[Key, dict[str, int]] = {}
    capped: set[tuple[int, str, str, int]] = set()
    for count, line in enumerate(read_lines(path), 1):
        if match := _ORDER.match(line):
            pageblock_order = int(match[1])
        elif match := _FREE_HEAD.match(line):
            part, orders = "free", len(match[1].split())
        elif match := _BLOCKS_HEAD.match(line):
            part, types = match[1], types or tuple(match[2].split())
        elif (match := _FREE.match(line)) and part == "free":
            values = match[4].split()
            if len(values) != orders:
                raise BadInput(f"{path}: line {count}: expected {orders} orders, found {len(values)}", _HINT)
            key = int(match[1]), match[2]
            capped |= {(*key, match[3], order) for order, value in enumerate(values) if value.startswith(">")}
            free.setdefault(key, {})[match[3]] = tuple(int(value.lstrip(">")) for value in values)
        elif (match := _BLOCKS.match(line)) and part in ("blocks", "mixed blocks"):
            values = match[3].split()
            if len(values) != len(types):
                raise BadInput(f"{path}: line {count}: expected {len(types)} types, found {len(values)}", _HINT)
            if part == "blocks":
                blocks[int(match[1]), match[2]] = dict(zip(types, map(int, values), strict=True))
        elif line.strip() and not _PAGES.match(line):
            raise BadInput(f"{path}: line {count}: this is no line of pagetypeinfo: {line[:60]!r}", _HINT)
    if pageblock_order < 0 or not free or not blocks:
        missing = "'Page block order'" if pageblock_order < 0 else "'Free pages count'" if not free else "'blocks type'"
        raise BadInput(f"{path}: has no {missing}; was the file cut?", _HINT)
    for (node, zone), by_type in free.items():
        if tuple(by_type) != types:
            raise BadInput(f"{path}: Node {node}, zone {zone} has not the types {', '.join(types)}", _HINT)
    if not blocks.keys() <= free.keys():
        raise BadInput(f"{path}: pageblocks are counted for a zone whose free pages are not", _HINT)
    return PageTypeInfo(number, label, path, pageblock_order, types, free, blocks, frozenset(capped))
