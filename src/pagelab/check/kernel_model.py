# SPDX-License-Identifier: GPL-2.0-or-later
"""Designs of the kernel, made small enough to be explored: a zone of a few pages, a few threads, one property each."""

from __future__ import annotations

from pagelab.check import actors, ghost, small_zone
from pagelab.check.model_file import Model
from pagelab.check.properties import PROPERTIES, Property
from pagelab.errors import BadInput
from pagelab.lang.stepped import Thread
from pagelab.linux.designs import design_named

#: The scenario that the 2020 discussion began with; others are to come.
SCENARIO = "offline-free"
ABOUT = "a page is freed on CPU 1 while CPU 0 takes its pageblock offline; two pageblocks of two pages, batch 1, high 2"


def property_named(name: str) -> Property:
    """A property by its name.

    :raises BadInput: if there is none; the hint names them.
    """
    for one in PROPERTIES:
        if one.name == name:
            return one
    raise BadInput(f"there is no property {name!r}", f"there are {', '.join(p.name for p in PROPERTIES)}")


def kernel_models(design: str, properties: list[str]) -> list[Model]:
    """The scenario under a design, once for each property; all of them if none is named.

    Sets the constants and features of the model for the builds that follow.

    :raises BadInput: for a design or a property that does not exist.
    """
    chosen = [property_named(name) for name in properties] or list(PROPERTIES)
    design_named(design).switch_on()
    small_zone.configure(pageblocks=2, pageblock_order=1, cpus=2, batch=1, high=2)
    threads = [Thread("offliner", actors.offliner, (0, 0, 1), cpu=0), Thread("freer", actors.freer, (1, 0), cpu=1)]
    threads += [Thread(f"kworker/{cpu}", actors.kworker, (cpu,), daemon=True, cpu=cpu) for cpu in range(2)]
    return [
        Model(
            name=design,
            threads=threads,
            setup=lambda: small_zone.setup(2, allocated=[0]),
            invariants=[one.holds],
            cpus=2,
            scenario=SCENARIO,
            property=one.name,
            words=one.words,
            probes=ghost.PROBES,
        )
        for one in chosen
    ]
