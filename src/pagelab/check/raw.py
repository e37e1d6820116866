# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory by address, for numba code: loads and stores, compare-and-swap, prefetching, calls of compiled code.

The search engine works on memory that is far larger than what is used of it, shared by threads, and full of addresses
of compiled code; numba's arrays know nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Any:
    """A function of the engine: it takes and returns integers of 64 bits and raises nothing.

    It is compiled for these types alone, at once: numba would do so for each mixture of types it is called with.  It
    becomes part of those that call it, and is optimised there.
    """
    return _compiled(function, types.int64(*[types.int64] * function.__code__.co_argcount), 0)


def exported(function: Callable[..., Any]) -> Any:
    """The same for one that is called from outside of the engine."""
    return _compiled(function, types.int64(*[types.int64] * function.__code__.co_argcount), 3)


def hashing(function: Callable[..., Any]) -> Any:
    """The same for one that returns an unsigned number."""
    return _compiled(function, types.uint64(*[types.int64] * function.__code__.co_argcount), 0)


def inlined(function: Callable[..., Any]) -> Any:
    """A function that takes and returns whatever it is called with."""
    return numba.njit(forceinline=True, error_model="numpy")(function)


def _compiled(function: Callable[..., Any], signature: Any, level: int) -> Any:
    options: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    with _optimised(level):
        return numba.njit(signature, forceinline=True, **options)(function)


@contextmanager
def _optimised(level: int) -> Iterator[None]:
    """Have numba optimise at a level, and use no vectors.

    A state is a few words: to get them into vectors and out of them takes longer than the work itself.
    """
    config: Any = numba.config
    before = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE
    config.OPT = type(config.OPT)(level)
    config.LOOP_VECTORIZE = config.SLP_VECTORIZE = 0
    try:
        yield
    finally:
        config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE = before


_BITS: dict[int, Any] = {8: types.uint8, 16: types.uint16, 32: types.uint32, 64: types.uint64}


def _pointer(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.inttoptr(address, kind.as_pointer())


def _load(bits: int) -> Any:
    def load(typing_context: Any, address: Any) -> Any:
        """The unsigned number at an address."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_pointer(builder, args[0], ir.IntType(bits)), align=1)

        return _BITS[bits](types.int64), generate

    return intrinsic(load)


def _store(bits: int) -> Any:
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        """Store the low bits of a number at an address."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            small = ir.IntType(bits)
            value = args[1] if bits == 64 else builder.trunc(args[1], small)
            builder.store(value, _pointer(builder, args[0], small), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.uint64), generate

    return intrinsic(store)


load8: Any = _load(8)
load16: Any = _load(16)
load32: Any = _load(32)
load64: Any = _load(64)
store8: Any = _store(8)
store16: Any = _store(16)
store32: Any = _store(32)
store64: Any = _store(64)


def _swap(typing_context: Any, address: Any, new: Any) -> Any:
    """Put a number where 0 is, atomically; what was there before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        big = ir.IntType(64)
        pair = builder.cmpxchg(_pointer(builder, args[0], big), ir.Constant(big, 0), args[1], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.uint64(types.int64, types.uint64), generate


def _add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to the number at an address, atomically; what was there before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0], ir.IntType(64)), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


def _read(typing_context: Any, address: Any) -> Any:
    """The number at an address, which another thread may change meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0], ir.IntType(64)), "acquire", 8)

    return types.int64(types.int64), generate


def _run(typing_context: Any, address: Any) -> Any:
    """``int f(void)`` at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.sext(builder.call(_pointer(builder, args[0], kind), []), ir.IntType(64))

    return types.int64(types.int64), generate


def _fold(typing_context: Any, one: Any, other: Any) -> Any:
    """The halves of the 128 bits of a product, one xor the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        big, huge = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], huge), builder.zext(args[1], huge))
        high = builder.trunc(builder.lshr(product, huge(64)), big)
        return builder.xor(builder.trunc(product, big), high)

    return types.uint64(types.uint64, types.uint64), generate


def _fetch(typing_context: Any, address: Any) -> Any:
    """Have the cache line of an address loaded."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(function, [_pointer(builder, args[0], ir.IntType(8)), word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _call(typing_context: Any, address: Any, state: Any, which: Any, choice: Any) -> Any:
    """``i32 f(ptr, i32, i32)`` at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        small, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(small, [byte, small, small])
        numbers = [builder.trunc(a, small) for a in args[2:]]
        return builder.sext(
            builder.call(_pointer(builder, args[0], kind), [_pointer(builder, args[1], ir.IntType(8)), *numbers]),
            ir.IntType(64),
        )

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


def _call_thread(typing_context: Any, address: Any, state: Any, choice: Any) -> Any:
    """``i32 f(ptr, i32)`` at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        small, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = _pointer(builder, args[0], ir.FunctionType(small, [byte, small]))
        result = builder.call(function, [_pointer(builder, args[1], ir.IntType(8)), builder.trunc(args[2], small)])
        return builder.sext(result, ir.IntType(64))

    return types.int64(types.int64, types.int64, types.int64), generate


def _get(typing_context: Any, block: Any, index: Any) -> Any:
    """A number of a block."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        big = ir.IntType(64)
        return builder.load(_pointer(builder, builder.add(args[0], builder.mul(args[1], big(8))), big), align=1)

    return types.int64(types.int64, types.int64), generate


def _put(typing_context: Any, block: Any, index: Any, value: Any) -> Any:
    """Set a number of a block."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        big = ir.IntType(64)
        builder.store(args[2], _pointer(builder, builder.add(args[0], builder.mul(args[1], big(8))), big), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


get: Any = intrinsic(_get)
put: Any = intrinsic(_put)
swap_zero: Any = intrinsic(_swap)
read_shared: Any = intrinsic(_read)
call_plain: Any = intrinsic(_run)
fetch_add: Any = intrinsic(_add)
fold_product: Any = intrinsic(_fold)
prefetch: Any = intrinsic(_fetch)
call_step: Any = intrinsic(_call)
call_thread: Any = intrinsic(_call_thread)

__all__ = [
    "call_plain",
    "call_step",
    "call_thread",
    "compiled",
    "exported",
    "fetch_add",
    "fold_product",
    "get",
    "hashing",
    "inlined",
    "load8",
    "load16",
    "load32",
    "load64",
    "prefetch",
    "put",
    "read_shared",
    "store8",
    "store16",
    "store32",
    "store64",
    "swap_zero",
]
