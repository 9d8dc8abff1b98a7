"""SIGINT, SIGTERM and SIGHUP while steps are carried out: they are heard between two steps, and in a wait.

A program that has its steps done by another thread, which hears no signal, stops them by `stop`.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asks to stop. `left` says what it leaves."""

    def __init__(self, number: int, left: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}{'; ' if left else ''}{left}")
        self.number = number


class Interrupts:
    """Handles the signals in the body of a `with`. Outside the main thread, where there are none, it does nothing."""

    def __init__(self) -> None:
        self._came = 0
        self._waiting = False
        self._undoing = False
        self._wake: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def stop(self) -> None:
        """As if a signal had come, from any thread."""
        self._came = self._came or signal.SIGINT
        wake = self._wake
        if wake is not None and not self._undoing:
            wake()

    def check(self) -> None:
        """Raises Interrupted when a signal has come."""
        if self._came and not self._undoing:
            raise Interrupted(self._came)

    @contextlib.contextmanager
    def waiting(self, wake: Callable[[], None]) -> Iterator[None]:
        """A signal that comes in the body raises Interrupted there. `stop` calls `wake`, which has the body's wait end,
        and Interrupted is raised behind it."""
        self._waiting, self._wake = True, wake
        try:
            self.check()
            yield
            self.check()
        finally:
            self._waiting, self._wake = False, None

    @contextlib.contextmanager
    def undoing(self) -> Iterator[None]:
        """In the body no signal is heard."""
        self._undoing = True
        try:
            yield
        finally:
            self._undoing = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._came = self._came or number
        if self._waiting and not self._undoing:
            raise Interrupted(number)
