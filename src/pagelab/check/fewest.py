# SPDX-License-Identifier: GPL-2.0-or-later
"""Among all schedules to a violation, the one with the fewest preemptions, then switches, then steps.

A preemption takes the turn from a thread that could have gone on; a switch is any change of the thread that takes
steps.  Such schedules are the ones that people believe.  Found by Dijkstra's algorithm over pairs of a state and the
thread that took the last step, with the costs above in one number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.check import fewest_layout as at
from pagelab.check.engine_code import function
from pagelab.check.memory import Block, Bytes, Reserved
from pagelab.check.search import Schedule
from pagelab.lang.stepped import System, is_store_buffer
from pagelab.lang.stepped_text import BLOCKED, ENDED, NO_CHOICE

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import uint8

#: Bytes a node beside its state: cost, parent, step, two entries of the heap with their keys, two slots.
NODE_BYTES = 8 + 4 + 2 + 2 * 16 + 2 * 4


def fewest_preemptions(system: System, initial: npt.NDArray[uint8], states: int, max_memory: int) -> Schedule | None:
    """The schedule to a violation that people believe most easily; None if that takes more memory than allowed.

    :param states: how many states the search stored that found the violation: a measure of what will be needed.
    """
    words = system.bytes // 8 + 1
    capacity = max(states * 2 * len(system.threads), 1 << 12)
    if capacity * (words * 8 + NODE_BYTES) > max_memory:
        return None
    slots = 1 << (capacity * 3 // 2).bit_length()
    sizes = {
        at.ARENA: (capacity + 8) * words * 8,
        at.TABLE: slots * 4,
        at.COST: capacity * 8,
        at.PARENT: capacity * 4,
        at.VIA: capacity * 2,
        at.HEAP: capacity * 16,
        at.KEYS: capacity * 16,
        at.ABLE: len(system.threads),
    }
    memory = {name: Reserved(size) for name, size in sizes.items()}
    memory[at.ARENA].write(0, bytes(initial))
    daemons = Bytes(bytes(at.STORE_BUFFER if is_store_buffer(t) else t.daemon for t in system.threads))
    block = Block(at.BLOCK_WORDS)
    for name, reserved in memory.items():
        block[name] = reserved.address
    block[at.WORDS], block[at.THREADS], block[at.INVARIANTS] = words, len(system.threads), len(system.invariants)
    block[at.MASK], block[at.CAPACITY], block[at.DAEMONS] = slots - 1, capacity, daemons.address
    block[at.STEP], block[at.GOOD] = system.address["step"], system.address["good"]
    if function("fewest")(block.address) != at.FOUND:
        return None
    node, thread, choice = (block[at.RESULT + k] for k in range(3))
    steps = [(thread, choice)] if thread >= 0 else []
    while node:
        via = int.from_bytes(memory[at.VIA].read(2 * node, 2), "little")
        steps.append((via % 256, via // 256))
        node = int.from_bytes(memory[at.PARENT].read(4 * node, 4), "little")
    return Schedule(tuple(reversed(steps)))


def costs(system: System, initial: npt.NDArray[uint8], schedule: Schedule) -> tuple[int, int, int]:
    """Preemptions, switches and steps of a schedule."""
    state = initial.copy()
    preemptions = switches = 0
    last = -1
    for thread, choice in schedule.steps:
        if is_store_buffer(system.threads[thread]):
            system.step(state, thread, choice)
            continue
        if last not in (-1, thread):
            switches += 1
            trial = state.copy()
            preemptions += system.step(trial, last) not in (BLOCKED, ENDED, NO_CHOICE)
        system.step(state, thread, choice)
        last = thread
    return preemptions, switches, len(schedule.steps)
