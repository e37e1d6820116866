# SPDX-License-Identifier: GPL-2.0-or-later
"""The space-time diagram of a counterexample for a terminal: time runs downwards, each thread has a lane.

Where there is room for it, a thread's steps stand in its lane; otherwise lanes show who runs and what is held, and all
steps stand at the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from pagelab.lang.store_buffer import store_buffer
from pagelab.report.points import Story
from pagelab.report.rows import Bar, Row, bars, note, rows

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from pagelab.report.trail import Trail
    from pagelab.report.words import Words

#: Characters of the number of a step, of a source line, of a lane that is worth having.
NUMBER, LINE, LEAST = 7, 4, 34
#: Where what was read or changed stands beside the source, if there is room.
EFFECTS = 40
KEY = "●"
#: What to write where a terminal cannot show the signs of this module.
PLAIN = str.maketrans("│┃─═┼╪┌└┏┗●→…·", "|#-=++,`##*>.-")
STYLES = dict.fromkeys(("stale", "overtakes", "early", "sees", "seen", "buffered"), "bold yellow") | {
    "promise": "bold magenta"
}


@dataclass(frozen=True, slots=True)
class Lane:
    """A thread's part of each line: bars, a mark, and text of ``width`` characters."""

    thread: int
    title: str
    slots: int
    width: int


