# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code from the cache does what freshly compiled code does; what is damaged or foreign is not executed."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from pagelab.lang import machine_code
from pagelab.lang.native import compile_text
from pagelab.lang.object_file import Code, Unsupported

TEXT = """
@table = private constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
define i64 @look(i64 %i) {
  %place = getelementptr [4 x i64], ptr @table, i64 0, i64 %i
  %found = load i64, ptr %place
  ret i64 %found
}
define i64 @twice(i64 %i) {
  %one = call i64 @look(i64 %i)
  %both = mul i64 %one, 2
  ret i64 %both
}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pagelab" / "code"


def object_file() -> bytes:
    machine = machine_code.target_machine(0)
    code: bytes = machine.emit_object(llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"\n{TEXT}'))
    return code


def run(address: int, argument: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(argument))


@pytest.mark.parametrize("optimise", [False, True])
def test_code_from_the_cache_does_the_same(cache: Path, optimise: bool) -> None:
    for _ in range(2):
        engine, addresses = compile_text(TEXT, ["look", "twice"], optimise=optimise)
        assert [run(addresses["look"], i) for i in range(4)] == [10, 20, 30, 40]
        assert run(addresses["twice"], 3) == 80
        del engine
    assert len(list(cache.iterdir())) == 1


def test_the_loader_and_llvm_agree() -> None:
    file = object_file()
    mine, theirs = Code(file), machine_code._by_llvm(file, 0)
    for name in ("look", "twice"):
        assert run(mine.get_function_address(name), 2) == run(theirs.get_function_address(name), 2)


def test_a_damaged_file_is_compiled_anew(cache: Path) -> None:
    compile_text(TEXT, ["look"], optimise=False)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:100], whole[:200] + b"\xff" + whole[201:]):
        kept.write_bytes(damaged)
        _engine, addresses = compile_text(TEXT, ["look"], optimise=False)
        assert run(addresses["look"], 1) == 20
        assert kept.read_bytes() == whole


@pytest.mark.parametrize("position", [0, 4, 16, 18])
def test_foreign_object_files_are_left_to_llvm(position: int) -> None:
    file = bytearray(object_file())
    file[position] ^= 0x55
    with pytest.raises(Unsupported):
        Code(bytes(file))


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    _engine, addresses = compile_text(TEXT, ["look"], optimise=False)
    assert run(addresses["look"], 0) == 10


def test_what_was_not_used_for_longest_goes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "KEPT", 4)
    for i in range(4):
        compile_text(TEXT.replace("i64 40", f"i64 {i}"), ["look"], optimise=False)
        for file in cache.iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 10))
    compile_text(TEXT.replace("i64 40", "i64 0"), ["look"], optimise=False)  # used again
    (used, *_) = sorted(cache.iterdir(), key=lambda file: -file.stat().st_mtime)
    compile_text(TEXT, ["look"], optimise=False)
    assert len(list(cache.iterdir())) == 3
    assert used.exists()
