"""Inbound: what reaches the TUN for what came over UDP (paper section 5.4.6), alone and in GRO trains."""

import random
import socket
from dataclasses import replace

import pytest

from pywg._fastpath import CONFIRMED
from tests.fastpath.packets import ACK, PSH, Ip, Tcp, Udp
from tests.fastpath.plane_harness import Bed, Far, Raw, inbound, reply, seal

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
    with Bed(vnet_hdr_len=vnet_hdr_len) as bed:
        far = Far(bed, family=family)
        packets = [inbound_raw(length, version, length) for length in range(20 if version == 4 else 40, bed.mtu + 1)]
        wire = 0
        for start in range(0, len(packets), 64):
            batch = packets[start : start + 64]
            for packet in batch:
                message = far.message(packet)
                wire += len(message)
                far.send_datagram(message)
            for packet in batch:
                assert bed.read_frame() == (bytes(vnet_hdr_len), packet)
        assert bed.plane.peer_stats(1) == (0, wire)
        bed.counted(rx_packets=len(packets), rx_datagrams=len(packets), rx_tun_error=0)


def test_more_padding_than_we_would_use_is_cut_off() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send_datagram(seal(far.send_key, far.local_index, 0, reply(1) + bytes(1000)))
        assert bed.read(1) == [reply(1)]


def test_padding_may_be_missing() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send_datagram(seal(far.send_key, far.local_index, 0, reply(1, 61)))
        assert bed.read(1) == [reply(1, 61)]


def test_longest_datagram() -> None:
    with Bed() as bed:
        far = Far(bed)
        packet = inbound_raw(65507 - 32, 4, 1)
        far.send(packet)
        assert bed.read(1) == [packet]


def test_keepalive_is_counted_and_not_delivered() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send(b"")
        bed.counted(rx_keepalives=1)
        bed.until(lambda: bed.plane.peer_stats(1) == (0, 32), "its 32 bytes")
        far.send(reply(1))
        assert bed.read(1) == [reply(1)]


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
    with Bed() as bed:
        far = Far(bed, prefixes=[(bytes(4), 0), (bytes(16), 0)])
        far.send_datagram(seal(far.send_key, far.local_index, 0, text))
        bed.counted(rx_not_ip=1)
        far.send(reply(1), 1)
        assert bed.read(1) == [reply(1)]


def test_shortest_ip_packets() -> None:
    with Bed() as bed:
        far = Far(bed)
        packets = [inbound_raw(20, 4, 0), inbound_raw(40, 6, 0)]
        for packet in packets:
            far.send(packet)
        assert bed.read(2) == packets


def test_first_authentic_packet_confirms_once() -> None:
    with Bed() as bed:
        far = Far(bed, confirmed=False, initiator=False)
        bed.forget()
        far.send_datagram(far.message(b"")[:-1] + b"?")
        bed.counted(rx_forged=1)
        bed.drain()
        assert bed.happened == []
        far.send(b"")
        bed.heard(1, CONFIRMED)
        [(_, _, index)] = [one for one in bed.happened if one[1] & CONFIRMED]
        assert index == far.local_index
        bed.forget()
        for number in range(5):
            far.send(reply(number))
        assert len(bed.read(5)) == 5
        bed.drain()
        assert not bed.flags_of(1) & CONFIRMED


def test_initiators_keypair_is_not_reported() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send(reply(1))
        bed.read(1)
        bed.drain()
        assert not bed.flags_of(1) & CONFIRMED


# ---- trains


@pytest.mark.parametrize("udp_gro", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_train_of_datagrams(family: socket.AddressFamily, udp_gro: bool) -> None:
    with Bed(udp_gro=udp_gro) as bed:
        far = Far(bed, family=family)
        packets = [reply(i, 600) for i in range(30)] + [reply(30, 100)]
        far.send_train([far.message(packet) for packet in packets])
        assert bed.read(31) == packets
        bed.counted(rx_datagrams=31)


def test_train_arrives_in_one_receive() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send_train([far.message(reply(i, 600)) for i in range(30)])
        assert bed.read(30) == [reply(i, 600) for i in range(30)]
        bed.counted(rx_receives=1, rx_datagrams=30)


@pytest.mark.known_bug("An oversized GRO segment")
@pytest.mark.parametrize("udp_gro", [True, False])
def test_bad_datagrams_in_a_train_do_not_harm_the_others(udp_gro: bool) -> None:
    """Known bug elsewhere: one oversized GRO segment ended the receive task."""
    with Bed(udp_gro=udp_gro) as bed:
        far = Far(bed)
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
        assert bed.read(34) == good
        bed.dropped(6)
        assert bed.counter("rx_datagrams") == 40


@pytest.mark.known_bug("An oversized GRO segment")
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 31, 32, 33, 1000, 1473, 9000, 32000])
def test_train_of_any_stride(stride: int) -> None:
    """Also of datagrams that are longer than any that the tunnel's MTU allows for."""
    with Bed() as bed:
        far = Far(bed)
        count = min(60, 65_000 // stride)
        far.send_train([bytes([4]) + bytes(stride - 1)] * count)
        bed.dropped(count)
        far.send(reply(1))
        assert bed.read(1) == [reply(1)]


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
    with Bed(coalesce=coalesce) as bed:
        far = Far(bed)
        far.send_train([far.message(packet) for packet in packets])
        assert bed.read(41) == packets
        bed.counted(rx_packets=41, rx_tun_writes=1 if coalesce else 41)


def test_superframes_need_a_virtio_header() -> None:
    packets = flow(KINDS[0], [1000] * 40)
    with Bed(vnet_hdr_len=0) as bed:
        far = Far(bed)
        far.send_train([far.message(packet) for packet in packets])
        assert bed.read(40) == packets
        bed.counted(rx_tun_writes=40)
        assert not bed.plane.offloads()["coalesce_tcp"]


def test_udp_is_coalesced_only_where_the_tun_takes_it() -> None:
    packets = flow(KINDS[2], [1000] * 40)
    with Bed() as bed:
        far = Far(bed)
        bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=10, uso=False)
        assert bed.plane.offloads()["coalesce_tcp"]
        assert not bed.plane.offloads()["coalesce_udp"]
        far.send_train([far.message(packet) for packet in packets])
        assert bed.read(40) == packets
        bed.counted(rx_tun_writes=40)


def test_virtio_header_length_changes_at_run_time() -> None:
    with Bed(vnet_hdr_len=10) as bed:
        far = Far(bed)
        for vnet_hdr_len in (0, 12, 10, 0):
            bed.vnet_hdr_len = vnet_hdr_len
            bed.plane.attach_tun(bed.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)
            far.send(reply(vnet_hdr_len))
            assert bed.read_frame() == (bytes(vnet_hdr_len), reply(vnet_hdr_len))


@pytest.mark.dropin("5")
def test_full_tun_is_counted_and_survived() -> None:
    """The reader sleeps: what does not fit is lost, and what comes after it was emptied goes through."""
    with Bed() as bed:
        far = Far(bed)
        bed.tun_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for number in range(100):
            far.send(reply(number, 1000))
        bed.until(lambda: bed.counter("rx_packets") == 100, "all opened")
        bed.until(lambda: bed.counter("rx_tun_error") + bed.counter("rx_tun_writes") == 100, "all tried")
        assert bed.counter("rx_tun_error") > 0
        for number in range(bed.counter("rx_tun_writes")):
            assert bed.read(1) == [reply(number, 1000)]
        far.send(reply(200))
        assert bed.read(1) == [reply(200)]
