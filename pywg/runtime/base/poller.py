"""A poller: descriptors that an event loop watches through an epoll of our own, where no refusal ends the process.

libuv, below uvloop, aborts when the kernel refuses it a descriptor: ENOMEM, or ENOSPC where a user's watches have run
out (fs.epoll.max_user_watches). A client of the configuration socket would end the tunnel. So libuv is given one
descriptor, at the start: this epoll's. What the kernel then refuses is an OSError here, of one client or one watcher.
"""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from pywg.runtime.base.clock import TimerHandle

_PAUSE_S: Final = 0.01
"""Seconds that the loop is held up where the kernel lets no descriptor go that is ready all the time."""


class Poller:
    """Has the methods of an event loop that take descriptors, and those of reader.Loop. Raises OSError."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_soon = loop.call_soon
        self.call_exception_handler: Callable[[dict[str, Any]], None] = loop.call_exception_handler
        self._loop = loop
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        """Calls nothing afterwards. Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._callbacks.clear()

    def call_later(self, delay: float, callback: Callable[[], None], /) -> TimerHandle:
        return self._loop.call_later(delay, callback)

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
        """Calls `callback` while `fd` is readable."""
        if fd not in self._callbacks:
            self._add(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def remove_reader(self, fd: int, /) -> bool:
        """Whether `fd` was watched."""
        if self._callbacks.pop(fd, None) is None:
            return False
        self._forget(fd)
        return True

    async def accept(self, listener: socket.socket) -> socket.socket:
        """The next connection. `listener` doesn't block, and neither does what it accepts."""
        while True:
            await self._until(listener, select.EPOLLIN)
            with contextlib.suppress(BlockingIOError):
                client, _ = listener.accept()
                try:
                    client.setblocking(False)
                except BaseException:
                    client.close()  # Python asks for the far end's name of a socket that it closes by itself
                    raise
                return client

    async def receive_into(self, client: socket.socket, buffer: memoryview) -> int:
        """Bytes received into `buffer`; 0 at the end of the stream. The loop does what else is due, before."""
        while True:
            await self._until(client, select.EPOLLIN)
            with contextlib.suppress(BlockingIOError):
                return client.recv_into(buffer)

    async def send_all(self, client: socket.socket, data: bytes | bytearray) -> None:
        """Returns when the kernel has taken all."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += client.send(view[sent:])
                except BlockingIOError:
                    await self._until(client, select.EPOLLOUT)

    async def send_with(self, client: socket.socket, data: bytes, fds: Sequence[int]) -> None:
        """As `send_all`, of few bytes: with them, copies of these descriptors."""
        sent = 0
        while not sent:
            try:
                sent = socket.send_fds(client, [data], fds)
            except BlockingIOError:
                await self._until(client, select.EPOLLOUT)
        await self.send_all(client, data[sent:])

    async def news(self, client: socket.socket, listen: Callable[[Callable[[], None]], None]) -> bool:
        """Waits until what was given to `listen` is called: True. False: the client has closed, or has sent something.

        A client that has but shut down its own sending may still read: that of it is no end.
        """
        told = False

        def tell() -> None:
            nonlocal told
            told = True
            if (callback := self._callbacks.get(client.fileno())) is not None:
                callback()

        listen(tell)
        events = select.EPOLLIN
        while not told:
            await self._until(client, events)
            if told:
                break
            with contextlib.suppress(BlockingIOError):
                if client.recv(1) or not events:
                    return False
                events = 0  # the kernel tells of the connection's end all the same
        return True

    async def _until(self, sock: socket.socket, events: int) -> None:
        """Returns when one of `events`, or an error, is there."""
        fd = sock.fileno()
        happened = self._loop.create_future()
        self._add(fd, events)

        def wake() -> None:
            if not happened.done():
                happened.set_result(None)

        self._callbacks[fd] = wake
        try:
            await happened
        finally:
            self.remove_reader(fd)

    def _add(self, fd: int, events: int) -> None:
        try:
            self._epoll.register(fd, events)
        except FileExistsError:  # the kernel did not let it go when it was asked to
            self._epoll.modify(fd, events)

    def _forget(self, fd: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # a descriptor that was closed is forgotten already
            self._epoll.unregister(fd)

    def _ready(self) -> None:
        try:
            happened = self._epoll.poll(0)
        except OSError:
            time.sleep(_PAUSE_S)  # the loop would ask again at once, for ever
            return
        for fd, _ in happened:
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback()
            elif len(happened) == 1:
                self._forget(fd)
                time.sleep(_PAUSE_S)
