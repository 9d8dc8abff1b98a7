"""A timer that counts through suspend: a timerfd on CLOCK_BOOTTIME wakes the loop.

The event loop's own timers stand still while the machine sleeps, and the protocol's clock doesn't. With a timerfd the
loop finds a deadline that passed during a sleep as soon as the sleep ends.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Final

from pywg.runtime.base import clock
from pywg.runtime.base.clock import TimerHandle
from pywg.runtime.base.libc import timerfd_create, timerfd_set_at
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, Reader, tell

LONGEST_SLEEP_S: Final = 15.0
"""Without a timerfd, the loop finds a deadline that passed during a sleep at most so many seconds later."""


class BootTimer:
    """An event loop's call_later on the protocol's clock, for one callback at a time: that of the deadlines."""

    def __init__(self, loop: Loop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._callback: Callable[[], None] | None = None
        self._at = 0.0
        self._instead: TimerHandle | None = None
        self._reader: Reader | None = None
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = timerfd_create(clock.CLOCK)
        if self._fd >= 0:
            self._reader = Reader(loop, self._fd, self._on_expiry, what="timer", log=log)
            self._reader.start()

    def close(self) -> None:
        """Stops calling back for good. Idempotent."""
        self.cancel()
        clock.cancel(self._instead)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            os.close(self._fd)
            self._fd = -1

    def call_later(self, delay: float, callback: Callable[[], None]) -> "BootTimer":
        """Calls back once, `delay` seconds of the protocol's clock from now. Replaces the callback before."""
        self._callback = callback
        self._at = clock.now() + delay
        self._set()
        return self

    def cancel(self) -> None:
        """The callback is not called any more."""
        self._callback = None

    def _set(self) -> None:
        """Sets the timerfd, or a timer of the loop where there is none."""
        clock.cancel(self._instead)
        try:
            if self._fd >= 0:
                timerfd_set_at(self._fd, self._at)
                return
        except OSError as error:
            tell(self._log, "timer", error)
        delay = min(max(self._at - clock.now(), 0.0), LONGEST_SLEEP_S)
        self._instead = self._loop.call_later(delay, self._on_expiry)

    def _on_expiry(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 8)
        if self._callback is None:
            return
        if clock.now() < self._at:
            self._set()
            return
        callback, self._callback = self._callback, None
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - no error may end the timer
            self._loop.call_exception_handler({"message": "a timer", "exception": error})
