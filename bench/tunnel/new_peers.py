"""Honest hosts that a site has never heard from: peers of it with addresses of their own, which want a handshake."""

import base64
import contextlib
import itertools
import os
import select
import socket
import time
from collections.abc import Sequence

from pywg.core.events import Activity, Endpoint
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret

from .attacker import Attacker
from .command import CommandError

RESPONSE, COOKIE_REPLY = 2, 3
HANDSHAKE_WITHIN_S = 16.5  # three retries
TRY_EVERY_S = 0.1


class NewPeer:
    """One of them: the whole protocol of an initiator, behind a socket."""

    def __init__(self, attacker: Attacker, address: str) -> None:
        attacker.add_address(address)
        self.sock = attacker.socket(address)
        self._target = attacker.target
        self._now = 1000.0
        self._tunnel = Tunnel(random=os.urandom, wall_ns=time.time_ns, activity=lambda _peer: Activity())
        self._tunnel.set_private_key(Secret(os.urandom(32)), self._now)
        self._tunnel.up(self._now)
        self._peer = self._tunnel.add_peer(base64.b64decode(attacker.lab.far.keys.public), self._now)

    @property
    def public_key(self) -> bytes:
        """Its static key."""
        key = self._tunnel.public_key
        assert key is not None
        return key

    def send_initiation(self) -> None:
        """A fresh one, without a cookie. What came before is forgotten."""
        self._drain()
        self._now += 200.0  # a cookie that it might have is too old
        self._tunnel.handshake_wanted(self._peer, self._now)
        self._send()

    def handshake(self, within_s: float = HANDSHAKE_WITHIN_S) -> float:
        """Seconds of a whole handshake, with the retries and the cookie that it takes; infinity if it fails."""
        self._drain()
        start = self._now = self._now + 200.0
        began = time.monotonic()
        self._tunnel.handshake_wanted(self._peer, start)
        self._send()
        while (elapsed := time.monotonic() - began) < within_s:
            self._now = start + elapsed
            deadline = self._tunnel.next_deadline()
            if deadline is not None and deadline <= self._now:
                self._tunnel.handle_deadline(self._now)
                self._send()
            if not select.select([self.sock], [], [], 0.01)[0]:
                continue
            for answer in self._drain():
                source = Endpoint(socket.inet_aton(self._target[0]), self._target[1])
                if self._tunnel.receive_datagram(answer, source, self._now) is not None:
                    return time.monotonic() - began
        return float("inf")

    def answers(self) -> set[int]:
        """The types of the messages that came since the last initiation."""
        return {answer[0] for answer in self._drain() if answer}

    def _send(self) -> None:
        self._tunnel.events()
        for datagram in self._tunnel.datagrams_to_send():
            with contextlib.suppress(BlockingIOError):
                self.sock.sendto(datagram.data, self._target)

    def _drain(self) -> list[bytes]:
        answers = []
        with contextlib.suppress(BlockingIOError):
            while True:
                answers.append(self.sock.recv(2048))
        return answers


def meet(attacker: Attacker, count: int) -> list[NewPeer]:
    """So many strangers, whom the far site knows as peers from now on."""
    strangers = [NewPeer(attacker, f"10.79.1.{number}") for number in range(1, count + 1)]
    keys = "\n".join(f"public_key={one.public_key.hex()}" for one in strangers)
    answer = attacker.lab.far.uapi(f"set=1\n{keys}")
    if "errno=0" not in answer:
        raise CommandError(f"the daemon refused {count} peers: {answer.strip()}")
    return strangers


def share_answered(strangers: Sequence[NewPeer], spread_s: float, wait_s: float) -> float:
    """The share (0..1) of them whose initiation, one each within `spread_s`, is answered `wait_s` later at the latest.

    A cookie reply is an answer, too.
    """
    for one in strangers:
        one.send_initiation()
        time.sleep(spread_s / len(strangers))
    waiting = {one.sock.fileno(): one for one in strangers}
    until = time.monotonic() + wait_s
    while waiting and (left := until - time.monotonic()) > 0:
        for fd in select.select(list(waiting), [], [], left)[0]:
            if waiting[fd].answers() & {RESPONSE, COOKIE_REPLY}:
                del waiting[fd]
    return 1 - len(waiting) / len(strangers)


def time_to_normal(strangers: Sequence[NewPeer], within_s: float = 10.0) -> float:
    """Seconds until a fresh initiation is answered by a response, without a cookie; infinity if that does not come."""
    began = time.monotonic()
    for one in itertools.cycle(strangers):
        asked = time.monotonic()
        if asked - began > within_s:
            break
        one.send_initiation()
        while (left := asked + TRY_EVERY_S - time.monotonic()) > 0:
            if select.select([one.sock], [], [], left)[0] and RESPONSE in one.answers():
                return time.monotonic() - began
    return float("inf")
