"""Cryptokey routing, both ways (paper section 2): the destination chooses the peer, the inner source must be its."""

from dataclasses import replace

import pytest

from tests.fastpath.packets import ADDRESSES4, ADDRESSES6, Tcp, Udp
from tests.fastpath.plane_harness import EVERYWHERE, Far, PlaneHarness, Raw, inbound, raw_packet, reply

LOCAL4, FAR4 = ADDRESSES4
PREFIXES4 = [(bytes(4), 0), (bytes([10, 0, 0, 0]), 8), (bytes([10, 9, 0, 0]), 16), (bytes([10, 9, 8, 7]), 32)]
PREFIXES6 = [
    (bytes(16), 0),
    (b"\xfd" + bytes(15), 8),
    (b"\xfd\x09" + bytes(14), 16),
    (b"\xfd\x09" + bytes(13) + b"\7", 128),
]
DESTINATIONS4 = [bytes([11, 0, 0, 1]), bytes([10, 8, 0, 1]), bytes([10, 9, 8, 8]), bytes([10, 9, 8, 7])]
DESTINATIONS6 = [
    b"\xfc" + bytes(15),
    b"\xfd\x08" + bytes(14),
    b"\xfd\x09" + bytes(13) + b"\6",
    b"\xfd\x09" + bytes(13) + b"\7",
]


def packet_to(destination: bytes) -> bytes:
    version = 4 if len(destination) == 4 else 6
    return Raw(version=version, addresses=(bytes(len(destination)), destination), payload=bytes(40)).build()


def packet_from(source: bytes) -> bytes:
    version = 4 if len(source) == 4 else 6
    return Raw(version=version, addresses=(source, bytes(len(source))), payload=bytes(40)).build()


def four_peers(harness: PlaneHarness) -> list[Far]:
    return [
        Far(harness, peer, prefixes=[prefix4, prefix6])
        for peer, (prefix4, prefix6) in enumerate(zip(PREFIXES4, PREFIXES6, strict=True))
    ]


def test_packet_without_an_owner_is_counted() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.write(packet_to(bytes([10, 0, 0, 3])))
        harness.write(packet_to(b"\xfe" + bytes(15)))
        harness.counted(tx_no_peer=2)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))


def test_peer_without_an_endpoint_is_counted_and_asks_for_nothing() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        harness.plane.set_endpoint(1, None)
        assert harness.plane.endpoint(1) is None
        harness.write(raw_packet(60))
        harness.counted(tx_no_endpoint=1)
        far.install()
        harness.plane.use_keypair(1, far.local_index)
        harness.write(raw_packet(60))
        harness.counted(tx_no_endpoint=2)
        assert not harness.plane.send_keepalive(1)
        assert not harness.plane.send_to_peer(1, b"hello")
        harness.drain()
        assert harness.happened == []
        assert harness.plane.peer_stats(1) == (0, 0)


@pytest.mark.parametrize("destinations", [DESTINATIONS4, DESTINATIONS6], ids=["v4", "v6"])
def test_longest_prefix_wins_outbound(destinations: list[bytes]) -> None:
    with PlaneHarness() as harness:
        fars = four_peers(harness)
        for far, destination in zip(fars, destinations, strict=True):
            harness.write(packet_to(destination))
            assert far.receive() == far.expect(0, packet_to(destination))
        assert all(far.is_silent() for far in fars)


@pytest.mark.dropin("16")
@pytest.mark.known_bug("A peer may send from a subnet")
@pytest.mark.parametrize("sources", [DESTINATIONS4, DESTINATIONS6], ids=["v4", "v6"])
def test_inner_source_has_to_be_the_senders(sources: list[bytes]) -> None:
    """Known bug elsewhere: a peer could send from a subnet that a more specific peer owns."""
    with PlaneHarness() as harness:
        fars = four_peers(harness)
        for far in fars:
            for source in sources:
                far.send(packet_from(source))
        arrived = [harness.read(1)[0] for _ in fars]
        # One socket a peer: what each sent arrives in order, and just its own source gets through.
        assert sorted(arrived) == sorted(packet_from(source) for source in sources)
        harness.counted(rx_source_not_allowed=12, rx_packets=4)
        for peer, far in enumerate(fars):
            assert harness.plane.peer_stats(peer)[1] == len(far.message(packet_from(sources[peer])))


def test_source_that_nobody_owns_is_dropped() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(packet_from(bytes([10, 0, 0, 9])))
        far.send(packet_from(b"\xfe" + bytes(15)))
        harness.counted(rx_source_not_allowed=2)
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


