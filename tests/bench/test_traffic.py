"""What is made of iperf3's reports."""

from typing import Any

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.traffic import tcp_throughput, udp_throughput

SIZE = 1000


def _end(*, sent: int, received: int, lost: int) -> dict[str, Any]:
    """The `end` of a report: iperf3 counts as lost only what is missing before the last datagram that arrived."""
    return {
        "sum": {"packets": sent, "lost_packets": lost, "seconds": 2.0},
        "sum_received": {"bytes": received * SIZE},
    }


def test_all_arrived() -> None:
    result = udp_throughput(_end(sent=500, received=500, lost=0), SIZE)
    assert (result.lost, result.received_bytes, result.bits_per_s) == (0.0, 500_000, 2_000_000.0)
    assert result.packets_per_s == 250.0


def test_datagrams_lost_behind_the_last_that_arrived_are_lost() -> None:
    result = udp_throughput(_end(sent=1000, received=900, lost=0), SIZE)
    assert round(result.lost, 9) == 0.1
    assert result.received_bytes == 900_000


def test_nothing_sent_is_a_loss() -> None:
    assert udp_throughput(_end(sent=0, received=0, lost=0), SIZE).lost == 1.0


def test_both_directions_of_tcp_are_summed() -> None:
    result = tcp_throughput(_both(900, 100), both=True)
    assert (result.received_bytes, result.bits_per_s) == (1000, 8000.0)


@pytest.mark.parametrize(("there", "back"), [(0, 0), (0, 100), (900, 0)])
def test_a_direction_that_carried_nothing_is_a_failure(there: int, back: int) -> None:
    with pytest.raises(CommandError, match="carried nothing"):
        tcp_throughput(_both(there, back), both=True)


def test_a_stream_that_carried_nothing_is_a_failure() -> None:
    with pytest.raises(CommandError, match="carried nothing"):
        tcp_throughput(_both(0, 0))


def _both(there: int, back: int) -> dict[str, Any]:
    return {
        name: {"bytes": count, "bits_per_second": count * 8.0}
        for name, count in (("sum_received", there), ("sum_received_bidir_reverse", back))
    }
