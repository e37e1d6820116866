# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpacking the compressed sections of a trace.dat.

Memory grows with what comes out, never with what a header claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pagelab.errors import BadInput

_STEP = 1 << 20


class InflateError(ValueError):
    """The data do not unpack to what their header says; the message says why."""


def check_algorithm(name: str, file: str) -> None:
    """:raises BadInput: trace-cmd's compression ``name`` is none that is known here."""
    if name not in ("none", "zstd", "zlib"):
        raise BadInput(
            f"{file}: compressed with {name!r}, which pagelab cannot unpack",
            "Rewrite it with 'trace-cmd convert --compression zstd'.",
        )


def _zlib_parts(data: memoryview) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    try:
        part = stream.decompress(data, _STEP)
        while part:
            yield part
            part = stream.decompress(stream.unconsumed_tail, _STEP)
    except zlib.error as error:
        raise InflateError(f"broken zlib data ({error})") from None
    if not stream.eof:
        raise InflateError("the zlib stream has no end")


def _zstd_parts(data: memoryview) -> Iterator[bytes]:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as stream:
            while part := stream.read(_STEP):
                yield part
    except zstandard.ZstdError as error:
        raise InflateError(f"broken zstd data ({error})") from None


def inflate(algorithm: str, data: memoryview, size: int) -> bytes:
    """Unpacks ``data`` ("zstd" or "zlib") to exactly ``size`` bytes.

    :raises InflateError: they are broken, or unpack to another size.
    """
    parts: list[bytes] = []
    total = 0
    for part in _zstd_parts(data) if algorithm == "zstd" else _zlib_parts(data):
        total += len(part)
        if total > size:
            raise InflateError(f"unpacks to more than the {size} bytes it announces")
        parts.append(part)
    if total != size:
        raise InflateError(f"unpacks to {total} bytes, not to the {size} it announces")
    return b"".join(parts)