def test_packet_from_a_foreign_source_is_authentic_all_the_same() -> None:
    """It is dropped for what it says, yet its peer is alive and its counter is used up."""
    with PlaneHarness() as harness:
        far = Far(harness)
        message = far.message(packet_from(bytes([10, 0, 0, 9])))
        far.send_datagram(message)
        harness.counted(rx_source_not_allowed=1)
        assert harness.plane.activity(1)[2] > 0
        far.send_datagram(message)
        harness.counted(rx_replayed=1)
        assert harness.plane.peer_stats(1)[1] == 0


def test_prefix_moves_to_the_peer_that_is_given_it_last() -> None:
    with PlaneHarness() as harness:
        first, second = Far(harness, 1), Far(harness, 2, prefixes=[])
        harness.write(raw_packet(60))
        assert first.receive() == first.expect(0, raw_packet(60))
        harness.plane.allow_many(2, [(FAR4, 32)])
        assert harness.plane.allowed_ips(2) == [(FAR4, 32)]
        assert harness.plane.allowed_ips(1) == [(ADDRESSES6[1], 128)]
        harness.write(raw_packet(60))
        assert second.receive() == second.expect(0, raw_packet(60))
        first.send(reply(1))
        harness.counted(rx_source_not_allowed=1)
        second.send(reply(2))
        assert harness.read(1) == [reply(2)]


def test_disallowed_prefix_leads_nowhere_and_back_to_the_wider_one() -> None:
    with PlaneHarness() as harness:
        narrow, wide = Far(harness, 1), Far(harness, 2, prefixes=EVERYWHERE)
        harness.plane.disallow(1, FAR4, 24)  # not what it has
        harness.plane.disallow(2, FAR4, 32)  # not its own
        harness.write(raw_packet(60))
        assert narrow.open().counter == 0
        harness.plane.disallow(1, FAR4, 32)
        harness.write(raw_packet(60))
        assert wide.open().counter == 0
        harness.plane.clear_allowed(2)
        assert harness.plane.allowed_ips(2) == []
        harness.write(raw_packet(60))
        harness.counted(tx_no_peer=1)
        harness.write(raw_packet(60, 6))
        assert narrow.open().counter == 1


def test_removed_peers_prefixes_go_with_it() -> None:
    with PlaneHarness() as harness:
        Far(harness, 1)
        wide = Far(harness, 2, prefixes=EVERYWHERE)
        harness.plane.remove_peer(1)
        harness.write(raw_packet(60))
        assert wide.receive() == wide.expect(0, raw_packet(60))


def test_host_bits_do_not_count() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, prefixes=[(bytes([10, 9, 8, 7]), 16)])
        assert harness.plane.allowed_ips(1) == [(bytes([10, 9, 0, 0]), 16)]
        harness.write(packet_to(bytes([10, 9, 1, 1])))
        assert far.open().counter == 0


@pytest.mark.parametrize("prefix", [(bytes(4), 33), (bytes(4), -1), (bytes(16), 129), (bytes(5), 8), (b"", 0)])
def test_what_is_no_prefix_is_refused_whole(prefix: tuple[bytes, int]) -> None:
    with PlaneHarness() as harness:
        Far(harness, prefixes=[])
        with pytest.raises(ValueError, match="prefix"):
            harness.plane.allow_many(1, [(bytes(4), 8), prefix])
        with pytest.raises(ValueError, match="prefix"):
            harness.plane.disallow(1, *prefix)
        assert harness.plane.allowed_ips(1) == []


def test_thousands_of_prefixes_go_in_while_traffic_flows() -> None:
    with PlaneHarness() as harness:
        far, other = Far(harness, 1), Far(harness, 2, prefixes=[])
        prefixes = [(bytes([20, i >> 8, i & 0xFF, 0]), 24) for i in range(5000)]
        harness.plane.allow_many(2, prefixes)
        assert harness.plane.allowed_ips(2) == prefixes
        harness.write(packet_to(bytes([20, 4999 >> 8, 4999 & 0xFF, 1])))
        assert other.open().counter == 0
        harness.write(raw_packet(60))
        assert far.open().counter == 0


@pytest.mark.parametrize("kind", [Tcp(), Tcp(version=6), Udp(), Udp(version=6)], ids=["tcp4", "tcp6", "udp4", "udp6"])
def test_coalescing_does_not_mix_peers(kind: Tcp) -> None:
    """Two peers that send the same flow in turn: nobody's packets get lost or changed."""
    with PlaneHarness() as harness:
        fars = [Far(harness, 1), Far(harness, 2, prefixes=[])]
        packets = [inbound(replace(kind, payload=bytes([i]) * 100, ident=i)).build() for i in range(20)]
        for packet in packets:
            fars[0].send(packet)
            fars[1].send(packet)
        assert harness.read(20) == packets
        harness.counted(rx_source_not_allowed=20)
