"""The monitoring socket: what it shows, what it refuses, and that its clients take nothing from those of the other."""

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pywg.config.model import PeerStatus, PeerTrouble
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.poller import Poller
from pywg.runtime.uapi.monitor import MAX_MONITORS, MonitorServer
from pywg.runtime.uapi.server import UapiServer
from tests.lines import StreamOutput
from tests.runtime.uapi.conversation import KEY, MANY, PATIENCE, Client, FakeDevice

PRESHARED = bytes(range(64, 96))
PUBLIC = bytes(range(128, 160))
REFUSED = f"errno=-{errno.EACCES}\n\n".encode()


class Servers:
    """Both servers of one device, and connections to each."""

    def __init__(self, device: FakeDevice, directory: Path, **options: Any) -> None:
        self.device = device
        self.main, self.monitor = directory / "main", directory / "monitor"
        self._listeners = [_listener(self.main), _listener(self.monitor)]
        log = Log("wg0", Level.SILENT, output=StreamOutput())
        first = UapiServer(self._listeners[0], device, log)
        second = MonitorServer(self._listeners[1], device, log, configuration=first.configuration, **options)
        self._servers = [first, second]
        self._clients: list[Client] = []

    async def connect(self, path: Path) -> Client:
        self._clients.append(Client(*await asyncio.open_unix_connection(path, limit=1 << 26)))
        return self._clients[-1]

    async def told(self, path: Path, request: bytes) -> bytes:
        """All that a blocking client, such as `wg`, reads after `request` until it is hung up on."""

        def tell() -> bytes:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(PATIENCE)
                client.connect(str(path))
                client.sendall(request)
                told = b""
                with contextlib.suppress(ConnectionResetError):  # it had not read all of the request
                    while received := client.recv(4096):
                        told += received
                return told

        return await asyncio.to_thread(tell)

    async def run(self, test: Callable[["Servers"], Awaitable[None]]) -> None:
        poller = Poller(asyncio.get_running_loop())
        for server in self._servers:
            server.start(poller)
        try:
            async with asyncio.timeout(3 * PATIENCE):
                await test(self)
        finally:
            for client in self._clients:
                client.writer.close()
            for server in self._servers:
                await server.close()
            poller.close()
            for listener in self._listeners:
                listener.close()


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    listener.listen(128)
    return listener


def converse(
    tmp_path: Path, test: Callable[[Servers], Awaitable[None]], device: FakeDevice | None = None, **options: Any
) -> None:
    asyncio.run(Servers(device or FakeDevice(), tmp_path, **options).run(test))


def keyed() -> FakeDevice:
    device = FakeDevice()
    device.peers = [PeerStatus(PUBLIC, preshared_key=Secret(PRESHARED), allowed_ips=[(bytes(4), 0)])]
    return device


def test_get_is_as_ever_but_for_the_keys(tmp_path: Path) -> None:
    async def test(servers: Servers) -> None:
        whole = await (await servers.connect(servers.main)).ask(b"get=1\n\n")
        shown = await (await servers.connect(servers.monitor)).ask(b"get=1\n\n")
        for secret in (KEY, PRESHARED):
            assert secret.hex().encode() in whole
            assert secret.hex().encode() not in shown
        lines = [line for line in whole.splitlines() if not line.startswith((b"private_key=", b"preshared_key="))]
        assert shown.splitlines() == lines
        assert f"public_key={PUBLIC.hex()}\n".encode() in shown

    converse(tmp_path, test, keyed())


def test_statistics_are_those_of_the_other_socket(tmp_path: Path) -> None:
    async def test(servers: Servers) -> None:
        client = await servers.connect(servers.monitor)
        shown = await client.ask(b"stats=1\n\n")
        assert b"counter_bad_mac1=7\n" in shown
        assert shown == await (await servers.connect(servers.main)).ask(b"stats=1\n\n")
        assert shown == await client.ask(b"stats=1\n\n")  # a connection serves several

    converse(tmp_path, test)


def test_troubles_are_those_of_the_other_socket(tmp_path: Path) -> None:
    device = FakeDevice()
    device.in_trouble = [PeerTrouble(PUBLIC, 7, 35, "no answer")]

    async def test(servers: Servers) -> None:
        shown = await (await servers.connect(servers.monitor)).ask(b"peers=1\n\n")
        assert b"initiations_unanswered=7\n" in shown
        assert shown == await (await servers.connect(servers.main)).ask(b"peers=1\n\n")

    converse(tmp_path, test, device)


