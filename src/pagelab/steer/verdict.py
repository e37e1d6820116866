# SPDX-License-Identifier: GPL-2.0-or-later
"""What a steered kernel did, against what the model said: reproduced, not reproduced, or not to be forced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pagelab.lang.declare import NIL
from pagelab.steer.evidence import Event
from pagelab.steer.plan import Arrival, Move, PageSeen, Plan, Reason, Seen, Steered, Where


class Outcome(Enum):
    """How it ended.  OPEN: something else came in between, so nothing is known.  PLANNED: no guest was booted."""

    REPRODUCED = "reproduced"
    OTHERWISE = "not reproduced"
    CANNOT = "cannot be forced"
    PLANNED = "planned"
    OPEN = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and what it rests on.

    :param reason: one sentence.
    :param shown: how the kernel shows the violation, in words, "" if it does not.
    :param differences: for each move that was tried, where the kernel was not as the model said.
    """

    outcome: Outcome
    reason: str
    shown: str = ""
    differences: tuple[tuple[str, ...], ...] = ()


def judge(plan: Plan, steered: Steered, events: Sequence[Event] = ()) -> Verdict:
    """The verdict on one steered run.

    :param events: of its trace.
    """
    different = tuple(
        tuple(differences(plan.moves[arrival.move].expected, arrival.seen)) for arrival in steered.arrivals
    )
    shown = violation_shown(plan, steered, events)
    if shown:
        return Verdict(Outcome.REPRODUCED, shown, shown, different)
    failed = next((arrival for arrival in steered.arrivals if not arrival.reached), None)
    if failed is not None:
        outcome, reason = _not_reached(plan, failed)
        return Verdict(outcome, reason, "", different)
    if len(steered.arrivals) < len(plan.moves):
        return Verdict(
            Outcome.OPEN, f"it ended before move {len(steered.arrivals) + 1}: {steered.words}", "", different
        )
    if any(_takes_any_page(plan, move.thread) for move in plan.moves):
        reason = f"{_otherwise(plan, different)}; which page an allocation takes is not to be told to a kernel"
        return Verdict(Outcome.CANNOT, reason, "", different)
    return Verdict(Outcome.OTHERWISE, _otherwise(plan, different), "", different)


def _not_reached(plan: Plan, arrival: Arrival) -> tuple[Outcome, str]:
    move = plan.moves[arrival.move]
    where = f"move {arrival.move + 1} ({move.thread} to {stop_words(move)})"
    if arrival.why is Reason.NEEDED:
        return Outcome.CANNOT, f"{where}: {arrival.words}"
    if arrival.why is Reason.ELSEWHERE and _takes_any_page(plan, move.thread):
        return Outcome.CANNOT, f"{where}: which page an allocation takes is not to be told to a kernel: {arrival.words}"
    if arrival.why is Reason.ELSEWHERE:
        return Outcome.OTHERWISE, f"{where}: the kernel did not come by there: {arrival.words}"
    return Outcome.OPEN, f"{where}: {arrival.why.value if arrival.why else 'it did not arrive'}: {arrival.words}"


def _takes_any_page(plan: Plan, thread: str) -> bool:
    return any(actor.name == thread and actor.run == "allocate_and_free" for actor in plan.actors)


def _otherwise(plan: Plan, different: Sequence[Sequence[str]]) -> str:
    for number, (move, found) in enumerate(zip(plan.moves, different, strict=False), 1):
        if found:
            return f"after move {number} ({move.thread} to {stop_words(move)}) {found[0]}"
    return "the kernel went where the model says, and the violation is not to be seen"


# ---- expected against seen


def differences(expected: Seen, seen: Seen) -> list[str]:
    """Where memory was not as the model said, in words; what was not looked at does not count."""
    found = []
    for page, said in expected.pages.items():
        is_so = seen.pages.get(page)
        if said is not None and is_so is not None and not _same_place(said, is_so):
            found.append(f"page {page} is {page_words(is_so)}, not {page_words(said)}")
    for block, isolated in expected.isolated.items():
        now = seen.isolated.get(block)
        if isolated is not None and now is not None and bool(now) != bool(isolated):
            found.append(f"pageblock {block} is {'' if now else 'not '}isolated")
    missing, there = _uncounted(expected), _uncounted(seen)
    if missing is not None and there is not None and missing != there:
        found.append(f"nr_isolate_pageblock is off by {there:+d}, not by {missing:+d}")
    said_free, free = expected.free_pages, seen.free_pages
    if said_free is not None and free is not None and (said_free != 0) != (free != 0):
        found.append(f"NR_FREE_PAGES is off by {free:+d}, not by {said_free:+d}")
    return found


def _same_place(one: PageSeen, other: PageSeen) -> bool:
    if one.where is not other.where:
        return False
    if one.where is Where.PCPLIST:
        return one.cpu == other.cpu
    return (
        one.where is not Where.BUDDY
        or NIL in (one.migratetype, other.migratetype)
        or (one.migratetype == other.migratetype)
    )


def _uncounted(seen: Seen) -> int | None:
    """By how much the zone's count of isolated pageblocks is too high: the kernel's ranges have more of them."""
    if seen.nr_isolate_pageblock is None or seen.isolated_pageblocks is None:
        return None
    return seen.nr_isolate_pageblock - seen.isolated_pageblocks


# ---- the violation itself


