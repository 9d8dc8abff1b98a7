"""The configuration socket's conversation. dropin: 7; a client can be slow, silent or hostile and hurts only itself."""

import asyncio
import contextlib
import errno
import io
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import pytest

from pywg._native.secret import Secret
from pywg.config.model import DeviceChange, DeviceStatus, PeerStatus
from pywg.config.uapi import format_get_steps, parse_set_steps
from pywg.errors import UapiError
from pywg.runtime.base.log import Level, Log
from pywg.runtime.uapi import server as uapi_server
from pywg.runtime.uapi.server import RequestBuffer, UapiServer

KEY = bytes(range(1, 33))
PATIENCE = 10.0


class FakeDevice:
    def __init__(self) -> None:
        self.changes: list[DeviceChange] = []
        self.refuse: UapiError | None = None
        self.peers: list[PeerStatus] = []
        self.asked = 0
        """for stats"""

    def apply(self, change: DeviceChange) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.changes.append(change)

    def status(self) -> DeviceStatus:
        return DeviceStatus(private_key=Secret(KEY), listen_port=51820, peers=self.peers)

    def stats(self) -> dict[str, int]:
        self.asked += 1
        return {"peers": 2, "counter_bad_mac1": 7}


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
        server = UapiServer(listener, used, log or Log("wg0", Level.SILENT), more_stats=lambda: {"sandbox_seccomp": 1})
        server.start()
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


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    def run(
        test: Conversation, device: FakeDevice | None = None, log: Log | None = None, errors: tuple[Exception, ...] = ()
    ) -> None:
        asyncio.run(conversation(test, device, log, errors)(str(tmp_path / "s")))

    return run


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

    talk(test)


def test_stats(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"stats=1\n\n") == b"peers=2\ncounter_bad_mac1=7\nsandbox_seccomp=1\nerrno=0\n\n"

    talk(test)


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
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi_server, "SEND_TIMEOUT_S", 0.2)
    device = FakeDevice()
    device.peers = [PeerStatus(bytes([1] * 32), allowed_ips=[(bytes(4), 8)] * 200_000)]

    async def test(device: FakeDevice, connect: Connect) -> None:
        deaf = await connect()
        deaf.listen(on=False)
        deaf.send(b"get=1\n\n")
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"
        await asyncio.sleep(0.5)  # past SEND_TIMEOUT_S: the server has hung up by then
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

    talk(test, log=Log("wg0", Level.DEBUG, stream=text))


def test_a_connection_that_is_being_answered_is_not_idle(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_server, "MAX_CONNECTIONS", 2)
    lines = "".join(f"public_key={number:064x}\n" for number in range(MANY))

    async def test(device: FakeDevice, connect: Connect) -> None:
        busy, idle = await connect(), await connect()
        assert await busy.ask(b"set=1\n\n") == b"errno=0\n\n"
        assert await idle.ask(b"set=1\n\n") == b"errno=0\n\n"
        busy.send(f"set=1\n{lines}\n".encode())
        while not any(server_side_busy()):
            await asyncio.sleep(0)
        newest = await connect()
        assert await idle.rest() == b""
        assert await busy.reply() == b"errno=0\n\n"
        assert await newest.ask(b"set=1\n\n") == b"errno=0\n\n"

    def server_side_busy() -> list[bool]:
        return [busy for server in servers for busy in server._connections.values()]

    servers: list[UapiServer] = []
    start = UapiServer.start

    def started(self: UapiServer) -> None:
        servers.append(self)
        start(self)

    monkeypatch.setattr(UapiServer, "start", started)
    talk(test)


ODD = [
    *(OSError(code, os.strerror(code)) for code in (errno.EIO, errno.EPERM, errno.EINVAL, errno.EMFILE, errno.ENFILE)),
    *(OSError(code, os.strerror(code)) for code in (errno.ECONNABORTED, errno.ENOMEM, errno.EBADF)),
    MemoryError(),
    ValueError("file descriptor cannot be a negative integer"),
]


