"""A timer that counts through suspend: a timerfd on CLOCK_BOOTTIME wakes the loop.

The loop's own timers stand still while the machine sleeps, and the protocol's clock doesn't. A deadline that passed
during a sleep is so found at once when it ends.
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
"""Without a timerfd, a deadline that passed during a sleep is found at most so much later."""


class BootTimer:
    """A loop's call_later for one callback at a time, that of the protocol's deadlines."""

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
        """No callback comes any more; idempotent."""
        self.cancel()
        clock.cancel(self._instead)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            os.close(self._fd)
            self._fd = -1

    def call_later(self, delay: float, callback: Callable[[], None]) -> "BootTimer":
        """Calls back once, `delay` seconds of the protocol's clock from now, in place of the callback before."""
        self._callback = callback
        self._at = clock.now() + delay
        self._set()
        return self

    def cancel(self) -> None:
        """Don't call."""
        self._callback = None

    def _set(self) -> None:
        """By the timerfd, or where there is none by the loop."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
            self._loop.call_exception_handler({"message": "a timer", "exception": error})
