# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code that is kept: what was compiled once, on this kind of processor, is read from the cache afterwards."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.cache import cache_directory
from pagelab.errors import MissingTool

if TYPE_CHECKING:
    from llvmlite import binding

#: Object files that are kept; those that were not used for longest go.
KEPT = 400


@functools.cache
def _host() -> tuple[str, str]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def target_machine(opt: int) -> binding.TargetMachine:
    """This processor, compiled for at a level of optimisation.  An engine that is given it owns it."""
    import llvmlite.binding as llvm

    cpu, features = _host()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=opt, jit=True)


def load(depends_on: Iterable[bytes], make: Callable[[binding.TargetMachine], bytes], opt: int) -> Any:
    """Executable code, from the cache or made and kept there.

    :param depends_on: all that the code depends on besides the processor and LLVM.
    :param make: compiles to an object file.
    :returns: llvmlite's execution engine, which must live as long as addresses in it are used.
    """
    import llvmlite.binding as llvm

    path = _path(depends_on, opt)
    code = _read(path)
    if code is None:
        code = make(target_machine(opt))
        _keep(path, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine(opt))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _path(depends_on: Iterable[bytes], opt: int) -> Path | None:
    """Where the code is kept, None if nowhere: the name tells of all that it depends on."""
    import llvmlite

    digest = hashlib.sha256(" ".join((llvmlite.__version__, *_host(), str(opt))).encode())
    for part in depends_on:
        digest.update(hashlib.sha256(part).digest())
    with contextlib.suppress(MissingTool):
        return cache_directory("code") / f"{digest.hexdigest()[:40]}.o"
    return None


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        code = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    return code


def _keep(path: Path | None, code: bytes) -> None:
    """Whoever reads it sees all of it or nothing; a cache that cannot be written costs time, no more."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
        files = sorted(path.parent.iterdir(), key=lambda kept: kept.stat().st_mtime)
        for old in files[: max(len(files) - KEPT, 0)]:
            old.unlink(missing_ok=True)
