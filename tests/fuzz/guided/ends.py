"""Two ends of a tunnel whose every step something else decides: the network, the clocks, the hosts and the operators.

An end is a device over a model of the data plane, on a clock of its own. It is held to what an end promises whatever
comes: the plane is told of nothing that it does not know, a refused message changes nothing, tables have their bounds.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pywg import _fastpath as flags
from pywg.config.keys import format_key_base64
from pywg.config.model import DeviceChange, PeerChange
from pywg.core import events
from pywg.core.events import Endpoint
from pywg.core.peer import Peer
from pywg.runtime.device.plane import Addr
from tests import cookies, paper
from tests.core.test_hostile_datagrams import snapshot
from tests.fake_plane import FakePlane
from tests.fuzz.guided.judge import Judge, Session
from tests.runtime.device_harness import DeviceHarness, FakeTimers, clamped, prefix, public
from tests.simulation import INITIATION, RESPONSE

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PORT = 51820
KEYPAIRS_A_PEER = 3
INDEX_LEN, FEW_INDICES = 4, 12
STEPS_A_SECOND = 50
"""Timers that may fire in a second: more would be a loop that never rests."""
PRESHARED = (bytes(32), b"\x21" * 32, b"\x22" * 32)
PRIVATE = {name: tuple(map(clamped, seeds)) for name, seeds in {"near": (1, 2), "far": (3, 4)}.items()}
PUBLIC = {name: tuple(map(public, keys)) for name, keys in PRIVATE.items()}


class Packet(NamedTuple):
    """One datagram on its way."""

    sender: str
    to: Addr
    data: bytes


class End:
    """One end, from one restart to the next, and beyond."""

    def __init__(self, name: str, address: bytes, judge: Judge, send: Callable[[Packet], None]) -> None:
        self.name = name
        self.address = address
        self.judge = judge
        self.send = send
        self.chance = random.Random(name)
        self.key = 0
        self.keys_had: set[bytes] = set()
        self.held = False
        """what the plane has to tell waits"""
        self.under_load = False
        self.lives = 0
        self.harness = self._made(FakeTimers())
        self.start()

    def start(self) -> None:
        """Begins anew with the same private key, and no memory of anything else."""
        self.lives += 1
        timers = FakeTimers()
        timers.now = self.harness.timers.now
        offset, self.harness = self.harness.clock_offset, self._made(timers)
        self.harness.clock_offset = offset
        self.tunnel = self.harness.device._tunnel
        self._receive, self.tunnel.receive_datagram = self.tunnel.receive_datagram, self._checked  # type: ignore[method-assign]
        self.set_key(self.key)
        self.harness.set(listen_port=PORT)
        self.harness.device.up()

    def _made(self, timers: FakeTimers) -> DeviceHarness:
        return DeviceHarness(timers, self.address, random=self._random, make_plane=lambda now: JudgedPlane(self, now))

    def _random(self, length: int) -> bytes:
        """Keys are random. Indices are few, so that an old message may name what is now something else."""
        drawn = self.chance.randbytes(length)
        return bytes([drawn[0] % FEW_INDICES, 0, 0, 0]) if length == INDEX_LEN else drawn

    @property
    def plane(self) -> FakePlane:
        return self.harness.plane

    @property
    def public(self) -> bytes:
        return PUBLIC[self.name][self.key]

    @property
    def place(self) -> Addr:
        return (self.address, PORT, 0, b"", 0)

    # Operators

    def set_key(self, key: int) -> None:
        self.key = key
        self.keys_had.add(self.public)
        self.harness.set(private_key=bytes(bytearray(PRIVATE[self.name][key])))
        self.cookies = cookies.Responder(self.public, self.chance.randbytes)

    def clear_key(self) -> None:
        self.harness.set(private_key=bytes(32))

    def introduce(self, key: bytes, place: Addr | None, preshared: int = 0, keepalive: int | None = None) -> None:
        """Makes the other end its only peer, or changes what it knows of it."""
        for known in [found.public_key for found in self.plane.peers.values() if found.public_key != key]:
            self.harness.set(PeerChange(known, remove=True))
        change = PeerChange(key, preshared_key=bytes(bytearray(PRESHARED[preshared])), persistent_keepalive=keepalive)
        if place is not None:
            change.endpoint = place[:3]
        change.allowed_ips = [prefix("10.0.0.0/8")]
        self.harness.device.apply(DeviceChange(peers=[change]))

    def forget_peers(self) -> None:
        self.harness.set(replace_peers=True)

    # Host

    def write(self, data: bytes) -> bool:
        """The host sends something. False without a peer."""
        for peer, found in self.plane.peers.items():
            self.judge.host_wrote(self.name, self.public, found.public_key, data)
            self.plane.write(peer, data)
            self.poll()
            return True
        return False

    # Network

    def receive(self, data: bytes, source: Addr, *, unfiltered: bool = False) -> None:
        """A datagram came. `unfiltered`: the plane hands it to the core though it could have refused it."""
        kind = data[0] if data else 0
        asks = len(data) > 32 and (kind == INITIATION or (kind == RESPONSE and self.plane.names_index(data)))
        if self.under_load and asks and not self.cookies.holds_mac2(data, Endpoint(*source)):
            reply = self.cookies.make_reply(data, Endpoint(*source))
            self.send(Packet(self.name, source, reply))
        elif unfiltered:
            self.plane.messages.append((data, source))
        else:
            self.plane.receive(data, source)
        self.poll()

    def poll(self) -> None:
        if not self.held:
            self.harness.poll()
        for data in self.plane.delivered:
            self.judge.host_read(self.name, self.keys_had, data)
        self.plane.delivered.clear()

    def _checked(self, data: bytes, source: Endpoint, now: float) -> int | None:
        """As Tunnel.receive_datagram. What is refused has changed nothing, what is accepted the other end has sent."""
        context = self.tunnel._context
        happened, waiting = len(context.events), len(context.datagrams)
        before = self._state()
        peer = self._receive(data, source, now)
        if peer is not None:
            other = self.tunnel.peer_state(peer).public_key
            self.judge.handshake_accepted(self.public, other, data, (self.name, self.lives, peer))
            return peer
        new = context.events[happened:]
        if not any(isinstance(event, events.CookieReceived) for event in new):
            assert [type(event) for event in new] == [events.Dropped], new
            assert self._state() == before, "a refused message left a trace"
        assert len(context.datagrams) == waiting, "a refused message was answered"
        return None

    def _state(self) -> object:
        tunnel = self.tunnel
        peers = [
            {name: snapshot(getattr(peer, name)) for name in Peer.__slots__ if name != "_context"}
            for peer in tunnel._peers.values()
        ]
        return peers, dict(tunnel._deadlines._deadlines), dict(tunnel._context.indices._peers)

    # Time

    def next_timer(self) -> float | None:
        """Seconds until the next."""
        pending = self.harness.timers.pending()
        return max(pending[0] - self.harness.timers.now, 0.0) if pending else None

    def advance(self, seconds: float) -> None:
        self.harness.timers.advance(seconds)
        self.poll()

    def sleep(self, seconds: float) -> None:
        """The machine is suspended: all its clocks go on, and nothing else does."""
        self.harness.timers.now += seconds

    # What holds at any time

    def check(self) -> None:
        plane, context = self.plane, self.tunnel._context
        assert context.events == []
        assert context.datagrams == []
        assert context.indices._peers.keys() == plane.keypairs.keys() | plane.indices.keys()
        assert plane.keypairs.keys().isdisjoint(plane.indices)
        assert list(plane.peers) == list(self.tunnel.peers())
        assert {it.public_key for it in plane.peers.values()} == self.tunnel._by_key.keys()
        for peer, found in plane.peers.items():
            keypairs = self.tunnel._peers[peer].keypairs
            assert {it.local_index for it in keypairs.all()} == {
                index for index, it in plane.keypairs.items() if it.peer == peer
            }
            assert len(found.staged) <= paper.STAGED_PACKETS
        assert len(self.tunnel._deadlines._heap) <= 4 * len(plane.peers) + 65
        assert self.harness.device._handshakes._stories.keys() <= plane.peers.keys()
        assert len(self.harness.timers.pending()) <= 2

    def check_log(self) -> None:
        """It says no key that is secret."""
        text = self.harness.text.getvalue()
        for key in (*PRIVATE[self.name], *PRESHARED[1:]):
            assert key.hex() not in text
            assert format_key_base64(key) not in text


class JudgedPlane(FakePlane):
    """It asserts that the core tells of nothing that it has not told of before, and tells the judge."""

    def __init__(self, end: End, now: Callable[[], float]) -> None:
        super().__init__(now=now, transmit=self._leaves)
        self.end = end
        self._told: dict[int, int | None] = {}
        """with which keypair the core has told to send, by peer"""

    def _leaves(self, peer: int, data: bytes) -> None:
        found = self.peers[peer]
        assert found.addr is not None
        self.end.judge.handshake_sent(self.end.public, found.public_key, data)
        self.end.send(Packet(self.end.name, found.addr, data))

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
        assert local_index not in self.keypairs
        assert local_index not in self.indices
        assert first_counter == 0
        assert created_at == self._now()
        assert confirmed == initiator
        keys = bytes(memoryview(send_key)), bytes(memoryview(receive_key))
        own, other = self.end.public, self.peers[peer].public_key
        self.end.judge.derived(Session(self.end.name, own, other, local_index, *keys, initiator))
        super().install_keypair(
            peer,
            local_index,
            remote_index,
            send_key,
            receive_key,
            initiator=initiator,
            created_at=created_at,
            confirmed=confirmed,
        )
        assert sum(keypair.peer == peer for keypair in self.keypairs.values()) <= KEYPAIRS_A_PEER

    def retire_keypair(self, local_index: int) -> None:
        peer = self.keypairs[local_index].peer
        # The plane may send with a keypair that the core hears of later, and retires before that.
        assert self._told.get(peer) != local_index, "it is still to be sent with"
        super().retire_keypair(local_index)

    def use_keypair(self, peer: int, local_index: int | None) -> None:
        super().use_keypair(peer, local_index)
        self._told[peer] = local_index

    def open_index(self, local_index: int, peer: int) -> None:
        assert local_index not in self.indices
        assert local_index not in self.keypairs
        super().open_index(local_index, peer)
        assert sum(owner == peer for owner in self.indices.values()) == 1

    def close_index(self, local_index: int) -> None:
        assert local_index in self.indices
        super().close_index(local_index)

    def report(self, peer: int, what: int, confirmed_index: int = 0) -> None:
        if what & flags.CONFIRMED:
            self.end.judge.confirmed(self.end.name, confirmed_index)
        super().report(peer, what, confirmed_index)

    def drop_staged(self, peer: int) -> None:
        assert peer in self.peers
        super().drop_staged(peer)
