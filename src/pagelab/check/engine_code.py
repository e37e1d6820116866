# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's machine code: compiled by numba once, then read from the cache without numba, whose import takes longer
than most searches."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.errors import MissingTool
from pagelab.guest.cache import cache_directory

if TYPE_CHECKING:
    from llvmlite import binding

#: The engine's source, whose change makes the cached code useless.
SOURCES = ("engine.py", "engine_layout.py", "raw.py", "fewest_engine.py", "fewest_layout.py", "../lang/stepped_text.py")
#: By module below pagelab.check the functions that are called from outside, with their number of parameters.
FUNCTIONS = {"engine": {"begin": 2, "explore": 2, "rehash": 4}, "fewest_engine": {"fewest": 1}}

_loaded: dict[str, Callable[..., int]] = {}
_kept: list[Any] = []


def function(name: str) -> Callable[..., int]:
    """A function of the engine: it takes integers, lets other Python threads run, and returns an integer."""
    if not _loaded:
        _load()
    return _loaded[name]


def _load() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    path = _path(cpu, features)
    code = path.read_bytes() if path is not None and path.is_file() else _compile(llvm, machine)
    if path is not None and not path.is_file():
        _keep(path, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _kept.append(engine)
    for functions in FUNCTIONS.values():
        for name, parameters in functions.items():
            _loaded[name] = _callable(engine.get_function_address(f"pagelab_{name}"), parameters)


def _callable(address: int, parameters: int) -> Callable[..., int]:
    """numba's convention: where to put the result, where to put an exception, then the arguments."""
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, *[ctypes.c_int64] * parameters
    )
    compiled = kind(address)

    def call(*args: int) -> int:
        result, exception = ctypes.c_int64(), ctypes.c_int64()
        compiled(ctypes.byref(result), ctypes.addressof(exception), *args)
        return result.value

    return call


def _path(cpu: str, features: str) -> Path | None:
    """Where the code is kept, None if nowhere: the name tells of all that it depends on."""
    import llvmlite

    digest = hashlib.sha256(f"{llvmlite.__version__} {cpu} {features}".encode())
    for name in SOURCES:
        source = Path(__file__).parent / name
        if source.is_file():
            digest.update(source.read_bytes())
    with contextlib.suppress(MissingTool):
        return cache_directory("engine") / f"{digest.hexdigest()[:32]}.o"
    return None


def _keep(path: Path, code: bytes) -> None:
    """Whoever reads it sees all of it or nothing; a cache that cannot be written costs time, no more."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)


def _compile(llvm: Any, machine: binding.TargetMachine) -> bytes:
    """All functions in one object file, under names of ours."""
    import importlib

    from numba import types

    whole = None
    for module_name, functions in FUNCTIONS.items():
        module = importlib.import_module(f"pagelab.check.{module_name}")
        for name, parameters in functions.items():
            dispatcher = getattr(module, name)
            signature = types.int64(*[types.int64] * parameters)
            dispatcher.compile(signature)
            compiled = dispatcher.overloads[tuple(signature.args)]
            text = compiled.library.get_llvm_str().replace(compiled.fndesc.llvm_func_name, f"pagelab_{name}")
            part = llvm.parse_assembly(text)
            if whole is None:
                whole = part
            else:
                whole.link_in(part)
    code: bytes = machine.emit_object(whole)
    return code
