# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of a kernel's configuration."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pagelab.capture.kernel_config import read_config
from pagelab.errors import BadInput

CONFIG = """\
#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_SMP=y
CONFIG_VIRTIO_MEM=m
# CONFIG_CMA is not set
CONFIG_HZ=250
CONFIG_PHYSICAL_START=0x1000000

CONFIG_CC_VERSION_TEXT="gcc \\"12\\" (Debian)"
CONFIG_LOCALVERSION=""
"""


def test_values(tmp_path: Path) -> None:
    expected = {
        "CONFIG_SMP": "y",
        "CONFIG_VIRTIO_MEM": "m",
        "CONFIG_CMA": "n",
        "CONFIG_HZ": "250",
        "CONFIG_PHYSICAL_START": "0x1000000",
        "CONFIG_CC_VERSION_TEXT": 'gcc "12" (Debian)',
        "CONFIG_LOCALVERSION": "",
    }
    plain, packed = tmp_path / "config.txt", tmp_path / "config.txt.gz"
    plain.write_text(CONFIG)
    packed.write_bytes(gzip.compress(CONFIG.encode()))
    assert read_config(plain) == read_config(packed) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CONFIG_SMP=y\nSMP=y\n", "line 2: this is no line of a kernel configuration: 'SMP=y'"),
        ("# nothing\n", "holds no CONFIG_ option"),
        ("", "the file is empty"),
        ("CONFIG_SMP=y\nCONFIG_H", r"line 2 \(byte 21\) ends without a newline"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.txt"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_config(path)


def test_cut_gzip(tmp_path: Path) -> None:
    path = tmp_path / "config.txt.gz"
    data = gzip.compress(CONFIG.encode())
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(BadInput, match=r"config\.txt\.gz"):
            read_config(path)
    path.write_bytes(CONFIG.encode())
    with pytest.raises(BadInput, match="not a whole gzip file"):
        read_config(path)