class Diagram:
    """To be printed with rich.

    :param width: characters to use; 0: what the console has, at least 100 where that is no terminal.
    """

    def __init__(self, trail: Trail, story: Story, words: Words, width: int = 0) -> None:
        self.trail, self.story = trail, story
        self.rows = rows(trail, story, words)
        self.bars = bars(trail, words)
        self.width = width
        self.lanes: list[Lane] = []
        self.beside = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = self.width or (options.max_width if console.is_terminal else max(options.max_width, 100))
        self.lay_out(width)
        for line in self.lines():
            line.no_wrap = True
            line.overflow = "ignore"
            line.rstrip()
            if not options.encoding.startswith("utf"):
                line.plain = line.plain.translate(PLAIN)
            yield line

    # ---- layout

    def lay_out(self, width: int) -> None:
        """Decide how wide each lane is; ``beside`` is the width of the text at the right, 0 if it is in the lanes."""
        threads = self.trail.taking_part()
        slots = [1 + max((bar.slot for bar in self.bars if bar.thread == t), default=-1) for t in threads]
        room = width - NUMBER - 1 - sum(slots) - 3 * len(threads)
        each = room // max(len(threads), 1)
        self.beside = 0 if each >= LEAST else room
        self.lanes = [Lane(t, self._title(t), n, each) for t, n in zip(threads, slots, strict=True)]
        if self.beside:
            self.lanes = [Lane(lane.thread, lane.title, lane.slots, 0) for lane in self.lanes]
            self.beside = width - NUMBER - 1 - sum(self._lane_width(lane) for lane in self.lanes) - 2

    def _title(self, thread: int) -> str:
        named = self.trail.system.threads[thread]
        return (
            f"CPU {named.cpu} · {named.name}" if named.cpu >= 0 and named.function is not store_buffer else named.name
        )

    @staticmethod
    def _lane_width(lane: Lane) -> int:
        return lane.slots + 3 + lane.width

    def _total(self) -> int:
        lanes = sum(self._lane_width(lane) for lane in self.lanes)
        return NUMBER + 1 + lanes + (self.beside + 2 if self.beside else 0)

    # ---- lines

    def lines(self) -> list[Text]:
        """All lines, each of at most the width."""
        if not self.rows:
            return [Text("No step is taken: the initial state is where it ends.")]
        found = self._head()
        for row in self.rows:
            if row.turn:
                found.append(self._rule(row.turn, "═" if row.preempted else "─", "yellow" if row.preempted else "dim"))
            if row.first.number - 1 == self.trail.repeats_from:
                found.append(self._rule("from here on it repeats", "═", "bold magenta"))
            found += self._row(row)
        if self.trail.repeats_from >= 0:
            found.append(self._rule(f"and so on, with step {self.trail.repeats_from + 1}", "═", "bold magenta"))
        found += self._legend(self._total() - NUMBER - 1)
        return found

    def _head(self) -> list[Text]:
        if not self.beside:
            line = Text(" " * (NUMBER + 1))
            for lane in self.lanes:
                title = Text(" " * (lane.slots + 2) + lane.title[: lane.width + 1], style="bold")
                title.pad_right(self._lane_width(lane) - len(title))
                line.append_text(title)
            return [line, self._rule("", "─", "dim")]
        # Narrow lanes: their titles stand one above the other, each over its lane.
        found = []
        at = NUMBER + 1
        for number, lane in enumerate(self.lanes):
            line = Text(" " * (NUMBER + 1))
            for other in self.lanes[:number]:
                line.append(" " * (other.slots + 1) + "│", style="dim")
                line.append(" " * (self._lane_width(other) - other.slots - 2))
            line.append(" " * (lane.slots + 1))
            line.append(lane.title, style="bold")
            found.append(line)
            at += self._lane_width(lane)
        return [*found, self._rule("", "─", "dim")]

    def _rule(self, text: str, sign: str, style: str) -> Text:
        words = f" {text} " if text else ""
        left = NUMBER + 1 + 2
        line = Text()
        line.append(sign * left + words, style=style)
        line.append(sign * max(self._total() - len(line), 0), style=style)
        return line

    def _row(self, row: Row) -> list[Text]:
        text = self._cell(row, self.beside or next(ln.width for ln in self.lanes if ln.thread == row.first.thread))
        found = []
        for number, line in enumerate(text):
            numbers = row.numbers if number == self._numbered(row) else ""
            whole = Text()
            whole.append(numbers.rjust(NUMBER) + " ", style="bold" if row.points else "dim")
            for lane in self.lanes:
                runs = lane.thread == row.first.thread
                whole.append_text(self._gutter(lane, row, number - self._numbered(row), number == len(text) - 1))
                mark = KEY if runs and row.points and number == self._numbered(row) else ""
                mark = mark or ("│" if runs and self.beside else "")
                whole.append(mark.ljust(1) + " ", style="bold red" if mark == KEY else "bold")
                if not self.beside:
                    part = line.copy() if runs else Text()
                    part.pad_right(max(lane.width - len(part), 0))
                    whole.append_text(part)
            if self.beside:
                whole.append("  ")
                whole.append_text(line)
            found.append(whole)
        return found

    @staticmethod
    def _numbered(row: Row) -> int:
        """The line of a row that bears its number: below the name of the function."""
        return 1 if row.new_function else 0

    def _gutter(self, lane: Lane, row: Row, line: int, last: bool) -> Text:
        """The bars of a lane; ``line`` counts from the one that bears the number of the row."""
        signs = [" "] * lane.slots
        for bar in self.bars:
            if bar.thread == lane.thread:
                sign = _bar_sign(bar, row, line, last)
                if sign != " ":
                    signs[bar.slot] = sign
        return Text("".join(signs) + " ", style="green")

    def _cell(self, row: Row, width: int) -> list[Text]:
        """The name of the function where it is new; line and source; what was read or changed; why it matters."""
        told = row.first.told
        found = []
        if row.new_function:
            found.append(Text(_cut(f"{told.function}()", width), style="bold"))
        source = Text()
        source.append(f"{told.line:>{LINE}} ", style="dim")
        source.append(_cut(row.source, width - LINE - 1), style="bold" if row.points else "")
        effects = _wrap(row.effects, width - LINE - 3)
        beside = max(len(source) + 2, min(EFFECTS, width // 2))
        if len(effects) == 1 and beside + len(effects[0]) <= width:
            source.append(" " * (beside - len(source)) + effects[0], style="cyan")
            effects = []
        found.append(source)
        found += [Text(" " * (LINE + 3) + line, style="cyan") for line in effects]
        for point in row.points:
            style = STYLES.get(point.role, "bold red")
            found.append(Text(_cut(" " * (LINE + 1) + "└ " + note(point), width), style=style))
        return found

    def _legend(self, width: int) -> list[Text]:
        kinds = {bar.irqs for bar in self.bars}
        parts = [f"{KEY} a step that matters", "= read", "→ changed"]
        parts += ["│ a lock is held"] if False in kinds else []
        parts += ["┃ irqs are off"] if True in kinds else []
        parts += ["═ the thread before could have gone on"] if any(row.preempted for row in self.rows) else []
        lines = [""]
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
                lines.append("")
            lines[-1] += ("   " if lines[-1] else "") + part
        return [Text(" " * (NUMBER + 1) + line, style="dim") for line in lines]


def _bar_sign(bar: Bar, row: Row, line: int, last: bool) -> str:
    """What a bar shows on a line of a row; ``last``: it is the last one."""
    low, high = row.steps[0].number, row.steps[-1].number
    begins, ends = low <= bar.begin, bool(bar.end) and bar.end <= high
    if bar.begin > high or (bar.end and bar.end < low) or (begins and line < 0):
        return " "
    corner = ("┏", "┗", "┃") if bar.irqs else ("┌", "└", "│")
    if begins and line == 0:
        return corner[0]
    return corner[1] if ends and last else corner[2]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _wrap(parts: Sequence[str], width: int) -> list[str]:
    """Lines of comma-separated parts; a part that is too long is broken between words, or cut."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}, {part}" if lines else part
        if lines and len(joined) <= width:
            lines[-1] = joined
            continue
        rest = part
        while len(rest) > width and " " in rest[:width]:
            at = rest.rindex(" ", 0, width)
            lines.append(rest[:at])
            rest = "  " + rest[at + 1 :]
        lines.append(_cut(rest, width))
    return lines
