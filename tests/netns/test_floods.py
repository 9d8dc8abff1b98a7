"""Floods by somebody who knows nothing but the public key, or sees the wire, and the strangers beside them.

Strangers are peers with addresses of their own who were never there before. How many of them get an answer is counted;
`python -m bench.tunnel.floods` measures the same at higher rates, and how long it takes.
"""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from bench.tunnel import new_peers
from bench.tunnel.attacker import Attacker

from . import dropin
from .conftest import OpenLab
from .outer_link import UdpCounters

pytest_generate_tests = dropin.parametrize_subject

pytestmark = pytest.mark.dropin("20")

STRANGERS = 40
MOST = 0.7  # all of them, on a machine that has time
FLOOD = 10_000  # a second, which a daemon has to bear on any machine
SPREAD_S, WAIT_S = 1.0, 4.0


@pytest.fixture
def attacker(subject: str, open_lab: OpenLab) -> Iterator[Attacker]:
    with Attacker(open_lab(subject, subject)) as attacker:
        yield attacker
        assert attacker.lab.far.alive()


FLOODS: dict[str, Callable[[Attacker], list[bytes]]] = {
    "good-mac1": Attacker.initiations,
    "bad-mac1": Attacker.bad_initiations,
    "cookie-replies": Attacker.cookie_replies,
    "responses": Attacker.forged_responses,
    "replayed": Attacker.replayed_initiation,
}


@contextlib.contextmanager
def _flooding(attacker: Attacker, messages: list[bytes], *, real: bool = False) -> Iterator[None]:
    """A flood while the block lasts, of which at least every other datagram reaches a socket of far's."""
    counters = UdpCounters(attacker.lab.far)
    with contextlib.closing(counters):
        before = counters.read("InDatagrams", "RcvbufErrors")
        with attacker.flooding(messages, FLOOD, real=real) as flood:
            yield
        assert flood.sent > 0
        assert counters.read("InDatagrams", "RcvbufErrors") - before > flood.sent / 2


@pytest.mark.known_bug("A global limiter")
@pytest.mark.parametrize("kind", FLOODS)
def test_strangers_get_their_answer_beside_a_flood_from_forged_addresses(attacker: Attacker, kind: str) -> None:
    honest = new_peers.meet(attacker, STRANGERS)
    assert new_peers.share_answered(honest, SPREAD_S, WAIT_S) == 1, "without a flood"
    with _flooding(attacker, FLOODS[kind](attacker)):
        assert new_peers.share_answered(honest, SPREAD_S, WAIT_S) >= MOST
        assert honest[0].handshake(30) < 30, "with a cookie, if it takes one"
    assert new_peers.time_to_normal(honest, 20) < 20, "nobody is asked for a cookie any more"


@pytest.mark.known_bug("A global limiter")
def test_a_source_with_a_cookie_floods_for_itself_alone(attacker: Attacker) -> None:
    honest = new_peers.meet(attacker, STRANGERS)
    with _flooding(attacker, attacker.with_mac2(), real=True):
        assert new_peers.share_answered(honest, SPREAD_S, WAIT_S) >= MOST
        assert honest[0].handshake(30) < 30
