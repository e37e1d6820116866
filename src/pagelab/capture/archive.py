# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture packed as ``.tar.zst``: unpacked to a directory of its own, and only what a capture can have."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from pagelab.capture.files import looks_like, read_head, reason
from pagelab.errors import BadInput, MissingTool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_CUT = "The archive was cut short or damaged; copy it again."
#: A capture has a few dozen files, and 36 bytes an event; an archive that has more is none.
MAX_FILES = 2000
MAX_BYTES = 16 << 30
_READ = 1 << 20


class _Unpacked(io.RawIOBase):
    """The bytes inside a zstd file.  Unlike a plain stream reader it notices when the last frame has no end."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self._path = path
        self._file = path.open("rb")
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._error = zstandard.ZstdError
        self._frame: Any = None
        self._in = b""
        self._out = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._out:
            if self._frame is not None and self._frame.eof:
                self._in = self._frame.unused_data + self._in
                self._frame = None
            if not self._in:
                self._in = self._file.read(1 << 12)  # of a bomb, this unpacks to 128 MiB at most
            if not self._in:
                if self._frame is not None:
                    size = self._file.tell()
                    raise BadInput(f"{self._path}: byte {size}: the file ends within a zstd frame", _CUT)
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                self._out = self._frame.decompress(self._in)
            except self._error as error:
                at = self._file.tell()
                raise BadInput(f"{self._path}: broken zstd data before byte {at} ({error})", _CUT) from None
            self._in = b""
        size = min(len(view), len(self._out))
        view[:size] = self._out[:size]
        self._out = self._out[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _place(path: Path, member: tarfile.TarInfo, into: Path) -> Path:
    """Where a member goes.  :raises BadInput: out of the directory, or it is no plain file."""
    hint = "An archive of a capture holds plain files and directories with relative names only."
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name or "\\" in member.name:
        raise BadInput(f"{path}: member {member.name!r} would be written outside the capture", hint)
    if not (member.isdir() or (member.isreg() and not member.issparse() and name.parts)):
        raise BadInput(f"{path}: member {member.name!r} is neither a plain file nor a directory", hint)
    return into.joinpath(*name.parts)


def _copy(source: io.BufferedIOBase, target: Path, size: int) -> None:
    left = size
    with target.open("xb") as file:
        while left:
            part = source.read(min(left, _READ))
            if not part:
                raise tarfile.ReadError("unexpected end of data")
            file.write(part)
            left -= len(part)


def unpack(path: Path, into: Path) -> Path:
    """Unpacks the archive at ``path`` into the empty directory ``into``; returns the directory that is the capture.

    :raises BadInput: it is no tar.zst, is cut, or holds links, devices or names that lead elsewhere.
    :raises MissingTool: the disk has no room for it.
    """
    head = read_head(path)
    if not head.startswith(_ZSTD_MAGIC):
        raise BadInput(
            f"{path}: expected a directory or a .tar.zst of one, found {looks_like(head)}",
            "'tar --zstd -cf CAPTURE.tar.zst DIRECTORY' packs a capture.",
        )
    try:
        with _Unpacked(path) as raw, io.BufferedReader(raw, _READ) as stream:
            _unpack_members(path, cast(io.BufferedReader, stream), into)
            while stream.read(_READ):  # the end mark of the zstd frame lies behind that of the tar
                pass
    except FileExistsError as error:
        raise BadInput(f"{path}: member {error.filename!r} is there twice", _CUT) from None
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadInput(f"{path}: not a whole tar archive ({error})", _CUT) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MissingTool(f"{into}: no room to unpack {path}", "Free some space or set TMPDIR.") from None
        raise BadInput(f"{path}: cannot be unpacked ({reason(error)})", _CUT) from None
    entries = list(into.iterdir())
    if len(entries) == 1 and entries[0].is_dir():
        return entries[0]
    return into


def _unpack_members(path: Path, stream: io.BufferedReader, into: Path) -> None:
    room = shutil.disk_usage(into).free
    total = 0
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for count, member in enumerate(tar):
            if count >= MAX_FILES:
                raise BadInput(f"{path}: holds more than {MAX_FILES} members, more than any capture", _CUT)
            target = _place(path, member, into)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            total += member.size
            if member.size < 0 or total > MAX_BYTES:
                raise BadInput(f"{path}: member {member.name!r} has {member.size} bytes, more than any capture", _CUT)
            if total > room:
                raise MissingTool(
                    f"{into}: no room for {member.name!r} of {path}, which has {member.size} bytes",
                    f"Free some space or set TMPDIR (now {os.environ.get('TMPDIR', 'not set')}).",
                )
            source = tar.extractfile(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source is not None:
                _copy(cast(io.BufferedIOBase, source), target, member.size)
