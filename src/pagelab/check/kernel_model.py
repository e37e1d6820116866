# SPDX-License-Identifier: GPL-2.0-or-later
"""Designs of the kernel, made small enough to be explored: a scenario under a design, with properties."""

from __future__ import annotations

from collections.abc import Sequence

from pagelab.check import actors, ghost, small_zone
from pagelab.check.model_file import Model
from pagelab.check.properties import PROPERTIES, Property
from pagelab.check.scenario import Scenario
from pagelab.errors import BadInput
from pagelab.lang.stepped import Thread
from pagelab.linux.designs import design_named
from pagelab.linux.features import features


def applies(scenario: Scenario, design: str) -> bool:
    """Whether a scenario makes sense for a design."""
    mine = design_named(design).feature_names()
    return all(name in mine for name in scenario.needs) and not any(name in mine for name in scenario.without)


def kernel_model(
    design: str, scenario: Scenario, properties: Sequence[Property] = PROPERTIES, memory: str = "sc"
) -> Model:
    """A scenario under a design.

    Sets the constants and features of the model for the build that follows, so build it before the next is made.

    :raises BadInput: for a design that does not exist, or for which the scenario makes no sense.
    """
    if not applies(scenario, design):
        raise BadInput(f"scenario {scenario.name} is not for {design}: {scenario.reason}", "take another design")
    design_named(design).switch_on()
    zone, pages = scenario.zone, scenario.pages
    small_zone.configure(
        pageblocks=zone.pageblocks,
        pageblock_order=zone.pageblock_order,
        cpus=scenario.cpus,
        batch=zone.batch,
        high=zone.high,
        largest=zone.largest,
        movable=zone.movable,
    )
    some = [one for one in properties if one.holds is not None]
    return Model(
        name=design,
        threads=threads_of(scenario),
        setup=lambda: small_zone.setup(
            zone.pageblocks,
            pages.allocated,
            pages.offline,
            dict(enumerate(pages.pcplists)),
            unmovable=pages.unmovable,
            watermark_min=zone.watermark_min,
        ),
        invariants=[one.holds for one in some if one.holds is not None],
        cpus=scenario.cpus,
        scenario=scenario.name,
        property=properties[0].name if len(properties) == 1 else "",
        words=properties[0].words if len(properties) == 1 else "",
        probes=ghost.PROBES,
        exclusive_cpus=True,
        memory=memory,
    )


def threads_of(scenario: Scenario) -> list[Thread]:
    """The threads, and the kworkers where drains are the work of each CPU."""
    threads = [
        Thread(
            one.name,
            actors.PROCEDURES[one.run].function,
            (one.cpu, *one.parameters),
            cpu=one.cpu,
            interrupt=one.interrupt,
        )
        for one in scenario.threads
    ]
    if any(actors.PROCEDURES[one.run].drains for one in scenario.threads) and not features.remote_drain:
        threads += [
            Thread(f"kworker/{cpu}", actors.kworker, (cpu,), daemon=True, cpu=cpu) for cpu in range(scenario.cpus)
        ]
    return threads
