# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs that tell what the model is: designs, features, show."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Pagelab


def test_designs(run_pagelab: Pagelab) -> None:
    done = run_pagelab("designs")
    assert done.returncode == 0
    names = [
        "5.9-rc5",
        "5.9",
        "rfc-v1",
        "rfc",
        "alt",
        "5.10",
        "5.11",
        "6.1.0",
        "6.1.57",
        "6.1.97",
        "6.1",
        "6.12",
        "7.2",
        "contig-fix",
        "nolock-fix",
    ]
    assert [line.split()[0] for line in done.stdout.splitlines()] == names
    one = run_pagelab("designs", "6.1.0").stdout
    assert "+ pcp_spinlock: " in one
    assert "- drain_in_chunks: " in one


def test_designs_json(run_pagelab: Pagelab) -> None:
    rows = json.loads(run_pagelab("designs", "--json").stdout)
    assert [row["base"] for row in rows[-8:]] == ["5.11", "6.1.0", "6.1.57", "6.1.97", "6.1", "6.12", "7.2", "7.2"]
    assert rows[0] | {"about": ""} == {"name": "5.9-rc5", "base": None, "about": "", "features": []}
    assert "drain_count_under_lock" in rows[-1]["features"]


def test_features(run_pagelab: Pagelab) -> None:
    done = run_pagelab("features")
    assert done.returncode == 0
    assert "4b23a68f9536" in done.stdout
    one = run_pagelab("features", "drain_in_chunks").stdout
    assert 'Since Linux kernel commit 55f77df7d715 ("mm: page_alloc: control latency' in one
    rows = json.loads(run_pagelab("features", "--json").stdout)
    assert {"name", "commit", "subject", "release", "stable", "effect", "mail"} == set(rows[0])


def test_show(run_pagelab: Pagelab) -> None:
    new, old = (run_pagelab("show", design, "drain_pages_zone").stdout for design in ("6.1", "6.1.0"))
    assert "while drain_pages_zone_once(cpu, owner):" in new
    assert "66eca1021a42" in new
    assert "if count != 0:" in old
    assert "66eca1021a42" not in old
    document = json.loads(run_pagelab("show", "6.1", "--json").stdout)
    sources = {row["procedure"]: row["source"] for row in document["procedures"]}
    assert sources["drain_pages_zone"] in new
    assert len(sources) > 60


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["designs", "6.11"], "there is no design '6.11'"),
        (["features", "drain_in_chunk"], "did you mean drain_in_chunks?"),
        (["show", "5.12"], "there is no design '5.12'"),
        (["show", "6.1", "rmqueue_bluk"], "did you mean rmqueue_bulk"),
    ],
)
def test_names_that_are_not_known(run_pagelab: Pagelab, args: list[str], says: str) -> None:
    done = run_pagelab(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
