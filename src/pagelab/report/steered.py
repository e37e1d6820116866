# SPDX-License-Identifier: GPL-2.0-or-later
"""Steered runs as one HTML file that works offline: what the checker said, what the kernel did, where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pagelab import __version__
from pagelab.steer.force import document

if TYPE_CHECKING:
    from pagelab.check.counterexample import Step
    from pagelab.steer.force import Forced


def page_of(done: Sequence[tuple[dict[str, Any], Forced]]) -> str:
    """The page of one or more counterexamples, each an element of ``check --json`` with what came of it."""
    parts = files("pagelab.report")
    style = (parts / "page.css").read_text() + (parts / "steered.css").read_text()
    first = done[0][1]
    title = (
        f"{first.case.design}  {first.case.scenario.name}  {first.case.property.name}  on kernel {first.kernel}"
        if len(done) == 1
        else f"{len(done)} counterexamples on kernel {first.kernel}"
    )
    sections = "\n".join(_section(element, forced) for element, forced in done)
    return f"""<!DOCTYPE html>
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="pagelab {escape(__version__)}">
<title>{escape(title)}</title>
<style>
{style}
</style>
</head>
<body>
<header><h1>{escape(title)}</h1></header>
<main>
{sections}
</main>
<footer><p>Made by pagelab {escape(__version__)}.</p></footer>
</body>
</html>
"""


def _section(element: dict[str, Any], forced: Forced) -> str:
    told = document(forced)
    outcome = str(told["outcome"])
    times = f"{told['reproduced']} of {told['times']} times" if told["times"] > 1 else ""
    release = f"kernel {forced.kernel}" + (f" ({told['release']})" if told["release"] else "")
    name = f"{told['design']}  {told['scenario']}  {told['property']}"
    return f"""<section aria-label="{escape(name)}">
<h2><span class="verdict {outcome.replace(" ", "-")}">{escape(outcome)}</span> {escape(times)} {escape(name)}
<span>{escape(told["words"])}</span></h2>
<p class="story">{escape(told["reason"])}</p>
{_label(element, told, release)}
{_moves(forced, told)}
{_reasons(told)}
{_trace(told)}
</section>"""


def _label(element: dict[str, Any], told: dict[str, Any], release: str) -> str:
    steps = len((element.get("counterexample") or {}).get("steps", ()))
    facts = {
        "the checker": f"{steps} steps to the violation, of {element.get('states', 0):,} states",
        "the kernel": release,
        "left out": ", ".join(told["left_out"]) and f"{', '.join(told['left_out'])}: the violation does not need it",
    }
    inside = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items() if value)
    return f'<div class="label"><dl>{inside}</dl></div>'


def _moves(forced: Forced, told: dict[str, Any]) -> str:
    if not told["moves"]:
        return ""
    rows = "\n".join(
        _move(number, move, [s for s in forced.planned.steps if move["steps"][0] <= s.step <= move["steps"][1]])
        for number, move in enumerate(told["moves"], 1)
    )
    end = _end(len(told["moves"]) + 1, told)
    return f"""<table class="three">
<thead><tr><th class="number" scope="col"></th><th scope="col">What the checker said</th>
<th scope="col">What the kernel did</th><th scope="col">Where they agree</th></tr></thead>
<tbody>
{rows}
{end}
</tbody></table>"""


def _move(number: int, move: dict[str, Any], steps: Sequence[Step]) -> str:
    said = (
        f"<b>CPU {move['cpu']}</b> runs, the others are held: {escape(move['thread'])} takes {_range(move['steps'])}"
        f"{_items(move['expected'])}{_steps(steps)}"
    )
    if move["reached"] is None:
        return _row(number, said, '<span class="dim">not tried</span>', "", "")
    seconds = f" <small>{move['seconds']:.2f} s</small>"
    if move["reached"]:
        did = f"CPU {move['cpu']} was held at {escape(move['until'])}{seconds}{_items(move['seen'])}"
    else:
        did = f"it was not held at {escape(move['until'])}: {escape(move['words'])}{seconds}{_items(move['seen'])}"
    if not move["reached"]:
        return _row(number, said, did, "differ", "not reached")
    if move["differences"]:
        return _row(number, said, did, "differ", f"other than the checker says:{_items(move['differences'])}")
    return _row(number, said, did, "agree", "the kernel's memory is as the checker says")


def _end(number: int, told: dict[str, Any]) -> str:
    if told["ended"] is None:
        return ""
    did = "all of them ended" if told["ended"] else "they did not all end"
    shown = told["outcome"] == "reproduced"
    words = escape(told["reason"]) if shown else "the violation is not to be seen"
    return _row(number, "<b>All CPUs</b> run on", did, "agree" if shown else "differ", words)


def _row(number: int, said: str, did: str, kind: str, words: str) -> str:
    return (
        f'<tr><th class="number" scope="row">{number}</th><td>{said}</td><td>{did}</td>'
        f'<td class="{kind}">{words}</td></tr>'
    )


def _range(steps: Sequence[int]) -> str:
    first, last = steps
    return f"steps {first} to {last}" if last > first else f"step {first}" if last == first else "no step"


def _items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _steps(steps: Sequence[Step]) -> str:
    """The steps of the model, by function."""
    if not steps:
        return ""
    items = "".join(
        f'<li value="{one.step}">'
        + (f"<b>{escape(function)}()</b><br>" if first else "")
        + f'<code>{escape(one.source)}</code> <span class="effect">{escape(one.effect)}</span></li>'
        for function, group in groupby(steps, key=lambda step: step.function)
        for first, one in ((place == 0, one) for place, one in enumerate(group))
    )
    return f"<details><summary>the steps</summary><ol>{items}</ol></details>"


def _reasons(told: dict[str, Any]) -> str:
    if not told["reasons"]:
        return ""
    return f"<p>What keeps this kernel from the schedule of the checker:</p>{_items(told['reasons'])}"


def _trace(told: dict[str, Any]) -> str:
    if not told["evidence"]:
        return ""
    lines = "\n".join(_marked(line) for line in told["evidence"])
    return f'<h3>From the trace of the kernel</h3><pre class="trace">{lines}</pre>'


def _marked(line: str) -> str:
    matters = "(ISOLATE)" in line or "ret=fail" in line
    return f"<b>{escape(line)}</b>" if matters else escape(line)
