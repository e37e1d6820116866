# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU or a task of the guest waits for, told from the functions on its stack."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pagelab.guest.kernel_text import KernelText

_ANSWER = "an answer of another CPU to an interrupt"
_LOCK = "a lock that another task has"
#: What waits, by the functions that do; the first that matches tells.  A task has called these and does not come back.
_WAITS = (
    (r"(__)?flush_work(queue)?|(__)?lru_add_drain_all", "work queued to another CPU"),
    (r"synchronize_rcu\w*|(__)?wait_rcu_gp|rcu_barrier\w*", "RCU, for which each CPU has to pass"),
    (r"percpu_down_write|mem_hotplug_begin|cpus_write_lock", "readers of a lock, through RCU"),
    (r"stop_machine\w*|stop_one_cpu\w*|(__)?stop_cpus", "another CPU to stop"),
    (r"smp_call_function\w*|csd_lock_wait|on_each_cpu\w*|(native_)?flush_tlb_\w+|text_poke_(sync|bp)\w*", _ANSWER),
    (r"(native_|__pv_)?queued_spin_lock_slowpath|do_raw_spin_lock|_raw_spin_lock\w*", "a spin lock"),
    (r"(__)?mutex_lock\w*|rwsem_down_\w+|down_(write|read)|percpu_rwsem_wait|__percpu_down_read", _LOCK),
    (r"wait_for_completion\w*", "another task"),
)
_IDLE = re.compile(
    r"(default|native_safe|acpi_safe|mwait|intel|pv_native_safe)_(idle|halt)\w*|acpi_idle_\w+|cpuidle_\w+|default_idle_call"
    r"|do_idle|cpu_startup_entry|arch_cpu_idle"
)
#: A call with a relative address, or through a register or memory, ends right before an address to return to.
_CALL = b"\xe8"


@dataclass(frozen=True, slots=True)
class Wait:
    """``function`` that waits ("" if it is none that is known), ``words`` for what."""

    function: str
    words: str
    idle: bool = False


def functions(text: KernelText, rip: int, stack: bytes) -> list[str]:
    """Functions that seem to be on a stack, the innermost first: addresses behind calls.

    Some may be of calls that are over; who asks looks for functions from which there is no way on.
    """
    found = [text.function_at(rip)] if text.function_at(rip) else []
    for (word,) in struct.iter_unpack("<Q", stack[: len(stack) // 8 * 8]):
        at = word - text.start
        if 5 <= at < len(text.code) and text.code[at - 5 : at - 4] == _CALL:
            name = text.function_at(word)
            if name and (not found or found[-1] != name):
                found.append(name)
    return found


def is_idle(names: Sequence[str]) -> bool:
    """Whether a CPU with these functions on its stack has nothing to do."""
    return any(_IDLE.fullmatch(name) for name in names[:3])


def wait_of(names: Sequence[str]) -> Wait | None:
    """What a stack waits for, ``None`` if nothing that is known."""
    for pattern, words in _WAITS:
        for name in names:
            if re.fullmatch(pattern, name):
                return Wait(name, words)
    return None
