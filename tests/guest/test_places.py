# SPDX-License-Identifier: GPL-2.0-or-later
"""Which arrivals at a function a stop means."""

from __future__ import annotations

import struct

import pytest

from pagelab.guest.kernel_text import KernelText
from pagelab.guest.places import NoSuchPlace, place
from pagelab.steer.plan import At, Stop
from tests.guest.made_btf import MadeBtf

START = 0xFFFFFFFF81000000
VMEMMAP = 0xFFFFEA0000000000
SYMBOLS = {
    "free_unref_page": START,
    "free_unref_page_commit": START + 0x40,
    "release_pages": START + 0x60,
    "start_isolate_page_range": START + 0x80,
    "free_one_page.constprop.0": START + 0xA0,
    "schedule": START + 0xC0,
}


def near(opcode: bytes, at: int, to: int) -> bytes:
    return opcode + struct.pack("<i", to - (at + 5))


def text() -> KernelText:
    code = bytearray(b"\x90" * 0x100)
    # free_unref_page() ends with a jump to free_unref_page_commit(); release_pages() calls free_unref_page().
    code[0x10:0x15] = near(b"\xe9", 0x10, 0x40)
    code[0x60:0x65] = near(b"\xe8", 0x60, 0)
    code[0xC0:0xC5] = near(b"\xe8", 0xC0, 0x40)
    btf = MadeBtf()
    word = btf.integer("long unsigned int", 8)
    page = btf.pointer(btf.struct("page", 64, [("flags", word, 0)]))
    btf.function("free_unref_page_commit", [("page", page), ("pfn", word)])
    btf.function("start_isolate_page_range", [("start_pfn", word), ("end_pfn", word)])
    btf.function("free_unref_page", [("list", word)])
    return KernelText(START, bytes(code), SYMBOLS, "", btf.data())


def fits(stop: Stop, registers: dict[str, int], back: int, frame: int | None = None, block: int | None = None) -> bool:
    return place(text(), stop, frame, block).fits(registers, back, VMEMMAP, 64)


@pytest.mark.parametrize(("frame", "meant"), [(0x100010, True), (0x100011, False), (None, True)])
def test_a_page_is_told_from_a_pointer_or_a_number(frame: int | None, meant: bool) -> None:
    stop = Stop("free_unref_page_commit", At.ENTRY)
    assert fits(stop, {"rdi": VMEMMAP + 0x100010 * 64, "rsi": 0x100010}, START, frame) is meant


@pytest.mark.parametrize(
    ("frame", "block", "meant"),
    [(0x100000, None, True), (0x108000, None, False), (None, 0x107FFF, True), (None, 0x108000, False)],
)
def test_a_range_of_pages_is_told_from_its_ends(frame: int | None, block: int | None, meant: bool) -> None:
    registers = {"rdi": 0x100000, "rsi": 0x108000}
    assert fits(Stop("start_isolate_page_range", At.ENTRY), registers, START, frame, block) is meant


def test_a_function_without_pages_fits_any() -> None:
    assert fits(Stop("free_unref_page", At.ENTRY), {"rdi": 1}, START, 0x100010)


@pytest.mark.parametrize(
    ("caller", "back", "meant"),
    [
        ("schedule", 0xC5, True),
        ("release_pages", 0xC5, False),
        ("free_unref_page", 0x65, True),  # it jumped here, and was called by release_pages()
        ("free_unref_page", 0xC5, False),
    ],
)
def test_the_caller_is_told_from_the_return_address(caller: str, back: int, meant: bool) -> None:
    stop = Stop("free_unref_page_commit", At.ENTRY, caller=caller)
    assert fits(stop, {"rdi": VMEMMAP, "rsi": 0}, START + back) is meant


def test_a_clone_is_a_place_as_well() -> None:
    assert place(text(), Stop("free_one_page", At.ENTRY)).address == START + 0xA0


@pytest.mark.parametrize(
    "stop", [Stop("rmqueue_bulk", At.ENTRY), Stop("free_unref_page", At.RETURN, caller="rmqueue_bulk")]
)
def test_a_function_that_is_inlined_away_is_named(stop: Stop) -> None:
    with pytest.raises(NoSuchPlace, match=r"no function rmqueue_bulk\(\): it is inlined"):
        place(text(), stop)
