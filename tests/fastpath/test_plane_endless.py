"""A hundred thousand hostile datagrams of each kind: the counters are exact, memory is flat, the tunnel is alive.

PYWG_LONG=1: ten million of each.
"""

import os
import struct
from collections.abc import Callable

import pytest

from tests.fastpath.plane_harness import Far, PlaneHarness, handshake_message, reply

COUNT = 10_000_000 if os.environ.get("PYWG_LONG") == "1" else 100_000
TRAIN = 48
"""Datagrams of one send: the kernel cuts it."""
TRAINS_AT_ONCE = 8
"""What a socket's buffer surely holds."""
PAGE_LEN = os.sysconf("SC_PAGE_SIZE")
MAY_GROW = 4 << 20


def _transport(index: int, counter: int = 0, length: int = 96) -> bytes:
    return struct.pack("<IIQ", 4, index, counter).ljust(length, b"\x5a")


KINDS: dict[str, tuple[str, Callable[[Far], bytes]]] = {
    "a type that there is not": ("rx_malformed", lambda far: b"\x09\0\0\0".ljust(96, b"\0")),
    "an initiation of another length": ("rx_malformed", lambda far: b"\x01\0\0\0".ljust(147, b"\0")),
    "transport data that is too short": ("rx_malformed", lambda far: b"\x04\0\0\0".ljust(31, b"\0")),
    "an initiation without a mac1": ("rx_bad_mac1", lambda far: b"\x01\0\0\0".ljust(148, b"\0")),
    "a response to nothing": ("rx_unknown_index", lambda far: handshake_message(2, 92, 77)),
    "a cookie reply to nothing": ("rx_unknown_index", lambda far: handshake_message(3, 64, 77)),
    "transport data to nobody": ("rx_unknown_index", lambda far: _transport(77)),
    "forged transport data": ("rx_forged", lambda far: _transport(far.local_index, 1 << 40)),
    "replayed transport data": ("rx_replayed", lambda far: far.message(reply(0), 0)),
}
"""What it is: the counter that has each of them, and one of them."""


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_LEN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(3600)
def test_endless_hostile_datagrams(kind: str) -> None:
    counter, make = KINDS[kind]
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(0))
        assert harness.read(1) == [reply(0)]
        one = make(far)
        before = harness.counter(counter)
        sent, resident = 0, 0
        while sent < COUNT:
            for _ in range(TRAINS_AT_ONCE):
                far.send_train([one] * TRAIN)
            sent += TRAINS_AT_ONCE * TRAIN
            _taken(harness, counter, before + sent)
            resident = resident or _resident()
        assert harness.counter(counter) == before + sent
        assert _resident() - resident < MAY_GROW
        assert harness.tun_is_empty()
        harness.forget()
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


def _taken(harness: PlaneHarness, counter: str, count: int) -> None:
    harness.until(lambda: harness.counter(counter) >= count, f"{count} in {counter}")
