# SPDX-License-Identifier: GPL-2.0-or-later
"""Where pagelab keeps what it fetched: ``$XDG_CACHE_HOME/pagelab``, by default ``~/.cache/pagelab``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagelab.errors import MissingTool


def cache_directory(*parts: str) -> Path:
    """The directory below the cache, made if missing.

    :raises MissingTool: it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    path = home.joinpath("pagelab", *parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a directory that can be written"
        raise MissingTool(f"cannot make the cache directory {path} ({error.strerror})", hint) from error
    return path


@contextmanager
def appears_whole(final: Path) -> Iterator[Path]:
    """A new directory beside ``final`` that takes its name when the block ends well, and vanishes otherwise.

    A directory that is already there is replaced.
    """
    import shutil
    import tempfile

    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield work
        work.chmod(0o755)
        if final.is_dir():
            old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
            final.rename(old / "old")
            work.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
