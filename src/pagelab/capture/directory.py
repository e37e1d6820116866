# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture: the directory of files that a traced machine left, or a ``.tar.zst`` of it, read into one object."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pagelab.capture.archive import unpack
from pagelab.capture.events import Events
from pagelab.capture.files import decode, looks_like, read_bytes, read_head, reason
from pagelab.capture.kallsyms import Symbols, read_kallsyms
from pagelab.capture.kernel_config import read_config
from pagelab.capture.pagetypeinfo import PageTypeInfo, read_pagetypeinfo
from pagelab.capture.zoneinfo import Snapshot, read_zoneinfo
from pagelab.errors import BadInput

if TYPE_CHECKING:
    from pagelab.capture.trace import Lost, Mark, Trace

_HINT = "docs/reference/capture.md says what a capture holds; 'pagelab record' makes one."
_SNAPSHOT = re.compile(r"(\d{2,6})-(.+)\.txt$")
_SNAPSHOT_MARK = re.compile(r"pagelab: snapshot (\S+)( done)?$")
_TRACES = ("trace.dat", "trace.txt", "trace.txt.gz")

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Capture:
    """Everything a capture says; ``config`` and ``symbols`` are read when they are first asked for.

    Reading these two can raise BadInput, as :func:`read_capture` does for the rest.
    """

    #: What was asked for: the directory or the archive.
    path: Path
    #: The file the events come from.
    trace: Path
    events: Events
    #: (cpu, time, count), one for each row of Kind.LOST; cpu -1 if only a total is known, count -1 if unknown.
    lost: list[Lost]
    #: Name of the trace clock: "counter", "mono", ...; "" if neither the trace nor capture.toml says.
    clock: str
    #: CPUs that were traced.
    cpus: int
    #: Whether the trace says how many; otherwise ``cpus`` is the last that has events, plus 1.
    all_cpus: bool
    #: uname.txt: one line, as ``uname -a`` prints it.
    kernel: str
    cmdline: str
    zoneinfo: list[Snapshot]
    pagetypeinfo: list[PageTypeInfo]
    #: capture.toml, empty if there is none.
    manifest: dict[str, Any]
    #: Events that no Kind stands for, counted by name.
    ignored: dict[str, int]
    #: What was written into trace_marker: (time, cpu, text).
    marks: list[Mark]
    #: uname as trace-cmd noted it within the trace, "" if it did not.
    trace_uname: str
    warnings: list[str]
    #: The directory that holds the files (another than ``path`` for an archive).
    root: Path
    _unpacked: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def release(self) -> str:
        """The kernel's release, such as "6.1.0-30-amd64": the first word of uname.txt with a digit and a point."""
        return next((word for word in self.kernel.split() if re.match(r"\d+\.\d", word)), "")

    @property
    def probes_missed(self) -> dict[str, Any]:
        """By name of a probe how often the kernel left it out, because it was hit within another one.

        ``record`` notes that of kprobe_profile.
        """
        return _probes_missed(self.manifest)

    @cached_property
    def snapshot_times(self) -> dict[str, tuple[int, int]]:
        """First and last moment at which the snapshot "NN-label" was taken, for those that ``record`` marked."""
        times: dict[str, tuple[int, int]] = {}
        for time, _, text in self.marks:
            if match := _SNAPSHOT_MARK.match(text):
                start = times.get(match[1], (time, time))[0] if match[2] else time
                times[match[1]] = (start, time)
        return times

    @cached_property
    def config(self) -> dict[str, str]:
        """config.txt[.gz]: option to value; empty if the capture has none."""
        path = _either(self.root, "config.txt")
        return read_config(path) if path else {}

    @cached_property
    def symbols(self) -> Symbols:
        """kallsyms.txt[.gz]; empty if the capture has none."""
        path = _either(self.root, "kallsyms.txt")
        return read_kallsyms(path) if path else Symbols({})


def _either(root: Path, name: str) -> Path | None:
    """The file, plain or with ``.gz``."""
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def _one_line(root: Path, name: str, warnings: list[str], what: str) -> str:
    path = root / name
    if not path.is_file():
        warnings.append(f"{path} is missing: {what}")
        return ""
    text = decode(read_bytes(path, 1 << 16), path).strip()
    if "\n" in text:
        raise BadInput(f"{path}: expected one line, found {text.count(chr(10)) + 1}", _HINT)
    return text


def _snapshots(root: Path, name: str, warnings: list[str], read: Callable[[int, str, Path], _Read]) -> list[_Read]:
    """The files of a directory of snapshots, in the order of their numbers."""
    directory = root / name
    if not directory.is_dir():
        warnings.append(f"{directory} is missing")
        return []
    found: list[tuple[int, str, Path]] = []
    for path in directory.iterdir():
        match = _SNAPSHOT.match(path.name)
        if match is None or not path.is_file():
            warnings.append(f"{path} is not read, its name is not NN-label.txt")
        else:
            found.append((int(match[1]), match[2], path))
    return [read(number, label, path) for number, label, path in sorted(found)]


