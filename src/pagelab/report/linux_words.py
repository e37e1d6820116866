# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's names for the numbers of its model, and what its steps amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pagelab.check.ghost import block_ghost
from pagelab.lang.declare import NIL, table_of
from pagelab.linux import migratetype, state
from pagelab.report.words import Words

if TYPE_CHECKING:
    from types import ModuleType

    from pagelab.report.trail import Cell, Change, Moved, Read, Trail


def constants(module: ModuleType, names: tuple[str, ...]) -> dict[int, str]:
    """Number to name."""
    return {getattr(module, name): name for name in names}


MIGRATETYPES = constants(
    migratetype,
    (
        "MIGRATE_UNMOVABLE",
        "MIGRATE_MOVABLE",
        "MIGRATE_RECLAIMABLE",
        "MIGRATE_HIGHATOMIC",
        "MIGRATE_CMA",
        "MIGRATE_ISOLATE",
    ),
)
PAGE_STATES = constants(state, ("OFFLINE", "BUDDY", "ON_PCPLIST", "ALLOCATED", "IN_FLIGHT", "TAIL"))
WORK_STATES = constants(state, ("WORK_IDLE", "WORK_QUEUED", "WORK_RUNS"))
_PAGE_OR_NIL = {NIL: "NIL"}
#: Names of values by table and field; a number that has none stays a number.
VALUES: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("mem_map", "state"): PAGE_STATES,
    ("mem_map", "index"): MIGRATETYPES,
    ("mem_map", "free_list"): MIGRATETYPES,
    ("mem_map", "next"): _PAGE_OR_NIL,
    ("mem_map", "prev"): _PAGE_OR_NIL,
    ("pageblock", "migratetype"): MIGRATETYPES,
    ("free_area", "head"): _PAGE_OR_NIL,
    ("free_area", "tail"): _PAGE_OR_NIL,
    ("pcp_list", "head"): _PAGE_OR_NIL,
    ("pcp_list", "tail"): _PAGE_OR_NIL,
    ("page_vec", "page"): _PAGE_OR_NIL,
    ("drain_work", "state"): WORK_STATES,
}


def short(number: int) -> str:
    """ISOLATE for MIGRATE_ISOLATE."""
    return MIGRATETYPES.get(number, str(number)).removeprefix("MIGRATE_")


class KernelWords(Words):
    """Words for the zone of :mod:`pagelab.linux.state`."""

    def value(self, cell: Cell, value: int) -> str:
        names = VALUES.get((cell.table.name, cell.field), {}) if cell.table is not None else {}
        return names.get(value) or super().value(cell, value)

    def cell(self, cell: Cell) -> str:
        name = cell.table.name if cell.table is not None else ""
        if name == "free_area" or (name == "pcp_list" and cell.row[1] < migratetype.MIGRATE_PCPTYPES):
            return f"{name}[{cell.row[0]}, {short(cell.row[1])}].{cell.field}"
        return super().cell(cell)

    def did(self, change: Change, cpu: int) -> str:
        name = change.cell.table.name if change.cell.table is not None else ""
        phrase = DID.get((name, change.cell.field))
        return (phrase(change, cpu) if phrase is not None else "") or super().did(change, cpu)

    def decided(self, step: Moved, read: Read) -> str:
        name = read.cell.table.name if read.cell.table is not None else ""
        saw = self.saw(step, read)
        if (name, read.cell.field) == ("pcp", "count") and read.value == 0:
            owner = read.cell.row[0]
            if step.told.function == "drain_all_cpus":
                return f"skipped CPU {owner} in the drain as {self.cell(read.cell)} read 0"
            return f"found nothing to drain on CPU {owner}"
        if (name, read.cell.field) == ("cpu_state", "online") and not read.value:
            return f"left CPU {read.cell.row[0]} alone as it was offline"
        if (name, read.cell.field) == ("zone", "nr_isolate_pageblock") and read.value == 0:
            return "saw no isolation"
        if read.cell.field == "pcpu_drain_mutex" and read.value:
            return "left the drain to whoever was draining"
        return saw

    def promises(self, cell: Cell) -> bool:
        return cell.table is not None and cell.table.name in ("ghost", table_of(block_ghost).name)

    def turns_held(self, change: Change) -> bool | None:
        cell = change.cell
        if cell.table is not None and cell.table.name == "pcp_batch_high_rwsem" and cell.field in ("readers", "writer"):
            return change.new > change.old
        return super().turns_held(change)

    def conclusion(self, trail: Trail, name: str) -> str:
        from pagelab.report.linux_ends import conclusion

        return conclusion(trail, name) or super().conclusion(trail, name)


# ---- what a change amounts to


def _migratetype(change: Change, cpu: int) -> str:
    block = change.cell.row[0]
    if change.new == migratetype.MIGRATE_ISOLATE:
        return f"isolated pageblock {block}"
    return f"made pageblock {block} {MIGRATETYPES.get(change.new, change.new)}"


def _page_state(change: Change, cpu: int) -> str:
    return {
        state.OFFLINE: "took page {} offline",
        state.BUDDY: "gave page {} to the free lists",
        state.ON_PCPLIST: "put page {} on a pcplist",
        state.ALLOCATED: "allocated page {}",
        state.IN_FLIGHT: "began to free page {}" if change.old == state.ALLOCATED else "took page {} off its list",
    }.get(change.new, "").format(change.cell.row[0])


def _pcp_head(change: Change, cpu: int) -> str:
    owner = change.cell.row[0]
    whose = "its pcplist" if owner == cpu else f"the pcplist of CPU {owner}"
    if change.new == NIL:
        return f"emptied {whose}"
    return f"put page {change.new} on {whose}" if change.old == NIL else f"made page {change.new} the first on {whose}"


def _block_promise(change: Change, cpu: int) -> str:
    block = change.cell.row[0]
    return f"called pageblock {block} isolated" if change.new > change.old else f"was done with pageblock {block}"


def _pcplists_promise(change: Change, cpu: int) -> str:
    return f"called the pcplists {'disabled' if change.new > change.old else 'enabled'}"


def _tested(change: Change, cpu: int) -> str:
    return "was told by the test that the range is free"


def _work(change: Change, cpu: int) -> str:
    queued = {state.WORK_QUEUED: "had work queued to drain CPU {}", state.WORK_IDLE: "was done draining CPU {}"}
    return queued.get(change.new, "began to drain CPU {}").format(change.cell.row[0])


def _online(change: Change, cpu: int) -> str:
    return f"took CPU {change.cell.row[0]} {'online' if change.new else 'offline'}"


DID: Mapping[tuple[str, str], Callable[[Change, int], str]] = {
    ("pageblock", "migratetype"): _migratetype,
    ("mem_map", "state"): _page_state,
    ("pcp_list", "head"): _pcp_head,
    ("block_ghost", "isolated"): _block_promise,
    ("ghost", "disabled"): _pcplists_promise,
    ("ghost", "tested_wrongly"): _tested,
    ("drain_work", "state"): _work,
    ("cpu_state", "online"): _online,
}
