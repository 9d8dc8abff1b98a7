"""The timers of a peer. Paper, section 6; the rules in detail are those of Linux's timers.c.

    retransmit handshake     an initiation was not answered for REKEY_TIMEOUT and some jitter: send another; after
                             MAX_HANDSHAKE_ATTEMPTS, REKEY_ATTEMPT_TIME in all, give up until there is new data
    new handshake            data was sent and nothing authentic came back for NEW_HANDSHAKE_TIMEOUT: start a handshake
    passive keepalive        data was received and nothing sent for KEEPALIVE_TIMEOUT: send a keepalive
    persistent keepalive     nothing authentic either way for as long as is configured: send a keepalive
    zero key material        no new session for KEY_ZEROING_TIME: wipe what there is

The middle three depend on packets, thousands of them a second, which the data plane does not report. It keeps the
times of firsts and lasts (events.Activity). A timer reads them when it is due, and then fires or moves on. Keepalives
are not data, so one never answers another. The peer reports handshake messages, which the data plane does not see
(`sent`, `handshake_received`); they count as authentic packets.

Deadlines are moments of `now`; nothing here acts: `expire` names what has fired, and the peer acts on it.
"""

import heapq
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from pywg.constants import (
    KEEPALIVE_TIMEOUT,
    KEY_ZEROING_TIME,
    MAX_HANDSHAKE_ATTEMPTS,
    NEW_HANDSHAKE_TIMEOUT,
    REJECT_AFTER_TIME,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER,
)
from pywg.core.carried import CarriedTimers
from pywg.core.events import Activity

_NEVER: Final = float("inf")
_LONG_AGO: Final = float("-inf")
_JITTER_BITS: Final = 16


class Timer(Enum):
    """What can fire."""

    RETRANSMIT_HANDSHAKE = auto()
    GIVE_UP = auto()
    NEW_HANDSHAKE = auto()
    PASSIVE_KEEPALIVE = auto()
    PERSISTENT_KEEPALIVE = auto()
    ZERO_KEY_MATERIAL = auto()


