# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import contextlib
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagelab.errors import BadInput
from pagelab.guest.elf import needs, static_program, text_of_object
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


def test_needs_of_a_dynamic_and_of_other_files(tmp_path: Path) -> None:
    found = needs(Path("/bin/true").resolve())
    assert found is not None
    assert "libc.so.6" in found.libraries
    assert found.interpreter.endswith("ld-linux-x86-64.so.2")
    assert needs(Path(__file__)) is None
    static = tmp_path / "static"
    static.write_bytes(work_program())
    alone = needs(static)
    assert alone is not None
    assert (alone.libraries, alone.interpreter) == ((), "")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elf") / "file"


@given(at=st.integers(0, 6000), garbage=st.binary(min_size=1, max_size=16), keep=st.integers(6, 40_000))
def test_damaged_files_raise_bad_input_or_nothing(scratch: Path, at: int, garbage: bytes, keep: int) -> None:
    data = bytearray(Path("/bin/true").read_bytes()[:keep])
    data[at : at + len(garbage)] = garbage
    scratch.write_bytes(data)
    with contextlib.suppress(BadInput):
        needs(scratch)


def test_truncated_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(b"\x7fELF\x02\x01" + struct.pack("<I", 0))
    with pytest.raises(BadInput, match="damaged ELF"):
        needs(path)
