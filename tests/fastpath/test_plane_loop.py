"""A routing loop: our own transport message comes back through the TUN as a packet for the peer it was sealed for."""

import socket

import pytest

from tests.fastpath.packets import Udp
from tests.fastpath.plane_bed import EVERYWHERE, Bed, Far, raw_packet

FAMILIES = pytest.mark.parametrize(
    ("family", "version"), [(socket.AF_INET, 4), (socket.AF_INET6, 6)], ids=["over-v4", "over-v6"]
)


def wrapped(far: Far, version: int, message: bytes, port: int | None = None) -> bytes:
    """`message` as an outer packet on its way to the peer's endpoint, or to another port of its host."""
    ip, own_port = far.sock.getsockname()[:2]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    there = socket.inet_pton(family, ip)
    packet = Udp(version=version, addresses=(bytes(len(there) - 1) + b"\x09", there), payload=message)
    return with_ports(packet.build(), version, 51820, port or own_port)


def with_ports(packet: bytes, version: int, source: int, target: int) -> bytes:
    """The same with other ports; the checksum is no matter here."""
    start = 20 if version == 4 else 40
    return packet[:start] + source.to_bytes(2, "big") + target.to_bytes(2, "big") + packet[start + 4 :]


@FAMILIES
def test_own_message_is_dropped_and_counted(family: socket.AddressFamily, version: int) -> None:
    with Bed() as bed:
        far = Far(bed, family=family, prefixes=EVERYWHERE)
        bed.write(raw_packet(60))
        message = far.receive()
        bed.write(wrapped(far, version, message))
        bed.counted(tx_routing_loop=1)
        bed.write(raw_packet(99))
        assert far.receive() == far.expect(1, raw_packet(99))


@FAMILIES
def test_what_only_looks_like_it_is_sent(family: socket.AddressFamily, version: int) -> None:
    """A tunnel of another host in this tunnel, to the same endpoint even, has other indices."""
    with Bed() as bed:
        far = Far(bed, family=family, prefixes=EVERYWHERE)
        bed.write(raw_packet(60))
        message = far.receive()
        other_index = message[:4] + bytes([message[4] ^ 1]) + message[5:]
        handshake = b"\x01" + message[1:]
        looks_like = [wrapped(far, version, other_index), wrapped(far, version, handshake)]
        looks_like += [wrapped(far, version, message, port=9), wrapped(far, version, message[:15])]
        for number, packet in enumerate(looks_like, 1):
            bed.write(packet)
            assert far.receive() == far.expect(number, packet)
        bed.counted(tx_routing_loop=0)
