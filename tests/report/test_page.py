# SPDX-License-Identifier: GPL-2.0-or-later
"""The page holds every state, loads nothing, takes no text for HTML, and is there as a whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pagelab.check.counterexample import Told
from pagelab.errors import BadInput, MissingTool
from pagelab.lang.stepped import Thread
from pagelab.report.case import Case
from pagelab.report.page import page, write_page
from pagelab.report.page_data import data_of
from tests.conftest import Pagelab
from tests.report import models
from tests.report.conftest import tiny_case

VOID = {"meta", "br", "link", "input", "hr", "img"}
NASTY = "</script><script>alert('x')</script>&<b>"


class Reader(HTMLParser):
    """Checks that elements are closed in order; collects attributes, text by element, scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def data_in(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(read(text).scripts[0])
    return found


def test_the_page_has_every_state_of_the_system(race: tuple[Told, Case]) -> None:
    told, case = race
    (data,) = data_in(page([case]))
    assert len(data["states"]) == len(data["steps"]) + 1 == len(told.schedule.steps) + 1
    state = told.initial.copy()
    for k, values in enumerate(data["states"]):
        at = 0
        for table in data["tables"]:
            (laid,) = (one for one in told.system.layout.tables if one.name == table["name"])
            rows = told.system.rows(laid, state).reshape(-1)
            for row in rows:
                for field in table["fields"]:
                    assert values[at] == int(row[field["name"]]), (k, table["name"], field["name"])
                    at += 1
        assert values[at:] == [int(state[told.system.layout.bytes + cpu]) for cpu in range(told.system.cpus)]
        if k < len(told.schedule.steps):
            told.system.step(state, *told.schedule.steps[k])


def test_the_steps_lead_from_each_state_to_the_next(race: tuple[Told, Case]) -> None:
    (data,) = data_in(page([race[1]]))
    for step, before, after in zip(data["steps"], data["states"], data["states"][1:], strict=False):
        now = list(before)
        for cell, old, new in step["changes"]:
            assert now[cell] == old
            now[cell] = new
        assert now == after
    assert [(step["thread"], step["choice"]) for step in data["steps"]] == list(race[0].schedule.steps)


def test_all_steps_and_the_story_are_there_without_scripts(race: tuple[Told, Case]) -> None:
    case = race[1]
    reader = read(page([case]))
    numbers = [value for tag, name, value in reader.attributes if (tag, name) == ("tr", "data-step")]
    assert numbers == [str(step.number) for step in case.trail.steps]
    for step in case.trail.steps:
        assert case.words.effect(step) in reader.text
        assert step.told.function in reader.text
    assert case.story.text in reader.text
    assert "no stray pages on pcplists in zones where isolation happens" in reader.text
    for name, value in case.title.label.items():
        assert name in reader.text
        assert value in reader.text


def test_where_each_thread_stands_is_in_the_source(race: tuple[Told, Case]) -> None:
    (data,) = data_in(page([race[1]]))
    for step, before in zip(data["steps"], data["standing"], strict=False):
        inner = data["places"][before[step["thread"]]][-1]
        assert (inner["function"], inner["line"]) == (step["function"], step["line"])
        source = data["sources"][inner["source"]]
        assert 0 <= inner["line"] - source["first"] < len(source["lines"])
    assert data["standing"][-1][1] == -1, "the freer has ended"
    assert data["waits"][-1][1] == "has ended"


def test_nothing_is_loaded_from_anywhere(race: tuple[Told, Case]) -> None:
    text = page([race[1]])
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|<link|<img|<iframe|\bimport\(|fetch\(|XMLHttp", text)
    assert not [value for _, name, value in read(text).attributes if name in ("src", "srcset")]
    links = [value for _, name, value in read(text).attributes if name == "href"]
    assert links
    assert all(link.startswith("#") for link in links)


def test_text_is_never_taken_for_html(race: tuple[Told, Case]) -> None:
    case = replace(race[1], title=replace(race[1].title, scenario=NASTY, said=NASTY, label={NASTY: NASTY}))
    text = page([case])
    reader = read(text)
    assert len(reader.scripts) == 2
    assert data_in(text)[0]["scenario"] == NASTY
    assert "alert" not in reader.scripts[1]
    assert reader.text.count(NASTY) >= 4


def test_names_of_threads_are_only_text() -> None:
    case = tiny_case([Thread(f"waiter{NASTY}", models.wait_for_value)])[1]
    reader = read(page([case]))
    assert len(reader.scripts) == 2
    assert f"waiter{NASTY} waits until" in reader.text


def test_a_model_that_is_not_the_kernels_is_drawn_as_tables() -> None:
    threads = [Thread("setter", models.set_value), Thread("looker", models.see_no_value)]
    (data,) = data_in(page([tiny_case(threads, cpus=1)[1]]))
    assert data["kernel"] is None
    assert [table["name"] for table in data["tables"]] == ["shared"]


def test_an_initial_state_that_is_bad_already_has_no_steps() -> None:
    case = tiny_case([Thread("adder", models.add)], [models.value_is_one])[1]
    assert case.story.text == "value_is_one() does not hold."
    (data,) = data_in(page([case]))
    assert (len(data["states"]), data["steps"]) == (1, [])


def test_several_counterexamples_share_a_page(race: tuple[Told, Case]) -> None:
    other = tiny_case([Thread("waiter", models.wait_for_value)])[1]
    text = page([race[1], other])
    assert [one["design"] for one in data_in(text)] == ["5.9-rc5", "tiny"]
    reader = read(text)
    assert [value for tag, name, value in reader.attributes if (tag, name) == ("option", "value")] == ["0", "1"]
    assert "2 counterexamples" in reader.text


def test_a_run_that_goes_round_says_from_where(endless: tuple[Told, Case]) -> None:
    told, case = endless
    text = page([case])
    assert data_in(text)[0]["repeats_from"] == told.repeats_from
    assert data_in(text)[0]["states"][-1] == data_in(text)[0]["states"][told.repeats_from]
    assert text.count('<tr class="repeats">') == 2


# ---- the file


def test_a_page_is_written_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_page(file, "new")
    assert file.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MissingTool, match="No space left on device") as error:
        write_page(file, "new")
    assert error.value.status == 3
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("name", "says"), [("no/page.html", "there is no directory"), (".", "this is a directory")])
def test_a_path_that_cannot_be_written_is_bad_input(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        write_page(tmp_path / name, "new")


def test_the_command_writes_a_page(run_pagelab: Pagelab, tmp_path: Path) -> None:
    file = tmp_path / "race.html"
    done = run_pagelab(
        "check", "5.9-rc5", "--scenario", "offline-free", "--property", "stray", "--html", file, "--json"
    )
    assert done.returncode == 1
    (document,) = json.loads(done.stdout)
    (data,) = data_in(file.read_text())
    assert [step["effect"] for step in data["steps"]] != []
    assert len(data["steps"]) == len(document["counterexample"]["steps"])
    assert str(file) in done.stderr


def test_the_command_says_in_a_sentence_that_it_cannot_write(run_pagelab: Pagelab, tmp_path: Path) -> None:
    file = tmp_path / "none" / "race.html"
    done = run_pagelab("check", "5.9-rc5", "--scenario", "offline-free", "--property", "stray", "--html", file)
    assert done.returncode == 2
    assert "there is no directory" in done.stderr
    assert "Traceback" not in done.stderr


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_data_is_what_json_can_hold(race: tuple[Told, Case]) -> None:
    assert json.loads(json.dumps(data_of(race[1])))["kernel"]["page_states"]["2"] == "ON_PCPLIST"
