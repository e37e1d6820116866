# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import tomllib
from pathlib import Path

from pagelab.guest.apt import Tree
from pagelab.guest.facts import capture_toml, read_facts
from pagelab.guest.kernels import Kernel
from pagelab.guest.probes import PROBES
from pagelab.guest.record import Plan

STATS = """\
entries: 100
overrun: 0
commit overrun: 0
bytes: 5000
oldest event ts: 12
now ts: 99
dropped events: 3
read events: 0
"""


def test_facts_are_read_from_what_the_guest_wrote(tmp_path: Path) -> None:
    files = {
        "probes_placed": "rmqueue_bulk\noffline_pages\n",
        "probes_missing": "zone_pcp_update\nsh: write error: No such file or directory\n",
        "kprobe_profile": "  rmqueue_bulk   900   0\n  offline_pages  3   2\n",
        "sysctl": "vm.swappiness 0\nkernel.printk 4 4 1 7\n",
        "online": "32\n33\n",
        "offline": "33 0 5.10 5.45 \n32 1 6.00 6.50 sh: write error: Device or resource busy \n",
        "contig": "virtio_mem 983040 1048576 7.00 9.25\ngigantic 1 1 9.00 9.10\n",
        "command_status": "0\n",
    }
    (tmp_path / "facts").mkdir()
    for name, text in files.items():
        (tmp_path / "facts" / name).write_text(text, "utf-8")
    for cpu, text in (("cpu0", STATS), ("cpu1", "entries: 50\noverrun: 7\n")):
        (tmp_path / "tracing/per_cpu" / cpu).mkdir(parents=True)
        (tmp_path / "tracing/per_cpu" / cpu / "stats").write_text(text, "utf-8")
    facts = read_facts(tmp_path)
    assert (facts.events, facts.lost) == (150, 10)
    assert facts.probes_missing == ["zone_pcp_update"]
    assert facts.probes_missed == {"offline_pages": 2}
    assert facts.sysctls == {"vm.swappiness": "0", "kernel.printk": "4 4 1 7"}
    assert facts.online == [32, 33]
    assert facts.offline[0] == {"block": 33, "ok": True, "result": "offline", "seconds": 0.35}
    assert facts.offline[1]["result"] == "sh: write error: Device or resource busy"
    assert facts.contig == [
        {"of": "virtio_mem", "goal": 983040, "reached": 1048576, "seconds": 2.25},
        {"of": "gigantic", "goal": 1, "reached": 1, "seconds": 0.1},
    ]
    assert facts.command_status == 0


def test_capture_toml_says_what_was_run(tmp_path: Path) -> None:
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts/probes_placed").write_text("rmqueue_bulk\n", "utf-8")
    (tmp_path / "facts/offline").write_text("33 0 5.10 5.45\n", "utf-8")
    (tmp_path / "facts/online_again").write_text("33\n", "utf-8")
    (tmp_path / "facts/contig").write_text("gigantic 1 0 5.00 6.00\n", "utf-8")
    plan = Plan("6.1", seed=9, cpus=4, offline=1, command='echo "a\\b"\t\x01 é', packages=("x",))
    kernel = Kernel("6.1", "6.1.0-test", "linux-image-test", "6.1-1", "bookworm", tmp_path)
    tools = Tree(tmp_path, {"trace-cmd": "3", "lib+x": "1:2~3"})
    text = capture_toml(plan, kernel, tools, tools, "tcg", "7.2", read_facts(tmp_path), {"boot 6.1": 4.2}, PROBES)
    found = tomllib.loads(text)
    assert found["kernel"]["version"] == "6.1-1"
    assert found["workload"] == {
        "name": "command",
        "seed": 9,
        "pages": plan.pages,
        "failed": [],
        "command": plan.command,
        "status": -1,
        "packages": ["x"],
    }
    assert found["guest"]["cpus"] == 4
    assert [line.split()[0] for line in found["trace"]["probes"]] == ["p:pagelab/rmqueue_bulk"]
    assert found["tools"]["lib+x"] == "1:2~3"
    assert found["seconds"]["boot 6.1"] == 4.2
    assert found["contig"] == [{"of": "gigantic", "goal": 1, "reached": 0, "seconds": 1.0}]
    assert found["offline"] == [{"block": 33, "ok": True, "result": "offline", "seconds": 0.35, "online_again": True}]


def test_a_guest_that_wrote_nothing_has_no_facts(tmp_path: Path) -> None:
    facts = read_facts(tmp_path / "none")
    assert (facts.events, facts.lost, facts.online, facts.command_status) == (0, 0, [], None)
