"""What a packet costs when the daemon knows many peers, what memory they take, and how long it takes to set them up.

Both ends get strangers: peers with a key and an address of their own, and no endpoint. The traffic, a TCP stream, goes
through the one real peer; what grows is the table of allowed IPs, the peers by key, and whatever a daemon does for each
peer from time to time. The cost is processor time, of both daemons together, for each full packet of payload: the
acknowledgements are in it, and what it costs to ask a daemon for its counters is not.

A machine differs from itself a minute ago by more than strangers cost. So the lab with the most of them takes turns
with one that has none, and both figures are medians over these turns.
"""

import base64
import os
import statistics
import time
from functools import partial

from . import traffic, usage
from .cipher import PAYLOAD_LEN
from .command import CommandError
from .lab import Lab
from .measure import Effort, Figures, with_cpu
from .site import Site

SIZES = (1, 100, 1000, 10_000)
MEMORY_AT = 1000
TURNS = 3


def measure(lab: Lab, effort: Effort) -> Figures:
    """crowd_N_us, processor microseconds a packet at N peers; crowd_rss, the peak at 1,000 under the stream; and
    crowd_set_s and crowd_set_rss, of `wg setconf` with 10,000."""
    end = lab.near.implementation
    figures = _set_up(lab)
    with Lab(end, end) as alone:
        alone.establish()
        known = SIZES[0]
        for size in SIZES[1:]:
            for site in lab.sites:
                _add_strangers(site, known, size)
            known = size
            lab.establish()
            for site in lab.sites:
                usage.reset_peak(site.pid)
            if size != SIZES[-1]:
                figures[f"crowd_{size}_us"] = _packet_us(lab, effort)
            if size == MEMORY_AT:
                figures["crowd_rss"] = float(max(site.usage().peak_rss_bytes for site in lab.sites))
        both = {SIZES[0]: alone, SIZES[-1]: lab}
        costs: dict[int, list[float]] = {size: [] for size in both}
        for turn in range(TURNS):
            for size in sorted(both, reverse=turn % 2 == 1):
                costs[size].append(_packet_us(both[size], effort))
    return figures | {f"crowd_{size}_us": statistics.median(of) for size, of in costs.items()}


def _packet_us(lab: Lab, effort: Effort) -> float:
    result, cpu_s = with_cpu(lab, partial(traffic.tcp, lab.near, lab.far, lab.far.inner(4), effort.crowd_s))
    return cpu_s / (result.received_bytes / PAYLOAD_LEN) * 1e6


def _set_up(lab: Lab) -> Figures:
    """A daemon that knows nobody gets all of them by one `wg setconf`."""
    with Lab(lab.near.implementation, None, connect=False) as bare:
        site = bare.near
        path = site.directory / "crowd.conf"
        path.write_text("".join(_section(number) for number in range(SIZES[-1])))
        began = time.monotonic()
        site.wg("setconf", site.interface, str(path))
        took_s = time.monotonic() - began
        if (there := len(site.wg("show", site.interface, "peers").split())) != SIZES[-1]:
            raise CommandError(f"the daemon has {there} of {SIZES[-1]} peers")
        return {"crowd_set_s": took_s, "crowd_set_rss": float(site.usage().peak_rss_bytes)}


def _section(number: int) -> str:
    key = base64.b64encode(os.urandom(32)).decode()
    return f"[Peer]\nPublicKey = {key}\nAllowedIPs = {stranger_address(number)}/32\n"


def _add_strangers(site: Site, known: int, wanted: int) -> None:
    lines = ["set=1"]
    for number in range(known, wanted):
        lines += [f"public_key={os.urandom(32).hex()}", f"allowed_ip={stranger_address(number)}/32"]
    answer = site.uapi("\n".join(lines))
    if "errno=0" not in answer:
        raise CommandError(f"the daemon refused {wanted - known} peers: {answer.strip()}")


def stranger_address(number: int) -> str:
    """The inner address of stranger `number`, below 2^24: in 11.0.0.0/8, with neighbours that are far apart."""
    scattered = number * 2_654_435_761 % (1 << 24)  # odd, hence no two alike
    return f"11.{scattered >> 16}.{scattered >> 8 & 255}.{scattered & 255}"