def _manifest(root: Path, warnings: list[str]) -> dict[str, Any]:
    path = root / "capture.toml"
    if not path.is_file():
        warnings.append(f"{path} is missing: it is not known what was run")
        return {}
    try:
        return tomllib.loads(decode(read_bytes(path), path))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}", "Remove the file if it cannot be repaired.") from None


def _probes_missed(manifest: dict[str, Any]) -> dict[str, Any]:
    noted = manifest.get("trace", {})
    missed = noted.get("probes_missed", {}) if isinstance(noted, dict) else {}
    return missed if isinstance(missed, dict) else {}


def _trace(root: Path, warnings: list[str]) -> tuple[Path, Trace]:
    found = [root / name for name in _TRACES if (root / name).is_file()]
    if not found:
        raise BadInput(f"{root}: has no trace.dat and no trace.txt, so there are no events", _HINT)
    if len(found) > 1:
        warnings.append(f"{found[0].name} is read, {', '.join(path.name for path in found[1:])} is not")
    if found[0].suffix == ".dat":
        from pagelab.capture.trace_dat import read_trace_dat

        return found[0], read_trace_dat(found[0])
    from pagelab.capture.trace_text import read_trace_text

    return found[0], read_trace_text(found[0])


def _clock(trace: Trace, manifest: dict[str, Any]) -> str:
    noted = manifest.get("trace", {})
    clock = noted.get("clock", "") if isinstance(noted, dict) else ""
    return trace.clock or (clock if isinstance(clock, str) else "")


def _root(path: Path) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    """The directory of the files, and what keeps it alive if it had to be unpacked."""
    try:
        if path.is_dir():
            return path, None
        if not path.exists():
            raise BadInput(f"{path}: there is no such directory or file", _HINT)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({reason(error)})") from None
    if not path.is_file():
        raise BadInput(f"{path}: neither a directory nor a plain file", _HINT)
    head = read_head(path)
    if not head.startswith(b"\x28\xb5\x2f\xfd"):
        raise BadInput(f"{path}: expected a directory or a .tar.zst of one, found {looks_like(head)}", _HINT)
    unpacked = tempfile.TemporaryDirectory(prefix="pagelab-capture-")
    return unpack(path, Path(unpacked.name)), unpacked


def read_capture(path: Path) -> Capture:
    """Reads a capture: a directory, or a ``.tar.zst`` of one.

    Needed are a trace, ``uname.txt`` and a zoneinfo snapshot.  What else is missing is said in ``warnings``.

    :raises BadInput: a file is missing, cut, damaged or not what its name says; the sentence names it and the place.
    :raises MissingTool: there is no room to unpack an archive.
    """
    root, unpacked = _root(path)
    warnings: list[str] = []
    try:
        if not any(root.iterdir()):
            raise BadInput(f"{root}: the directory is empty", _HINT)
    except OSError as error:
        raise BadInput(f"{root}: cannot be read ({reason(error)})") from None
    for needed in ("uname.txt", "zoneinfo"):
        if not any((root / name).is_file() for name in _TRACES):
            break  # no trace is worse, and said below
        if not (root / needed).exists():
            raise BadInput(f"{root}: has no {needed}", _HINT)
    # The small files first: they are read in no time, and a long trace is not read in vain.
    manifest = _manifest(root, warnings)
    zoneinfo = _snapshots(
        root, "zoneinfo", warnings, lambda number, label, file: Snapshot(number, label, file, read_zoneinfo(file))
    )
    pagetypeinfo = _snapshots(
        root, "pagetypeinfo", warnings, lambda number, label, file: read_pagetypeinfo(file, number, label)
    )
    kernel = _one_line(root, "uname.txt", warnings, "the kernel is not known")
    cmdline = _one_line(root, "cmdline.txt", warnings, "the kernel's parameters are not known")
    warnings += [
        f"{root / name} is missing: the kernel's features cannot be found from it"
        for name in ("config.txt", "kallsyms.txt")
        if _either(root, name) is None
    ]
    warnings += [
        f"capture.toml: the kernel left out {n} hits of the probe {name}: record again"
        for name, n in _probes_missed(manifest).items()
    ]
    trace_path, trace = _trace(root, warnings)
    if not zoneinfo:
        raise BadInput(f"{root / 'zoneinfo'}: holds no snapshot NN-label.txt", _HINT)
    return Capture(
        path=path,
        trace=trace_path,
        events=trace.events,
        lost=trace.lost,
        clock=_clock(trace, manifest),
        cpus=trace.cpus,
        all_cpus=trace.all_cpus,
        kernel=kernel,
        cmdline=cmdline,
        zoneinfo=zoneinfo,
        pagetypeinfo=pagetypeinfo,
        manifest=manifest,
        ignored=trace.ignored,
        marks=trace.marks,
        trace_uname=trace.uname,
        warnings=warnings + trace.warnings,
        root=root,
        _unpacked=unpacked,
    )
