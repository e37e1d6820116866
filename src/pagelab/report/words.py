# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for what a model's numbers mean, for any model; :mod:`pagelab.report.linux_words` knows the kernel's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pagelab.lang.graph import Do

if TYPE_CHECKING:
    from pagelab.lang.stepped import System
    from pagelab.report.trail import Cell, Change, Moved, Read, Trail

#: Lines that end a section by themselves.
_ENDS = re.compile(r"\b(unlock|local_irq_enable)\(")


class Words:
    """Puts cells, values and steps into words.  Verbs are in the past: a story tells what happened."""

    def value(self, cell: Cell, value: int) -> str:
        """The value of a cell."""
        if cell.kind == "int":
            return str(value)
        return "true" if value else "false"

    def cell(self, cell: Cell) -> str:
        """The name of a cell, as the source would write it."""
        return str(cell)

    def effect(self, step: Moved) -> str:
        """What a step did, for a row of a diagram: ``=`` what was read, ``→`` what was changed."""
        parts = [self._read(step, read) for read in step.reads]
        parts += [self.changed(change) for change in step.changes if not self._is_taken(step, change)]
        parts += [f"{self.changed(put)}, in the store buffer" for put in step.puts]
        if step.node.do is Do.IRQ_ENTER:
            parts.append("an interrupt begins")
        if step.node.do is Do.WRITE_BACK:
            parts = [f"reaches memory: {', '.join(parts) or 'what is there already'}"]
        if not parts and step.node.do in (Do.STORE, Do.ATOMIC):
            parts.append("unchanged")
        if step.fault:
            parts.append(f"fails: {step.fault}")
        return ", ".join(parts)

    @staticmethod
    def _is_taken(step: Moved, change: Change) -> bool:
        return step.node.do is Do.TRYLOCK and change.cell.kind == "lock"

    @staticmethod
    def source(step: Moved) -> str:
        """The line of the source; the end of a section has none of its own."""
        source = step.told.source
        ends = (Do.UNLOCK, Do.IRQS_ON)
        return "end of the section" if step.node.do in ends and not _ENDS.search(source) else source

    def _read(self, step: Moved, read: Read) -> str:
        if step.node.do is Do.TRYLOCK:
            return f"{'does not get' if read.value else 'gets'} {self.cell(read.cell)}"
        return f"{self.cell(read.cell)} = {self.value(read.cell, read.value)}"

    def changed(self, change: Change) -> str:
        """What a change is, in the present."""
        cell = change.cell
        if cell.kind == "irqs":
            return f"irqs {'off' if change.new else 'on'} on CPU {cell.row[0]}"
        if cell.kind == "lock":
            return f"{'takes' if change.new else 'gives back'} {self.cell(cell)}"
        return f"{self.cell(cell)}: {self.value(cell, change.old)} → {self.value(cell, change.new)}"

    # ---- for stories

    def did(self, change: Change, cpu: int) -> str:
        """What a thread of a CPU did."""
        cell = change.cell
        if cell.kind == "irqs":
            return f"switched the irqs of CPU {cell.row[0]} {'off' if change.new else 'on'}"
        if cell.kind == "lock":
            return f"{'took' if change.new else 'gave back'} {self.cell(cell)}"
        return f"set {self.cell(cell)} to {self.value(cell, change.new)}"

    def put(self, change: Change, cpu: int) -> str:
        """What a thread did, while others could not see it yet."""
        return f"{self.did(change, cpu)} in its store buffer only"

    def reached(self, change: Change) -> str:
        """What a store buffer did."""
        return f"brought {self.cell(change.cell)} = {self.value(change.cell, change.new)} to memory"

    def saw(self, step: Moved, read: Read) -> str:
        """What a thread read and acted upon."""
        if step.node.do is Do.TRYLOCK:
            return f"found {self.cell(read.cell)} {'taken' if read.value else 'free'}"
        return f"read {self.cell(read.cell)} = {self.value(read.cell, read.value)}"

    def decided(self, step: Moved, read: Read) -> str:
        """What a thread made of a value that another one changed later."""
        return self.saw(step, read)

    def gates(self, cell: Cell) -> bool:
        """Whether a cell only says that it is time to look: a property does not look while a lock is held."""
        return cell.kind in ("irqs", "lock")

    def promises(self, cell: Cell) -> bool:
        """Whether a cell is not the model's, but keeps what a property must remember."""
        return False

    def conclusion(self, trail: Trail, name: str) -> str:
        """What is wrong in the last state: a clause."""
        if trail.kind == "invariant":
            return f"{trail.system.invariants[trail.invariant].__name__}() does not hold"
        return ""

    def turns_held(self, change: Change) -> bool | None:
        """Whether a thread holds a lock from this change on (True), or does not any more (False); None: no lock."""
        return bool(change.new) if change.cell.kind == "lock" else None


def words_for(system: System) -> Words:
    """The words that fit the tables of a system."""
    from pagelab.linux.state import mem_map
    from pagelab.report.linux_words import KernelWords

    return KernelWords() if mem_map in system.layout.tables else Words()
