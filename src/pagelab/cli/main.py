# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame of the command line: finds the verb, runs it, and turns whatever goes wrong into a sentence and a status.

Nothing heavy is imported here, and of the verbs only the one that was asked for: ``pagelab --help`` has to be instant.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO, cast

import pagelab
from pagelab.errors import BadInput, Inconclusive, MissingTool, PagelabError

if TYPE_CHECKING:
    from types import FrameType

#: verb -> (module with ``set_arguments`` and ``main``, one line of help).  Only verbs that can be run stand here.
VERBS: dict[str, tuple[str, str]] = {
    "kernels": ("pagelab.cli.kernels", "list the Debian kernels that can be booted, or fetch one"),
    "record": ("pagelab.cli.record", "boot a kernel, make it work, write down what its page allocator did"),
    "replay": ("pagelab.cli.replay", "predict every page of a capture with the model, and score the prediction"),
    "check": ("pagelab.cli.check", "explore every interleaving of a model; show the shortest schedule that breaks it"),
    "steer": ("pagelab.cli.steer", "force a counterexample onto a booted kernel, and tell what the kernel did"),
    "scenarios": (
        "pagelab.cli.scenarios",
        "list the scenarios that check explores, or print one as a file to start from",
    ),
    "designs": ("pagelab.cli.designs", "list the designs: kernels and proposals, each a set of features"),
    "features": ("pagelab.cli.features", "list the features: upstream changes that a design has or lacks"),
    "show": ("pagelab.cli.show", "print a procedure of the model as a design has it"),
}

STATUS = """\
exit status:
  0  fine: exact, or nothing to report     3  this machine lacks something
  1  a finding: not exact                  4  inconclusive
  2  bad usage or bad input"""

EXAMPLE = """\
example:
  pagelab replay captures/6.1-churn-2cpu.tar.zst"""

#: A shell reports this plus the number of the signal for a command that a signal ended.
KILLED = 128


class Verb(Protocol):
    """What the module of a verb offers."""

    def set_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments, and set ``parser.epilog`` to an example."""

    def main(self, args: argparse.Namespace) -> int:
        """Run the verb and return the exit status."""


def columns() -> int:
    """Of the terminal, as shutil has it; importing that takes longer than a small search."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):  # there is no stdout, or it is no terminal
        return 80


