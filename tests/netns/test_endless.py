"""Hostile datagrams without end, and initiations that are never completed, to a whole daemon.

Each is counted, nothing is kept of them, and the tunnel lives. PYWG_LONG=1: ten million of each kind, and a million
initiations of peers that never complete one. `tests/fastpath/test_plane_endless.py` has more kinds, without a daemon.
"""

import base64
import itertools
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest

from bench.soak.watch import Sample, sample
from bench.tunnel.site import LISTEN_PORT, Site, poll
from pywg.core.events import Activity
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret

from . import dropin
from .conftest import OpenLab
from .dropin import peers, scaled
from .outer_link import COOKIE_REPLY, RESPONSE, TRANSPORT, Link, initiation

TRAIN = 48
"""Datagrams of one send: the kernel cuts it."""
TRAINS_AT_ONCE = 8
MAY_GROW = 1 << 20
INITIATORS = 200
AT_ONCE = 64
"""Initiations, far from what makes a daemon ask for cookies."""
_UDP_SEGMENT = 103


class Kind(NamedTuple):
    """`counters` have all of them together; `make` is given the index of far's session and one of its messages."""

    counters: tuple[str, ...]
    make: Callable[[Site, bytes, bytes], bytes]


KINDS = {
    "junk": Kind(("rx_malformed",), lambda far, index, message: secrets.token_bytes(95).rjust(96, b"\x09")),
    "initiations without a mac1": Kind(
        ("rx_bad_mac1",), lambda far, index, message: b"\x01\0\0\0" + secrets.token_bytes(144)
    ),
    "initiations that know the public key": Kind(
        ("rx_handshakes", "rx_under_load", "tx_cookie_replies"),
        lambda far, index, message: initiation(far.keys.public),
    ),
    "cookie replies to the session": Kind(
        ("rx_unknown_index", "rx_bad_cookie_reply"),
        lambda far, index, message: struct.pack("<I", COOKIE_REPLY) + index + secrets.token_bytes(56),
    ),
    "transport data to nobody": Kind(
        ("rx_unknown_index",), lambda far, index, message: struct.pack("<I", TRANSPORT) + secrets.token_bytes(92)
    ),
    "forged transport data": Kind(
        ("rx_forged",),
        lambda far, index, message: (
            struct.pack("<I", TRANSPORT) + index + struct.pack("<Q", 1 << 40) + secrets.token_bytes(80)
        ),
    ),
    "replayed transport data": Kind(("rx_replayed",), lambda far, index, message: message),
}


@pytest.mark.dropin("20")
@pytest.mark.timeout(7200)
def test_hostile_datagrams(pywg: str, open_lab: OpenLab) -> None:
    lab = dropin.tunnel(open_lab, "pywg")
    near, far = lab.near, lab.far
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name, kind in KINDS.items():
            with Link(near, unsegmented=False) as link:
                dropin.resumes(near, far.inner(4))
                message = link.sent(TRANSPORT)[-1].message
            began, before = time.monotonic(), sample(far.pid, 0.0)
            count = _flood(sock, far, kind.counters, kind.make(far, message[4:8], message), scaled(10_000, 10_000_000))
            poll(partial(_has_descriptors, far, before.fds), "as many descriptors as before")
            after = sample(far.pid, 0.0)
            assert after.threads == before.threads
            assert after.private_bytes - before.private_bytes < MAY_GROW, name
            dropin.resumes(near, far.inner(4))
            print(f"{name}: {count} in {time.monotonic() - began:.0f} s, {_grown(before, after)} KiB")
    assert len(peers(far)) == 1
    assert peers(far)[0]["endpoint"] == [f"{near.outer(4)}:{LISTEN_PORT}"]


