"""A callback for a descriptor in an event loop, that no error of it ends or makes spin.

A descriptor whose callback failed is most likely still readable, so that it would be called again at once, for ever. It
rests instead, and the log tells what went wrong.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from pywg.runtime.base.clock import TimerHandle, cancel
from pywg.runtime.base.log import Level, Log

RETRY_S: Final = 0.1
"""Seconds from an error to the next call."""


class Loop(Protocol):
    """What descriptors and timers need of an asyncio event loop."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def call_soon(self, callback: Callable[[], None], /) -> object: ...
    def call_later(self, delay: float, callback: Callable[[], None], /) -> TimerHandle: ...
    def call_exception_handler(self, context: dict[str, Any], /) -> None: ...


class Reader:
    """Calls `ready()` while `fd`, the caller's, is readable, from `start` to `close`. `what` names it in the log."""

    def __init__(self, loop: Loop, fd: int, ready: Callable[[], None], *, what: str, log: Log) -> None:
        self._loop = loop
        self._fd = fd
        self._ready = ready
        self._what = what
        self._log = log
        self._resting: TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Also after `pause`: what has waited is heard at once. Raises OSError."""
        if not self._closed:
            cancel(self._resting)
            self._loop.add_reader(self._fd, self._call)

    def pause(self) -> None:
        """No calls until `start`."""
        if not self._closed:
            cancel(self._resting)
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """No call comes any more; idempotent."""
        self.pause()
        self._closed = True

    def _call(self) -> None:
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
            if not self._closed:
                self._loop.remove_reader(self._fd)
                cancel(self._resting)
                self._resting = self._loop.call_later(RETRY_S, self.start)
            tell(self._log, self._what, error)


def tell(log: Log, what: str, error: Exception) -> None:
    """One line about an error that doesn't end anything, and no more of it than anybody reads."""
    with contextlib.suppress(MemoryError):
        log.limited(what, f"{what}: {words(error)}; trying again", Level.ERROR)


def words(error: BaseException) -> str:
    """What the system says, or Python."""
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}".rstrip(": ")
