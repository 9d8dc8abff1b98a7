"""Outbound: what leaves the UDP sockets for what was read from the TUN, byte for byte (paper section 5.4.6)."""

import socket
import struct
from dataclasses import replace

import pytest

from tests.fastpath.packets import Udp, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, Raw, addr_of, pad, raw_packet, seal

FAMILIES = [socket.AF_INET, socket.AF_INET6]
IP_RECVTOS, IPV6_RECVTCLASS = 13, 66


def tx_bytes(harness: PlaneHarness, peer: int = 1) -> int:
    return harness.plane.peer_stats(peer)[0]


@pytest.mark.known_bug("Missing 16-byte padding")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", [4, 6])
def test_every_size_up_to_the_mtu(family: socket.AddressFamily, version: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=family)
        packets = [raw_packet(length, version, length) for length in range(20 if version == 4 else 40, harness.mtu + 1)]
        wire = 0
        for start in range(0, len(packets), 64):
            batch = packets[start : start + 64]
            for packet in batch:
                harness.write(packet)
            for counter, packet in enumerate(batch, start):
                datagram = far.receive()
                assert datagram == far.expect(counter, packet)
                wire += len(datagram)
        harness.until(lambda: tx_bytes(harness) == wire, "all bytes counted, and no more")
        harness.counted(tx_datagrams=len(packets), tx_packets=len(packets), tx_seal_failed=0, tx_send_error=0)


@pytest.mark.parametrize("udp_gso", [True, False])
@pytest.mark.parametrize("vnet_hdr_len", [0, 10, 12])
def test_one_batch_of_every_mixture_of_sizes(vnet_hdr_len: int, udp_gso: bool) -> None:
    """Equal sizes in a row share a send, a shorter one ends it, a longer one starts the next."""
    lengths = [100] * 5 + [90] + [100] + [100, 1420, 1420, 1413, 1419, 1420, 33, 40, 48, 47, 20, 20, 20] + [1420] * 40
    with PlaneHarness(vnet_hdr_len=vnet_hdr_len, udp_gso=udp_gso) as harness:
        far = Far(harness)
        harness.plane.detach_tun()
        packets = [raw_packet(length, 4, i) for i, length in enumerate(lengths)]
        for packet in packets:
            harness.write(packet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=vnet_hdr_len)
        for counter, packet in enumerate(packets):
            assert far.receive() == far.expect(counter, packet)
        wire = sum(32 + len(pad(packet)) for packet in packets)
        harness.until(lambda: tx_bytes(harness) == wire, "all bytes counted, and no more")


def test_equal_packets_of_a_batch_leave_in_one_send() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.detach_tun()
        packets = [raw_packet(900, 4, i) for i in range(40)]
        for packet in packets:
            harness.write(packet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        assert [far.receive() for _ in packets] == [far.expect(i, packet) for i, packet in enumerate(packets)]
        harness.counted(tx_datagrams=40, tx_sends=1)
        assert harness.batches() == {"tx_64": 1}
        assert harness.plane.offloads()["udp_gso4"]


@pytest.mark.dropin("12")
@pytest.mark.known_bug("Missing 16-byte padding")
@pytest.mark.parametrize("mtu", [576, 1279, 1280, 1281, 1419, 1421, 1500, 9000])
def test_padding_stops_at_the_mtu(mtu: int) -> None:
    with PlaneHarness(mtu=mtu) as harness:
        far = Far(harness)
        for counter, length in enumerate(range(mtu - 17, mtu + 1)):
            packet = raw_packet(length)
            harness.write(packet)
            datagram = far.receive()
            assert len(datagram) <= 32 + mtu
            assert datagram == seal(far.key, far.remote_index, counter, pad(packet, mtu))


def test_mtu_changes_at_run_time() -> None:
    with PlaneHarness(mtu=1420) as harness:
        far = Far(harness)
        harness.write(raw_packet(1401))
        assert len(far.receive()) == 32 + 1408
        harness.plane.set_mtu(1404)
        harness.write(raw_packet(1401))
        assert len(far.receive()) == 32 + 1404


def test_packet_longer_than_the_mtu_goes_out_without_padding() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(raw_packet(1423))
        assert far.open().text == raw_packet(1423)


def test_keepalive_is_an_empty_transport_message() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        assert harness.plane.send_keepalive(1)
        datagram = far.receive()
        assert len(datagram) == 32
        assert datagram == seal(far.key, far.remote_index, 0, b"")
        assert tx_bytes(harness) == 32


def test_keepalives_and_data_share_the_counter() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        for counter in range(0, 20, 2):
            harness.write(raw_packet(60))
            assert far.receive() == far.expect(counter, raw_packet(60))
            assert harness.plane.send_keepalive(1)
            assert far.receive() == far.expect(counter + 1, b"")


def test_new_keypair_starts_its_counter_at_zero() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        for counter in range(3):
            harness.write(raw_packet(60))
            assert far.open().counter == counter
        far.local_index += 1
        far.remote_index += 1
        far.key = bytes(reversed(far.key))
        far.install()
        harness.plane.use_keypair(1, far.local_index)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


def test_what_is_too_long_for_udp_is_counted_and_the_next_one_goes() -> None:
    with PlaneHarness(mtu=65535) as harness:
        far = Far(harness)
        harness.write(raw_packet(65535))
        harness.counted(tx_message_too_long=1)
        longest = raw_packet(65507 - 32 - 3)
        harness.write(longest)
        opened = far.open()
        assert opened.text == pad(longest, 65535)
        assert opened.counter == 1  # the first one's was used up, and never comes back


@pytest.mark.parametrize(
    "frame",
    [
        *(bytes([0x45]) + bytes(length - 1) for length in range(1, 20)),
        *(bytes([0x60]) + bytes(length - 1) for length in (1, 20, 39)),
        bytes(100),
        b"\x55" + bytes(99),
        b"\xff" * 100,
    ],
    ids=lambda frame: f"{frame[0]:#x}-{len(frame)}",
)
def test_what_is_no_ip_packet_is_counted(frame: bytes) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, prefixes=[(bytes(4), 0), (bytes(16), 0)])
        harness.write(frame)
        harness.counted(tx_malformed=1)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


