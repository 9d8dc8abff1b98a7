"""A reader: the callback for a descriptor in an event loop. No error of the callback ends the loop or makes it spin.

A descriptor whose callback failed is most likely still readable, so the event loop would call again at once, for ever.
The reader rests instead, and the log tells the error.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from pywg.runtime.base.clock import TimerHandle, cancel
from pywg.runtime.base.log import Level, Log

RETRY_S: Final = 0.1
"""Seconds from an error to the next call."""


class Loop(Protocol):
    """The part of an asyncio event loop that descriptors and timers need."""

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
        """Calls from now on, also after `pause`, and at once for what has waited. Raises OSError."""
        if not self._closed:
            cancel(self._resting)
            self._loop.add_reader(self._fd, self._call)

    def go_on(self) -> None:
        """As `start`. Where the kernel refuses the descriptor this tries again until it doesn't, as the log tells."""
        self._again()

    def pause(self) -> None:
        """Stops calling until `start` or `go_on`."""
        if not self._closed:
            cancel(self._resting)
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Stops calling for good. Idempotent."""
        self.pause()
        self._closed = True

    def _call(self) -> None:
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001 - no error may end the reader
            if not self._closed:
                self._loop.remove_reader(self._fd)
                cancel(self._resting)
                self._resting = self._loop.call_later(RETRY_S, self._again)
            tell(self._log, self._what, error)

    def _again(self) -> None:
        try:
            self.start()
        except OSError as error:
            self._resting = self._loop.call_later(RETRY_S, self._again)
            tell(self._log, self._what, error)


def tell(log: Log, what: str, error: Exception) -> None:
    """Logs one line about an error that ends nothing, limited to what an operator can read."""
    with contextlib.suppress(MemoryError):
        log.limited(what, f"{what}: {words(error)}; trying again", Level.ERROR)


def words(error: BaseException) -> str:
    """An error in the words of the system, or of Python."""
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}".rstrip(": ")
