"""Changes to a device, and its status, as plain data.

Nothing here knows a text format, a socket or a clock. Keys are 32 raw bytes. Addresses are packed in network order:
4 bytes are IPv4, 16 are IPv6. The printed form of these classes never contains a secret. The secret keys of a change
are for the device to take over: a Secret as it is, bytes by copying and wiping them.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pywg.dataplane.crypto.secret import Secret

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Prefix: TypeAlias = tuple[bytes, int]
"""(packed address with its host bits cleared, prefix length)"""

SockAddr: TypeAlias = tuple[bytes, int, int]
"""(packed address, UDP port, scope id: the index of the interface of an IPv6 link-local address, otherwise 0)"""

ZERO_KEY = bytes(32)
"""As a private or preshared key in a change: "there is none any more"."""


class AllowedIpChange(NamedTuple):
    """One prefix given to a peer (and so taken from its present owner), or taken from this peer."""

    ip: bytes
    cidr: int
    remove: bool = False


@dataclass(slots=True)
class PeerChange:
    """One peer's part of a change; None leaves the present value alone.

    `remove` wins over everything else here. With `update_only` an unknown peer is left unknown. `clear_endpoint` comes
    before `endpoint`, and `replace_allowed_ips` before `allowed_ips`, whose entries apply in order.
    """

    public_key: bytes
    remove: bool = False
    update_only: bool = False
    preshared_key: Secret | bytes | None = field(default=None, repr=False)
    clear_endpoint: bool = False
    """the peer has none then, until it is set or the peer speaks: a key of pywg's own"""
    endpoint: SockAddr | None = None
    probe_endpoint: SockAddr | None = None
    """where to try whether the peer answers, and to move it if so: a key of pywg's own"""
    persistent_keepalive: int | None = None
    """seconds, 0..65535; 0 turns it off"""
    replace_allowed_ips: bool = False
    allowed_ips: list[AllowedIpChange] = field(default_factory=list)


@dataclass(slots=True)
class DeviceChange:
    """A UAPI set operation. None leaves the present value alone; `replace_peers` comes before `peers`.

    `peers` is in the order given, and the same peer may appear more than once.
    """

    private_key: Secret | bytes | None = field(default=None, repr=False)
    """as it was given, not clamped; ZERO_KEY clears it"""
    listen_port: int | None = None
    """0..65535; 0 asks for any free port"""
    fwmark: int | None = None
    """0..2^32-1; 0 turns it off"""
    replace_peers: bool = False
    peers: list[PeerChange] = field(default_factory=list)


@dataclass(slots=True)
class PeerStatus:
    """One peer as a UAPI get operation shows it."""

    public_key: bytes
    preshared_key: "ReadableBuffer" = field(default=ZERO_KEY, repr=False)
    """32 bytes, all zero when there is none; any object with the buffer protocol"""
    endpoint: SockAddr | None = None
    last_handshake_ns: int = 0
    """wall clock, nanoseconds since the epoch; 0 means never"""
    tx_bytes: int = 0
    rx_bytes: int = 0
    persistent_keepalive: int = 0
    allowed_ips: list[Prefix] = field(default_factory=list)


class PeerTrouble(NamedTuple):
    """What keeps a peer from answering, as the operation `peers=1` tells: of a peer that owes an answer alone."""

    public_key: bytes
    initiations_unanswered: int
    """since the last handshake, or since its endpoint or our key changed; also those that could not leave"""
    unanswered_seconds: int
    """since the first of them"""
    trouble: str
    """the cause, as the log names it in one line; empty while there is none to name"""


@dataclass(slots=True)
class DeviceStatus:
    """A device as a UAPI get operation shows it; zero and None mean "not set"."""

    private_key: "ReadableBuffer | None" = field(default=None, repr=False)
    """32 bytes; any object with the buffer protocol"""
    listen_port: int = 0
    fwmark: int = 0
    peers: list[PeerStatus] = field(default_factory=list)
