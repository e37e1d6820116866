# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``format`` files of tracefs: where the fields of an event lie.

They are written by ``f_show()`` and ``print_event_fields()`` of kernel/trace; ``header_page`` and ``header_event``
(``ring_buffer_print_page_header()`` and ``ring_buffer_print_entry_header()`` of kernel/trace/ring_buffer.c) have the
same kind of lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_FIELD = re.compile(
    r"^\s*field:\s*(?P<type>[^;]*?)\s*\b(?P<name>\w+)(?P<array>\[[^\];]*\])?;\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);"
    r"(?:\s*signed:(?P<signed>[01]);)?\s*$"
)
#: An event is shorter than a page of the largest kind.
MAX_OFFSET = 1 << 16


class FormatError(ValueError):
    """A format text cannot be understood; the message says which part."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``offset`` and ``size`` in bytes from the start of the event's data."""

    name: str
    offset: int
    size: int
    signed: bool
    array: bool


@dataclass(frozen=True)
class EventFormat:
    """One event: the number ``id`` that stands in ``common_type``, and its fields by name."""

    system: str
    name: str
    id: int
    text: str

    @cached_property
    def fields(self) -> dict[str, Field]:
        """:raises FormatError: a line of the text is malformed or absurd."""
        return parse_fields(self.text)

    @property
    def full_name(self) -> str:
        return f"{self.system}:{self.name}"


def parse_fields(text: str) -> dict[str, Field]:
    """The ``field:`` lines of a text, by name.  :raises FormatError: a line is malformed or absurd."""
    fields: dict[str, Field] = {}
    for line in text.splitlines():
        if line.startswith("print fmt:"):
            break
        if not line.lstrip().startswith("field:"):
            continue
        match = _FIELD.match(line)
        if match is None:
            raise FormatError(f"cannot read the field line {line.strip()[:80]!r}")
        offset, size = (int(match[key][:9]) for key in ("offset", "size"))
        if offset > MAX_OFFSET or size > MAX_OFFSET:
            raise FormatError(f"field {match['name']!r} lies beyond any event (offset {offset}, size {size})")
        array = match["array"] is not None or match["type"].startswith(("__data_loc", "__rel_loc"))
        fields[match["name"]] = Field(match["name"], offset, size, match["signed"] == "1", array)
    return fields


_HEAD = re.compile(r"name: (\S+)\nID: (\d{1,5})\nformat:\n")


def parse_format(text: str, system: str) -> EventFormat:
    """One ``events/SYSTEM/EVENT/format`` file.  The fields are parsed when they are asked for: a file has 2000 formats.

    :raises FormatError: the name or the ID cannot be read.
    """
    head = _HEAD.match(text)
    if head is None or int(head[2]) > 0xFFFF:
        raise FormatError("a format begins with the lines 'name: NAME', 'ID: NUMBER' (below 65536) and 'format:'")
    return EventFormat(system, head[1], int(head[2]), text)


@dataclass(frozen=True, slots=True)
class PageHeader:
    """``header_page``: where a sub-buffer keeps its commit word and its data, in bytes."""

    commit_offset: int
    commit_size: int
    data_offset: int
    data_size: int


def parse_header_page(text: str) -> PageHeader:
    """``events/header_page``.  :raises FormatError: it lacks timestamp, commit or data where every kernel has them."""
    fields = parse_fields(text)
    try:
        stamp, commit, data = fields["timestamp"], fields["commit"], fields["data"]
    except KeyError as error:
        raise FormatError(f"header_page lacks the field {error.args[0]!r}") from None
    if (stamp.offset, stamp.size) != (0, 8):
        raise FormatError(f"header_page has a timestamp of {stamp.size} bytes at {stamp.offset}, not of 8 at 0")
    if (commit.offset, commit.size, data.offset) != (8, 8, 16):
        raise FormatError(
            f"header_page has a commit word of {commit.size} bytes at {commit.offset} and data at {data.offset},"
            " not those of a 64-bit kernel (8 at 8, data at 16)"
        )
    return PageHeader(commit.offset, commit.size, data.offset, data.size)


_HEADER_EVENT = {
    "type_len": re.compile(r"type_len\s*:\s*5 bits"),
    "time_delta": re.compile(r"time_delta\s*:\s*27 bits"),
    "array": re.compile(r"array\s*:\s*32 bits"),
    "padding": re.compile(r"padding\s*:\s*type == 29"),
    "time_extend": re.compile(r"time_extend\s*:\s*type == 30"),
    "data": re.compile(r"data max type_len\s*==\s*28"),
}


def check_header_event(text: str) -> None:
    """``events/header_event`` must describe the one layout there has been since v2.6.31.

    :raises FormatError: it describes another.
    """
    for name, pattern in _HEADER_EVENT.items():
        if pattern.search(text) is None:
            raise FormatError(f"header_event describes another ring buffer: {name!r} is not as it should be")
