"""A server of one page by HTTP, for few clients that it does not trust.

Each connection has one request and a bound of time, and there are few at a time: a client that is slow, or one of many,
costs others nothing. Pages are made one at a time, and one that is new is given to all that ask meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

MOST_CLIENTS: Final = 32
"""Connections at a time; further ones are closed at once."""
MOST_REQUEST: Final = 16384
"""Bytes of a request's head."""
REQUEST_S: Final = 5.0
"""Seconds that a client has for its request."""
REPLY_S: Final = 30.0
"""Seconds in which it has to take the reply."""
FRESH_S: Final = 1.0
"""Seconds for which what the daemons told is given to those that ask again: many clients cost a daemon no more."""
PATH: Final = "/metrics"
_INDEX: Final = b"pywg: the metrics are at /metrics\n"
_PLAIN: Final = "text/plain; charset=utf-8"
T = TypeVar("T")


class Shared(Generic[T]):
    """What `make` makes, for all that ask at about the same time."""

    def __init__(self, make: Callable[[], Awaitable[T]], *, now: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._now = now
        self._lock = asyncio.Lock()
        self._made: tuple[float, T] | None = None

    async def get(self) -> T:
        """It, made within the last second or now."""
        async with self._lock:
            if self._made is None or self._now() - self._made[0] > FRESH_S:
                made = await self._make()
                self._made = self._now(), made
            return self._made[1]


class Server:
    """Answers GET and HEAD of the page. `page` makes it for an Accept header: its bytes, and its content type."""

    def __init__(self, page: Callable[[str], Awaitable[tuple[bytes, str]]], tell: Callable[[str], None]) -> None:
        self._page = page
        self._tell = tell
        self._clients = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its begin to its end."""
        if self._clients >= MOST_CLIENTS:
            writer.transport.abort()
            return
        self._clients += 1
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except Exception as error:  # noqa: BLE001 - what goes wrong for one client must not end the others' page
            self._tell(f"a request failed: {type(error).__name__}: {error}")
            writer.transport.abort()
        finally:
            self._clients -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                head = b""
        status, body, content_type, with_body = await self._reply(head)
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        lines += ["Connection: close", "X-Content-Type-Options: nosniff", "Cache-Control: no-store", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + (body if with_body else b""))
        async with asyncio.timeout(REPLY_S):
            await writer.drain()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _reply(self, head: bytes) -> tuple[str, bytes, str, bool]:
        """(status, body, content type, whether the body is sent)."""
        first, *fields = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "400 Bad Request", b"not a request\n", _PLAIN, True
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", b"GET alone\n", _PLAIN, True
        path = target.partition("?")[0]
        if path == PATH:
            accept = [
                value for name, _, value in (field.partition(":") for field in fields) if name.lower() == "accept"
            ]
            body, content_type = await self._page(accept[0].strip() if accept else "")
            return "200 OK", body, content_type, method == "GET"
        if path == "/":
            return "200 OK", _INDEX, _PLAIN, method == "GET"
        return "404 Not Found", _INDEX, _PLAIN, method == "GET"
