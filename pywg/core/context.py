"""What all peers of one tunnel share: its identity, its indices, what it was given, and where its output collects."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pywg.core.events import Activity, Datagram, Event
from pywg.core.handshake import Identity
from pywg.core.index_table import IndexTable


@dataclass(slots=True)
class Context:
    """One for each tunnel. `identity` is None without a private key; `running` follows the interface."""

    random: Callable[[int], bytes]
    wall_ns: Callable[[], int]
    activity: Callable[[int], Activity]
    withdraw: Callable[[int, int], bool]
    indices: IndexTable
    """Each index in use, of a handshake or a keypair, and the peer it is for."""
    identity: Identity | None = None
    running: bool = False
    events: list[Event] = field(default_factory=list)
    datagrams: list[Datagram] = field(default_factory=list)
