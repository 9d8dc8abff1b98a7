"""Speeds of the AEAD's backends on this processor, beside libcrypto's EVP in the same seconds.

The backends take turns, in short slices. Other work of the machine so falls on all of them, and a ratio says more than
its two parts. The medians count.
"""

import statistics
from dataclasses import dataclass

from pywg import _fastpath
from pywg._fastpath import Plane
from pywg.runtime.base.processors import READING_THREADS, auto_threads

PACKET_LENS = (64, 1420)
BATCHES = (1, 64)
YARDSTICK = "evp"
_TURNS = 7
_RUNS = {"seal": _fastpath.bench_seal, "open": _fastpath.bench_open}


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of one backend, in one operation, with one size of packet and batch."""

    backend: str
    operation: str
    """seal or open"""
    packet_len: int
    """bytes of the inner packet"""
    batch: int
    """packets a call"""
    ns: float
    """nanoseconds a packet, the median"""
    against_evp: float
    """multiple of EVP's speed"""

    @property
    def gbit_per_s(self) -> float:
        """Gb/s of inner packets, on one core."""
        return self.packet_len * 8 / self.ns


def aead_speeds(seconds: float = 5.0) -> list[Speed]:
    """The speeds of every backend of this machine, measured in about so many seconds."""
    backends = _fastpath.available_aeads()
    cells = [(what, size, batch) for what in _RUNS for size in PACKET_LENS for batch in BATCHES]
    slice_ns = seconds * 1e9 / (len(cells) * len(backends) * _TURNS)
    took: dict[tuple[str, str, int, int], list[float]] = {}
    for _ in range(_TURNS):
        for backend in backends:
            for cell in cells:
                took.setdefault((backend, *cell), []).append(_one(backend, *cell, slice_ns))
    median = {where: statistics.median(each) for where, each in took.items()}
    return [
        Speed(*where, ns=ns, against_evp=median[(YARDSTICK, *where[1:])] / ns)
        for where, ns in sorted(median.items(), key=lambda one: (cells.index(one[0][1:]), backends.index(one[0][0])))
    ]


def _one(backend: str, operation: str, packet_len: int, batch: int, slice_ns: float) -> float:
    run = _RUNS[operation]
    once = run(backend, packet_len, batch, 1)
    return run(backend, packet_len, batch, max(1, int(slice_ns / max(once * batch, 1.0))))


def idle_plane() -> tuple[int, str, dict[str, int]]:
    """(threads, AEAD, memory in bytes by part) of a data plane as "auto" starts it, without peers."""
    plane = Plane(helpers=auto_threads() - READING_THREADS)
    try:
        return plane.threads, plane.aead, plane.memory()
    finally:
        plane.close()
