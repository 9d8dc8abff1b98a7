"""The sender's side of MACs and cookies. Paper, sections 5.3, 5.4.4 and 5.4.7.

The receiver's is the data plane's: tests/fastpath/test_cookies.py and test_plane_under_load.py.
"""

import hashlib
import random

import pytest

from pywg.core import events
from pywg.core.cookie import CookieJar, mac1_holds
from pywg.core.events import Endpoint
from pywg.core.messages import CookieReply
from pywg.dataplane.crypto.cookie_mac import mac1_key
from pywg.errors import RemoteProtocolError
from tests import cookies, paper
from tests.simulation import two_sites

pytestmark = pytest.mark.dropin("20")

OURS = b"\x21" * 32
SOURCE = Endpoint(b"\xc0\x00\x02\x01", 4000)
BODY = b"\x01\x00\x00\x00\x39\x30\x00\x00" + bytes(108)


def responder() -> cookies.Responder:
    return cookies.Responder(OURS, random.Random(1).randbytes)


def exchange(now: float = 1.0) -> tuple[cookies.Responder, CookieJar]:
    """A responder, and the jar of a sender at SOURCE that has its cookie."""
    other, jar = responder(), CookieJar(OURS)
    jar.consume_reply(CookieReply.unpack(other.make_reply(jar.add_macs(BODY, now), SOURCE)), now)
    return other, jar


def test_mac1_is_the_papers() -> None:
    message = CookieJar(OURS).add_macs(BODY, 1.0)
    key = hashlib.blake2s(paper.LABEL_MAC1.encode() + OURS).digest()
    assert message[:-32] == BODY
    assert message[-32:-16] == cookies.mac(key, BODY)
    assert mac1_holds(mac1_key(OURS), message)
    assert not mac1_holds(mac1_key(bytes(32)), message)
    assert not mac1_holds(mac1_key(OURS), b"\x02" + message[1:])


def test_a_message_with_the_cookie_has_a_valid_mac2() -> None:
    other, jar = exchange()
    assert other.holds_mac2(jar.add_macs(BODY, 2.0), SOURCE)
    assert not other.holds_mac2(CookieJar(OURS).add_macs(BODY, 2.0), SOURCE)


def test_a_stored_cookie_is_used_for_120_s() -> None:
    _, jar = exchange(1.0)
    assert any(jar.add_macs(BODY, 1.0 + paper.COOKIE_SECRET_MAX_AGE - 0.1)[-16:])
    assert not any(jar.add_macs(BODY, 1.0 + paper.COOKIE_SECRET_MAX_AGE)[-16:])


def test_a_cookie_that_is_forgotten_is_used_no_more() -> None:
    _, jar = exchange()
    jar.forget()
    assert not any(jar.add_macs(BODY, 2.0)[-16:])
    jar.forget()


def test_a_cookie_reply_is_bound_to_the_last_mac1_and_taken_once() -> None:
    other, jar = responder(), CookieJar(OURS)
    first = other.make_reply(jar.add_macs(BODY, 1.0), SOURCE)
    second_message = jar.add_macs(BODY[:-1] + b"\x01", 1.0)
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        jar.consume_reply(CookieReply.unpack(first), 1.0)
    second = CookieReply.unpack(other.make_reply(second_message, SOURCE))
    jar.consume_reply(second, 1.0)
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        jar.consume_reply(second, 1.0)


def test_a_cookie_reply_to_nothing() -> None:
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        CookieJar(OURS).consume_reply(CookieReply.unpack(responder().make_reply(BODY + bytes(32), SOURCE)), 1.0)


@pytest.mark.parametrize("kind", ["initiation", "response"])
def test_a_cookie_reply_answers_a_message_in_flight_and_no_session(kind: str) -> None:
    """Authentic or not: what names a running session is refused, and the cookie that is there stays."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(0.015 if kind == "initiation" else 0.025)
    us, them = (near, far) if kind == "initiation" else (far, near)
    message = next(packet.data for packet in world.wire if packet.sender == us.name)
    reply = them.cookies.make_reply(message, us.address)
    world.run(10)
    assert near.delivered == []
    assert far.delivered == [b"x"]
    us.tunnel.events()
    us.tunnel.receive_datagram(reply, them.address, us.now)
    assert us.tunnel.events() == [events.Dropped(events.UNKNOWN_INDEX, them.address)]
