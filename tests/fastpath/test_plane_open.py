"""Inbound: what reaches the TUN for what came over UDP (paper section 5.4.6), alone and in GRO trains."""

import random
import socket
from dataclasses import replace

import pytest

from pywg._fastpath import CONFIRMED
from tests.fastpath.packets import ACK, PSH, Ip, Tcp, Udp
from tests.fastpath.plane_harness import Far, PlaneHarness, Raw, inbound, reply, seal

FAMILIES = [socket.AF_INET, socket.AF_INET6]
KINDS = [Tcp(), Tcp(version=6), Udp(), Udp(version=6)]


def inbound_raw(length: int, version: int, fill: int) -> bytes:
    header_len = 20 if version == 4 else 40
    return inbound(Raw(version=version, payload=bytes([fill & 0xFF]) * (length - header_len))).build()


@pytest.mark.parametrize("vnet_hdr_len", [0, 10, 12])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", [4, 6])
def test_every_size_up_to_the_mtu(version: int, family: socket.AddressFamily, vnet_hdr_len: int) -> None:
    """Padding is cut off by the inner packet's own length; a frame of one packet has an empty virtio header."""
    with PlaneHarness(vnet_hdr_len=vnet_hdr_len) as harness:
        far = Far(harness, family=family)
        packets = [
            inbound_raw(length, version, length) for length in range(20 if version == 4 else 40, harness.mtu + 1)
        ]
        wire = 0
        for start in range(0, len(packets), 64):
            batch = packets[start : start + 64]
            for packet in batch:
                message = far.message(packet)
                wire += len(message)
                far.send_datagram(message)
            for packet in batch:
                assert harness.read_frame() == (bytes(vnet_hdr_len), packet)
        assert harness.plane.peer_stats(1) == (0, wire)
        harness.counted(rx_packets=len(packets), rx_datagrams=len(packets), rx_tun_error=0)


def test_more_padding_than_we_would_use_is_cut_off() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send_datagram(seal(far.send_key, far.local_index, 0, reply(1) + bytes(1000)))
        assert harness.read(1) == [reply(1)]


def test_padding_may_be_missing() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send_datagram(seal(far.send_key, far.local_index, 0, reply(1, 61)))
        assert harness.read(1) == [reply(1, 61)]


def test_longest_datagram() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        packet = inbound_raw(65507 - 32, 4, 1)
        far.send(packet)
        assert harness.read(1) == [packet]


def test_keepalive_is_counted_and_not_delivered() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(b"")
        harness.counted(rx_keepalives=1)
        harness.until(lambda: harness.plane.peer_stats(1) == (0, 32), "its 32 bytes")
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


@pytest.mark.parametrize(
    "text",
    [
        bytes(16),
        bytes(64),
        b"\x45" + bytes(15),
        b"\x45" + bytes(18),
        b"\x60" + bytes(38),
        b"\x50" + bytes(63),
        b"\xf5" + bytes(63),
        inbound_raw(64, 4, 0)[:2] + (65).to_bytes(2, "big") + inbound_raw(64, 4, 0)[4:],
        inbound_raw(64, 4, 0)[:2] + b"\xff\xff" + inbound_raw(64, 4, 0)[4:],
        inbound_raw(64, 4, 0)[:2] + (19).to_bytes(2, "big") + inbound_raw(64, 4, 0)[4:],
        inbound_raw(64, 4, 0)[:2] + (0).to_bytes(2, "big") + inbound_raw(64, 4, 0)[4:],
        inbound_raw(64, 6, 0)[:4] + (25).to_bytes(2, "big") + inbound_raw(64, 6, 0)[6:],
        inbound_raw(64, 6, 0)[:4] + b"\xff\xff" + inbound_raw(64, 6, 0)[6:],
    ],
    ids=lambda text: text[:8].hex() + f"-{len(text)}",
)
def test_text_that_is_no_whole_ip_packet_is_dropped_and_counted(text: bytes) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, prefixes=[(bytes(4), 0), (bytes(16), 0)])
        far.send_datagram(seal(far.send_key, far.local_index, 0, text))
        harness.counted(rx_not_ip=1)
        far.send(reply(1), 1)
        assert harness.read(1) == [reply(1)]


def test_shortest_ip_packets() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        packets = [inbound_raw(20, 4, 0), inbound_raw(40, 6, 0)]
        for packet in packets:
            far.send(packet)
        assert harness.read(2) == packets


def test_first_authentic_packet_confirms_once() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, confirmed=False, initiator=False)
        harness.forget()
        far.send_datagram(far.message(b"")[:-1] + b"?")
        harness.counted(rx_forged=1)
        harness.drain()
        assert harness.happened == []
        far.send(b"")
        harness.heard(1, CONFIRMED)
        [(_, _, index)] = [one for one in harness.happened if one[1] & CONFIRMED]
        assert index == far.local_index
        harness.forget()
        for number in range(5):
            far.send(reply(number))
        assert len(harness.read(5)) == 5
        harness.drain()
        assert not harness.flags_of(1) & CONFIRMED


def test_initiators_keypair_is_not_reported() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(1))
        harness.read(1)
        harness.drain()
        assert not harness.flags_of(1) & CONFIRMED


# ---- trains


