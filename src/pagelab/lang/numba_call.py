# SPDX-License-Identifier: GPL-2.0-or-later
"""Call a compiled procedure by its address from numba code, with no Python in between.

    call = caller(2)                       # for procedures of two parameters
    @njit
    def loop(address, state):              # Program.address["f"], Program.state.ctypes.data
        return call(address, state, 1, 2)

Addresses are passed as arguments, never kept in globals: numba could not cache the caller otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast


@functools.cache
def caller(params: int) -> Callable[..., int]:
    """A function ``call(address, state, *params)`` for use inside ``@njit`` code.

    :param params: how many parameters the procedure takes besides the state.
    """
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    integer = ir.IntType(64)
    pointer = ir.IntType(8).as_pointer()

    def generate(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        kind = ir.FunctionType(integer, [pointer] + [integer] * params)
        function = builder.inttoptr(args[0], kind.as_pointer())
        return builder.call(function, [builder.inttoptr(args[1], pointer), *args[2:]])

    names = ", ".join(f"a{i}" for i in range(params))
    # numba wants an exact parameter list, hence one small function for each number of parameters.
    namespace = {"types": types, "generate": generate, "signature": types.int64(*[types.int64] * (params + 2))}
    exec(f"def call(context, address, state{', ' if names else ''}{names}):\n    return signature, generate", namespace)
    made: Callable[..., int] = intrinsic(cast("Callable[..., object]", namespace["call"]))
    return made
