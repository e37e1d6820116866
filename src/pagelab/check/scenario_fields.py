# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the fields of a TOML table, each of its type and in its range, and names what nobody asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any


class Problem(Exception):
    """Why a scenario is impossible: what is wrong, with the field, and what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def shown(value: object) -> str:
    """A value as TOML has it, cut short."""
    text = {True: "true", False: "false"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


class Fields:
    """One table of a file.

    :param where: what the table is called, "" for the top of the file.
    """

    def __init__(self, content: dict[str, Any], where: str) -> None:
        self.content, self.where = content, where
        self.asked: list[str] = []

    def name(self, key: str) -> str:
        """How to call a field."""
        if not self.where:
            return key
        return f"{self.where}: {key}" if self.where.startswith("thread") else f"{self.where}.{key}"

    def peek(self, key: str) -> Any:
        """The value as it stands, None if there is none."""
        return self.content.get(key)

    def _get(self, key: str) -> Any:
        self.asked.append(key)
        return self.content.get(key)

    def _missing(self, key: str, what: str) -> Problem:
        near = difflib.get_close_matches(key, [k for k in self.content if k not in self.asked], n=1)
        if near:
            return Problem(f"{self.name(near[0])}: there is no such key", f"did you mean {key}?")
        return Problem(f"{self.name(key)} is missing", f"add {what}")

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._get(key)
        if value is None:
            if default is None:
                raise self._missing(key, f"{key} = {max(low, 1)}, or what it has to be")
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise Problem(
                f"{self.name(key)} is {shown(value)}, which is no whole number", f"write {key} = {max(low, 1)}"
            )
        if not low <= value <= high:
            raise Problem(f"{self.name(key)} is {value}", f"it can be {low} to {high}")
        return value

    def text(self, key: str, longest: int, *, needed: bool = True) -> str:
        """A line of text; without ``needed`` it may be missing."""
        value = self._get(key)
        if value is None:
            if needed:
                raise self._missing(key, f'{key} = "..."')
            return ""
        if not isinstance(value, str):
            raise Problem(f"{self.name(key)} is {shown(value)}, which is no text", f'write {key} = "..."')
        if not value.strip() or len(value) > longest or re.search(r"[\x00-\x1f\x7f]", value):
            raise Problem(f"{self.name(key)} is {shown(value)}", f"give one line of 1 to {longest} characters")
        return value

    def choice(self, key: str, known: Sequence[str], default: str | None = None, what: str = "") -> str:
        """One of some words."""
        if self.peek(key) is None and default is not None:
            self.asked.append(key)
            return default
        value = self.text(key, 200)
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            says = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise Problem(f"{self.name(key)} is {value!r}, and there is no such {what or key}", says)
        return value

    def flag(self, key: str) -> bool:
        """true or false, false if it is missing."""
        value = self._get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise Problem(f"{self.name(key)} is {shown(value)}", f"write {key} = true, or leave it out")
        return value

    def numbers(self, key: str, value: object = None) -> tuple[int, ...]:
        """A list of whole numbers from 0 on, empty if it is missing."""
        value = self._get(key) if value is None else value
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            raise Problem(
                f"{self.name(key)} is {shown(value)}, which is no list of whole numbers", f"write {key} = [0, 1]"
            )
        for number in value:
            if value.count(number) > 1:
                raise Problem(f"{self.name(key)} names {number} twice", "name it once")
        return tuple(value)

    def lists(self, key: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers, empty if it is missing."""
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, list) for v in value):
            raise Problem(f"{self.name(key)} is {shown(value)}, which is no list of lists", f"write {key} = [[], [3]]")
        return tuple(self.numbers(key, v) for v in value)

    def names(self, key: str, known: Sequence[str], what: str, remedy: str) -> tuple[str, ...]:
        """A list of words, empty if it is missing."""
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise Problem(f"{self.name(key)} is {shown(value)}, which is no list of words", f'write {key} = ["..."]')
        for word in value:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=1)
                says = f"did you mean {near[0]}?" if near else remedy
                raise Problem(f"{self.name(key)} names {word!r}, and there is no such {what}", says)
        return tuple(value)

    def table(self, key: str, *, empty: bool = False) -> Fields:
        """A table; with ``empty`` it may be missing."""
        value = self._get(key)
        if value is None:
            if not empty:
                raise self._missing(key, f"a table [{key}]")
            value = {}
        if not isinstance(value, dict):
            raise Problem(
                f"{self.name(key)} is {shown(value)}, which is no table", f"write [{key}] and its fields below"
            )
        return Fields(value, key)

    def tables(self, key: str, plural: str) -> list[Fields]:
        """A list of tables, each called by its number."""
        if plural in self.content and key not in self.content:
            raise Problem(f"{plural}: there is no such key", f"did you mean [[{key}]]?")
        value = self._get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise Problem(f"{key} is no list of tables", f"write [[{key}]], with two brackets, for each")
        return [Fields(v, f"{key} {number}") for number, v in enumerate(value, 1)]

    def finish(self, says: str = "") -> None:
        """Nothing else may stand in the table."""
        for key in self.content:
            if key not in self.asked:
                near = difflib.get_close_matches(key, [k for k in self.asked if k not in self.content], n=1)
                hint = f"did you mean {near[0]}?" if near else says or f"known are {', '.join(self.asked)}"
                raise Problem(f"{self.name(key)}: there is no such key", hint)
