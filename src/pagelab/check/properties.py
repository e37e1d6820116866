# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold, in the language of the model: in every state, but for P5, that offlining ends.

P8, that a free page is on the list of its pageblock's type, is what kernels since v6.10 claim.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from pagelab.check.ghost import block_ghost, ghost
from pagelab.errors import BadInput
from pagelab.lang.declare import NIL, held, irqs_are_off
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_TYPES
from pagelab.linux.state import (
    BUDDY,
    OFFLINE,
    ON_PCPLIST,
    cpu_state,
    free_area,
    get_pageblock_migratetype,
    machine,
    mem_map,
    mm,
    pcp,
    pcp_auto,
    pcp_batch_high_rwsem,
    pcp_list,
    zone,
    zone_auto,
)


def pcplists_at_rest(cpu: int) -> bool:
    """Whether nobody is about to change the pcplists of a CPU."""
    if features.pcp_spinlock:
        return not held(pcp[cpu].lock)
    if cpu_state[cpu].online:
        return not irqs_are_off(cpu)
    # Whoever empties the lists of a CPU that went away has the irqs of its own off.
    off = 0
    for other in range(machine.nr_cpus):
        if irqs_are_off(other):
            off += 1
    return off == 0


def free_list_length(order: int, migratetype: int) -> int:
    """Pages on a free list, or -1 if something is wrong with it."""
    page = free_area[order, migratetype].head
    before = NIL
    length = 0
    while page != NIL:
        if mem_map[page].prev != before or mem_map[page].state != BUDDY or length == machine.nr_pages:
            return -1
        if mem_map[page].order != order or mem_map[page].free_list != migratetype:
            return -1
        length += 1
        before = page
        page = mem_map[page].next
    return length


def pcp_list_length(cpu: int, pindex: int) -> int:
    """Pages on a pcplist, or -1 if something is wrong with it."""
    page = pcp_list[cpu, pindex].head
    before = NIL
    length = 0
    while page != NIL:
        if mem_map[page].prev != before or mem_map[page].state != ON_PCPLIST or length == machine.nr_pages:
            return -1
        length += 1
        before = page
        page = mem_map[page].next
    return length


def pages_in_state(state: int) -> int:
    """How many pages are in a state."""
    count = 0
    for page in range(machine.nr_pages):
        if mem_map[page].state == state:
            count += 1
    return count


def buddies_are_on_one_list() -> bool:
    """P1, of the free lists."""
    if held(zone.lock):
        return True
    listed = 0
    for order in range(machine.max_order):
        for migratetype in range(MIGRATE_TYPES):
            length = free_list_length(order, migratetype)
            if length < 0:
                return False
            listed += length
    return listed == pages_in_state(BUDDY)


def pcp_pages_are_on_one_list() -> bool:
    """P1, of the pcplists."""
    listed = 0
    for cpu in range(machine.nr_cpus):
        if not pcplists_at_rest(cpu):
            return True
        for pindex in range(machine.nr_pcp_lists):
            length = pcp_list_length(cpu, pindex)
            if length < 0:
                return False
            listed += length
    return listed == pages_in_state(ON_PCPLIST)


def pages_are_on_one_list() -> bool:
    """P1."""
    return buddies_are_on_one_list() and pcp_pages_are_on_one_list()


def free_pages_are_counted() -> bool:
    """P2."""
    if held(zone.lock):
        return True
    counted = 0
    for page in range(machine.nr_pages):
        if mem_map[page].state == BUDDY and mem_map[page].free_list != MIGRATE_ISOLATE:
            counted += 1 << mem_map[page].order
    return counted == zone.free_pages


def pcp_pages_are_counted() -> bool:
    """P3."""
    for cpu in range(machine.nr_cpus):
        if pcplists_at_rest(cpu):
            count = 0
            for pindex in range(machine.nr_pcp_lists):
                count += pcp_list_length(cpu, pindex)
            if pcp[cpu].count != count:
                return False
    return True


def tests_are_true() -> bool:
    """P4."""
    return not ghost.tested_wrongly


def disabled_pcplists_are_empty() -> bool:
    """P6."""
    if ghost.disabled == 0:
        return True
    for cpu in range(machine.nr_cpus):
        if pcplists_at_rest(cpu):
            for pindex in range(machine.nr_pcp_lists):
                if pcp_list[cpu, pindex].head != NIL:
                    return False
    return True


