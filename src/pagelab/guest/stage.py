# SPDX-License-Identifier: GPL-2.0-or-later
"""How the actors of a plan are played in a guest: which program is which, and which page frames are the plan's pages.

play.sh starts them; each gets ready and sleeps until it is told to act (actors.ll).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pagelab.errors import GuestFailed
from pagelab.guest.record import BLOCK_MIB
from pagelab.guest.workloads import program
from pagelab.guest.zone_memory import PAGEBLOCK_ORDER
from pagelab.steer.gates import CannotPlay
from pagelab.steer.plan import Actor, Plan, Where

#: Pages that an actor keeps, to empty its CPU's pcplist; more where the pageblock before that of its pages matters.
FILLER = 64
_FILLER_WITH_NEIGHBOURS = 1100
#: The last actor: when it is told to act, the play is over.
CURTAIN = "curtain"
#: The first: when it is told to act, the others start.
PROMPTER = "prompter"
_BLOCK_PAGES = (BLOCK_MIB << 20) >> 12
_BLOCK_PAGEBLOCKS = _BLOCK_PAGES >> PAGEBLOCK_ORDER
STOCK = "stock"
#: The place of pageblocks that nobody takes on- or offline.
_ELSEWHERE = 99


@dataclass(frozen=True, slots=True)
class Role:
    """A program that is started in the guest.  ``pages`` of the scenario, in the order of its memory."""

    name: str
    place: int
    mode: str
    cpu: int
    arguments: tuple[str, ...]
    pages: tuple[int, ...] = ()

    def line(self) -> str:
        return " ".join([_word(self.name), str(self.place), self.mode, str(self.cpu), *self.arguments])


@dataclass(slots=True)
class Playing:
    """A program that runs, and its process."""

    role: Role
    pid: int


@dataclass(slots=True)
class Stage:
    """What the guest said of its actors.  ``blocks``: memory block of each place; ``online``: those it has."""

    playing: dict[str, Playing] = field(default_factory=dict)
    page_frames: dict[int, int] = field(default_factory=dict)
    blocks: dict[int, int] = field(default_factory=dict)
    online: tuple[int, ...] = ()

    def hear(self, word: str, rest: str, roles: dict[str, Role]) -> None:
        """One line of the guest: ``online BLOCK...``, ``place NUMBER BLOCK`` or ``actor NAME PID FRAME...``."""
        parts = rest.split()
        if word == "online":
            self.online = tuple(int(block) for block in parts)
        elif word == "place":
            self.blocks[int(parts[0])] = int(parts[1])
        elif word == "actor":
            role = roles.get(parts[0]) or Role(parts[0], 0, "wait", 0, ())
            frames = [int(entry, 16) & ((1 << 55) - 1) for entry in parts[2:]]
            if not all(frames):
                raise GuestFailed(f"the guest does not say where the pages of {role.name} are", "steer again")
            self.playing[role.name] = Playing(role, int(parts[1]))
            self.page_frames |= dict(zip(role.pages, frames, strict=True))

    def pageblock_frame(self, pageblock: int, plan: Plan) -> int | None:
        """A page frame of a pageblock of the scenario: that of one of its pages, or the first of its memory block."""
        order = plan.pageblock_order
        for page, frame in sorted(self.page_frames.items()):
            if page >> order == pageblock:
                return frame
        place = place_of(plan, pageblock)
        block = self.blocks.get(place)
        if block is not None and place != _ELSEWHERE:
            return block * _BLOCK_PAGES + (pageblock - place << PAGEBLOCK_ORDER)
        # One that nobody needs but alloc_contig_range().  Beside those of pages, but in no block that goes or comes.
        known = {page >> order: frame for page, frame in sorted(self.page_frames.items())}
        nearest = min(known, key=lambda other: abs(other - pageblock), default=None)
        if nearest is not None and not _hotplugged(plan, nearest):
            return known[nearest] + (pageblock - nearest << PAGEBLOCK_ORDER)
        free = [block for block in self.online if block not in self.blocks.values()]
        return free[0] * _BLOCK_PAGES + (pageblock << PAGEBLOCK_ORDER) if free else None


#: Kernels whose release_pages() puts each page at the head of the list to free; since v6.9 folios keep their order.
_FREES_BACKWARDS = ("5.10", "6.1")


def _word(name: str) -> str:
    return re.sub(r"[^\w-]", "-", name)


def place_of(plan: Plan, pageblock: int) -> int:
    """Pageblocks that one actor takes on- or offline are one memory block; all others are another."""
    return next((first for first, count in _hotplug(plan) if first <= pageblock < first + count), _ELSEWHERE)


def _hotplugged(plan: Plan, pageblock: int) -> bool:
    return place_of(plan, pageblock) != _ELSEWHERE


def _hotplug(plan: Plan) -> list[tuple[int, ...]]:
    return [actor.parameters for actor in plan.actors if actor.run in ("offline_pages", "online_pages")]


def roles_of(plan: Plan) -> dict[str, Role]:
    """The programs, by the names that the guest uses, in the order in which they start; the curtain is the last.

    :raises CannotPlay: nobody knows how to play an actor.
    """
    roles = [_role(plan, actor) for actor in plan.actors]
    roles += _stock(plan)
    # Who has pages comes first: their memory block is the one that others take offline.
    order = {"free": 0, "drop": 0, "call": 1, "touch": 1, "write": 1, "kill": 2, "stock": 3}
    roles.sort(key=lambda role: order[role.mode])
    roles.append(Role(CURTAIN, 0, "wait", shell_cpu(plan), ("0", str(FILLER))))
    return {_word(role.name): role for role in roles}


def shell_cpu(plan: Plan) -> int:
    """Where the shell runs: programs that end leave pages on its CPU's pcplists, so not where these matter most."""
    stocked = {seen.cpu for seen in plan.initial.pages.values() if seen is not None and seen.where is Where.PCPLIST}
    freers = {actor.cpu for actor in plan.actors if actor.run.startswith("free")}
    return min(range(plan.cpus), key=lambda cpu: (cpu in stocked, cpu in freers, cpu))


