# SPDX-License-Identifier: GPL-2.0-or-later
"""What another design would have done with recorded work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagelab.replay.whatif import WhatIf, what_if_capture

CAPTURES = Path(__file__).parents[2] / "captures"
ON_6_1, ON_5_10 = CAPTURES / "6.1-churn-2cpu.tar.zst", CAPTURES / "5.10-churn-2cpu.tar.zst"
#: The memory block that goes offline in both: 128 MiB.
PAGEBLOCKS = 64


def answer(path: Path, design: str) -> WhatIf:
    found = what_if_capture(path, design)
    assert found is not None
    assert not found.recorded.fault
    assert not found.other.fault
    return found


@pytest.fixture(scope="module")
def as_5_10() -> WhatIf:
    return answer(ON_6_1, "5.10")


def test_its_own_design_does_what_the_trace_shows(as_5_10: WhatIf) -> None:
    mine, seen = as_5_10.recorded, as_5_10.observed
    assert mine.given_back == seen.given_back
    assert abs(mine.refilled - seen.refilled) < seen.refilled / 1000, "what was under way when offlining began"
    assert mine.frees_unmatched == mine.allocations_failed == 0, "pages that were migrated are found again"


def test_a_kernel_that_drains_for_each_pageblock(as_5_10: WhatIf) -> None:
    assert as_5_10.other.drains == PAGEBLOCKS
    assert as_5_10.recorded.drains == 1, "zone_pcp_disable() drains once"
    assert as_5_10.other.offlined == as_5_10.recorded.offlined == 1
    assert (as_5_10.other.pcp_lock, as_5_10.recorded.pcp_lock > 0) == (0, True)


def test_batches_of_one_size_and_of_a_size_that_doubles(as_5_10: WhatIf) -> None:
    usual = [size for size, count in as_5_10.other.holds.items() if count > 10]
    assert usual == [32], "5.10 gives back one batch of 63 at a time"
    assert len([size for size, count in as_5_10.recorded.holds.items() if count > 10]) > 2, "free_factor"


def test_the_proposal_that_disables_pcplists_while_anything_is_isolated() -> None:
    other = answer(ON_6_1, "rfc").other
    assert other.offlined == 1
    assert other.drains == other.onlined + 1, "it drains at the first pageblock of each range"
    assert min(other.holds) == 1, "high is 0, so each page goes back at once"


def test_an_older_kernel_with_the_pcplists_of_a_newer_one() -> None:
    found = answer(ON_5_10, "6.1")
    assert found.recorded.drains == PAGEBLOCKS
    assert found.other.drains == 1
    assert found.recorded.pcp_lock == 0 < found.other.pcp_lock


def test_the_capture_s_own_design_is_no_question() -> None:
    assert what_if_capture(ON_6_1, "6.1") is None
