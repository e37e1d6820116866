# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``pagelab replay --design D`` prints: the recorded work under two designs, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagelab.replay.whatif import CANNOT_KNOW, KEEPS

if TYPE_CHECKING:
    from rich.console import Console

    from pagelab.replay.whatif import Cost, WhatIf

#: What is compared: field, words.
ROWS = (
    ("zone_lock", "zone->lock taken"),
    ("pcp_lock", "pcp->lock taken"),
    ("refilled", "pages taken from the free lists"),
    ("given_back", "pages given back by pcplists"),
    ("most_in_hold", "most pages freed in one lock hold"),
    ("drains", "drains of all CPUs"),
    ("offlined", "ranges taken offline"),
    ("offline_failed", "ranges not offline when the recorded one was"),
    ("offline_given_up", "ranges that the recorded kernel gave up"),
    ("tests_failed", "looks at a range that was not free"),
    ("migrated", "pages migrated"),
    ("on_pcplists", "its pages on pcplists when offlining began"),
    ("stray_left", "stray: on pcplists after isolation emptied them"),
    ("stray", "stray: put on pcplists while isolated"),
    ("allocations_failed", "allocations that found no page"),
    ("frees_unmatched", "frees without an allocation in the trace"),
)


def report_what_if(answer: WhatIf, console: Console) -> None:
    """The two designs side by side, and what the answer rests on."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    recorded, other = answer.recorded, answer.other
    console.print(f"[bold]What if Linux {answer.kernel} had been {other.design}?[/]  {answer.zone}  {answer.cpus} CPUs")
    console.print(
        f"{recorded.allocations:,} allocations and {recorded.frees:,} frees were done once under each design\n",
        style="dim",
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("seen in the trace", recorded.design, other.design):
        table.add_column(name, justify="right")
    seen = {"refilled": answer.observed.refilled, "given_back": answer.observed.given_back}
    for field, words in ROWS:
        mine, its = getattr(recorded, field), getattr(other, field)
        if mine or its:
            style = "" if mine == its else "bold"
            shown = f"{seen[field]:,}" if field in seen else ""
            table.add_row(words, shown, f"{mine:,}", f"[{style}]{its:,}[/]" if style else f"{its:,}")
    console.print(table)
    console.print()
    show_holds(recorded, other, console)
    for title, lines in (("kept of the recording", KEEPS), ("what this cannot know", CANNOT_KNOW)):
        console.print(f"\n{title}", style="bold")
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
    for cost in (recorded, other):
        if cost.fault:
            console.print(f"\nthe model of {cost.design} stopped: {cost.fault}", style="yellow", markup=False)


def show_holds(recorded: Cost, other: Cost, console: Console) -> None:
    """How many pages were freed in one hold of zone->lock, as a distribution."""
    from rich.table import Table

    sizes = sorted({*recorded.holds, *other.holds})
    if not sizes:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("pages given back in one hold of zone->lock")
    for cost in (recorded, other):
        table.add_column(cost.design, justify="right")
    for size in sizes:
        words = f"{size:,} to {2 * size - 1:,}" if size > 1 else "1"
        table.add_row(words, *(f"{cost.holds.get(size, 0):,}" for cost in (recorded, other)))
    console.print(table)
