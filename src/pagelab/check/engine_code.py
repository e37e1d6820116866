# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's machine code: compiled by numba once, then read from the cache without numba, whose import takes longer
than most searches."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

    from llvmlite import binding

#: Sources whose change makes the cached code useless, besides those of the module that was compiled.
SOURCES = ("engine_layout.py", "raw.py", "words.py", "../lang/stepped_text.py")
#: By module below pagelab.check the functions that are called from outside, with their number of parameters.  A module
#: is compiled when one of its functions is first asked for; its layout is in the module of that name.
FUNCTIONS = {
    "engine": {"begin": 2, "explore": 2, "next_level": 1, "rehash": 5},
    "fewest_engine": {"fewest": 1},
    "liveness_engine": {"link": 3, "components": 8, "round_trip": 4, "nearest": 9, "readable": 3},
}

#: LLVM's level of optimisation.
OPT = 3

_other_core: subprocess.Popen[bytes] | None = None
_loaded: dict[str, Callable[..., int]] = {}
_kept: list[Any] = []


def function(name: str) -> Callable[..., int]:
    """A function of the engine: it takes integers, lets other Python threads run, and returns an integer."""
    if name not in _loaded:
        _load(next(module for module, functions in FUNCTIONS.items() if name in functions))
    return _loaded[name]


def prepare() -> None:
    """Where nothing is in the cache yet, have another core compile what will be needed after the first search."""
    global _other_core
    import subprocess

    from pagelab.lang.machine_code import is_kept

    first, *others = FUNCTIONS
    if _other_core is None and not is_kept(_depends_on(first), OPT):
        command = [sys.executable, "-m", "pagelab.check.engine_code", *others]
        with contextlib.suppress(OSError):
            _other_core = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compile_all(modules: Iterable[str]) -> None:
    """Fill the cache, so that nobody has to wait for numba."""
    for module in modules:
        _load(module)


def _depends_on(module: str) -> list[bytes]:
    here = Path(__file__).parent
    names = (*SOURCES, f"{module}.py", f"{module.removesuffix('_engine')}_layout.py")
    return [module.encode(), *(path.read_bytes() for path in (here / name for name in names) if path.is_file())]


def _load(module: str) -> None:
    from pagelab.lang.machine_code import load

    if _other_core is not None and module != next(iter(FUNCTIONS)):
        _other_core.wait()  # if it failed, the code is compiled here
    engine = load(_depends_on(module), lambda machine: _compile(module, machine), OPT)
    _kept.append(engine)
    for name, parameters in FUNCTIONS[module].items():
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


def _compile(module_name: str, machine: binding.TargetMachine) -> bytes:
    """The functions of a module in one object file, under names of ours."""
    import importlib

    import llvmlite.binding as llvm
    from numba import types

    whole = None
    module = importlib.import_module(f"pagelab.check.{module_name}")
    for name, parameters in FUNCTIONS[module_name].items():
        dispatcher = getattr(module, name)
        signature = types.int64(*[types.int64] * parameters)
        compiled = dispatcher.overloads[tuple(signature.args)]
        text = compiled.library.get_llvm_str().replace(compiled.fndesc.llvm_func_name, f"pagelab_{name}")
        part = llvm.parse_assembly(text)
        if whole is None:
            whole = part
        else:
            whole.link_in(part)
    code: bytes = machine.emit_object(whole)
    return code


if __name__ == "__main__":
    compile_all(sys.argv[1:] or FUNCTIONS)
