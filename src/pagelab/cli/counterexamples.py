# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``pagelab check`` does with a counterexample: show it, write it to a page, stop at its last step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pagelab.report.case import Case, Title, case_of
from pagelab.report.diagram import Diagram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pagelab.check.counterexample import Told


def case(told: Told, title: Title) -> Case:
    """A counterexample with its story; its design must still be switched on."""
    return case_of(title, told.system, told.initial, told.schedule, repeats_from=told.repeats_from)


def show(told: Told, title: Title, console: Console | None = None) -> None:
    """The diagram and the story."""
    console = console or Console(highlight=False)
    one = case(told, title)
    console.print()
    console.print(Diagram(one.trail, one.story, one.words), soft_wrap=True)  # it is as wide as it has to be
    console.print()
    console.print(one.story.text, style="bold", markup=False, soft_wrap=not console.is_terminal)


def data(told: Told, title: Title) -> dict[str, Any]:
    """What a page needs of a counterexample."""
    from pagelab.report.page_data import data_of

    return data_of(case(told, title))


def write(pages: Sequence[dict[str, Any]], file: str | None) -> None:
    """Write a page of all counterexamples, if there is a file to write to and any to write.

    :raises BadInput: or MissingTool: if it cannot be written.
    """
    if not file:
        return
    errors = Console(stderr=True, highlight=False)
    if not pages:
        errors.print(f"nothing is violated: {file} was not written", markup=False, soft_wrap=True)
        return
    from pagelab.report.page import page_of, write_page

    write_page(Path(file), page_of(pages))
    some = "one counterexample" if len(pages) == 1 else f"{len(pages)} counterexamples"
    errors.print(f"wrote {file}: {some} to step through in a browser", markup=False, soft_wrap=True)


def debug(told: Told) -> None:
    """Stop at the last step in the debugger."""
    from pagelab.check.debugger import debug_last_step

    debug_last_step(told)
