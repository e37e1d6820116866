# SPDX-License-Identifier: GPL-2.0-or-later
"""From trace.dat on disk to sorted columns, beside ``trace-cmd report`` on the same file.  The bar: 3 M events/s.

Without a file, real sub-buffers of a 6.1 kernel are repeated until there are ``--events`` of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from pagelab.capture.trace_dat import read_contents, read_trace_dat

REAL = Path(__file__).parents[1] / "tests" / "data" / "capture" / "real-6.1.dat"
RUNS = 5


def repeat(source: Path, target: Path, events: int) -> None:
    """Writes a trace.dat with the sub-buffers of ``source`` over and over, later each time."""
    data = source.read_bytes()
    contents = read_contents(memoryview(data), source)
    (buffer,) = contents.buffers
    once = len(read_trace_dat(source).events)
    rounds = -(-events // once)
    pages = [
        [data[at : at + buffer.page_size] for at in range(cpu.start, cpu.start + cpu.size, buffer.page_size)]
        for cpu in buffer.cpus
    ]
    first = min(cpu.start for cpu in buffer.cpus)
    table = data.index(b"flyrecord\0") + 10
    head = bytearray(data[:first])
    at = first
    for number, own in enumerate(pages):
        size = rounds * len(own) * buffer.page_size
        head[table + 16 * number : table + 16 * number + 16] = struct.pack("<QQ", at, size)
        at += size
    with target.open("wb") as file:
        file.write(head)
        for own in pages:
            for later in range(rounds):
                for page in own:
                    stamp = struct.unpack_from("<Q", page)[0] + later * 100_000_000
                    file.write(struct.pack("<Q", stamp) + page[8:])


def best(command: list[str] | None, path: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of the fastest run: of a program, or of pagelab's reader in this process."""
    times = []
    for _ in range(RUNS):
        before, begin = os.times(), time.perf_counter()
        if command is None:
            read_trace_dat(path)
        else:
            subprocess.run([*command, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - begin, sum(os.times()[:4]) - sum(before[:4])))
    return min(wall for wall, _ in times), min(processor for _, processor in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a trace.dat instead of the repeated one")
    parser.add_argument("--events", type=int, default=2_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = arguments.file or Path(directory) / "trace.dat"
        if arguments.file is None:
            repeat(REAL, path, arguments.events)
        read_trace_dat(REAL)  # loads the compiled code
        events = len(read_trace_dat(path).events)
        seconds, processor = best(None, path)
        print(f"{events} events, {os.path.getsize(path) / 1e6:.0f} MB, best of {RUNS} runs")
        print(f"pagelab          {seconds:7.3f} s {processor:7.2f} s of CPU  {events / seconds / 1e6:6.2f} M events/s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"                 {peak:7.0f} MiB at the peak, the mapped file included")
        if shutil.which("trace-cmd") is None:
            print("trace-cmd is not installed: nothing to compare with")
            return
        report, spent = best(["trace-cmd", "report"], path)
        print(f"trace-cmd report {report:7.3f} s {spent:7.2f} s of CPU  {events / report / 1e6:6.2f} M events/s")
        print(f"ratio            {report / seconds:7.1f}   {spent / processor:7.1f}")


if __name__ == "__main__":
    main()
