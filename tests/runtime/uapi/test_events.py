"""The operation `events=1`: what a subscriber is told on either socket, and that hostile ones take nothing."""

import asyncio
import errno
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pywg.config.uapi_event_reader import Event, EventReader
from pywg.runtime.base.feed import QUEUE_LEN, SUBSCRIBERS_PER_SOCKET
from pywg.runtime.base.log import Level, Log
from pywg.runtime.uapi import server as server_module
from pywg.runtime.uapi.monitor import MAX_MONITORS, MonitorServer
from pywg.runtime.uapi.server import MAX_CONNECTIONS
from tests.lines import StreamOutput
from tests.runtime.uapi.conversation import PATIENCE, Client
from tests.runtime.uapi.test_monitor import Servers, converse

SUBSCRIBED = b"event=subscribed\ntime=1.500\n\n"
BUSY = f"errno=-{errno.EBUSY}\n\n".encode()
SOCKETS = pytest.mark.parametrize("which", ["main", "monitor"])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0)


async def subscribe(servers: Servers, which: str = "monitor") -> Client:
    client = await servers.connect(getattr(servers, which))
    assert await client.ask(b"events=1\n\n") == SUBSCRIBED
    return client


async def events_of(client: Client, until_: str) -> list[Event]:
    """Those that come, up to one of the name `until_`."""
    reader = EventReader()
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while not found or found[-1].name != until_:
            data = await client.reader.read(1 << 16)
            assert data, "hung up on"
            found += reader.take(data)
    return found


@SOCKETS
def test_a_subscriber_is_told_what_happens_from_then_on(tmp_path: Path, which: str) -> None:
    async def test(servers: Servers) -> None:
        feed = servers.device.feed
        feed.tell("before")
        client = await subscribe(servers, which)
        feed.tell("handshake", public_key="ab", endpoint="192.0.2.1:1")
        assert await client.reply() == b"event=handshake\ntime=1.500\npublic_key=ab\nendpoint=192.0.2.1:1\n\n"
        feed.tell("one")
        feed.tell("two", trouble="two\nlines, and \x00")
        assert [event.name for event in await events_of(client, "two")] == ["one", "two"]
        assert servers.device.changes == []

    converse(tmp_path, test)


@SOCKETS
@pytest.mark.parametrize("how", ["close", "further request", "a byte"])
def test_a_subscription_ends_with_its_connection(tmp_path: Path, which: str, how: str) -> None:
    """A subscriber that asks on is hung up on: its connection is a stream to the end."""

    async def test(servers: Servers) -> None:
        client = await subscribe(servers, which)
        assert servers.device.looking
        if how == "close":
            client.writer.close()
        else:
            client.send(b"get=1\n\n" * 1000 if how == "further request" else b"g")
        await until(lambda: not servers.device.looking)
        if how != "close":
            assert b"private_key" not in await end_of(client)

    converse(tmp_path, test)


async def end_of(client: Client) -> bytes:
    try:
        return await client.rest()
    except ConnectionResetError:
        return b""


@SOCKETS
def test_a_subscriber_that_ends_its_own_half_is_told_on(tmp_path: Path, which: str) -> None:
    """As `echo events=1 | nc -U` does. Its end as a whole is noticed all the same."""

    async def test(servers: Servers) -> None:
        client = await servers.connect(getattr(servers, which))
        client.send(b"events=1\n")
        client.writer.write_eof()
        assert await client.reply() == SUBSCRIBED
        for name in ("one", "two"):
            await asyncio.sleep(0)
            servers.device.feed.tell(name)
            assert (await client.reply()).startswith(f"event={name}\n".encode())
        client.writer.close()
        await until(lambda: not servers.device.looking)

    converse(tmp_path, test)


