"""The configuration socket's conversation: operations, their replies, and what is none. dropin: 7."""

import asyncio
import errno
import io
import os

import pytest

from pywg.config.model import DeviceChange, PeerTrouble
from pywg.config.uapi import parse_troubles
from pywg.errors import UapiError
from pywg.runtime.base.log import Level, Log
from tests.lines import StreamOutput
from tests.runtime.uapi.conversation import KEY, Connect, FakeDevice, Talk


@pytest.mark.dropin("7")
def test_several_operations_on_one_connection(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"set=1\nlisten_port=1\n\n") == b"errno=0\n\n"
        got = await client.ask(b"get=1\n\n")
        assert got.startswith(b"private_key=" + KEY.hex().encode() + b"\nlisten_port=51820\n")
        assert got.endswith(b"errno=0\n\n")
        assert await client.ask(b"set=1\nfwmark=2\n\n") == b"errno=0\n\n"
        assert [(c.listen_port, c.fwmark) for c in device.changes] == [(1, None), (None, 2)]

    talk(test)


@pytest.mark.dropin("7")
def test_operations_in_one_packet_are_answered_in_order(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(b"set=1\nlisten_port=1\n\nset=1\nlisten_port=x\n\nget=1\n\nset=1\nlisten_port=2\n\n")
        assert await client.reply() == b"errno=0\n\n"
        assert await client.reply() == b"errno=-22\n\n"
        assert b"listen_port=51820" in await client.reply()
        assert await client.reply() == b"errno=0\n\n"
        assert [c.listen_port for c in device.changes] == [1, 2]

    talk(test)


@pytest.mark.dropin("7")
def test_end_of_stream_in_place_of_the_blank_line(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        for request in (b"set=1\nlisten_port=9\n", b"set=1\n", b"get=1\n"):
            client = await connect()
            client.send(request)
            client.writer.write_eof()
            assert (await client.rest()).endswith(b"errno=0\n\n")
        assert [c.listen_port for c in device.changes] == [9, None]

    talk(test)


@pytest.mark.dropin("Bad input")
def test_half_a_line_is_never_carried_out(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(b"set=1\npublic_key=" + KEY.hex().encode() + b"\nallowed_ip=10.0.0.0/2")
        client.writer.write_eof()
        assert await client.rest() == b""
        assert device.changes == []
        client = await connect()
        client.send(b"set=1\npublic_key=" + KEY.hex().encode() + b"\nallowed_ip=10.0.0.0/24\n")
        client.writer.write_eof()
        assert await client.rest() == b"errno=0\n\n"
        assert len(device.changes) == 1

    talk(test)


def test_an_empty_set_changes_nothing_and_succeeds(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert device.changes == [DeviceChange()]

    talk(test)


def test_byte_by_byte(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        for byte in b"set=1\nlisten_port=77\n\n":
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.reply() == b"errno=0\n\n"
        assert device.changes[0].listen_port == 77

    talk(test)


@pytest.mark.dropin("7")
@pytest.mark.known_bug("UAPI errors with positive errno")
@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        (b"set=1\nlisten_port\n\n", errno.EPROTO),
        (b"set=1\nnonsense=1\n\n", errno.EINVAL),
        (b"get=1\nlisten_port=1\n\n", errno.EINVAL),
        (b"stats=1\nx=1\n\n", errno.EINVAL),
        (b"peers=1\nx=1\n\n", errno.EINVAL),
    ],
)
def test_errors_are_negative_and_the_connection_goes_on(talk: Talk, request_text: bytes, code: int) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(request_text) == b"errno=-%d\n\n" % code
        assert (await client.ask(b"set=1\n\n")) == b"errno=0\n\n"

    talk(test)


def test_a_refusal_of_the_device_reaches_the_client(talk: Talk) -> None:
    device = FakeDevice()
    device.refuse = UapiError("port taken", errno=errno.EADDRINUSE)

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"set=1\nlisten_port=1\n\n") == b"errno=-98\n\n"

    talk(test, device)


@pytest.mark.parametrize("request_text", [b"\n", b"x", b"get=2", b"set=1x", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_can_become_no_operation_is_hung_up_on_at_once(talk: Talk, request_text: bytes) -> None:
    """A client that speaks something else waits for an answer, and would never send the blank line."""

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(request_text)
        assert await client.rest() == b""
        assert await client_after(connect)

    async def client_after(connect: Connect) -> bool:
        client = await connect()
        return await client.ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


@pytest.mark.parametrize("request_text", [b"\n\n", b"GET / HTTP/1.1\r\n\n\n", b"set=2\n\n", b"\0\0\n\n", b"get=1 \n\n"])
def test_what_is_no_operation_is_hung_up_on(talk: Talk, request_text: bytes) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(request_text)
        assert await client.rest() == b""
        assert device.changes == []
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


def test_peers_in_trouble(talk: Talk) -> None:
    device = FakeDevice()
    device.in_trouble = [PeerTrouble(bytes([number]) * 32, number, 5, "no route \N{EM DASH}") for number in (1, 2)]

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        reply = await client.ask(b"peers=1\n\n")
        assert reply.startswith(b"public_key=" + b"01" * 32 + b"\ninitiations_unanswered=1\nunanswered_seconds=5\n")
        assert reply.count(b"\ntrouble=no route \\u2014\n") == 2  # on one line, and ASCII, whatever the text
        assert [one.initiations_unanswered for one in parse_troubles(reply)] == [1, 2]
        device.in_trouble = []
        assert await client.ask(b"peers=1\n\n") == b"errno=0\n\n"

    talk(test, device)


def test_many_peers_in_trouble_leave_others_their_turn(talk: Talk) -> None:
    device = FakeDevice()
    device.in_trouble = [PeerTrouble(bytes(32), 1, 1, "")] * 10_000

    async def test(device: FakeDevice, connect: Connect) -> None:
        first, second = await connect(), await connect()
        first.send(b"peers=1\n\n")
        assert await second.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert len(parse_troubles(await first.reply())) == 10_000

    talk(test, device)


def test_stats(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"stats=1\n\n") == b"peers=2\ncounter_bad_mac1=7\nsandbox_seccomp=1\nerrno=0\n\n"

    talk(test)


def test_a_request_of_many_lines(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        lines = b"".join(b"allowed_ip=10.%d.%d.0/24\n" % divmod(i, 256) for i in range(65536))
        assert await client.ask(b"set=1\npublic_key=" + KEY.hex().encode() + b"\n" + lines + b"\n") == b"errno=0\n\n"
        assert len(device.changes[0].peers[0].allowed_ips) == 65536

    talk(test)


@pytest.mark.dropin("2")
def test_log_level(talk: Talk) -> None:
    log = Log("wg0", Level.SILENT, output=StreamOutput())

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        for word, level in ((b"debug", Level.DEBUG), (b"ERROR", Level.ERROR), (b"silent", Level.SILENT)):
            assert await client.ask(b"log_level=" + word + b"\n\n") == b"errno=0\n\n"
            assert log.level is level
        for wrong in (b"loud", b"", b"debug\nx=1", b"debug\n" + b"x" * 100, b"\xff"):
            assert await client.ask(b"log_level=" + wrong + b"\n\n") == b"errno=-22\n\n"
        for cut in range(40, 60):  # what looks well as far as it was looked at, and goes on
            for beyond in (b"x", b"\nx=1"):
                request = b"log_level=debug" + b" " * cut + beyond + b"\n\n"
                assert await client.ask(request) == b"errno=-22\n\n", cut
        assert log.level is Level.SILENT
        assert await client.ask(b"get=1\n\n") != b""

    talk(test, log=log)


def test_the_log_names_the_operation_that_is_refused(talk: Talk) -> None:
    text = io.StringIO()

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"log_level=loud\n\n") == b"errno=-22\n\n"
        assert await client.ask(b"get=1\nx=1\n\n") == b"errno=-22\n\n"

    talk(test, log=Log("wg0", Level.ERROR, output=StreamOutput(text)))
    about_level, about_get = text.getvalue().splitlines()
    assert "UAPI: log_level: 'loud' is no log level" in about_level
    assert "UAPI: get=1: " in about_get


def test_a_statistic_that_is_no_text(talk: Talk) -> None:
    """The name of a device may be any bytes."""

    class Odd(FakeDevice):
        def stats(self) -> dict[str, int | str]:  # type: ignore[override]
            return {"bound_device": os.fsdecode(b"\xff0")}

    async def test(device: FakeDevice, connect: Connect) -> None:
        assert (await (await connect()).ask(b"stats=1\n\n")).startswith(b"bound_device=\xff0\n")

    talk(test, device=Odd())
