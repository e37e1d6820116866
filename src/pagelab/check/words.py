# SPDX-License-Identifier: GPL-2.0-or-later
"""States as words in memory, for the engines: copied, compared, hashed."""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

from pagelab.check.raw import compiled, hashing, load64, store64

_MULTIPLY_A, _MULTIPLY_B = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


@compiled
def copy_state(target: Any, source: Any, words: Any) -> Any:
    """Copy a state."""
    for k in range(words):
        store64(target + 8 * k, load64(source + 8 * k))
    return 0


@compiled
def same_state(one: Any, other: Any, words: Any) -> Any:
    """Whether two states are the same: 1 or 0."""
    for k in range(words):
        if load64(one + 8 * k) != load64(other + 8 * k):
            return 0
    return 1


@hashing
def hash_state(state: Any, words: Any) -> Any:
    """A hash of 64 bits, never 0, in two lanes that do not wait for each other."""
    a, b = uint64(0x9E3779B97F4A7C15), uint64(0xD1B54A32D192ED03)
    k = 0
    while k + 1 < words:
        a = (a ^ load64(state + 8 * k)) * uint64(_MULTIPLY_A)
        b = (b ^ load64(state + 8 * k + 8)) * uint64(_MULTIPLY_B)
        a ^= a >> uint64(32)
        b ^= b >> uint64(29)
        k += 2
    if k < words:
        a = (a ^ load64(state + 8 * k)) * uint64(_MULTIPLY_A)
        a ^= a >> uint64(32)
    h = (a ^ (b << uint64(17)) ^ (b >> uint64(47))) * uint64(_MULTIPLY_B)
    h ^= h >> uint64(31)
    return h if h != 0 else uint64(1)


@compiled
def slot_of(tag: Any, slots: Any) -> Any:
    """Where the search for a slot begins, by the high half of a hash.

    Slots are ordered like hashes, so that a larger table is filled in order.
    """
    return int64((uint64(tag) * uint64(slots)) >> uint64(32))
