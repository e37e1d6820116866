# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pagelab.capture.wanted import PROBES
from pagelab.guest.kernel_text import KernelText
from pagelab.guest.probes import probes_for
from pagelab.guest.probes_inside import probes_inside, without_needless
from tests.guest.test_instructions import HERE, POISON_TO_RAX, PUSH, RAX_TO_R13, branch

FREE_ONE, ISOLATE, RMQUEUE = HERE + 0x1000, HERE + 0x1010, HERE + 0x1020
#: Functions that do their work by calls, 0x100 apart.
CODE = {
    "free_one_page.constprop.0": PUSH + branch("e8", 2, FREE_ONE),
    "split_large_buddy": branch("e8", 0x100, FREE_ONE) + branch("e9", 0x105, FREE_ONE),
    "free_pcppages_bulk": branch("e8", 0x200, FREE_ONE),
    "isolate_freepages_block": branch("e8", 0x300, ISOLATE),
    "alloc_pages_bulk_noprof": branch("e8", 0x400, RMQUEUE),
    "__alloc_pages_bulk": PUSH + POISON_TO_RAX + RAX_TO_R13,
}
CALLEES = {"__free_one_page": FREE_ONE, "__isolate_free_page": ISOLATE, "__rmqueue_pcplist": RMQUEUE}


def text(*names: str, callees: dict[str, int] = CALLEES) -> KernelText:
    code = bytearray(0x1030)
    symbols = dict(callees)
    for i, (name, part) in enumerate(CODE.items()):
        data = bytes.fromhex(part)
        code[0x100 * i : 0x100 * i + len(data)] = data
        symbols[name if name in names else f"other{i}"] = HERE + 0x100 * i
    return KernelText(HERE, bytes(code), symbols)


def places(found: KernelText) -> list[tuple[str, str, int]]:
    return [(probe.name, probe.function, probe.offset) for probe in probes_inside(found)]


def test_each_kernel_gets_the_probes_that_it_has_places_for() -> None:
    assert places(text("free_one_page.constprop.0", "free_pcppages_bulk", "__alloc_pages_bulk")) == [
        ("free_one_page", "free_one_page.constprop.0", 2),
        ("alloc_pages_bulk_page", "__alloc_pages_bulk", 12),
    ]
    assert places(text("split_large_buddy", "isolate_freepages_block", "alloc_pages_bulk_noprof")) == [
        ("free_one_page", "split_large_buddy", 0),
        ("free_one_page", "split_large_buddy", 5),
        ("alloc_pages_bulk_page", "alloc_pages_bulk_noprof", 5),
        ("isolate_free_page", "isolate_freepages_block", 0),
        ("isolate_free_page_done", "isolate_freepages_block", 5),
    ]


def test_a_clone_that_is_called_is_not_trusted_with_its_arguments() -> None:
    assert places(text("free_one_page.constprop.0", callees={"__free_one_page.isra.0": FREE_ONE})) == []


def test_registers_have_the_names_that_the_kernel_knows() -> None:
    bulk = probes_inside(text("__alloc_pages_bulk"))[0]
    assert bulk.definition() == (
        "p:pagelab/alloc_pages_bulk_page __alloc_pages_bulk+12 page=%r13 vmemmap=@vmemmap_base:x64"
    )
    given = probes_inside(text("alloc_pages_bulk_noprof"))[0]
    assert "page=%ax " in given.definition()


def test_every_probe_is_read_back() -> None:
    for probe in probes_inside(text(*CODE)):
        wanted = PROBES[probe.name]
        fields = {word.split("=")[0] for word in probe.arguments.split()}
        for names in (wanted.order, wanted.migratetype, wanted.arg, wanted.arg2):
            assert not names or fields & set(names), (probe, names)
        assert not (wanted.pfn or wanted.page) or fields & {"pfn", "page"}
        assert "page" not in fields or "vmemmap" in fields


def test_a_bulk_allocation_is_not_probed_at_its_return_if_its_pages_are() -> None:
    entries = probes_for("7.2")
    assert "alloc_pages_bulk_done" in {probe.name for probe in without_needless(entries)}
    inside = probes_inside(text("alloc_pages_bulk_noprof"))
    assert [probe.name for probe in inside] == ["alloc_pages_bulk_page"]
    names = {probe.name for probe in without_needless((*entries, *inside))}
    assert names == {probe.name for probe in entries} - {"alloc_pages_bulk_done"} | {"alloc_pages_bulk_page"}
