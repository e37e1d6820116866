# SPDX-License-Identifier: GPL-2.0-or-later
"""What the search engine and those who call it agree on: where which number lies, and what results mean."""

from __future__ import annotations

# ---- shared[...]: for all workers
WORDS = 0  # 64-bit words a state
THREADS = 1
INVARIANTS = 2
ARENA = 3  # address of state 0
TABLE = 4  # address of the visited set
SLOTS = 5
PARENT = 6  # address of 32 bits a state: from which state it was reached first
VIA = 7  # address of 16 bits a state: by which step, thread + 256 * choice
STEPS = 8  # address of 64 bits a thread: the address of i32 step(state, choice)
GOOD = 9  # address of i32 good(state, invariant, 0)
IDLE = 10  # address of 16 bits a thread: the stop at which a daemon waits for work; NEVER_IDLE for other threads
BASES = 11  # address of 16 bits a thread: the byte of the state where its stop is kept
REGION = 12  # states that a worker has room for; worker w stores states w * REGION and following
WORKERS = 13
REDUCED = 14  # whether safe steps are taken at once
ACTOR = 15  # address of 16 bits for [thread, stop]: row in SAFE of its next step, 0 if it is never safe
OTHER = 16  # address of 16 bits for [thread, stop]: column in SAFE of all that it may do yet
SAFE = 17  # address of a byte for [row, column]: whether the step is safe from all that
OTHERS = 18  # columns of SAFE
STOPS = 19  # stops a thread that ACTOR, OTHER and TOUCHED have room for
CURSORS = 20  # a worker: the next state of the level to expand in its region
ENDS = 24  # a worker: the end of the level in its region
TOUCHED = 28  # address of 32 bits for [thread, stop]: the properties that the next step may change
ALIKE = 29  # address of the groups of like threads: how many; for each its size, bytes a thread, first bytes; or 0
STORE = 30  # what the visited set holds: STATES, HASHES or BITS
OWNS = 32  # a worker: address of its own[...]
ACTIVE = 36  # workers at work; the first of them has number 0
DEPTH = 37  # levels that were expanded
SHARED_FROM = 38  # states that make a level worth all workers; from fewer on, the first works alone
GO_ON = 39  # whether to explore all there is after something was violated
STEP_BY_STEP = 40  # whether the caller wants to hear after each level
PC_MASK = 42  # the bits of 16 that are the number of a stop
YIELD = 41  # address of int sched_yield(void)
# Workers that wait for each other read these all the time, so they have a cache line of their own.
ARRIVED = 56  # workers that have no more to do in this level
GENERATION = 57  # changes when all have arrived
LEAVE = 58  # whether one of them will not come, but has gone back to the caller
SHARED_WORDS = 64
MAX_WORKERS = ENDS - CURSORS

# ---- own[...]: a worker's
NUMBER = 0
COUNT = 1  # states stored
LIMIT = 2  # states that may be stored before the table has to grow
TRANSITIONS = 3
FINISHED = 4  # states in which everything has ended
DEADLOCKS = 5
CHUNK = 6  # states of the level that this worker has taken and not expanded yet: from here
CHUNK_END = 7  # to before this one
BUDGET = 8  # states to expand before the caller wants to hear
RING = 9  # address of RING_SIZE entries: slot, tag, parent, via, properties to ask, the state
FOUND = 10  # address of FOUND_WORDS a violation: whether there is one, state, thread, choice, result of the step
NOTED = 11  # violations that were noted
OWN_WORDS = 16

#: Violations are numbered: the invariants, then deadlock, then the faults.
FOUND_WORDS = 5

# ---- shared[STORE]
STATES = 0  # numbers of states, which are compared whole
HASHES = 1  # 64 bits a state: two states may share them
BITS = 2  # BITS_A_STATE bits a state, each of which others may have set
BITS_A_STATE = 3

NEVER_IDLE = 0xFFFF
RING_SIZE = 32
RING_ENTRY_WORDS = 5
#: States that a worker takes at once.
STATE_CHUNK = 64
#: Looks at the others before a worker that waits for them gives its processor away.
PATIENCE = 4096
#: Safe steps that are taken in a row before a state is stored.
MAX_CHAIN = 1024

# ---- what explore() returns
DONE, FULL, PAUSED = 0, 1, 2
