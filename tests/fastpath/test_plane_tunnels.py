"""UDP tunnels through a plane: superframes out, and in where the kernel's packets have told that a tunnel is there."""

from dataclasses import replace

import pytest

from tests.fastpath.packets import ADDRESSES4, NEEDS_CSUM, Tcp, Udp, Vnet
from tests.fastpath.plane_harness import Far, PlaneHarness
from tests.fastpath.tunnels import VXLAN_PORT, Tunnel, tunnel_vnet

THERE, BACK = ADDRESSES4, ADDRESSES4[::-1]
OUT = Udp(ports=(50000, VXLAN_PORT), check=0, fragment=0, addresses=THERE)
SIZE = 1000


def payload(length: int) -> bytes:
    return bytes((i * i + 11 * i) & 0xFF for i in range(length))


def to_the_plane(count: int = 5) -> list[bytes]:
    """Segments of a stream in the tunnel, as the far end's kernel sends them."""
    return Tunnel(Tcp(payload=payload(SIZE * count)), replace(OUT, addresses=BACK)).cut(SIZE)


def send_in_one(far: Far, packets: list[bytes]) -> None:
    far.send_train([far.message(one) for one in packets])


def acknowledgement(csum_start: int | None = None) -> tuple[bytes, Vnet]:
    """A packet of the kernel's own tunnel, whose inner checksum is to be finished."""
    tunnel = Tunnel(Tcp(), OUT)
    start = tunnel.inner_offset() + 20 if csum_start is None else csum_start
    return tunnel.unfinished(), Vnet(NEEDS_CSUM, csum_start=start, csum_offset=16)


@pytest.mark.parametrize("helpers", [0, 2])
def test_superframes_leave_as_their_segments(helpers: int) -> None:
    """Between packets: a virtio header of 24 bytes does not touch what was read before."""
    whole = Tunnel(Tcp(payload=payload(40 * SIZE)), OUT)
    with PlaneHarness(vnet_hdr_len=24, tunnels=True, helpers=helpers) as harness:
        far = Far(harness)
        expected: list[bytes] = []
        for number in range(12):
            single = replace(OUT, ident=number, payload=payload(100 + 16 * number), check=None)
            harness.write(single.build())
            harness.write(whole.unfinished(), tunnel_vnet(whole, SIZE))
            expected += [single.build(), *whole.cut(SIZE)]
        for counter, packet in enumerate(expected):
            assert far.receive() == far.expect(counter, packet)
        harness.counted(tx_datagrams=len(expected), tx_packets=24)


@pytest.mark.parametrize("how", ["a checksum inside", "a superframe"])
def test_packets_are_merged_once_the_kernel_has_sent(how: str) -> None:
    whole = Tunnel(Tcp(payload=payload(3 * SIZE)), OUT)
    frame, vnet = acknowledgement() if how == "a checksum inside" else (whole.unfinished(), tunnel_vnet(whole, SIZE))
    with PlaneHarness(vnet_hdr_len=24, tunnels=True) as harness:
        far = Far(harness)
        packets = to_the_plane()
        send_in_one(far, packets)
        assert [harness.read_frame() for _ in packets] == [(bytes(24), one) for one in packets]
        harness.write(frame, vnet)
        far.open()
        send_in_one(far, packets)
        header, merged = harness.read_frame()
        assert (header[1], len(merged)) == (0x21, len(packets[0]) + 4 * SIZE)


@pytest.mark.parametrize(
    ("frame", "vnet"),
    [
        (replace(OUT, payload=Tunnel().between() + Tcp().build()).build(), Vnet()),
        (
            replace(OUT, payload=Tunnel().between() + Tcp().build(), check=1).build(),
            Vnet(NEEDS_CSUM, csum_start=20, csum_offset=6),
        ),
        (acknowledgement()[0], Vnet(NEEDS_CSUM, csum_start=40, csum_offset=6)),
        (replace(OUT, payload=bytes(22) + Tcp().build()).build(), acknowledgement()[1]),
    ],
    ids=["nothing left to the TUN", "the datagram's own checksum", "a checksum in the tunnel's headers", "no tunnel"],
)
def test_a_program_that_speaks_vxlan_gets_its_datagrams(frame: bytes, vnet: Vnet) -> None:
    """It sends to the same port, from the same address: what comes for it is not merged."""
    with PlaneHarness(vnet_hdr_len=24, tunnels=True) as harness:
        far = Far(harness)
        harness.write(frame, vnet)
        far.open()
        packets = to_the_plane()
        send_in_one(far, packets)
        assert [harness.read_frame() for _ in packets] == [(bytes(24), one) for one in packets]


def test_another_tun_knows_of_no_end() -> None:
    with PlaneHarness(vnet_hdr_len=24, tunnels=True) as harness:
        far = Far(harness)
        packets = to_the_plane()
        harness.write(*acknowledgement())
        far.open()
        send_in_one(far, packets)
        assert len(harness.read_frame()[1]) == len(packets[0]) + 4 * SIZE
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=24, uso=True, tunnels=True)
        send_in_one(far, packets)
        assert [harness.read_frame() for _ in packets] == [(bytes(24), one) for one in packets]


def test_a_tun_without_tunnels() -> None:
    """With the long header, as another program may have left it."""
    whole = Tunnel(Tcp(payload=payload(3 * SIZE)), OUT)
    with PlaneHarness(vnet_hdr_len=24) as harness:
        far = Far(harness)
        harness.write(*acknowledgement())
        harness.write(whole.unfinished(), tunnel_vnet(whole, SIZE))
        far.open()
        harness.counted(tx_unknown_gso=0)
        for counter, packet in enumerate(whole.cut(SIZE), 1):
            assert far.receive() == far.expect(counter, packet)
        packets = to_the_plane()
        send_in_one(far, packets)
        assert [harness.read_frame() for _ in packets] == [(bytes(24), one) for one in packets]
        offloads = harness.plane.offloads()
        assert (offloads["tun_tunnels"], offloads["coalesce_tunnels"]) == (False, False)


def test_what_can_not_be() -> None:
    with PlaneHarness() as harness:
        for length, tunnels in ((11, False), (20, False), (10, True), (0, True)):
            with pytest.raises(ValueError, match="virtio header"):
                harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=length, tunnels=tunnels)
