"""Round trips: sent in turn, answered in any order, summed up."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pywg.manage.ping.echo import Echo, Reply
from pywg.manage.ping.fit import largest

_LAST_S = 1.0
"""Seconds that the last answer may take, at least."""
_MOST_PATIENCE_S = 1.0


@dataclass(slots=True)
class Trips:
    """What came of a run."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    """of each answered request, in the order of the answers"""
    faults: list[str] = field(default_factory=list)

    @property
    def lost(self) -> float:
        """The part of the requests that was not answered, 0 to 1."""
        return 1 - len(self.seconds) / self.sent if self.sent else 0.0

    def figures(self) -> dict[str, float]:
        """Milliseconds: min, avg, p50, max; empty without answers."""
        if not self.seconds:
            return {}
        values = {
            "min": min(self.seconds),
            "avg": statistics.fmean(self.seconds),
            "p50": statistics.median(self.seconds),
            "max": max(self.seconds),
        }
        return {name: round(value * 1000, 3) for name, value in values.items()}


def run(
    echo: Echo,
    trips: Trips,
    *,
    count: int,
    interval_s: float,
    data_len: int,
    told: Callable[[int, Reply | None], None],
) -> None:
    """Sends `count` requests (0: until KeyboardInterrupt). Tells each answer, or None for one that could not leave."""
    sequence = 0
    while not count or sequence < count:
        sequence += 1
        trips.sent += 1
        began = time.monotonic()
        if fault := echo.send(sequence, data_len):
            trips.faults.append(fault)
            told(sequence, Reply(-1, 0.0, fault))
        last = sequence == count
        _take(echo, trips, began + (max(interval_s, _LAST_S) if last else interval_s), told, until_all=last)


def _take(
    echo: Echo, trips: Trips, until: float, told: Callable[[int, Reply | None], None], *, until_all: bool
) -> None:
    while (left := until - time.monotonic()) > 0:
        if until_all and len(trips.seconds) + len(trips.faults) >= trips.sent:
            return
        reply = echo.receive(left)
        if reply is None:
            continue
        if reply.fault:
            trips.faults.append(reply.fault)
        else:
            trips.seconds.append(reply.seconds)
        told(reply.sequence, reply)


def largest_packet(echo: Echo, low: int, high: int, rtt_s: float) -> int:
    """The largest packet, in bytes with its IP header, that is answered; 0 when not even `low` is."""
    patience = min(max(5 * rtt_s, 0.1), _MOST_PATIENCE_S)
    sent: list[int] = []

    def passes(size: int) -> bool:
        sent.append(size)
        if echo.send(len(sent), size - echo.overhead):
            return False
        until = time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            reply = echo.receive(left)
            if reply is not None and 0 < reply.sequence <= len(sent) and sent[reply.sequence - 1] >= size:
                return True  # if late
            if reply is not None and reply.fault:
                return False
        return False

    return largest(passes, low, high)
