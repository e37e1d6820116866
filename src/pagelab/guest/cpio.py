# SPDX-License-Identifier: GPL-2.0-or-later
"""An initramfs archive (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst), reproducible.

Same entries, same bytes: sorted by name, owned by root, dated 0, inode numbers counted from 1.  Written here because
the cpio program may be missing where pagelab runs, and it cannot make device nodes without root.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pagelab.errors import BadInput


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Archive:
    """Entries by path, without a leading slash.  Directories above an entry are added by themselves."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._add(path, _Entry(stat.S_IFREG | mode, data))

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._add(path, _Entry(stat.S_IFDIR | mode))

    def symlink(self, path: str, target: str) -> None:
        self._add(path, _Entry(stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape")))

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        self._add(path, _Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def __contains__(self, path: str) -> bool:
        return _clean(path) in self._entries

    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(entry.data) for entry in self._entries.values())

    def _add(self, path: str, entry: _Entry) -> None:
        name = _clean(path)
        for parent in reversed(PurePosixPath(name).parents):
            above = self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755)) if str(parent) != "." else None
            if above is not None and not stat.S_ISDIR(above.mode):
                raise BadInput(f"initramfs: {name} lies under {parent}, which is not a directory")
        old = self._entries.get(name)
        if old is not None and stat.S_ISDIR(old.mode) != stat.S_ISDIR(entry.mode):
            raise BadInput(f"initramfs: {name} is both a directory and not one")
        self._entries[name] = entry

    def pack(self) -> bytes:
        """The archive, padded to a multiple of 512 bytes."""
        parts: list[bytes] = []
        for inode, name in enumerate(sorted(self._entries), start=1):
            parts.append(_record(inode, name, self._entries[name]))
        parts.append(_record(0, "TRAILER!!!", _Entry(0)))
        archive = b"".join(parts)
        return archive.ljust(-(-len(archive) // 512) * 512, b"\0")


def _clean(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise BadInput(f"initramfs: {path!r} is not a path inside the archive")
    return "/".join(parts)


def _record(inode: int, name: str, entry: _Entry) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return head.ljust(-(-len(head) // 4) * 4, b"\0") + entry.data.ljust(-(-len(entry.data) // 4) * 4, b"\0")
