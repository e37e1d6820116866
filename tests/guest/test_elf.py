# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pagelab.errors import BadInput
from pagelab.guest.elf import static_program, text_of_object
from pagelab.guest.workloads import work_program


def test_wrapped_code_runs(tmp_path: Path) -> None:
    # mov edi, 42; mov eax, 231 (exit_group); syscall
    program = tmp_path / "program"
    program.write_bytes(static_program(bytes.fromhex("bf2a000000b8e70000000f05")))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 42


def compile_object(text: str) -> bytes:
    import llvmlite.binding as llvm

    work_program()  # initialises the targets
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        reloc="static", codemodel="small"
    )
    code: bytes = machine.emit_object(llvm.parse_assembly(f'target triple = "x86_64-unknown-linux-gnu"\n{text}'))
    return code


def test_code_with_relocations_is_refused() -> None:
    calls = "declare i64 @other()\ndefine i64 @f() {\n  %x = call i64 @other()\n  ret i64 %x\n}"
    with pytest.raises(BadInput, match=r"\.rela\.text"):
        text_of_object(compile_object(calls))


def test_code_with_data_is_refused() -> None:
    with pytest.raises(BadInput, match=r"\.data"):
        text_of_object(compile_object("@x = global i64 7\ndefine void @f() {\n  ret void\n}"))


def test_object_without_code_and_no_object_are_refused() -> None:
    with pytest.raises(BadInput):
        text_of_object(b"hello")
    with pytest.raises(BadInput):
        text_of_object(compile_object("declare void @f()"))
