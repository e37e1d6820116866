# SPDX-License-Identifier: GPL-2.0-or-later
"""Seed faults into the model of Linux, one at a time, and see whether the checker catches them.

A mutant is a piece of a file of ``src/pagelab/linux`` that reads otherwise.  The tables in ``tests/check/mutants`` say
of each for which designs, in which scenario, a property has to catch it, and where it has to survive because it makes
no difference that any property is about.  ``python tools/mutants.py`` tries all of them; see
docs/explanation/mutants.md, the tables of which it writes.

The fault is seeded in memory: the functions of the module get the code of the changed source, and whoever looks up
source lines sees the changed ones.  So the checker is the one that users run, and nothing is compiled twice.
"""

from __future__ import annotations

import argparse
import importlib
import linecache
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pagelab.check.explore import How, explore
from pagelab.check.kernel_model import kernel_model
from pagelab.check.liveness import check_liveness
from pagelab.check.liveness_verdict import plain
from pagelab.check.model_file import Model
from pagelab.check.properties import PROPERTIES, Property
from pagelab.check.scenario import BUNDLED, Scenario, scenario_named
from pagelab.check.search import Violation
from pagelab.lang.declare import attached
from pagelab.lang.stepped import System
from pagelab.linux.designs import design_named

HERE = Path(__file__).resolve().parent.parent / "tests" / "check" / "mutants"
DESIGNS = ("5.9-rc5", "5.9", "5.10", "rfc-v1", "rfc", "alt", "5.11", "6.1")
#: What the tables say for many designs at once.
GROUPS = {"all": DESIGNS, "all before 6.1": DESIGNS[:-1]}
#: What stands below this line of the page is written by this program.
MARK = "<!-- tables: tools/mutants.py --page docs/explanation/mutants.md -->\n"
HOW = How(workers=1)
STATES = tuple(one for one in PROPERTIES if one.kind != "liveness")
NAMES = tuple(one.name for one in PROPERTIES)


