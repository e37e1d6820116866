# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the small files of a capture: whole, bounded, as UTF-8, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pagelab.errors import BadInput

#: No text file of a capture comes near this (kallsyms of a large kernel: 15 MB); a gzip bomb does.
MAX_TEXT_BYTES = 256 << 20

_CHUNK = 1 << 20

# Longest first where one is the beginning of another.
_MAGICS = (
    (b"PERFILE2", "a perf.data file"),
    (b"\x17\x08Dtracing", "a trace.dat of trace-cmd"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x7fELF", "an ELF file"),
    (b"# tracer:", "the text of ftrace's trace file"),
)


def looks_like(head: bytes) -> str:
    """Says in words what a file is that begins with ``head``."""
    if not head:
        return "an empty file"
    for magic, words in _MAGICS:
        if head.startswith(magic):
            return words
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "some text" if printable == len(head) else "none of the files pagelab knows"


def reason(error: OSError) -> str:
    """The words of an ``OSError`` without errno and file name."""
    return (error.strerror or type(error).__name__).lower()


def read_head(path: Path, size: int = 64) -> bytes:
    """The first ``size`` bytes of a file.  :raises BadInput: it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason(error)})") from None


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The bytes of a file, those inside it if its name ends in ``.gz``.

    :raises BadInput: it cannot be read, is no whole gzip file, or holds more than ``limit`` bytes.
    """
    parts: list[bytes] = []
    total = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while part := file.read(_CHUNK):
                total += len(part)
                if total > limit:
                    raise BadInput(f"{path}: holds more than the {limit} bytes that such a file can have")
                parts.append(part)
    except EOFError:
        raise BadInput(
            f"{path}: the gzip stream ends after {total} unpacked bytes without its end mark",
            "The file was cut short; copy it again.",
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        kind = looks_like(read_head(path))
        raise BadInput(f"{path}: not a whole gzip file ({error}); it begins like {kind}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason(error)})") from None
    return b"".join(parts)


def decode(data: bytes, path: Path) -> str:
    """``data`` as text.  :raises BadInput: it is not UTF-8, naming the byte."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8 text (0x{data[error.start]:02x})") from None


def read_text(path: Path) -> str:
    """A text file, plain or ``.gz``, as UTF-8.  :raises BadInput: as :func:`read_bytes` and :func:`decode`."""
    return decode(read_bytes(path), path)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file whose last line must be whole.

    :raises BadInput: as :func:`read_text`; the file is empty or does not end in a newline.
    """
    text = read_text(path)
    if not text:
        raise BadInput(f"{path}: the file is empty", "Copy it again from the machine that was traced.")
    if not text.endswith("\n"):
        line = text.count("\n") + 1
        raise BadInput(
            f"{path}: line {line} (byte {len(text.encode())}) ends without a newline, the file was cut there",
            "Copy it again from the machine that was traced.",
        )
    return text[:-1].split("\n")
