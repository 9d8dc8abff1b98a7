"""What the kernel refuses to watch is an error of one descriptor, and the event loop goes on."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
import uvloop

from pywg.runtime.base.poller import Poller


def test_a_descriptor_that_can_not_be_watched_is_an_error(tmp_path: Path) -> None:
    """A file is one: EPERM. libuv would end the process."""

    async def test() -> None:
        poller = Poller(asyncio.get_running_loop())
        called = asyncio.Event()
        near, far = socket.socketpair()
        with near, far, (tmp_path / "file").open("wb") as file:
            with pytest.raises(PermissionError):
                poller.add_reader(file.fileno(), called.set)
            poller.add_reader(near.fileno(), called.set)
            far.send(b"x")
            async with asyncio.timeout(20):
                await called.wait()
            poller.close()
            poller.close()

    uvloop.run(test())


def test_a_callback_is_replaced_and_removed() -> None:
    async def test() -> None:
        poller = Poller(asyncio.get_running_loop())
        near, far = socket.socketpair()
        seen: list[str] = []
        done = asyncio.Event()

        def second() -> None:
            near.recv(1)
            seen.append("second")
            assert poller.remove_reader(near.fileno())
            asyncio.get_running_loop().call_soon(done.set)

        with near, far:
            poller.add_reader(near.fileno(), lambda: seen.append("first"))
            poller.add_reader(near.fileno(), second)
            far.send(b"xy")  # one byte stays: who is removed is not called for it
            async with asyncio.timeout(20):
                await done.wait()
            assert seen == ["second"]
            assert not poller.remove_reader(near.fileno())
            poller.close()

    uvloop.run(test())


def test_all_is_sent_to_a_reader_that_is_slow() -> None:
    async def test() -> None:
        poller = Poller(asyncio.get_running_loop())
        near, far = socket.socketpair()
        data = os.urandom(1 << 20)
        with near, far:
            near.setblocking(False)
            far.setblocking(False)
            sending = asyncio.create_task(poller.send_all(near, data))
            got, buffer = bytearray(), memoryview(bytearray(1 << 14))
            while len(got) < len(data):
                async with asyncio.timeout(20):
                    got += buffer[: await poller.receive_into(far, buffer)]
            await sending
            assert got == data
            poller.close()

    uvloop.run(test())