@SOCKETS
def test_one_that_does_not_read_loses_events_and_is_told_how_many(tmp_path: Path, which: str) -> None:
    async def test(servers: Servers) -> None:
        slow, quick = await subscribe(servers, which), await subscribe(servers, which)
        slow.listen(on=False)
        sent = 0
        for _ in range(100):
            for _ in range(QUEUE_LEN // 1000):
                servers.device.feed.tell("filler", text="x" * 900)
                sent += 1
            servers.device.feed.tell("mark")
            sent += 1
            assert (await events_of(quick, "mark"))[-1].name == "mark"
        slow.listen(on=True)
        found = await events_of(slow, "lost")
        assert sent - (len(found) - 1) == int(found[-1].facts["events"]) > 0
        servers.device.feed.tell("after")
        assert [event.name for event in await events_of(slow, "after")] == ["after"]

    converse(tmp_path, test)


@SOCKETS
def test_one_that_takes_nothing_for_long_is_dropped(
    tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SEND_TIMEOUT_S", 0.05)

    async def test(servers: Servers) -> None:
        slow = await subscribe(servers, which)
        slow.listen(on=False)
        while servers.device.looking:
            servers.device.feed.tell("filler", text="x" * 900)
            await asyncio.sleep(0)

    converse(tmp_path, test)


@SOCKETS
def test_a_thousand_subscribers_take_no_place_of_others(tmp_path: Path, which: str) -> None:
    async def test(servers: Servers) -> None:
        path = getattr(servers, which)
        first = [await subscribe(servers, which) for _ in range(SUBSCRIBERS_PER_SOCKET)]
        for number in range(1000):
            assert await (await servers.connect(path)).ask(b"events=1\n\n") == BUSY
            if number % 100 == 0:
                assert await (await servers.connect(servers.main)).ask(b"set=1\n\n") == b"errno=0\n\n"
        other = servers.monitor if which == "main" else servers.main
        assert await (await servers.connect(other)).ask(b"events=1\n\n") == SUBSCRIBED
        servers.device.feed.tell("all")
        for client in first:  # none of them has given way
            assert (await client.reply()).startswith(b"event=all\n")
        first[0].writer.close()
        again = await servers.connect(path)
        async with asyncio.timeout(PATIENCE):
            while await again.ask(b"events=1\n\n") == BUSY:
                pass

    converse(tmp_path, test)


def test_a_subscriber_is_none_of_the_connections_that_give_way(tmp_path: Path) -> None:
    async def test(servers: Servers) -> None:
        for which, most in (("main", MAX_CONNECTIONS), ("monitor", MAX_MONITORS)):
            client = await subscribe(servers, which)
            for _ in range(most + 1):
                assert await (await servers.connect(getattr(servers, which))).ask(b"stats=1\n\n")
            servers.device.feed.tell("still")
            assert (await client.reply()).startswith(b"event=still\n")

    converse(tmp_path, test)


@SOCKETS
@pytest.mark.parametrize("request_", [b"events=1\npublic_key=00\n\n", b"events=1\nevents=1\n\n"])
def test_a_subscription_takes_no_further_lines(tmp_path: Path, which: str, request_: bytes) -> None:
    async def test(servers: Servers) -> None:
        client = await servers.connect(getattr(servers, which))
        assert await client.ask(request_) == f"errno=-{errno.EINVAL}\n\n".encode()
        assert not servers.device.looking
        assert await client.ask(b"events=1\n\n") == SUBSCRIBED

    converse(tmp_path, test)


@SOCKETS
@pytest.mark.parametrize("request_", [b"events=10\n\n", b"events=1x\n\n", b"events=2\n\n", b"events\n\n"])
def test_what_is_like_it_is_no_operation(tmp_path: Path, which: str, request_: bytes) -> None:
    async def test(servers: Servers) -> None:
        assert await servers.told(getattr(servers, which), request_) == b""

    converse(tmp_path, test)


@SOCKETS
def test_the_end_of_the_interface_is_told(tmp_path: Path, which: str) -> None:
    told: list[asyncio.Task[bytes]] = []

    async def test(servers: Servers) -> None:
        client = await subscribe(servers, which)
        servers.device.feed.tell("last")
        for server in servers._servers:
            await server.close()
        told.append(asyncio.ensure_future(client.rest()))
        assert await told[0] in (
            b"event=last\ntime=1.500\n\nevent=ending\ntime=1.500\n\nerrno=0\n\n",
            b"event=ending\ntime=1.500\n\nerrno=0\n\n",
        )
        assert not servers.device.looking

    converse(tmp_path, test)


def test_monitors_that_are_refused_fill_no_log(tmp_path: Path) -> None:
    text = io.StringIO()
    log = Log("wg0", Level.ERROR, output=StreamOutput(text))

    async def ask(connect: Callable[[], Awaitable[Client]]) -> None:
        for _ in range(200):
            assert b"errno=-" in await (await connect()).ask(b"stats=1\nx=1\n\n")

    async def test(servers: Servers) -> None:
        servers._servers[1]._log = log
        assert isinstance(servers._servers[1], MonitorServer)
        await ask(lambda: servers.connect(servers.monitor))
        assert len(text.getvalue().splitlines()) < 10
        servers._servers[0]._log = log
        await ask(lambda: servers.connect(servers.main))
        assert len(text.getvalue().splitlines()) >= 200  # the positive control: root's own are told

    converse(tmp_path, test)
