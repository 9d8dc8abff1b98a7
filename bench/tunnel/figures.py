"""What the bench measures: every figure's key, title, unit, how it is shown, and which direction is better."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. A value times `scale` is in `unit`, and is shown with `digits` decimals."""

    key: str
    title: str
    unit: str
    scale: float
    digits: int
    more_is_better: bool = False

    def show(self, value: float) -> str:
        """The value in the figure's unit, without it."""
        return f"{value * self.scale:.{self.digits}f}"


def _rate(key: str, title: str) -> Figure:
    return Figure(key, title, "Gb/s", 1e-9, 2, more_is_better=True)


FIGURES: Sequence[Figure] = (
    _rate("tcp_1", "TCP, 1 stream"),
    _rate("tcp_4", "TCP, 4 streams"),
    _rate("tcp_reverse", "TCP, reverse"),
    _rate("tcp_bidir", "TCP, both ways"),
    _rate("tcp_plain", "TCP, 1 stream, veth without GSO"),
    _rate("tcp_jumbo", "TCP, 1 stream, MTU 8920"),
    Figure("cpu_jumbo_s_per_gb", "CPU s/GB at MTU 8920, both daemons", "s/GB", 1, 2),
    Figure("jumbo_gain", "TCP, MTU 8920 / 1420", "x", 1, 2, more_is_better=True),
    _rate("tcp_vxlan", "TCP, 1 stream, VXLAN inside"),
    Figure("cpu_vxlan_s_per_gb", "CPU s/GB of VXLAN, both daemons", "s/GB", 1, 2),
    Figure("vxlan_share", "TCP, VXLAN inside / bare", "x", 1, 2, more_is_better=True),
    _rate("tcp_flows", "TCP, 100 peers, 100 flows"),
    Figure("cpu_flows_s_per_gb", "CPU s/GB of 100 flows, the daemon with 100 peers", "s/GB", 1, 2),
    _rate("udp_1390_bits", "UDP 1390 B, < 1 % lost"),
    Figure("udp_1390_pps", "UDP 1390 B, < 1 % lost", "kpps", 1e-3, 0, more_is_better=True),
    Figure("udp_64_pps", "UDP 64 B, < 1 % lost", "kpps", 1e-3, 0, more_is_better=True),
    Figure("cpu_s_per_gb", "CPU s/GB, both daemons", "s/GB", 1, 2),
    Figure("rtt_idle_p50", "RTT idle, p50", "ms", 1, 3),
    Figure("rtt_idle_p99", "RTT idle, p99", "ms", 1, 3),
    Figure("rtt_load_p50", "RTT under TCP, p50", "ms", 1, 2),
    Figure("rtt_load_p99", "RTT under TCP, p99", "ms", 1, 2),
    Figure("peak_rss", "peak RSS of a daemon", "MiB", 2**-20, 0),
    Figure("crowd_rss", "peak RSS, 1,000 peers", "MiB", 2**-20, 0),
    Figure("ready_s", "start to ready", "ms", 1e3, 0),
    Figure("stop_s", "SIGTERM to gone, under TCP", "ms", 1e3, 0),
    Figure("crowd_1_us", "CPU a packet, 1 peer", "us", 1, 1),
    Figure("crowd_100_us", "CPU a packet, 100 peers", "us", 1, 1),
    Figure("crowd_1000_us", "CPU a packet, 1,000 peers", "us", 1, 1),
    Figure("crowd_10000_us", "CPU a packet, 10,000 peers", "us", 1, 1),
    Figure("crowd_growth", "CPU a packet, 10,000 peers / 1", "x", 1, 2),
    Figure("crowd_set_s", "wg setconf of 10,000 peers", "s", 1, 2),
    Figure("crowd_set_rss", "peak RSS of that", "MiB", 2**-20, 0),
    Figure("change_set_s", "set of 10,000 peers, 131,072 allowed IPs", "s", 1, 2),
    Figure("change_get_s", "get of the same", "s", 1, 2),
    Figure("change_stall_ms", "longest RTT meanwhile, under TCP", "ms", 1, 1),
    Figure("efficiency", "efficiency", "of 1", 1, 2, more_is_better=True),
    Figure("efficiency_bare", "efficiency by the bare forwarder", "of 1", 1, 2, more_is_better=True),
    Figure("efficiency_cuts", "efficiency by the forwarder that cuts", "of 1", 1, 2, more_is_better=True),
    Figure("cpu_over_bound", "CPU / (forwarder that cuts + AEAD alone)", "x", 1, 2),
    Figure("aead_in_place", "AEAD's CPU in place / alone", "x", 1, 2),
    Figure("aead_s_per_gb", "AEAD alone, CPU s/GB, both ends", "s/GB", 1, 2),
    _rate("aead_bits", "AEAD alone, all processors"),
    Figure("aead_x_1420", "AEAD / EVP at 1420 B", "x", 1, 2, more_is_better=True),
    Figure("aead_x_64", "AEAD / EVP at 64 B", "x", 1, 2, more_is_better=True),
)
BY_KEY = {figure.key: figure for figure in FIGURES}
