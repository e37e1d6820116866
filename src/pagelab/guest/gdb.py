# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of QEMU's gdb stub: hold, step and release single CPUs, read and write the guest's memory.

The protocol is gdb's (Remote Serial Protocol, appendix E of gdb's manual), of which this needs a dozen packets.  The
libraries for it drive a gdb, or know no vCont for single threads, and that is the one packet all of this is about:
a CPU that ``vCont`` does not name stays where it is.  A thread of the stub is a CPU, numbered from 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pagelab.errors import GuestFailed

#: How x86-64 QEMU answers ``g``: 16 registers and rip of 8 bytes, eflags and more that nobody needs here.
REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)
#: Bytes of memory in one packet; the stub takes packets of 4096 bytes, two of them for each byte.
_MOST = 1024
_INTERRUPT = b"\x03"
_LONGEST = 1 << 16


class StubFailed(GuestFailed):
    """The stub is gone, or does not answer, or answers what is no answer."""


def signed(number: int) -> int:
    """A number of 64 bits that is meant with its sign."""
    return number - (1 << 64) if number >> 63 else number


@dataclass(frozen=True, slots=True)
class Stopped:
    """All CPUs stand: ``cpu`` is the one that caused it; ``signal`` is 5 at a breakpoint, 2 after an interrupt."""

    cpu: int
    signal: int


