"""A flood of handshakes, and the others beside it: cookies, by the paper's section 5.3."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.tunnel.lab import Lab
from bench.tunnel.site import LINK, LISTEN_PORT, poll

from . import dropin
from .conftest import OpenLab
from .outer_link import COOKIE_REPLY, initiation

pytest_generate_tests = dropin.parametrize_subject

BURST = 500
BURST_EVERY_S = 0.01
GETS_THROUGH_WITHIN_S = 20.0  # a cookie, the next try 5 s later, and the same again
CALM_WITHIN_S = 5.0


class _Host:
    """Somebody in near's network who knows far's public key and nothing else."""

    def __init__(self, lab: Lab, address: str) -> None:
        lab.near.ip("address", "add", f"{address}/24", "dev", LINK)
        self._to = (lab.far.outer(4), LISTEN_PORT)
        self._key = lab.far.keys.public
        self._socket = lab.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.setblocking(False)

    def send(self, message: bytes) -> None:
        try:
            self._socket.sendto(message, self._to)
        except BlockingIOError:  # the link is full
            time.sleep(0.001)

    def is_asked_for_a_cookie(self, within_s: float = 0.3) -> bool:
        """Whether an initiation is answered with a cookie reply. What came before is forgotten."""
        try:
            while True:
                self._socket.recv(2048)
        except BlockingIOError:
            self.send(initiation(self._key))
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(2048)[0] == COOKIE_REPLY
        except TimeoutError:
            return False
        finally:
            self._socket.setblocking(False)

    @contextmanager
    def flood(self) -> Iterator[None]:
        """Initiations, as many as there is room for, while the block lasts."""
        messages = [initiation(self._key) for _ in range(BURST)]

        def burst() -> None:
            for message in messages:
                self.send(message)
            time.sleep(BURST_EVERY_S)

        with dropin.repeated(burst):
            yield


@pytest.mark.dropin("20")
@pytest.mark.known_bug("A global limiter")
def test_flood_of_one_source_is_nobody_elses_trouble(subject: str, open_lab: OpenLab) -> None:
    """Beside it a handshake succeeds, by way of a cookie; once it is over, nobody is asked for one."""
    lab = open_lab(subject, subject)
    flooder, passer_by = _Host(lab, "10.77.0.66"), _Host(lab, "10.77.0.67")
    assert not passer_by.is_asked_for_a_cookie()
    with flooder.flood():
        poll(passer_by.is_asked_for_a_cookie, "far is under load, and whoever comes is asked for a cookie", 10)
        dropin.resumes(lab.near, lab.far.inner(4), GETS_THROUGH_WITHIN_S)
        poll(passer_by.is_asked_for_a_cookie, "far is still under load", 10)
    poll(lambda: not passer_by.is_asked_for_a_cookie(), "the load is over", CALM_WITHIN_S)
    assert lab.far.alive()
    assert lab.near.has_handshake()
