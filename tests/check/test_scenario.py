# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenario files: what they say, and one clear sentence for each impossible one."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from pagelab.check.actors import PROCEDURES
from pagelab.check.kernel_model import applies
from pagelab.check.properties import PROPERTIES
from pagelab.check.scenario import BUNDLED, Scenario, bundled, parse_scenario, scenario_named
from pagelab.errors import BadInput
from pagelab.linux.designs import DESIGNS

GOOD = """
name = "mine"
about = "two threads"
cpus = 2

[zone]
pageblocks = 2
pageblock_order = 1
batch = 1
high = 3

[pages]
allocated = [0, 1]
pcplists = [[], [2]]

[[thread]]
name = "offliner"
cpu = 0
run = "offline_pages"
pageblock = 0

[[thread]]
name = "freer"
cpu = 1
run = "free_page"
page = 0
"""


def edited(*changes: tuple[str, str]) -> str:
    """The good file with parts replaced, each of which has to be there."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def refused(text: str) -> str:
    """What is said about a file, with what to do."""
    with pytest.raises(BadInput) as caught:
        parse_scenario(text, "mine.toml")
    assert caught.value.message.startswith("mine.toml: ")
    assert caught.value.hint, "what to do about it"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read() -> None:
    scenario = parse_scenario(GOOD, "mine.toml")
    assert scenario.zone.pages == 4
    assert scenario.zone.largest == 0
    assert scenario.pages.pcplists == ((), (2,))
    assert [thread.parameters for thread in scenario.threads] == [(0, 1), (0,)]
    assert scenario.bounds() == "2 threads on 2 CPUs, 4 pages in 2 pageblocks, batch 1, high 3"


FREER = 'name = "freer"\ncpu = 1\nrun = "free_page"\npage = 0\n'


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cpus = 2", "cpus = 0"), "cpus is 0. it can be 1 to 4"),
        (("cpu = 1", "cpu = 7"), "thread 'freer' is on CPU 7 of 2. CPUs are 0 to 1"),
        (("cpu = 1", "cpu = -1"), "thread 'freer': cpu is -1"),
        (("pageblock = 0", "pageblock = 2"), "offline_pages means pageblock 2, which the zone does not have"),
        (("pageblock = 0", "pageblock = 0\ncount = 3"), "means pageblocks 0 to 2, which the zone does not have"),
        (("batch = 1", "batch = 1\nlargest = 2"), "a free page of 8 pages is larger than the zone of 4"),
        (("batch = 1", "batch = 1\nlargest = 1"), "means pageblock 0, and a free page of 4 pages could reach across"),
        (
            ("pageblocks = 2\npageblock_order = 1", "pageblocks = 16\npageblock_order = 4"),
            "the zone has 256 pages. take",
        ),
        (("[0, 1]", "[0, 9]"), "pages.allocated names page 9, which is not in the zone. its pages are 0 to 3"),
        (("[0, 1]", "[0, -1]"), "pages.allocated names page -1"),
        (("[0, 1]", "[0, 2]"), "page 2 is in pages.allocated and in pages.pcplists"),
        (("[0, 1]", "[0, 0]"), "pages.allocated names 0 twice"),
        (("allocated", "offline_pageblocks = [0]\nallocated"), "page 0 is in pages.allocated, and its pageblock 0 in"),
        (
            ("allocated", "offline_pageblocks = [4]\nallocated"),
            "pages.offline_pageblocks names 4. pageblocks are 0 to 1",
        ),
        (("[0, 1]", "[0]\nunmovable = [1]"), "in a movable zone each page counts as movable"),
        (("[[], [2]]", "[[], [2], [3]]"), "pages.pcplists has 3 lists for 2 CPUs"),
        (("[[], [2]]", "[[], [2], 3]"), "which is no list of lists"),
        (("[[], [2]]", "[2]"), "which is no list of lists"),
        (("high = 3", "high = 1"), "pages.pcplists gives CPU 1 1 pages, and zone.high is 1"),
        (
            ('"free_page"', '"free_pages"'),
            "run is 'free_pages', and there is no such procedure. did you mean free_page?",
        ),
        (('"free_page"', '"xyz"'), "there is no such procedure. there are free_page, "),
        (("page = 0", "pfn = 0"), "thread 'freer': page is missing. add page = 1"),
        (("page = 0", "pagee = 0"), "thread 'freer': pagee: there is no such key. did you mean page?"),
        (("page = 0\n", "page = 0\ntimes = 2\n"), "thread 'freer': times: there is no such key. free_page takes page"),
        (("page = 0\n", 'page = "0"\n'), "page is '0', which is no whole number"),
        (("page = 0\n", "page = true\n"), "page is true, which is no whole number"),
        (("page = 0\n", "page = 1.5\n"), "page is 1.5, which is no whole number"),
        (("batch = 1", "batch = 0"), "zone.batch is 0. it can be 1 to 31"),
        (("batch = 1", "batch = 500"), "zone.batch is 500. it can be 1 to 31"),
        (("high = 3", "high = 200"), "zone.high is 200. it can be 0 to 127"),
        (("high = 3", "hihg = 3"), "zone.hihg: there is no such key. did you mean high?"),
        (("high = 3", "high = 3\ncolour = 3"), "zone.colour: there is no such key. known are pageblocks, "),
        (
            ("high = 3", 'high = 3\nkind = "movble"'),
            "zone.kind is 'movble', and there is no such kind. did you mean movable?",
        ),
        (("[zone]", "[zones]"), "zones: there is no such key. did you mean zone?"),
        (("[zone]", "[[zone]]"), "which is no table"),
        (('name = "freer"', 'name = "offliner"'), "two threads have the name 'offliner'"),
        (('name = "freer"', 'name = "kworker/0"'), "has the name of a kernel thread"),
        (('name = "freer"', 'name = ""'), "name is ''. give one line of 1 to 24"),
        (('name = "freer"', 'name = "a\\nb"'), "give one line"),
        (('name = "mine"', "name = 5"), "name is 5, which is no text"),
        (('name = "mine"\n', ""), "name is missing"),
        (("[[thread]]", "[[threads]]"), "threads: there is no such key"),
        (("page = 0\n", "page = 3\n"), "thread 'freer' frees page 3, which is not in use at the start"),
        (('"offline_pages"', '"online_pages"'), "brings pageblock 0 online, which is online"),
        (("pageblock = 0", "pageblock = 0\ninterrupt = true"), "is an interrupt and runs offline_pages, which sleeps"),
        (("page = 0", 'page = 0\ninterrupt = "yes"'), "interrupt is 'yes'"),
        (
            ('run = "free_page"\npage = 0', 'run = "signal"\nthread = "nobody"'),
            "thread is 'nobody', and there is no such",
        ),
        (('run = "free_page"\npage = 0', 'run = "signal"\nthread = "freer"'), "where not just one runs offline_pages"),
        (
            ('run = "free_page"\npage = 0', 'run = "cpu_down"\ndown = 0'),
            "takes CPU 0 away, where thread 'offliner' runs",
        ),
        (('run = "free_page"\npage = 0', 'run = "cpu_down"\ndown = 5'), "down is 5. CPUs are 0 to 1"),
        (('run = "free_page"\npage = 0', 'run = "sysctl"\nfraction = 1'), "fraction is 1"),
        (('run = "free_page"\npage = 0', 'run = "allocate_and_free"\ntimes = 0'), "times is 0. it can be 1 to 4"),
        (("[zone]", '[designs]\nneeds = ["pcp_spinlok"]\nreason = "x"\n[zone]'), "did you mean pcp_spinlock?"),
        (("[zone]", '[designs]\nneeds = ["pcp_spinlock"]\n[zone]'), "designs.reason is missing"),
        (("cpus = 2", "cpus = = 2"), "this is not TOML: "),
        ((GOOD, ""), "it is empty"),
        ((GOOD, "# nothing\n"), "it is empty"),
        ((GOOD[GOOD.index("[[thread]]") :], ""), "it has no threads"),
        ((GOOD[GOOD.index("[[thread]]") :], "[thread]\nname = 1"), "thread is no list of tables"),
        ((GOOD[GOOD.index("[[thread]]") :], "[[thread]]\n" * 9), "it has 9 threads. at most 8"),
        (
            (f"[[thread]]\n{FREER}", f"[[thread]]\n{FREER}[[thread]]\n{FREER}".replace("freer", "a", 1)),
            "both free page 0",
        ),
    ],
)
def test_an_impossible_file_gives_one_sentence(change: tuple[str, str], says: str) -> None:
    assert says in refused(edited(change))


def test_two_threads_cannot_take_one_pageblock_offline() -> None:
    again = '[[thread]]\nname = "again"\ncpu = 1\nrun = "offline_pages"\npageblock = 0\n'
    assert "'offliner' and 'again' both want pageblock 0" in refused(GOOD + again)


def test_a_pageblock_that_is_offline_does_not_go_offline() -> None:
    text = edited(("allocated = [0, 1]", "offline_pageblocks = [0]"), (f"[[thread]]\n{FREER}", ""))
    assert "takes pageblock 0 offline, which is offline" in refused(text)


# ---- where they come from


@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_scenario_has_its_name_and_fits_a_line(name: str) -> None:
    scenario = scenario_named(name)
    assert scenario.name == name
    assert len(scenario.about) <= 100
    assert scenario.about[0].islower() or scenario.about.startswith(("CPU ", "vm."))
    assert any(applies(scenario, design) for design in DESIGNS)


def test_no_bundled_file_is_left_out() -> None:
    there = {entry.name for entry in (files("pagelab.check") / "scenarios").iterdir()}
    assert there == {f"{name}.toml" for name in BUNDLED}


def test_bundled_scenarios_cover_what_they_have_to() -> None:
    scenarios = [scenario_named(name) for name in BUNDLED]
    assert {s.zone.pageblocks for s in scenarios} == {1, 2, 3}
    assert {1 << s.zone.pageblock_order for s in scenarios} == {2, 4}
    assert {s.zone.batch for s in scenarios} == {1, 2, 3}
    assert {s.zone.high for s in scenarios} >= {2, 3, 4, 6}
    assert {thread.run for s in scenarios for thread in s.threads} == set(PROCEDURES)
    assert any(thread.interrupt for s in scenarios for thread in s.threads)


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert scenario_named(str(path)).name == "mine"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="this is not text"):
        scenario_named(str(path))
    with pytest.raises(BadInput, match="there is no such file"):
        scenario_named(str(tmp_path / "other.toml"))
    with pytest.raises(BadInput, match="this is a directory"):
        scenario_named(f"{tmp_path}/")


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(BadInput, match=r"there is no scenario 'offline-fre'.*did you mean offline-free\?"):
        scenario_named("offline-fre")


def test_a_scenario_may_be_for_some_designs_only() -> None:
    text = edited(("[zone]", '[designs]\nneeds = ["pcp_spinlock"]\nreason = "it is about pcp->lock"\n[zone]'))
    scenario: Scenario = parse_scenario(text, "mine.toml")
    assert [applies(scenario, design) for design in ("5.11", "6.1")] == [False, True]


def test_the_files_can_be_read_by_others() -> None:
    content: dict[str, Any] = tomllib.loads(bundled("offline-free").read_text("utf-8"))
    assert content["thread"][1]["run"] == "free_page"


def test_the_reference_names_them_all() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/scenarios.md").read_text("utf-8")
    for name in BUNDLED:
        assert f"| `{name}` | {scenario_named(name).about} |" in text
    for name, procedure in PROCEDURES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"`{parameter}`" in row for parameter in procedure.parameters)


def test_the_example_of_the_reference_is_good() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/scenarios.md").read_text("utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    assert parse_scenario(example, "mine.toml").pages.pcplists == ((), (3,))


def test_the_commands_in_the_docs_name_what_there_is() -> None:
    text = (Path(__file__).parents[2] / "docs/explanation/verdicts.md").read_text("utf-8")
    commands = [line.split("#")[0].split()[2:] for line in text.splitlines() if line.startswith("pagelab check ")]
    assert len(commands) > 8
    for design, *options in commands:
        given = dict(zip(options[::2], options[1::2], strict=True))
        assert applies(scenario_named(given.pop("--scenario")), design)
        assert given.get("--property", "P1") in {one.name for one in PROPERTIES}
