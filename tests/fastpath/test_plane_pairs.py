"""Two planes back to back: what goes into one TUN comes out of the other; and one plane with a thousand peers."""

import hashlib
import random
import select
import socket
from collections import defaultdict
from dataclasses import replace

import pytest

from pywg._fastpath import now
from tests.fastpath.packets import ACK, Tcp, Udp, cut, gso_vnet
from tests.fastpath.plane_harness import EVERYWHERE, MTU, PATIENCE, Far, PlaneHarness, Raw, inbound, key_of

FLOWS = [
    Tcp(ports=(1, 1)),
    Tcp(ports=(2, 2)),
    Tcp(ports=(3, 3), version=6),
    Udp(ports=(4, 4)),
    Udp(ports=(5, 5), version=6),
    Raw(),
    Raw(version=6),
]
IN_FLIGHT = 48
"""Packets on their way in one direction: few enough for a UDP buffer of the default size."""


class Pair:
    """Two harnesses, each the other's peer 1."""

    def __init__(self, *, udp_gso: bool = True, udp_gro: bool = True, coalesce: bool = True) -> None:
        self.harnesses = {name: PlaneHarness(udp_gso=udp_gso, udp_gro=udp_gro, coalesce=coalesce) for name in "ab"}
        for name, other in ("ab", "ba"):
            harness, far = self.harnesses[name], self.harnesses[other]
            harness.plane.add_peer(1)
            harness.plane.allow_many(1, EVERYWHERE)
            harness.plane.set_endpoint(1, (bytes([127, 0, 0, 1]), far.sockets.port, 0, b"", 0))
            harness.plane.install_keypair(
                1,
                ord(name),
                ord(other),
                key_of(name, other),
                key_of(other, name),
                initiator=name == "a",
                created_at=now(),
                confirmed=True,
            )
            harness.plane.use_keypair(1, ord(name))

    def close(self) -> None:
        for harness in self.harnesses.values():
            harness.close()


def make_packets(count: int, seed: int) -> list[bytes]:
    """Packets of a few flows: some of TCP's are as long as each other, in sequence, as bulk data is."""
    chance = random.Random(seed)
    noise = chance.randbytes(1 << 17)
    seq: dict[tuple[int, int], int] = defaultdict(int)
    ident: dict[tuple[int, int], int] = defaultdict(int)
    packets = []
    for number in range(count):
        flow = chance.choice(FLOWS[:2] * 4 + FLOWS)
        room = MTU - (20 if flow.version == 4 else 40) - 20
        length = chance.choice([room, room, room, chance.randrange(1, room)])
        at = chance.randrange(1 << 16)
        one = replace(flow, payload=noise[at : at + length], ident=number)
        if isinstance(one, Tcp):
            one = replace(one, seq=seq[flow.ports], flags=ACK, ident=ident[flow.ports])
            seq[flow.ports] += length
            ident[flow.ports] += 1
        packets.append(one.build())
    return packets


def flow_of(packet: bytes) -> bytes:
    """What tells flows apart: coalescing may move a packet past those of another flow."""
    if packet[0] >> 4 == 4:
        return packet[9:10] + packet[12:24]
    return packet[6:7] + packet[8:44]


def digest(packets: list[bytes]) -> dict[bytes, str]:
    """Of each flow the number, the order and every byte of its packets."""
    flows: dict[bytes, list[bytes]] = defaultdict(list)
    for packet in packets:
        # Raw packets have no ports: what stands there is payload.
        raw = packet[9 if packet[0] >> 4 == 4 else 6] == 253
        flows[packet[:1] if raw else flow_of(packet)].append(packet)
    return {flow: f"{len(all_)} {hashlib.sha256(b'|'.join(all_)).hexdigest()}" for flow, all_ in flows.items()}


def exchange(pair: Pair, packets: list[bytes]) -> dict[str, list[bytes]]:
    """Sends the packets both ways at once, never too many at a time. What came out where."""
    arrived: dict[str, list[bytes]] = {"a": [], "b": []}
    written = {"a": 0, "b": 0}
    while any(len(came) < len(packets) for came in arrived.values()):
        for name, other in ("ab", "ba"):
            while written[name] < len(packets) and written[name] - len(arrived[other]) < IN_FLIGHT:
                pair.harnesses[name].write(packets[written[name]])
                written[name] += 1
        ready, _, _ = select.select([harness.tun for harness in pair.harnesses.values()], [], [], PATIENCE)
        assert ready, {name: (len(arrived[name]), harness.nonzero()) for name, harness in pair.harnesses.items()}
        for name, harness in pair.harnesses.items():
            while not harness.tun_is_empty():
                arrived[name] += harness.read_packets()
    return arrived


@pytest.mark.parametrize(
    ("count", "udp_gso", "udp_gro", "coalesce"),
    [
        (20_000, True, True, True),
        (2_000, True, True, False),
        (2_000, True, False, True),
        (2_000, False, True, True),
        (2_000, False, False, False),
    ],
)
def test_all_packets_arrive_both_ways_in_order(count: int, udp_gso: bool, udp_gro: bool, coalesce: bool) -> None:
    packets = make_packets(count, seed=count)
    pair = Pair(udp_gso=udp_gso, udp_gro=udp_gro, coalesce=coalesce)
    try:
        arrived = exchange(pair, packets)
        for name, harness in pair.harnesses.items():
            assert digest(arrived[name]) == digest(packets)
            if not coalesce:
                assert arrived[name] == packets
            harness.counted(rx_packets=count, tx_packets=count, tx_datagrams=count)
            if count == 20_000:
                assert harness.counter("rx_tun_writes") < count  # some were merged
            assert harness.drops() == 0
        first, second = (harness.plane.peer_stats(1) for harness in pair.harnesses.values())
        assert first == (second[1], second[0])
    finally:
        pair.close()


