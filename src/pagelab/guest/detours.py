# SPDX-License-Identifier: GPL-2.0-or-later
"""Actors whose function no program can call, or not for the pages that are wanted.

Such an actor calls getppid(), three times: to prepare, to act, and after that.  At the entry of the system call the
host sends its CPU to the function in question, with arguments that it chooses; the function returns in place of
getppid().  That is what a module would do that calls it from a system call of its own.
"""

from __future__ import annotations

from pagelab.guest.hold import Detour
from pagelab.guest.kernel_text import Function, KernelText
from pagelab.guest.places import NoSuchPlace
from pagelab.guest.stage import Stage
from pagelab.guest.zone_memory import PAGEBLOCK_ORDER
from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.steer.gates import gate_of
from pagelab.steer.plan import Actor, Plan

_GFP_KERNEL = 0xCC0
_GFP_HIGHUSER_MOVABLE = 0x100CCA
#: Since v6.10 the function has the suffix, and the other name is a macro.
ALLOCATORS = ("alloc_pages_noprof", "alloc_pages", "alloc_pages_current")
#: What is played by detours.
WITH_DETOURS = ("alloc_contig_range", "drain_all_pages", "free_page_nolock", "vmstat")


def function_of(text: KernelText, *names: str) -> Function:
    """The first of these functions that the kernel has.

    :raises NoSuchPlace: it has none of them.
    """
    for name in names:
        function = text.function(name)
        if function is not None:
            return function
    raise NoSuchPlace(f"this kernel has no {' or '.join(names)}()")


def preparation(actor: Actor, text: KernelText) -> Detour | None:
    """For what an actor has to do before it comes to its gate."""
    if actor.run == "free_page_nolock":
        return Detour(function_of(text, *ALLOCATORS), (_GFP_HIGHUSER_MOVABLE, 0))
    return None


def act(
    plan: Plan, actor: Actor, text: KernelText, stage: Stage, *, zone: int, pcp: int, page: int
) -> tuple[Detour | None, Detour | None]:
    """For the act itself and for what comes after it.

    :param zone: address of the zone; ``pcp`` of its pcplists on the actor's CPU; ``page`` of what was prepared.
    """
    function = function_of(text, gate_of(actor.run, text.symbols))
    match actor.run:
        case "alloc_contig_range":
            start, end = contig_range(plan, actor, stage)
            parameters = text.btf.parameters(function.name) or ()
            # Since v7.0 the third says how hard to try, before it said which type the pages have.
            third = MIGRATE_MOVABLE if any(one.name == "migratetype" for one in parameters) else 0
            free = Detour(function_of(text, "free_contig_range"), (start, end - start), after_success=True)
            return Detour(function, (start, end, third, _GFP_KERNEL)), free
        case "drain_all_pages":
            return Detour(function, (zone,)), None
        case "vmstat":
            return Detour(function, (zone, pcp)), None
        case "free_page_nolock":
            return Detour(function, (page, 0)), None
    return None, None


def contig_range(plan: Plan, actor: Actor, stage: Stage) -> tuple[int, int]:
    """Page frames for pages of the scenario: its pageblocks are smaller than the kernel's, so pages stand for more."""
    page, count = actor.parameters
    order = plan.pageblock_order
    frame = stage.pageblock_frame(page >> order, plan) or 0
    first = frame >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER
    each = 1 << PAGEBLOCK_ORDER - order
    start = first + (page & ((1 << order) - 1)) * each
    return start, start + count * each
