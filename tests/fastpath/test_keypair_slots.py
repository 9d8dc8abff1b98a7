"""Core and data plane together keep the three keypairs of a peer as the kernel's noise.c does.

Every short sequence of what can happen to them, carried out twice: by the core's `Peer` and a real `Plane` with real
packets, and by the kernel's rules written down again here. After each step both open with the same keypairs, and seal
with the same one. The core hears of a confirmation only when the sequence says so: events are late in real life.
"""

import itertools
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidTag

from pywg._fastpath import CONFIRMED, now
from pywg.core import events, handshake
from pywg.core.context import Context
from pywg.core.events import Activity, Endpoint
from pywg.core.handshake import Identity
from pywg.core.index_table import IndexTable
from pywg.core.messages import Response
from pywg.core.peer import Peer
from pywg.dataplane.crypto.secret import Secret
from tests.fastpath.plane_harness import Opened, PlaneHarness, addr_of, key_of, seal, udp_socket, unseal

INITIATE, RESPOND, NEWEST, OLDER, HEAR, NEW_IDENTITY = "IR01HX"
"""A digit: a packet comes under the keypair that was so many before the newest."""
SEQUENCE_LEN = 5
STEPS = INITIATE + RESPOND + OLDER + NEWEST + HEAR + NEW_IDENTITY


@dataclass
class KernelKeypair:
    name: int
    initiator: bool
    is_valid: bool = True


class Kernel:
    """add_new_keypair(), wg_noise_received_with_keypair() and wg_noise_expire_current_peer_keypairs() of noise.c."""

    def __init__(self) -> None:
        self.previous: KernelKeypair | None = None
        self.current: KernelKeypair | None = None
        self.next: KernelKeypair | None = None

    def add(self, new: KernelKeypair) -> None:
        if new.initiator:
            if self.next is not None:
                self.previous, self.next = self.next, None
            else:
                self.previous = self.current
            self.current = new
        else:
            self.next = new
            self.previous = None

    def receive(self, name: int) -> None:
        if self.next is not None and self.next.name == name:
            self.previous, self.current, self.next = self.current, self.next, None

    def expire(self) -> None:
        for keypair in (self.next, self.current):
            if keypair is not None:
                keypair.is_valid = False

    def opening(self) -> set[int]:
        return {keypair.name for keypair in (self.previous, self.current, self.next) if keypair is not None}

    def sealing(self) -> int | None:
        return self.current.name if self.current is not None and self.current.is_valid else None


