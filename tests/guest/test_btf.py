# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts from BTF."""

from __future__ import annotations

import pytest

from pagelab.errors import BadInput
from pagelab.guest.btf import Btf, Field, Parameter
from tests.guest.made_btf import CONST, TYPEDEF, UNION, MadeBtf


def made() -> Btf:
    btf = MadeBtf()
    word = btf.integer("long unsigned int", 8)
    small = btf.integer("int", 4)
    atomic = btf.struct("", 4, [("counter", small, 0)])
    atomic_t = btf.add(TYPEDEF, "atomic_t", atomic)
    links = btf.struct("list_head", 16, [("next", word, 0), ("prev", word, 8)])
    either = btf.struct("", 16, [("lru", links, 0), ("pcp_list", links, 0)], kind=UNION)
    page = btf.struct("page", 64, [("flags", word, 0), ("", either, 8), ("_refcount", atomic_t, 52)])
    lists = btf.array(btf.array(links, 3, small), 2, small)
    btf.struct("zone", 200, [("lists", lists, 32), ("mine", page, 136)])
    constant = btf.add(CONST, "", page)
    btf.function("free_unref_page_commit", [("page", btf.pointer(page)), ("pfn", word)])
    btf.function("peek", [("page", btf.pointer(constant)), ("out", btf.pointer(btf.pointer(0)))])
    btf.enum("pagetype", {"PGTY_buddy": 0xF0, "PGTY_offline": 0xF1})
    return Btf(btf.data())


def test_members_of_unnamed_unions_are_found() -> None:
    assert made().field("page", "pcp_list") == Field(8, 16)
    assert made().field("page", "_refcount") == Field(52, 4)


def test_a_path_goes_through_structs() -> None:
    assert made().field("zone", "mine.lru.prev") == Field(136 + 8 + 8, 8)


def test_an_array_has_a_count_and_the_size_of_its_elements() -> None:
    assert made().field("zone", "lists") == Field(32, 16, 6)


def test_parameters_have_names_and_types() -> None:
    words = (Parameter("page", "struct page *"), Parameter("pfn", "long unsigned int"))
    assert made().parameters("free_unref_page_commit") == words
    assert made().parameters("peek") == (Parameter("page", "struct page *"), Parameter("out", "void **"))
    assert made().parameters("inlined") is None


def test_constants_of_any_enum_are_found() -> None:
    assert made().enumerator("PGTY_buddy") == 0xF0
    assert made().enumerator("PGTY_slab") is None


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [("folio", "page", "no struct folio"), ("page", "lru.first", r"struct page of this kernel has no lru\.first")],
)
def test_what_is_not_there_is_told(name: str, path: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        made().field(name, path)
    assert not made().has(name, path)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "ends too early"), (b"\x7fELF" + bytes(60), "no BTF"), (MadeBtf().data()[:20], "ends too early")],
)
def test_other_data_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Btf(data)


def test_a_kind_of_type_that_nobody_knows_is_told() -> None:
    btf = MadeBtf()
    btf.add(25, "new", 0)
    with pytest.raises(BadInput, match="kind 25"):
        Btf(btf.data())
