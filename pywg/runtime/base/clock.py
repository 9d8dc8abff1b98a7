"""The two clocks of the daemon.

`now` counts through suspend: keys must age while the machine sleeps, as the kernel's ktime_get_coarse_boottime does for
WireGuard. The data plane uses the same clock.
"""

import time
from collections.abc import Callable
from typing import Protocol

CLOCK = time.CLOCK_BOOTTIME
"""The protocol's clock."""


class TimerHandle(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """The callback is not called any more."""


CallLater = Callable[[float, Callable[[], None]], TimerHandle]
"""(seconds, callback): calls `callback` once, so many seconds later."""


def cancel(timer: TimerHandle | None) -> None:
    """Cancels a timer that may be set, may have called back, or may be cancelled already."""
    if timer is not None:
        timer.cancel()


def now() -> float:
    """Monotonic seconds since boot, suspend included."""
    return time.clock_gettime(CLOCK)


def wall_ns() -> int:
    """Nanoseconds since the epoch, for TAI64N timestamps and the time of the last handshake."""
    return time.time_ns()
