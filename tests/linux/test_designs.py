# SPDX-License-Identifier: GPL-2.0-or-later
"""Features and designs, and the source that they leave of a procedure."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import FunctionType
from typing import cast

import pytest

from pagelab.errors import BadInput
from pagelab.linux.designs import DESIGNS, design_named
from pagelab.linux.effective import effective_source, procedures
from pagelab.linux.features import FEATURES, Feature, Features, features

BY_NAME = {feature.name: feature for feature in FEATURES}
UPSTREAM = [feature for feature in FEATURES if not feature.mail]


@pytest.fixture(autouse=True)
def features_stay_as_they_are() -> Iterator[None]:
    before = {name: getattr(features, name) for name in BY_NAME}
    yield
    features.configure(**before)


def test_registry_and_switches_agree() -> None:
    assert list(BY_NAME) == list(Features.__annotations__)
    assert len(BY_NAME) == len(FEATURES)
    for feature in UPSTREAM:
        assert re.fullmatch(r"[0-9a-f]{12}", feature.commit) or feature.name == "movable_zone_apart"
        assert re.fullmatch(r"v\d+\.\d+", feature.release)
        assert re.fullmatch(r"((6\.1|6\.12)\.\d+)?", feature.stable)
    for feature in FEATURES[len(UPSTREAM) :]:
        assert re.fullmatch(r"2020-09-\d\d|2026-11-25", feature.mail)
        assert (feature.commit, feature.release, feature.stable) == ("", "", "")


def test_features_stand_in_the_order_of_their_releases() -> None:
    releases = [tuple(map(int, feature.release[1:].split("."))) for feature in UPSTREAM]
    assert releases == sorted(releases)


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.removeprefix("v").split(".")))


def has(release: tuple[int, ...], feature: Feature) -> bool:
    """Whether a release of the kernel (v6.1.57 is (6, 1, 57)) was born with a feature, or got it as a backport."""
    if version(feature.release) <= release[:2] and not feature.stable.startswith(f"{release[0]}.{release[1]}."):
        return True
    stable = version(feature.stable) if feature.stable else ()
    return stable[:2] == release[:2] and stable <= release


@pytest.mark.parametrize(
    ("name", "release"),
    [
        *((name, (*version(name), 0)) for name in ("5.9", "5.10", "5.11")),
        *((name, version(name)) for name in ("6.1.0", "6.1.57", "6.1.97")),
        ("6.1", (6, 1, 10**6)),
        ("6.12", (6, 12, 10**6)),
    ],
)
def test_designs_have_what_their_releases_have(name: str, release: tuple[int, ...]) -> None:
    assert DESIGNS[name].feature_names() == [f.name for f in UPSTREAM if has(release, f)]


def test_the_first_design_has_no_features() -> None:
    assert DESIGNS["5.9-rc5"].feature_names() == []


def test_proposals_are_what_they_were_based_on_and_one_thing_more() -> None:
    for name in ("rfc-v1", "rfc", "alt"):
        mine = DESIGNS[name].feature_names()
        assert "drain_again_in_offline" not in mine
        assert set(mine) & {feature.name for feature in FEATURES if feature.mail}


@pytest.mark.parametrize(
    ("design", "fix"), [("contig-fix", "contig_keeps_others_isolated"), ("nolock-fix", "nolock_keeps_off_disabled")]
)
def test_a_fix_is_one_proposal_more_than_the_kernel_that_it_is_for(design: str, fix: str) -> None:
    assert set(DESIGNS[design].feature_names()) == set(DESIGNS["7.2"].feature_names()) | {fix}


def test_the_initial_values_are_those_of_6_1() -> None:
    mine = DESIGNS["6.1"].feature_names()
    assert all(getattr(Features, feature.name) == (feature.name in mine) for feature in FEATURES)


def test_switch_on() -> None:
    design_named("6.1.57").switch_on()
    assert (features.irqs_on_under_pcp_lock, features.thp_lists_by_movability) == (True, False)
    design_named("6.1").switch_on()
    assert features.thp_lists_by_movability


def test_unknown_design() -> None:
    with pytest.raises(BadInput, match="there is no design") as caught:
        design_named("6.1.5")
    assert "did you mean 6.1.57?" in caught.value.hint
    with pytest.raises(BadInput) as caught:
        design_named("linux")
    assert caught.value.hint == f"the designs are {', '.join(DESIGNS)}"


def test_each_question_stands_below_the_comment_that_names_its_commit() -> None:
    asked = set()
    for function in procedures().values():
        lines = inspect.getsource(function).splitlines()
        for number, line in enumerate(lines):
            for name in re.findall(r"features\.(\w+)", line):
                asked.add(name)
                comment: list[str] = []
                above = number - 1
                while lines[above].lstrip().startswith("#"):
                    comment.insert(0, lines[above].strip().removeprefix("#").strip())
                    above -= 1
                assert BY_NAME[name].comment == "# " + " ".join(comment), f"{function.__name__}: {line.strip()}"
    assert asked == set(BY_NAME)


# ---- the effective source


class Fold(ast.NodeTransformer):
    """Another way to the same end, on the syntax tree."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "features":
            return ast.Constant(bool(getattr(features, node.attr)))
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant):
            return ast.Constant(not node.operand.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        is_and = isinstance(node.op, ast.And)
        kept: list[ast.expr] = []
        for value in node.values:
            if not isinstance(value, ast.Constant):
                kept.append(value)
            elif value.value is not is_and:
                kept.append(value)
                break
        if not kept:
            return ast.Constant(is_and)
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                for i, statement in enumerate(body):
                    if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                        del body[i + 1 :]
                        break
        return node


@pytest.mark.parametrize("design", DESIGNS)
def test_effective_source_is_the_folded_syntax_tree(design: str) -> None:
    design_named(design).switch_on()
    changed = 0
    for name, function in procedures().items():
        text = effective_source(function)
        assert "features." not in text
        tree = ast.parse(inspect.getsource(function))
        changed += text != inspect.getsource(function)
        assert ast.unparse(ast.parse(text)) == ast.unparse(ast.fix_missing_locations(Fold().visit(tree))), name
    assert changed >= 8


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in (False, True) for b in (False, True)])
def test_every_form_of_question(first: bool, second: bool) -> None:
    features.configure(drain_in_chunks=first, drain_count_under_lock=second)
    text = effective_source(cast(FunctionType, forms))
    assert "features." not in text
    tree = ast.parse(inspect.getsource(forms))
    assert ast.unparse(ast.parse(text)) == ast.unparse(ast.fix_missing_locations(Fold().visit(tree)))
    assert ("# chunks" in text) == first
    assert ("# lock" in text) == second
    assert "# stays" in text
    scope: dict[str, object] = {}
    exec(text, scope)
    for a in range(6):
        for b in range(3):
            assert scope["forms"](a, b) == forms(a, b)  # type: ignore[operator]


def forms(
    a: int,
    b: int,
) -> int:
    """All places where a question can stand."""
    total = 0
    # chunks
    if features.drain_in_chunks:
        # stays
        total += 1
    else:
        # stays
        total += 2
    while a > 0:
        a -= 1
        # lock
        if features.drain_count_under_lock and b == 1:
            continue
        if a == 3:
            total += 5
        elif features.drain_in_chunks:
            total += 7
        elif b == 2:
            total += 11
        else:
            total += 13
        if not features.drain_in_chunks and not features.drain_count_under_lock:
            break
    for i in range(b):
        if i == 1 and (features.drain_in_chunks or a == 2):
            total += i
        # stays
        if b == 7:
            total += 1
        elif features.drain_count_under_lock:
            total += 100
        else:
            total += 200
    if features.drain_in_chunks:
        return total
    elif features.drain_count_under_lock:
        total += 17
    else:
        return -total
    return 2 * total
