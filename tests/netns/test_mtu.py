"""UDP of every size that fits into the tunnel's MTU, larger ones in fragments, and TCP, at three MTUs."""

import socket
from collections.abc import Iterator

import pytest

from bench.tunnel import transfer
from bench.tunnel.lab import Lab

from .inner_udp import MAX_PAYLOAD_LEN, Wire, assert_same, payload

LINK_MTU = {1280: 1500, 1420: 1500, 8920: 9000}
HEADER_LEN = {4: 20 + 8, 6: 40 + 8}
UDP_SEGMENT = 103  # udp(7)
SOL_UDP = 17


@pytest.fixture(scope="module", params=LINK_MTU, ids=lambda mtu: f"mtu-{mtu}")
def mtu_lab(pair: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(*pair, mtu=request.param, link_mtu=LINK_MTU[request.param]) as lab:
        lab.establish()
        yield lab


@pytest.mark.known_bug("Several TUN readers")
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_every_size_up_to_the_mtu(mtu_lab: Lab, family: int) -> None:
    payloads = [payload(size) for size in range(mtu_lab.mtu - HEADER_LEN[family] + 1)]
    near, far = mtu_lab.sites
    with Wire(near, far, family) as there, Wire(far, near, family) as back:
        there.check(payloads)
        back.check(payloads)


@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_fragments(mtu_lab: Lab, family: int) -> None:
    full = mtu_lab.mtu - HEADER_LEN[family]
    sizes = [full + 1, full + 8, 2 * full, 2 * full + 1, 10_000, 40_000, MAX_PAYLOAD_LEN - HEADER_LEN[family] + 28]
    with Wire(mtu_lab.near, mtu_lab.far, family) as wire:
        for size in sizes:
            wire.check([payload(size)])


@pytest.mark.known_bug("Several TUN readers")
@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_segmented_udp(mtu_lab: Lab, family: int) -> None:
    """An application's own UDP_SEGMENT: where the TUN takes USO, the daemon is what splits it."""
    for size, count, last_len in ((1000, 60, 1000), (1, 60, 1), (1231, 50, 7), (500, 64, 499)):
        datagrams = [payload(size, number) for number in range(count - 1)] + [payload(last_len, count)]
        with Wire(mtu_lab.near, mtu_lab.far, family) as wire:
            wire.sender.setsockopt(SOL_UDP, UDP_SEGMENT, size)
            wire.send(b"".join(datagrams))
            assert_same(wire.receive(count), datagrams)
            wire.check_alive(b"!"[:size])


@pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])
def test_tcp(mtu_lab: Lab, family: int) -> None:
    transfer.exchange(mtu_lab.near.namespace, mtu_lab.far.namespace, mtu_lab.far.inner(family), 10_000_000)


def test_datagram_with_dont_fragment_gets_an_error(mtu_lab: Lab) -> None:
    """The kernel knows the interface's MTU: one byte more is refused at the sender, and nothing is sent."""
    ip_mtu_discover, ip_pmtudisc_do = 10, 2
    with Wire(mtu_lab.near, mtu_lab.far) as wire:
        wire.sender.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_do)
        with pytest.raises(OSError, match="Message too long"):
            wire.send(payload(mtu_lab.mtu - HEADER_LEN[4] + 1))
        wire.check([payload(mtu_lab.mtu - HEADER_LEN[4])])
