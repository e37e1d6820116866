# SPDX-License-Identifier: GPL-2.0-or-later
"""What a stack says of its task."""

from __future__ import annotations

import struct

import pytest

from pagelab.guest.waits import functions, is_idle, wait_of
from tests.guest.test_places import START, text


def test_a_stack_is_read_by_addresses_that_follow_calls() -> None:
    words = [START + 0x65, 0x1234, START + 0x30, START + 0xC5, START + 0xC5]
    stack = struct.pack(f"<{len(words)}Q", *words)
    # START + 0x30 is in free_unref_page(), but no call is before it.
    assert functions(text(), START + 0x42, stack) == ["free_unref_page_commit", "release_pages", "schedule"]
    assert functions(text(), 0x400000, stack[:4]) == []


@pytest.mark.parametrize(
    ("names", "function", "words"),
    [
        (["__schedule", "schedule", "schedule_timeout", "flush_work", "drain_all_pages"], "flush_work", "work queued"),
        (["__schedule", "schedule", "__wait_rcu_gp", "synchronize_rcu", "percpu_down_write"], "__wait_rcu_gp", "RCU"),
        (["native_queued_spin_lock_slowpath", "_raw_spin_lock_irqsave"], "native_queued_spin_lock_slowpath", "a spin"),
        (["smp_call_function_many_cond", "on_each_cpu"], "smp_call_function_many_cond", "an answer of another CPU"),
        (["__schedule", "schedule", "__mutex_lock", "zone_pcp_disable"], "__mutex_lock", "a lock"),
    ],
)
def test_what_a_task_waits_for_is_named(names: list[str], function: str, words: str) -> None:
    wait = wait_of(names)
    assert wait is not None
    assert wait.function == function
    assert wait.words.startswith(words)


def test_a_task_that_works_waits_for_nothing() -> None:
    assert wait_of(["set_migratetype_isolate", "start_isolate_page_range", "offline_pages"]) is None


@pytest.mark.parametrize("name", ["native_safe_halt", "default_idle", "acpi_safe_halt", "pv_native_safe_halt"])
def test_an_idle_cpu_is_known(name: str) -> None:
    assert is_idle([name, "do_idle", "cpu_startup_entry"])
    assert not is_idle(["free_unref_page_commit", "free_unref_page", "put_page", name])
