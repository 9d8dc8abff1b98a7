"""A token bucket for each source of handshakes: under load and behind a valid mac2, so no source is forged.

Paper, section 5.3. A source is an IPv4 address or an IPv6 /64, since a /64 is what one site has. The table is
bounded; when it is full, new sources are refused and those that are in it are served, so a flood can't push out who
was there before.
"""

from typing import Final

from pywg.constants import SOURCE_HANDSHAKES_BURST, SOURCE_HANDSHAKES_PER_SECOND

MAX_SOURCES: Final = 65_536
IDLE_TIME: Final = SOURCE_HANDSHAKES_BURST / SOURCE_HANDSHAKES_PER_SECOND
"""Seconds until a bucket is full again, so that forgetting it changes nothing."""
_SITE_PREFIX_LEN: Final = 8


class RateLimiter:
    """Allows SOURCE_HANDSHAKES_PER_SECOND from each source, and bursts of SOURCE_HANDSHAKES_BURST."""

    def __init__(self, max_sources: int = MAX_SOURCES) -> None:
        self._max_sources = max_sources
        self._buckets: dict[bytes, tuple[float, float]] = {}  # source: (tokens, when), least recently seen first

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, ip: bytes, now: float) -> bool:
        """Whether one more handshake from the packed address `ip` is answered now."""
        self.forget_idle(now)
        source = ip if len(ip) == 4 else ip[:_SITE_PREFIX_LEN]
        bucket = self._buckets.pop(source, None)
        if bucket is None:
            if len(self._buckets) >= self._max_sources:
                return False
            tokens = float(SOURCE_HANDSHAKES_BURST)
        else:
            elapsed = max(0.0, now - bucket[1])
            tokens = min(float(SOURCE_HANDSHAKES_BURST), bucket[0] + elapsed * SOURCE_HANDSHAKES_PER_SECOND)
        allowed = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if allowed else tokens, now)
        return allowed

    def forget_idle(self, now: float) -> None:
        """Drops the sources that were not seen for IDLE_TIME."""
        while self._buckets:
            source = next(iter(self._buckets))
            if now - self._buckets[source][1] < IDLE_TIME:
                return
            del self._buckets[source]

    def next_deadline(self) -> float | None:
        """When `forget_idle` will have something to do; None while the table is empty."""
        if not self._buckets:
            return None
        return self._buckets[next(iter(self._buckets))][1] + IDLE_TIME
