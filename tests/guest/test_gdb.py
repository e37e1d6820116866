# SPDX-License-Identifier: GPL-2.0-or-later
"""The client of QEMU's gdb stub, against stubs that behave and stubs that do not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pagelab.guest.gdb import REGISTERS, Stopped, Stub, StubFailed


def framed(packet: bytes) -> bytes:
    return b"$%s#%02x" % (packet, sum(packet) & 0xFF)


Answers = dict[bytes, bytes | None]


class Fake:
    """Answers packets from a table; what is not in it, with an empty packet.  ``said`` is all that the client sent.

    An answer that begins with ``!`` is sent as it is, None hangs up.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers = {b"vCont?": b"vCont;c;C;s;S", b"qSupported:swbreak+;hwbreak+": b"PacketSize=1000", **answers}
        self.said: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while byte := await reader.read(1):
            if byte == b"\x03":
                packet = byte
            elif byte == b"$":
                packet = (await reader.readuntil(b"#"))[:-1]
                assert int(await reader.readexactly(2), 16) == sum(packet) & 0xFF
            elif byte == b"-":
                packet = byte
            else:
                continue
            self.said.append(packet)
            answer = self.answers.get(packet, b"OK" if packet[:1] in (b"H", b"Z", b"z", b"M", b"D") else b"")
            if answer is None:
                break
            if packet != b"-" or answer:
                writer.write(answer[1:] if answer[:1] == b"!" else framed(answer))
        writer.close()


def with_stub(tmp_path: Path, answers: Answers, use: Callable[[Stub], Awaitable[object]]) -> tuple[object, list[bytes]]:
    """What ``use`` gives for a client of such a stub, and what the client said after it had connected."""
    fake = Fake(answers)

    @asynccontextmanager
    async def connected() -> AsyncIterator[Stub]:
        server = await asyncio.start_unix_server(fake.serve, tmp_path / "gdb")
        stub = await Stub.connect(tmp_path / "gdb", patience=0.3)
        try:
            yield stub
        finally:
            await stub.close()
            server.close()

    async def main() -> object:
        async with connected() as stub:
            return await use(stub)

    return asyncio.run(main()), fake.said[3:]


def test_only_the_named_cpus_run(tmp_path: Path) -> None:
    async def use(stub: Stub) -> Stopped | None:
        await stub.resume([2, 0])
        return await stub.wait(1)

    stopped, said = with_stub(tmp_path, {b"vCont;c:1;c:3": b"T05thread:03;"}, use)
    assert stopped == Stopped(2, 5)
    assert said == [b"vCont;c:1;c:3"]


def test_a_stop_that_does_not_come_leaves_the_cpus_running(tmp_path: Path) -> None:
    async def use(stub: Stub) -> tuple[object, ...]:
        await stub.resume([1])
        first = await stub.wait(0.05)
        running = stub.running
        return first, running, await stub.stand(), stub.running

    answers: Answers = {b"vCont;c:2": b"!", b"\x03": b"T02thread:01;"}
    assert with_stub(tmp_path, answers, use)[0] == (None, True, None, False)


def test_a_breakpoint_that_comes_before_the_interrupt_is_told(tmp_path: Path) -> None:
    async def use(stub: Stub) -> Stopped | None:
        await stub.resume([1])
        return await stub.stand()

    assert with_stub(tmp_path, {b"vCont;c:2": b"!", b"\x03": b"T05thread:02;"}, use)[0] == Stopped(1, 5)


def test_threads_may_carry_a_process(tmp_path: Path) -> None:
    async def use(stub: Stub) -> Stopped:
        return await stub.step(1)

    assert with_stub(tmp_path, {b"vCont;s:2": b"T05core:1;thread:p1.2;"}, use)[0] == Stopped(1, 5)


def test_registers_have_their_names(tmp_path: Path) -> None:
    values = range(100, 100 + len(REGISTERS))
    data = struct.pack(f"<{len(REGISTERS)}Q", *values) + b"\x46\x02\0\0" + bytes(200)

    async def use(stub: Stub) -> dict[str, int]:
        await stub.registers(1)
        return await stub.registers(1)

    registers, said = with_stub(tmp_path, {b"g": data.hex().encode()}, use)
    assert registers == dict(zip(REGISTERS, values, strict=True))
    assert said == [b"Hg2", b"g", b"g"]  # the CPU is chosen once


def test_after_a_stop_the_cpu_is_chosen_anew(tmp_path: Path) -> None:
    async def use(stub: Stub) -> None:
        await stub.registers(0)
        await stub.step(1)
        await stub.registers(0)

    data = bytes(8 * len(REGISTERS)).hex().encode()
    said = with_stub(tmp_path, {b"g": data, b"vCont;s:2": b"T05thread:02;"}, use)[1]
    assert said == [b"Hg1", b"g", b"vCont;s:2", b"Hg1", b"g"]


