"""Makes sure that the lab is torn down whichever way it ends: Ctrl-C, SIGTERM, a closed terminal, or two of them.

While a lab is up, these signals raise `Stopped` in the main thread, so that every `with` runs its exit. While it is
being torn down they are only remembered, and raised when the tear-down is done.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A stop signal came; `signum` says which. A KeyboardInterrupt, so that pytest too ends its session in order."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class _Handling:
    """How many blocks raise and defer at the moment, what came meanwhile, and the handlers to put back."""

    def __init__(self) -> None:
        self.raising = 0
        self.deferring = 0
        self.pending: int | None = None
        self.before: dict[int, Any] = {}

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        if not self.deferring:
            raise Stopped(signum)
        self.pending = self.pending or signum


_handling = _Handling()


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """In the body, stop signals raise Stopped. Blocks may nest and overlap. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _handling.raising == 0:
        for signum in STOPPING:
            _handling.before[signum] = signal.signal(signum, _handling.handle)
    _handling.raising += 1
    try:
        yield
    finally:
        _handling.raising -= 1
        if _handling.raising == 0:
            for signum in STOPPING:
                signal.signal(signum, _handling.before.pop(signum))


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In the body, stop signals wait; the first that came is raised at the end. For use inside `raised`."""
    _handling.deferring += 1
    try:
        yield
    finally:
        _handling.deferring -= 1
    if _handling.deferring == 0 and _handling.pending is not None:
        signum, _handling.pending = _handling.pending, None
        raise Stopped(signum)