@dataclass(frozen=True, slots=True)
class Case:
    """What must come of a mutant in a scenario under some designs.

    ``by``: the property that catches it, or "" if it survives, for the reason ``because``.
    """

    designs: tuple[str, ...]
    scenario: str
    by: str
    because: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded fault: in ``file``, ``new`` stands instead of ``old``; in words ``fault``."""

    name: str
    fault: str
    kind: str
    file: str
    old: str
    new: str
    cases: tuple[Case, ...]

    def module(self) -> ModuleType:
        """The module that the fault is in."""
        return importlib.import_module(f"pagelab.linux.{self.file.removesuffix('.py')}")

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """The model with this fault.

        :raises ValueError: if the text to replace is not there just once.
        """
        module = self.module()
        path = str(module.__file__)
        source = Path(path).read_text("utf-8")
        if source.count(self.old) != 1:
            raise ValueError(f"mutant {self.name}: its old text is {source.count(self.old)} times in {self.file}")
        text = source.replace(self.old, self.new)
        codes = [one for one in compile(text, path, "exec", dont_inherit=True).co_consts if isinstance(one, CodeType)]
        before: list[tuple[FunctionType, CodeType]] = []
        for code in codes:
            function = vars(module).get(code.co_name)
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                before.append((function, function.__code__))
                function.__code__ = code
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        try:
            yield
        finally:
            for function, code in before:
                function.__code__ = code
            del linecache.cache[path]


@dataclass(frozen=True, slots=True)
class Found:
    """How a search caught a mutant: after how many states, and in how many steps at least."""

    states: int
    steps: int


# ---- the tables


@cache
def mutants() -> tuple[Mutant, ...]:
    """All mutants, in the order of the tables.

    :raises ValueError: for a table that says something impossible.
    """
    found = []
    for path in sorted(HERE.glob("*.toml")):
        content = tomllib.loads(path.read_text("utf-8"))
        found += [_mutant(entry, content["kind"]) for entry in content["mutant"]]
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two mutants have one name: {sorted(n for n in names if names.count(n) > 1)}")
    return tuple(found)


def _mutant(entry: dict[str, Any], kind: str) -> Mutant:
    cases = [_case(case, case["by"], "") for case in entry.get("caught", ())]
    cases += [_case(case, "", case["because"]) for case in entry.get("survives", ())]
    if not cases:
        raise ValueError(f"mutant {entry['name']} is neither caught nor does it survive")
    old, new = (entry[name].removesuffix("\n") for name in ("old", "new"))
    return Mutant(entry["name"], entry["fault"], kind, entry["file"], old, new, tuple(cases))


def _case(entry: dict[str, Any], by: str, because: str) -> Case:
    designs = tuple(design for name in entry["designs"] for design in GROUPS.get(name, (name,)))
    unknown = set(designs) - set(DESIGNS) or {by} - {"", *NAMES}
    if unknown:
        raise ValueError(f"a mutant names {', '.join(unknown)}, which is no design and no property")
    return Case(designs, entry["in"], by, " ".join(because.split()))


@cache
def scenario(name: str) -> Scenario:
    """A bundled scenario, or one that the mutants brought along."""
    own = HERE / "scenarios" / f"{name}.toml"
    if own.is_file() == (name in BUNDLED):
        raise ValueError(f"scenario {name} is {'there twice' if own.is_file() else 'nowhere'}")
    return scenario_named(str(own) if own.is_file() else name)


# ---- what the checker says


def built(model: Model, mutant: Mutant | None) -> tuple[System, Any]:
    """A model compiled with a fault, and the state in which it begins, made without."""
    with attached(model.probes):
        with nullcontext() if mutant is None else mutant.seeded():
            system = model.system()
        return system, system.initial(model.setup)


def violated(properties: Sequence[Property], violation: Violation) -> str:
    """The name of the property that a search found to be violated."""
    if violation.kind == "invariant":
        return [one.name for one in properties if one.holds is not None][violation.which]
    return next(one.name for one in PROPERTIES if one.kind == violation.kind)


def runs_for_ever(design: str, name: str, mutant: Mutant | None) -> Found | None:
    """A run in which somebody does not come to his end, if there is one."""
    system, initial = built(plain(kernel_model(design, scenario(name), ())), mutant)
    ends = check_liveness(system, initial, HOW.fairness)
    lasso = ends.lasso
    return None if lasso is None else Found(ends.states, len(lasso.prefix.steps) + len(lasso.cycle.steps))


def verdicts(design: str, name: str, mutant: Mutant | None) -> tuple[frozenset[str], str]:
    """All properties of states that a scenario violates, and the program that was explored."""
    system, initial = built(kernel_model(design, scenario(name), STATES), mutant)
    outcome = explore(system, initial, HOW, go_on=True)
    return frozenset(violated(STATES, violation) for violation in outcome.violations), system.text


@cache
def unseeded(design: str, name: str) -> tuple[frozenset[str], str]:
    """The same, of the model without a fault."""
    return verdicts(design, name, None)


@cache
def ends_unseeded(design: str, name: str) -> bool:
    """Whether everybody comes to his end in the model without a fault."""
    return runs_for_ever(design, name, None) is None


def catch(mutant: Mutant, design: str, case: Case) -> Found | None:
    """Look for what a mutant violates until the property that is to catch it does."""
    (one,) = (one for one in PROPERTIES if one.name == case.by)
    if one.kind == "liveness":
        return runs_for_ever(design, case.scenario, mutant)
    system, initial = built(kernel_model(design, scenario(case.scenario), [one]), mutant)
    for go_on in (False, True):  # if something else comes first, everything is explored
        outcome = explore(system, initial, HOW, go_on=go_on)
        for violation in outcome.violations:
            if violated([one], violation) == case.by:
                return Found(outcome.states, len(violation.schedule.steps))
        if not outcome.violations:
            break
    return None


def holds_unseeded(design: str, case: Case) -> bool:
    """Whether the property that is to catch a mutant holds without a fault."""
    if case.by in {one.name for one in STATES}:
        return case.by not in unseeded(design, case.scenario)[0]
    return ends_unseeded(design, case.scenario)


def try_case(mutant: Mutant, case: Case, design: str) -> tuple[str, Found | None]:
    """What is wrong with the verdict of a case, or "", and how the mutant was caught if it was to be caught."""
    where = f"{mutant.name}: {design}, {case.scenario}"
    try:
        if case.by:
            if not holds_unseeded(design, case):
                return f"{where}: {case.by} is violated without the fault, too", None
            found = catch(mutant, design, case)
            return ("" if found else f"{where}: {case.by} does not catch it"), found
        before, program = unseeded(design, case.scenario)
        after, changed = verdicts(design, case.scenario, mutant)
        if changed == program:
            return f"{where}: the fault makes no difference to the program", None
        caught = after - before
        if ends_unseeded(design, case.scenario) and runs_for_ever(design, case.scenario, mutant):
            caught |= {one.name for one in PROPERTIES if one.kind == "liveness"}
        return (f"{where}: it is caught by {', '.join(sorted(caught))}" if caught else ""), None
    except SyntaxError as error:
        return f"{where}: {error}", None


def claims(design: str, name: str) -> bool:
    """Whether a design says anything that a property is about."""
    wanted = [feature for one in PROPERTIES if one.name == name for feature in one.claimed_with]
    return not wanted or any(feature in design_named(design).feature_names() for feature in wanted)


# ---- the program


@dataclass(frozen=True, slots=True)
class Result:
    """A case under one design: what is wrong with it, or "", and how the mutant was caught, None if it survives."""

    mutant: Mutant
    case: Case
    design: str
    problem: str
    found: Found | None


def main(arguments: Sequence[str]) -> int:
    """Try mutants, all or those named, and print what came of them."""
    parser = argparse.ArgumentParser(description="Seed faults into the model and see whether the checker catches them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; all if none is named")
    parser.add_argument("--design", action="append", choices=DESIGNS, help="only under this design")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the tables of docs/explanation/mutants.md anew"
    )
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - {one.name for one in mutants()}
    if unknown:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    some = [one for one in mutants() if not chosen.names or one.name in chosen.names]
    everything = len(some) == len(mutants()) and not chosen.design
    if chosen.page and not everything:
        parser.error("--page needs all mutants under all designs")
    begin = time.process_time()
    with _cache_of_its_own():
        results = _try_all(some, chosen.design or DESIGNS)
    if everything:
        print("\n" + "\n".join(_table(results)))
    print("\n" + "\n".join(_survivors(some)))
    print(f"\n{len(some)} mutants, {len(results)} verdicts in {time.process_time() - begin:.0f} s of one core")
    wrong = [result.problem for result in results if result.problem]
    for line in wrong:
        print(f"WRONG: {line}")
    if chosen.page and not wrong:
        by_hand, mark, _ = chosen.page.read_text("utf-8").partition(MARK)
        chosen.page.write_text(by_hand + mark + "\n" + "\n".join(_page(results)), "utf-8")
    return 1 if wrong else 0


@contextmanager
def _cache_of_its_own() -> Iterator[None]:
    """Programs with faults do not push those that users need out of the cache; the engine is taken from there."""
    from pagelab.check.engine_code import function

    for name in ("explore", "components"):
        function(name)
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CACHE_HOME"] = directory
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def _try_all(some: Sequence[Mutant], designs: Sequence[str]) -> list[Result]:
    """Try them, and say of each case what came of it."""
    results = []
    for mutant in some:
        print(f"{mutant.name}: {mutant.fault}")
        for case in mutant.cases:
            for design in [one for one in case.designs if one in designs]:
                begin = time.process_time()
                result = Result(mutant, case, design, *try_case(mutant, case, design))
                took = f"{time.process_time() - begin:.1f} s"
                results.append(result)
                if result.problem:
                    print(f"  WRONG {result.problem}")
                elif result.found is None:
                    print(f"  {design:8} survives  {case.scenario:24} {took}")
                else:
                    how = f"{result.found.states:,} states, {result.found.steps} steps, {took}"
                    print(f"  {design:8} {case.by:9} {case.scenario:24} {how}")
                sys.stdout.flush()
    return results


def _caught(results: Sequence[Result], name: str, design: str) -> list[tuple[int, str]]:
    """The mutants that a property caught under a design, each with the states it took, the fewest first."""
    return sorted(
        (one.found.states, one.mutant.name)
        for one in results
        if one.found is not None and one.case.by == name and one.design == design
    )


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "property  design    mutants caught; the one that took the fewest states"
    for name in NAMES:
        for design in DESIGNS:
            some = _caught(results, name, design)
            told = " 0  nothing" if claims(design, name) else " -  not claimed by this design"
            if some:
                told = f"{len(some):2}  {some[0][1]} ({some[0][0]:,} states)"
            yield f"{name:9} {design:9} {told}"


def _survivors(some: Sequence[Mutant]) -> Iterator[str]:
    yield "survivors"
    for mutant in some:
        for case in mutant.cases:
            if not case.by:
                yield f"  {mutant.name} ({', '.join(case.designs)}): {mutant.fault}"
                yield f"    {case.scenario}: {case.because}"


def _page(results: Sequence[Result]) -> Iterator[str]:
    """The tables of the page, in Markdown."""
    yield "## Caught, by property and design\n"
    yield "How many mutants a property caught under a design, and in how many states the first of them.\n"
    yield f"| | {' | '.join(DESIGNS)} |"
    yield "|---" * (len(DESIGNS) + 1) + "|"
    for name in NAMES:
        cells = [_caught(results, name, design) for design in DESIGNS]
        told = [f"{len(some)}: {some[0][0]:,}" if some else "not claimed" for some in cells]
        yield f"| {name} | {' | '.join(told)} |"
    for kind in dict.fromkeys(one.mutant.kind for one in results):
        yield f"\n## {kind[0].upper() + kind[1:]}\n"
        yield "| Mutant | Fault | Caught by, in scenario, after states |"
        yield "|---|---|---|"
        for mutant in dict.fromkeys(one.mutant for one in results if one.mutant.kind == kind):
            how = "; ".join(_how(results, mutant, case) for case in mutant.cases)
            yield f"| `{mutant.name}` | {mutant.fault} | {how} |"
    yield "\n## Survivors\n"
    for mutant in dict.fromkeys(one.mutant for one in results):
        for case in mutant.cases:
            if not case.by:
                yield f"`{mutant.name}`, {_designs(case)}, in `{case.scenario}`"
                yield f": {case.because}\n"


def _how(results: Sequence[Result], mutant: Mutant, case: Case) -> str:
    if not case.by:
        return f"survives ({_designs(case)})"
    states = [one.found.states for one in results if one.mutant == mutant and one.case == case and one.found]
    least, most = min(states), max(states)
    told = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{case.by} in `{case.scenario}`, {told} ({_designs(case)})"


def _designs(case: Case) -> str:
    return next((name for name, some in GROUPS.items() if case.designs == some), ", ".join(case.designs))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