class Ours:
    """A core `Peer` and its peer in a plane; sessions come without their handshakes."""

    def __init__(self, harness: PlaneHarness, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.harness = harness
        self.number = number
        self.sock = udp_socket(socket.AF_INET, "127.0.0.1")
        draw = random.Random(1).randbytes
        self.context = Context(draw, lambda: 1, lambda _: Activity(), self.withdraw, IndexTable(draw))
        self.context.identity = Identity(Secret(bytes(range(32))))
        self.peer = Peer(number, key_of("peer"), self.context)
        self.local: list[int] = []
        self.counter = 0
        self.initiator = False
        harness.plane.add_peer(number)
        harness.plane.set_endpoint(number, addr_of(self.sock))
        monkeypatch.setattr(handshake, "create_response", self.create_response)
        monkeypatch.setattr(handshake, "consume_response", lambda *_: None)
        monkeypatch.setattr(handshake, "begin_session", self.begin_session)

    def create_response(self, _: handshake.Handshake, index: int, __: object) -> Response:
        self.local.append(index)
        return Response(index, 0, bytes(32), bytes(16))

    def begin_session(self, ended: handshake.Handshake, at: float) -> events.KeypairDerived:
        ended.local_index = None
        name = len(self.local) - 1
        keys = Secret(key_of(name, "out")), Secret(key_of(name, "in"))
        indices = self.local[name], self.number * 16 + name
        return events.KeypairDerived(self.number, *indices, *keys, self.initiator, at)

    def withdraw(self, peer: int, local_index: int) -> bool:
        return self.harness.plane.withdraw_keypair(peer, local_index)

    def move(self) -> None:
        """What the bridge does with the core's events."""
        plane = self.harness.plane
        happened, self.context.events, self.context.datagrams = self.context.events, [], []
        for event in happened:
            match event:
                case events.KeypairDerived(peer, local, remote, send, receive, initiator, at):
                    plane.install_keypair(
                        peer, local, remote, send, receive, initiator=initiator, created_at=at, confirmed=initiator
                    )
                case events.SendingKeypairChanged(peer, index):
                    plane.use_keypair(peer, index)
                case events.KeypairRetired(_, index):
                    plane.retire_keypair(index)

    def add(self, *, initiator: bool) -> None:
        self.initiator = initiator
        if initiator:
            index = self.context.indices.insert(self.number)
            self.local.append(index)
            self.peer.handshake.local_index = index
            self.peer.consume_response(Response(0, index, bytes(32), bytes(16)), Endpoint(bytes(4), 1), now())
        else:
            self.peer.handshake.local_index = None
            self.peer.respond(now())
        self.move()

    def receive(self, name: int) -> bool:
        """Sends a keepalive under the keypair. Whether it was opened."""
        keepalives = self.harness.counter("rx_keepalives")
        unknown = self.harness.counter("rx_unknown_index")
        message = seal(key_of(name, "in"), self.local[name], self.counter, b"")
        self.counter += 1
        self.sock.sendto(message, ("127.0.0.1", self.harness.sockets.port))
        self.harness.until(
            lambda: (
                self.harness.counter("rx_keepalives") > keepalives or self.harness.counter("rx_unknown_index") > unknown
            ),
            "the message is counted",
        )
        self.harness.settle()
        return self.harness.counter("rx_keepalives") > keepalives

    def hear(self) -> None:
        """The core is told what the plane has to tell."""
        self.harness.drain()
        happened, self.harness.happened = self.harness.happened, []
        for peer, flags, index in happened:
            if peer == self.number and flags & CONFIRMED:
                self.peer.confirm(index)
        self.move()

    def expire(self) -> None:
        self.peer.expire_sessions()
        self.move()

    def sealing(self) -> int | None:
        """The keypair that a keepalive goes out under."""
        if not self.harness.plane.send_keepalive(self.number):
            return None
        datagram = self.sock.recv(1 << 16)
        for name in range(len(self.local)):
            try:
                opened: Opened = unseal(key_of(name, "out"), datagram)
            except InvalidTag:
                continue
            assert opened.receiver_index == self.number * 16 + name
            return name
        raise AssertionError("sealed with no keypair there ever was")

    def opening(self) -> set[int]:
        """Those that the core has; `receive` says whether the plane agrees."""
        return {self.local.index(keypair.local_index) for keypair in self.peer.keypairs.all()}

    def close(self) -> None:
        self.harness.plane.remove_peer(self.number)
        self.harness.happened.clear()
        self.sock.close()


def sequences() -> Iterator[str]:
    """All of SEQUENCE_LEN steps, but those in which a packet comes before there is a keypair."""
    for steps in itertools.product(STEPS, repeat=SEQUENCE_LEN):
        text = "".join(steps)
        if text[0] in INITIATE + RESPOND and text[-1] not in HEAR:
            yield text


def play(steps: str, ours: Ours, kernel: Kernel) -> None:
    """Takes the steps, with the same one sent with after each."""
    for at, step in enumerate(steps):
        so_far = steps[: at + 1]
        if step in INITIATE + RESPOND:
            kernel.add(KernelKeypair(len(ours.local), step == INITIATE))
            ours.add(initiator=step == INITIATE)
        elif step == HEAR:
            ours.hear()
        elif step == NEW_IDENTITY:
            kernel.expire()
            ours.expire()
        else:
            name = len(ours.local) - 1 - int(step)
            if name < 0:
                return
            assert ours.receive(name) == (name in kernel.opening()), so_far
            kernel.receive(name)
        assert ours.sealing() == kernel.sealing(), so_far


def settle(steps: str, ours: Ours, kernel: Kernel) -> None:
    """Packets under every keypair, and the core hears all: the same ones are there."""
    for name in range(len(ours.local)):
        assert ours.receive(name) == (name in kernel.opening()), (steps, name)
        kernel.receive(name)
    ours.hear()
    assert ours.opening() == kernel.opening(), steps
    assert ours.sealing() == kernel.sealing(), steps


def test_every_short_sequence_ends_as_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with PlaneHarness() as harness:
        for number, steps in enumerate(sequences(), 1):
            ours, kernel = Ours(harness, number, monkeypatch), Kernel()
            try:
                play(steps, ours, kernel)
                settle(steps, ours, kernel)
            finally:
                ours.close()


@pytest.mark.parametrize(
    ("steps", "sealing"),
    [
        pytest.param("RI1", 1, id="late confirmation of a keypair that another has replaced"),
        pytest.param("IX0", None, id="session of the old static key"),
        pytest.param("RX0", None, id="unconfirmed session of the old static key"),
        pytest.param("R0", 0, id="confirmation"),
        pytest.param("R0R", 0, id="confirmation that the core has not heard of when the next session comes"),
    ],
)
def test_what_is_sent_with(steps: str, sealing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with PlaneHarness() as harness:
        ours = Ours(harness, 1, monkeypatch)
        try:
            play(steps, ours, Kernel())
            assert ours.sealing() == sealing
        finally:
            ours.close()
