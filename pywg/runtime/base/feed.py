"""A feed of events to its subscribers, each with a queue of its own that has a bound.

An event is told in text (pywg/config/uapi_events.py), which is made once for all, and not at all without a subscriber.
A subscriber that does not read loses events, and is told how many; it holds nobody up.
"""

import time
from collections import deque
from collections.abc import Callable

from pywg.config.uapi_events import ENDING, LOST, format_event

QUEUE_LEN = 64 << 10
"""Bytes of events that wait for one subscriber; what does not fit is counted and lost."""
SUBSCRIBERS_PER_SOCKET = 16
"""Subscribers of one socket; more are refused with EBUSY."""


class Feed:
    """What one interface tells. Calls `began` before its first subscriber, and `ended` after its last."""

    def __init__(
        self,
        began: Callable[[], None],
        ended: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._began = began
        self._ended = ended
        self._wall = wall
        self._subscriptions: list[Subscription] = []

    @property
    def wanted(self) -> bool:
        """Whether there is a subscriber: without one, nothing need be found out."""
        return bool(self._subscriptions)

    def subscribe(self) -> "Subscription":
        """A new one, which hears of all from here on. `close` it."""
        if not self._subscriptions:
            self._began()
        subscription = Subscription(self)
        self._subscriptions.append(subscription)
        return subscription

    def tell(self, name: str, **facts: object) -> None:
        """Tells every subscriber. Never fails: without memory, the event is lost to all."""
        if not self._subscriptions:
            return
        try:
            text = self.text(name, **facts)
        except MemoryError:
            text = b""
        for subscription in self._subscriptions:
            subscription.offer(text)

    def text(self, name: str, **facts: object) -> bytes:
        """An event of now as text."""
        return format_event(name, self._wall(), facts)

    def leave(self, subscription: "Subscription") -> None:
        """Idempotent."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            if not self._subscriptions:
                self._ended()


class Subscription:
    """One subscriber's queue."""

    def __init__(self, feed: Feed) -> None:
        self._wake: Callable[[], None] | None = None
        self._feed = feed
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._lost = 0

    def listen(self, wake: Callable[[], None]) -> None:
        """Has `wake` called once, when there is something to take; at once if there is."""
        if self._queue or self._lost:
            wake()
        else:
            self._wake = wake

    def offer(self, text: bytes) -> None:
        """Queues an event, or counts it as lost: where one was, those behind it are too, until all are taken."""
        if not text or self._lost or self._queued + len(text) > QUEUE_LEN:
            self._lost += 1
        else:
            try:
                self._queue.append(text)
                self._queued += len(text)
            except MemoryError:
                self._lost += 1
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def take(self) -> bytes:
        """All that waits, and how many were lost behind it; b"" for nothing."""
        if not self._queued and not self._lost:
            return b""
        if self._lost:
            self._queue.append(self._feed.text(LOST, events=self._lost))
        text = b"".join(self._queue)
        self._queue.clear()
        self._queued = self._lost = 0
        return text

    def last_words(self) -> bytes:
        """The end of the stream: the interface ends."""
        return self.take() + self._feed.text(ENDING) + b"errno=0\n\n"

    def close(self) -> None:
        """Hears nothing more. Idempotent."""
        self._feed.leave(self)
