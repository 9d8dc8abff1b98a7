"""Interfaces as `pywg status` and `pywg top` see them, made up: always the same, with as many peers as wanted."""

import hashlib
from dataclasses import replace

from pywg.config.model import DeviceStatus, PeerStatus, PeerTrouble
from pywg.manage.sight import Sight
from pywg.runtime.base.in_use import Daemon

NOW_S = 1_800_000_000
_NS = 1_000_000_000
_NAMES = "berlin paris lisbon oslo vienna rome athens prague dublin madrid warsaw riga"
_TOWNS = _NAMES.split()
_GIB = 1 << 30
STATS = {
    "aead": "ifma",
    "threads": "4",
    "up": "1",
    "sockets_open": "1",
    "mtu": "1420",
    "peers": "1",
    "secrets_locked": "1",
    "offload_udp_gro": "1",
    "offload_tun_vnet_hdr": "1",
    "offload_udp_gso4": "1",
    "offload_udp_gso6": "1",
    "offload_udp_gso_equal_tail": "1",
    "offload_coalesce_tcp": "1",
    "offload_coalesce_udp": "0",
    "memory_ceiling": str(21 << 20),
    "version": "0.1.0",
    "uptime_seconds": str(3 * 86400 + 4 * 3600 + 60),
    "aead_asked": "auto",
    "aead_available": "evp,libcrypto,avx2,avx512,ifma",
    "sandbox_no_new_privs": "1",
    "sandbox_capabilities": "1",
    "sandbox_landlock": "7",
    "sandbox_landlock_threads": "1",
    "sandbox_seccomp": "1",
    "sandbox_seccomp_threads": "1",
    "sandbox_refused": "0",
    "sandbox_refused_last": "-1",
    "counter_tx_no_peer": "12",
    "counter_rx_source_not_allowed": "0",
    "counter_tx_datagrams": "0",
    "counter_tx_sends": "0",
    "counter_rx_datagrams": "0",
    "counter_rx_receives": "0",
    "counter_rx_packets": "0",
    "counter_rx_tun_writes": "0",
}


def key(number: int) -> bytes:
    """A peer's public key."""
    return hashlib.sha256(b"peer %d" % number).digest()


def peer(number: int) -> PeerStatus:
    """Each third and later one in ten is idle, the third has no answer, the fourth has never spoken."""
    age = 9 + 11 * number % 140 if number % 10 != 7 else 5000 + 977 * number
    found = PeerStatus(
        key(number),
        endpoint=(bytes([203, 0, 113, 1 + number % 250]), 51820, 0),
        last_handshake_ns=(NOW_S - age) * _NS,
        rx_bytes=number * 977 * (1 << 20) + 3 * _GIB,
        tx_bytes=number * 313 * (1 << 20) + _GIB,
        allowed_ips=[(bytes([10, 0, number % 250, 0]), 24)],
    )
    if number == 2:
        return replace(found, last_handshake_ns=0, rx_bytes=0, tx_bytes=148 * 7)
    if number == 3:
        return replace(found, endpoint=None, last_handshake_ns=0, rx_bytes=0, tx_bytes=0)
    if number == 4:
        v6 = bytes.fromhex("20010db8000000000000000000000004")
        return replace(found, endpoint=(v6, 51820, 0))
    return found


def sight(peers: int, *, tick: int = 0, interface: str = "wg0") -> Sight:
    """An interface that was looked at `tick` seconds later than the first time, with traffic meanwhile."""
    status = DeviceStatus(listen_port=51820, peers=[peer(number) for number in range(peers)])
    for number, one in enumerate(status.peers):
        if one.last_handshake_ns and number % 10 != 7:
            wave = sum(1 + (seconds * (number + 3)) % 7 for seconds in range(tick))
            one.rx_bytes += wave * (19_000_000 // (number + 1))
            one.tx_bytes += wave * (7_000_000 // (number + 1))
    stats = dict(STATS)
    for name, growth in (("tx_datagrams", 61_000), ("rx_datagrams", 120_000), ("rx_packets", 118_000)):
        stats[f"counter_{name}"] = str(growth * tick)
    for name, growth in (("tx_sends", 2_100), ("rx_receives", 4_300), ("rx_tun_writes", 3_900)):
        stats[f"counter_{name}"] = str(growth * tick)
    stats["counter_rx_source_not_allowed"] = str(37 * tick)
    return Sight(
        interface,
        at=1000.0 + tick,
        wall_ns=NOW_S * _NS,
        status=status,
        public_key=key(-1),
        private_key_is_set=True,
        stats=stats,
        troubles=_troubles(peers),
        daemon=Daemon("/var/run/wireguard/wg0.sock", 1234, "pywg"),
        addresses=["10.99.0.1/24", "fd00:99::1/64"],
        names={key(number): name_of(number) for number in range(peers) if number % 8 != 5},
        resident_bytes=41_600_000,
    )


def name_of(number: int) -> str:
    """The operator's name of a peer."""
    town = _TOWNS[number % len(_TOWNS)]
    return town if number < len(_TOWNS) else f"{town}-{number // len(_TOWNS) + 1}"


def threads(tick: int) -> dict[int, tuple[str, float]]:
    """A daemon's, after `tick` seconds."""
    shares = {"pywg": 0.01, "pywg-tx": 0.44, "pywg-rx": 0.93, "pywg-h0": 0.61, "pywg-h1": 0.6}
    return {1234 + number: (one, share * tick) for number, (one, share) in enumerate(shares.items())}


def _troubles(peers: int) -> dict[bytes, PeerTrouble]:
    text = "203.0.113.3:51820 refuses what is sent there: Connection refused (no program listens on that port there)"
    return {key(2): PeerTrouble(key(2), 7, 35, text)} if peers > 2 else {}