class Stub:
    """A connection; :meth:`connect` makes one.  All CPUs stand then, until :meth:`resume`.

    Every method raises :class:`StubFailed` if QEMU is gone, does not answer in time, or answers with an error.

    :param patience: seconds to wait for an answer.  (A stop has its own time: see :meth:`wait`.)
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float = 20.0) -> None:
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self._selected = -1
        self._coming: asyncio.Task[bytes] | None = None
        self.running = False

    @classmethod
    async def connect(cls, path: Path | str, patience: float = 20.0) -> Stub:
        """Connect to the socket of ``-gdb``; the guest stops.

        :raises StubFailed: nobody listens there, or it cannot hold single CPUs.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST)
        except OSError as error:
            raise StubFailed(f"QEMU's gdb stub cannot be reached ({error.strerror})") from error
        stub = cls(reader, writer, patience)
        try:
            await stub.request(b"qSupported:swbreak+;hwbreak+")
            # Only who has asked for the description of the registers may write them.
            await stub.request(b"qXfer:features:read:target.xml:0,ffb")
            actions = await stub.request(b"vCont?")
            if not {b"c", b"s"} <= set(actions.split(b";")[1:]):
                raise StubFailed("QEMU's gdb stub cannot hold single CPUs: it has no vCont", "try another QEMU")
        except BaseException:
            await stub.close()
            raise
        return stub

    async def close(self) -> None:
        """Hang up.  (Does not release what is held: :meth:`detach` does.)"""
        if self._coming is not None:
            self._coming.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def detach(self) -> None:
        """Forget all breakpoints, release all CPUs, hang up."""
        if self.running:
            await self.interrupt()
            await self.wait(self._patience)
        await self.request(b"D")
        await self.close()

    # ---- CPUs

    async def resume(self, cpus: Iterable[int]) -> None:
        """Let these CPUs run while all others stay where they are, until :meth:`wait` tells of a stop."""
        actions = b"".join(b";c:%x" % (cpu + 1) for cpu in sorted(cpus))
        await self._send(b"vCont" + actions)
        self.running = True

    async def step(self, cpu: int) -> Stopped:
        """One instruction of one CPU; neither breakpoints nor interrupts get in between."""
        await self._send(b"vCont;s:%x" % (cpu + 1))
        self.running = True
        stopped = await self.wait(self._patience)
        if stopped is None:
            raise StubFailed(f"QEMU's gdb stub does not step CPU {cpu}")
        return stopped

    async def wait(self, seconds: float) -> Stopped | None:
        """The next stop; ``None`` if there is none in that time, and the CPUs run on."""
        packet = await self._next(seconds)
        if packet is None:
            return None
        self.running = False
        self._selected = -1  # QEMU chooses the CPU that stopped
        if packet[:1] == b"S":
            return Stopped(0, _hex(packet[1:3]))
        if packet[:1] != b"T":
            words = "the guest ended" if packet[:1] in (b"W", b"X") else f"its gdb stub says {packet[:40]!r}"
            raise StubFailed(f"{words} while a CPU was to stop")
        fields = dict(pair.split(b":", 1) for pair in packet[3:].split(b";") if b":" in pair)
        thread = fields.get(b"thread", b"1").rsplit(b".", 1)[-1]
        return Stopped(_hex(thread) - 1, _hex(packet[1:3]))

    async def interrupt(self) -> None:
        """Stop all CPUs; :meth:`wait` tells when they stand."""
        self._writer.write(_INTERRUPT)
        await self._drain()

    async def stand(self) -> Stopped | None:
        """Stop all CPUs if they run; what stopped them, if that was something else than this."""
        if not self.running:
            return None
        await self.interrupt()
        stopped = await self.wait(self._patience)
        if stopped is None:
            raise StubFailed("QEMU's gdb stub does not stop the guest")
        return stopped if stopped.signal == 5 else None

    async def registers(self, cpu: int) -> dict[str, int]:
        """The registers of a CPU that stands, by name."""
        await self._select(cpu)
        data = _bytes(await self.request(b"g"))
        if len(data) < 8 * len(REGISTERS):
            raise StubFailed("QEMU's gdb stub gives no x86-64 registers")
        return dict(zip(REGISTERS, struct.unpack_from(f"<{len(REGISTERS)}Q", data), strict=True))

    async def set_register(self, cpu: int, name: str, value: int) -> None:
        """Change a register of a CPU that stands."""
        await self._select(cpu)
        await self._ok(b"P%x=%s" % (REGISTERS.index(name), struct.pack("<Q", value).hex().encode()))

    # ---- breakpoints and memory

    async def set_breakpoint(self, address: int) -> None:
        """Stop any CPU before the instruction there.  A hardware breakpoint: the guest's memory stays as it is."""
        await self._ok(b"Z1,%x,1" % address)

    async def clear_breakpoint(self, address: int) -> None:
        await self._ok(b"z1,%x,1" % address)

    async def read(self, address: int, size: int) -> bytes:
        """Memory at a virtual address, as the page tables of CPU 0 have it.

        :raises StubFailed: not mapped.
        """
        await self._select(0)
        parts = []
        for at in range(address, address + size, _MOST):
            length = min(_MOST, address + size - at)
            answer = await self.request(b"m%x,%x" % (at, length))
            if answer[:1] == b"E":
                raise StubFailed(f"the guest has no memory at {at:#x}")
            parts.append(_bytes(answer))
        return b"".join(parts)

    async def write(self, address: int, data: bytes) -> None:
        """Change the guest's memory."""
        await self._select(0)
        await self._ok(b"M%x,%x:%s" % (address, len(data), data.hex().encode()))

    async def _select(self, cpu: int) -> None:
        if cpu != self._selected:
            await self._ok(b"Hg%x" % (cpu + 1))
            self._selected = cpu

    # ---- packets

    async def request(self, packet: bytes) -> bytes:
        """Send a packet, and the answer to it."""
        await self._send(packet)
        while True:
            answer = await self._next(self._patience)
            if answer is None:
                raise StubFailed(f"QEMU's gdb stub does not answer {packet[:20].decode('ascii', 'replace')!r}")
            if answer[:1] not in (b"T", b"S"):  # QEMU tells of the stop that connecting is
                return answer

    async def _ok(self, packet: bytes) -> None:
        answer = await self.request(packet)
        if answer != b"OK":
            said = answer.decode("ascii", "replace") or "that it does not know the packet"
            raise StubFailed(f"QEMU's gdb stub answers {packet[:20].decode()!r} with {said}")

    async def _send(self, packet: bytes) -> None:
        self._writer.write(b"$%s#%02x" % (packet, sum(packet) & 0xFF))
        await self._drain()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise StubFailed(f"QEMU is gone ({error.strerror or error})") from error

    async def _next(self, seconds: float) -> bytes | None:
        """The next packet; ``None`` if it does not come in that time, and none of its bytes is lost."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._receive())
        await asyncio.wait({self._coming}, timeout=seconds)
        if not self._coming.done():
            return None
        packet, self._coming = self._coming, None
        return packet.result()

    async def _receive(self) -> bytes:
        """The next packet; a damaged one is asked for again."""
        for _ in range(3):
            try:
                await self._reader.readuntil(b"$")  # acknowledgements are passed over: the socket loses nothing
                packet = (await self._reader.readuntil(b"#"))[:-1]
                checksum = await self._reader.readexactly(2)
            except (asyncio.IncompleteReadError, OSError) as error:
                raise StubFailed("QEMU is gone: its gdb stub hung up") from error
            except asyncio.LimitOverrunError as error:
                raise StubFailed("QEMU's gdb stub sends what is no packet") from error
            good = checksum.lower() == b"%02x" % (sum(packet) & 0xFF)
            self._writer.write(b"+" if good else b"-")
            if good:
                return _expanded(packet)
        raise StubFailed("QEMU's gdb stub sends packets with wrong checksums")


def _expanded(packet: bytes) -> bytes:
    """Without run-length encoding: ``0*"`` is ``0`` and five more of it."""
    parts = packet.split(b"*")
    out = parts[0]
    for part in parts[1:]:
        if not out or not part:
            raise StubFailed("QEMU's gdb stub sends what is no packet")
        out += out[-1:] * (part[0] - 29) + part[1:]
    return out


def _hex(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        raise StubFailed(f"QEMU's gdb stub says {digits[:20]!r} where a number should be") from None


def _bytes(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise StubFailed(f"QEMU's gdb stub says {digits[:20]!r} where memory or registers should be") from None
