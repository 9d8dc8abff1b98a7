"""A routing loop: our own transport message comes back through the TUN as a packet for a peer that leads back to it."""

import socket
import time
from dataclasses import replace

import pytest

from pywg._fastpath import ROUTING_LOOP
from tests.fastpath.packets import Udp, gso_vnet
from tests.fastpath.plane_harness import EVERYWHERE, Far, PlaneHarness, raw_packet

pytestmark = pytest.mark.dropin("routing loop")

FAMILIES = pytest.mark.parametrize(
    ("family", "version"), [(socket.AF_INET, 4), (socket.AF_INET6, 6)], ids=["over-v4", "over-v6"]
)
HERE = b"\x09"


def wrapped(far: Far, version: int, message: bytes, port: int | None = None) -> bytes:
    """`message` as an outer packet on its way to the peer's endpoint, or to another port of its host."""
    return with_ports(outer(far, version, message).build(), version, 51820, port or far.sock.getsockname()[1])


def outer(far: Far, version: int, message: bytes) -> Udp:
    ip, own_port = far.sock.getsockname()[:2]
    there = socket.inet_pton(far.sock.family, ip)
    ports = 51820, own_port
    return Udp(version=version, addresses=(bytes(len(there) - 1) + HERE, there), payload=message, ports=ports)


def with_ports(packet: bytes, version: int, source: int, target: int) -> bytes:
    """The same with other ports; the checksum is no matter here."""
    start = 20 if version == 4 else 40
    return packet[:start] + source.to_bytes(2, "big") + target.to_bytes(2, "big") + packet[start + 4 :]


def fragment(packet: bytes, version: int, offset: int = 0) -> bytes:
    """Of a packet that was too long: the first, or with the offset (in 8 bytes) of another."""
    if version == 4:
        return packet[:6] + (0x2000 | offset).to_bytes(2, "big") + packet[8:]
    header = packet[6:7] + b"\0" + (offset << 3 | 1).to_bytes(2, "big") + b"\0\0\0\7"
    return packet[:4] + (len(packet) - 40 + 8).to_bytes(2, "big") + b"\x2c" + packet[7:40] + header + packet[40:]


class Peers:
    """Peers 1 to n. `via(a, b)`: what is sent to a's endpoint is routed into the tunnel, to b."""

    def __init__(self, harness: PlaneHarness, version: int, count: int) -> None:
        self.harness = harness
        self.version = version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self.fars = {
            n: Far(harness, n, family=family, prefixes=[(bytes([10, 80, n, 0]), 24)]) for n in range(1, count + 1)
        }
        self.number = 0

    def via(self, target: int, through: int) -> None:
        ip = socket.inet_pton(self.fars[target].sock.family, self.fars[target].sock.getsockname()[0])
        self.harness.plane.allow_many(through, [(ip, len(ip) * 8)])

    def send(self, target: int) -> bytes:
        """A packet into the tunnel, to a peer; the message that it becomes."""
        self.number += 1
        packet = Udp(addresses=(bytes([10, 0, 0, 1]), bytes([10, 80, target, 9])), payload=b"%d" % self.number)
        self.harness.write(packet.build())
        return self.fars[target].receive()

    def come_back(self, target: int, message: bytes, first_fragment: bool = False) -> None:
        """The kernel routes the message into the TUN."""
        packet = wrapped(self.fars[target], self.version, message)
        self.harness.write(fragment(packet, self.version) if first_fragment else packet)


@FAMILIES
def test_own_message_is_dropped_and_counted(family: socket.AddressFamily, version: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=family, prefixes=EVERYWHERE)
        harness.write(raw_packet(60))
        message = far.receive()
        harness.write(wrapped(far, version, message))
        harness.counted(tx_routing_loop=1)
        harness.heard(1, ROUTING_LOOP)
        harness.write(raw_packet(99))
        assert far.receive() == far.expect(1, raw_packet(99))


