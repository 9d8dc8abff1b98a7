"""A model of the data plane: what the tests of the core and of the device have in its place.

It has the members of `pywg._fastpath.Plane` and does what those say (tests/runtime/device/test_plane_contract.py holds
both to it), with real ChaCha20-Poly1305, but one datagram at a time, in one thread, without TUN and sockets: `write` is
the host's side, `receive` and `sent` are the network's. It tells the core only what the contract says it must, so that
a core that relies on more fails here.
"""

import errno
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pywg import _fastpath as flags
from pywg.config.model import Prefix
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.device.plane import Addr, KeypairState
from tests import paper

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RESPONSE, COOKIE_REPLY, TRANSPORT = 2, 3, 4
KEEPALIVE = b""


@functools.cache
def names() -> tuple[list[str], list[str], list[str], list[str]]:
    """A real plane's names of counters, offloads, parts of memory, batches: typed in twice, they would drift."""
    plane = flags.Plane()
    found = list(plane.counters()), list(plane.offloads()), list(plane.memory()), list(plane.batches())
    plane.close()
    return found


WINDOW_LEN = 8 + 1024


def window_of(seen: set[int]) -> bytes:
    """A replay window in the data plane's form: the greatest counter plus one, then the bits of a ring of 8192."""
    first = max(seen, default=-1) + 1
    ring = bytearray(1024)
    for counter in seen:
        if first - (counter + 1) <= 127 * 64:
            place = (counter + 1) % 8192
            ring[place // 8] |= 1 << place % 8
    return first.to_bytes(8, "little") + ring


def seen_in(window: bytes) -> tuple[set[int], int]:
    """The counters that a window has, and the one below which it takes none."""
    first = int.from_bytes(window[:8], "little")
    oldest = max(first - 127 * 64, 1)
    bits = window[8:]
    seen = {place - 1 for place in range(oldest, first + 1) if bits[place % 8192 // 8] >> place % 8 & 1}
    return seen, oldest - 1


@dataclass
class FakeKeypair:
    peer: int
    remote_index: int
    sealer: ChaCha20Poly1305
    opener: ChaCha20Poly1305
    initiator: bool
    created_at: float
    next_counter: int
    keys: bytes = b""
    expired: bool = False
    seen: set[int] = field(default_factory=set)
    lost: int = 0
    """the counter below which all count as seen"""


@dataclass
class FakePeer:
    """What the plane knows of one peer."""

    public_key: bytes
    addr: Addr | None = None
    allowed: list[Prefix] = field(default_factory=list)
    sending: int | None = None
    """the local index of the keypair to seal with"""
    next: int | None = None
    """that of one whose first packet makes it the one to seal with"""
    staged: list[bytes] = field(default_factory=list)
    keepalives: int = 0
    """how many were asked for"""
    staged_sent: int = 0
    """how often `send_staged` was called"""
    sources_cleared: int = 0
    tx_bytes: int = 0
    rx_bytes: int = 0
    unanswered_since: float = 0.0
    keepalive_owed_since: float = 0.0
    last_traversal: float = 0.0
    last_data_sent: float = 0.0
    armed: bool = False
    """ACTIVITY is reported when one of the first two becomes a time"""


class FakePlane:
    """`transmit(peer, datagram)` is called with what leaves; by default `sent` collects it. `now` is the clock."""

    aead = "evp"
    threads = 2
    shards = 1
    lanes = 1
    turns = False
    processors = 2
    confined = False
    filtered = False

    def __init__(
        self, *, now: Callable[[], float] = lambda: 1000.0, transmit: Callable[[int, bytes], None] | None = None
    ) -> None:
        self.event_fd = -1
        self.peers: dict[int, FakePeer] = {}
        self.keypairs: dict[int, FakeKeypair] = {}
        self.indices: dict[int, int] = {}
        """the peers of handshakes in flight by local index"""
        self.sockets: tuple[int, int] | None = None
        self.more_pairs: list[tuple[int, int]] = []
        """those of the shards after the first"""
        self.icmp: tuple[int, int] | None = None
        self.tun: int | None = None
        self.more_queues: list[int] = []
        self.identity: bytes | None = None
        self.mtu = 0
        self.sent: list[tuple[int, bytes]] = []
        self.delivered: list[bytes] = []
        self.keepalives_received = 0
        self.messages: list[tuple[bytes, Addr]] = []
        self.peer_events: list[tuple[int, int, int]] = []
        self.state = 0
        self.cookie_secrets = 0
        """how many are left when expired ones are to be forgotten"""
        self.calls: list[str] = []
        self.send_error = 0
        self.sent_elsewhere: list[tuple[bytes, Addr]] = []
        """of the last message"""
        self.frozen: dict[int, int] | None = None
        """the keypairs to seal with, by peer; None: it seals"""
        self.refuses_with = 0
        """what every message fails with, if not 0"""
        self.counted: Counter[str] = Counter()
        self._now = now
        self._transmit = transmit or (lambda peer, data: self.sent.append((peer, data)))

    def close(self) -> None:
        """There is nothing to close."""

    def heartbeats(self) -> tuple[int, ...]:
        return (0,) * self.threads

    def attach_tun(
        self, fd: int, *, vnet_hdr_len: int, uso: bool = False, tunnels: bool = False, more: Sequence[int] = ()
    ) -> None:
        self.tun, self.more_queues = fd, list(more)

    def detach_tun(self) -> None:
        self.tun, self.more_queues = None, []

    def attach_sockets(self, fd4: int, fd6: int, more: Sequence[tuple[int, int]] = ()) -> None:
        assert len(more) < self.shards
        self.calls.append("attach_sockets")
        self.sockets, self.more_pairs = (fd4, fd6), list(more)

    def detach_sockets(self) -> None:
        self.calls.append("detach_sockets")
        self.sockets, self.more_pairs = None, []

    def attach_icmp(self, fd4: int, fd6: int) -> None:
        self.icmp = (fd4, fd6)

    def set_mtu(self, mtu: int) -> None:
        self.mtu = mtu

    def forget_cookies(self, *, everything: bool = False) -> int:
        self.calls.append("forget_cookies")
        return self.cookie_secrets

    def set_identity(self, public_key: bytes | None) -> None:
        self.identity = public_key

    def add_peer(self, peer: int, public_key: bytes = b"") -> None:
        if peer in self.peers:
            raise ValueError(peer)
        self.peers[peer] = FakePeer(public_key)

    def reserve(self, *, peers: int, prefixes: int) -> None:
        """There is always room here."""

    def unreserve(self) -> None:
        pass

    def remove_peer(self, peer: int) -> None:
        del self.peers[peer]
        for owned in [index for index, keypair in self.keypairs.items() if keypair.peer == peer]:
            del self.keypairs[owned]
        for opened in [index for index, owner in self.indices.items() if owner == peer]:
            del self.indices[opened]

    def set_endpoint(self, peer: int, addr: Addr | None) -> None:
        self.peers[peer].addr = addr

    def endpoint(self, peer: int) -> Addr | None:
        return self.peers[peer].addr

    def clear_source(self, peer: int) -> None:
        found = self.peers[peer]
        found.sources_cleared += 1
        if found.addr is not None:
            found.addr = (*found.addr[:3], b"", 0)

    def allow_many(self, peer: int, prefixes: list[Prefix]) -> None:
        found = self.peers[peer]
        for prefix in prefixes:
            for other in self.peers.values():
                if prefix in other.allowed:
                    other.allowed.remove(prefix)
            found.allowed.append(prefix)

    def disallow(self, peer: int, ip: bytes, cidr: int) -> None:
        if (ip, cidr) in self.peers[peer].allowed:
            self.peers[peer].allowed.remove((ip, cidr))

    def allowed_ips(self, peer: int) -> list[Prefix]:
        return list(self.peers[peer].allowed)

    def clear_allowed(self, peer: int) -> None:
        self.peers[peer].allowed.clear()

    def open_index(self, local_index: int, peer: int) -> None:
        if peer not in self.peers:
            raise KeyError(peer)
        self.indices[local_index] = peer

    def close_index(self, local_index: int) -> None:
        self.indices.pop(local_index, None)

    def install_keypair(
        self,
        peer: int,
        local_index: int,
        remote_index: int,
        send_key: "ReadableBuffer",
        receive_key: "ReadableBuffer",
        *,
        initiator: bool,
        created_at: float,
        confirmed: bool,
        first_counter: int = 0,
    ) -> None:
        found = self.peers[peer]
        self.calls.append("install_keypair")
        sealer, opener = ChaCha20Poly1305(bytes(memoryview(send_key))), ChaCha20Poly1305(bytes(memoryview(receive_key)))
        keys = bytes(memoryview(send_key)) + bytes(memoryview(receive_key))
        self.keypairs[local_index] = FakeKeypair(
            peer, remote_index, sealer, opener, initiator, created_at, first_counter, keys
        )
        found.next = None if confirmed else local_index

    def use_keypair(self, peer: int, local_index: int | None) -> None:
        found = self.peers[peer]
        if local_index is None:
            found.next = None
            for keypair in self.keypairs.values():
                keypair.expired |= keypair.peer == peer
        elif self.keypairs[local_index].peer != peer:
            raise KeyError(local_index)
        found.sending = local_index

    def withdraw_keypair(self, peer: int, local_index: int) -> bool:
        found = self.peers[peer]
        waited = found.next == local_index
        if waited:
            found.next = None
        return local_index in self.keypairs and not waited

    def retire_keypair(self, local_index: int) -> None:
        keypair = self.keypairs.pop(local_index, None)
        if keypair is not None:
            found = self.peers[keypair.peer]
            found.next = None if found.next == local_index else found.next
            found.sending = None if found.sending == local_index else found.sending

    def freeze(self) -> None:
        if self.frozen is not None or self.sockets is not None:
            raise ValueError("frozen, or in use")
        self.frozen = {number: peer.sending for number, peer in self.peers.items() if peer.sending is not None}
        for peer in self.peers.values():
            peer.sending = None

    def thaw(self) -> None:
        for number, local_index in (self.frozen or {}).items():
            if local_index in self.keypairs and number in self.peers:
                self.peers[number].sending = local_index
        self.frozen = None

    def carried_keypairs(self, peer: int) -> list[KeypairState]:
        found = self.peers[peer]
        if self.frozen is None:
            raise ValueError("not frozen")
        sending = self.frozen.get(peer)
        return [
            KeypairState(
                index,
                keypair.remote_index,
                Secret(keypair.keys),
                keypair.initiator,
                keypair.expired,
                int(keypair.created_at * 1e9),
                keypair.next_counter,
                window_of(keypair.seen),
                sending=index == sending,
                unconfirmed=index == found.next,
            )
            for index, keypair in self.keypairs.items()
            if keypair.peer == peer
        ]

    def restore_keypair(self, peer: int, state: tuple[Any, ...]) -> None:
        found = self.peers[peer]
        it = KeypairState._make(state)
        if (
            len(it.window) != WINDOW_LEN
            or max(it.next_counter, int.from_bytes(it.window[:8], "little")) > paper.REJECT_AFTER_MESSAGES
            or it.birth_ns > self._now() * 1e9 + 1000
            or len(it.keys) != 64
            or it.local_index in self.keypairs
        ):
            raise ValueError("no state of a keypair")
        both = bytes(memoryview(it.keys))
        sealer, opener = ChaCha20Poly1305(both[:32]), ChaCha20Poly1305(both[32:])
        born = it.birth_ns / 1e9
        self.keypairs[it.local_index] = FakeKeypair(
            *(peer, it.remote_index, sealer, opener, it.initiator, born, it.next_counter, both, it.expired),
            *seen_in(it.window),
        )
        found.next = it.local_index if it.unconfirmed else None
        if it.sending and not it.expired:
            if self.frozen is not None:
                self.frozen[peer] = it.local_index
            else:
                found.sending = it.local_index

    def carried_activity(self, peer: int) -> tuple[int, int, int, int, int, int, int]:
        found = self.peers[peer]
        times = found.unanswered_since, found.keepalive_owed_since, found.last_traversal, found.last_traversal
        since, owed, sent, received = (round(one * 1e9) for one in times)
        return found.tx_bytes, found.rx_bytes, since, owed, sent, received, round(found.last_data_sent * 1e9)

    def restore_activity(self, peer: int, carried: tuple[int, int, int, int, int, int, int]) -> None:
        found = self.peers[peer]
        if max(carried[2:]) > self._now() * 1e9 + 1000:  # its times are no whole nanoseconds
            raise ValueError("in time to come")
        found.tx_bytes, found.rx_bytes = carried[:2]
        times = [one / 1e9 for one in carried[2:]]
        found.unanswered_since, found.keepalive_owed_since, found.last_traversal, _, found.last_data_sent = times

    def send_keepalive(self, peer: int) -> bool:
        self.peers[peer].keepalives += 1
        return self._flush(peer, KEEPALIVE)

    def send_staged(self, peer: int) -> bool:
        self.peers[peer].staged_sent += 1
        return self._flush(peer, None)

    def drop_staged(self, peer: int) -> None:
        self.peers[peer].staged.clear()

    def hold_endpoint(self, peer: int, addr: Addr, seconds: float) -> None:
        self.peers[peer].addr = addr
        self.calls.append("hold_endpoint")

    def send_to_peer(self, peer: int, data: bytes, addr: Addr | None = None) -> bool:
        found = self.peers[peer]
        self.calls.append("send_to_peer")
        if self.frozen is not None:
            self.send_error = errno.EAGAIN
            return False
        if addr is not None:
            self.sent_elsewhere.append((data, addr))
            return True
        missing = errno.EDESTADDRREQ if found.addr is None else errno.EAFNOSUPPORT if self.sockets is None else 0
        self.send_error = self.refuses_with or missing
        if self.send_error:
            return False
        self._send(peer, data)
        return True

    def handshake_received(self, peer: int, addr: Addr, n: int) -> None:
        self._heard_from(peer, addr, n)

    def drain(self, limit: int = 64) -> tuple[list[tuple[bytes, Addr]], list[tuple[int, int, int]], int]:
        messages, self.messages = self.messages[:limit], self.messages[limit:]
        peer_events, self.peer_events = self.peer_events[:limit], self.peer_events[limit:]
        state, self.state = self.state, 0
        return messages, peer_events, state

    def activity(self, peer: int) -> tuple[float, float, float, float]:
        found = self.peers[peer]
        found.armed = not (found.unanswered_since or found.keepalive_owed_since)
        return found.unanswered_since, found.keepalive_owed_since, found.last_traversal, found.last_data_sent

    def peer_stats(self, peer: int) -> tuple[int, int]:
        return self.peers[peer].tx_bytes, self.peers[peer].rx_bytes

    def counters(self) -> dict[str, int]:
        return {name: self.counted[name] for name in names()[0]}

    def batches(self) -> dict[str, int]:
        return dict.fromkeys(names()[3], 0)

    def offloads(self) -> dict[str, bool]:
        return dict.fromkeys(names()[1], False)

    def memory(self) -> dict[str, int]:
        return dict.fromkeys(names()[2], 1 << 20)

    # What goes over it

    def write(self, peer: int, packet: bytes) -> None:
        """The host sends a packet to an address of `peer`'s. Without one, or an endpoint, it goes nowhere."""
        found = self.peers.get(peer)
        if found is None or not found.allowed or found.addr is None:
            return
        found.last_data_sent = self._now()
        found.staged.append(packet)
        del found.staged[: -paper.STAGED_PACKETS]
        self._flush(peer, None)

    def receive(self, data: bytes, addr: Addr) -> None:
        """A datagram came from `addr`. What answers no handshake in flight is of no interest to the core."""
        kind = data[0] if data else 0
        if kind == TRANSPORT:
            self._open(data, addr)
        elif kind not in (RESPONSE, COOKIE_REPLY) or self.names_index(data):
            self.messages.append((data, addr))

    def report(self, peer: int, what: int, confirmed_index: int = 0) -> None:
        """Something happened to `peer`."""
        self.peer_events.append((peer, what, confirmed_index))

    def names_index(self, data: bytes) -> bool:
        """A cookie reply may be to a response as well, whose keypair no packet has confirmed."""
        index = int.from_bytes(data[8:12] if data[0] == RESPONSE else data[4:8], "little")
        waits = any(peer.next == index for peer in self.peers.values())
        return index in self.indices or (data[0] == COOKIE_REPLY and waits)

    def _open(self, data: bytes, addr: Addr) -> None:
        index, counter, now = int.from_bytes(data[4:8], "little"), int.from_bytes(data[8:16], "little"), self._now()
        keypair = self.keypairs.get(index)
        if (
            keypair is None
            or now >= keypair.created_at + paper.REJECT_AFTER_TIME
            or counter in keypair.seen
            or counter < keypair.lost
        ):
            return
        try:
            plaintext = keypair.opener.decrypt(bytes(4) + data[8:16], data[16:], None)
        except InvalidTag:
            return
        keypair.seen.add(counter)
        peer = self.peers[keypair.peer]
        self._heard_from(keypair.peer, addr, len(data))
        if plaintext == KEEPALIVE:
            self.keepalives_received += 1
        else:
            self.delivered.append(plaintext)
        if index == peer.next:
            peer.sending, peer.next = index, None
            self.report(keypair.peer, flags.CONFIRMED, index)
        if plaintext != KEEPALIVE and not peer.keepalive_owed_since:
            peer.keepalive_owed_since = now
            self._report_activity(keypair.peer)
        if keypair.initiator and now >= keypair.created_at + paper.RECEIVER_REKEY_TIME:
            self.report(keypair.peer, flags.REKEY_WANTED)

    def _heard_from(self, peer: int, addr: Addr, length: int) -> None:
        found = self.peers[peer]
        found.addr = addr
        found.rx_bytes += length
        found.unanswered_since = 0.0
        found.last_traversal = self._now()

    def _flush(self, peer: int, if_none: bytes | None) -> bool:
        """Sends what is staged, or `if_none` where nothing is; without a session to do so, asks for one."""
        if self.frozen is not None:
            return False
        found, now = self.peers[peer], self._now()
        keypair = self.keypairs.get(found.sending) if found.sending is not None else None
        if keypair is None or now >= keypair.created_at + paper.REJECT_AFTER_TIME:
            if (found.staged or if_none is not None) and found.addr is not None:
                self.report(peer, flags.HANDSHAKE_WANTED)
            return False
        staged, found.staged = found.staged, []
        if not staged and if_none is not None:
            staged = [if_none]
        for packet in staged:
            self._seal(keypair, packet)
        if keypair.initiator and now >= keypair.created_at + paper.REKEY_AFTER_TIME:
            self.report(peer, flags.REKEY_WANTED)
        return bool(staged)

    def _seal(self, keypair: FakeKeypair, packet: bytes) -> None:
        peer = self.peers[keypair.peer]
        counter = keypair.next_counter.to_bytes(8, "little")
        keypair.next_counter += 1
        header = TRANSPORT.to_bytes(4, "little") + keypair.remote_index.to_bytes(4, "little") + counter
        if packet != KEEPALIVE and not peer.unanswered_since:
            peer.unanswered_since = self._now()
            self._report_activity(keypair.peer)
        self._send(keypair.peer, header + keypair.sealer.encrypt(bytes(4) + counter, packet, None))

    def _send(self, peer: int, data: bytes) -> None:
        found = self.peers[peer]
        found.tx_bytes += len(data)
        found.keepalive_owed_since = 0.0
        found.last_traversal = self._now()
        if found.addr is not None and self.sockets is not None:
            self._transmit(peer, data)

    def _report_activity(self, peer: int) -> None:
        found = self.peers[peer]
        if found.armed:
            found.armed = False
            self.report(peer, flags.ACTIVITY)
