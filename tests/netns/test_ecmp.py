"""Two tunnels to one gateway, with a route over both: docs/performance.md, More than one tunnel carries."""

import contextlib
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.site import poll
from bench.tunnel.transfer import exchange
from tests.pages import blocks_in

from .several import Machine, join, ping, two_machines
from .tcp_counters import late_segments

FLOWS, ROUNDS, BURST = 48, 60, 10
DATAGRAM_LEN = 1000
SO_RCVBUFFORCE = 33
PATIENCE_S = 20.0
EXCHANGED = 8 << 20
NEAR4, FAR4 = "10.9.100.1", "10.9.200.1"
NEAR6, FAR6 = "fd00:9:100::1", "fd00:9:200::1"
PORT = 7100


@pytest.fixture(params=["1", "2"], ids=["one shard each", "two shards each"])
def gateways(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines of two tunnels each, by what the page says; what is behind either is reached over both."""
    page = (ROOT / "docs/performance.md").read_text()
    (block,) = (block for block in blocks_in(page) if "nexthop" in block)
    start, policy, *routes = block.splitlines()
    assert start == "pywg run wg0 wg1", "what `start` does"
    with two_machines(tmp_path, 2) as (near, far):
        for machine in (near, far):
            machine.start("--shards", request.param)
            assert {machine.stats(name)["shards"] for name in machine.names} == {request.param}
            machine.namespace.run(*policy.split())
        for number in range(2):
            join(near, far, number, behind=(f"{NEAR4}/32,{NEAR6}/128", f"{FAR4}/32,{FAR6}/128"))
            ping(near, number)
        for machine, own, others in ((near, (NEAR4, NEAR6), (FAR4, FAR6)), (far, (FAR4, FAR6), (NEAR4, NEAR6))):
            here = {
                "wg0": machine.names[0],
                "wg1": machine.names[1],
                "10.2.0.0/16": others[0],
                "fd00:2::/48": others[1],
            }
            for address, route in zip(own, routes, strict=True):
                words = [here.get(word, word) for word in route.split()]
                source = words.index("nexthop")
                machine.namespace.run(
                    "ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])
                )
                machine.namespace.run(*words[:source], "src", address, *words[source:])
        yield near, far


class Flows:
    """UDP flows from the near machine to the far one, whose datagrams have numbers."""

    def __init__(self, near: Machine, far: Machine, address: str) -> None:
        self._stack = contextlib.ExitStack()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._to = self._stack.enter_context(far.namespace.socket(family, socket.SOCK_DGRAM))
        self._to.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._to.settimeout(PATIENCE_S)
        self._to.bind((address, PORT))
        self._from = [self._stack.enter_context(near.namespace.socket(family, socket.SOCK_DGRAM)) for _ in range(FLOWS)]
        for sock in self._from:
            sock.connect((address, PORT))

    def __enter__(self) -> "Flows":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self) -> list[tuple[int, int]]:
        """(flow, number) of all that arrives, in its order, of ROUNDS datagrams a flow."""
        came = []
        for first in range(0, ROUNDS, BURST):
            for number in range(first, first + BURST):
                for sock in self._from:
                    sock.send(number.to_bytes(2, "big").ljust(DATAGRAM_LEN, b"."))
            for _ in range(BURST * FLOWS):
                data, source = self._to.recvfrom(2 * DATAGRAM_LEN)
                came.append((source[1], int.from_bytes(data[:2], "big")))
        return came


def out_of_order(came: Iterable[tuple[int, int]]) -> list[int]:
    """Flows of which a datagram is missing, comes twice or comes after a later one."""
    flows: dict[int, list[int]] = defaultdict(list)
    for flow, number in came:
        flows[flow].append(number)
    return [flow for flow, numbers in flows.items() if numbers != list(range(ROUNDS))]


def test_what_is_out_of_order_is_found() -> None:
    whole = [(flow, number) for number in range(ROUNDS) for flow in (1, 2)]
    assert out_of_order(whole) == []
    swapped = [*whole[:2], *whole[4:6], *whole[2:4], *whole[6:]]
    assert out_of_order(swapped) == [1, 2]
    assert out_of_order(whole[:-1]) == [2]


def received(machine: Machine) -> list[int]:
    """Bytes, of each interface."""
    shown = [machine.namespace.run("wg", "show", name, "transfer").split() for name in machine.names]
    return [int(fields[1]) for fields in shown]


def carried(near: Machine, far: Machine, address: str) -> list[int]:
    """How many datagrams of all flows went over each interface. None of them was lost or came out of order."""
    before = received(far)
    with Flows(near, far, address) as flows:
        came = flows.send()
    assert len(came) == FLOWS * ROUNDS
    assert out_of_order(came) == []
    return [(now - was) // DATAGRAM_LEN for now, was in zip(received(far), before, strict=True)]


def test_both_carry_and_one_goes_on_alone(gateways: tuple[Machine, Machine]) -> None:
    near, far = gateways
    for address in (FAR4, FAR6):
        assert min(carried(near, far, address)) >= FLOWS // 8 * ROUNDS
    exchange(near.namespace, far.namespace, FAR4, EXCHANGED)
    for receiver, sender in ((far, near), (near, far)):
        assert late_segments(receiver.namespace, sender.namespace) == 0
    for machine in gateways:
        machine.namespace.run("ip", "link", "set", machine.names[0], "down")
    for address in (FAR4, FAR6):
        first, second = carried(near, far, address)
        assert first == 0
        assert second >= FLOWS * ROUNDS
        exchange(near.namespace, far.namespace, address, EXCHANGED)
    for machine in gateways:
        machine.namespace.run("ip", "link", "set", machine.names[0], "up")
    poll(lambda: "dead" not in near.namespace.run("ip", "route"), "the route has both again")
    ping(near, 0)  # a session: without, 128 packets wait for one, and no more
    assert min(carried(near, far, FAR4)) >= FLOWS // 8 * ROUNDS
    for machine in gateways:
        for name in machine.names:
            stats = machine.stats(name)
            assert (stats["counter_rx_replayed"], stats["counter_rx_forged"]) == ("0", "0")