@FAMILIES
def test_own_superframe_is_dropped_and_counted_once(family: socket.AddressFamily, version: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=family, prefixes=EVERYWHERE)
        harness.write(raw_packet(1000))
        packet = outer(far, version, far.receive())
        packet = replace(packet, payload=packet.payload * 30)
        harness.write(packet.unfinished(), gso_vnet(packet, len(packet.payload) // 30))
        harness.counted(tx_routing_loop=1)


@FAMILIES
@pytest.mark.parametrize("first_fragment", [False, True])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_loop_across_peers(family: socket.AddressFamily, version: int, count: int, first_fragment: bool) -> None:
    """Each peer is reached through the next: what goes into the loop is sealed once a peer, and not again."""
    with PlaneHarness() as harness:
        peers = Peers(harness, version, count)
        message = peers.send(1)
        for target in range(1, count + 1):
            through = target % count + 1
            peers.via(target, through)
            peers.come_back(target, message, first_fragment)
            if through != 1:
                message = peers.fars[through].receive()
        harness.counted(tx_routing_loop=1)
        harness.heard(count, ROUTING_LOOP)
        assert all(far.is_silent() for far in peers.fars.values())
        # Whatever comes next ends there too, wherever it comes in.
        for target in range(1, count + 1):
            peers.via(target, target % count + 1)
            peers.come_back(target, peers.send(target), first_fragment)
            harness.counted(tx_routing_loop=1 + target)
        assert all(far.is_silent() for far in peers.fars.values())


@FAMILIES
def test_peer_that_is_reached_through_another_is_no_loop(family: socket.AddressFamily, version: int) -> None:
    """A tunnel in a tunnel in a tunnel, of one interface."""
    with PlaneHarness() as harness:
        peers = Peers(harness, version, 3)
        for _ in range(20):
            for target, through in ((1, 2), (2, 3)):
                peers.via(target, through)
                peers.come_back(target, peers.send(target))
                assert peers.fars[through].open().counter >= 0
        harness.counted(tx_routing_loop=0)


def test_repaired_loop_is_forgotten_with_time_and_with_its_peers() -> None:
    """The other way round at once: first 1 through 2, now 2 through 1, which was never a loop."""
    with PlaneHarness() as harness:
        peers = Peers(harness, 4, 2)
        message = b""

        def turned_round() -> None:
            nonlocal message
            peers.via(1, 2)
            peers.come_back(1, peers.send(1))
            peers.fars[2].open()
            peers.via(2, 1)
            message = peers.send(2)

        def passes() -> bool:
            before = harness.counter("tx_routing_loop")
            through = peers.fars[1]  # it, and no counter: what was sent before may not be counted yet
            peers.come_back(2, message)
            harness.until(lambda: harness.counter("tx_routing_loop") > before or not through.is_silent(), "either")
            if through.is_silent():
                return False
            through.open()
            return True

        while True:
            began = time.monotonic()
            turned_round()
            refused = not passes()
            if refused or time.monotonic() - began < 1.0:  # a machine that pauses forgets, too
                break
        assert refused, "what was seen in the last second counts"
        harness.until(passes, "no longer taken for a loop")


def test_peer_that_is_gone_leads_nowhere() -> None:
    with PlaneHarness() as harness:
        peers = Peers(harness, 4, 3)
        peers.via(1, 2)
        peers.come_back(1, peers.send(1))
        peers.fars[2].open()
        harness.plane.remove_peer(2)
        message = peers.send(3)
        peers.via(3, 1)
        peers.come_back(3, message)
        peers.fars[1].open()
        harness.counted(tx_routing_loop=0)


@FAMILIES
def test_what_only_looks_like_it_is_sent(family: socket.AddressFamily, version: int) -> None:
    """A tunnel of another host in this tunnel, to the same endpoint even, has other indices."""
    with PlaneHarness() as harness:
        far = Far(harness, family=family, prefixes=EVERYWHERE)
        harness.write(raw_packet(60))
        message = far.receive()
        other_index = message[:4] + bytes([message[4] ^ 1]) + message[5:]
        handshake = b"\x01" + message[1:]
        looks_like = [wrapped(far, version, other_index), wrapped(far, version, handshake)]
        looks_like += [wrapped(far, version, message, port=9), wrapped(far, version, message[:15])]
        looks_like += [fragment(wrapped(far, version, message), version, offset=1)]
        for number, packet in enumerate(looks_like, 1):
            harness.write(packet)
            assert far.receive() == far.expect(number, packet)
        harness.counted(tx_routing_loop=0)