@pytest.mark.parametrize("udp_gro", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_train_of_datagrams(family: socket.AddressFamily, udp_gro: bool) -> None:
    with PlaneHarness(udp_gro=udp_gro) as harness:
        far = Far(harness, family=family)
        packets = [reply(i, 600) for i in range(30)] + [reply(30, 100)]
        far.send_train([far.message(packet) for packet in packets])
        assert harness.read(31) == packets
        harness.counted(rx_datagrams=31)


def test_train_arrives_in_one_receive() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send_train([far.message(reply(i, 600)) for i in range(30)])
        assert harness.read(30) == [reply(i, 600) for i in range(30)]
        harness.counted(rx_receives=1, rx_datagrams=30)
        assert harness.batches() == {"rx_64": 1}


@pytest.mark.parametrize(
    ("datagrams", "size"),
    [
        (1, "1"),
        (2, "4"),
        (4, "4"),
        (5, "16"),
        (16, "16"),
        (17, "64"),
        (64, "64"),
        (65, "256"),
        (256, "256"),
        (257, "more"),
    ],
)
def test_batches_are_counted_by_their_size(datagrams: int, size: str) -> None:
    """What a batch of the receiving thread has: trains of GRO that waited together for it, told by their lengths."""
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.detach_sockets()
        left, length = datagrams, 600
        while left:
            train = min(left, 50)
            far.send_train([far.message(reply(i, length)) for i in range(train)])
            left, length = left - train, length - 16
        harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
        harness.counted(rx_receives=1, rx_datagrams=datagrams)
        assert harness.batches() == {f"rx_{size}": 1}


@pytest.mark.known_bug("An oversized GRO segment")
@pytest.mark.parametrize("udp_gro", [True, False])
def test_bad_datagrams_in_a_train_do_not_harm_the_others(udp_gro: bool) -> None:
    """Known bug elsewhere: one oversized GRO segment ended the receive task."""
    with PlaneHarness(udp_gro=udp_gro) as harness:
        far = Far(harness)
        packets = [reply(i, 300) for i in range(40)]
        train = [far.message(packet) for packet in packets]
        train[3] = bytes(len(train[0]))
        train[7] = train[7][:-1] + b"\0"
        train[8] = train[6]
        train[20] = random.Random(2).randbytes(len(train[0]))
        train[30] = b"\4\0\0\0" + bytes(len(train[0]) - 4)
        train[39] = b"\4\0\0"
        far.send_train(train)
        good = [packet for i, packet in enumerate(packets) if i not in {3, 7, 8, 20, 30, 39}]
        assert harness.read(34) == good
        harness.dropped(6)
        harness.counted(rx_datagrams=40)


@pytest.mark.known_bug("An oversized GRO segment")
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 31, 32, 33, 1000, 1473, 9000, 32000])
def test_train_of_any_stride(stride: int) -> None:
    """Also of datagrams that are longer than any that the tunnel's MTU allows for."""
    with PlaneHarness() as harness:
        far = Far(harness)
        count = min(60, 65_000 // stride)
        far.send_train([bytes([4]) + bytes(stride - 1)] * count)
        harness.dropped(count)
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


# ---- superframes for the TUN


def flow(kind: Ip, sizes: list[int]) -> list[bytes]:
    """Packets of one TCP or UDP flow, from the peer, in sequence."""
    packets = []
    at = 0
    for number, size in enumerate(sizes):
        one = replace(inbound(kind), payload=random.Random(number).randbytes(size), ident=number)
        if isinstance(one, Tcp):
            one = replace(one, seq=at, flags=ACK | (PSH if number + 1 == len(sizes) else 0))
        packets.append(one.build())
        at += size
    return packets


@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=["tcp4", "tcp6", "udp4", "udp6"])
def test_flow_in_one_train_becomes_superframes_of_the_same_packets(kind: Ip, coalesce: bool) -> None:
    packets = flow(kind, [1000] * 40 + [500])
    with PlaneHarness(coalesce=coalesce) as harness:
        far = Far(harness)
        far.send_train([far.message(packet) for packet in packets])
        assert harness.read(41) == packets
        harness.counted(rx_packets=41, rx_tun_writes=1 if coalesce else 41)


def test_superframes_need_a_virtio_header() -> None:
    packets = flow(KINDS[0], [1000] * 40)
    with PlaneHarness(vnet_hdr_len=0) as harness:
        far = Far(harness)
        far.send_train([far.message(packet) for packet in packets])
        assert harness.read(40) == packets
        harness.counted(rx_tun_writes=40)
        assert not harness.plane.offloads()["coalesce_tcp"]


def test_udp_is_coalesced_only_where_the_tun_takes_it() -> None:
    packets = flow(KINDS[2], [1000] * 40)
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10, uso=False)
        assert harness.plane.offloads()["coalesce_tcp"]
        assert not harness.plane.offloads()["coalesce_udp"]
        far.send_train([far.message(packet) for packet in packets])
        assert harness.read(40) == packets
        harness.counted(rx_tun_writes=40)


def test_virtio_header_length_changes_at_run_time() -> None:
    with PlaneHarness(vnet_hdr_len=10) as harness:
        far = Far(harness)
        for vnet_hdr_len in (0, 12, 10, 0):
            harness.vnet_hdr_len = vnet_hdr_len
            harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)
            far.send(reply(vnet_hdr_len))
            assert harness.read_frame() == (bytes(vnet_hdr_len), reply(vnet_hdr_len))


@pytest.mark.dropin("5")
def test_full_tun_is_counted_and_survived() -> None:
    """The reader sleeps: what does not fit is lost, and what comes after it was emptied goes through."""
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.tun_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for number in range(100):
            far.send(reply(number, 1000))
        harness.until(lambda: harness.counter("rx_packets") == 100, "all opened")
        harness.until(lambda: harness.counter("rx_tun_error") + harness.counter("rx_tun_writes") == 100, "all tried")
        assert harness.counter("rx_tun_error") > 0
        for number in range(harness.counter("rx_tun_writes")):
            assert harness.read(1) == [reply(number, 1000)]
        far.send(reply(200))
        assert harness.read(1) == [reply(200)]
