# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration a kernel was built with: /boot/config-VERSION or /proc/config.gz."""

from __future__ import annotations

import re
from pathlib import Path

from pagelab.capture.files import read_lines
from pagelab.errors import BadInput

_SET = re.compile(r"(CONFIG_\w+)=(.*)$")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set$")


def read_config(path: Path) -> dict[str, str]:
    """Option to value: "y", "m", "n" (is not set), a number as written, or a string without its quotes.

    :raises BadInput: a line is none of a configuration; the sentence names it.
    """
    config = {}
    for number, line in enumerate(read_lines(path), 1):
        if match := _UNSET.match(line):
            config[match[1]] = "n"
        elif match := _SET.match(line):
            value = match[2]
            quoted = len(value) >= 2 and value[0] == value[-1] == '"'
            config[match[1]] = re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value
        elif line.strip() and not line.startswith("#"):
            raise BadInput(
                f"{path}: line {number}: this is no line of a kernel configuration: {line[:60]!r}",
                "It has to be a copy of /boot/config-VERSION or /proc/config.gz of the kernel that was traced.",
            )
    if not config:
        raise BadInput(f"{path}: holds no CONFIG_ option", "It has to be a copy of /boot/config-VERSION.")
    return config
