"""Lanes: several threads write to the TUN, and no packet overtakes another of its flow.

What is sent is of many flows, all mixed: TCP and UDP that merge, another protocol, and fragments, which may be of any
flow between their addresses. `overtaken` compares what came with what was sent.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pytest

from pywg._fastpath import Plane
from tests.fastpath.packets import Ip, Tcp, Udp, Vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, Raw
from tests.native.packets import segment

HELPERS = [0, 1, 2, 4, 7, 10, 14]
"""Threads in all: 2 to 16."""
HOSTS = 6
TAG_LEN = 6  # at a packet's end: its flow and its number there
US = bytes([10, 0, 0, 1])
PREFIXES = [(bytes([10, 7, 0, 0]), 16), (bytes.fromhex("fd") + bytes(15), 16)]
CHANGES = 10
MORE_FRAGMENTS = 0x2000


@dataclass
class Flow:
    """Packets of it in their order; even hosts are reached by IPv6."""

    number: int
    kind: str
    count: int = 0
    seq: int = 1

    @property
    def version(self) -> int:
        return 6 if self.number % 2 else 4

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        host = self.number % HOSTS
        if self.version == 6:
            return bytes.fromhex("fd") + bytes(14) + bytes([host]), bytes.fromhex("fd01") + bytes(14)
        return bytes([10, 7, 1, host]), US

    def next(self, length: int) -> bytes:
        body = random.Random(self.count).randbytes(length) + self.number.to_bytes(2, "big")
        body += self.count.to_bytes(4, "big")
        self.count += 1
        self.seq += len(body)
        return replace(self.like(body), version=self.version, addresses=self.addresses, ident=self.count).build()

    def like(self, body: bytes) -> Ip:
        ports = (1000 + self.number, 2000)
        if self.kind == "tcp":
            return Tcp(payload=body, ports=ports, seq=self.seq - len(body))
        if self.kind == "udp":
            return Udp(payload=body, ports=ports)
        if self.kind == "raw":
            return Raw(payload=body)
        fragment = (MORE_FRAGMENTS if self.count % 2 else 0) | 1 + self.count % 100
        return Raw(payload=bytes(8) + body, protocol=17, fragment=fragment)


def flows() -> list[Flow]:
    """Some of every kind between the same two addresses. Fragments: of IPv4, with the addresses of other flows."""
    kinds = itertools.cycle(["tcp"] * HOSTS + ["udp"] * HOSTS + ["raw"] * HOSTS)
    return [Flow(number, kind) for number, kind in zip(range(5 * HOSTS), kinds, strict=False)] + [
        Flow(100 * HOSTS + host, "fragment") for host in (0, 2)
    ]


def tag(packet: bytes) -> tuple[int, int]:
    """(flow, number) of a packet."""
    return int.from_bytes(packet[-TAG_LEN:-4], "big"), int.from_bytes(packet[-4:], "big")


def pair(packet: bytes) -> bytes:
    return packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]


def overtaken(sent: Iterable[bytes], came: Sequence[bytes]) -> list[str]:
    """Which flows have packets that overtook others, and which fragments what was between their addresses."""
    found = []
    orders: list[dict[int, list[bytes]]] = []
    around: list[dict[bytes, list[set[bytes]]]] = []
    for packets in (sent, came):
        orders.append(defaultdict(list))
        around.append(defaultdict(lambda: [set()]))
        for packet in packets:
            flow, _ = tag(packet)
            orders[-1][flow].append(packet)
            if flow >= 100 * HOSTS:
                around[-1][pair(packet)].append(set())
            else:
                around[-1][pair(packet)][-1].add(packet)
    for flow in orders[0].keys() | orders[1].keys():
        if orders[0][flow] != orders[1][flow]:
            found.append(f"flow {flow}: {[tag(packet)[1] for packet in orders[1][flow]]}")
    found += [f"fragments between {key.hex()}" for key in around[0] if around[0][key] != around[1][key]]
    return found


def test_what_overtakes_is_found() -> None:
    """The control of the tests below."""
    some = flows()
    sent = [flow.next(20) for _ in range(3) for flow in some]
    one, other, fragment = 0, len(some), len(some) - 2
    assert overtaken(sent, sent) == []
    for first, second in ((one, other), (fragment, 2 * HOSTS), (fragment, other)):
        came = list(sent)
        came.insert(first if first < second else second, came.pop(max(first, second)))
        assert overtaken(sent, came)
    assert overtaken(sent, sent[:-1])
    apart = [packet for packet in sent if tag(packet)[0] != 1] + [packet for packet in sent if tag(packet)[0] == 1]
    assert overtaken(sent, apart) == []


def send_trains(far: Far, some: Sequence[Flow], chance: random.Random, trains: int) -> list[bytes]:
    """Sends packets of these flows, mixed; those of a train have one length but for their headers."""
    sent: list[bytes] = []
    for _ in range(trains):
        size = chance.choice([20, 300, 1200])
        train = [chance.choice(some).next(size) for _ in range(chance.randrange(1, 30))]
        for _, alike in itertools.groupby(map(far.message, train), key=len):
            far.send_train(list(alike))
        sent += train
    return sent


@pytest.mark.parametrize("helpers", HELPERS)
@pytest.mark.parametrize("fragments", [False, True], ids=["whole", "fragments"])
def test_no_packet_overtakes_another_of_its_flow(helpers: int, fragments: bool) -> None:
    """Sent while the sockets are detached, in trains, so that many batches are on their way at once."""
    with PlaneHarness(helpers=helpers) as harness:
        far = Far(harness, prefixes=PREFIXES)
        chance = random.Random(helpers)
        some = flows() if fragments else flows()[:-2]
        total = 0
        for _ in range(5):
            harness.plane.detach_sockets()
            sent = send_trains(far, some, chance, 24)
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            came: list[bytes] = []
            while len(came) < len(sent):
                came += harness.read_packets()
            assert overtaken(sent, came) == []
            total += len(sent)
        harness.counted(rx_packets=total, rx_tun_error=0, rx_replayed=0, rx_forged=0)
        assert helpers == 0 or harness.counter("rx_shared") > 0
        assert harness.tun_is_empty()


@pytest.mark.parametrize("helpers", [1, 4, 14])
def test_the_tun_changes_while_lanes_write(helpers: int) -> None:
    """The control plane waits for the lanes: what was delivered is written as before the change.

    A virtio header of 12 bytes ends with zeros, where a packet begins with its version.
    """
    with PlaneHarness(helpers=helpers) as harness:
        far = Far(harness, prefixes=PREFIXES)
        chance, some = random.Random(helpers), flows()[:-2]
        for _ in range(6):
            harness.plane.detach_sockets()
            sent = send_trains(far, some, chance, 24)
            harness.plane.attach_sockets(harness.sockets.fd4, harness.sockets.fd6)
            for number in range(CHANGES):
                harness.plane.attach_tun(harness.tun_end.fileno(), vnet_hdr_len=(12, 10)[number % 2], uso=True)
            came: list[bytes] = []
            lengths: list[int] = []
            while len(came) < len(sent):
                data = harness.tun.recv(1 << 17)
                lengths.append(10 if data[10] else 12)
                header, frame = data[:10], data[lengths[-1] :]
                came += [frame] if Vnet.parse(header) == Vnet() else segment(header, frame, 65535)
            assert overtaken(sent, came) == []
            assert len(list(itertools.groupby([10, *lengths]))) <= 1 + CHANGES
        assert harness.tun_is_empty()


def test_turns_come_when_they_are_asked_for() -> None:
    for helpers, turns in ((0, False), (1, False), (1, True), (8, True)):
        plane = Plane(helpers=helpers, turns=turns)
        assert plane.turns == turns
        plane.close()
    plane = Plane(turns=True)
    assert not plane.turns  # there is nobody to wait for
    plane.close()


def test_lanes_come_with_threads() -> None:
    lanes = {}
    for helpers in (0, 1, 3, 4, 6, 7, 9, 10, 62):
        plane = Plane(helpers=helpers)
        lanes[helpers] = plane.lanes
        plane.close()
    assert lanes == {0: 1, 1: 1, 3: 1, 4: 2, 6: 2, 7: 3, 9: 3, 10: 4, 62: 4}
