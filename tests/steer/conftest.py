# SPDX-License-Identifier: GPL-2.0-or-later
"""The constants and features of the model are as before after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.constants import constants_kept


@pytest.fixture(autouse=True, scope="module")
def _constants() -> Iterator[None]:
    with constants_kept():
        yield
