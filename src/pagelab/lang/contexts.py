# SPDX-License-Identifier: GPL-2.0-or-later
"""The contexts of a CPU: tasks and interrupts, of which one runs at a time.

A task may be preempted by another wherever its irqs are on, whatever locks it holds: that is more than a kernel does,
where the holder of a spinlock stays on its CPU.  An interrupt begins only where the irqs are on and no other interrupt
of the CPU is under way; from then on no task of the CPU takes a step until it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pagelab.errors import BadInput
from pagelab.lang.graph import Do
from pagelab.lang.subset import SubsetError

if TYPE_CHECKING:
    from pagelab.lang.flatten import FlatNode, Flattener
    from pagelab.lang.stepped import Thread


class Context(NamedTuple):
    """What a thread's steps depend on besides the locks they name.

    ``others_irqs``: others may have the irqs of its CPU off, and its steps wait for them; ``interrupted``: it is a
    task, and its steps wait for the interrupts of its CPU; ``interrupts``: CPUs that have any.
    """

    cpu: int = -1
    interrupt: bool = False
    others_irqs: bool = False
    interrupted: bool = False
    interrupts: frozenset[int] = frozenset()

    def waits_for_irqs(self, node: FlatNode) -> bool:
        """Whether a step is taken only while nobody else has the irqs of the thread's CPU off.

        If ``node.irqs_off`` is no constant, then only unless it turns out to be that CPU.
        """
        if not self.others_irqs or node.irqs_off == self.cpu:
            return False
        return not (node.do is Do.IRQS_OFF and node.value == self.cpu)  # the node waits by itself

    def waits_for_interrupts(self, node: FlatNode) -> bool:
        """Whether a step is taken only while no interrupt of the thread's CPU is under way."""
        return self.interrupted or node.do is Do.IRQ_ENTER

    def stops_interrupts(self, node: FlatNode) -> bool:
        """Whether a node may switch off the irqs of another CPU, on which no interrupt may be under way then."""
        if node.do is not Do.IRQS_OFF or node.value == self.cpu:
            return False
        return node.value in self.interrupts if isinstance(node.value, int) else bool(self.interrupts)


#: Of a thread that waits for nobody's turn.
ANYWHERE = Context()


def contexts(threads: Sequence[Thread], programs: Sequence[Flattener], cpus: int) -> list[Context]:
    """For each thread, what its steps wait for.

    :raises BadInput: for a thread on a CPU that does not exist, or an interrupt on none.
    :raises SubsetError: for a local_irq_disable() whose CPU is not known beforehand.
    """
    for thread in threads:
        if thread.cpu >= cpus:
            raise BadInput(f"thread {thread.name} runs on CPU {thread.cpu}: there are {cpus}, from 0 on")
        if thread.interrupt and thread.cpu < 0:
            raise BadInput(f"thread {thread.name} is an interrupt and runs on no CPU", "give it one: Thread(cpu=0)")
    switch = [_switched_off(program, cpus) for program in programs]
    interrupts = frozenset(thread.cpu for thread in threads if thread.interrupt)
    return [
        Context(
            cpu=thread.cpu,
            interrupt=thread.interrupt,
            others_irqs=any(thread.cpu in off for i, off in enumerate(switch) if i != number),
            interrupted=not thread.interrupt and thread.cpu in interrupts,
            interrupts=interrupts,
        )
        for number, thread in enumerate(threads)
    ]


def _switched_off(program: Flattener, cpus: int) -> set[int]:
    """The CPUs whose irqs a thread may switch off."""
    found = set()
    for node in program.nodes:
        if node.do is Do.IRQS_OFF and isinstance(node.value, int):
            found.add(node.value)
        elif node.do is Do.IRQS_OFF:
            # The end of a section needs the CPU's number again, so the section has it; local_irq_enable() may not.
            if not node.section:
                _, file, line = node.frames[-1]
                raise SubsetError("local_irq_disable() takes a CPU that is a constant of the thread", file, line)
            found.update(range(cpus))
    return found