class Timers:
    """One peer's timers. `random` gives the bytes for the jitter; `persistent_keepalive` is seconds, 0 for off."""

    __slots__ = (
        "_data_until",
        "_keepalive_since",
        "_new_handshake_jitter",
        "_random",
        "_retransmit_at",
        "_traversal_at",
        "_unanswered_since",
        "_zero_at",
        "attempts",
        "persistent_keepalive",
    )

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self.persistent_keepalive = 0
        self.stop()

    def stop(self) -> None:
        """Nothing is due any more: the interface is down or the peer goes."""
        self.attempts = 0  # initiations sent without an answer, or without new data since
        self._retransmit_at = _NEVER
        self._zero_at = _NEVER
        self._data_until = _LONG_AGO  # after that, no session is young enough for the timers of data to matter
        # The next three are floors under the data plane's times: what has happened since.
        self._unanswered_since = _LONG_AGO
        self._keepalive_since = _LONG_AGO
        self._traversal_at = _LONG_AGO
        self._new_handshake_jitter = 0.0

    def carried(self) -> CarriedTimers:
        """For another process that goes on."""
        return CarriedTimers(
            self.attempts,
            self._retransmit_at,
            self._zero_at,
            self._data_until,
            self._unanswered_since,
            self._keepalive_since,
            self._traversal_at,
            self._new_handshake_jitter,
        )

    def resume(self, carried: CarriedTimers) -> None:
        """Goes on from there."""
        self.attempts = carried.attempts
        self._retransmit_at = carried.retransmit_at
        self._zero_at = carried.zero_at
        self._data_until = carried.data_until
        self._unanswered_since = carried.unanswered_since
        self._keepalive_since = carried.keepalive_since
        self._traversal_at = carried.traversal_at
        self._new_handshake_jitter = carried.new_handshake_jitter

    def jitter(self) -> float:
        """A random time of up to REKEY_TIMEOUT_JITTER, so that two peers that collide don't do so again.

        0 where the system has no random numbers now: that is no secret, and a timer has to be set all the same.
        """
        try:
            return self._random_share() * REKEY_TIMEOUT_JITTER
        except (OSError, MemoryError):
            return 0.0

    def _random_share(self) -> float:
        return int.from_bytes(self._random(_JITTER_BITS // 8), "little") / (1 << _JITTER_BITS)

    @property
    def retransmit_pending(self) -> bool:
        """Whether an initiation is going to be sent without further reason."""
        return self._retransmit_at != _NEVER

    def handshake_initiated(self, now: float) -> None:
        """An initiation was sent."""
        self.attempts += 1
        self.retransmit_after(now)

    def retransmit_after(self, sent_at: float) -> None:
        """An initiation is wanted that may not be sent yet: one was, or a response, at `sent_at`."""
        self._retransmit_at = sent_at + REKEY_TIMEOUT + self.jitter()

    def handshake_complete(self) -> None:
        """Both sides have the session: nothing is left to send again."""
        self.attempts = 0
        self._retransmit_at = _NEVER

    def session_derived(self, now: float) -> None:
        """There are new keys, to be wiped one day."""
        self._zero_at = now + KEY_ZEROING_TIME
        self._data_until = now + REJECT_AFTER_TIME + NEW_HANDSHAKE_TIMEOUT + REKEY_TIMEOUT_JITTER

    def sent(self, now: float) -> None:
        """A handshake message went to the peer, or a persistent keepalive that was not due."""
        self._traversal_at = now

    def handshake_received(self, now: float) -> None:
        """An authentic handshake message came from the peer."""
        self._traversal_at = now
        self._unanswered_since = now

    def next_deadline(self, now: float, activity: Activity) -> float:
        """The earliest moment at which something may be due, infinity for none."""
        of_data = self._persistent_at(activity), self._new_handshake_at(activity), self._passive_at(activity)
        deadline = min(self._retransmit_at, self._zero_at, *of_data)
        if activity.unanswered_since and not activity.keepalive_owed_since and now < self._data_until:
            # While a timer is pending, the plane does not report that a keepalive is owed: look before it is due.
            deadline = min(deadline, now + KEEPALIVE_TIMEOUT)
        return deadline

    def expire(self, now: float, activity: Activity) -> list[Timer]:
        """What has fired by now, each once."""
        fired: list[Timer] = []
        if self._retransmit_at <= now:
            fired.append(self._expire_retransmit(now))
        if self._new_handshake_at(activity) <= now and self._expire_new_handshake(now, activity):
            fired.append(Timer.NEW_HANDSHAKE)
        if self._passive_at(activity) <= now:
            self._keepalive_since = now
            fired.append(Timer.PASSIVE_KEEPALIVE)
        if self._persistent_at(activity) <= now:
            self._traversal_at = now
            fired.append(Timer.PERSISTENT_KEEPALIVE)
        if self._zero_at <= now:
            self._zero_at = _NEVER
            fired.append(Timer.ZERO_KEY_MATERIAL)
        return fired

    def _expire_retransmit(self, now: float) -> Timer:
        self._retransmit_at = _NEVER
        if self.attempts < MAX_HANDSHAKE_ATTEMPTS:
            return Timer.RETRANSMIT_HANDSHAKE
        if self._zero_at == _NEVER:
            self._zero_at = now + KEY_ZEROING_TIME  # what is left of the unfinished handshake
        return Timer.GIVE_UP

    def _expire_new_handshake(self, now: float, activity: Activity) -> bool:
        """Fires if data was sent since the last sign of life; otherwise only the wait begins again."""
        unanswered = activity.last_data_sent >= self._unanswered_since
        self._unanswered_since = now
        self._new_handshake_jitter = self.jitter()
        return unanswered

    def _new_handshake_at(self, activity: Activity) -> float:
        if not activity.unanswered_since:
            return _NEVER
        since = max(activity.unanswered_since, self._unanswered_since)
        return self._while_young(since + NEW_HANDSHAKE_TIMEOUT + self._new_handshake_jitter)

    def _passive_at(self, activity: Activity) -> float:
        if not activity.keepalive_owed_since:
            return _NEVER
        return self._while_young(max(activity.keepalive_owed_since, self._keepalive_since) + KEEPALIVE_TIMEOUT)

    def _while_young(self, deadline: float) -> float:
        return deadline if deadline <= self._data_until else _NEVER

    def _persistent_at(self, activity: Activity) -> float:
        if not self.persistent_keepalive:
            return _NEVER
        return max(activity.last_traversal, self._traversal_at) + self.persistent_keepalive


class DeadlineQueue:
    """The next deadline of each peer, earliest first. A deadline that was replaced stays in the heap and is skipped."""

    def __init__(self) -> None:
        self._deadlines: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def schedule(self, peer: int, deadline: float) -> None:
        """Replaces the peer's deadline; infinity for none."""
        if deadline == _NEVER:
            self._deadlines.pop(peer, None)
        elif self._deadlines.get(peer) != deadline:
            self._deadlines[peer] = deadline
            heapq.heappush(self._heap, (deadline, peer))
            self._compact()

    def next_deadline(self) -> float | None:
        """The earliest deadline, None when there is none."""
        while self._heap:
            deadline, peer = self._heap[0]
            if self._deadlines.get(peer) == deadline:
                return deadline
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> int | None:
        """Takes out a peer whose deadline has come, None when there is none."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        peer = heapq.heappop(self._heap)[1]
        del self._deadlines[peer]
        return peer

    def _compact(self) -> None:
        if len(self._heap) > 4 * len(self._deadlines) + 64:
            self._heap = [(deadline, peer) for peer, deadline in self._deadlines.items()]
            heapq.heapify(self._heap)
