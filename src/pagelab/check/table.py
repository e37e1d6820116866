# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts as a table, a row a scenario and a column a property, each row printed when it is known."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from pagelab.check.pool import Done
    from pagelab.check.properties import Property
    from pagelab.check.verdicts import Verdict

SYMBOLS = {"holds": ("✓", "green"), "violated": ("✗", "bold red"), "inconclusive": ("?", "yellow"), "": ("–", "dim")}
#: For terminals and files that have no others.
PLAIN = {"✓": "+", "✗": "X", "–": "-"}


class Table:
    """Prints rows as they come.

    :param scenarios: the names of all that will come, for the width of their column.
    """

    def __init__(self, console: Console, properties: Sequence[Property], scenarios: Iterable[str]) -> None:
        self.console, self.properties = console, properties
        self.width = max([len("scenario"), *map(len, scenarios)])
        self.plain = not console.encoding.lower().startswith("utf")

    def title(self, design: str, about: str) -> None:
        """The design that the rows below are about, and the names of the columns."""
        self._print(Text.assemble((design, "bold"), f"  {about}"))
        columns = " ".join(one.name for one in self.properties)
        self._print(Text(f"{'scenario':{self.width}}  {columns}    states", "dim"))

    def row(self, done: Done) -> None:
        """The verdicts of a scenario, and from how many states."""
        text = Text(f"{done.task.scenario.name:{self.width}} ")
        for one, verdict in zip(self.properties, done.judgement.verdicts, strict=True):
            text.append(" ")
            text.append_text(self.symbol(verdict, len(one.name)))
        text.append(f"{done.judgement.outcome.states:>10,}")
        self._print(text)

    def symbol(self, verdict: Verdict, width: int) -> Text:
        """The verdict in its column."""
        symbol, style = SYMBOLS[verdict.verdict if verdict.claimed or verdict.verdict != "holds" else ""]
        return Text((PLAIN.get(symbol, symbol) if self.plain else symbol).center(width), style)

    def legend(self) -> None:
        """What the symbols mean."""
        words = ("holds", "violated", "inconclusive: a limit came first", "not claimed by this design")
        signs = [PLAIN.get(symbol, symbol) if self.plain else symbol for symbol, _ in SYMBOLS.values()]
        self._print(Text("  ".join(f"{sign} {word}" for sign, word in zip(signs, words, strict=True)), "dim"))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def violations(some: Iterable[Done], called: str = "") -> list[str]:
    """What is violated, property by property, with the command that shows it: of each design the first scenario.

    :param called: what the command line calls the scenario, if there is only one and it is not its name.
    """
    found: dict[str, dict[str, list[tuple[int, str, Verdict]]]] = {}
    for done in some:
        for verdict in done.judgement.verdicts:
            if verdict.schedule is not None:
                one = (len(verdict.schedule.steps), shlex.quote(called or done.task.scenario.name), verdict)
                found.setdefault(verdict.property, {}).setdefault(done.task.design, []).append(one)
    lines = []
    for name, designs in found.items():
        words = next(iter(designs.values()))[0][2].words
        lines.append(f"{name} is violated: {words}")
        commands = []
        for design, those in designs.items():
            steps, scenario, _ = those[0]
            others = f", and in {len(those) - 1} more scenario{'s' * (len(those) > 2)}" if len(those) > 1 else ""
            commands.append(
                (f"pagelab check {design} --scenario {scenario} --property {name}", f"{steps} steps{others}")
            )
        width = max(len(command) for command, _ in commands)
        lines += [f"  {command:{width}}  {said}" for command, said in commands]
    return lines
