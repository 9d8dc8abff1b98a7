"""Clients of the configuration socket that are slow, silent, hostile or many: each hurts only itself."""

import asyncio
import contextlib
import io
import socket
from collections.abc import Callable, Generator
from typing import ParamSpec, TypeAlias, TypeVar

import pytest

from pywg.config.model import PeerStatus
from pywg.config.uapi import format_get_steps, parse_set_steps
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.poller import Poller
from pywg.runtime.uapi import server as uapi_server
from pywg.runtime.uapi.server import UapiServer
from tests.lines import StreamOutput
from tests.runtime.uapi.conversation import MANY, PATIENCE, Client, Connect, FakeDevice, Talk


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether a connection is being answered."""
    servers: list[UapiServer] = []
    start = UapiServer.start

    def started(self: UapiServer, poller: Poller) -> None:
        servers.append(self)
        start(self, poller)

    monkeypatch.setattr(UapiServer, "start", started)
    return lambda: any(one for server in servers for one in server._connections.values())


@pytest.mark.dropin("UAPI clients")
def test_a_silent_or_vanishing_client_blocks_nobody(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        silent = await connect()
        half = await connect()
        half.send(b"set=1\npriv")
        await half.writer.drain()
        gone = await connect()
        gone.send(b"get=1\n\n")
        gone.writer.transport.abort()
        assert (await (await connect()).ask(b"get=1\n\n")).endswith(b"errno=0\n\n")
        assert await silent.ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


@pytest.mark.dropin("UAPI clients")
def test_a_client_that_doesnt_read_its_reply_blocks_nobody_and_is_disconnected(
    talk: Talk, busy: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi_server, "SEND_TIMEOUT_S", 0.2)
    device = FakeDevice()
    device.peers = [PeerStatus(bytes([1] * 32), allowed_ips=[(bytes(4), 8)] * 200_000)]

    async def test(device: FakeDevice, connect: Connect) -> None:
        deaf = await connect()
        deaf.listen(on=False)
        deaf.send(b"get=1\n\n")
        while not busy():
            await asyncio.sleep(0)
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"
        async with asyncio.timeout(PATIENCE):
            while busy():  # until the server has hung up
                await asyncio.sleep(0.01)
        deaf.listen(on=True)
        assert not (await deaf.rest()).endswith(b"errno=0\n\n")

    talk(test, device)


def test_an_endless_request_is_hung_up_on(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_server, "MAX_REQUEST_LEN", 1 << 16)

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(b"set=1\n" + b"x" * (1 << 17))
        with contextlib.suppress(ConnectionResetError):  # what the server didn't read makes it a reset
            assert await client.rest() == b""
        assert device.changes == []
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


def test_the_longest_idle_connection_makes_room(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_server, "MAX_CONNECTIONS", 3)

    async def test(device: FakeDevice, connect: Connect) -> None:
        clients = []
        for _ in range(3):
            clients.append(await connect())
            assert await clients[-1].ask(b"set=1\n\n") == b"errno=0\n\n"
        assert await clients[0].ask(b"set=1\n\n") == b"errno=0\n\n"
        newest = await connect()
        assert await newest.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert await clients[1].rest() == b""
        for client in (clients[0], clients[2], newest):
            assert await client.ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


def test_the_end_of_an_idle_connection_is_told(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_server, "MAX_CONNECTIONS", 3)
    text = io.StringIO()

    async def test(device: FakeDevice, connect: Connect) -> None:
        kept = [await connect() for _ in range(3)]
        for client in kept:
            assert await client.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert "idle longest" not in text.getvalue()
        newer = [await connect() for _ in range(2)]  # at once: two are ended, not one twice
        for client in newer:
            assert await client.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert [await client.rest() for client in kept[:2]] == [b"", b""]
        assert await kept[2].ask(b"set=1\n\n") == b"errno=0\n\n"
        assert text.getvalue().count("the one that was idle longest is ended") == 2

    talk(test, log=Log("wg0", Level.DEBUG, output=StreamOutput(text)))


def test_a_connection_that_is_being_answered_is_not_idle(
    talk: Talk, busy: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi_server, "MAX_CONNECTIONS", 2)
    lines = "".join(f"public_key={number:064x}\n" for number in range(MANY))

    async def test(device: FakeDevice, connect: Connect) -> None:
        answered, idle = await connect(), await connect()
        assert await answered.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert await idle.ask(b"set=1\n\n") == b"errno=0\n\n"
        answered.send(f"set=1\n{lines}\n".encode())
        while not busy():
            await asyncio.sleep(0)
        newest = await connect()
        assert await idle.rest() == b""
        assert await answered.reply() == b"errno=0\n\n"
        assert await newest.ask(b"set=1\n\n") == b"errno=0\n\n"

    talk(test)


P = ParamSpec("P")
R = TypeVar("R")
Watched: TypeAlias = list[tuple[int, int]]


def _watched(
    device: FakeDevice, steps: Callable[P, Generator[None, None, R]], log: Watched
) -> Callable[P, Generator[None, None, R]]:
    """`steps` with a note of how often the device was asked for its stats, before and after, and what was set."""

    def watched(*arguments: P.args, **named: P.kwargs) -> Generator[None, None, R]:
        before = device.asked, len(device.changes)
        try:
            return (yield from steps(*arguments, **named))
        finally:
            log.append((device.asked - before[0], len(device.changes) - before[1]))

    return watched


async def _until(done: asyncio.Future[bytes], client: Client, question: bytes) -> bytes:
    """How the last reply began; asks again and again until `done` is."""
    reply = b""
    while not done.done():
        reply = await client.ask(question)
    return reply


@pytest.mark.dropin("11", "UAPI clients")
def test_others_are_answered_while_a_long_change_is_read(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    log: Watched = []
    monkeypatch.setattr(uapi_server, "parse_set_steps", _watched(device, parse_set_steps, log))
    lines = "".join(f"public_key={number:064x}\n" for number in range(MANY))

    async def test(device: FakeDevice, connect: Connect) -> None:
        client, other = await connect(), await connect()
        done = asyncio.ensure_future(client.ask(f"set=1\n{lines}\n".encode()))
        await _until(done, other, b"stats=1\n\n")
        assert await done == b"errno=0\n\n"
        assert [len(change.peers) for change in device.changes] == [MANY]
        assert log[0][0] > 0

    talk(test, device)


@pytest.mark.dropin("11", "UAPI clients")
def test_others_are_answered_while_a_long_reply_is_written_and_nothing_is_set(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice()
    log: Watched = []
    device.peers = [PeerStatus(public_key=number.to_bytes(32, "big")) for number in range(MANY)]
    monkeypatch.setattr(uapi_server, "format_get_steps", _watched(device, format_get_steps, log))

    async def test(device: FakeDevice, connect: Connect) -> None:
        client, other, third = await connect(), await connect(), await connect()
        done = asyncio.ensure_future(client.ask(b"get=1\n\n"))
        changes = asyncio.ensure_future(_until(done, third, b"set=1\nfwmark=1\n\n"))
        await _until(done, other, b"stats=1\n\n")
        assert (await done).count(b"public_key=") == MANY
        await changes
        assert device.changes
        (asked, changed), *_ = log
        assert asked > 0
        assert changed == 0

    talk(test, device)


def test_a_client_that_loses_its_place_has_made_its_long_change_or_none_of_it(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one isn't kept waiting for it."""
    monkeypatch.setattr(uapi_server, "MAX_CONNECTIONS", 1)
    lines = "".join(f"public_key={number:064x}\n" for number in range(MANY))

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(f"set=1\n{lines}\n".encode())
        other = await connect()  # takes the other's place
        assert await other.ask(b"set=1\nfwmark=7\n\n") == b"errno=0\n\n"
        assert [len(change.peers) for change in device.changes if change.fwmark is None] in ([], [MANY])
        assert device.changes[-1].fwmark == 7

    talk(test)


def test_a_client_that_is_ended_before_it_is_served_is_closed() -> None:
    """Python asks for the far end's name of a socket that it closes by itself, which the sandbox refuses."""

    async def test() -> socket.socket:
        listener, (near, far) = socket.socket(socket.AF_UNIX), socket.socketpair()
        with listener, far:
            server = UapiServer(listener, FakeDevice(), Log("wg0", Level.SILENT, output=StreamOutput()))
            server._take(near, asyncio.get_running_loop())
            await server.close()
        return near

    assert asyncio.run(test()).fileno() == -1
