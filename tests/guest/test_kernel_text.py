# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pagelab.guest.kernel_text import Function, KernelText, parse_symbols

START = 0xFFFFFFFF81000000
KALLSYMS = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 t twice
ffffffff81000020 t free_one_page.constprop.0
ffffffff81000020 t also_free_one_page
ffffffff81000030 t twice
ffffffff81000038 T rmqueue
ffffffff81000040 t rmqueue.cold
ffffffff81000048 d data_in_text
ffffffff81000050 T _etext
ffffffffc0000000 t inside	[module]
ffffffff81000044 t other	[module]
"""
TEXT = KernelText(START, bytes(range(0x50)), parse_symbols(KALLSYMS, START, START + 0x50))


def test_only_functions_of_the_kernel_itself_count() -> None:
    assert set(TEXT.symbols) == {"_stext", "free_one_page.constprop.0", "also_free_one_page", "rmqueue", "rmqueue.cold"}


def test_a_function_reaches_to_the_next_symbol() -> None:
    assert TEXT.function("rmqueue") == Function("rmqueue", START + 0x38, bytes(range(0x38, 0x40)))
    last = TEXT.function("rmqueue.cold")
    assert last is not None
    assert len(last.code) == 0x10


def test_a_clone_stands_for_its_function_but_not_what_is_elsewhere() -> None:
    clone = TEXT.function("free_one_page")
    assert clone is not None
    assert clone.name == "free_one_page.constprop.0"
    assert TEXT.function("free_one") is None
    without = KernelText(START, TEXT.code, {"rmqueue.cold": START + 0x40})
    assert without.function("rmqueue") is None


def test_names_by_address() -> None:
    assert TEXT.name_at(START + 0x38) == "rmqueue"
    assert TEXT.name_at(START + 0x39) == ""
