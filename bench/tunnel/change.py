"""One change of the largest size under a full TCP stream: how long it takes, and what the traffic notices of it.

The near end gets 10,000 strangers with 131,072 allowed IPs in one request, and is then asked for all of them, while a
TCP stream and a ping every 5 ms go through its one real peer. The stall is the longest round trip from the beginning
of the request to the end of the answer. It has the queues of the stream in it, and what else the machine did.
"""

import os
import time

from . import traffic
from .command import CommandError
from .lab import Lab
from .measure import Effort, Figures

PEERS, PREFIXES = 10_000, 131_072
PING_EVERY_S = 0.005
ANSWERS_WITHIN_S = 60.0


def measure(lab: Lab, _effort: Effort) -> Figures:
    """change_set_s, change_get_s, and change_stall_ms."""
    lab.establish()
    near, far = lab.sites
    change = request()
    with (
        traffic.background(near, far, far.inner(4)),
        traffic.pinging(near, far.inner(4), PING_EVERY_S) as round_trips_ms,
    ):
        began = time.monotonic()
        answer = near.uapi(change, ANSWERS_WITHIN_S)
        set_s = time.monotonic() - began
        if answer != "errno=0\n\n":
            raise CommandError(f"the daemon refused {PEERS} peers: {answer.strip()}")
        began = time.monotonic()
        shown = near.uapi("get=1", ANSWERS_WITHIN_S).count("\nallowed_ip=")
        get_s = time.monotonic() - began
    if shown < PREFIXES:
        raise CommandError(f"the daemon shows {shown} of {PREFIXES} allowed IPs")
    return {"change_set_s": set_s, "change_get_s": get_s, "change_stall_ms": max(round_trips_ms)}


def request() -> str:
    """The change, without its blank line: prefixes of 4 addresses each in 100.0.0.0/8, about 13 a peer."""
    lines = ["set=1"]
    for number in range(PEERS):
        lines.append(f"public_key={os.urandom(31).hex()}40")
        first, last = number * PREFIXES // PEERS, (number + 1) * PREFIXES // PEERS
        lines += [
            f"allowed_ip=100.{index >> 14}.{index >> 6 & 255}.{(index & 63) << 2}/30" for index in range(first, last)
        ]
    return "\n".join(lines)