def test_a_register_is_written_by_its_number(tmp_path: Path) -> None:
    async def use(stub: Stub) -> None:
        await stub.set_register(1, "rip", 0x1122)

    assert with_stub(tmp_path, {b"P10=2211000000000000": b"OK"}, use)[1] == [b"Hg2", b"P10=2211000000000000"]


def test_long_reads_are_cut_into_packets(tmp_path: Path) -> None:
    async def use(stub: Stub) -> bytes:
        return await stub.read(0x1000, 1030)

    answers: Answers = {b"m1000,400": b"ab" * 1024, b"m1400,6": b"cd" * 6}
    data, said = with_stub(tmp_path, answers, use)
    assert data == b"\xab" * 1024 + b"\xcd" * 6
    assert said[1:] == [b"m1000,400", b"m1400,6"]


def test_run_lengths_are_expanded(tmp_path: Path) -> None:
    async def use(stub: Stub) -> bytes:
        return await stub.read(0x1000, 6)

    assert with_stub(tmp_path, {b"m1000,6": b'0*"12ab34'}, use)[0] == bytes.fromhex("00000012ab34")


def test_a_damaged_packet_is_asked_for_again(tmp_path: Path) -> None:
    async def use(stub: Stub) -> bytes:
        return await stub.read(0x10, 1)

    data, said = with_stub(tmp_path, {b"m10,1": b"!+$5a#00", b"-": b"5a"}, use)
    assert (data, said[-1]) == (b"\x5a", b"-")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "QEMU is gone"),
        (b"!", "does not answer 'm10,1'"),
        (b"E14", "the guest has no memory at 0x10"),
        (b"!$5a#00$5a#00$5a#00", "wrong checksums"),
        (b"zz", "where memory or registers should be"),
        (b"*5", "what is no packet"),
        (b"!$" + b"0" * (1 << 17), "what is no packet"),
    ],
)
def test_a_stub_that_fails_is_one_clear_error(tmp_path: Path, answer: bytes | None, words: str) -> None:
    async def use(stub: Stub) -> bytes:
        return await stub.read(0x10, 1)

    with pytest.raises(StubFailed, match=words):
        with_stub(tmp_path, {b"m10,1": answer, b"-": b"!"}, use)


@pytest.mark.parametrize(
    ("answer", "words"), [(b"W00", "the guest ended"), (None, "QEMU is gone"), (b"Txx", "where a number should be")]
)
def test_a_guest_that_ends_while_a_cpu_runs_is_told(tmp_path: Path, answer: bytes | None, words: str) -> None:
    async def use(stub: Stub) -> Stopped | None:
        await stub.resume([0])
        return await stub.wait(1)

    with pytest.raises(StubFailed, match=words):
        with_stub(tmp_path, {b"vCont;c:1": answer}, use)


def test_a_stub_that_cannot_hold_single_cpus_is_refused(tmp_path: Path) -> None:
    async def use(stub: Stub) -> None:
        raise AssertionError("not reached")

    with pytest.raises(StubFailed, match="it has no vCont"):
        with_stub(tmp_path, {b"vCont?": b""}, use)


def test_the_stop_at_connecting_is_no_answer(tmp_path: Path) -> None:
    async def use(stub: Stub) -> bytes:
        return await stub.read(0x10, 1)

    assert with_stub(tmp_path, {b"m10,1": b"!" + framed(b"T02thread:01;") + framed(b"5a")}, use)[0] == b"\x5a"


def test_nobody_listening_is_told(tmp_path: Path) -> None:
    with pytest.raises(StubFailed, match=r"cannot be reached \(No such file or directory\)"):
        asyncio.run(Stub.connect(tmp_path / "gdb"))


def test_a_refused_breakpoint_is_told(tmp_path: Path) -> None:
    async def use(stub: Stub) -> None:
        await stub.set_breakpoint(0xFFFFFFFF81000000)

    with pytest.raises(StubFailed, match="answers 'Z1,ffffffff81000000,' with E22"):
        with_stub(tmp_path, {b"Z1,ffffffff81000000,1": b"E22"}, use)


def test_detaching_stops_the_guest_first(tmp_path: Path) -> None:
    async def use(stub: Stub) -> None:
        await stub.resume([0])
        await stub.detach()

    said = with_stub(tmp_path, {b"vCont;c:1": b"!", b"\x03": b"T02thread:01;"}, use)[1]
    assert said[-2:] == [b"\x03", b"D"]