@pytest.mark.parametrize(
    "request_",
    [
        b"set=1\nlisten_port=1\n\n",
        b"set=1\n\n",
        b"set=1\n",
        b"set=1\nprivate_key=" + b"00" * 32 + b"\nreplace_peers=true\n\n",
        b"log_level=debug\n\n",
        b"set=1\n" + b"allowed_ip=0.0.0.0/0\n" * 1000,
    ],
)
def test_a_change_is_refused_and_changes_nothing(tmp_path: Path, request_: bytes) -> None:
    async def test(servers: Servers) -> None:
        assert await servers.told(servers.monitor, request_) == REFUSED  # before the end of the request
        assert servers.device.changes == []
        if request_.startswith(b"set=1\nlisten"):
            assert await (await servers.connect(servers.main)).ask(request_) == b"errno=0\n\n"
            assert len(servers.device.changes) == 1

    converse(tmp_path, test)


@pytest.mark.parametrize("request_", [b"s", b"set=1", b"log_level"])
def test_half_a_change_is_none(tmp_path: Path, request_: bytes) -> None:
    """Nor is it refused before it is known for one: its bytes may come in any pieces."""

    async def test(servers: Servers) -> None:
        client = await servers.connect(servers.monitor)
        client.send(request_)
        client.writer.write_eof()
        assert await client.rest() == b""
        assert servers.device.changes == []

    converse(tmp_path, test)


@pytest.mark.parametrize("request_", [b"nonsense\n\n", b"get=2\n\n", b"get=1\n" + b"x" * 5000, b"\n\n", b"G"])
def test_what_is_no_question_is_hung_up_on(tmp_path: Path, request_: bytes) -> None:
    async def test(servers: Servers) -> None:
        assert await servers.told(servers.monitor, request_) == b""

    converse(tmp_path, test)


def test_a_thousand_idle_monitors_take_no_place_of_the_others(tmp_path: Path) -> None:
    async def test(servers: Servers) -> None:
        steady = await servers.connect(servers.main)
        assert await steady.ask(b"set=1\n\n") == b"errno=0\n\n"
        for number in range(1000):
            idle = await servers.connect(servers.monitor)
            if number % 100 == 0:
                assert await steady.ask(b"set=1\n\n") == b"errno=0\n\n"
                assert await (await servers.connect(servers.main)).ask(b"get=1\n\n")
        assert (await idle.ask(b"stats=1\n\n")).endswith(b"errno=0\n\n")  # the latest are served
        assert await steady.ask(b"set=1\n\n") == b"errno=0\n\n"

    converse(tmp_path, test)


def test_more_monitors_than_there_are_places_end_the_one_that_is_idle_longest(tmp_path: Path) -> None:
    async def test(servers: Servers) -> None:
        clients = [await servers.connect(servers.monitor) for _ in range(MAX_MONITORS)]
        for client in clients:
            assert await client.ask(b"stats=1\n\n")
        assert await (await servers.connect(servers.monitor)).ask(b"stats=1\n\n")
        assert await clients[0].rest() == b""
        assert await clients[1].ask(b"stats=1\n\n")

    converse(tmp_path, test)


def test_monitors_are_answered_one_at_a_time_and_the_loop_rests_between(tmp_path: Path) -> None:
    """However many ask without pause: a quarter of the loop is the most that they take."""
    slept: list[float] = []

    async def watched(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    ticks = itertools.count()
    device = FakeDevice()

    async def test(servers: Servers) -> None:
        clients = [await servers.connect(servers.monitor) for _ in range(4)]
        await asyncio.gather(*(client.ask(b"stats=1\n\n") for client in clients))
        assert device.asked == 4

    converse(tmp_path, test, device, now=lambda: float(next(ticks)), sleep=watched)
    # By this clock each answer takes 1 s, and each look at the clock as long: rests of 3 s, less the one look.
    assert [seconds for seconds in slept if seconds > 0] == [2.0, 2.0, 2.0]


def test_a_change_waits_for_one_reply_to_a_monitor_at_most(tmp_path: Path) -> None:
    device = FakeDevice()
    device.peers = [PeerStatus(number.to_bytes(32, "big")) for number in range(MANY)]

    async def test(servers: Servers) -> None:
        monitors = [await servers.connect(servers.monitor) for _ in range(MAX_MONITORS)]
        root = await servers.connect(servers.main)
        asked = [asyncio.ensure_future(client.ask(b"get=1\n\n")) for client in monitors]
        await asyncio.sleep(0)
        assert await root.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert sum(one.done() for one in asked) <= 2
        for reply in await asyncio.gather(*asked):
            assert reply.count(b"public_key=") == MANY

    converse(tmp_path, test, device)