def _role(plan: Plan, actor: Actor) -> Role:
    name, cpu, parameters = actor.name, actor.cpu, actor.parameters
    filler = str(_filler(plan))
    order = plan.pageblock_order
    match actor.run:
        case "free_page":
            page = parameters[0]
            return Role(name, place_of(plan, page >> order), "free", cpu, ("1", filler), (page,))
        case "free_list":
            first, count = parameters
            pages = tuple(range(first, first + count))
            if plan.kernel in _FREES_BACKWARDS:
                pages = pages[::-1]
            return Role(name, place_of(plan, first >> order), "drop", cpu, (str(count), filler), pages)
        case "offline_pages":
            return Role(name, place_of(plan, parameters[0]), "write", cpu, ("state", "offline"))
        case "online_pages":
            return Role(name, place_of(plan, parameters[0]), "write", cpu, ("state", "online_movable"))
        case "alloc_contig_range" | "drain_all_pages" | "vmstat" | "free_page_nolock":
            return Role(name, 0, "call", cpu, ("0", filler))
        case "allocate_and_free":
            return Role(name, 0, "touch", cpu, (str(parameters[0]), filler))
        case "sysctl":
            path = "/proc/sys/vm/" + (
                "percpu_pagelist_fraction" if plan.kernel == "5.10" else "percpu_pagelist_high_fraction"
            )
            return Role(name, 0, "write", cpu, (path, str(max(8, parameters[0]))))
        case "signal":
            # The model's signal goes to whoever takes memory offline on that CPU.
            owners = [a.name for a in plan.actors if a.run == "offline_pages" and a.cpu == parameters[0]]
            if owners:
                return Role(name, 0, "kill", cpu, (f"pid:{_word(owners[0])}",))
        case "cpu_down":
            return Role(name, 0, "write", cpu, (f"/sys/devices/system/cpu/cpu{parameters[0]}/online", "0"))
    raise CannotPlay(f"nobody knows how to play {actor.run} in a guest ({actor.name})")


def _filler(plan: Plan) -> int:
    return _FILLER_WITH_NEIGHBOURS if any(a.run == "alloc_contig_range" for a in plan.actors) else FILLER


def _stock(plan: Plan) -> list[Role]:
    """Pages that are on pcplists at the start."""
    by_place: dict[tuple[int, int], list[int]] = {}
    for page, seen in plan.initial.pages.items():
        if seen is not None and seen.where is Where.PCPLIST:
            by_place.setdefault((seen.cpu, place_of(plan, page >> plan.pageblock_order)), []).append(page)
    return [
        Role(f"{STOCK}-{cpu}-{place}", place, "stock", cpu, (str(len(pages)), str(FILLER)), tuple(pages))
        for (cpu, place), pages in by_place.items()
    ]


def guest_files(roles: dict[str, Role]) -> dict[str, bytes]:
    """For the guest, besides what every run has."""
    from importlib import resources

    script = resources.files("pagelab.guest").joinpath("play.sh").read_bytes()
    lines = "".join(f"{role.line()}\n" for role in roles.values())
    return {"bin/actor": program("actors.ll"), "bin/play": script, "etc/actors": lines.encode()}
