# SPDX-License-Identifier: GPL-2.0-or-later
"""A design sets constants of the model; each test leaves them as it found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.linux.features import features
from pagelab.linux.state import machine


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    kept = [(one, dict(vars(one))) for one in (machine, features)]
    yield
    for one, values in kept:
        vars(one).clear()
        vars(one).update(values)
