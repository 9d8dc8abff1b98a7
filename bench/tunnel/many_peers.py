"""What a packet costs when the daemon knows many peers, and what memory they take.

Both ends get strangers: peers with a key and an address of their own, and no endpoint. The traffic, a TCP stream, goes
through the one real peer; what grows is the table of allowed IPs, the peers by key, and whatever a daemon does for each
peer from time to time. The cost is processor time, of both daemons together, for each full packet of payload: the
acknowledgements are in it, and what it costs to ask a daemon for its counters is not.
"""

import os
from functools import partial

from . import traffic, usage
from .cipher import PAYLOAD_LEN
from .command import CommandError
from .lab import Lab
from .measure import Effort, Figures, with_cpu
from .site import Site

SIZES = (1, 100, 1000, 10_000)
MEMORY_AT = 1000


def measure(lab: Lab, effort: Effort) -> Figures:
    """crowd_N_us, processor microseconds a packet at N peers, and crowd_rss, the peak at 1,000 under the stream."""
    figures: Figures = {}
    known = 1
    for size in SIZES:
        for site in lab.sites:
            _add_strangers(site, known, size)
        known = size
        lab.establish()
        for site in lab.sites:
            usage.reset_peak(site.pid)
        result, cpu_s = with_cpu(lab, partial(traffic.tcp, lab.near, lab.far, lab.far.inner(4), effort.crowd_s))
        figures[f"crowd_{size}_us"] = cpu_s / (result.received_bytes / PAYLOAD_LEN) * 1e6
        if size == MEMORY_AT:
            figures["crowd_rss"] = float(max(site.usage().peak_rss_bytes for site in lab.sites))
    return figures


def _add_strangers(site: Site, known: int, wanted: int) -> None:
    if wanted <= known:
        return
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
