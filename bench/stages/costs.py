"""From times of stages to what they allow: microseconds a superframe, and the rate at which a serial part is full."""

import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SEGMENT_LEN = 1420 - 20 - 32  # of the tunnel's MTU; IPv4, TCP with timestamps
FRAME_LEN = 47 * SEGMENT_LEN
"""Bytes of payload in a superframe: as many whole segments as an IP packet has room for."""

OUT = ("tun_read", "plan", "seal", "send")
IN = ("receive", "sort", "open", "inspect", "ordered", "merge", "tun_write")
STAGES = (*OUT, *IN)
SERIAL: Mapping[str, tuple[str, ...]] = {
    "out: reader": ("tun_read", "plan"),
    "out: send": ("send",),
    "in: reader": ("receive", "sort"),
    "in: delivery": ("ordered",),
    "in: a lane": ("merge", "tun_write"),
}
"""The parts of which one at a time is done, for all peers together, however many threads there are.

But for the lanes: there are up to four, of which a flow has one. Without helpers one thread does all that is inwards.
"""
LANES = {"in: a lane": 4}
TO_REACH = 40e9
"""Bits a second that each of them is to allow: a site link of 25 Gb/s, and room."""

Times = Mapping[str, tuple[int, int]]
"""Stage -> (nanoseconds, bytes of payload that they are of), as tests/native/stages.pyx tells them."""


class Cost(NamedTuple):
    """Microseconds a superframe: the least, and the median over the rounds."""

    least: float
    median: float


def frame_us(times: Times) -> dict[str, float]:
    """Microseconds a superframe of each stage; what carried nothing is left out."""
    return {name: ns / payload * FRAME_LEN / 1e3 for name, (ns, payload) in times.items() if payload}


def summarize(rounds: Iterable[Mapping[str, float]]) -> dict[str, Cost]:
    """The costs of STAGES over rounds of frame_us().

    The write to the TUN is what is left of passing a lane without the merging, which is timed in turns of its own: so
    their difference is of the whole, not of each round.
    """
    values: dict[str, list[float]] = {}
    for one in rounds:
        for name, us in one.items():
            values.setdefault(name, []).append(us)
    found = {name: Cost(min(of), statistics.median(of)) for name, of in values.items()}
    if "pass" in found and "merge" in found:
        pairs = zip(found.pop("pass"), found["merge"], strict=True)
        found["tun_write"] = Cost(*(max(both - merge, 0.0) for both, merge in pairs))
    return {name: found[name] for name in STAGES if name in found}


def total(us: Mapping[str, float], stages: Iterable[str]) -> float:
    """Microseconds a superframe of these stages together."""
    return sum(us[name] for name in stages)


def cap(us: float) -> float:
    """Bits of payload a second, where a superframe takes so long and the next has to wait for that."""
    return FRAME_LEN * 8 / (us * 1e-6)


def in_turns(here: Mapping[str, float], apart: Mapping[str, float]) -> dict[str, float]:
    """Between processors, where each thread sends what it has sealed itself."""
    return {**apart, "send": here["send"]}


def caps(us: Mapping[str, float]) -> dict[str, float]:
    """The cap of each serial part."""
    return {name: cap(total(us, stages)) for name, stages in SERIAL.items()}
