"""A data plane without threads, TUN or keys: it remembers what it was told, and reports what a test puts in."""

import os
from dataclasses import dataclass, field

Addr = tuple[bytes, int, int, bytes, int]


@dataclass
class FakePeer:
    """What the plane knows of one peer."""

    public_key: bytes
    addr: Addr | None = None
    allowed: list[tuple[bytes, int]] = field(default_factory=list)
    sending: int | None = None
    staged: int = 0
    keepalives: int = 0
    staged_sent: int = 0
    sources_cleared: int = 0
    tx_bytes: int = 0
    rx_bytes: int = 0
    activity: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class FakePlane:
    """The surface of pywg._fastpath.Plane. Anything that names a peer it doesn't have raises KeyError."""

    threads = 2

    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.peers: dict[int, FakePeer] = {}
        self.keypairs: dict[int, int] = {}
        self.indices: dict[int, int] = {}
        self.sockets: tuple[int, int] | None = None
        self.tun: int | None = None
        self.identity: bytes | None = None
        self.mtu = 0
        self.sent: list[tuple[int, bytes]] = []
        self.messages: list[tuple[bytes, Addr]] = []
        self.peer_events: list[tuple[int, int, int]] = []
        self.state = 0
        self.calls: list[str] = []
        self.closed = False
        self.send_error = 0
        """what every message fails with, if not 0"""

    def close(self) -> None:
        if not self.closed:
            os.close(self.event_fd)
        self.closed = True

    def attach_tun(self, fd: int, *, vnet_hdr_len: int) -> None:
        self.tun = fd

    def detach_tun(self) -> None:
        self.tun = None

    def attach_sockets(self, fd4: int, fd6: int) -> None:
        self.calls.append("attach_sockets")
        self.sockets = (fd4, fd6)

    def detach_sockets(self) -> None:
        self.calls.append("detach_sockets")
        self.sockets = None

    def attach_icmp(self, fd4: int, fd6: int) -> None:
        self.icmp = (fd4, fd6)

    def set_mtu(self, mtu: int) -> None:
        self.mtu = mtu

    def set_identity(self, public_key: bytes | None) -> None:
        self.identity = public_key

    def add_peer(self, peer: int, public_key: bytes) -> None:
        assert peer not in self.peers
        self.peers[peer] = FakePeer(public_key)

    def reserve(self, *, peers: int, prefixes: int) -> None:
        """There is always room here."""

    def remove_peer(self, peer: int) -> None:
        del self.peers[peer]

    def set_endpoint(self, peer: int, addr: Addr | None) -> None:
        self.peers[peer].addr = addr

    def endpoint(self, peer: int) -> Addr | None:
        return self.peers[peer].addr

    def clear_source(self, peer: int) -> None:
        found = self.peers[peer]
        found.sources_cleared += 1
        if found.addr is not None:
            found.addr = (*found.addr[:3], b"", 0)

    def allow_many(self, peer: int, prefixes: list[tuple[bytes, int]]) -> None:
        for prefix in prefixes:
            for other in self.peers.values():
                if prefix in other.allowed:
                    other.allowed.remove(prefix)
            self.peers[peer].allowed.append(prefix)

    def disallow(self, peer: int, ip: bytes, cidr: int) -> None:
        if (ip, cidr) in self.peers[peer].allowed:
            self.peers[peer].allowed.remove((ip, cidr))

    def allowed_ips(self, peer: int) -> list[tuple[bytes, int]]:
        return list(self.peers[peer].allowed)

    def clear_allowed(self, peer: int) -> None:
        self.peers[peer].allowed.clear()

    def open_index(self, local_index: int, peer: int) -> None:
        self.indices[local_index] = peer

    def close_index(self, local_index: int) -> None:
        self.indices.pop(local_index, None)

    def install_keypair(
        self,
        peer: int,
        local_index: int,
        remote_index: int,
        send_key: object,
        receive_key: object,
        *,
        initiator: bool,
        created_at: float,
        confirmed: bool,
    ) -> None:
        assert peer in self.peers
        self.calls.append("install_keypair")
        self.keypairs[local_index] = peer

    def use_keypair(self, peer: int, local_index: int | None) -> None:
        self.peers[peer].sending = local_index

    def withdraw_keypair(self, peer: int, local_index: int) -> bool:
        return False

    def retire_keypair(self, local_index: int) -> None:
        self.keypairs.pop(local_index, None)

    def send_keepalive(self, peer: int) -> None:
        """Without a keypair this asks for a handshake, as the kernel's wg_packet_send_keepalive does."""
        self.peers[peer].keepalives += 1
        if self.peers[peer].sending is None and self.peers[peer].addr is not None:
            self.report(peer, 1)

    def send_staged(self, peer: int) -> None:
        self.peers[peer].staged_sent += 1
        if self.peers[peer].staged and self.peers[peer].sending is None:
            self.report(peer, 1)

    def drop_staged(self, peer: int) -> None:
        self.peers[peer].staged = 0

    def send_to_peer(self, peer: int, data: bytes) -> bool:
        self.calls.append("send_to_peer")
        if self.send_error:
            return False
        if self.peers[peer].addr is None or self.sockets is None:
            return False
        self.sent.append((peer, data))
        self.peers[peer].tx_bytes += len(data)
        return True

    def drain(self, limit: int = 64) -> tuple[list[tuple[bytes, Addr]], list[tuple[int, int, int]], int]:
        messages, self.messages = self.messages[:limit], self.messages[limit:]
        peer_events, self.peer_events = self.peer_events[:limit], self.peer_events[limit:]
        if not self.messages and not self.peer_events and not self.closed:
            os.eventfd_write(self.event_fd, 1)
            os.eventfd_read(self.event_fd)
        state, self.state = self.state, 0
        return messages, peer_events, state

    def activity(self, peer: int) -> tuple[float, float, float, float]:
        return self.peers[peer].activity

    def peer_stats(self, peer: int) -> tuple[int, int]:
        return self.peers[peer].tx_bytes, self.peers[peer].rx_bytes

    def handshake_received(self, peer: int, addr: Addr, n: int) -> None:
        self.peers[peer].addr = addr
        self.peers[peer].rx_bytes += n

    def counters(self) -> dict[str, int]:
        return {"bad mac1": 3}

    def offloads(self) -> dict[str, bool]:
        return {"udp_gso4": True, "udp_gso6": False}

    def memory(self) -> dict[str, int]:
        return {"ceiling": 1 << 20}

    # What a test does to it

    def receive(self, data: bytes, addr: Addr) -> None:
        """A handshake message came from `addr`."""
        self.messages.append((data, addr))
        os.eventfd_write(self.event_fd, 1)

    def data(self, peer: int) -> None:
        """The host sends a packet to an address of `peer`'s, if there is any and the peer is somewhere."""
        found = self.peers.get(peer)
        if found is not None and found.allowed and found.addr is not None and found.sending is None:
            found.staged += 1
            self.report(peer, 1)

    def report(self, peer: int, flags: int, confirmed_index: int = 0) -> None:
        """Something happened to `peer`."""
        self.peer_events.append((peer, flags, confirmed_index))
        os.eventfd_write(self.event_fd, 1)
