# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads that ``record`` can run, and the program that performs the built-in ones (workloads.ll)."""

from __future__ import annotations

import functools
from importlib import resources

from pagelab.errors import MissingTool
from pagelab.guest.elf import static_program, text_of_object

#: name -> one line for people
WORKLOADS = {
    "churn": "anonymous memory touched and dropped at random on every CPU",
    "files": "tmpfs files appended to, truncated and removed on every CPU",
    "fork": "children that write to copy-on-write memory and exit, on every CPU",
}

#: Pages that all CPUs together allocate by default; the kernel's own allocations come on top.
DEFAULT_PAGES = 120_000


def work_program() -> bytes:
    """The static executable ``work`` (see workloads.ll), the same bytes for the same llvmlite.

    :raises MissingTool: this llvmlite cannot generate x86-64 code.
    """
    return program("workloads.ll")


@functools.cache
def program(name: str) -> bytes:
    """The static executable of a file of LLVM text beside this one, behind machine.ll.

    :raises MissingTool: this llvmlite cannot generate x86-64 code.
    """
    import llvmlite.binding as llvm

    here = resources.files("pagelab.guest")
    text = "".join(here.joinpath(part).read_text("ascii") for part in ("machine.ll", name))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    try:
        target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
        machine = target.create_target_machine(cpu="x86-64", opt=2, reloc="static", codemodel="small")
        module = llvm.parse_assembly(text)
        module.verify()
        code = machine.emit_object(module)
    except RuntimeError as error:
        message = f"llvmlite cannot generate x86-64 code for the guest's programs ({str(error).splitlines()[0]})"
        raise MissingTool(message, "run pagelab on an x86-64 machine") from error
    return static_program(text_of_object(code))
