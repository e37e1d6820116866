# SPDX-License-Identifier: GPL-2.0-or-later
"""A numba loop over compiled procedures does what calls from CPython do."""

from __future__ import annotations

from typing import Any

import numba

from pagelab.lang.native import Program
from pagelab.lang.numba_call import caller
from tests.lang import toy


def test_called_by_address() -> None:
    program = Program([toy.arithmetic, toy.folded])
    call2, call0 = caller(2), caller(0)

    def loop(two: int, none: int, state: int, n: int) -> int:
        s = 0
        for i in range(n):
            s += call2(two, state, i, 3) + call0(none, state)
        return s

    compiled: Any = numba.njit(loop)
    found = compiled(program.address["arithmetic"], program.address["folded"], program.state.ctypes.data, 100)
    assert found == sum(toy.arithmetic(i, 3) + 1 for i in range(100))
