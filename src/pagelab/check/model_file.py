# SPDX-License-Identifier: GPL-2.0-or-later
"""A model in a file of its own: what ``pagelab check FILE.py`` needs from it.

The file defines ``threads()``, which returns a list of :class:`~pagelab.lang.stepped.Thread`; it may define
``setup()``, which fills the tables, ``invariants()``, which returns functions that say whether a state is good,
``cpus()``, how many CPUs its irqs-off sections name, and ``exclusive_cpus()``, whether one thread of a CPU runs at a
time.  Its parameters are the constants of objects made from :class:`~pagelab.lang.declare.Constants`.
"""

from __future__ import annotations

import importlib.util
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from pagelab.errors import BadInput
from pagelab.lang.declare import Constants, Tracepoint
from pagelab.lang.stepped import System, Thread


@dataclass(frozen=True, slots=True)
class Model:
    """What is explored: threads over tables, from the state that ``setup`` makes, with properties.

    ``exclusive_cpus``: the contexts of a CPU exclude each other, see :mod:`pagelab.lang.contexts`; ``memory``: "sc" or
    "tso", see :mod:`pagelab.lang.store_buffer`.
    ``scenario``, ``property`` and ``words`` tell people what it is; ``probes`` are attached while it is built and run.
    """

    name: str
    threads: list[Thread]
    setup: Callable[[], object] | None
    invariants: list[Callable[[], bool]]
    cpus: int
    scenario: str = ""
    property: str = ""
    words: str = ""
    probes: Mapping[Tracepoint, Callable[..., None]] = field(default_factory=dict)
    exclusive_cpus: bool = False
    memory: str = "sc"

    def system(self) -> System:
        """The threads, compiled to steps."""
        return System(
            self.threads, self.invariants, cpus=self.cpus, exclusive_cpus=self.exclusive_cpus, memory=self.memory
        )


def load_file(path: Path, settings: Sequence[str]) -> Model:
    """Read a model from a file, with parameters set as ``NAME=VALUE`` says.

    :raises BadInput: if there is no such file, it does not run, or lacks what a model has.
    :raises SyntaxError: if it is no Python.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: there is no such file", "name a design (`pagelab designs`) or a Python file with a model"
        )
    spec = importlib.util.spec_from_file_location(f"pagelab_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path}: this is not a Python file", "a model is a .py file; see docs/reference/language.md")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError:
        raise
    except Exception as error:
        raise BadInput(
            f"{path}: it cannot be imported: {type(error).__name__}: {error}", "run it with python"
        ) from error
    apply_settings(module, settings, path)
    threads = _call(module, path, "threads")
    if not isinstance(threads, list) or not threads or not all(isinstance(t, Thread) for t in threads):
        raise BadInput(f"{path}: threads() must return a list of Thread objects, at least one")
    invariants = _call(module, path, "invariants") if hasattr(module, "invariants") else []
    cpus = _call(module, path, "cpus") if hasattr(module, "cpus") else 0
    exclusive = bool(_call(module, path, "exclusive_cpus")) if hasattr(module, "exclusive_cpus") else False
    setup = getattr(module, "setup", None)
    return Model(path.stem, threads, setup, list(invariants), int(cpus), exclusive_cpus=exclusive)


def _call(module: ModuleType, path: Path, name: str) -> typing.Any:
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"{path}: it defines no {name}()", "see docs/reference/language.md for what a model file has")
    try:
        return function()
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: {name}() fails: {error}", "check the parameters given with --set") from error


def apply_settings(module: ModuleType, settings: Sequence[str], path: Path) -> None:
    """Set parameters of a model: ``NAME=VALUE``, the value an integer, or yes/no."""
    holders = [value for value in vars(module).values() if isinstance(value, Constants)]
    known = {name: holder for holder in holders for name in typing.get_type_hints(type(holder))}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise BadInput(f"--set {setting}: expected NAME=VALUE")
        if name not in known:
            names = ", ".join(sorted(known)) or "it has none"
            raise BadInput(f"--set {setting}: {path.name} has no parameter {name}", f"its parameters: {names}")
        words = {"yes": 1, "true": 1, "on": 1, "no": 0, "false": 0, "off": 0}
        try:
            value = words[text.lower()] if text.lower() in words else int(text, 0)
        except ValueError:
            raise BadInput(f"--set {setting}: {text!r} is no integer") from None
        known[name].configure(**{name: value})
