# SPDX-License-Identifier: GPL-2.0-or-later
"""All states of a system with the steps between them, and what each thread waits for in each state."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pagelab.check import liveness_layout as at
from pagelab.check.engine_code import function
from pagelab.check.memory import Block
from pagelab.errors import BadInput
from pagelab.lang.graph import Do

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagelab.check.search import Search
    from pagelab.lang.flatten import FlatNode
    from pagelab.lang.stepped import System

    Sets = npt.NDArray[np.uint32]

#: Functions of the model in which wait_until() is the wait for a lock that serves those who wait in turn.
LOCK_FUNCTIONS = frozenset({"down_read", "down_write"})
#: Threads that a set of 32 bits has room for.
MOST_THREADS = 32
#: States linked between two looks at the keyboard.
SLICE = 1 << 16
#: Bytes a state and an edge, besides the search's; most of it while components are looked for.
STATE_BYTES, EDGE_BYTES = 96, 28


@dataclass(frozen=True, slots=True)
class StateGraph:
    """States in the order of a breadth-first search, the initial one first, and the steps between them.

    ``offsets[i]`` to before ``offsets[i + 1]`` are the edges of state ``i``: ``targets``, and ``vias``, thread + 256 *
    choice.  ``complete``: how many states, from the first on, have all their edges; the others have none.

    Sets of threads, 32 bits a state: who can take a step (``enabled``), whose step can fault (``failing``; such a step
    is no edge), who has ended, who stands at a lock (``at_lock``), and of those who cannot take a step, who lacks but
    its turn on its CPU (``lacks_cpu``).  ``depth``: steps from the initial state, at least; 32 bits a state.
    """

    threads: int
    complete: int
    offsets: npt.NDArray[np.int64]
    targets: npt.NDArray[np.uint32]
    vias: npt.NDArray[np.uint16]
    enabled: Sets
    ended: Sets
    at_lock: Sets
    lacks_cpu: Sets
    failing: Sets
    depth: npt.NDArray[np.uint32]

    @property
    def states(self) -> int:
        """How many states there are."""
        return len(self.enabled)

    @property
    def everybody(self) -> int:
        """The set of all threads."""
        return (1 << self.threads) - 1

    def block(self) -> Block:
        """The graph as the engine sees it; the arrays must outlive it."""
        block = Block(at.GRAPH_WORDS)
        block[at.STATES], block[at.THREADS], block[at.LINKED] = self.states, self.threads, self.complete
        for name, array in (
            (at.OFFSETS, self.offsets),
            (at.TARGETS, self.targets),
            (at.VIAS, self.vias),
            (at.ENABLED, self.enabled),
            (at.DEPTH, self.depth),
        ):
            block[name] = array.ctypes.data
        return block

    def edges(self, state: int) -> list[tuple[int, int]]:
        """The steps of a state: thread + 256 * choice, and where it leads."""
        chosen = slice(int(self.offsets[state]), int(self.offsets[state + 1]))
        return list(zip(self.vias[chosen].tolist(), self.targets[chosen].tolist(), strict=True))


def bytes_needed(states: int, transitions: int) -> int:
    """Memory that a graph takes, with all that is worked out from it."""
    return states * STATE_BYTES + transitions * EDGE_BYTES


def graph_of(search: Search, transitions: int, look: Callable[[], None] = lambda: None) -> StateGraph:
    """The graph of what a search stored; it must have had one worker, and no reduction.

    :param transitions: how many the search counted.
    :param look: called now and then.
    :raises BadInput: for more threads than a set has room for.
    """
    system, states = search.system, search.states
    threads = len(system.threads)
    if threads > MOST_THREADS:
        raise BadInput(f"{threads} threads: liveness is checked for at most {MOST_THREADS}")
    offsets = np.zeros(states + 1, np.int64)
    targets, vias = np.empty(transitions, np.uint32), np.empty(transitions, np.uint16)
    enabled, failing = np.zeros(states, np.uint32), np.zeros(states, np.uint32)
    block = Block(at.GRAPH_WORDS)
    block[at.STATES], block[at.THREADS], block[at.ROOM] = states, threads, transitions
    block[at.OFFSETS], block[at.TARGETS] = offsets.ctypes.data, targets.ctypes.data
    block[at.VIAS] = vias.ctypes.data
    block[at.ENABLED], block[at.FAILING] = enabled.ctypes.data, failing.ctypes.data
    block[at.WORDS], block[at.STEP] = system.bytes // 8, system.address["step"]
    block[at.ARENA], block[at.TABLE], block[at.SLOTS] = search.arena.address, search.table.address, search.slots
    scratch = Block(system.bytes // 8)
    while function("link")(block.address, scratch.address, SLICE) == at.PAUSED:
        look()
    complete = block[at.LINKED]
    offsets[complete:] = offsets[complete]
    rows = _bytes_at(search.arena.address, states * system.bytes).reshape(states, system.bytes)
    ended, at_lock, lacks_cpu = _waits(system, rows)
    return StateGraph(
        threads,
        complete,
        offsets,
        targets[: offsets[complete]],
        vias[: offsets[complete]],
        enabled,
        ended,
        at_lock,
        lacks_cpu & ~enabled,
        failing,
        _depths(_bytes_at(search.parent.address, states * 4).view(np.uint32)),
    )


def _bytes_at(address: int, size: int) -> npt.NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _depths(parent: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Steps from the initial state; a level of the search begins where a parent is not before the last one."""
    depth = np.zeros(len(parent), np.uint32)
    begin, end = 0, 1
    while end < len(parent):
        # States lie in the order in which they were found, so their parents ascend.
        following = end + int(np.searchsorted(parent[end:], end))
        depth[end:following] = depth[begin] + 1
        begin, end = end, following
    return depth


