# SPDX-License-Identifier: GPL-2.0-or-later
"""A schedule that can be forced on a kernel: CPUs that are held and released at its functions, and what is to be seen.

Pages and pageblocks have the numbers of the scenario; the guest decides which page frames they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class At(Enum):
    """Where in a function a CPU stops: before its first instruction, or at the one behind a call of it."""

    ENTRY = "entry"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a CPU is held.

    :param function: the kernel's name of it; it has a symbol there.
    :param caller: only when called from this function, which has a symbol as well; "" for any.
    :param page: only for this page of the scenario, if one of the function's arguments is a page or a page frame
        number; NIL for any.
    :param pageblock: the same for any page of a pageblock of the scenario; NIL for any.
    :param nth: which of the arrivals that fit, from the beginning of the move on.
    """

    function: str
    at: At
    caller: str = ""
    page: int = -1
    pageblock: int = -1
    nth: int = 1


class Where(Enum):
    """Where a page is; a page in flight is free, but on no list yet."""

    OFFLINE = "offline"
    BUDDY = "buddy"
    PCPLIST = "pcplist"
    ALLOCATED = "allocated"
    IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class PageSeen:
    """One page.  ``migratetype``: of the list that it is on; ``cpu``: whose pcplist; NIL if on none."""

    where: Where
    migratetype: int = -1
    cpu: int = -1


@dataclass(frozen=True, slots=True)
class Seen:
    """What is compared between model and kernel while CPUs are held.  None: not looked at, or not to be decided.

    :param pages: by page of the scenario.
    :param isolated: by pageblock of the scenario, whether it is.
    :param nr_isolate_pageblock: of the zone, less what it was before the first move.
    :param isolated_pageblocks: how many pageblocks of the zone are isolated, less what it was before the first move.
    :param free_pages: NR_FREE_PAGES with what the CPUs have not yet folded in, less the free pages that are on lists
        of pageblocks that are not isolated; as the zone is before the first move it is 0.
    :param pcp_count: by CPU.
    :param pcp_high: by CPU; from v6.7 on the high in force.
    :param pcp_batch: by CPU.
    """

    pages: dict[int, PageSeen | None] = field(default_factory=dict)
    isolated: dict[int, bool | None] = field(default_factory=dict)
    nr_isolate_pageblock: int | None = None
    isolated_pageblocks: int | None = None
    free_pages: int | None = None
    pcp_count: dict[int, int] = field(default_factory=dict)
    pcp_high: dict[int, int] = field(default_factory=dict)
    pcp_batch: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One CPU runs while all others are held.  (One on which no thread of the plan has begun idles along.)

    :param thread: whose steps of the schedule it takes; its CPU may do other things as well.
    :param until: where it is held then; None: it runs until its thread is done, or until the others are needed.
    :param first: number of the first step of the model's schedule that belongs to it, from 1 on.
    :param last: number of the last one; ``first - 1`` if there is none.
    :param expected: what is to be seen when it is over.
    """

    thread: str
    cpu: int
    until: Stop | None
    first: int
    last: int
    expected: Seen


@dataclass(frozen=True, slots=True)
class Actor:
    """A thread of the scenario, as it is to be played in the guest.  ``run`` and ``parameters`` are the scenario's."""

    name: str
    cpu: int
    run: str
    parameters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to a guest: set-up, moves one after another, then all CPUs run on.

    :param kernel: as ``pagelab record --kernel`` knows it.
    :param initial: what has to hold before the first move; the guest is set up such that it does.
    :param batch: of the pcplists, 0 for as it is; ``high`` likewise, while nobody disables them.
    """

    kernel: str
    design: str
    scenario: str
    property: str
    cpus: int
    pageblock_order: int
    batch: int
    actors: tuple[Actor, ...]
    initial: Seen
    moves: tuple[Move, ...]
    high: int = 0


class Reason(Enum):
    """Why a move did not come to its end."""

    NEEDED = "needs a CPU that is held"
    ELSEWHERE = "the thread ended without coming by"
    TIME = "nothing happened in time"
    PANIC = "the kernel gave up"


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a move ended in the guest.

    :param reached: it was held where the plan says (or ran to its end, without ``until``).
    :param why: if not.
    :param words: for people: where the CPUs were then, and which wait for which.
    :param seen: read from the guest's memory while all CPUs were held.
    """

    move: int
    reached: bool
    why: Reason | None
    words: str
    seconds: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class Steered:
    """What came of a plan in one guest.

    :param page_frames: of each page of the scenario.
    :param initial: what was seen before the first move.
    :param ended: whether all actors ended after the last move, all CPUs running; those that did not are in ``words``.
    :param final: what was seen at the end.
    """

    release: str
    page_frames: dict[int, int]
    initial: Seen
    arrivals: tuple[Arrival, ...]
    ended: bool
    words: str
    final: Seen
    seconds: float
