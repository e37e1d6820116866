# SPDX-License-Identifier: GPL-2.0-or-later
"""What :mod:`pagelab.check.fewest` and its engine agree on."""

from __future__ import annotations

# ---- block[...]
WORDS = 0  # 64-bit words a node: a state and the thread that took the last step
THREADS = 1
INVARIANTS = 2
ARENA = 3  # address of the nodes
TABLE = 4  # address of 32 bits a slot: a node's number plus 1
MASK = 5  # slots less 1; they are a power of two
COST = 6  # address of 64 bits a node
PARENT = 7  # address of 32 bits a node
VIA = 8  # address of 16 bits a node: thread + 256 * choice
HEAP = 9  # address of 64 bits an entry: nodes
KEYS = 10  # address of 64 bits an entry: their costs
STEP = 11
GOOD = 12
DAEMONS = 13  # address of a byte a thread: 0, 1 if it need not end, or STORE_BUFFER
ABLE = 14  # address of a byte a thread, for the engine
CAPACITY = 15  # nodes; the heap has room for twice as many
RESULT = 16  # three numbers
BLOCK_WORDS = 20

#: Costs: preemptions << 42 | switches << 21 | steps.
PREEMPTION, SWITCH, STEP_COST = 1 << 42, 1 << 21, 1
INFINITE = 1 << 62

FOUND, FULL, EXHAUSTED = 0, 1, 2

#: A thread that is no context of a CPU but its store buffer, a daemon too.
STORE_BUFFER = 2
