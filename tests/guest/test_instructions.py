# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from pagelab.guest.instructions import Call, ListDeletion, calls, list_deletions
from pagelab.guest.kernel_text import Function

HERE = 0xFFFFFFFF81000000
THERE = HERE + 0x4000
PUSH = "4157"  # push r15
POISON_TO_RAX = "48b8 0001 0000 0000 adde"
POISON_TO_RDX = "48ba 0001 0000 0000 adde"
ADD_TO_RAX = "4883c022"
RAX_TO_R13 = "49894500"  # mov [r13], rax
RAX_TO_R13_8 = "49894508"  # mov [r13 + 8], rax
RDX_TO_RBX_8 = "48895308"  # mov [rbx + 8], rdx
RAX_TO_RSP_RBX = "4889041c"  # mov [rsp + rbx], rax


def function(*parts: str) -> Function:
    return Function("f", HERE, bytes.fromhex(" ".join(parts)))


def branch(opcode: str, at: int, target: int = THERE) -> str:
    """A call (e8), a jump (e9) or a conditional one (0f85) at ``at``, the offset of the opcode."""
    size = len(opcode) // 2 + 4
    return opcode + struct.pack("<i", target - (HERE + at + size)).hex()


def test_calls_are_found_by_where_they_go() -> None:
    code = function(PUSH, branch("e8", 2), branch("e8", 7, THERE + 16), PUSH, branch("e8", 14))
    assert calls(code, THERE) == [Call(2, 7), Call(14, 19)]
    assert calls(code, THERE + 16) == [Call(7, 12)]


def test_last_call_may_be_a_jump_but_not_one_with_a_condition() -> None:
    assert calls(function(branch("0f85", 0), branch("e9", 6)), THERE) == [Call(6, -1)]


def test_bytes_of_a_call_within_another_instruction_are_none() -> None:
    # movabs rax, imm64 whose last bytes look like a call of THERE
    assert calls(function("48b8 000000", branch("e8", 5)), THERE) == []


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([POISON_TO_RAX, RAX_TO_R13, ADD_TO_RAX, RAX_TO_R13_8], [ListDeletion(10, "r13", 0)]),
        ([POISON_TO_RDX, PUSH, RDX_TO_RBX_8], [ListDeletion(12, "rbx", 8)]),
        ([POISON_TO_RAX, branch("e8", 10), RAX_TO_R13], []),
        ([POISON_TO_RAX, "31c0", RAX_TO_R13], []),  # xor eax, eax
        ([POISON_TO_RAX, RAX_TO_RSP_RBX], []),  # an address of two registers
        ([RAX_TO_R13], []),
    ],
)
def test_list_del_is_told_by_its_poison(parts: list[str], found: list[ListDeletion]) -> None:
    assert list_deletions(function(*parts)) == found
