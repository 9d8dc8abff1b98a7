"""Messages that the kernel refuses to cut: whether it is asked again.

A socket that is told to send no checksums refuses to segment, with EINVAL (udp_send_skb in Linux), and sends single
datagrams: as kernels before 6.14 do where the path's MTU is below the segments' length, and as those without
UDP_SEGMENT always do.
"""

import socket

import pytest

from tests.fastpath.packets import Udp, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness

SO_NO_CHECK, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX = 11, 101, 102
PACKET = Udp(payload=bytes(3500))
SEGMENTS = 4
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


def _refuse(harness: PlaneHarness, *, refuse: bool) -> None:
    udp4, udp6 = harness.sockets.udp4, harness.sockets.udp6
    assert udp4 is not None
    assert udp6 is not None
    udp4.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, refuse)
    udp6.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, refuse)


def _far(harness: PlaneHarness, family: socket.AddressFamily) -> Far:
    far = Far(harness, family=family)
    if family == socket.AF_INET6:
        far.sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    return far


def _send(harness: PlaneHarness, far: Far) -> int:
    """Has the plane send a superframe, which arrives. In how many calls, of which a refused one is none."""
    batches = sum(n for name, n in harness.batches().items() if name.startswith("tx"))
    datagrams = harness.counter("tx_datagrams")
    harness.write(PACKET.unfinished(), gso_vnet(PACKET, 1000))
    for _ in range(SEGMENTS):
        far.receive()
    harness.counted(tx_datagrams=datagrams + SEGMENTS)
    return sum(n for name, n in harness.batches().items() if name.startswith("tx")) - batches


def _segments(harness: PlaneHarness, family: socket.AddressFamily) -> bool:
    return harness.plane.offloads()["udp_gso4" if family == socket.AF_INET else "udp_gso6"]


@FAMILIES
def test_kernel_that_never_cut_anything_is_not_asked_again(family: socket.AddressFamily) -> None:
    with PlaneHarness() as harness:
        far = _far(harness, family)
        _refuse(harness, refuse=True)
        _send(harness, far)
        assert not _segments(harness, family)
        _refuse(harness, refuse=False)
        _send(harness, far)
        harness.counted(tx_gso_refused=1, tx_send_error=0)


@FAMILIES
def test_kernel_that_has_cut_a_message_is_asked_again(family: socket.AddressFamily) -> None:
    """Else one peer's path would have the messages of all others go one datagram at a time, for good."""
    with PlaneHarness() as harness:
        far = _far(harness, family)
        assert _send(harness, far) == 1
        _refuse(harness, refuse=True)
        _send(harness, far)
        _send(harness, far)
        harness.counted(tx_gso_refused=2, tx_send_error=0)
        assert _segments(harness, family)
        _refuse(harness, refuse=False)
        assert _send(harness, far) == 1
        harness.counted(tx_gso_refused=2)


def test_other_sockets_are_asked_anew() -> None:
    """What the kernel did for those before says nothing of these: another namespace may have made them."""
    with PlaneHarness() as harness:
        far = Far(harness)
        _send(harness, far)
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        _refuse(harness, refuse=True)
        _send(harness, far)
        assert not _segments(harness, socket.AF_INET)
