# SPDX-License-Identifier: GPL-2.0-or-later
"""Which states lie on fair cycles: strongly connected components, from which states are taken that fairness rules out.

After Emerson and Lei (1987) for Streett's conditions.  A cycle may go round a whole component, so a thread is treated
fairly there if it takes a step in it.  If it takes none, a cycle must avoid the states in which it ought to get its
turn; without them the component may fall apart, and what is left is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pagelab.check.engine_code import function

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.state_graph import StateGraph

    Sets = npt.NDArray[np.uint32]

#: From the weakest assumption to the strongest.
FAIRNESS = ("none", "weak", "fifo-locks")


@dataclass(frozen=True, slots=True)
class Demands:
    """What fairness asks of a thread that takes no step on a cycle; sets of threads, 32 bits a state.

    It must be in ``could`` nowhere, or in ``otherwise`` somewhere; and it must be in ``in_turn`` nowhere.
    """

    could: Sets
    otherwise: Sets
    in_turn: Sets


def demands_of(graph: StateGraph, fairness: str) -> Demands:
    """The demands of a kind of fairness.

    ``weak``: a thread that from some point on lacks nothing but its turn on its CPU, and could have it again and
    again, takes a step.  ``fifo-locks``: so does a thread that stands at a lock which it could take again and again.
    """
    nothing = np.zeros_like(graph.enabled)
    if fairness == "none":
        return Demands(nothing, nothing, nothing)
    otherwise = ~(graph.enabled | graph.lacks_cpu) & np.uint32(graph.everybody)
    in_turn = graph.enabled & graph.at_lock if fairness == "fifo-locks" else nothing
    return Demands(graph.enabled, otherwise, in_turn)


def fair_components(graph: StateGraph, demands: Demands, within: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """For each state the number of the component in which it lies on a fair cycle, 0 if it lies on none.

    :param within: the states that a cycle may visit.
    """
    sources = np.repeat(np.arange(graph.states, dtype=np.uint32), np.diff(graph.offsets))
    fair = np.zeros(graph.states, np.uint32)
    region = within.astype(np.uint32)
    region[graph.complete :] = 0
    while region.any():
        component, count = strong_components(graph, region)
        inner = component[sources] == component[graph.targets]
        inner &= component[sources] != 0
        stepped, otherwise, could, in_turn = (np.zeros(count + 1, np.uint32) for _ in range(4))
        threads = np.left_shift(np.uint32(1), (graph.vias[inner] & 0xFF).astype(np.uint32))
        np.bitwise_or.at(stepped, component[sources[inner]], threads)
        for seen, sets in ((otherwise, demands.otherwise), (could, demands.could), (in_turn, demands.in_turn)):
            np.bitwise_or.at(seen, component, sets)
        # By component: the threads that must not be able to take a step, or not to take a lock, on a fair cycle.
        shut_out = could & ~otherwise & ~stepped
        out_of_turn = in_turn & ~stepped
        some_cycle = stepped != 0
        some_cycle[0] = False
        good = some_cycle & (shut_out == 0) & (out_of_turn == 0)
        chosen = good[component]
        fair[chosen] = fair.max() + component[chosen]
        ruled_out = (demands.could & shut_out[component]) | (demands.in_turn & out_of_turn[component])
        region = np.where((some_cycle & ~good)[component] & (ruled_out == 0), component, 0).astype(np.uint32)
    return fair


def strong_components(graph: StateGraph, region: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], int]:
    """For each state the number of its strongly connected component, from 1, and how many there are.

    :param region: 0 for states that are left out; edges between different regions do not count.
    """
    block = graph.block()
    component, index = (np.zeros(graph.states, np.uint32) for _ in range(2))
    low, stack, calls = (np.empty(graph.states, np.uint32) for _ in range(3))
    edge = np.empty(graph.states, np.int64)
    arrays = (region, component, index, low, stack, calls, edge)
    count = function("components")(block.address, *(array.ctypes.data for array in arrays))
    return component, count
