# SPDX-License-Identifier: GPL-2.0-or-later
"""Pack a capture into the small archive that the tree carries: ``bundle_capture.py DIR captures/NAME.tar.zst``.

Only kallsyms is cut down, to the names of the memory management, and capture.toml says so.  The same directory gives
the same bytes.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import tarfile
from pathlib import Path

import zstandard

#: Symbols of mm/ and what reads them: all that tells one design from another is among them.
KEPT = re.compile(r"page|pcp|zone|folio|isolat|hotplug|migrat|pageblock|buddy|steal_block|claim_block")
NOTE = f'\n[bundle]\nkallsyms = "only names with {KEPT.pattern.replace("|", ", ")}"\n'
LEFT_OUT = {"buddyinfo"}


def bundled(path: Path) -> bytes:
    """The bytes of a file as they go into the archive."""
    data = path.read_bytes()
    if path.name == "kallsyms.txt.gz":
        lines = gzip.decompress(data).decode().splitlines()
        names = sorted({words[2] for words in (line.split() for line in lines) if KEPT.search(words[2])})
        return gzip.compress("\n".join([*names, ""]).encode(), 9, mtime=0)
    return data + NOTE.encode() if path.name == "capture.toml" else data


def bundle(directory: Path, output: Path) -> int:
    """Write the archive; returns its size in bytes."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if not path.is_file() or name.parts[0] in LEFT_OUT:
                continue
            data = bundled(path)
            info = tarfile.TarInfo(str(name))
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.write_bytes(zstandard.ZstdCompressor(level=22).compress(memory.getvalue()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{sys.argv[2]}: {bundle(Path(sys.argv[1]), Path(sys.argv[2])):,} bytes")