@pytest.mark.parametrize("udp_gso", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("version", [4, 6])
def test_outer_ecn_is_the_inner_one_and_dscp_stays_inside(
    version: int, family: socket.AddressFamily, udp_gso: bool
) -> None:
    """RFC 6040, normal mode on the way in; one batch holds all of them, in order."""
    tos = [0, 1, 2, 3, 0xB8, 0xB9, 0xBA, 0xBB, 3, 3, 0, 0, 2]
    with PlaneHarness(udp_gso=udp_gso) as harness:
        far = Far(harness, family=family)
        if family == socket.AF_INET:
            far.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        else:
            far.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
        harness.plane.detach_tun()
        packets = [replace(Raw(version=version, payload=bytes(50)), tos=one).build() for one in tos]
        for packet in packets:
            harness.write(packet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        for counter, (packet, inner) in enumerate(zip(packets, tos, strict=True)):
            datagram, control, _, _ = far.sock.recvmsg(2048, 256)
            assert datagram == far.expect(counter, packet)
            outer = struct.unpack("B", control[0][2][:1])[0]
            assert outer == inner & 3


def test_datagrams_of_two_peers_keep_to_their_own_sessions() -> None:
    with PlaneHarness() as harness:
        fars = [Far(harness, peer, prefixes=[(bytes([10, 0, peer, 0]), 24)]) for peer in (1, 2)]
        harness.plane.detach_tun()
        sent: dict[int, list[bytes]] = {1: [], 2: []}
        for number in range(60):
            peer = 1 + (number // 3) % 2
            packet = Raw(addresses=(bytes([10, 0, 0, 1]), bytes([10, 0, peer, number])), payload=bytes(80)).build()
            sent[peer].append(packet)
            harness.write(packet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        for far in fars:
            for counter, packet in enumerate(sent[far.peer]):
                assert far.receive() == far.expect(counter, packet)
            assert far.is_silent()


def test_more_peers_than_runs_in_a_batch() -> None:
    """70 packets to 70 peers: more than one batch can plan or queue."""
    with PlaneHarness() as harness:
        sock = None
        fars = []
        for peer in range(70):
            fars.append(Far(harness, peer, prefixes=[(bytes([10, 1, peer, 0]), 24)], sock=sock))
            sock = fars[0].sock
        harness.plane.detach_tun()
        packets = [
            Raw(addresses=(bytes(4), bytes([10, 1, n % 70, n // 70])), payload=bytes(n)).build() for n in range(140)
        ]
        for packet in packets:
            harness.write(packet)
        harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=10)
        for n, packet in enumerate(packets):
            assert fars[0].receive() == fars[n % 70].expect(n // 70, packet)


@pytest.mark.dropin("5", "18")
@pytest.mark.parametrize("udp_gso", [True, False])
def test_bytes_that_could_not_be_sent_are_not_counted(udp_gso: bool) -> None:
    """As Linux and wireguard-go count. A broadcast address is refused (EACCES), of all messages the same."""
    packet = Udp(payload=bytes(5000))
    with PlaneHarness(udp_gso=udp_gso) as harness:
        far = Far(harness)
        harness.plane.set_endpoint(1, (bytes([255] * 4), 9, 0, b"", 0))
        harness.write(raw_packet(60))
        harness.write(packet.unfinished(), gso_vnet(packet, 1000))
        harness.until(lambda: harness.counter("tx_send_error") >= 2, "refused")
        assert not harness.plane.send_to_peer(1, b"hello")
        assert harness.plane.peer_stats(1) == (0, 0)
        harness.plane.set_endpoint(1, addr_of(far.sock))
        harness.write(raw_packet(60))
        length = len(far.receive())
        harness.until(lambda: harness.plane.peer_stats(1) == (length, 0), "what was sent is counted")
        assert harness.plane.send_to_peer(1, b"hello")
        assert harness.plane.peer_stats(1) == (length + 5, 0)