def violation_shown(plan: Plan, steered: Steered, events: Sequence[Event]) -> str:
    """How the kernel's memory or trace shows that the property does not hold, "" if it does not show it.

    A state counts where the model says that it breaks the property: on the way there it may look the same and be in
    order, as a page on a pcplist is that nobody has drained yet.
    """
    reached = [arrival for arrival in steered.arrivals if arrival.reached]
    if plan.property == "P5":
        if steered.ended or len(reached) < len(plan.moves) or differences(plan.moves[-1].expected, reached[-1].seen):
            return ""
        late = [part for part in steered.words.split("; ") if "did not end" in part] or [steered.words]
        tests = sum(event.kind == "test" and not event.good for event in events)
        failed = f"; test_pages_isolated() failed {tests} times" if tests else ""
        return f"offlining does not end: {late[0]}{failed}"
    if plan.property == "bug":
        said = [arrival.words for arrival in steered.arrivals if arrival.why is Reason.PANIC]
        said += [part for part in steered.words.split("; ") if "BUG" in part]
        return f"the kernel says: {said[0]}" if said else ""
    if plan.property == "P4":
        return _tested_wrongly(plan, steered, events)
    shows = {"stray": _stray, "P2": _miscounted_pages, "P6": _not_empty, "P7": _miscounted_pageblocks}
    if plan.property not in shows:
        return ""
    show = shows[plan.property]
    for arrival in reached:
        words = show(plan, arrival.seen) if show(plan, plan.moves[arrival.move].expected) else ""
        if words:
            return f"after move {arrival.move + 1} {words}"
    if plan.property in ("P2", "P7"):  # at rest nothing excuses a wrong count
        words = show(plan, steered.final)
        return f"at the end {words}" if words else ""
    return _came_back(events) if plan.property == "stray" else ""


def _came_back(events: Sequence[Event]) -> str:
    """A page of the scenario that a test of its isolated range missed, and that came from a pcplist afterwards."""
    tested = False
    for event in events:
        tested = tested or (event.kind == "test" and not event.good)
        if tested and event.kind == "drained isolated" and "of the scenario" in event.words:
            return f"a test of the isolated range failed, and then a pcplist gave a page of it back ({event.words})"
    return ""


def _stray(plan: Plan, seen: Seen) -> str:
    for page, where in seen.pages.items():
        block = page >> plan.pageblock_order
        if where is not None and where.where is Where.PCPLIST and seen.isolated.get(block):
            return f"page {page} is on a pcplist of CPU {where.cpu}, and its pageblock {block} is isolated"
    return ""


def _miscounted_pages(plan: Plan, seen: Seen) -> str:
    return f"NR_FREE_PAGES is off by {seen.free_pages:+d}" if seen.free_pages else ""


def _not_empty(plan: Plan, seen: Seen) -> str:
    for page, where in seen.pages.items():
        if where is not None and where.where is Where.PCPLIST and seen.pcp_high.get(where.cpu) == 0:
            return f"the pcplists are disabled (high is 0), and CPU {where.cpu} holds page {page}"
    for cpu, count in seen.pcp_count.items():
        if count and seen.pcp_high.get(cpu) == 0:
            return f"the pcplists are disabled (high is 0), and CPU {cpu} holds {count} pages"
    return ""


def _miscounted_pageblocks(plan: Plan, seen: Seen) -> str:
    off = _uncounted(seen)  # too many count while memory comes or goes
    return f"nr_isolate_pageblock is off by {off:+d}" if off is not None and off < 0 else ""


def _tested_wrongly(plan: Plan, steered: Steered, events: Sequence[Event]) -> str:
    """A test that succeeded, of a range with a pageblock that was not isolated."""
    if not any(event.kind == "test" and event.good for event in events) or not steered.arrivals:
        return ""
    last = steered.arrivals[-1]
    for block, isolated in plan.moves[last.move].expected.isolated.items():
        if isolated is False and last.seen.isolated.get(block) is False and _was_isolated(steered, block):
            return f"after move {last.move + 1} pageblock {block} is not isolated, and test_pages_isolated() succeeded"
    return ""


def _was_isolated(steered: Steered, block: int) -> bool:
    return any(arrival.seen.isolated.get(block) for arrival in steered.arrivals)


# ---- words


def page_words(page: PageSeen) -> str:
    """Where a page is."""
    if page.where is Where.PCPLIST:
        return f"on a pcplist of CPU {page.cpu}"
    if page.where is Where.BUDDY:
        from pagelab.linux.migratetype import MIGRATE_ISOLATE

        kind = "ISOLATE" if page.migratetype == MIGRATE_ISOLATE else "type " + str(page.migratetype)
        return "on a free list" if page.migratetype == NIL else f"on a free list of {kind}"
    return {Where.OFFLINE: "offline", Where.ALLOCATED: "in use", Where.IN_FLIGHT: "in flight"}[page.where]


def stop_words(move: Move) -> str:
    """Where a move ends."""
    stop = move.until
    if stop is None:
        return "its end"
    when = "the entry of" if stop.at.value == "entry" else "the return of"
    of = f" for page {stop.page}" if stop.page != NIL else ""
    of = of or (f" for pageblock {stop.pageblock}" if stop.pageblock != NIL else "")
    by = f", called by {stop.caller}()" if stop.caller else ""
    nth = f", the {stop.nth}th time" if stop.nth > 1 else ""
    return f"{when} {stop.function}(){of}{by}{nth}"


def seen_words(seen: Seen) -> list[str]:
    """What was seen, for people, one line for each thing."""
    found = [f"page {page}: {page_words(where)}" for page, where in seen.pages.items() if where is not None]
    blocks = [str(block) for block, isolated in seen.isolated.items() if isolated]
    found.append(f"isolated: pageblock {', '.join(blocks)}" if blocks else "no pageblock is isolated")
    off = _uncounted(seen)
    if off:
        found.append(f"nr_isolate_pageblock is off by {off:+d}")
    if seen.free_pages:
        found.append(f"NR_FREE_PAGES is off by {seen.free_pages:+d}")
    return found
