# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay sets constants of the model for its capture; each test leaves them as it found them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagelab.replay import tables
from tests.constants import constants_kept
from tests.replay.machines import keep_programs


@pytest.fixture(autouse=True)
def constants() -> Iterator[None]:
    with constants_kept(tables.capture):
        yield


@pytest.fixture(scope="package")
def programs() -> Iterator[None]:
    """Native replays share their programs, which makes them a hundred times faster; those of other tests do not."""
    with pytest.MonkeyPatch.context() as patch:
        keep_programs(patch)
        yield