def test_superframes_pass_through() -> None:
    """What one kernel handed over whole reaches the other one as the same packets."""
    pair = Pair()
    try:
        near, far = pair.harnesses["a"], pair.harnesses["b"]
        sent = 0
        for number in range(30):
            packet = replace(
                FLOWS[number % 5], payload=random.Random(number).randbytes(random.Random(number).randrange(1, 40_000))
            )
            near.write(packet.unfinished(), gso_vnet(packet, 1300))
            wanted = cut(packet, 1300)
            got: list[bytes] = []
            while len(got) < len(wanted):
                got += far.read_packets()
            assert got == wanted
            sent += len(wanted)
        far.counted(rx_packets=sent)
    finally:
        pair.close()


@pytest.mark.parametrize("shape", ["data", "keepalives"])
def test_a_thousand_peers(shape: str) -> None:
    """Each with its own prefix and keys, all behind one socket."""
    count = 1000
    with PlaneHarness() as harness:
        ips = [bytes([10, 100 + peer // 250, peer % 250, 1]) for peer in range(count)]
        fars: list[Far] = []
        for peer, ip in enumerate(ips):
            fars.append(Far(harness, peer, prefixes=[(ip, 32)], sock=fars[0].sock if fars else None))
        packets = [Raw(addresses=(bytes([10, 0, 0, 1]), ip), payload=bytes(peer)) for peer, ip in enumerate(ips)]
        for round_ in range(3):
            for start in range(0, count, 50):
                batch = range(start, start + 50)
                for peer in batch:
                    if shape == "data":
                        harness.write(packets[peer].build())
                    else:
                        assert harness.plane.send_keepalive(peer)
                for peer in batch:
                    inner = packets[peer].build() if shape == "data" else b""
                    assert fars[0].receive() == fars[peer].expect(round_, inner)
                for peer in batch:
                    fars[peer].send(inbound(packets[peer]).build() if shape == "data" else b"")
                if shape == "data":
                    assert harness.read(50) == [inbound(packets[peer]).build() for peer in batch]
        wires = [len(far.expect(0, packets[far.peer].build() if shape == "data" else b"")) for far in fars]
        wanted = [(3 * wire, 3 * wire) for wire in wires]
        harness.until(lambda: [harness.plane.peer_stats(peer) for peer in range(count)] == wanted, "each one's bytes")
        assert harness.drops() == 0


@pytest.mark.dropin("19", "ECN")
@pytest.mark.parametrize("outer", [0, 1, 2, 3])
@pytest.mark.parametrize("version", [4, 6])
def test_congestion_met_on_the_way_reaches_the_inner_packet(version: int, outer: int) -> None:
    """RFC 6040, figure 4, through sockets: the outer field is the one that the datagram came with. None is dropped."""
    table = {0: [0, 1, 2, 3], 1: [0, 1, 1, 3], 2: [0, 1, 2, 3], 3: [0, 3, 3, 3]}[outer]
    with PlaneHarness() as harness:
        far = Far(harness)
        far.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, outer)
        packets = [inbound(replace(Raw(version=version, payload=bytes(40)), tos=0xB8 | inner)) for inner in range(4)]
        for packet in packets:
            far.send(packet.build())
        wanted = [replace(packets[i], tos=0xB8 | ecn).build() for i, ecn in enumerate(table)]
        assert harness.read(len(wanted)) == wanted
        harness.counted(rx_packets=len(wanted))


@pytest.mark.dropin("19")
@pytest.mark.parametrize("vnet_hdr_len", [0, 10, 12])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("cause", ["tx_no_peer", "tx_no_endpoint"])
def test_inner_sender_is_told_what_can_not_be_reached(cause: str, version: int, vnet_hdr_len: int) -> None:
    """ICMP (v6) destination unreachable, to the sender, about its packet; and no more than a burst of them."""
    with PlaneHarness(vnet_hdr_len=vnet_hdr_len) as harness:
        Far(harness, prefixes=[] if cause == "tx_no_peer" else EVERYWHERE)
        harness.plane.set_endpoint(1, None)
        packet = Raw(version=version, payload=bytes(60)).build()
        harness.write(packet)
        header, answer = harness.read_frame()
        assert header == bytes(vnet_hdr_len)
        ip_len, addresses, kind = (20, 12, (3, 1)) if version == 4 else (40, 8, (1, 3))
        half = 4 if version == 4 else 16
        source = packet[addresses : addresses + half]
        assert answer[addresses + half : addresses + 2 * half] == source
        assert tuple(answer[ip_len : ip_len + 2]) == kind
        assert answer[ip_len + 8 :] == packet
        for _ in range(500):
            harness.write(packet)
        harness.until(lambda: harness.counter(cause) == 501, "all refused")
        answers = harness.counter("tx_unreachable_sent")
        assert 1 < answers < 250
        assert harness.counter("tx_unreachable_error") == 0


def test_a_refused_unreachable_is_counted_and_goes_through_the_tun() -> None:
    """And what the TUN refuses as well was not sent."""
    with PlaneHarness() as harness, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as refuses:
        harness.plane.attach_icmp(refuses.fileno(), -1)
        for version in (4, 6, 4):
            harness.write(Raw(version=version, payload=bytes(60)).build())
            assert harness.read_frame()[1][0] >> 4 == version
        harness.counted(tx_no_peer=3, tx_unreachable_sent=3, tx_unreachable_error=2)
        harness.tun.shutdown(socket.SHUT_RD)
        harness.write(Raw(version=6, payload=bytes(60)).build())
        harness.counted(tx_no_peer=4, tx_unreachable_sent=3, tx_unreachable_error=3)
