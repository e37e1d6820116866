# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame of the command line: what it loads, what it says, and the status it leaves."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pagelab
from pagelab.cli import main as frame
from pagelab.errors import BadInput, GuestFailed, Inconclusive, MissingTool, PagelabError

if TYPE_CHECKING:
    from tests.conftest import Pagelab

HEAVY = {"asyncio", "llvmlite", "msgspec", "numba", "numpy", "qemu", "rich", "shtab", "zstandard"}
LOADED = """
import sys
from pagelab.cli.main import main
status = main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """``verb(work)`` adds a verb named ``work`` that does what *work* does."""

    def add(work: Callable[[], int]) -> None:
        module = types.ModuleType("pagelab_test_verb")

        def set_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("--count", type=int)

        def run(args: argparse.Namespace) -> int:
            return work()

        module.__dict__.update(set_arguments=set_arguments, main=run)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(frame.VERBS, "work", (module.__name__, "does what the test says"))

    return add


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([verb, "--help"] for verb in frame.VERBS)])
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *argv], capture_output=True, text=True, timeout=60, check=True)
    loaded = {module.partition(".")[0] for module in done.stderr.split()}
    assert "pagelab" in loaded
    assert loaded & HEAVY == set()


def test_help_of_pagelab_loads_no_verb() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert {module for module in done.stderr.split() if module.startswith("pagelab.cli.")} == {"pagelab.cli.main"}


def test_help_names_every_verb_and_ends_with_an_example(run_pagelab: Pagelab) -> None:
    done = run_pagelab("--help")
    assert done.returncode == 0
    for verb, (_, line) in frame.VERBS.items():
        assert f"  {verb} " in done.stdout
        assert line in done.stdout
    assert done.stdout.splitlines()[-1].startswith("  pagelab ")


@pytest.mark.parametrize("verb", frame.VERBS)
def test_every_verb_has_json_and_an_example_in_its_help(verb: str, run_pagelab: Pagelab) -> None:
    done = run_pagelab(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith(f"  pagelab {verb}")], "no example"


def test_version(run_pagelab: Pagelab) -> None:
    assert run_pagelab("--version").stdout == f"pagelab {pagelab.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["repaly"], "there is no verb 'repaly'", "did you mean `pagelab replay`?"),
        (["frobnicate"], "there is no verb 'frobnicate'", "the verbs are kernels, record, "),
        (["simulate"], "there is no verb 'simulate'", "the verbs are "),
        ([""], "there is no verb ''", "the verbs are "),
        (["--jsno"], "unrecognized arguments: --jsno", "`pagelab --help` shows"),
        (["--print-completion", "ed"], "argument --print-completion: invalid choice: 'ed'", "`pagelab --help` shows"),
        (["work", "--count", "x"], "work: argument --count: invalid int value: 'x'", "`pagelab work --help` shows"),
        (["work", "more"], "work: unrecognized arguments: more", "`pagelab work --help` shows"),
        (["work", "--cou", "1"], "work: unrecognized arguments: --cou 1", "`pagelab work --help` shows"),
    ],
)
def test_bad_usage_is_one_sentence_and_a_hint(
    argv: list[str],
    message: str,
    hint: str,
    verb: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verb(lambda: 0)
    assert frame.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(f"pagelab: {message}")
    assert second.startswith(f"  hint: {hint}")


def test_no_verb_prints_the_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: pagelab VERB")


@pytest.mark.parametrize("status", [0, 1, 4])
def test_a_verb_decides_its_status(
    status: int, verb: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda: status)
    assert frame.main(["work"]) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (BadInput("capture.toml:3: no seed", "add one"), 2, "capture.toml:3: no seed\n  hint: add one"),
        (PagelabError("no hint here"), 2, "no hint here"),
        (MissingTool("qemu is missing", "install it"), 3, "qemu is missing\n  hint: install it"),
        (GuestFailed("the guest panicked"), 3, "the guest panicked"),
        (Inconclusive("the limit was reached"), 4, "the limit was reached"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 3, "the memory of this machine is used up\n  hint: "),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "trace.dat"), 3, "no space left on device: trace.dat"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"x"), 3, "permission denied: x"),
        (OSError("odd"), 3, "odd\n"),
    ],
)
def test_an_error_is_told_in_a_sentence(
    error: BaseException,
    status: int,
    says: str,
    verb: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verb(raising(error))
    assert frame.main(["work"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pagelab: {says}")
    assert len(err.splitlines()) <= 2


def test_a_defect_is_no_finding_and_no_traceback(
    verb: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(TypeError("two\nlines")))
    assert frame.main(["work"]) == 4
    err = capsys.readouterr().err
    assert err.startswith("pagelab: a defect of pagelab, not of your input: TypeError: two lines at ")
    assert "test_main.py:" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(verb: Callable[[Callable[[], int]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    verb(raising(TypeError("odd")))
    monkeypatch.setenv("PAGELAB_DEBUG", "1")
    with pytest.raises(TypeError, match="odd"):
        frame.main(["work"])


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "pagelab", "--help"], stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.stderr == b""
    assert done.returncode in (0, 141)  # 0 where PYTHONUNBUFFERED lets argparse swallow it


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "pagelab", "--help"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
    assert done.stderr.startswith("pagelab: no space left on device\n  hint: ")
    assert len(done.stderr.splitlines()) == 2
    assert done.returncode == 3


def test_a_terminal_without_unicode_is_no_error() -> None:
    script = (
        "import sys, types; from pagelab.cli import main as frame;"
        "verb = types.ModuleType('verb'); sys.modules['verb'] = verb; frame.VERBS['verb'] = ('verb', 'x');"
        "verb.set_arguments = lambda parser: None; verb.main = lambda args: print('0 \\u2192 1') or 0;"
        "sys.exit(frame.main(['verb']))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 \\u2192 1\n", "")


@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGHUP, "ended by SIGHUP"), (signal.SIGINT, "interrupted")],
)
def test_a_signal_unwinds(number: signal.Signals, says: str, tmp_path: Path) -> None:
    """What a verb cleans up in ``finally`` (a guest, a temporary file) is cleaned up however it is ended."""
    script = tmp_path / "script.py"
    default = "default_int_handler" if number == signal.SIGINT else "SIG_DFL"
    # Started by nohup, or in the background of a script, it would inherit that these signals are ignored.
    script.write_text(
        "import signal, sys, time, types\n"
        f"signal.signal({int(number)}, signal.{default})\n"
        "from pagelab.cli import main as frame\n"
        "def work(args):\n"
        "    try:\n"
        "        print('working', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned', flush=True)\n"
        "verb = types.ModuleType('verb')\n"
        "verb.set_arguments, verb.main = lambda parser: None, work\n"
        "sys.modules['verb'] = verb\n"
        "frame.VERBS['verb'] = ('verb', 'x')\n"
        "sys.exit(frame.main(['verb']))\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert time.monotonic() - begin < 20
    assert (out, err) == ("cleaned\n", f"pagelab: {says}\n")
    assert process.returncode == 128 + number


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_verbs(shell: str, run_pagelab: Pagelab) -> None:
    done = run_pagelab("--print-completion", shell)
    assert done.returncode == 0, done.stderr
    for verb in frame.VERBS:
        assert verb in done.stdout


def test_python_m_is_the_same_program() -> None:
    command = Path(sys.executable).with_name("pagelab")
    assert command.exists(), "pagelab is not installed beside this Python"
    one = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    two = subprocess.run([sys.executable, "-m", "pagelab", "--version"], capture_output=True, text=True, check=True)
    assert one.stdout == two.stdout
