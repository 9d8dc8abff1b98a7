"""The server on a device's configuration socket: any number of operations on a connection, and clients of any kind.

An operation is `set=1`, `get=1`, `stats=1`, `peers=1`, `events=1`, `handover=1` or `log_level=WORD` on a line, more
lines, and a blank line. The end of the stream after a whole line serves as the blank line. The reply ends with
`errno=N`, and N is never positive. `stats=1`, `peers=1` (which peers owe an answer to initiations), `events=1`,
`handover=1` (the connection is runtime/daemon/handover.py's then), `log_level=` and, of a peer in a set operation,
`clear_endpoint=true` (it has no endpoint then, and its session stays) and `probe_endpoint=` (one initiation goes there,
beside the session; an answer moves the peer) are ours: the others are WireGuard's cross-platform protocol,
https://www.wireguard.com/xplatform/.

The reply to `events=1` goes on until the client closes the connection, sends anything more, or takes nothing for
SEND_TIMEOUT_S. A subscriber is no longer one of the connections that are counted: it neither takes their places nor
has to give way to one.
Requests and replies hold private keys, so the server wipes them. It reads and writes their text, most of the work, in
steps, which leave the event loop room for handshakes. It applies a change in one go, and never while it writes another
client's reply. The reply is ENOMEM for an operation that there is no memory for, and another errno for any other that
fails. The log tells an error of a connection, or of accepting one, and the server accepts the next.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Protocol, TypeVar

from pywg._fastpath import reserve_fill, reserve_low
from pywg.config.model import DeviceChange, DeviceStatus, PeerTrouble
from pywg.config.uapi import format_errno, format_get_steps, format_troubles_steps, parse_set_steps
from pywg.config.uapi_events import SUBSCRIBED
from pywg.dataplane.crypto.secret import wipe
from pywg.errors import ConfigError, DeviceError, UapiError
from pywg.runtime.base.feed import SUBSCRIBERS_PER_SOCKET, Feed
from pywg.runtime.base.log import Level, Log, parse_level
from pywg.runtime.base.poller import Poller
from pywg.runtime.base.reader import tell, words
from pywg.runtime.uapi.request_buffer import RequestBuffer

_Result = TypeVar("_Result")

MAX_REQUEST_LEN = 64 << 20
"""Bytes of one operation."""
MAX_CONNECTIONS = 32
"""With so many open, a new one ends the one that was idle longest. A connection that is being answered is not idle."""
ACCEPT_RETRY_S = 0.1
"""Seconds from an error of accept(2) to the next attempt: most errors would come again at once, for ever."""
SEND_TIMEOUT_S = 30.0
"""Seconds after which the server disconnects a client that has not taken its reply."""
LOG_LEVEL = b"log_level="
_EVENTS = b"events=1"
HANDOVER = b"handover=1"
_NAMES = (b"set=1", b"get=1", b"stats=1", b"peers=1", _EVENTS, HANDOVER)
_NAME_BYTES = 16
_OPERATIONS = (*(name + b"\n" for name in _NAMES), LOG_LEVEL)
_LOG_OPERATION_MAX_LEN = 64


HandOver = Callable[[socket.socket, Poller], Awaitable[None]]
"""Hands the process over to the client: on return it has. Raises DeviceError, and nothing has changed."""


class Configurable(Protocol):
    """The part of a device that the server needs."""

    def apply(self, change: DeviceChange) -> None:
        """Applies a change as a whole, or raises UapiError and changes nothing."""

    def status(self) -> DeviceStatus:
        """The status that get shows."""

    def stats(self) -> Mapping[str, int | str]:
        """Counters by name."""

    def troubles(self) -> list[PeerTrouble]:
        """The peers that owe an answer to initiations."""

    @property
    def feed(self) -> Feed:
        """What happens."""


class UapiServer:
    """Serves `listener` (a non-blocking listening socket, the caller's) until `close`.

    `more_stats` are the process' own statistics, shown after the device's.
    """

    _operations: tuple[bytes, ...] = _OPERATIONS
    """How an operation begins that is read to its end."""
    _refused: tuple[bytes, ...] = ()
    """How an operation begins that is refused, and so is to be told from others however its bytes come."""
    _keys = True
    """Whether a get operation shows keys."""

    def __init__(
        self,
        listener: socket.socket,
        device: Configurable,
        log: Log,
        *,
        more_stats: Callable[[], Mapping[str, int | str]] = dict,
        configuration: asyncio.Lock | None = None,
        hand_over: HandOver | None = None,
    ) -> None:
        self._hand_over = hand_over
        self._listener = listener
        self._device = device
        self._log = log
        self._more_stats = more_stats
        self._accepting: asyncio.Task[None] | None = None
        self._poller: Poller
        self._connections: dict[asyncio.Task[None], bool] = {}
        """Open connections, those idle longest first, and whether each is being answered."""
        self._ending: set[asyncio.Task[None]] = set()
        self._subscribers: set[asyncio.Task[None]] = set()
        self.configuration = configuration or asyncio.Lock()
        """A task holds it while it changes or reads the configuration. The servers of one device share it."""

    @property
    def _most_connections(self) -> int:
        return MAX_CONNECTIONS

    @property
    def _most_request_len(self) -> int:
        return MAX_REQUEST_LEN

    def start(self, poller: Poller) -> None:
        """Begins to accept, on the running event loop. `poller` stays the caller's, until after `close`."""
        self._poller = poller
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Ends every connection."""
        tasks = [*self._connections, *self._ending, *self._subscribers, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        """Accepts for ever: a later attempt may do better than one that failed, and without one `wg` would hang."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._take(await self._poller.accept(self._listener), loop)
            except Exception as error:  # noqa: BLE001 - no error may end the server
                tell(self._log, "UAPI: a connection can't be accepted", error)
                await asyncio.sleep(ACCEPT_RETRY_S)

    def _take(self, client: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._connections) >= self._most_connections:
            idle = next((task for task, busy in self._connections.items() if not busy), next(iter(self._connections)))
            self._log.debug(
                f"UAPI: more than {self._most_connections} connections: the one that was idle longest is ended"
            )
            del self._connections[idle]
            self._ending.add(idle)
            idle.cancel()
        task = loop.create_task(self._serve(client))
        self._connections[task] = False
        task.add_done_callback(lambda task: self._ended(task, client))

    def _ended(self, task: asyncio.Task[None], client: socket.socket) -> None:
        client.close()  # a task that was cancelled before it began has not
        self._connections.pop(task, None)
        self._ending.discard(task)
        self._subscribers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.limited("connection", f"UAPI: a connection is ended: {words(error)}", Level.ERROR)

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError, TimeoutError):
            requests = RequestBuffer()
            try:
                while await self._serve_one(client, requests):
                    pass
            finally:
                requests.wipe()

    async def _serve_one(self, client: socket.socket, requests: RequestBuffer) -> bool:
        """Serves one operation. False when it was the last."""
        try:
            length = await self._receive(client, requests)
        except MemoryError:
            return await self._skip(client, requests)
        if length is None:
            return False
        self._touch(busy=True)
        answered = await self._operate(client, memoryview(requests.data)[:length])
        requests.discard(length)
        self._touch(busy=False)
        return answered

    async def _skip(self, client: socket.socket, requests: RequestBuffer) -> bool:
        """Reads the rest of an operation that there is no memory for, and answers ENOMEM."""
        while (length := requests.operation_len()) is None:
            requests.forget()
            received = await self._poller.receive_into(client, requests.room())
            if received == 0:
                break
            requests.used += received
        requests.discard(length or requests.used)
        self._log.limited("memory", "UAPI: no memory for an operation of this length", Level.ERROR)
        await self._send(client, format_errno(errno.ENOMEM))
        return length is not None

    def _touch(self, *, busy: bool) -> None:
        """Makes this connection the one that was idle for the shortest time."""
        task = asyncio.current_task()
        if task is not None and task in self._connections:
            del self._connections[task]
            self._connections[task] = busy

    async def _receive(self, client: socket.socket, requests: RequestBuffer) -> int | None:
        """Reads until a whole operation is there, and returns its length with the blank line.

        None when the client sends no other.
        """
        while (length := requests.operation_len()) is None:
            if not (requests.begins_well(self._operations) or requests.may_become(self._refused)):
                return requests.used  # it is refused, so the client need not send its end
            if requests.used >= self._most_request_len:
                text = f"UAPI: an operation of more than {self._most_request_len} bytes: the client is disconnected"
                self._log.limited("request", text, Level.ERROR)
                return None
            received = await self._poller.receive_into(client, requests.room())
            if received == 0:
                return requests.last_operation_len()
            requests.used += received
            self._touch(busy=False)
        return length

    async def _operate(self, client: socket.socket, operation: memoryview) -> bool:
        """Carries out one operation and sends its reply.

        False for an operation that doesn't exist: the server hangs up, as wireguard-go does.
        """
        name, _, _ = bytes(operation[:_NAME_BYTES]).partition(b"\n")
        body = operation[len(name) + 1 :]
        if name not in _NAMES and operation[: len(LOG_LEVEL)] != LOG_LEVEL:
            self._log.limited("uapi", "UAPI: not an operation: the client is disconnected")
            return False
        if name not in _NAMES:
            name = LOG_LEVEL[:-1]
        reply = bytearray()
        code = 0
        reserve_fill()
        try:
            if name == _EVENTS:
                return await self._subscribe(client, body)
            if name == HANDOVER:
                await self._give_away(client, body)
                return False
            reply = await self._carry_out(name, body, operation)
        except (UapiError, DeviceError) as error:
            code = error.errno or errno.EIO
            self._refusal(f"UAPI: {name.decode(errors='replace')}: {error}")
        except MemoryError:
            code = errno.ENOMEM
            self._log.limited("memory", f"UAPI: {name.decode(errors='replace')}: out of memory", Level.ERROR)
        try:
            await self._send(client, reply)
        finally:
            wipe(reply)
        await self._send(client, format_errno(code))
        return True

    async def _carry_out(self, name: bytes, body: memoryview, operation: memoryview) -> bytearray:
        """The reply without its last line. Raises UapiError, DeviceError or MemoryError, having changed nothing."""
        if name == b"set=1":
            change = await _with_pauses(parse_set_steps(body))
            async with self.configuration:
                self._device.apply(change)
        elif name not in _NAMES:
            self._set_log_level(operation)
        elif _has_lines(body):
            raise UapiError(f"{name.decode()} takes no further lines", errno=errno.EINVAL)
        elif name == b"get=1":
            async with self.configuration:
                return await _with_pauses(format_get_steps(self._device.status(), keys=self._keys))
        elif name == b"peers=1":
            return await _with_pauses(format_troubles_steps(self._device.troubles()))
        else:
            stats = {**self._device.stats(), **self._more_stats()}
            return bytearray(
                "".join(f"{key}={value}\n" for key, value in stats.items()).encode("utf-8", "surrogateescape")
            )
        return bytearray()

    async def _subscribe(self, client: socket.socket, body: memoryview) -> bool:
        """Tells the client what happens, to the end of its connection. Raises UapiError."""
        if _has_lines(body):
            raise UapiError("events=1 takes no further lines", errno=errno.EINVAL)
        if len(self._subscribers) >= SUBSCRIBERS_PER_SOCKET:
            raise UapiError(f"more than {SUBSCRIBERS_PER_SOCKET} subscribers", errno=errno.EBUSY)
        feed = self._device.feed
        text = feed.text(SUBSCRIBED)
        subscription = feed.subscribe()
        task = asyncio.current_task()
        if task is not None:
            self._connections.pop(task, None)
            self._subscribers.add(task)
        try:
            while True:
                if text:
                    await self._send(client, text)
                elif not await self._poller.news(client, subscription.listen):
                    return False
                text = subscription.take()
        except asyncio.CancelledError:
            if not text:  # else the end of an event would be missing before this
                with contextlib.suppress(OSError):
                    client.send(subscription.last_words())
            raise
        except MemoryError:
            return False
        finally:
            subscription.close()

    async def _give_away(self, client: socket.socket, body: memoryview) -> None:
        """Hands the process over. Raises UapiError, DeviceError."""
        if _has_lines(body):
            raise UapiError("handover=1 takes no further lines", errno=errno.EINVAL)
        if self._hand_over is None:
            raise UapiError("this daemon hands nothing over", errno=errno.EOPNOTSUPP)
        await self._hand_over(client, self._poller)

    def _refusal(self, text: str) -> None:
        self._log.error(text)

    def _set_log_level(self, operation: memoryview) -> None:
        # One byte more than may be there: what is cut off must not be taken for the end.
        word, _, rest = bytes(operation[len(LOG_LEVEL) : _LOG_OPERATION_MAX_LEN + 1]).partition(b"\n")
        try:
            if len(LOG_LEVEL) + len(word) >= _LOG_OPERATION_MAX_LEN:
                raise ConfigError("log_level takes one word, and this is too long for one")
            if rest not in (b"", b"\n") or not word:
                raise ConfigError("log_level takes one word and no further lines")
            level = parse_level(word.decode("ascii", "replace"))
        except ConfigError as error:
            raise UapiError(str(error), errno=errno.EINVAL) from error
        self._log.level = level

    async def _send(self, client: socket.socket, data: bytes | bytearray) -> None:
        if data:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._poller.send_all(client, data)


async def _with_pauses(steps: Generator[None, None, _Result]) -> _Result:
    """Runs `steps` to its end. At each of its pauses the event loop does what else is due.

    Raises MemoryError when, at a pause, so little memory is left that Python's reserve was needed.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
        if reserve_low():
            steps.close()
            raise MemoryError
        await asyncio.sleep(0)


def _has_lines(body: memoryview) -> bool:
    return bytes(body[:1]) not in (b"", b"\n")
