# SPDX-License-Identifier: GPL-2.0-or-later
"""What the visited set keeps of a state: all of it, a hash of 64 bits, or three bits; and the odds of the latter two.

With hashes or bits two states may look the same, and the second of them is then left out with all that follows from it:
"holds" means that nothing was found, with these odds (Wolper and Leroy, Reliable hashing without collision detection,
1993; Holzmann, An analysis of bitstate hashing, 1998).  A violation is one in any case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pagelab.check import engine_layout as at

#: Of a state number with a part of the hash, or of a hash.
SLOT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Visited:
    """A way to keep states.

    :param name: what the command line calls it.
    :param code: what the engine calls it.
    :param whole: whether states are kept, and compared.
    """

    name: str
    code: int
    whole: bool

    def odds(self, states: int, bits: int) -> str:
        """How likely it is that states were left out, in words; "" if none can be.

        :param bits: bits of the table, where the set is bits.
        """
        if self.whole:
            return ""
        if self.code == at.HASHES:
            chance = -math.expm1(-(states**2) / 2**65)
            return f"hash compaction: that two of {states:,} states share their 64 bits has a chance of {chance:.1e}"
        return (
            f"bitstate: {at.BITS_A_STATE} bits a state in a table of {bits >> 23:,} MiB; about "
            f"{expected_left_out(states, bits):.1e} of {states:,} states are expected to have been left out, each with "
            "what follows from it"
        )


def expected_left_out(states: int, bits: int) -> float:
    """How many states find all of their bits set by others, if bits are set at random."""
    total, steps = 0.0, 1000
    for i in range(steps):
        full = -math.expm1(-at.BITS_A_STATE * states * (i + 0.5) / steps / bits)
        total += full**at.BITS_A_STATE
    return total * states / steps


FULL = Visited("full", at.STATES, True)
COMPRESSED = Visited("compressed", at.HASHES, False)
BITSTATE = Visited("bitstate", at.BITS, False)

#: By what the command line calls them.
VISITED = {one.name: one for one in (FULL, COMPRESSED, BITSTATE)}
