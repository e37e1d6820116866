# SPDX-License-Identifier: GPL-2.0-or-later
"""The constants and features of the model are as before after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.linux.features import features
from pagelab.linux.state import machine


@pytest.fixture(autouse=True, scope="module")
def _constants() -> Iterator[None]:
    kept = [(one, dict(vars(one))) for one in (machine, features)]
    yield
    for one, values in kept:
        vars(one).clear()
        vars(one).update(values)
