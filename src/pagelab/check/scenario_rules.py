# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario must not say, though each of its fields is fine by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pagelab.check.actors import PROCEDURES
from pagelab.check.scenario_fields import Problem

if TYPE_CHECKING:
    from pagelab.check.scenario import Runner, Scenario, SmallZone


def check_rules(scenario: Scenario) -> None:
    """:raises Problem: for the first rule that is broken."""
    check_pages(scenario)
    check_threads(scenario)
    for thread in scenario.threads:
        check_thread(scenario, thread)
    check_frees(scenario)
    check_pageblocks(scenario)


def check_pages(scenario: Scenario) -> None:
    """Each page is one thing at the start."""
    zone, pages = scenario.zone, scenario.pages
    for block in pages.offline:
        if not 0 <= block < zone.pageblocks:
            raise Problem(f"pages.offline_pageblocks names {block}", f"pageblocks are {until(zone.pageblocks)}")
    gone = {page for block in pages.offline for page in pages_of(zone, block)}
    seen: dict[int, str] = {}
    for field, page in named_pages(scenario):
        if not 0 <= page < zone.pages:
            raise Problem(f"{field} names page {page}, which is not in the zone", f"its pages are {until(zone.pages)}")
        if page in gone:
            block = page >> zone.pageblock_order
            raise Problem(
                f"page {page} is in {field}, and its pageblock {block} in pages.offline_pageblocks",
                "a page that is offline is nothing else: leave one of them out",
            )
        if page in seen:
            raise Problem(f"page {page} is in {seen[page]} and in {field}", "leave it out of one of them")
        seen[page] = field
    if pages.unmovable and zone.movable:
        raise Problem(
            "pages.unmovable names pages, and in a movable zone each page counts as movable",
            'set zone.kind = "normal", or leave pages.unmovable out',
        )
    for owner, pcplist in enumerate(pages.pcplists):
        if pcplist and len(pcplist) >= zone.high:
            raise Problem(
                f"pages.pcplists gives CPU {owner} {len(pcplist)} pages, and zone.high is {zone.high}",
                "a pcplist is shortened when it reaches high: take a larger high, or fewer pages",
            )


def named_pages(scenario: Scenario) -> Iterator[tuple[str, int]]:
    """The pages that have a place at the start, with the field that says so."""
    pages = scenario.pages
    for field, some in (("pages.allocated", pages.allocated), ("pages.unmovable", pages.unmovable)):
        for page in some:
            yield field, page
    for pcplist in pages.pcplists:
        for page in pcplist:
            yield "pages.pcplists", page


def until(count: int) -> str:
    """The numbers below ``count``."""
    return f"0 to {count - 1}"


def pages_of(zone: SmallZone, block: int) -> range:
    """The pages of a pageblock."""
    return range(block << zone.pageblock_order, (block + 1) << zone.pageblock_order)


def check_threads(scenario: Scenario) -> None:
    """Threads are told apart by their names, and nothing runs where a CPU goes away."""
    names = [thread.name for thread in scenario.threads]
    for name in names:
        if names.count(name) > 1:
            raise Problem(f"two threads have the name {name!r}", "give each a name of its own")
        if name.startswith("kworker/"):
            raise Problem(
                f"thread {name!r} has the name of a kernel thread", "choose another: kworkers are added where needed"
            )
    for thread in scenario.threads:
        if thread.run != "cpu_down":
            continue
        (down,) = thread.parameters
        if down >= scenario.cpus:
            raise Problem(f"thread {thread.name!r}: down is {down}", f"CPUs are {until(scenario.cpus)}")
        for other in scenario.threads:
            if other.cpu == down:
                raise Problem(
                    f"thread {thread.name!r} takes CPU {down} away, where thread {other.name!r} runs",
                    "let it run on another CPU",
                )


