"""One round of the tunnel bench: all measurements of one implementation, in a lab of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from . import traffic, usage
from .command import CommandError
from .lab import Lab
from .site import Site, poll
from .traffic import Throughput

MAX_UDP_LOSS = 0.01
COUNTERS_LAG_S = 2.0
UDP_SIZES = (1390, 64)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each part takes. udp_steps bounds the search for the highest rate."""

    tcp_s: float
    udp_s: float
    udp_steps: int
    pings: int


FULL = Effort(tcp_s=5.0, udp_s=2.0, udp_steps=8, pings=300)
QUICK = Effort(tcp_s=2.0, udp_s=1.0, udp_steps=5, pings=100)

# Where the search for the highest UDP rate starts, in bits of payload per second: below what any daemon carries, and
# above what any carries on two cores. The search bisects in ratios.
_UDP_RANGE = {1390: (100e6, 12e9), 64: (4e6, 400e6)}


def measure(lab: Lab, effort: Effort) -> dict[str, float]:
    """Measures everything through the lab's tunnel, or over its bare veth when it has no daemons.

    Keys: tcp_1, tcp_4, tcp_reverse, tcp_bidir in bits/s; udp_SIZE_bits and udp_SIZE_pps, the highest that lose less
    than 1 %; rtt_idle_p50, rtt_idle_p99, rtt_load_p50, rtt_load_p99 in ms; cpu_s_per_gb over both daemons during tcp_1;
    peak_rss of the larger one in bytes over all of it. Raises CommandError when the tunnel carries no data.
    """
    near, far = lab.sites
    tunnel = near.implementation is not None
    address = far.inner(4) if tunnel else far.outer(4)
    if tunnel:
        lab.establish()
        for site in lab.sites:
            usage.reset_peak(site.pid)
    idle = traffic.ping(near, address, count=effort.pings)
    result = {"rtt_idle_p50": idle.p50_ms, "rtt_idle_p99": idle.p99_ms}
    one, cpu_s = _with_cpu(lab, lambda: checked(lab.far, partial(traffic.tcp, near, far, address, effort.tcp_s)))
    result["tcp_1"] = one.bits_per_s
    result["tcp_4"] = traffic.tcp(near, far, address, effort.tcp_s, streams=4).bits_per_s
    result["tcp_reverse"] = traffic.tcp(near, far, address, effort.tcp_s, mode="reverse").bits_per_s
    result["tcp_bidir"] = traffic.tcp(near, far, address, effort.tcp_s, mode="bidir").bits_per_s
    if tunnel:
        with traffic.background(near, far, address):
            loaded = traffic.ping(near, address, count=effort.pings)
        result |= {"rtt_load_p50": loaded.p50_ms, "rtt_load_p99": loaded.p99_ms}
        result["cpu_s_per_gb"] = cpu_s / (one.received_bytes / 1e9)
    for size in UDP_SIZES:
        best = _highest_rate(lab, address, size, effort)
        result |= {f"udp_{size}_bits": best.bits_per_s, f"udp_{size}_pps": best.bits_per_s / 8 / size}
    if tunnel:
        result["peak_rss"] = float(max(site.usage().peak_rss_bytes for site in lab.sites))
    return result


def _with_cpu(lab: Lab, action: Callable[[], T]) -> tuple[T, float]:
    """The action's result, and the processor seconds that the daemons spent meanwhile."""
    daemons = [site for site in lab.sites if site.implementation is not None]
    before = sum(site.usage().cpu_s for site in daemons)
    result = action()
    return result, sum(site.usage().cpu_s for site in daemons) - before


def checked(target: Site, action: Callable[[], Throughput]) -> Throughput:
    """The action's result, once the receiving daemon's own counters say that its bytes went through the tunnel."""
    if target.implementation is None:
        return action()
    before = target.transferred()[0]
    result = action()
    through = 0

    def confirmed() -> bool:
        nonlocal through
        through = target.transferred()[0] - before
        return through >= result.received_bytes

    # A daemon may count a packet after it has handed it on.
    try:
        poll(confirmed, "the daemon confirms what arrived", COUNTERS_LAG_S, every_s=0.05)
    except TimeoutError:
        message = f"iperf3 received {result.received_bytes} bytes, but only {through} went through the tunnel"
        raise CommandError(message) from None
    return result


def _highest_rate(lab: Lab, address: str, size: int, effort: Effort) -> Throughput:
    """The highest offered rate that loses less than 1 %, by bisection in ratios within a bounded number of steps."""
    low, high = _UDP_RANGE[size]
    best = Throughput(0.0, 0)
    for _ in range(effort.udp_steps):
        middle = (low * high) ** 0.5
        offer = partial(traffic.udp, lab.near, lab.far, address, effort.udp_s, size=size, bits_per_s=middle)
        result = checked(lab.far, offer)
        if result.lost < MAX_UDP_LOSS:
            low = middle
            best = max(best, result, key=lambda one: one.bits_per_s)
            # A sender that can't offer more is the limit itself.
            if result.bits_per_s < middle * 0.9:
                break
        else:
            high = middle
    return best
