# SPDX-License-Identifier: GPL-2.0-or-later
"""The constants and features of the model, which a design, a replay or a plan sets, as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pagelab.linux.features import features
from pagelab.linux.state import machine


@contextmanager
def constants_kept(*more: object) -> Iterator[None]:
    """What is set meanwhile is set back at the end; ``more``: other constants than those of the model."""
    kept = [(one, dict(vars(one))) for one in (machine, features, *more)]
    yield
    for one, values in kept:
        vars(one).clear()
        vars(one).update(values)
