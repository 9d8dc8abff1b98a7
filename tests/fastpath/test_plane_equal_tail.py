"""Outbound, without the shape that Linux 7.0-rc1 to 7.1-rc5 damage: a segmented send of datagrams of one length.

Over loopback a segmented send arrives whole on a socket that has UDP_GRO, and what was sent singly arrives so.
"""

import random
import socket
from dataclasses import replace

import pytest

from tests.fastpath.packets import Tcp, Udp, cut, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, pad, raw_packet, udp_socket

pytestmark = pytest.mark.known_bug("Linux 7.0-rc1")
UDP_GRO = 104
PAYLOAD = random.Random(1).randbytes(60000)
FAMILIES = pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["v4", "v6"]
)


def merging_socket(family: socket.AddressFamily, address: str) -> socket.socket:
    sock = udp_socket(family, address)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    return sock


def shapes(far: Far, datagrams: int) -> list[tuple[int, int]]:
    """(bytes, bytes of each datagram or 0) of each send, until so many datagrams have come, in their order."""
    found: list[tuple[int, int]] = []
    counter = 0
    while counter < datagrams:
        data, control, _, _ = far.sock.recvmsg(1 << 16, 64)
        stride = next((int.from_bytes(value[:4], "little") for _, kind, value in control if kind == UDP_GRO), 0)
        found.append((len(data), stride))
        for at in range(0, len(data), stride or len(data)):
            assert int.from_bytes(data[at + 8 : at + 16], "little") == counter
            counter += 1
    assert counter == datagrams
    return found


def wire_len(inner: int) -> int:
    return len(pad(bytes(inner))) + 32


@FAMILIES
@pytest.mark.parametrize("segments", [2, 3, 40])
def test_equal_datagrams_are_not_segmented(family: socket.AddressFamily, address: str, segments: int) -> None:
    packet = replace(Tcp(), payload=PAYLOAD[: segments * 1340])
    with PlaneHarness(udp_gso_equal_tail=False) as harness:
        far = Far(harness, sock=merging_socket(family, address))
        harness.write(packet.unfinished(), gso_vnet(packet, 1340))
        assert shapes(far, segments) == [(wire_len(1380), 0)] * segments
        harness.counted(tx_datagrams=segments, tx_sends=1, tx_gso_refused=0)
        assert harness.plane.offloads()["udp_gso4"]
        assert not harness.plane.offloads()["udp_gso_equal_tail"]


@FAMILIES
def test_with_the_switch_off_they_are(family: socket.AddressFamily, address: str) -> None:
    packet = replace(Tcp(), payload=PAYLOAD[: 40 * 1340])
    with PlaneHarness() as harness:
        far = Far(harness, sock=merging_socket(family, address))
        harness.write(packet.unfinished(), gso_vnet(packet, 1340))
        assert shapes(far, 40) == [(40 * wire_len(1380), wire_len(1380))]
        assert harness.plane.offloads()["udp_gso_equal_tail"]


@FAMILIES
def test_shorter_last_datagram_is_segmented_all_the_same(family: socket.AddressFamily, address: str) -> None:
    packet = replace(Tcp(), payload=PAYLOAD[: 39 * 1340 + 100])
    with PlaneHarness(udp_gso_equal_tail=False) as harness:
        far = Far(harness, sock=merging_socket(family, address))
        harness.write(packet.unfinished(), gso_vnet(packet, 1340))
        assert shapes(far, 40) == [(39 * wire_len(1380) + wire_len(140), wire_len(1380))]


def test_both_shapes_in_one_batch_keep_their_order() -> None:
    """And what goes out in one send of many messages, singly, keeps it too."""
    with PlaneHarness(udp_gso_equal_tail=False) as harness:
        far = Far(harness, sock=merging_socket(socket.AF_INET, "127.0.0.1"))
        harness.plane.detach_tun()
        expected = 0
        for number in range(6):
            equal = replace(Udp(), payload=PAYLOAD[: 5 * 1000], ident=number)
            unequal = replace(Udp(), payload=PAYLOAD[: 5 * 1000 + 7], ident=number)
            for packet in (equal, unequal):
                harness.write(packet.unfinished(), gso_vnet(packet, 1000))
                expected += len(cut(packet, 1000))
            for _ in range(3):
                harness.write(raw_packet(500, 4, number))
                expected += 1
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        for length, stride in shapes(far, expected):
            assert stride == 0 or length % stride, "all of a length"


def test_without_segmentation_there_is_no_equal_tail_either() -> None:
    with PlaneHarness(udp_gso=False) as harness:
        assert not harness.plane.offloads()["udp_gso_equal_tail"]
