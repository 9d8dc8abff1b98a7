"""A configuration server in a loop of its own, before a device that only remembers, and clients that speak to it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from pywg.config.model import DeviceChange, DeviceStatus, PeerStatus, PeerTrouble
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import UapiError
from pywg.runtime.base.feed import Feed
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.poller import Poller
from pywg.runtime.uapi.server import UapiServer
from tests.lines import StreamOutput

KEY = bytes(range(1, 33))
PATIENCE = 30.0
MANY = 5_000
"""Peers: a change of so many takes several turns of the loop."""


class FakeDevice:
    def __init__(self) -> None:
        self.changes: list[DeviceChange] = []
        self.refuse: UapiError | None = None
        self.peers: list[PeerStatus] = []
        self.in_trouble: list[PeerTrouble] = []
        self.asked = 0
        """for stats"""
        self.looking = False
        """whether there is a subscriber"""
        self.feed = Feed(lambda: self._look(on=True), lambda: self._look(on=False), wall=lambda: 1.5)

    def _look(self, *, on: bool) -> None:
        assert self.looking is not on
        self.looking = on

    def apply(self, change: DeviceChange) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.changes.append(change)

    def status(self) -> DeviceStatus:
        return DeviceStatus(private_key=Secret(KEY), listen_port=51820, peers=self.peers)

    def stats(self) -> dict[str, int]:
        self.asked += 1
        return {"peers": 2, "counter_bad_mac1": 7}

    def troubles(self) -> list[PeerTrouble]:
        return self.in_trouble


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def listen(self, *, on: bool) -> None:
        """Whether it takes what comes."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        (transport.resume_reading if on else transport.pause_reading)()

    async def reply(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\n\n")

    async def rest(self) -> bytes:
        """Everything up to the server's hanging up."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.reply()


class OddListener(socket.socket):
    """Its accept() raises `errors` first."""

    errors: list[Exception]
    accepts: int = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.errors:
            raise self.errors.pop(0)
        return super().accept()


Connect: TypeAlias = Callable[[], Awaitable[Client]]
Conversation: TypeAlias = Callable[[FakeDevice, Connect], Awaitable[None]]


def conversation(
    test: Conversation, device: FakeDevice | None = None, log: Log | None = None, errors: tuple[Exception, ...] = ()
) -> Callable[[str], Coroutine[Any, Any, None]]:
    """Runs `test(device, connect)` against a server in a loop of its own."""

    async def main(path: str) -> None:
        listener = OddListener(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.errors = list(errors)
        listener.bind(path)
        listener.listen(64)
        used = device or FakeDevice()
        server = UapiServer(
            listener,
            used,
            log or Log("wg0", Level.SILENT, output=StreamOutput()),
            more_stats=lambda: {"sandbox_seccomp": 1},
        )
        poller = Poller(asyncio.get_running_loop())
        server.start(poller)
        writers: list[asyncio.StreamWriter] = []

        async def connect() -> Client:
            client = Client(*await asyncio.open_unix_connection(path, limit=1 << 26))
            writers.append(client.writer)
            return client

        try:
            await test(used, connect)
        finally:
            for writer in writers:
                writer.close()
            await server.close()
            poller.close()
            listener.close()

    return main


class Talk(Protocol):
    """`conversation`, with a socket."""

    def __call__(
        self,
        test: Conversation,
        device: FakeDevice | None = None,
        log: Log | None = None,
        errors: tuple[Exception, ...] = (),
    ) -> None: ...
