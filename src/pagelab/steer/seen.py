# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a state of the model can be compared with a kernel's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pagelab.lang.declare import NIL
from pagelab.linux.features import features
from pagelab.linux.migratetype import MIGRATE_ISOLATE, MIGRATE_PCPTYPES
from pagelab.linux.state import (
    ALLOCATED,
    BUDDY,
    IN_FLIGHT,
    OFFLINE,
    ON_PCPLIST,
    machine,
    mem_map,
    pageblock,
    pageblock_isolate,
    pcp,
    pcp_auto,
    pcp_list,
    zone,
)
from pagelab.steer.plan import PageSeen, Seen, Where

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pagelab.check.scenario import Scenario
    from pagelab.lang.stepped import System

    State = npt.NDArray[np.uint8]

_WHERE = {OFFLINE: Where.OFFLINE, ALLOCATED: Where.ALLOCATED, IN_FLIGHT: Where.IN_FLIGHT}


class Looker:
    """Looks at states of a system; its design has to be switched on.

    :param begin: the state that differences are from.
    """

    def __init__(self, system: System, scenario: Scenario, begin: State) -> None:
        self.system = system
        self.pages = pages_of_interest(scenario)
        self.cpus = scenario.cpus
        self._begin = self._isolation(begin)
        self._free_before = self._free_pages(begin)

    def seen(self, state: State) -> Seen:
        """What is to be seen in a state."""
        isolated = self._isolated(state)
        counted, blocks = self._isolation(state)
        counts = self.system.rows(pcp, state)
        return Seen(
            pages={page: self._page(state, page) for page in self.pages},
            isolated=dict(enumerate(isolated)),
            nr_isolate_pageblock=counted - self._begin[0],
            isolated_pageblocks=blocks - self._begin[1],
            free_pages=self._free_pages(state) - self._free_before,
            pcp_count={cpu: int(counts[cpu]["count"]) for cpu in range(self.cpus)},
            pcp_high={cpu: self._high(state, cpu) for cpu in range(self.cpus)},
            pcp_batch={cpu: int(counts[cpu]["batch"]) for cpu in range(self.cpus)},
        )

    def _high(self, state: State, cpu: int) -> int:
        """The high in force."""
        high = int(self.system.rows(pcp, state)[cpu]["high"])
        # Since Linux kernel commit 51a755c56dc0 ("mm: tune PCP high automatically") (in v6.7)
        if features.high_auto_tuning:
            limits = self.system.rows(pcp_auto, state)[cpu]
            return max(int(limits["high_min"]), min(high, int(limits["high_max"])))
        return high

    def _page(self, state: State, page: int) -> PageSeen | None:
        pages = self.system.rows(mem_map, state)
        now = int(pages[page]["state"])
        if now == ON_PCPLIST:
            return self._on_pcplist(state, page)
        if now in _WHERE:
            return PageSeen(_WHERE[now])
        for order in range(machine.max_order):  # the free page that it is part of
            head = page & (-1 << order)
            if int(pages[head]["state"]) == BUDDY and int(pages[head]["order"]) >= order:
                return PageSeen(Where.BUDDY, int(pages[head]["free_list"]))
        return None

    def _on_pcplist(self, state: State, page: int) -> PageSeen | None:
        heads = self.system.rows(pcp_list, state)["head"]
        following = self.system.rows(mem_map, state)["next"]
        for cpu in range(heads.shape[0]):
            for pindex in range(heads.shape[1]):
                at = int(heads[cpu, pindex])
                for _ in range(machine.nr_pages):
                    if at == page:
                        return PageSeen(Where.PCPLIST, pindex % MIGRATE_PCPTYPES, cpu)
                    if at == NIL:
                        break
                    at = int(following[at])
        return None  # it is being put on a list, or taken off

    def _isolated(self, state: State) -> list[bool]:
        online = self.system.rows(mem_map, state)["state"]
        if features.isolate_bit:
            marks = [bool(one) for one in self.system.rows(pageblock_isolate, state)["isolated"]]
        else:
            marks = [int(one) == MIGRATE_ISOLATE for one in self.system.rows(pageblock, state)["migratetype"]]
        return [mark and int(online[block << machine.pageblock_order]) != OFFLINE for block, mark in enumerate(marks)]

    def _isolation(self, state: State) -> tuple[int, int]:
        """What the zone counts as isolated pageblocks, and how many there are."""
        return int(self.system.rows(zone, state)["nr_isolate_pageblock"]), sum(self._isolated(state))

    def _free_pages(self, state: State) -> int:
        """NR_FREE_PAGES less what the lists hold that are not isolated."""
        pages = self.system.rows(mem_map, state)
        listed = (pages["state"] == BUDDY) & (pages["free_list"] != MIGRATE_ISOLATE)
        held = sum(1 << int(order) for order in pages["order"][listed])
        return int(self.system.rows(zone, state)["free_pages"]) - held


def pages_of_interest(scenario: Scenario) -> Sequence[int]:
    """The pages that a scenario gives a state, or names in a thread; of others it says only that they are free."""
    from pagelab.check.actors import PROCEDURES

    pages = {*scenario.pages.allocated, *scenario.pages.unmovable}
    pages.update(page for one in scenario.pages.pcplists for page in one)
    for thread in scenario.threads:
        kinds = list(PROCEDURES[thread.run].parameters.values())
        given = dict(zip(kinds, thread.parameters, strict=True))
        if "page" in given:
            pages.update(range(given["page"], given["page"] + given.get("count", 1)))
    return sorted(pages)
