"""Values that cross the boundary of the core: facts out (events, datagrams) and answers of its owner (activity).

Every event is one fact, frozen, and is drained in the order it happened. `peer` is the number `Tunnel.add_peer` gave.
Indices are the 32-bit receiver indices of the wire; times are the monotonic seconds of `now`.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from pywg.dataplane.crypto.secret import Secret

# Why a datagram was dropped: the whole set. Each becomes one counter.
BAD_LENGTH: Final = "bad length"
BAD_TYPE: Final = "bad type"
BAD_MAC1: Final = "bad mac1"
NO_PRIVATE_KEY: Final = "no private key"
DOWN: Final = "interface down"
BAD_PUBLIC_KEY: Final = "low-order public key"
BAD_INITIATION: Final = "bad initiation"
UNKNOWN_PEER: Final = "unknown peer"
REPLAYED_INITIATION: Final = "replayed initiation"
INITIATION_FLOOD: Final = "initiation flood"
UNKNOWN_INDEX: Final = "unknown index"
BAD_RESPONSE: Final = "bad response"
BAD_COOKIE_REPLY: Final = "bad cookie reply"


class Endpoint(NamedTuple):
    """The far end of a datagram, and the near end it used.

    `ip` is packed (4 or 16 bytes), `scope_id` an IPv6 interface number or 0. `local_ip` and `local_ifindex` are where
    the peer spoke to us: the sticky source of the answer; empty and 0 leave the choice to the routing table.
    """

    ip: bytes
    port: int
    scope_id: int = 0
    local_ip: bytes = b""
    local_ifindex: int = 0


class Activity(NamedTuple):
    """What the data plane knows about one peer: monotonic seconds, 0.0 for "not"."""

    unanswered_since: float = 0.0
    """First data sent since the last authenticated packet was received."""
    keepalive_owed_since: float = 0.0
    """First data received since the last authenticated packet was sent."""
    last_traversal: float = 0.0
    """Last authenticated transport packet, either way, keepalives included."""
    last_data_sent: float = 0.0
    """Last time data was sent, or wanted to be."""


class Datagram(NamedTuple):
    """One to send, to wherever `peer` is, or to `to`, where it may be."""

    data: bytes
    peer: int
    to: "Endpoint | None" = None


@dataclass(frozen=True, slots=True)
class KeypairDerived:
    """The data plane must be able to open with these keys from now on.

    A responder's is unconfirmed: the plane reports the first authentic packet (`Tunnel.keypair_confirmed`). The core
    keeps no copy of the keys: they are gone when the event is. A handshake index that becomes the keypair's is closed
    before. A peer never has more than three keypairs.
    """

    peer: int
    local_index: int
    remote_index: int
    send_key: Secret
    receive_key: Secret
    initiator: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class SendingKeypairChanged:
    """Seal with this keypair from now on; None: with none of those there are, an unconfirmed one included."""

    peer: int
    local_index: int | None


@dataclass(frozen=True, slots=True)
class KeypairRetired:
    """Forget this keypair and wipe it."""

    peer: int
    local_index: int


@dataclass(frozen=True, slots=True)
class HandshakeIndexOpened:
    """A response or a cookie reply may name this index from now on."""

    peer: int
    local_index: int


@dataclass(frozen=True, slots=True)
class HandshakeIndexClosed:
    """No response or cookie reply may name this index any more."""

    local_index: int


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """The peer has answered where it was tried: it is there from now on."""

    peer: int
    source: Endpoint


@dataclass(frozen=True, slots=True)
class KeepaliveWanted:
    """Send what is staged, and an empty transport packet if nothing is."""

    peer: int


@dataclass(frozen=True, slots=True)
class SendStaged:
    """Send what is staged; without a usable keypair, ask for a handshake if anything is."""

    peer: int


@dataclass(frozen=True, slots=True)
class DropStaged:
    """The peer did not answer for REKEY_ATTEMPT_TIME, or the interface went down: drop what is staged."""

    peer: int


@dataclass(frozen=True, slots=True)
class SourceCleared:
    """The peer does not answer: forget the sticky source of its endpoint, in case that is what is wrong."""

    peer: int


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """A session is up; `at_wall_ns` is nanoseconds since the epoch."""

    peer: int
    at_wall_ns: int


@dataclass(frozen=True, slots=True)
class HandshakeGivenUp:
    """The peer did not answer for REKEY_ATTEMPT_TIME. New data starts again."""

    peer: int


@dataclass(frozen=True, slots=True)
class CookieReceived:
    """The peer is under load, and wants the cookie that it has given us in the next message."""

    peer: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """One datagram was rejected; `reason` is one of those above.

    `public_key` is the static key of the stranger, or of the peer, that it is about: for UNKNOWN_PEER,
    REPLAYED_INITIATION and BAD_RESPONSE.
    """

    reason: str
    source: Endpoint | None
    public_key: bytes | None = None


Event = (
    KeypairDerived
    | SendingKeypairChanged
    | KeypairRetired
    | HandshakeIndexOpened
    | HandshakeIndexClosed
    | ProbeAnswered
    | KeepaliveWanted
    | SendStaged
    | DropStaged
    | SourceCleared
    | HandshakeCompleted
    | HandshakeGivenUp
    | CookieReceived
    | Dropped
)
