"""The server on a device's monitoring socket: `get=1` without keys, `stats=1`, `peers=1` and `events=1`. Any other
operation is refused with EACCES before it is read to its end, and the client is disconnected.

Its clients have less trust than root, so they take nothing that root needs: connections of their own, few and of small
requests, one answer at a time, and a share of the event loop's time.
"""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

from pywg.config.uapi import format_errno
from pywg.runtime.base.log import Log
from pywg.runtime.uapi.server import HANDOVER, LOG_LEVEL, Configurable, UapiServer

MAX_MONITORS = 8
"""Monitoring connections; a new one ends the one that was idle longest."""
REST = 3
"""Times the work of one answer that the loop has for others before the next."""
MAX_QUESTION_LEN = 4096


class MonitorServer(UapiServer):
    """As UapiServer, beside one of the same device, whose lock `configuration` is."""

    _operations = (b"get=1\n", b"stats=1\n", b"peers=1\n", b"events=1\n")
    _refused = (b"set=1\n", HANDOVER + b"\n", LOG_LEVEL)
    _keys = False

    def __init__(
        self,
        listener: socket.socket,
        device: Configurable,
        log: Log,
        *,
        configuration: asyncio.Lock,
        more_stats: Callable[[], Mapping[str, int | str]] = dict,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(listener, device, log, more_stats=more_stats, configuration=configuration)
        self._now = now
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._rests_until = 0.0

    @property
    def _most_connections(self) -> int:
        return MAX_MONITORS

    @property
    def _most_request_len(self) -> int:
        return MAX_QUESTION_LEN

    async def _operate(self, client: socket.socket, operation: memoryview) -> bool:
        if any(operation[: len(name)] == name for name in self._refused):
            self._log.limited("monitor", "UAPI: a change over the monitoring socket is refused")
            await self._send(client, format_errno(errno.EACCES))
            return False
        return await super()._operate(client, operation)

    def _refusal(self, text: str) -> None:
        self._log.limited("monitor", text)

    async def _carry_out(self, name: bytes, body: memoryview, operation: memoryview) -> bytearray:
        async with self._turn:
            await self._sleep(self._rests_until - self._now())
            began = self._now()
            with contextlib.ExitStack() as stack:
                stack.callback(self._rest, began)
                return await super()._carry_out(name, body, operation)

    def _rest(self, began: float) -> None:
        ended = self._now()
        self._rests_until = ended + REST * (ended - began)
