"""Timers that count through suspend: a timerfd on CLOCK_BOOTTIME wakes the loop.

The loop's own timers stand still while the machine sleeps, and the protocol's clock doesn't. What fell due during a
sleep is so found at once when it ends.
"""

import contextlib
import heapq
import itertools
import os
from collections.abc import Callable
from typing import Final

from pywg.runtime.base import clock
from pywg.runtime.base.clock import TimerHandle
from pywg.runtime.base.libc import timerfd_create, timerfd_set_at
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import RETRY_S, Loop, Reader, tell

LONGEST_SLEEP_S: Final = 15.0
"""Seconds. Without a timerfd, what fell due during a sleep is found at most so much later."""
CANCELLED_MAX: Final = 32
"""How many handles may wait before those that were cancelled are taken out: few are live at a time."""


class BootTimers:
    """As a loop's call_later. Without a timerfd it is the loop's, but that a callback may come too early.

    A callback that raises keeps none of the others from being called.
    """

    def __init__(self, loop: Loop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._reader: Reader | None = None
        self._instead: TimerHandle | None = None
        self._waiting: list[tuple[float, int, _Handle]] = []
        self._order = itertools.count()
        self._set_at = 0.0
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = timerfd_create(clock.CLOCK)
        if self._fd >= 0:
            self._reader = Reader(loop, self._fd, self._on_expiry, what="timers", log=log)
            self._reader.start()

    def close(self) -> None:
        """No callback comes any more; idempotent."""
        self._waiting.clear()
        if self._instead is not None:
            self._instead.cancel()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def call_later(self, delay: float, callback: Callable[[], None]) -> "_Handle | TimerHandle":
        """Calls back once, `delay` seconds of the protocol's clock from now."""
        if self._fd < 0:
            return self._loop.call_later(min(delay, LONGEST_SLEEP_S), callback)
        handle = _Handle(callback)
        if len(self._waiting) >= CANCELLED_MAX:
            self._waiting = [one for one in self._waiting if one[2].callback is not None]
            heapq.heapify(self._waiting)
        heapq.heappush(self._waiting, (clock.now() + delay, next(self._order), handle))
        self._set()
        return handle

    def _set(self) -> None:
        """One system call, if the next of those that wait is another than before."""
        while self._waiting and self._waiting[0][2].callback is None:
            heapq.heappop(self._waiting)
        at = self._waiting[0][0] if self._waiting else 0.0
        if at != self._set_at:
            self._set_at = at
            try:
                timerfd_set_at(self._fd, at)
            except OSError as error:
                tell(self._log, "timers", error)
                if self._instead is not None:
                    self._instead.cancel()
                delay = min(max(at - clock.now(), RETRY_S), LONGEST_SLEEP_S)
                self._instead = self._loop.call_later(delay, self._on_expiry)

    def _on_expiry(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._set_at = 0.0  # it has expired, and is set anew whatever comes next
        now = clock.now()
        due: list[_Handle] = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(heapq.heappop(self._waiting)[2])
        for handle in due:
            try:
                handle.call()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
                self._loop.call_exception_handler({"message": "a timer", "exception": error})
        if self._fd >= 0:
            self._set()


class _Handle:
    """What `call_later` returns."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Don't call."""
        self.callback = None

    def call(self) -> None:
        """Unless it was cancelled."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()
