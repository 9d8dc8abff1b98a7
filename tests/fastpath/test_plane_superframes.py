"""Outbound: what the kernel leaves to the device (virtio 1.2, section 5.1.6.2): segmentation and checksums."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fastpath.packets import (
    ACK,
    FIN,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_UDP,
    NEEDS_CSUM,
    PSH,
    Ip,
    Tcp,
    Udp,
    Vnet,
    cut,
    gso_vnet,
)
from tests.fastpath.plane_harness import EVERYWHERE, Far, PlaneHarness, raw_packet, unseal

KINDS = [Tcp(flags=ACK | PSH | FIN), Tcp(version=6, flags=ACK | PSH), Udp(), Udp(version=6)]
IDS = ["tcp4", "tcp6", "udp4", "udp6"]
kinds = pytest.mark.parametrize("kind", KINDS, ids=IDS)
PAYLOAD = random.Random(1).randbytes(65000)


def csum_vnet(packet: Ip) -> Vnet:
    """The virtio header of a packet whose checksum the kernel left unfinished."""
    return Vnet(NEEDS_CSUM, GSO_NONE, 0, 0, packet.l4_offset(), 16 if isinstance(packet, Tcp) else 6)


@pytest.mark.parametrize("udp_gso", [True, False])
@pytest.mark.parametrize(
    ("length", "gso_size"), [(60000, 1340), (1341, 1340), (1340, 1340), (30000, 300), (64000, 1000)]
)
@kinds
def test_superframe_leaves_as_its_segments_in_order(kind: Ip, length: int, gso_size: int, udp_gso: bool) -> None:
    packet = replace(kind, payload=PAYLOAD[:length])
    with PlaneHarness(udp_gso=udp_gso) as harness:
        far = Far(harness)
        counter = 0
        for _ in range(2):
            harness.write(packet.unfinished(), gso_vnet(packet, gso_size))
            for segment in cut(packet, gso_size):
                assert far.receive() == far.expect(counter, segment)
                counter += 1
        harness.counted(tx_datagrams=counter)
        assert harness.plane.peer_stats(1)[0] == 2 * sum(len(far.expect(0, one)) for one in cut(packet, gso_size))


@pytest.mark.parametrize("udp_gso", [True, False])
def test_superframe_leaves_in_as_few_sends_as_the_kernel_takes(udp_gso: bool) -> None:
    packet = replace(KINDS[0], payload=PAYLOAD[: 40 * 1340])
    with PlaneHarness(udp_gso=udp_gso) as harness:
        far = Far(harness)
        harness.write(packet.unfinished(), gso_vnet(packet, 1340))
        assert [far.open().counter for _ in range(40)] == list(range(40))
        harness.counted(tx_sends=1, tx_datagrams=40)


@pytest.mark.parametrize("vnet_hdr_len", [10, 12])
def test_superframes_between_packets_keep_the_order(vnet_hdr_len: int) -> None:
    frames: list[tuple[bytes, Vnet, list[bytes]]] = []
    for number in range(20):
        kind = KINDS[number % 4]
        big = replace(kind, payload=PAYLOAD[number : number + 9000], ident=number)
        small = replace(kind, payload=PAYLOAD[number : number + 200], ident=number)
        frames.append((big.unfinished(), gso_vnet(big, 1200), cut(big, 1200)))
        frames.append((small.unfinished(), csum_vnet(small), [small.build()]))
        frames.append((raw_packet(500, 4, number), Vnet(), [raw_packet(500, 4, number)]))
    with PlaneHarness(vnet_hdr_len=vnet_hdr_len) as harness:
        far = Far(harness)
        harness.plane.detach_tun()
        for frame, vnet, _ in frames:
            harness.write(frame, vnet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)
        packets = [packet for _, _, segments in frames for packet in segments]
        for counter, packet in enumerate(packets):
            assert far.receive() == far.expect(counter, packet)


@pytest.mark.parametrize("length", [1, 2, 3, 100, 1379, 1380])
@kinds
def test_unfinished_checksum_is_finished(kind: Ip, length: int) -> None:
    packet = replace(kind, payload=PAYLOAD[:length])
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(packet.unfinished(), csum_vnet(packet))
        assert far.receive() == far.expect(0, packet.build())


@pytest.mark.known_bug("An unknown virtio GSO type")
@pytest.mark.parametrize("gso_type", [2, GSO_UDP, 6, 0x3F, 0x7F, GSO_ECN, GSO_ECN | GSO_UDP])
def test_unknown_gso_type_is_dropped_and_counted(gso_type: int) -> None:
    """Known bug elsewhere: it ended the daemon."""
    packet = replace(KINDS[2], payload=PAYLOAD[:3000])
    with PlaneHarness() as harness:
        far = Far(harness)
        for _ in range(3):
            harness.write(packet.unfinished(), replace(gso_vnet(packet, 1000), gso_type=gso_type))
        harness.counted(tx_unknown_gso=3)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


BIG = replace(KINDS[0], payload=PAYLOAD[:3000])
GOOD = gso_vnet(BIG, 1000)


@pytest.mark.parametrize(
    ("frame", "vnet"),
    [
        (BIG.unfinished(), replace(GOOD, gso_size=0)),
        (BIG.unfinished(), replace(GOOD, csum_start=0)),
        (BIG.unfinished(), replace(GOOD, csum_start=0xFFFF)),
        (BIG.unfinished()[:30], GOOD),
        (BIG.unfinished()[:-1], GOOD),
        (BIG.unfinished(), replace(GOOD, gso_type=4)),
        (replace(BIG, fragment=0x2000).unfinished(), GOOD),
        (raw_packet(100), GOOD),
        (raw_packet(100), Vnet(NEEDS_CSUM, GSO_NONE, 0, 0, 99, 6)),
        (raw_packet(100), Vnet(NEEDS_CSUM, GSO_NONE, 0, 0, 0xFFFF, 0xFFFF)),
    ],
    ids=lambda value: None if isinstance(value, Vnet) else f"{len(value)}",
)
def test_frame_that_contradicts_its_virtio_header_is_dropped_and_counted(frame: bytes, vnet: Vnet) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(frame, vnet)
        harness.counted(tx_malformed=1)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


def test_superframe_of_too_many_segments_is_dropped_and_counted() -> None:
    packet = replace(KINDS[2], payload=PAYLOAD[:60000])
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(packet.unfinished(), gso_vnet(packet, 1))
        harness.counted(tx_no_room=1)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


@pytest.mark.parametrize("vnet_hdr_len", [10, 12])
def test_frames_no_longer_than_the_virtio_header(vnet_hdr_len: int) -> None:
    with PlaneHarness(vnet_hdr_len=vnet_hdr_len) as harness:
        far = Far(harness)
        for _ in range(20):
            for length in range(1, vnet_hdr_len + 1):
                harness.tun.send(bytes(length))
        harness.counted(tx_malformed=20 * vnet_hdr_len)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.builds(
                Vnet,
                st.integers(0, 3),
                st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84, 0x85, 77]),
                st.integers(0, 0xFFFF),
                st.one_of(st.integers(0, 0xFFFF), st.integers(1, 1400)),
                st.one_of(st.integers(0, 0xFFFF), st.sampled_from([20, 40])),
                st.one_of(st.integers(0, 0xFFFF), st.sampled_from([6, 16])),
            ),
            st.one_of(
                st.binary(min_size=1, max_size=300),
                st.builds(
                    lambda kind, at, value: (
                        (whole := replace(kind, payload=PAYLOAD[:2000]).build())[:at] + value + whole[at + len(value) :]
                    ),
                    st.sampled_from(KINDS),
                    st.integers(0, 90),
                    st.binary(max_size=6),
                ),
            ),
        ),
        max_size=20,
    )
)
def test_plane_survives_every_frame(lively_bed: tuple[PlaneHarness, Far], frames: list[tuple[Vnet, bytes]]) -> None:
    harness, far = lively_bed
    marker = raw_packet(64, 6, random.randrange(256))
    for vnet, frame in frames:
        harness.write(frame, vnet)
    harness.write(marker)
    while (opened := unseal(far.key, far.receive())).text != marker:
        assert opened.counter == far.counter
        far.counter += 1
    assert opened.counter == far.counter
    far.counter += 1


@pytest.fixture(scope="module")
def lively_bed() -> Iterator[tuple[PlaneHarness, Far]]:
    with PlaneHarness() as harness:
        yield harness, Far(harness, prefixes=EVERYWHERE)


def test_gso_type_of_another_ip_version_is_malformed() -> None:
    packet = replace(KINDS[1], payload=PAYLOAD[:3000])
    with PlaneHarness() as harness:
        Far(harness)
        harness.write(packet.unfinished(), replace(gso_vnet(packet, 1000), gso_type=GSO_TCPV4))
        harness.counted(tx_malformed=1)