def _flood(sock: socket.socket, far: Site, counters: tuple[str, ...], datagram: bytes, count: int) -> int:
    """Sends so many, and a few more, each of which `counters` get; no more at once than a socket has room for."""
    control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("H", len(datagram)))]
    train, address = datagram * TRAIN, (far.outer(4), LISTEN_PORT)

    def counted() -> int:
        stats = far.stats()
        return sum(int(stats[f"counter_{name}"]) for name in counters)

    before = counted()
    turns = -(-count // (TRAINS_AT_ONCE * TRAIN))
    for turn in range(1, turns + 1):
        for _ in range(TRAINS_AT_ONCE):
            sock.sendmsg([train], control, 0, address)
        wanted = before + turn * TRAINS_AT_ONCE * TRAIN
        poll(partial(lambda wanted: counted() >= wanted, wanted), f"{wanted} in {counters}", 30.0, every_s=0.0)
    assert counted() == wanted
    return wanted - before


def _has_descriptors(site: Site, most: int) -> bool:
    return sample(site.pid, 0.0).fds <= most


def _grown(before: Sample, after: Sample) -> int:
    """KiB."""
    return (after.private_bytes - before.private_bytes) >> 10


class Initiator:
    """A peer that only ever begins: each message is a new one, and good."""

    def __init__(self, far: Site) -> None:
        self.began = 0
        self._tunnel = Tunnel(
            random=os.urandom, wall_ns=lambda: time.time_ns() + (self.began << 30), activity=lambda _peer: Activity()
        )
        self._tunnel.set_private_key(Secret(os.urandom(32)), 1.0)
        self._tunnel.up(1.0)
        self._peer = self._tunnel.add_peer(base64.b64decode(far.keys.public), 1.0)
        assert self._tunnel.public_key is not None
        self.public_key = self._tunnel.public_key

    def initiation(self) -> bytes:
        self.began += 1
        self._tunnel.handshake_wanted(self._peer, self.began * 1000.0)
        self._tunnel.events()
        (datagram,) = self._tunnel.datagrams_to_send()
        return datagram.data


@pytest.mark.dropin("20")
@pytest.mark.timeout(7200)
def test_initiations_that_are_never_completed(pywg: str, open_lab: OpenLab) -> None:
    """Each that a peer begins is answered, and none of a stranger's."""
    lab = dropin.tunnel(open_lab, "pywg")
    near, far = lab.near, lab.far
    initiators, stranger = [Initiator(far) for _ in range(INITIATORS)], Initiator(far)
    far.uapi("set=1" + "".join(f"\npublic_key={one.public_key.hex()}" for one in initiators))
    turns = itertools.cycle(initiators)
    began, sent = time.monotonic(), 0
    looks: list[Sample] = []
    handshakes = int(far.stats()["counter_rx_handshakes"])
    with near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10.0)
        while sent < scaled(1_000, 1_000_000):
            for one in itertools.islice(turns, AT_ONCE):
                sock.sendto(one.initiation(), (far.outer(4), LISTEN_PORT))
            sock.sendto(stranger.initiation(), (far.outer(4), LISTEN_PORT))
            for _ in range(AT_ONCE):
                assert sock.recv(2048)[0] == RESPONSE
            sent += AT_ONCE
            if not looks or sent % (AT_ONCE * 256) == 0:
                looks.append(sample(far.pid, began))
    looks.append(sample(far.pid, began))
    poll(
        lambda: int(far.stats()["counter_rx_handshakes"]) == handshakes + sent + stranger.began,
        "each initiation is handed to the control plane",
    )
    settled = looks[len(looks) // 2]
    assert looks[-1].private_bytes - settled.private_bytes < MAY_GROW
    assert {one.threads for one in looks} == {settled.threads}
    poll(partial(_has_descriptors, far, min(one.fds for one in looks)), "as many descriptors as before")
    assert len(peers(far)) == 1 + INITIATORS
    dropin.resumes(near, far.inner(4))
    print(f"initiations: {sent} in {looks[-1].at_s:.0f} s, {_grown(settled, looks[-1])} KiB")
