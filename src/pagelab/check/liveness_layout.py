# SPDX-License-Identifier: GPL-2.0-or-later
"""What :mod:`pagelab.check.liveness` and its engine agree on."""

from __future__ import annotations

# ---- graph[...]; sets of threads are 32 bits, one a thread
STATES = 0
THREADS = 1
OFFSETS = 2  # address of 64 bits a state, and one more: where its edges begin
TARGETS = 3  # address of 32 bits an edge: the state it leads to
VIAS = 4  # address of 16 bits an edge: thread + 256 * choice
ENABLED = 5  # address of a set a state: who can take a step
DEPTH = 6  # address of 32 bits a state: steps from the initial state, at least
# Only for link().
WORDS = 7
STEP = 8
ARENA = 9
TABLE = 10
SLOTS = 11
ROOM = 12  # edges that there is room for
LINKED = 13  # states whose edges are all there
FAILING = 14  # address of a set a state: whose next step can fault
GRAPH_WORDS = 15

# ---- search[...], for round_trip()
LABELS = 0  # address of 32 bits a state: the component it belongs to
COULD = 1  # address of a set a state: who can take a step, and may not wait for ever for that
OTHERWISE = 2  # address of a set a state: who waits for something else than its turn
IN_TURN = 3  # address of a set a state: who can take a step, having waited in a queue
EVERYBODY = 4  # the set of all threads
KEYS = 5  # address of 64 bits an entry: state + 1, and what threads have seen, from bit 32 on
PARENTS = 6  # address of 32 bits an entry
STEPS = 7  # address of 16 bits an entry
PLACES = 8  # address of 32 bits an entry: its slot
SEEN = 9  # address of 64 bits a slot: keys
SEEN_SLOTS = 10  # a power of two
ENTRIES = 11  # that there is room for
USED = 12  # entries
WORK = 13  # edges looked at, by all calls
LAST_ENTRY, LAST_STEP = 14, 15  # the end of the way that was found
SEARCH_WORDS = 16

#: Threads that round_trip() can keep in mind.
MOST_THREADS = 8

# ---- costs of a way, in readable()
SWITCH, PREEMPTION, INFINITE = 1, 1 << 16, (1 << 32) - 1

# ---- what link() returns
DONE, FULL, PAUSED = 0, 1, 2
# ---- what round_trip() returns, if not a length
NONE, NO_ROOM = 0, -1
