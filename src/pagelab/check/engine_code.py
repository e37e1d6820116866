# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's machine code: compiled by numba once, then read from the cache without numba, whose import takes longer
than most searches."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llvmlite import binding

#: Sources whose change makes the cached code useless, besides those of the module that was compiled.
SOURCES = ("engine_layout.py", "raw.py", "words.py", "../lang/stepped_text.py")
#: By module below pagelab.check the functions that are called from outside, with their number of parameters.  A module
#: is compiled when one of its functions is first asked for; its layout is in the module of that name.
FUNCTIONS = {
    "engine": {"begin": 2, "explore": 2, "rehash": 4},
    "fewest_engine": {"fewest": 1},
    "liveness_engine": {"link": 3, "components": 8, "round_trip": 4, "nearest": 9, "readable": 3},
}

_loaded: dict[str, Callable[..., int]] = {}
_kept: list[Any] = []


def function(name: str) -> Callable[..., int]:
    """A function of the engine: it takes integers, lets other Python threads run, and returns an integer."""
    if name not in _loaded:
        _load(next(module for module, functions in FUNCTIONS.items() if name in functions))
    return _loaded[name]


def compile_all() -> None:
    """Fill the cache, so that nobody has to wait for numba."""
    for module in FUNCTIONS:
        _load(module)


def _load(module: str) -> None:
    from pagelab.lang.machine_code import load

    here = Path(__file__).parent
    names = (*SOURCES, f"{module}.py", f"{module.removesuffix('_engine')}_layout.py")
    sources = [path.read_bytes() for path in (here / name for name in names) if path.is_file()]
    engine = load([module.encode(), *sources], lambda machine: _compile(module, machine), 3)
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
    compile_all()
