"""What happens to a tunnel, told to its program one event at a time.

A task takes events from the daemon while the program does something else, up to a limit. So a slow program holds nobody
up; it is told how many events it has lost, behind those that it gets.
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

from pywg.config.uapi_event_reader import Event, EventReader
from pywg.config.uapi_events import ENDING, LOST, SUBSCRIBED
from pywg.errors import TunnelGoneError, UapiError
from pywg.manage.event_text import DISCONNECTED
from pywg.manage.subscriber import refusal

EVENTS_MAX = 1024
"""Events that wait for the program; what comes then is counted and lost."""
_CHUNK = 1 << 16


class Events:
    """An asynchronous iterator, and a context manager. It hears of all that happens after it was entered, or, where it
    is iterated over without that, after the first event was asked for.

    It ends when the program closes it, or the tunnel. When the daemon ends, or is killed, the last event is `ending` or
    `disconnected`, and TunnelGoneError is raised behind it. Raises DeviceError for a daemon that tells no events.
    """

    def __init__(self, interface: str, connect: Callable[[], Awaitable[socket.socket]]) -> None:
        """`connect` makes a blocking connection to the daemon's socket."""
        self._interface = interface
        self._connect = connect
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    async def __aenter__(self) -> "Events":
        """Returns when it hears."""
        if self._reading is None and not self._closed:
            sock = await self._connect()
            heard = asyncio.get_running_loop().create_future()
            self._reading = asyncio.create_task(self._read(sock, heard))
            try:
                await heard
            except BaseException:
                await self.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hears nothing more: a loop over it ends. Idempotent."""
        self._closed = self._ended = True
        self._news.set()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    @property
    def closed(self) -> bool:
        """Whether the program has closed it."""
        return self._closed

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        await self.__aenter__()
        while not self._queue and not self._lost and not self._ended:
            self._news.clear()
            await self._news.wait()
        if self._closed:
            raise StopAsyncIteration
        if self._queue:
            return self._queue.popleft()
        if self._lost:
            lost, self._lost = self._lost, 0
            return Event(LOST, time.time(), {"events": str(lost)})
        raise self._error or TunnelGoneError.of(self._interface)

    async def _read(self, sock: socket.socket, heard: "asyncio.Future[None]") -> None:
        reader = EventReader()
        loop = asyncio.get_running_loop()
        ending = False
        try:
            with sock:
                sock.setblocking(False)
                await loop.sock_sendall(sock, b"events=1\n\n")
                while reader.errno is None and (data := await loop.sock_recv(sock, _CHUNK)):
                    for event in reader.take(data):
                        ending |= event.name == ENDING
                        if event.name != SUBSCRIBED:
                            self._put(event)
                        elif not heard.done():
                            heard.set_result(None)
        except (OSError, UapiError) as error:
            self._error = None if isinstance(error, ConnectionError) else error
        if not heard.done():
            heard.set_exception(refusal(self._interface, reader.errno))
            return
        if not ending:
            self._put(Event(DISCONNECTED, time.time(), {}))
        self._ended = True
        self._news.set()

    def _put(self, event: Event) -> None:
        """The last one has room in any case."""
        if (self._lost or len(self._queue) >= EVENTS_MAX) and event.name not in (ENDING, DISCONNECTED):
            self._lost += int(event.facts["events"]) if event.name == LOST and event.facts["events"].isdigit() else 1
        elif self._lost:
            self._queue.append(Event(LOST, event.time, {"events": str(self._lost)}))
            self._lost = 0
            self._queue.append(event)
        else:
            self._queue.append(event)
        self._news.set()


async def until_hung_up(sock: socket.socket) -> None:
    """Returns when a connection, which is closed then, ends."""
    with sock, contextlib.suppress(ConnectionError):
        sock.setblocking(False)
        while await asyncio.get_running_loop().sock_recv(sock, _CHUNK):
            pass
