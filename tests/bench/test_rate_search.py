"""The search for the highest rate, on tunnels whose capacity is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tunnel.rate_search import highest_rate
from bench.tunnel.traffic import Throughput

STEPS = 8


class Tunnel:
    """Carries `capacity` bits/s and loses the rest; its sender can't offer more than `sender`."""

    def __init__(self, capacity: float, sender: float = float("inf")) -> None:
        self._capacity, self._sender = capacity, sender
        self.offered: list[float] = []

    def offer(self, bits_per_s: float) -> Throughput:
        self.offered.append(bits_per_s)
        sent = min(bits_per_s, self._sender)
        arrived = min(sent, self._capacity)
        return Throughput(arrived, int(arrived), 1 - arrived / sent)


@given(capacity=st.floats(1e8, 1e10))
def test_finds_the_capacity(capacity: float) -> None:
    tunnel = Tunnel(capacity)
    best = highest_rate(tunnel.offer, 1e9, STEPS)
    assert 0.85 * capacity <= best.bits_per_s <= capacity
    assert len(tunnel.offered) <= STEPS


def test_a_sender_that_offers_less_is_the_limit() -> None:
    tunnel = Tunnel(1e10, sender=3e9)
    assert highest_rate(tunnel.offer, 1e9, STEPS).bits_per_s == 3e9
    assert tunnel.offered == [1e9, 2e9, 4e9]


def test_nothing_but_loss() -> None:
    def offer(bits_per_s: float) -> Throughput:
        return Throughput(bits_per_s / 2, 1, 0.5)

    assert highest_rate(offer, 1e9, STEPS) == Throughput(0.0, 0)


def test_a_tunnel_that_carries_nothing_at_a_rate_is_asked_for_less() -> None:
    offered = []

    def offer(bits_per_s: float) -> Throughput:
        offered.append(bits_per_s)
        return Throughput(bits_per_s, 1) if bits_per_s < 1e8 else Throughput(0.0, 0, 1.0)

    assert highest_rate(offer, 1e9, STEPS).bits_per_s == pytest.approx(1e8, rel=0.5)
    assert all(rate > 0 for rate in offered)
