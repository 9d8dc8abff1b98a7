"""Two sites on a virtual clock, joined by a network that loses, delays, doubles and reorders.

Each site is a real `Tunnel` and a model of a data plane (tests/fake_plane.py), which under load asks for cookies. Hours
of protocol time take seconds.
"""

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple

from pywg import _fastpath as flags
from pywg.core import events
from pywg.core.events import Activity, Endpoint
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from tests import cookies
from tests.fake_plane import COOKIE_REPLY, KEEPALIVE, RESPONSE, TRANSPORT, FakeKeypair, FakePlane

__all__ = [
    "COOKIE_REPLY",
    "INITIATION",
    "KEEPALIVE",
    "RESPONSE",
    "START",
    "TRANSPORT",
    "Site",
    "World",
    "introduce",
    "two_sites",
]

START = 1000.0
EPOCH_NS = 1_700_000_000_000_000_000
INITIATION = 1
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


class Site:
    """A tunnel with one peer, and a model of a data plane. `address` is where it is, `remote` where it sends to."""

    def __init__(self, world: World, name: str, ip: bytes) -> None:
        self.world = world
        self.name = name
        self.address = Endpoint(ip, 51820)
        self.reachable = True
        self.under_load = False
        self.asked_for_cookies = 0
        self.clock_offset = 0.0  # of the monotonic clock: a suspended machine's jumps ahead
        self.wall_offset_ns = 0
        self.private_key = Secret(world.random.randbytes(32))
        self.plane = FakePlane(now=lambda: self.now, transmit=self.transmit)
        self.plane.attach_sockets(4, 6)
        self.tunnel = Tunnel(
            random=world.random.randbytes,
            wall_ns=self.wall_ns,
            activity=lambda peer: Activity(*self.plane.activity(peer)),
            withdraw=self.plane.withdraw_keypair,
        )
        self.tunnel.set_private_key(self.private_key, self.now)
        assert self.tunnel.public_key is not None
        self.cookies = cookies.Responder(self.tunnel.public_key, world.random.randbytes)
        self.log: list[tuple[float, events.Event]] = []
        self._peer = 0
        world.sites.append(self)

    @property
    def peer(self) -> int:
        """The core's number of its peer, which the plane has from the moment that it is set."""
        return self._peer

    @peer.setter
    def peer(self, peer: int) -> None:
        remote = self.remote
        if self._peer:
            self.plane.remove_peer(self._peer)
        self._peer = peer
        self.plane.add_peer(peer)
        self.plane.allow_many(peer, [(bytes(4), 0)])
        self.plane.set_endpoint(peer, remote)

    @property
    def remote(self) -> Endpoint | None:
        addr = self.plane.endpoint(self._peer) if self._peer else None
        return None if addr is None else Endpoint(*addr)

    @remote.setter
    def remote(self, remote: Endpoint | None) -> None:
        self.plane.set_endpoint(self._peer, remote)

    @property
    def keypairs(self) -> dict[int, FakeKeypair]:
        """By local index."""
        return self.plane.keypairs

    @property
    def open_indices(self) -> set[int]:
        """Of handshakes in flight."""
        return set(self.plane.indices)

    @property
    def sending(self) -> int | None:
        """The local index of the keypair that it seals with."""
        return self.plane.peers[self._peer].sending

    @property
    def staged(self) -> list[bytes]:
        return self.plane.peers[self._peer].staged

    @property
    def delivered(self) -> list[bytes]:
        return self.plane.delivered

    @property
    def keepalives_received(self) -> int:
        return self.plane.keepalives_received

    @property
    def now(self) -> float:
        return self.world.now + self.clock_offset

    def wall_ns(self) -> int:
        return EPOCH_NS + int((self.world.now - START) * 1e9) + self.wall_offset_ns

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
        self.plane.write(self.peer, data)
        self.pump()

    def receive(self, data: bytes, source: Endpoint) -> None:
        """A datagram came out of the network."""
        asks = data[0] == INITIATION or (data[0] == RESPONSE and self.plane.names_index(data))
        if self.under_load and asks and not self.cookies.holds_mac2(data, source):
            self.asked_for_cookies += 1
            self.world.transmit(self, source, self.cookies.make_reply(data, source))
        else:
            self.plane.receive(data, source)
        self.pump()

    def transmit(self, peer: int, data: bytes) -> None:
        remote = self.remote
        assert peer == self.peer
        assert remote is not None
        self.world.transmit(self, remote, data)

    def pump(self) -> None:
        """Carries between the core and the plane until neither has anything more."""
        while True:
            messages, signals, _ = self.plane.drain()
            for peer, what, confirmed_index in signals:
                self.signal(peer, what, confirmed_index)
            for data, addr in messages:
                sender = self.tunnel.receive_datagram(data, Endpoint(*addr), self.now)
                if sender is not None:
                    self.plane.handshake_received(sender, addr, len(data))
            happened, datagrams = self.tunnel.events(), self.tunnel.datagrams_to_send()
            if not (messages or signals or happened or datagrams):
                return
            for event in happened:
                self.log.append((self.world.now - START, event))
                self.apply(event)
            for data, peer, to in datagrams:
                if to is None:
                    self.plane.send_to_peer(peer, data)
                else:
                    self.world.transmit(self, to, data)

    def signal(self, peer: int, what: int, confirmed_index: int) -> None:
        if what & flags.CONFIRMED:
            self.tunnel.keypair_confirmed(peer, confirmed_index, self.now)
        if what & flags.ACTIVITY:
            self.tunnel.activity_started(peer, self.now)
        if what & flags.REKEY_WANTED:
            self.tunnel.rekey_wanted(peer, self.now)
        if what & flags.HANDSHAKE_WANTED:
            self.tunnel.handshake_wanted(peer, self.now)

    def apply(self, event: events.Event) -> None:
        """Brings it to the plane, if it is what the core has promised."""
        plane = self.plane
        match event:
            case events.KeypairDerived(peer, local_index, remote_index, send_key, receive_key):
                assert local_index not in plane.keypairs
                assert local_index not in plane.indices
                plane.install_keypair(
                    peer,
                    local_index,
                    remote_index,
                    send_key,
                    receive_key,
                    initiator=event.initiator,
                    created_at=event.created_at,
                    confirmed=event.initiator,
                )
                assert len(plane.keypairs) <= MAX_KEYPAIRS
            case events.KeypairRetired(_, local_index):
                assert local_index in plane.keypairs
                assert local_index != self.sending
                plane.retire_keypair(local_index)
            case events.SendingKeypairChanged(peer, index):
                plane.use_keypair(peer, index)
            case events.HandshakeIndexOpened(peer, index):
                assert index not in plane.indices
                plane.open_index(index, peer)
            case events.HandshakeIndexClosed(index):
                assert index in plane.indices
                plane.close_index(index)
            case events.KeepaliveWanted(peer):
                plane.send_keepalive(peer)
            case events.SendStaged(peer):
                plane.send_staged(peer)
            case events.DropStaged(peer):
                plane.drop_staged(peer)
            case events.SourceCleared(peer):
                plane.clear_source(peer)

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
