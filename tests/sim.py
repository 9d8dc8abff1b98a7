"""Two sites on a virtual clock, joined by a network that loses, delays, doubles and reorders.

Each site is a real `Tunnel` and a data plane modelled in Python after the core's contract: keypairs by receiver
index, counters, a set for the replay window, staged packets, the activity times, real ChaCha20-Poly1305; under load it
asks for cookies. It tells the core only what the contract says it must, so that a core that relies on more fails here.
Hours of protocol time take seconds.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pywg.core import events
from pywg.core.events import Activity, Endpoint
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from tests import cookies, paper

START = 1000.0
EPOCH_NS = 1_700_000_000_000_000_000
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
KEEPALIVE = b""
MAX_KEYPAIRS = 3


class Packet(NamedTuple):
    """One datagram as it left a site, lost or not."""

    at: float
    sender: str
    kind: int
    data: bytes


class World:
    """The clock and the network. `loss` and `duplication` are probabilities, `delay` the bounds of a random delay."""

    def __init__(self, seed: int = 1) -> None:
        self.now = START
        self.random = random.Random(seed)
        self.loss = 0.0
        self.duplication = 0.0
        self.delay = (0.01, 0.01)
        self.sites: list[Site] = []
        self.wire: list[Packet] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (when, self._sequence, act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now + seconds, act)

    def every(self, seconds: float, act: Callable[[], None], until: float) -> None:
        """Calls `act` from now on, up to the moment `until`."""

        def again() -> None:
            if self.now <= until:
                act()
                self.after(seconds, again)

        again()

    def transmit(self, sender: "Site", to: Endpoint, data: bytes) -> None:
        self.wire.append(Packet(self.now, sender.name, data[0], data))
        copies = 2 if self.random.random() < self.duplication else 1
        for _ in range(copies):
            if self.random.random() >= self.loss:
                self.after(self.random.uniform(*self.delay), lambda: self.deliver(to, data, sender.address))

    def deliver(self, to: Endpoint, data: bytes, source: Endpoint) -> None:
        for site in self.sites:
            if site.address[:2] == to[:2] and site.reachable:
                site.receive(data, source)

    def run(self, seconds: float) -> None:
        """Lets the virtual time pass, with everything that falls into it."""
        end = self.now + seconds
        while True:
            for site in self.sites:
                site.pump()
            moment, act = end, None
            if self._queue and self._queue[0][0] <= moment:
                moment = self._queue[0][0]
            due = None
            for site in self.sites:
                deadline = site.next_deadline()
                if deadline is not None and deadline < moment:
                    moment, due = deadline, site
            self.now = max(self.now, moment)
            if due is not None:
                due.handle_deadline()
            elif self._queue and self._queue[0][0] <= end:
                act = heapq.heappop(self._queue)[2]
                act()
            else:
                return

    def sent(self, sender: "Site", kind: int) -> list[float]:
        """When the site sent messages of the kind, in seconds after the start."""
        return [packet.at - START for packet in self.wire if packet.sender == sender.name and packet.kind == kind]


@dataclass
class ModelKeypair:
    remote_index: int
    sealer: ChaCha20Poly1305
    opener: ChaCha20Poly1305
    initiator: bool
    created_at: float
    may_send: bool = True
    next_counter: int = 0
    seen: set[int] = field(default_factory=set)


class Site:
    """A tunnel with one peer, and its model data plane. `address` is where it is, `remote` where it sends to."""

    def __init__(self, world: World, name: str, ip: bytes) -> None:
        self.world = world
        self.name = name
        self.address = Endpoint(ip, 51820)
        self.remote: Endpoint | None = None
        self.reachable = True
        self.under_load = False
        self.asked_for_cookies = 0
        self.clock_offset = 0.0  # of the monotonic clock: a suspended machine's jumps ahead
        self.wall_offset_ns = 0
        self.private_key = Secret(world.random.randbytes(32))
        self.tunnel = Tunnel(random=world.random.randbytes, wall_ns=self.wall_ns, activity=self.activity)
        self.tunnel.set_private_key(self.private_key, self.now)
        assert self.tunnel.public_key is not None
        self.cookies = cookies.Responder(self.tunnel.public_key, world.random.randbytes)
        self.peer = 0
        self.log: list[tuple[float, events.Event]] = []
        self.delivered: list[bytes] = []
        self.keepalives_received = 0
        self.forget_plane()
        world.sites.append(self)

    def forget_plane(self) -> None:
        self.keypairs: dict[int, ModelKeypair] = {}
        self.open_indices: set[int] = set()
        self.sending: int | None = None
        self.next: int | None = None
        self.staged: list[bytes] = []
        self.unanswered_since = self.keepalive_owed_since = 0.0
        self.last_traversal = self.last_data_sent = 0.0
        self.armed = False

    @property
    def now(self) -> float:
        return self.world.now + self.clock_offset

    def wall_ns(self) -> int:
        return EPOCH_NS + int((self.world.now - START) * 1e9) + self.wall_offset_ns

    def activity(self, peer: int) -> Activity:
        assert peer == self.peer
        self.armed = not (self.unanswered_since or self.keepalive_owed_since)
        return Activity(self.unanswered_since, self.keepalive_owed_since, self.last_traversal, self.last_data_sent)

    def next_deadline(self) -> float | None:
        deadline = self.tunnel.next_deadline()
        return None if deadline is None else deadline - self.clock_offset

    def handle_deadline(self) -> None:
        # The difference of two floats may fall a hair short of the deadline it was made from.
        deadline = self.tunnel.next_deadline()
        self.tunnel.handle_deadline(self.now if deadline is None else max(self.now, deadline))
        self.pump()

    def send(self, data: bytes) -> None:
        """The host has a packet for the tunnel."""
        self.last_data_sent = self.now
        self.staged.append(data)
        del self.staged[: -paper.STAGED_PACKETS]
        self.flush()
        self.pump()

    def receive(self, data: bytes, source: Endpoint) -> None:
        """A datagram came out of the network."""
        if data[0] == TRANSPORT:
            self.receive_transport(data, source)
        elif data[0] not in (RESPONSE, COOKIE_REPLY) or self.names_index(data):
            self.receive_message(data, source)
        self.pump()

    def receive_message(self, data: bytes, source: Endpoint) -> None:
        if self.under_load and data[0] != COOKIE_REPLY and not self.cookies.holds_mac2(data, source):
            self.asked_for_cookies += 1
            self.world.transmit(self, source, self.cookies.make_reply(data, source))
        elif self.tunnel.receive_datagram(data, source, self.now) is not None:
            self.remote = source

    def names_index(self, data: bytes) -> bool:
        index = int.from_bytes(data[8:12] if data[0] == RESPONSE else data[4:8], "little")
        return index in self.open_indices or (data[0] == COOKIE_REPLY and index == self.next)

    def receive_transport(self, data: bytes, source: Endpoint) -> None:
        index, counter = int.from_bytes(data[4:8], "little"), int.from_bytes(data[8:16], "little")
        keypair = self.keypairs.get(index)
        if keypair is None or self.now >= keypair.created_at + paper.REJECT_AFTER_TIME or counter in keypair.seen:
            return
        try:
            plaintext = keypair.opener.decrypt(bytes(4) + data[8:16], data[16:], None)
        except InvalidTag:
            return
        keypair.seen.add(counter)
        self.remote = source
        self.unanswered_since = 0.0
        self.last_traversal = self.now
        if plaintext == KEEPALIVE:
            self.keepalives_received += 1
        else:
            self.delivered.append(plaintext)
            if not self.keepalive_owed_since:
                self.keepalive_owed_since = self.now
                self.report_activity()
        if index == self.next:
            self.sending, self.next = index if keypair.may_send else None, None
            self.tunnel.keypair_confirmed(self.peer, index, self.now)
        if keypair.initiator and self.now >= keypair.created_at + paper.RECEIVER_REKEY_TIME:
            self.tunnel.rekey_wanted(self.peer, self.now)

    def flush(self) -> None:
        """Sends what is staged, or asks for a session."""
        keypair = self.keypairs.get(self.sending) if self.sending is not None else None
        if keypair is None or self.now >= keypair.created_at + paper.REJECT_AFTER_TIME:
            if self.staged:
                self.tunnel.handshake_wanted(self.peer, self.now)
            return
        staged, self.staged = self.staged, []
        for plaintext in staged:
            self.seal_and_send(keypair, plaintext)
        if keypair.initiator and self.now >= keypair.created_at + paper.REKEY_AFTER_TIME:
            self.tunnel.rekey_wanted(self.peer, self.now)

    def seal_and_send(self, keypair: ModelKeypair, plaintext: bytes) -> None:
        counter = keypair.next_counter.to_bytes(8, "little")
        keypair.next_counter += 1
        header = TRANSPORT.to_bytes(4, "little") + keypair.remote_index.to_bytes(4, "little") + counter
        self.keepalive_owed_since = 0.0
        self.last_traversal = self.now
        if plaintext != KEEPALIVE and not self.unanswered_since:
            self.unanswered_since = self.now
            self.report_activity()
        self.transmit(header + keypair.sealer.encrypt(bytes(4) + counter, plaintext, None))

    def report_activity(self) -> None:
        if self.armed:
            self.armed = False
            self.tunnel.activity_started(self.peer, self.now)

    def transmit(self, data: bytes) -> None:
        if self.remote is not None:
            self.world.transmit(self, self.remote, data)

    def pump(self) -> None:
        """Moves everything the core has put out, until it has nothing more."""
        while True:
            happened, datagrams = self.tunnel.events(), self.tunnel.datagrams_to_send()
            if not happened and not datagrams:
                return
            for event in happened:
                self.log.append((self.world.now - START, event))
                self.apply(event)
            for data, peer in datagrams:
                if peer == self.peer:
                    self.transmit(data)

    def apply(self, event: events.Event) -> None:
        match event:
            case events.KeypairDerived():
                assert event.local_index not in self.keypairs
                assert event.local_index not in self.open_indices
                self.keypairs[event.local_index] = ModelKeypair(
                    event.remote_index,
                    ChaCha20Poly1305(bytes(event.send_key)),
                    ChaCha20Poly1305(bytes(event.receive_key)),
                    event.initiator,
                    event.created_at,
                )
                self.next = None if event.confirmed else event.local_index
                assert len(self.keypairs) <= MAX_KEYPAIRS
            case events.KeypairRetired(_, local_index):
                assert local_index != self.sending
                del self.keypairs[local_index]
                self.next = None if self.next == local_index else self.next
            case events.SendingKeypairChanged(_, index):
                assert index is None or index in self.keypairs
                self.sending = index
                if index is None:
                    for keypair in self.keypairs.values():
                        keypair.may_send = False
            case events.HandshakeIndexOpened(_, index):
                assert index not in self.open_indices
                self.open_indices.add(index)
            case events.HandshakeIndexClosed(index):
                self.open_indices.remove(index)
            case events.KeepaliveWanted():
                if not self.staged:
                    self.staged.append(KEEPALIVE)
                self.flush()
            case events.SendStaged():
                self.flush()
            case events.DropStaged():
                self.staged.clear()

    def happened(self, *kinds: type) -> list[tuple[float, events.Event]]:
        """The events of these kinds so far, with their times in seconds after the start."""
        return [(at, event) for at, event in self.log if isinstance(event, kinds)]

    def times(self, kind: type) -> list[float]:
        return [at for at, _ in self.happened(kind)]

    def drops(self) -> list[str]:
        return [event.reason for _, event in self.log if isinstance(event, events.Dropped)]


def introduce(one: Site, other: Site, *, preshared_key: bytes | None = None) -> None:
    """Makes them each other's peer, and takes both interfaces up."""
    for site, peer in ((one, other), (other, one)):
        assert peer.tunnel.public_key is not None
        site.peer = site.tunnel.add_peer(peer.tunnel.public_key, site.now)
        site.remote = peer.address
        site.tunnel.endpoint_known(site.peer, site.now)
        if preshared_key is not None:
            site.tunnel.set_preshared_key(site.peer, Secret(preshared_key))
        site.tunnel.up(site.now)
        site.pump()


def two_sites(seed: int = 1, *, preshared_key: bytes | None = None) -> tuple[World, Site, Site]:
    """Two sites that know each other, with a quiet network between them."""
    world = World(seed)
    near, far = Site(world, "near", b"\x0a\x00\x00\x01"), Site(world, "far", b"\x0a\x00\x00\x02")
    introduce(near, far, preshared_key=preshared_key)
    return world, near, far