def _waits(system: System, rows: npt.NDArray[np.uint8]) -> tuple[Sets, Sets, Sets]:
    """Who has ended, who stands at a lock, whose CPU belongs to another context just now."""
    ended, at_lock, lacks_cpu = (np.zeros(len(rows), np.uint32) for _ in range(3))
    for t, (program, slots, base) in enumerate(zip(system.programs, system.slots, system.bases, strict=True)):
        pc = np.ascontiguousarray(rows[:, base : base + system.pc_bytes]).view(f"u{system.pc_bytes}")[:, 0]
        member = np.uint32(1 << t)
        stops = slots.entries
        ended[_stands(pc, [stop is program.end for stop in stops])] |= member
        at_lock[_stands(pc, [waits_at_lock(stop) for stop in stops])] |= member
        tokens = [tokens_of(system, t, stop) for stop in stops]
        for token in set().union(*tokens):
            lacks_cpu[_stands(pc, [token in needed for needed in tokens]) & (rows[:, token] != 0)] |= member
    return ended, at_lock, lacks_cpu


def _stands(pc: npt.NDArray[np.uint16], chosen: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """States in which a thread stands at one of the chosen stops, which are numbered from 1."""
    found: npt.NDArray[np.bool_] = np.array([False, *chosen])[pc]
    return found


def _step_from(stop: FlatNode) -> list[FlatNode]:
    """The nodes of the step that begins at a stop."""
    todo, seen = [stop], {stop.id: stop}
    while todo:
        for following in todo.pop().successors():
            if not following.begins_step and following.id not in seen:
                seen[following.id] = following
                todo.append(following)
    return list(seen.values())


def waits_at_lock(stop: FlatNode) -> bool:
    """Whether a thread that cannot go on from a stop waits in the queue of a lock."""
    waits = [node for node in _step_from(stop) if node.do in (Do.LOCK, Do.WAIT)]
    return bool(waits) and all(node.do is Do.LOCK or node.frames[-1][0] in LOCK_FUNCTIONS for node in waits)


def tokens_of(system: System, thread: int, stop: FlatNode) -> set[int]:
    """The bytes of the state that must be 0 so that a thread has its turn on its CPU, when it stands at a stop."""
    context: Any = system.contexts[thread]
    first = system.layout.bytes
    found = set()
    for node in _step_from(stop):
        if node.do is Do.IRQS_OFF and isinstance(node.value, int):
            found.add(first + node.value)
            if context.stops_interrupts(node):
                found.add(first + system.cpus + node.value)
    if context.waits_for_irqs(stop):
        found.add(first + context.cpu)
    if context.waits_for_interrupts(stop):
        found.add(first + system.cpus + context.cpu)
    return found
