# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code that is kept: what was compiled once, on this kind of processor, is read from the cache afterwards.

Reading it takes neither LLVM nor OpenSSL (which hashlib loads): importing those takes longer than most searches.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pagelab.cache import cache_directory
from pagelab.errors import MissingTool
from pagelab.lang.object_file import Code, Unsupported

try:
    from _blake2 import blake2b
except ImportError:  # not this Python's name for it
    from hashlib import blake2b

if TYPE_CHECKING:
    from llvmlite import binding

#: Object files that are kept, 30 KB each; when there are more, the half that was not used for longest goes.
KEPT = 2000
#: What a kept file ends with, so that a damaged one is not executed.
DIGEST_BYTES = 16


#: Lines of /proc/cpuinfo that tell kinds of processors apart, on x86 and on ARM.
KINDS = frozenset(
    ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    + ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features")
)


class Executable(Protocol):
    """Code that can be called for as long as this object lives."""

    def get_function_address(self, name: str) -> int:
        """Where a function begins."""


@functools.cache
def _host() -> tuple[str, str]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@functools.cache
def _processor() -> str:
    """The kind of processor, without asking LLVM where the kernel tells."""
    try:
        with open("/proc/cpuinfo") as file:
            of_the_first = itertools.takewhile(str.strip, file)
            first = [line for line in of_the_first if line.partition(":")[0].strip() in KINDS]
    except OSError:
        first = []
    return "".join((os.uname().machine, *(first or _host())))


def target_machine(opt: int) -> binding.TargetMachine:
    """This processor, compiled for at a level of optimisation.  An engine that is given it owns it."""
    import llvmlite.binding as llvm

    cpu, features = _host()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=opt, jit=True)


def load(depends_on: Iterable[bytes], make: Callable[[binding.TargetMachine], bytes], opt: int) -> Executable:
    """Executable code, from the cache or made and kept there.

    :param depends_on: all that the code depends on besides the processor and LLVM.
    :param make: compiles to an object file.
    :returns: what must live as long as addresses in it are used.
    """
    path = _path(depends_on, opt)
    file = _read(path)
    if file is None:
        file = make(target_machine(opt))
        _keep(path, file)
    try:
        return Code(file)
    except Unsupported:
        return _by_llvm(file, opt)


def is_kept(depends_on: Iterable[bytes], opt: int) -> bool:
    """Whether load() would find it in the cache."""
    path = _path(depends_on, opt)
    return path is not None and path.is_file()


def _by_llvm(file: bytes, opt: int) -> Executable:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine(opt))
    engine.add_object_file(llvm.ObjectFileRef.from_data(file))
    engine.finalize_object()
    executable: Executable = engine
    return executable


def _path(depends_on: Iterable[bytes], opt: int) -> Path | None:
    """Where the code is kept, None if nowhere: the name tells of all that it depends on."""
    import llvmlite

    digest = blake2b(" ".join((llvmlite.__version__, _processor(), str(opt))).encode(), digest_size=20)
    for part in depends_on:
        digest.update(blake2b(part).digest())
    with contextlib.suppress(MissingTool):
        return cache_directory("code") / f"{digest.hexdigest()}.o"
    return None


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        kept = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    code, digest = kept[:-DIGEST_BYTES], kept[-DIGEST_BYTES:]
    return code if blake2b(code, digest_size=DIGEST_BYTES).digest() == digest else None


def _keep(path: Path | None, code: bytes) -> None:
    """Whoever reads it sees all of it or nothing; a cache that cannot be written costs time, no more."""
    if path is None:
        return
    import tempfile

    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(code)
                file.write(blake2b(code, digest_size=DIGEST_BYTES).digest())
            os.replace(name, path)
        except OSError:
            os.unlink(name)
        files = list(path.parent.iterdir())
        if len(files) > KEPT:
            files.sort(key=lambda kept: kept.stat().st_mtime)
            for old in files[: KEPT // 2]:
                old.unlink(missing_ok=True)
