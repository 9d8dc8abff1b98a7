"""The two clocks of the daemon.

`now` counts through suspend: keys must age while the machine sleeps, as the kernel's ktime_get_coarse_boottime does for
WireGuard. The data plane uses the same clock.
"""

import time

CLOCK = time.CLOCK_BOOTTIME
"""The protocol's clock."""


def now() -> float:
    """Monotonic seconds since boot, suspend included."""
    return time.clock_gettime(CLOCK)


def wall_ns() -> int:
    """Nanoseconds since the epoch, for TAI64N timestamps and the time of the last handshake."""
    return time.time_ns()
