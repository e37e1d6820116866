# SPDX-License-Identifier: GPL-2.0-or-later
"""Random work in a random order of all steps of all CPUs, interrupts and memory that comes and goes among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.kernel import Kernel
from tests.replay.machine_files import ALL_PROBES, PROBES
from tests.replay.machines import in_cpython, natively, scores_of
from tests.replay.schedules import Load
from tests.replay.test_doubt import MOMENT
from tests.replay.test_schedule_rules import drain

pytestmark = pytest.mark.usefixtures("programs")


def capture_of(
    seed: int, directory: Path, *, cpus: int, breakpoints: bool, shown: bool, probes: frozenset[str] = PROBES
) -> Path:
    with Kernel(cpus, breakpoints=breakpoints, probes=probes) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))  # each probe is seen at least once
        kernel.run(0, drain)
        Load(kernel, seed, interrupts=bool(seed & 1), hotplug=bool(seed & 2), shown=shown).run(150)
    return kernel.write(directory)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("cpus", "breakpoints"), [(2, False), (3, True)])
def test_where_the_trace_tells_all_every_page_is_predicted(
    seed: int, cpus: int, breakpoints: bool, tmp_path: Path
) -> None:
    path = capture_of(seed, tmp_path, cpus=cpus, breakpoints=breakpoints, shown=True)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert min(result.scores[name].total for name in ("alloc", "refill", "drain", "free")) > 30
    if seed < 4:
        assert in_cpython(path)[0] == scores_of(result)


@pytest.mark.parametrize("seed", [*range(20), 5055])
def test_where_it_does_not_nothing_is_missed(seed: int, tmp_path: Path) -> None:
    """Frees may find their pcplist locked and go past it."""
    result = natively(capture_of(seed, tmp_path, cpus=3, breakpoints=False, shown=False))
    assert result.first_divergence is None, result.first_divergence
    assert not result.fault
    assert set(result.unknown_reasons) <= {MOMENT}
    assert all(score.missed == 0 for score in result.scores.values())


@pytest.mark.parametrize("seed", range(12))
def test_with_a_probe_at_the_free_list_it_always_does(seed: int, tmp_path: Path) -> None:
    path = capture_of(seed, tmp_path, cpus=3, breakpoints=bool(seed & 4), shown=False, probes=ALL_PROBES)
    result = natively(path)
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    if seed < 2:
        assert in_cpython(path)[0] == scores_of(result)
