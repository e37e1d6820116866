# SPDX-License-Identifier: GPL-2.0-or-later
"""Where actors wait for the first move."""

from __future__ import annotations

import pytest

from pagelab.check.actors import PROCEDURES
from pagelab.steer.gates import GATES, CannotPlay, gate_of


def test_each_procedure_of_a_scenario_has_a_gate() -> None:
    assert set(GATES) == set(PROCEDURES)


def test_the_gate_is_the_function_that_the_kernel_has() -> None:
    assert gate_of("free_page", {"free_unref_page", "schedule"}) == "free_unref_page"
    assert gate_of("free_page", {"free_frozen_pages"}) == "free_frozen_pages"


def test_an_actor_without_a_gate_cannot_be_played() -> None:
    with pytest.raises(CannotPlay, match=r"nobody can free_page_nolock .* has no free_pages_nolock\(\)"):
        gate_of("free_page_nolock", {"free_unref_page"})
