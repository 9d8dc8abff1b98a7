"""What the protocol knows of a peer, for another process that goes on with it.

Guards against replays are of it: an initiation that this process has answered must not be answered by the next, and
its own timestamps must go on growing. A handshake in flight and a peer's cookie are not: the next initiation makes
both anew. Times are seconds of `now`, which both processes share.
"""

import math
from typing import Final, NamedTuple

from pywg.constants import MAX_HANDSHAKE_ATTEMPTS, REJECT_AFTER_TIME
from pywg.core.tai64n import OLDEST
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import LocalProtocolError

PREVIOUS: Final = 0
CURRENT: Final = 1
NEXT: Final = 2
_MOST_KEYPAIRS: Final = 3
_FAR_S: Final = 4 * REJECT_AFTER_TIME
"""Seconds ahead of which no timer of a peer is set."""


class CarriedKeypair(NamedTuple):
    """As keypair.Keypair; `role` is one of the three above."""

    role: int
    local_index: int
    initiator: bool
    created_at: float
    may_send: bool


class CarriedTimers(NamedTuple):
    """The fields of timers.Timers but the keepalive's interval, which is configuration."""

    attempts: int
    retransmit_at: float
    zero_at: float
    data_until: float
    unanswered_since: float
    keepalive_since: float
    traversal_at: float
    new_handshake_jitter: float


class CarriedPeer(NamedTuple):
    """`preshared_key` is the live handle where a peer is told, and taken over where it is resumed."""

    public_key: bytes
    preshared_key: Secret | None
    persistent_keepalive: int
    last_handshake_wall_ns: int
    last_sent_handshake: float
    latest_timestamp: bytes
    last_sent_ns: int
    last_consumption: float
    timers: CarriedTimers
    keypairs: tuple[CarriedKeypair, ...]

    def check(self, now: float) -> None:
        """Raises LocalProtocolError for what no peer's state can be."""
        roles = [keypair.role for keypair in self.keypairs]
        past = [self.last_sent_handshake - _FAR_S, self.last_consumption]
        past += [keypair.created_at for keypair in self.keypairs]
        timers = self.timers
        past += [timers.unanswered_since, timers.keepalive_since, timers.traversal_at]
        past += [one - _FAR_S for one in (timers.retransmit_at, timers.zero_at, timers.data_until) if one != math.inf]
        if (
            len(roles) > _MOST_KEYPAIRS
            or sorted(set(roles)) != sorted(roles)
            or not set(roles) <= {PREVIOUS, CURRENT, NEXT}
            or {PREVIOUS, NEXT} <= set(roles)
            or len(self.latest_timestamp) != len(OLDEST)
            or any(not one <= now for one in past)
            or not 0 <= timers.attempts <= 2 * MAX_HANDSHAKE_ATTEMPTS
            or not 0 <= timers.new_handshake_jitter <= 1
            or not 0 <= self.persistent_keepalive < 1 << 16
        ):
            raise LocalProtocolError("the state of a peer that can't be")
