# SPDX-License-Identifier: GPL-2.0-or-later
"""States as words in memory, for the engines: copied, compared, hashed."""

from __future__ import annotations

from typing import Any

from numba import int64, uint64

from pagelab.check.raw import compiled, fold_product, hashing, load64, store64

_KEY_A, _KEY_B, _NEXT = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xC4CEB9FE1A85EC53
_MIX_A, _MIX_B = 0xFF51AFD7ED558CCD, 0xBF58476D1CE4E5B9


@compiled
def copy_state(target: Any, source: Any, words: Any) -> Any:
    """Copy a state."""
    k = 0
    while k + 3 < words:
        at = 8 * k
        a, b = load64(source + at), load64(source + at + 8)
        c, d = load64(source + at + 16), load64(source + at + 24)
        store64(target + at, a)
        store64(target + at + 8, b)
        store64(target + at + 16, c)
        store64(target + at + 24, d)
        k += 4
    while k < words:
        store64(target + 8 * k, load64(source + 8 * k))
        k += 1
    return 0


@compiled
def same_state(one: Any, other: Any, words: Any) -> Any:
    """Whether two states are the same: 1 or 0.  They mostly are where their hashes are alike, so all words are read."""
    different = uint64(0)
    k = 0
    while k + 3 < words:
        a, b = one + 8 * k, other + 8 * k
        different |= (load64(a) ^ load64(b)) | (load64(a + 8) ^ load64(b + 8))
        different |= (load64(a + 16) ^ load64(b + 16)) | (load64(a + 24) ^ load64(b + 24))
        k += 4
    while k < words:
        different |= load64(one + 8 * k) ^ load64(other + 8 * k)
        k += 1
    return int64(different == 0)


@hashing
def hash_state(state: Any, words: Any) -> Any:
    """A hash of 64 bits, never 0.

    Two words at a time are multiplied to 128 bits, each with a key of its own, and the halves folded, as wyhash and
    XXH3 do: no product waits for another.
    """
    key_a, key_b = uint64(_KEY_A), uint64(_KEY_B)
    h = uint64(words) * uint64(_MIX_A)
    k = 0
    while k + 1 < words:
        h += fold_product(load64(state + 8 * k) ^ key_a, load64(state + 8 * k + 8) ^ key_b)
        key_a += uint64(_NEXT)
        key_b += uint64(_NEXT)
        k += 2
    if k < words:
        h += fold_product(load64(state + 8 * k) ^ key_a, key_b)
    h = (h ^ (h >> uint64(32))) * uint64(_MIX_B)
    h ^= h >> uint64(29)
    return h if h != 0 else uint64(1)


@compiled
def slot_of(tag: Any, slots: Any) -> Any:
    """Where the search for a slot begins, by the high half of a hash.

    Slots are ordered like hashes, so that a larger table is filled in order.
    """
    return int64((uint64(tag) * uint64(slots)) >> uint64(32))
