# SPDX-License-Identifier: GPL-2.0-or-later
"""Counterexamples as one HTML file that works offline: each can be stepped through, with the zone drawn at each step.

All text and all steps are in the HTML itself; the states are in it as JSON, and the drawing is done by the scripts.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import msgspec

from pagelab import __version__
from pagelab.errors import BadInput, MissingTool
from pagelab.report.page_data import data_of

if TYPE_CHECKING:
    from pagelab.report.case import Case

KEYS = "Keys: ← and → go one step back and on, p and n to the step before or after that matters."


def page(cases: Sequence[Case]) -> str:
    """The page of one or more counterexamples."""
    return page_of([data_of(case) for case in cases])


def page_of(data: Sequence[dict[str, Any]]) -> str:
    """The same, from what :func:`~pagelab.report.page_data.data_of` gave: it may have to be asked case by case."""
    parts = files("pagelab.report")
    title = _name(data[0]) if len(data) == 1 else f"{len(data)} counterexamples"
    return Template((parts / "page.html").read_text()).substitute(
        title=escape(title),
        version=escape(__version__),
        style=(parts / "page.css").read_text(),
        choice=_choice(data),
        cases="\n".join(_section(number, one) for number, one in enumerate(data)),
        keys=escape(KEYS),
        data=_json(data),
        script="\n".join((parts / name).read_text() for name in ("view.js", "zone.js", "page.js")),
    )


def check_path(path: Path) -> None:
    """Find out early what can be known early.

    :raises BadInput: if no file can be written there.
    """
    folder = path.parent
    if not folder.is_dir():
        raise BadInput(f"{path}: there is no directory {folder}", "create it first")
    if path.is_dir():
        raise BadInput(f"{path}: this is a directory", "name a file in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: it must not be written", "name a file in a directory of your own")


def write_page(path: Path, text: str) -> None:
    """Write a file so that at no time there is half of it.

    :raises BadInput: if there is no such directory, or it must not be written to.
    :raises MissingTool: if the disk is full.
    """
    check_path(path)
    folder = path.parent
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=folder, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except PermissionError:
        raise BadInput(f"{path}: it must not be written", "name a file in a directory of your own") from None
    except OSError as error:
        raise MissingTool(
            f"{path}: it cannot be written: {error.strerror or error}", "make room, or name another file"
        ) from None
    finally:
        Path(temporary).unlink(missing_ok=True) if temporary else None


def _json(data: Sequence[dict[str, Any]]) -> str:
    """JSON that may stand in a script element: it cannot end it."""
    text = msgspec.json.encode(data).decode()
    return re.sub(r"[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _name(one: dict[str, Any]) -> str:
    return "  ".join(part for part in (one["design"], one["scenario"], one["property"]) if part)


def _choice(data: Sequence[dict[str, Any]]) -> str:
    if len(data) == 1:
        return ""
    options = "".join(
        f'<option value="{number}">{escape(_name(one))}: {len(one["steps"])} steps</option>'
        for number, one in enumerate(data)
    )
    return f'<label>Counterexample <select id="chosen">{options}</select></label>'


def _section(number: int, one: dict[str, Any]) -> str:
    """A counterexample: what is violated, the story, what the verdict rests on, room for the drawing, all steps."""
    label = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in one["label"].items() if value)
    story = re.sub(r"\((\d+)\)", rf'(<a href="#case={number}&amp;step=\1" data-step="\1">\1</a>)', escape(one["story"]))
    return f"""<section class="case" id="case-{number}" data-case="{number}" aria-label="{escape(_name(one))}">
<h2><span class="verdict">violated</span> {escape(one["property"])} <span>{escape(one["said"])}</span></h2>
<p class="story">{story}</p>
<details class="label"><summary>What this verdict rests on</summary><dl>{label}</dl></details>
<div class="drawing" hidden></div>
{_steps(number, one)}
</section>"""


# ---- the table of steps


def _steps(number: int, one: dict[str, Any]) -> str:
    taking_part = sorted({step["thread"] for step in one["steps"]}, key=lambda t: (one["threads"][t]["cpu"], t))
    heads = "".join(
        f'<th class="lane" scope="col" style="min-width:{_lane_width(one, t)}px"><span>{_thread(one, t)}</span></th>'
        for t in taking_part
    )
    lines, before = [], None
    for step in one["steps"]:
        if step["turn"]:
            lines.append(_rule(len(taking_part), step["turn"], "preempted" if step["preempted"] else "turn"))
        if step["step"] - 1 == one["repeats_from"]:
            lines.append(_rule(len(taking_part), "from here on it repeats", "repeats"))
        lines.append(_step(number, one, step, before, taking_part))
        before = step
    if one["repeats_from"] >= 0:
        lines.append(_rule(len(taking_part), f"and so on, with step {one['repeats_from'] + 1}", "repeats"))
    return f"""<div class="steps" tabindex="0" aria-label="All steps"><table>
<thead><tr><th scope="col">step</th>{heads}<th scope="col">what it did</th></tr></thead>
<tbody>
{chr(10).join(lines)}
</tbody></table></div>"""


def _thread(one: dict[str, Any], thread: int) -> str:
    named = one["threads"][thread]
    return escape(f"CPU {named['cpu']} · {named['name']}" if named["cpu"] >= 0 else named["name"])


def _lane_width(one: dict[str, Any], thread: int) -> int:
    """Room for as many bars as a thread has side by side, and the line that says that it runs."""
    slots = 1 + max((bar["slot"] for bar in one["held"] if bar["thread"] == thread), default=-1)
    return 16 + 8 * slots


def _rule(lanes: int, words: str, kind: str) -> str:
    return f'<tr class="{kind}"><td colspan="{lanes + 2}">{escape(words)}</td></tr>'


def _step(number: int, one: dict[str, Any], step: dict[str, Any], before: Any, taking_part: Sequence[int]) -> str:
    same = (
        before is not None
        and not step["turn"]
        and (before["function"], before["file"]) == (step["function"], step["file"])
    )
    function = "" if same else f"<b>{escape(step['function'])}()</b> <small>{escape(step['file'])}</small><br>"
    notes = "".join(f'<span class="why {point["role"]}">{escape(point["note"])}</span>' for point in step["points"])
    effect = f'<span class="effect">{escape(step["effect"])}</span>' if step["effect"] else ""
    lanes = "".join(_lane(one, step, thread) for thread in taking_part)
    matters = ' class="matters"' if step["points"] else ""
    k = step["step"]
    link = f'<a href="#case={number}&amp;step={k}" data-step="{k}">{k}</a>'
    source = f'<span class="line">{step["line"]}</span> <code>{escape(step["source"])}</code>'
    return (
        f'<tr{matters} data-step="{k}"><th scope="row">{link}</th>{lanes}'
        f'<td class="what">{function}<span class="at">{source}</span>{effect}{notes}</td></tr>'
    )


def _lane(one: dict[str, Any], step: dict[str, Any], thread: int) -> str:
    k = step["step"]
    marks = []
    irqs = len(one["states"][0]) - one["cpus"]
    for bar in one["held"]:
        if bar["thread"] == thread and bar["from"] <= k <= bar["to"]:
            kind = "irqs" if bar["cell"] >= irqs else "lock"
            ends = " begins" * (bar["from"] == k) + " ends" * (bar["to"] == k)
            marks.append(f'<i class="{kind} slot{bar["slot"]}{ends}"></i>')
    if step["thread"] == thread:
        marks.append('<i class="runs"></i>')
    return f'<td class="lane">{"".join(marks)}</td>'
