# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc/kallsyms."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.capture.kallsyms import Symbols, read_kallsyms
from pagelab.errors import BadInput


def read(tmp_path: Path, text: str) -> Symbols:
    path = tmp_path / "kallsyms.txt"
    path.write_text(text)
    return read_kallsyms(path)


def test_names_and_addresses(tmp_path: Path) -> None:
    symbols = read(
        tmp_path,
        "ffffffff81000000 T _text\nffffffff81001000 t init\nffffffff81002000 t init\n"
        "ffffffffc0000000 t probe\t[dimm]\n",
    )
    assert len(symbols) == 3
    assert "init" in symbols
    assert "zone_pcp_disable" not in symbols
    assert sorted(symbols) == ["_text", "init", "probe"]
    assert symbols.address("init") == 0xFFFFFFFF81001000
    assert symbols.address("probe") == 0xFFFFFFFFC0000000
    assert symbols.address("nothing") is None


def test_hidden_addresses_and_bare_names(tmp_path: Path) -> None:
    symbols = read(tmp_path, "0000000000000000 T _text\nzone_pcp_disable\n")
    assert "_text" in symbols
    assert "zone_pcp_disable" in symbols
    assert symbols.address("_text") is None


def test_what_is_no_kallsyms(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line 2: this is no line of kallsyms: 'a b c d'"):
        read(tmp_path, "_text\na b c d\n")
    with pytest.raises(BadInput, match="ends without a newline"):
        read(tmp_path, "ffffffff81000000 T _te")
