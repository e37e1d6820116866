# SPDX-License-Identifier: GPL-2.0-or-later
"""Find instructions in the machine code of kernel functions, so that a probe or a breakpoint can be set at them.

A function that the compiler inlined has no entry to probe, but the places where it does its work can be found: where it
calls a function that is not inlined (the x86-64 calling convention says which registers hold the arguments there),
where such a function comes back to, and where ``list_del()`` poisons the list entry of a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import capstone
from capstone import x86

from pagelab.guest.kernel_text import Function

#: LIST_POISON1 of include/linux/poison.h, with CONFIG_ILLEGAL_POINTER_VALUE of x86-64.
LIST_POISON1 = 0xDEAD000000000100
#: PG_buddy of include/linux/page-flags.h (set in page_type when it is not one), from page->lru on; how near it is.
_PAGE_TYPE, _PG_BUDDY = 0x30 - 0x08, 0x80
_NEAR = 8
#: Registers that a call may change.
_CALL_CHANGES = frozenset(["rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"])


@dataclass(frozen=True, slots=True)
class ListDeletion:
    """A store of LIST_POISON1: ``register`` (``rax`` ...) plus ``displacement`` is the address of the list entry.

    ``buddy``: the entry is that of a page on a free list, since PageBuddy is cleared close by.
    """

    offset: int
    register: str
    displacement: int
    buddy: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a jump in place of one that would be the last instruction (``returns`` is then -1).

    ``offset`` of the instruction, ``returns`` of the one behind it, from the start of the function that calls.
    """

    offset: int
    returns: int


def calls(function: Function, target: int) -> list[Call]:
    """Where ``function`` calls the function at the address ``target``, in the order of addresses."""
    found = []
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for address, size, mnemonic, operands in decoder.disasm_lite(function.code, function.address):
        if mnemonic in ("call", "jmp") and operands == f"{target:#x}":
            offset = address - function.address
            found.append(Call(offset, offset + size if mnemonic == "call" else -1))
    return found


def call_targets(function: Function) -> dict[int, int]:
    """From how many places a function calls, or jumps to, each address outside of it."""
    found: dict[int, int] = {}
    end = function.address + len(function.code)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for _, _, mnemonic, operands in decoder.disasm_lite(function.code, function.address):
        if mnemonic in ("call", "jmp") and operands.startswith("0x"):
            target = int(operands, 16)
            if not function.address <= target < end:
                found[target] = found.get(target, 0) + 1
    return found


def list_deletions(function: Function) -> list[ListDeletion]:
    """Where ``function`` has ``list_del()`` inlined, in the order of addresses."""
    found = []
    poison: set[str] = set()  # registers that hold LIST_POISON1
    instructions = list(_instructions(function))
    for number, instruction in enumerate(instructions):
        operands = instruction.operands
        if instruction.mnemonic in ("mov", "movabs") and len(operands) == 2:
            to, what = operands
            if to.type == x86.X86_OP_MEM and what.type == x86.X86_OP_REG:
                held = instruction.reg_name(what.reg) in poison
                if held and to.mem.base != x86.X86_REG_INVALID and to.mem.index == x86.X86_REG_INVALID:
                    offset = instruction.address - function.address
                    near = instructions[max(0, number - _NEAR) : number + _NEAR]
                    buddy = any(_clears_buddy(other, to.mem.base, to.mem.disp) for other in near)
                    found.append(ListDeletion(offset, instruction.reg_name(to.mem.base), to.mem.disp, buddy))
                continue
            if to.type == x86.X86_OP_REG and what.type == x86.X86_OP_IMM and what.imm & _MASK == LIST_POISON1:
                poison.add(instruction.reg_name(to.reg))
                continue
        if instruction.mnemonic == "call":
            poison -= _CALL_CHANGES
        poison -= {_whole(instruction.reg_name(register)) for register in instruction.regs_access()[1]}
    return found


_MASK = (1 << 64) - 1


def _clears_buddy(instruction: capstone.CsInsn, base: int, displacement: int) -> bool:
    """Whether it is __ClearPageBuddy() of the page whose list entry is at ``base`` plus ``displacement``."""
    if instruction.mnemonic != "or" or len(instruction.operands) != 2:
        return False
    to, what = instruction.operands
    of_page = to.type == x86.X86_OP_MEM and to.mem.base == base and to.mem.disp == displacement + _PAGE_TYPE
    return bool(of_page and what.type == x86.X86_OP_IMM and what.imm == _PG_BUDDY)


def _whole(register: str) -> str:
    """The register that a low half is part of: ``rax`` of ``eax``, ``r8`` of ``r8d``."""
    return (
        "r" + register[1:]
        if register.startswith("e")
        else register.rstrip("dwb")
        if register[1:2].isdigit()
        else register
    )


def _instructions(function: Function) -> Iterator[capstone.CsInsn]:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return iter(decoder.disasm(function.code, function.address))
