"""What all peers of one tunnel share: its identity, its indices, what it was given, and where its output collects."""

from collections.abc import Callable

from pywg.core.events import Activity, Datagram, Event
from pywg.core.handshake import Identity
from pywg.core.index_table import IndexTable


class Context:
    """One for each tunnel. `identity` is None without a private key; `running` follows the interface."""

    __slots__ = ("activity", "datagrams", "events", "identity", "indices", "random", "running", "wall_ns", "withdraw")

    def __init__(
        self,
        random: Callable[[int], bytes],
        wall_ns: Callable[[], int],
        activity: Callable[[int], Activity],
        withdraw: Callable[[int, int], bool],
    ) -> None:
        self.random = random
        self.wall_ns = wall_ns
        self.activity = activity
        self.withdraw = withdraw
        self.identity: Identity | None = None
        self.running = False
        self.indices: IndexTable[int] = IndexTable(random)
        """Each index in use, of a handshake or a keypair, and the peer it is for."""
        self.events: list[Event] = []
        self.datagrams: list[Datagram] = []
