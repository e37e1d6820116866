# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest said about its run, and capture.toml made from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagelab.guest.room import base_mib

if TYPE_CHECKING:
    from pagelab.guest.apt import Tree
    from pagelab.guest.kernels import Kernel
    from pagelab.guest.probes import Probe
    from pagelab.guest.record import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """Read from the files under facts and tracing that the guest wrote (init.sh)."""

    events: int
    lost: int
    probes_placed: list[str]
    probes_missing: list[str]
    probes_missed: dict[str, int]
    events_missing: list[str]
    sysctls: dict[str, str]
    online: list[int]
    offline: list[dict[str, Any]]
    online_again: list[int]
    contig: list[dict[str, Any]]
    command_status: int | None
    work_failed: list[str]


def read_facts(directory: Path) -> Facts:
    """Files that are not there count as empty."""

    def lines(name: str) -> list[str]:
        path = directory / "facts" / name
        return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []

    events = lost = 0
    for stats in directory.glob("tracing/per_cpu/*/stats"):
        counts = dict(re.findall(r"(?m)^([\w ]+): (\d+)$", stats.read_text("ascii", "replace")))
        events += int(counts.get("entries", 0))
        lost += sum(int(counts.get(key, 0)) for key in ("overrun", "commit overrun", "dropped events"))
    missed: dict[str, int] = {}
    for line in lines("kprobe_profile"):
        words = line.split()
        if len(words) == 3 and int(words[2]):
            missed[words[0]] = int(words[2])
    status = lines("command_status")
    return Facts(
        events=events,
        lost=lost,
        probes_placed=lines("probes_placed"),
        probes_missing=[line for line in lines("probes_missing") if re.fullmatch(r"\w+", line)],
        probes_missed=missed,
        events_missing=lines("events_missing"),
        sysctls=dict(line.split(" ", 1) for line in lines("sysctl") if " " in line),
        online=[int(line) for line in lines("online")],
        offline=[_offline(line) for line in lines("offline")],
        online_again=[int(line) for line in lines("online_again")],
        contig=[_contig(line) for line in lines("contig")],
        command_status=int(status[0]) if status else None,
        work_failed=lines("work_failed"),
    )


def _offline(line: str) -> dict[str, Any]:
    """``BLOCK STATUS START END WHY...`` of init.sh; times are seconds of the guest's uptime."""
    words = line.split()
    result = "offline" if words[1] == "0" else " ".join(words[4:]) or f"exit status {words[1]}"
    seconds = round(float(words[3]) - float(words[2]), 2)
    return {"block": int(words[0]), "ok": words[1] == "0", "result": result, "seconds": seconds}


def _contig(line: str) -> dict[str, Any]:
    """``OF GOAL REACHED START END`` of init.sh: huge pages of 1 GiB, or KiB of the virtio-mem device."""
    of, goal, reached, start, end = line.split()
    seconds = round(float(end) - float(start), 2)
    return {"of": of, "goal": int(goal), "reached": int(reached), "seconds": seconds}


def capture_toml(
    plan: Plan,
    kernel: Kernel,
    tools: Tree,
    extra: Tree | None,
    accelerator: str,
    qemu: str,
    facts: Facts,
    steps: Mapping[str, float],
    wanted: Sequence[Probe],
) -> str:
    """The text of capture.toml."""
    placed = [probe.definition() for probe in wanted if probe.name in facts.probes_placed]
    tables: dict[str, dict[str, Any]] = {
        "kernel": {
            "name": kernel.name,
            "release": kernel.release,
            "package": kernel.package,
            "version": kernel.version,
            "suite": kernel.suite,
        },
        "guest": {
            "accelerator": accelerator,
            "qemu": qemu,
            "cpus": plan.cpus,
            "base_mib": base_mib(plan.cpus, plan.pages),
            "memory_mib": plan.memory_mib,
            "zone": plan.zone,
            "blocks": facts.online,
            "transparent_hugepage": plan.thp,
            "virtio_mem": plan.virtio_mem_mib > 0,
        },
        "workload": {
            "name": "command" if plan.command else plan.workload,
            "seed": plan.seed,
            "pages": plan.pages,
            "failed": facts.work_failed,
        },
        "trace": {
            "clock": plan.clock,
            "events": facts.events,
            "lost": facts.lost,
            "events_missing": facts.events_missing,
            "probes": placed,
            "probes_missing": facts.probes_missing,
            "probes_missed": facts.probes_missed,
        },
        "sysctl": dict(facts.sysctls),
        "tools": dict(tools.versions),
        "seconds": dict(steps),
    }
    if plan.command:
        status = -1 if facts.command_status is None else facts.command_status
        tables["workload"] |= {"command": plan.command, "status": status, "packages": list(plan.packages)}
    if extra is not None:
        tables["packages"] = dict(extra.versions)
    parts = [table(name, pairs) for name, pairs in tables.items()]
    for offline in facts.offline:
        again = offline["block"] in facts.online_again
        parts.append("[[offline]]\n" + "".join(_pairs({**offline, "online_again": again})))
    parts += ["[[contig]]\n" + "".join(_pairs(contig)) for contig in facts.contig]
    return "\n".join(parts)


def table(name: str, pairs: Mapping[str, Any]) -> str:
    """A table of TOML."""
    return f"[{name}]\n" + "".join(_pairs(pairs))


def _pairs(pairs: Mapping[str, Any]) -> Iterable[str]:
    for key, value in pairs.items():
        name = key if re.fullmatch(r"[\w-]+", key) else _value(key)
        yield f"{name} = {_value(value)}\n"


def _value(value: Any) -> str:
    """A TOML value; the standard library reads TOML but does not write it, and this file needs only these types."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(str(k))} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        if len(value) > 6 and all(isinstance(item, str) for item in value):
            return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
        return "[" + ", ".join(_value(item) for item in value) + "]"
    escaped = re.sub(r'[\\"]', r"\\\g<0>", str(value))
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