@pytest.mark.parametrize("error", ODD, ids=repr)
def test_no_error_of_accept_ends_the_configuration_socket(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(uapi_server, "ACCEPT_RETRY_S", 0.001)
    text = io.StringIO()

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"set=1\nfwmark=1\n\n") == b"errno=0\n\n"
        assert len(device.changes) == 1
        # Rate-limited: ten errors are not ten lines.
        assert 1 <= text.getvalue().count("a connection can't be accepted") <= 5
        assert text.getvalue().startswith("ERROR:")
        assert (getattr(error, "strerror", None) or type(error).__name__) in text.getvalue()

    talk(test, log=Log("wg0", Level.ERROR, stream=text), errors=(error,) * 10)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_new_connection_that_fails_is_told_and_the_next_one_served(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As where ioctl(FIONBIO) of the accepted socket fails."""
    text = io.StringIO()
    failing = [OSError(code, os.strerror(code))]
    begin = uapi_server.RequestBuffer

    def buffer() -> RequestBuffer:
        if failing:
            raise failing.pop()
        return begin()

    monkeypatch.setattr(uapi_server, "RequestBuffer", buffer)

    async def test(device: FakeDevice, connect: Connect) -> None:
        assert await (await connect()).rest() == b""
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"
        assert os.strerror(code) in text.getvalue()

    talk(test, log=Log("wg0", Level.ERROR, stream=text))


def test_out_of_memory_is_an_errno(talk: Talk) -> None:
    """While the change is applied; while a request is read, when the reserve has gone; for what get shows."""
    text = io.StringIO()

    class Poor(FakeDevice):
        def apply(self, change: DeviceChange) -> None:
            if change.fwmark == 9:
                raise MemoryError
            super().apply(change)

        def status(self) -> DeviceStatus:
            raise MemoryError

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        assert await client.ask(b"set=1\nfwmark=9\n\n") == f"errno=-{errno.ENOMEM}\n\n".encode()
        assert await client.ask(b"get=1\n\n") == f"errno=-{errno.ENOMEM}\n\n".encode()
        assert await client.ask(b"set=1\nfwmark=1\n\n") == b"errno=0\n\n"
        assert [change.fwmark for change in device.changes] == [1]
        assert "out of memory" in text.getvalue()

    talk(test, device=Poor(), log=Log("wg0", Level.ERROR, stream=text))


def test_a_long_request_stops_when_the_reserve_is_needed(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    low = [False]
    monkeypatch.setattr(uapi_server, "reserve_low", lambda: low[0])
    monkeypatch.setattr(uapi_server, "reserve_fill", lambda: not low[0])
    lines = "".join(f"public_key={number:064x}\n" for number in range(MANY))

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        for is_low, answer in ((True, -errno.ENOMEM), (False, 0)):
            low[0] = is_low
            assert await client.ask(f"set=1\n{lines}\n".encode()) == f"errno={answer}\n\n".encode()
        assert [len(change.peers) for change in device.changes] == [MANY]

    talk(test)


def test_a_request_that_there_is_no_room_for_is_answered_at_its_end(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = RequestBuffer.room

    def poor_room(self: RequestBuffer) -> memoryview:
        if self.used == len(self.data) == 1 << 16:
            raise MemoryError
        return room(self)

    monkeypatch.setattr(RequestBuffer, "room", poor_room)
    lines = b"".join(b"allowed_ip=10.%d.%d.0/24\n" % divmod(i, 256) for i in range(65536))
    text = io.StringIO()

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        client.send(b"set=1\npublic_key=" + KEY.hex().encode() + b"\n" + lines + b"\nset=1\nfwmark=3\n\n")
        assert await client.reply() == f"errno=-{errno.ENOMEM}\n\n".encode()
        assert await client.reply() == b"errno=0\n\n"
        assert [change.fwmark for change in device.changes] == [3]
        assert "no memory for an operation of this length" in text.getvalue()

    talk(test, log=Log("wg0", Level.ERROR, stream=text))


def test_a_request_of_many_lines(talk: Talk) -> None:
    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        lines = b"".join(b"allowed_ip=10.%d.%d.0/24\n" % divmod(i, 256) for i in range(65536))
        assert await client.ask(b"set=1\npublic_key=" + KEY.hex().encode() + b"\n" + lines + b"\n") == b"errno=0\n\n"
        assert len(device.changes[0].peers[0].allowed_ips) == 65536

    talk(test)


def test_request_buffer_wipes_what_was_used_and_what_it_outgrew() -> None:
    requests = RequestBuffer()
    first = requests.data
    text = b"set=1\nprivate_key=" + b"ab" * 2048 + b"\n\n"
    for start in range(0, len(text), 1000):
        piece = text[start : start + 1000]
        while piece:
            room = requests.room()
            taken = min(len(room), len(piece))
            room[:taken] = piece[:taken]
            room.release()
            requests.used += taken
            piece = piece[taken:]
    assert requests.data is not first
    assert not any(first)
    grown = requests.data
    assert requests.operation_len() == len(text)
    requests.discard(len(text))
    assert not any(grown)
    assert requests.used == 0


def test_request_buffer_keeps_the_next_operation() -> None:
    requests = RequestBuffer()
    text = b"set=1\n\nget=1\n\nset"
    requests.room()[: len(text)] = text
    requests.used = len(text)
    assert requests.operation_len() == 7
    requests.discard(7)
    assert requests.operation_len() == 7
    assert bytes(requests.data[:7]) == b"get=1\n\n"
    requests.discard(7)
    assert requests.operation_len() is None
    assert bytes(requests.data[: requests.used]) == b"set"
    assert not any(requests.data[requests.used :])


@pytest.mark.dropin("2")
def test_log_level(talk: Talk) -> None:
    log = Log("wg0", Level.SILENT)

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        for word, level in ((b"debug", Level.DEBUG), (b"ERROR", Level.ERROR), (b"silent", Level.SILENT)):
            assert await client.ask(b"log_level=" + word + b"\n\n") == b"errno=0\n\n"
            assert log.level is level
        for wrong in (b"loud", b"", b"debug\nx=1", b"debug\n" + b"x" * 100, b"\xff"):
            assert await client.ask(b"log_level=" + wrong + b"\n\n") == b"errno=-22\n\n"
        assert log.level is Level.SILENT
        assert await client.ask(b"get=1\n\n") != b""

    talk(test, log=log)


MANY = 5_000


T = TypeVar("T")
R = TypeVar("R")
Watched: TypeAlias = list[tuple[int, int]]


def _watched(
    device: FakeDevice, steps: Callable[[T], Generator[None, None, R]], log: Watched
) -> Callable[[T], Generator[None, None, R]]:
    """`steps` with a note of how often the device was asked for its stats, before and after, and what was set."""

    def watched(argument: T) -> Generator[None, None, R]:
        before = device.asked, len(device.changes)
        try:
            return (yield from steps(argument))
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
