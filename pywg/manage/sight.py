"""What is seen of an interface: its daemon's state and statistics, the process, addresses and names, at one moment.

Nothing here needs a key. A daemon that tells keys is asked all the same, and they are wiped at once.
"""

import contextlib
import time
from dataclasses import dataclass, field

from pywg.config.model import ZERO_KEY, DeviceStatus, PeerStatus, PeerTrouble
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import DeviceError
from pywg.manage import client, process
from pywg.manage.addresses import addresses_of, index_of
from pywg.manage.names import names_of
from pywg.manage.wg_show import is_set, own_public_key
from pywg.runtime.base.in_use import Daemon, daemon_of
from pywg.runtime.base.log import key_name
from pywg.runtime.uapi.socket import MONITOR


@dataclass(slots=True)
class Sight:
    """One interface. What its daemon doesn't tell is empty: no other program has statistics and troubles."""

    interface: str
    at: float
    """monotonic seconds of the answer"""
    wall_ns: int
    status: DeviceStatus
    """without its keys"""
    public_key: bytes | None = None
    """the interface's own, if it is told"""
    private_key_is_set: bool | None = None
    """None: not told"""
    stats: dict[str, str] = field(default_factory=dict)
    troubles: dict[bytes, PeerTrouble] = field(default_factory=dict)
    daemon: Daemon = field(default_factory=lambda: Daemon("", 0, ""))
    addresses: list[str] = field(default_factory=list)
    here: bool = True
    """whether the interface is in the caller's network namespace"""
    names: dict[bytes, str] = field(default_factory=dict)
    resident_bytes: int = 0

    def name_of(self, peer: PeerStatus) -> str:
        """The operator's name of a peer; else the ends of its key, as in the log."""
        return self.names.get(peer.public_key) or key_name(peer.public_key)

    def number(self, name: str) -> int:
        """A statistic that is a number; 0 where it isn't told."""
        value = self.stats.get(name, "")
        return int(value) if value.removeprefix("-").isdecimal() else 0

    @property
    def is_pywg(self) -> bool:
        """Whether the daemon is one of ours."""
        return bool(self.stats)


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second between two sights, of all peers and of each."""

    rx: float = 0.0
    tx: float = 0.0
    peers: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    """(received, sent) by public key; a peer that came between the sights isn't in it"""


def glance(interface: str, *, directory: str | None = None) -> Sight:
    """The state and the statistics alone. Raises DeviceError when no daemon answers, or the caller may not ask."""
    return _seen(interface, directory, whole=False)


def look(interface: str, *, directory: str | None = None) -> Sight:
    """All that can be seen. Raises DeviceError as `glance`."""
    sight = _seen(interface, directory, whole=True)
    with contextlib.suppress(DeviceError):
        sight.troubles = {one.public_key: one for one in client.troubles(interface, directory=directory)}
    sight.daemon = serving(interface, directory=directory) or sight.daemon
    sight.resident_bytes = process.resident_bytes(sight.daemon.pid) if sight.daemon.pid else 0
    index = index_of(interface)
    sight.here = index != 0
    sight.addresses = addresses_of(index) if index else []
    sight.names = names_of(interface)
    return sight


def _seen(interface: str, directory: str | None, *, whole: bool) -> Sight:
    """`whole`: with the interface's public key, whose computation needs a large library."""
    status, told = client.watch(interface, directory=directory)
    sight = Sight(interface, time.monotonic(), time.time_ns(), status)
    try:
        if told:
            sight.private_key_is_set = is_set(status.private_key)
            sight.public_key = own_public_key(status) if whole else None
    finally:
        _wipe(status)
    with contextlib.suppress(DeviceError):
        sight.stats = client.stats(interface, directory=directory)
    return sight


def serving(interface: str, *, directory: str | None = None) -> Daemon | None:
    """The daemon, found over either of its sockets."""
    return daemon_of(interface, directory=directory) or daemon_of(interface, directory=directory, suffix=MONITOR)


def rates(before: Sight, after: Sight) -> Rates:
    """How fast the counters grew. A counter that went back, of a daemon that was started anew, counts as none."""
    seconds = after.at - before.at
    if seconds <= 0:
        return Rates()
    earlier = {peer.public_key: peer for peer in before.status.peers}
    peers = {}
    for peer in after.status.peers:
        if (old := earlier.get(peer.public_key)) is not None:
            rx, tx = peer.rx_bytes - old.rx_bytes, peer.tx_bytes - old.tx_bytes
            peers[peer.public_key] = (max(rx, 0) / seconds, max(tx, 0) / seconds)
    return Rates(sum(rx for rx, _ in peers.values()), sum(tx for _, tx in peers.values()), peers)


def _wipe(status: DeviceStatus) -> None:
    for key in (status.private_key, *(peer.preshared_key for peer in status.peers)):
        if isinstance(key, Secret):
            key.wipe()
    status.private_key = None
    for peer in status.peers:
        peer.preshared_key = ZERO_KEY
