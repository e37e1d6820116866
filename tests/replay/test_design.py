# SPDX-License-Identifier: GPL-2.0-or-later
"""The design of a captured kernel is found from signs of its features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pagelab.capture.directory import Capture
from pagelab.errors import BadInput
from pagelab.linux.designs import DESIGNS
from pagelab.replay.design import DESIGNS_BY_SIGNS, SIGNS, design_of


def capture(*signs: str, **config: str) -> Capture:
    """A capture whose kernel shows these signs."""
    options = {"CONFIG_SMP": "y", **{name: "5" for name in signs if name.startswith("CONFIG_")}, **config}
    shown = SimpleNamespace(path="here", config=options, symbols={"_text", *signs})
    return cast(Capture, shown)


def refused(*signs: str, **config: str) -> str:
    with pytest.raises(BadInput) as told:
        design_of(capture(*signs, **config))
    return str(told.value)


@pytest.mark.parametrize("design", DESIGNS_BY_SIGNS)
def test_each_design_is_found_by_its_signs(design: str) -> None:
    assert design in DESIGNS
    assert design_of(capture(*DESIGNS_BY_SIGNS[design])) == design


def test_no_two_designs_have_the_same_signs_and_each_sign_is_looked_at() -> None:
    assert len(set(DESIGNS_BY_SIGNS.values())) == len(DESIGNS_BY_SIGNS)
    assert {sign for shown in DESIGNS_BY_SIGNS.values() for sign in shown} <= {sign.name for sign in SIGNS}


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        (("drain_local_pages_wq", "check_pages_isolated_cb"), "check_pages_isolated_cb: the kernel brings memory"),
        (("drain_local_pages_wq", "zone_pcp_disable"), "zone_pcp_disable: the kernel drains pcplists by work items"),
        (("zone_pcp_disable",), "config: no CONFIG_PCP_BATCH_SCALE_MAX: the kernel drains pcplists as 6.1 before"),
        ((), "kallsyms: no zone_pcp_disable: the kernel cannot disable pcplists"),
        (("decay_pcp_high",), "kallsyms: no free_unref_folios: the kernel frees page by page"),
        (("decay_pcp_high", "free_unref_folios"), "no try_to_steal_block: the kernel takes single pages from the"),
    ],
)
def test_a_kernel_between_the_designs_is_refused_with_its_first_odd_sign(signs: tuple[str, ...], words: str) -> None:
    assert words in refused(*signs)


def test_a_kernel_that_no_design_models_is_refused_for_an_option() -> None:
    assert "CONFIG_PREEMPT_RT=y: the kernel is a PREEMPT_RT kernel" in refused(CONFIG_PREEMPT_RT="y")
    assert "not built for SMP" in refused(CONFIG_SMP="n")
