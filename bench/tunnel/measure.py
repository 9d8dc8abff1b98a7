"""One round of the tunnel bench: what is measured of one daemon, or of the bare veth, in a lab of its own.

Every measure is a function of the lab and the effort and returns figures by their keys (figures.py says what they are
and in which units). One that fails is reported, and the others go on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from . import traffic, transfer, usage
from .command import CommandError
from .lab import Lab
from .rate_search import highest_rate
from .site import LINK, Site, poll
from .traffic import Throughput
from .transfer import TransferError

COUNTERS_LAG_S = 2.0
PROOF_LEN = 1_000_000
LOADED_PING_EVERY_S = 0.005
UDP_SIZES = (1390, 64)
# What is offered first, in bits of payload per second: about what a good daemon carries on two cores.
_FIRST_OFFER = {1390: 1e9, 64: 40e6}
# All that lets a veth pass on more than a packet at a time. `tso` and `gso` leave the UDP one on.
SEGMENTATION = ("tso", "gso", "tx-udp-segmentation")
FAILURES = (CommandError, TimeoutError, TransferError, OSError)
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each part takes, in whole seconds. udp_steps bounds the search for the highest rate.

    There are more pings under load, so that their 99th percentile is more than the longest but one.
    """

    tcp_s: int
    udp_s: int
    udp_steps: int
    pings: int
    loaded_pings: int
    crowd_s: int


FULL = Effort(tcp_s=3, udp_s=1, udp_steps=6, pings=150, loaded_pings=600, crowd_s=2)
QUICK = Effort(tcp_s=2, udp_s=1, udp_steps=5, pings=100, loaded_pings=200, crowd_s=1)


def measure(lab: Lab, effort: Effort, chosen: Iterable[str]) -> tuple[Figures, list[str]]:
    """The figures of the chosen measures (keys of MEASURES), and a line for each that failed.

    The tunnel is first made to carry data; raises one of FAILURES when it does not.
    """
    if lab.near.implementation is not None:
        _prove(lab)
    figures: Figures = {}
    failed: list[str] = []
    for name in chosen:
        try:
            figures |= MEASURES[name](lab, effort)
        except FAILURES as error:
            failed.append(f"{name}: {error}")
            if not all(site.alive() for site in _daemons(lab)):
                failed.append("a daemon died; the measures behind this one are missing")
                break
    return figures, failed


def _prove(lab: Lab) -> None:
    """Handshake, ping, and bytes both ways that arrive as they were sent."""
    near, far = lab.sites
    lab.establish()
    transfer.exchange(near.namespace, far.namespace, far.inner(4), PROOF_LEN)
    for site in lab.sites:
        usage.reset_peak(site.pid)


def _daemons(lab: Lab) -> list[Site]:
    return [site for site in lab.sites if site.implementation is not None]


def address(lab: Lab) -> str:
    """Where the far site is: behind the tunnel, or at the other end of the veth when there is none."""
    return lab.far.inner(4) if _daemons(lab) else lab.far.outer(4)


def with_cpu(lab: Lab, action: Callable[[], Throughput]) -> tuple[Throughput, float]:
    """As checked() towards the far site, and the processor seconds that the daemons spent on the action alone.

    Asking a daemon for its counters costs it something too, and that grows with its peers.
    """
    cpu_s = 0.0

    def timed() -> Throughput:
        nonlocal cpu_s
        before = sum(usage.cpu_s(site.pid) for site in _daemons(lab))
        result = action()
        cpu_s = sum(usage.cpu_s(site.pid) for site in _daemons(lab)) - before
        return result

    return checked(lab.far, timed), cpu_s


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


def _start(lab: Lab, _effort: Effort) -> Figures:
    return {"ready_s": max(site.ready_s for site in lab.sites)}


def _idle(lab: Lab, effort: Effort) -> Figures:
    idle = traffic.ping(lab.near, address(lab), count=effort.pings)
    return {"rtt_idle_p50": idle.p50_ms, "rtt_idle_p99": idle.p99_ms}


def _stream(lab: Lab, effort: Effort) -> Figures:
    """One TCP stream, and what the daemons' processors paid for it."""
    one, cpu_s = with_cpu(lab, partial(_tcp, lab, effort))
    return {"tcp_1": one.bits_per_s} | ({"cpu_s_per_gb": cpu_s / (one.received_bytes / 1e9)} if _daemons(lab) else {})


def _streams(lab: Lab, effort: Effort) -> Figures:
    four = checked(lab.far, partial(_tcp, lab, effort, streams=4))
    reverse = checked(lab.near, partial(_tcp, lab, effort, mode="reverse"))
    both = _tcp(lab, effort, mode="bidir")
    return {"tcp_4": four.bits_per_s, "tcp_reverse": reverse.bits_per_s, "tcp_bidir": both.bits_per_s}


def _tcp(lab: Lab, effort: Effort, *, streams: int = 1, mode: str = "") -> Throughput:
    return traffic.tcp(lab.near, lab.far, address(lab), effort.tcp_s, streams=streams, mode=mode)


def _plain(lab: Lab, effort: Effort) -> Figures:
    """One TCP stream over a veth that carries nothing but single packets, as a wire does."""
    set_segmentation(lab, "off")
    try:
        one = checked(lab.far, partial(_tcp, lab, effort))
    finally:
        set_segmentation(lab, "on")
    return {"tcp_plain": one.bits_per_s}


def set_segmentation(lab: Lab, state: str) -> None:
    """Turns SEGMENTATION of both ends of the veth "on" or "off"."""
    for site in lab.sites:
        site.namespace.run("ethtool", "-K", LINK, *(word for name in SEGMENTATION for word in (name, state)))


def _load(lab: Lab, effort: Effort) -> Figures:
    with traffic.background(lab.near, lab.far, address(lab)):
        loaded = traffic.ping(lab.near, address(lab), count=effort.loaded_pings, interval_s=LOADED_PING_EVERY_S)
    return {"rtt_load_p50": loaded.p50_ms, "rtt_load_p99": loaded.p99_ms}


def _udp(lab: Lab, effort: Effort) -> Figures:
    figures: Figures = {}
    for size in UDP_SIZES:

        def offer(bits_per_s: float, size: int = size) -> Throughput:
            there = partial(traffic.udp, lab.near, lab.far, address(lab), effort.udp_s, size=size)
            return checked(lab.far, partial(there, bits_per_s=bits_per_s))

        best = highest_rate(offer, _FIRST_OFFER[size], effort.udp_steps)
        figures |= {f"udp_{size}_bits": best.bits_per_s, f"udp_{size}_pps": best.bits_per_s / 8 / size}
    return figures


def _memory(lab: Lab, _effort: Effort) -> Figures:
    """The larger daemon's peak over all that was measured before."""
    return {"peak_rss": float(max(site.usage().peak_rss_bytes for site in lab.sites))}


MEASURES: dict[str, Callable[[Lab, Effort], Figures]] = {
    "start": _start,
    "idle": _idle,
    "stream": _stream,
    "streams": _streams,
    "plain": _plain,
    "load": _load,
    "udp": _udp,
    "memory": _memory,
}
