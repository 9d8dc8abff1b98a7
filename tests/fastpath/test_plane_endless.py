"""Some ten thousand hostile datagrams of each kind: the counters are exact, memory is flat, the tunnel is alive.

PYWG_LONG=1: ten million of each.
"""

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.fastpath.plane_harness import Far, PlaneHarness, handshake_message, raw_packet, reply

COUNT = 10_000_000 if os.environ.get("PYWG_LONG") == "1" else 30_000
TRAIN = 48
"""Datagrams of one send: the kernel cuts it."""
TRAINS_AT_ONCE = 8
"""What a socket's buffer surely holds."""
A_SESSION = 1_000_000
"""Messages of one session, which must not get too old."""
PAGE_LEN = os.sysconf("SC_PAGE_SIZE")
MAY_GROW = 4 << 20
FROM_ANOTHER = raw_packet(60)


def _transport(index: int, counter: int = 0, length: int = 96) -> bytes:
    return struct.pack("<IIQ", 4, index, counter).ljust(length, b"\x5a")


def _cookie_reply_in_flight(far: Far) -> bytes:
    far.harness.plane.open_index(9, far.peer)
    return handshake_message(3, 64, 9)


def _expired(far: Far) -> bytes:
    return Far(far.harness, 2, prefixes=[], sock=far.sock, age=200.0).message(reply(1))


class Kind(NamedTuple):
    """`counters` have all of them together. `fresh`: each is made anew, as only an authentic peer can."""

    counters: tuple[str, ...]
    make: Callable[[Far], bytes]
    fresh: bool = False


KINDS = {
    "a type that there is not": Kind(("rx_malformed",), lambda far: b"\x09\0\0\0".ljust(96, b"\0")),
    "an initiation of another length": Kind(("rx_malformed",), lambda far: b"\x01\0\0\0".ljust(147, b"\0")),
    "transport data that is too short": Kind(("rx_malformed",), lambda far: b"\x04\0\0\0".ljust(31, b"\0")),
    "an initiation without a mac1": Kind(("rx_bad_mac1",), lambda far: b"\x01\0\0\0".ljust(148, b"\0")),
    "an initiation that knows the public key": Kind(
        ("rx_handshakes", "rx_under_load", "tx_cookie_replies"), lambda far: handshake_message(1, 148)
    ),
    "a response to nothing": Kind(("rx_unknown_index",), lambda far: handshake_message(2, 92, 77)),
    "a cookie reply to nothing": Kind(("rx_unknown_index",), lambda far: handshake_message(3, 64, 77)),
    "a cookie reply to a handshake in flight": Kind(("rx_bad_cookie_reply",), _cookie_reply_in_flight),
    "transport data to nobody": Kind(("rx_unknown_index",), lambda far: _transport(77)),
    "transport data under an old keypair": Kind(("rx_expired",), _expired),
    "forged transport data": Kind(("rx_forged",), lambda far: _transport(far.local_index, 1 << 40)),
    "replayed transport data": Kind(("rx_replayed",), lambda far: far.message(reply(0), 0)),
    "a peer's data that is no IP packet": Kind(("rx_not_ip",), lambda far: far.message(b"\xff" * 60), fresh=True),
    "a peer's packet from another's address": Kind(
        ("rx_source_not_allowed",), lambda far: far.message(FROM_ANOTHER), fresh=True
    ),
}


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_LEN


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.timeout(3600)
def test_endless_hostile_datagrams(name: str) -> None:
    kind = KINDS[name]
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(0))
        assert harness.read(1) == [reply(0)]
        train = [kind.make(far)] * TRAIN
        before = _counted(harness, kind)
        sent, resident = 0, 0
        while sent < COUNT:
            _renew(far)
            for _ in range(TRAINS_AT_ONCE):
                if kind.fresh:
                    train = [kind.make(far) for _ in range(TRAIN)]
                far.send_train(train)
            sent += TRAINS_AT_ONCE * TRAIN
            _taken(harness, kind, before + sent)
            resident = resident or _resident()
        grown = _resident() - resident
        assert _counted(harness, kind) == before + sent
        assert grown < MAY_GROW
        assert harness.tun_is_empty()
        harness.forget()
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]
    print(f"{name}: {sent}, memory {grown >> 10:+} KiB")


def _renew(far: Far) -> None:
    if far.counter < A_SESSION:
        return
    old, far.local_index, far.counter = far.local_index, far.local_index + (1 << 16), 0
    far.install()
    far.harness.plane.use_keypair(far.peer, far.local_index)
    far.harness.plane.retire_keypair(old)


def _counted(harness: PlaneHarness, kind: Kind) -> int:
    return sum(harness.counter(name) for name in kind.counters)


def _taken(harness: PlaneHarness, kind: Kind, count: int) -> None:
    harness.until(lambda: _counted(harness, kind) >= count, f"{count} in {' and '.join(kind.counters)}")