class Help(argparse.RawDescriptionHelpFormatter):
    """argparse makes one for each argument that is added."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints raised as :class:`~pagelab.errors.BadInput`: one sentence and a hint."""

    def __init__(self, prog: str, **kwargs: object) -> None:
        kwargs.setdefault("formatter_class", Help)
        super().__init__(prog=prog, allow_abbrev=False, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        words = self.prog.split()[1:]
        raise BadInput(": ".join([*words, message]), f"`{self.prog} --help` shows what it takes, with an example")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: unwind as for Ctrl-C, so that no guest and no temporary file stays behind."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def load(verb: str) -> Verb:
    """Import the module of *verb*; *verb* has to be a key of :data:`VERBS`."""
    return cast(Verb, importlib.import_module(VERBS[verb][0]))


def top_parser() -> Parser:
    """The parser of ``pagelab`` itself.  It knows the verbs by name and one line only."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {line}" for verb, (_, line) in VERBS.items())
    parser = Parser(
        "pagelab",
        usage="pagelab VERB ...",
        description=f"{pagelab.__doc__}\n\nverbs (`pagelab VERB --help` says more):\n{verbs}",
        epilog=f"{STATUS}\n\n{EXAMPLE}",
    )
    parser.add_argument("--version", action="version", version=f"pagelab {pagelab.__version__}")
    shells = ("bash", "zsh", "tcsh")
    parser.add_argument(
        "--print-completion", metavar="SHELL", choices=shells, help=f"print a script: {', '.join(shells)}"
    )
    return parser


def verb_parser(verb: str) -> tuple[Parser, Verb]:
    """The parser of one verb, and its module."""
    module = load(verb)
    parser = Parser(f"pagelab {verb}", description=VERBS[verb][1])
    module.set_arguments(parser)
    return parser, module


def completion(shell: str) -> str:
    """A script that completes ``pagelab`` in *shell*.  Imports every verb, unlike anything else here."""
    import shtab

    parser = argparse.ArgumentParser(prog="pagelab", description=pagelab.__doc__)
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", parser_class=argparse.ArgumentParser)
    for verb, (_, line) in VERBS.items():
        load(verb).set_arguments(verbs.add_parser(verb, help=line))
    return shtab.complete(parser, shell=shell)


def run(argv: Sequence[str]) -> int:
    """Run ``pagelab *argv*`` and return its exit status; raises whatever the verb raises."""
    if not argv or argv[0].startswith("-"):
        parser = top_parser()
        args = parser.parse_args(argv)
        if args.print_completion:
            print(completion(args.print_completion))
            return 0
        parser.print_help(sys.stderr)
        return BadInput.status
    verb, *rest = argv
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean `pagelab {near[0]}`?" if near else f"the verbs are {', '.join(VERBS)}"
        raise BadInput(f"there is no verb {verb!r}", hint)
    verb_args, module = verb_parser(verb)
    return module.main(verb_args.parse_args(rest))


def say(message: str, hint: str = "") -> None:
    """Tell a person on stderr what happened and what to do about it."""
    if hint:
        message += f"\n  hint: {hint}"
    try:
        print(f"pagelab: {message}", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what is still buffered for *stream* nowhere: exiting must not fail on a reader or a disk that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def on_os_error(error: OSError) -> int:
    """Tell what the system refused; a library that knows more has raised a PagelabError instead."""
    what = error.strerror or str(error) or type(error).__name__
    where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    say(what[0].lower() + what[1:] + where, "check that path, its permissions and the space left on its disk")
    return MissingTool.status


def on_defect(error: Exception) -> int:
    """Name the place of a defect, since there is no traceback to look at.

    It decides nothing, so the status is the one of "inconclusive" and never that of a finding.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    say(f"a defect of pagelab, not of your input: {what}{where}", "set PAGELAB_DEBUG=1 to see the traceback to report")
    return Inconclusive.status


def on_signal(number: int, frame: FrameType | None) -> NoReturn:
    """Unwind, once; a second signal must not interrupt the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated(number)


def finish(argv: Sequence[str]) -> int:
    """:func:`run` to its end, with all it printed really written; raises whatever the verb or the writing raises."""
    try:
        status = run(argv)
    except SystemExit as stop:  # argparse, after --help and --version
        status = stop.code if isinstance(stop.code, int) else 0
    sys.stdout.flush()
    return status


def guarded(argv: Sequence[str]) -> int:
    """:func:`finish`, with everything that can go wrong told in a sentence.  Returns the exit status."""
    try:
        return finish(argv)
    except PagelabError as error:
        say(error.message, error.hint)
        return error.status
    except Terminated as stop:
        say(f"ended by {signal.Signals(stop.number).name}")
        return KILLED + stop.number
    except KeyboardInterrupt:
        say("interrupted")
        return KILLED + signal.SIGINT
    except BrokenPipeError:  # `pagelab features | head`: nobody is left to be told
        return KILLED + signal.SIGPIPE
    except OSError as error:
        return on_os_error(error)
    except MemoryError:
        say("the memory of this machine is used up", "try a smaller run, or a machine with more memory")
        return MissingTool.status
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence, whatever happened
        return on_defect(error)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``pagelab``.  *argv* defaults to the process's own arguments; returns the exit status.

    With PAGELAB_DEBUG in the environment nothing is caught, and a traceback shows where an error came from.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup it is ignored, and stays so
            signal.signal(number, on_signal)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no "→" is no reason to fail
    attempt = finish if os.environ.get("PAGELAB_DEBUG") else guarded
    status = attempt(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except OSError:  # told already, in guarded()
        silence(sys.stdout)
    return status