def isolated_pageblocks_are_counted() -> bool:
    """P7; while memory comes or goes, pageblocks without pages may be counted too."""
    if held(zone.lock):
        return True
    count = 0
    for block in range(machine.nr_pageblocks):
        online = mem_map[block << machine.pageblock_order].state != OFFLINE
        if online and get_pageblock_migratetype(block << machine.pageblock_order) == MIGRATE_ISOLATE:
            count += 1
    if held(mm.mem_hotplug_lock):
        return count <= zone.nr_isolate_pageblock
    return count == zone.nr_isolate_pageblock


def free_pages_are_on_lists_of_their_type() -> bool:
    """P8; of a free page of several pageblocks it is the first that counts."""
    if features.block_conversion_moves_all and not held(zone.lock):
        for page in range(machine.nr_pages):
            if mem_map[page].state == BUDDY and mem_map[page].free_list != get_pageblock_migratetype(page):
                return False
    return True


def high_and_batch_are_restored() -> bool:
    """P9."""
    if features.pageset_cached_in_zone and zone.present_pages != 0:
        if held(mm.pcp_batch_high_lock) or pcp_batch_high_rwsem.writer or pcp_batch_high_rwsem.readers != 0:
            return True
        for cpu in range(machine.nr_cpus):
            high = pcp[cpu].high
            if features.high_auto_tuning:
                high = pcp_auto[cpu].high_min
                if pcp_auto[cpu].high_max != zone_auto.pageset_high_max:
                    return False
            if high != zone.pageset_high or pcp[cpu].batch != zone.pageset_batch:
                return False
    return True


def no_stray_pages() -> bool:
    """The sentence of the mail."""
    for cpu in range(machine.nr_cpus):
        if pcplists_at_rest(cpu):
            for pindex in range(machine.nr_pcp_lists):
                page = pcp_list[cpu, pindex].head
                while page != NIL:
                    if block_ghost[page >> machine.pageblock_order].isolated != 0:
                        return False
                    page = mem_map[page].next
    return True


@dataclass(frozen=True, slots=True)
class Property:
    """A property: what the command line calls it, in words, and as a function of the model.

    ``kind``: "invariant" of every state; "fault": no assertion fails; "deadlock": nobody waits for ever; "liveness":
    every fair run comes to its end.
    ``claimed_with``: features one of which a design has to have to say anything about it; none: each design does.
    """

    name: str
    words: str
    holds: Callable[[], bool] | None
    kind: str = "invariant"
    claimed_with: tuple[str, ...] = ()


PROPERTIES = (
    Property("P1", "no page is on two lists, or on one while it is in use", pages_are_on_one_list),
    Property("P2", "NR_FREE_PAGES is what the lists hold that are not isolated", free_pages_are_counted),
    Property("P3", "pcp->count is what the CPU's pcplists hold", pcp_pages_are_counted),
    Property("P4", "a range that passed the test is free, on lists from which nobody allocates", tests_are_true),
    Property("P5", "offlining ends, and so does everything else", None, "liveness"),
    Property(
        "P6",
        "while pcplists are said to be disabled, they are empty",
        disabled_pcplists_are_empty,
        claimed_with=("isolation_disables_pcplists", "zone_pcp_disable"),
    ),
    Property("P7", "nr_isolate_pageblock is the number of isolated pageblocks", isolated_pageblocks_are_counted),
    Property(
        "P8",
        "a free page is on the list of its pageblock's type",
        free_pages_are_on_lists_of_their_type,
        claimed_with=("block_conversion_moves_all",),
    ),
    Property(
        "P9",
        "when nobody changes them, high and batch are those of the zone",
        high_and_batch_are_restored,
        claimed_with=("pageset_cached_in_zone",),
    ),
    Property("stray", "no stray pages on pcplists in zones where isolation happens", no_stray_pages),
    Property("bug", "no BUG, no page freed twice, no list that its count contradicts", None, "fault"),
    Property("deadlock", "nobody waits for ever for a lock or for another's work", None, "deadlock"),
)


def property_named(name: str) -> Property:
    """A property by its name.

    :raises BadInput: if there is none.
    """
    for one in PROPERTIES:
        if one.name == name:
            return one
    known = f"there are {', '.join(p.name for p in PROPERTIES)}"
    near = difflib.get_close_matches(name, [p.name for p in PROPERTIES], n=1)
    raise BadInput(f"there is no property {name!r}", f"did you mean {near[0]}? {known}" if near else known)
