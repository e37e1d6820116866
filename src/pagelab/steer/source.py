# SPDX-License-Identifier: GPL-2.0-or-later
"""Counterexamples to force, from what ``pagelab check --json`` printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pagelab.check.counterexample import schedule_of
from pagelab.check.scenario import scenario_named
from pagelab.errors import BadInput
from pagelab.linux.designs import DESIGNS, design_named
from pagelab.steer.planner import Case, case_named

_HINT = "give it what `pagelab check DESIGN --scenario S --property P --json` prints"


def read_cases(file: str) -> list[tuple[Case, dict[str, Any]]]:
    """The violated verdicts of a file ("-": of stdin), each with its element of the list.

    :raises BadInput: if there is no such file, it is no such document, or nothing in it is violated.
    """
    where = "stdin" if file == "-" else file
    text = sys.stdin.read() if file == "-" else _text(file)
    try:
        content = json.loads(text)
    except ValueError as error:
        what = "is empty" if not text.strip() else f"is no JSON, or not all of it: {error}"
        raise BadInput(f"{where}: this {what}", _HINT) from None
    return cases_of(content, where)


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{file}: there is no such file", _HINT) from None
    except IsADirectoryError:
        raise BadInput(f"{file}: this is a directory", _HINT) from None
    except UnicodeDecodeError:
        raise BadInput(f"{file}: this is not text", _HINT) from None


def cases_of(content: object, where: str) -> list[tuple[Case, dict[str, Any]]]:
    """The violated verdicts of a document that was parsed, a list or one element of it.

    :param where: what to call it in an error.
    :raises BadInput: as :func:`read_cases`.
    """
    some = content if isinstance(content, list) else [content]
    elements: list[dict[str, Any]] = [
        one for one in some if isinstance(one, dict) and {"verdict", "design"} <= set(one)
    ]
    if not elements or len(elements) < len(some):
        raise BadInput(f"{where}: this is no verdict of a check", _HINT)
    violated = [one for one in elements if one["verdict"] == "violated"]
    if not violated:
        verdicts = sorted({str(one["verdict"]) for one in elements})
        raise BadInput(f"{where}: nothing in it is violated ({', '.join(verdicts)})", "only a violation can be forced")
    return [(_case(one, where), one) for one in violated]


def _case(document: Mapping[str, Any], where: str) -> Case:
    design, scenario, name = (document.get(key) for key in ("design", "scenario", "property"))
    if not isinstance(design, str) or not isinstance(name, str):
        raise BadInput(f"{where}: it does not say of which design and property it is", _HINT)
    if not isinstance(scenario, str):
        raise BadInput(f"{where}: this is about a model in a file, which no kernel runs", "check a design instead")
    # `check --json` says the name of a design that is built in; a proposal never was a kernel.
    if not DESIGNS[design_named(design).name].about.startswith("Linux"):
        raise BadInput(
            f"{where}: {design} was proposed and never became a kernel, so there is none to force it on",
            "`pagelab designs` lists the designs; those that begin with a version are kernels",
        )
    case = case_named(design, scenario_named(scenario), name, schedule_of(document, where))
    _check_threads(case, document, where)
    return case


def _check_threads(case: Case, document: Mapping[str, Any], where: str) -> None:
    """Whether the scenario is still the one that was checked."""
    counterexample = document["counterexample"]
    told = [str(one.get("name")) for one in counterexample.get("threads", ()) if not one.get("daemon")]
    now = [one.name for one in case.scenario.threads]
    if told != now:
        raise BadInput(
            f"{where}: its threads are {', '.join(told)}, but those of scenario {case.scenario.name} are "
            f"{', '.join(now)}",
            "check it again with this version of pagelab",
        )
