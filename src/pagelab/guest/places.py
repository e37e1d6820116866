# SPDX-License-Identifier: GPL-2.0-or-later
"""The stops of a plan as addresses in a kernel, and which arrivals at them are meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pagelab.errors import Inconclusive
from pagelab.guest.instructions import calls
from pagelab.guest.kernel_text import Function, KernelText
from pagelab.guest.zone_memory import PAGEBLOCK_ORDER
from pagelab.steer.plan import At, Stop

#: Registers of the first six arguments.
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
#: Of a call with a relative address.
_CALL = 5


class NoSuchPlace(Inconclusive):
    """A kernel has no address where a plan wants a CPU to be held."""


@dataclass(frozen=True)
class Place:
    """A stop, resolved.

    :param frame: of the page that is asked for, ``None`` for any.
    :param block: any page frame of the pageblock that is asked for.
    """

    text: KernelText
    stop: Stop
    function: Function
    caller: Function | None
    frame: int | None = None
    block: int | None = None

    @property
    def address(self) -> int:
        return self.function.address

    def fits(self, registers: Mapping[str, int], return_address: int, vmemmap: int, page_size: int) -> bool:
        """Whether a CPU that enters the function is meant.

        :param return_address: the word on top of its stack.
        """
        return self._from_caller(return_address) and self._of_page(registers, vmemmap, page_size)

    def _from_caller(self, return_address: int) -> bool:
        caller = self.caller
        if caller is None:
            return True
        if self.text.function_at(return_address) == caller.name.split(".")[0]:
            return True
        if not self._caller_jumps:
            return False
        at = return_address - _CALL - self.text.start
        code = self.text.code[at : at + _CALL]
        target = return_address + int.from_bytes(code[1:], "little", signed=True)
        return code[:1] == b"\xe8" and target == caller.address

    @cached_property
    def _caller_jumps(self) -> bool:
        """Whether the caller may jump here as the last thing it does: then whoever called it is on the stack."""
        return self.caller is not None and any(call.returns < 0 for call in calls(self.caller, self.address))

    def _of_page(self, registers: Mapping[str, int], vmemmap: int, page_size: int) -> bool:
        if self.frame is None and self.block is None:
            return True
        ranges = [
            (first(registers, vmemmap, page_size), last(registers, vmemmap, page_size)) for first, last in self._pages
        ]
        if not ranges:
            return True
        return any(self._touches(first, last) for first, last in ranges)

    def _touches(self, first: int, last: int) -> bool:
        if self.frame is not None and not first <= self.frame < last:
            return False
        if self.block is None:
            return True
        start = self.block >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER
        return first < start + (1 << PAGEBLOCK_ORDER) and start < last

    @cached_property
    def _pages(self) -> list[tuple[_Of, _Of]]:
        """Of each argument that says which pages: first page frame, and the one behind the last."""
        names = self.text.btf.parameters(self.function.name.split(".")[0]) or ()
        found: list[tuple[_Of, _Of]] = []
        by_name = {}
        for parameter, register in zip(names, ARGUMENTS, strict=False):
            if parameter.type in ("struct page *", "struct folio *"):
                found.append((_page(register), _page(register, 1)))
            elif parameter.type == "long unsigned int" and parameter.name in ("start_pfn", "end_pfn", "start", "end"):
                by_name[parameter.name.removesuffix("_pfn")] = register
            elif parameter.type == "long unsigned int" and parameter.name.endswith("pfn"):
                found.append((_number(register), _number(register, 1)))
        if len(by_name) == 2:
            found.append((_number(by_name["start"]), _number(by_name["end"])))
        elif "start" in by_name:
            found.append((_number(by_name["start"]), _number(by_name["start"], 1)))
        return found


_Of = Callable[[Mapping[str, int], int, int], int]


def _page(register: str, more: int = 0) -> _Of:
    return lambda registers, vmemmap, size: (registers[register] - vmemmap) // size + more


def _number(register: str, more: int = 0) -> _Of:
    return lambda registers, vmemmap, size: registers[register] + more


def place(text: KernelText, stop: Stop, frame: int | None = None, block: int | None = None) -> Place:
    """The place of a stop.

    :raises NoSuchPlace: the kernel has no symbol for one of the functions.
    """
    return Place(
        text, stop, _function(text, stop.function), _function(text, stop.caller) if stop.caller else None, frame, block
    )


def entry(text: KernelText, function: str) -> Place:
    """Where a function begins."""
    return place(text, Stop(function, At.ENTRY))


def _function(text: KernelText, name: str) -> Function:
    function = text.function(name)
    if function is None:
        raise NoSuchPlace(
            f"this kernel has no function {name}(): it is inlined wherever it is called, or has another name"
        )
    return function
