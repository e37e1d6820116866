# SPDX-License-Identifier: GPL-2.0-or-later
"""alloc_contig_range() for tests.replay.kernel, and what a capture shows of the functions that it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pagelab.linux.migratetype import MIGRATE_MOVABLE
from pagelab.linux.state import zone
from tests.replay.machine_files import START_PFN, VMEMMAP

if TYPE_CHECKING:
    from tests.replay.kernel import Kernel, Task


def alloc_range(task: Task, start: int, end: int) -> int:
    """alloc_contig_range(); 0 or -EBUSY."""
    return int(task.kernel.modules["contig"].alloc_contig_range(task.cpu, start, end, MIGRATE_MOVABLE))


def adjust_managed(task: Task, page: int, count: int) -> None:
    """adjust_managed_page_count()"""
    found = {"page": VMEMMAP + 64 * (START_PFN + page), "vmemmap": VMEMMAP}
    task.kernel.probe("adjust_managed_page_count", task.cpu, **found, count=count)
    zone.managed_pages += count


def wrappers_of_ranges(kernel: Kernel) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Replacements of the model's functions by name: the original, with a probe."""
    split, take = kernel.modules["buddy"].split_free_page, kernel.modules["buddy"].__dict__["__isolate_free_page"]
    take_range = kernel.modules["contig"].isolate_freepages_range

    def split_free_page(cpu: int, page: int, order: int, offset: int) -> int:
        task = kernel.current
        found = {"page": VMEMMAP + 64 * (START_PFN + page), "vmemmap": VMEMMAP}
        kernel.probe("split_free_page", cpu, **found, order=order, split_pfn_offset=offset)
        if task is not None:
            task.splits = True
        result = int(split(cpu, page, order, offset))
        if task is not None:
            task.splits = False
        return result

    def isolate_freepages_range(cpu: int, start: int, end: int) -> int:
        task = kernel.current
        assert task is not None
        task.takes_range = True
        after = int(take_range(cpu, start, end))
        task.takes_range = False
        kernel.emit("mm_compaction_isolate_freepages", cpu, nr_scanned=end - start, nr_taken=end - start)
        return after

    def isolate_free_page(cpu: int, page: int, order: int) -> int:
        probed = kernel.current is not None and kernel.current.takes_range
        if probed:
            found = {"page": VMEMMAP + 64 * (START_PFN + page), "vmemmap": VMEMMAP}
            kernel.probe("isolate_free_page", cpu, **found, order=order)
        taken = int(take(cpu, page, order))
        if probed:
            kernel.probe("isolate_free_page_done", cpu, ret=taken)
        return taken

    yield split.__name__, split_free_page
    yield take_range.__name__, isolate_freepages_range
    yield take.__name__, isolate_free_page
