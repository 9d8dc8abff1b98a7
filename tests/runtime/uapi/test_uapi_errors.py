"""What fails below the configuration socket, accept(2) and memory: it is told, and the next operation is served."""

import asyncio
import errno
import io
import os

import pytest

from pywg.config.model import DeviceChange, DeviceStatus
from pywg.runtime.base.log import Level, Log
from pywg.runtime.uapi import server as uapi_server
from pywg.runtime.uapi.request_buffer import RequestBuffer
from tests.lines import StreamOutput
from tests.runtime.uapi.conversation import KEY, MANY, Connect, FakeDevice, Talk

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

    talk(test, log=Log("wg0", Level.ERROR, output=StreamOutput(text)), errors=(error,) * 10)


def test_an_error_of_accept_that_can_not_be_told_ends_it_neither(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapi_server, "ACCEPT_RETRY_S", 0.001)
    lost: list[str] = []

    class NoMemory(StreamOutput):
        def put(self, _level: Level, line: str, _bare: str) -> bool:
            lost.append(line)
            raise MemoryError

    async def test(device: FakeDevice, connect: Connect) -> None:
        client = await connect()
        async with asyncio.timeout(10):
            assert await client.ask(b"set=1\nfwmark=1\n\n") == b"errno=0\n\n"
        assert len(device.changes) == 1
        assert len(lost) == 1

    talk(test, log=Log("wg0", Level.ERROR, output=NoMemory()), errors=(MemoryError(),))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_new_connection_that_fails_is_told_and_the_next_one_served(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As where ioctl(FIONBIO) of the accepted socket fails."""
    text = io.StringIO()
    failing = [OSError(code, os.strerror(code))]
    begin = RequestBuffer

    def buffer() -> RequestBuffer:
        if failing:
            raise failing.pop()
        return begin()

    monkeypatch.setattr(uapi_server, "RequestBuffer", buffer)

    async def test(device: FakeDevice, connect: Connect) -> None:
        assert await (await connect()).rest() == b""
        assert await (await connect()).ask(b"set=1\n\n") == b"errno=0\n\n"
        assert os.strerror(code) in text.getvalue()

    talk(test, log=Log("wg0", Level.ERROR, output=StreamOutput(text)))


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

    talk(test, device=Poor(), log=Log("wg0", Level.ERROR, output=StreamOutput(text)))


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

    talk(test, log=Log("wg0", Level.ERROR, output=StreamOutput(text)))
