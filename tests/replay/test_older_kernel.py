# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux 5.10, whose pcplists have no lock: random schedules, and the rules of the replay that it alone needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.machines import in_cpython, natively, scores_of
from tests.replay.older_kernel import PROBES, OlderKernel, OlderLoad
from tests.replay.test_schedule_rules import drain

pytestmark = pytest.mark.usefixtures("programs")


def capture_of(seed: int, directory: Path, cpus: int) -> Path:
    with OlderKernel(cpus) as kernel:
        kernel.online()
        kernel.run(0, lambda t: t.free(t.alloc(3)))  # each probe is seen at least once
        kernel.run(0, drain)
        OlderLoad(kernel, seed, interrupts=bool(seed & 1), hotplug=bool(seed & 2), shown=False).run(200)
    return kernel.write(directory)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("cpus", [2, 3])
def test_every_page_is_predicted_in_any_schedule(seed: int, cpus: int, tmp_path: Path) -> None:
    path = capture_of(seed, tmp_path, cpus)
    result = natively(path)
    assert result.design == "5.10"
    assert result.exact, (result.unknown_reasons, result.fault, result.first_divergence)
    assert min(result.scores[name].total for name in ("alloc", "refill", "drain", "free")) > 15
    if seed < 4:
        assert in_cpython(path, design="5.10")[0] == scores_of(result)