def check_thread(scenario: Scenario, thread: Runner) -> None:
    """The parameters are of this zone, and the procedure can run as it is asked to."""
    zone = scenario.zone
    procedure = PROCEDURES[thread.run]
    if thread.interrupt and procedure.sleeps:
        raise Problem(
            f"thread {thread.name!r} is an interrupt and runs {thread.run}, which sleeps", "leave out interrupt = true"
        )
    given = dict(zip(procedure.parameters, thread.parameters, strict=True))
    for kind, size in (("page", zone.pages), ("pageblock", zone.pageblocks)):
        if kind in given:
            first, count = given[kind], given.get("count", 1)
            if first + count > size:
                which = f"{kind} {first}" if count == 1 else f"{kind}s {first} to {first + count - 1}"
                raise Problem(
                    f"thread {thread.name!r}: {thread.run} means {which}, which the zone does not have",
                    f"its {kind}s are {until(size)}",
                )
    if thread.run == "allocate_and_free" and not 1 <= given["times"] <= 4:
        raise Problem(f"thread {thread.name!r}: times is {given['times']}", "it can be 1 to 4")
    if thread.run == "sysctl" and given["fraction"] == 1:
        raise Problem(f"thread {thread.name!r}: fraction is 1", "0 means none; otherwise it is 2 or more")
    if thread.run == "signal":
        check_signal(scenario, thread)
    if thread.run == "free_list" and given["count"] > 4:
        raise Problem(f"thread {thread.name!r}: count is {given['count']}", "a list can have 1 to 4 pages")


def check_signal(scenario: Scenario, thread: Runner) -> None:
    """Only who takes memory offline looks for signals; the model knows him by his CPU."""
    (cpu,) = thread.parameters
    targets = [one for one in scenario.threads if one.cpu == cpu and one.run == "offline_pages"]
    if len(targets) != 1:
        raise Problem(
            f"thread {thread.name!r} signals a thread on CPU {cpu}, where not just one runs offline_pages",
            "name a thread that runs offline_pages, the only one on its CPU",
        )


def check_frees(scenario: Scenario) -> None:
    """Each page is freed once, by whoever has it."""
    freed: dict[int, str] = {}
    used = {*scenario.pages.allocated, *scenario.pages.unmovable}
    for thread in scenario.threads:
        if thread.run not in ("free_page", "free_list"):
            continue
        first, count = thread.parameters[0], (*thread.parameters, 1)[1]
        for page in range(first, first + count):
            if page not in used:
                raise Problem(
                    f"thread {thread.name!r} frees page {page}, which is not in use at the start",
                    "add it to pages.allocated",
                )
            if page in freed:
                raise Problem(f"threads {freed[page]!r} and {thread.name!r} both free page {page}", "give each its own")
            freed[page] = thread.name


def check_pageblocks(scenario: Scenario) -> None:
    """Memory comes and goes in whole memory blocks, which no free page reaches across the ends of."""
    zone = scenario.zone
    offline = set(scenario.pages.offline)
    taken: dict[int, str] = {}
    for thread in scenario.threads:
        if thread.run not in ("offline_pages", "online_pages"):
            continue
        block, count = thread.parameters
        blocks = range(block, block + count)
        aligned = 1 << zone.largest
        if block % aligned or count % aligned:
            raise Problem(
                f"thread {thread.name!r}: {thread.run} means {called(blocks)}, and a free page of "
                f"{zone.largest_free_page} pages could reach across its end",
                f"set zone.largest = 0, or take pageblocks {aligned} at a time",
            )
        for one in blocks:
            if thread.run == "offline_pages" and one in offline:
                raise Problem(f"thread {thread.name!r} takes pageblock {one} offline, which is offline", "take another")
            if thread.run == "online_pages" and one not in offline:
                raise Problem(
                    f"thread {thread.name!r} brings pageblock {one} online, which is online",
                    "add it to pages.offline_pageblocks",
                )
            if one in taken:
                raise Problem(
                    f"threads {taken[one]!r} and {thread.name!r} both want pageblock {one}", "give each its own"
                )
            taken[one] = thread.name


def called(blocks: range) -> str:
    """Pageblocks in a row."""
    if len(blocks) == 1:
        return f"pageblock {blocks[0]}"
    return f"pageblocks {blocks[0]} to {blocks[-1]}"
