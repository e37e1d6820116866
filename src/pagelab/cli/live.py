# SPDX-License-Identifier: GPL-2.0-or-later
"""A line on the terminal that says how far a long run is; nothing where nobody looks, or where it is soon over."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

#: Seconds before anything is shown.
PATIENCE = 0.5


class Live:
    """``with Live() as live: live.show("1,000 states")``."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.begin = time.monotonic()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()

    def show(self, words: str) -> None:
        """How far it is."""
        if time.monotonic() - self.begin < PATIENCE or not sys.stderr.isatty():
            return
        if self.status is None:
            from rich.console import Console

            self.status = Console(stderr=True).status(words)
            self.status.start()
        self.status.update(words)
