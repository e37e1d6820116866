# SPDX-License-Identifier: GPL-2.0-or-later
"""The format files of tracefs."""

from __future__ import annotations

import pytest

from pagelab.capture.event_format import (
    Field,
    FormatError,
    PageHeader,
    check_header_event,
    parse_format,
    parse_header_page,
)
from tests.capture import make

FORMAT = """\
name: mm_page_free
ID: 503
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;
\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:1;
\tfield:__data_loc char[] name;\toffset:32;\tsize:4;\tsigned:1;
\tfield: u8 old;\toffset:36;\tsize:1;

print fmt: "field:int fake;\toffset:0;\tsize:4;\tsigned:1;"
"""


def test_fields_of_an_event() -> None:
    event = parse_format(FORMAT, "kmem")
    assert (event.system, event.name, event.full_name, event.id) == ("kmem", "mm_page_free", "kmem:mm_page_free", 503)
    assert event.fields["pfn"] == Field("pfn", 8, 8, signed=False, array=False)
    assert event.fields["common_pid"] == Field("common_pid", 4, 4, signed=True, array=False)
    assert event.fields["comm"].array
    assert event.fields["name"].array
    assert "fake" not in event.fields


@pytest.mark.parametrize(
    ("old", "new"),
    [("name: mm_page_free\n", ""), ("ID: 503", "ID: 65536"), ("ID: 503", "ID: x"), ("format:\n", "")],
)
def test_head_that_is_none(old: str, new: str) -> None:
    with pytest.raises(FormatError, match="a format begins with"):
        parse_format(FORMAT.replace(old, new), "kmem")


@pytest.mark.parametrize(("old", "new"), [("offset:8;", "offset:x;"), ("size:8;", "size:99999999;")])
def test_fields_that_are_none(old: str, new: str) -> None:
    event = parse_format(FORMAT.replace(old, new), "kmem")
    with pytest.raises(FormatError, match=r"pfn"):
        _ = event.fields


def test_header_page() -> None:
    assert parse_header_page(make.HEADER_PAGE) == PageHeader(8, 8, 16, 4080)
    with pytest.raises(FormatError, match="lacks the field 'commit'"):
        parse_header_page(make.HEADER_PAGE.replace("commit", "remit"))
    with pytest.raises(FormatError, match="not of 8 at 0"):
        parse_header_page(make.HEADER_PAGE.replace("timestamp;\toffset:0;\tsize:8", "timestamp;\toffset:0;\tsize:4"))


def test_header_event() -> None:
    check_header_event(make.HEADER_EVENT)
    with pytest.raises(FormatError, match="'padding'"):
        check_header_event(make.HEADER_EVENT.replace("type == 29", "type == 28"))
