"""MACs, cookies and the limit per source. Paper, sections 5.3, 5.4.4 and 5.4.7."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.core import crypto, events
from pywg.core.cookie import CookieChecker, CookieJar, cookie_key
from pywg.core.events import Endpoint
from pywg.core.messages import CookieReply
from pywg.core.ratelimiter import RateLimiter
from pywg.errors import RemoteProtocolError
from tests import paper
from tests.sim import COOKIE_REPLY, Site, World, two_sites

pytestmark = pytest.mark.dropin("20")

OURS = b"\x21" * 32
SOURCE = Endpoint(b"\xc0\x00\x02\x01", 4000)
BODY = b"\x01\x00\x00\x00\x39\x30\x00\x00" + bytes(108)


def exchange(now: float = 1.0) -> tuple[CookieChecker, CookieJar]:
    """A checker, and the jar of a sender at SOURCE that has its cookie."""
    checker, jar = CookieChecker(OURS, random.Random(1).randbytes), CookieJar(OURS)
    reply = checker.make_reply(jar.add_macs(BODY, now), SOURCE, now)
    jar.consume_reply(CookieReply.unpack(reply), now)
    return checker, jar


def test_the_cookie_reply_is_the_papers() -> None:
    rng = random.Random(1)
    nonce, secret = rng.randbytes(24), rng.randbytes(32)
    message = CookieJar(OURS).add_macs(BODY, 1.0)
    reply = CookieChecker(OURS, random.Random(1).randbytes).make_reply(message, SOURCE, 1.0)
    cookie = hashlib.blake2s(SOURCE.ip + (4000).to_bytes(2, "big"), key=secret, digest_size=16).digest()
    key = hashlib.blake2s(paper.LABEL_COOKIE.encode() + OURS).digest()
    assert reply == b"\x03\x00\x00\x00\x39\x30\x00\x00" + nonce + crypto.xseal(key, nonce, cookie, message[-32:-16])


def test_a_message_with_the_cookie_has_a_valid_mac2() -> None:
    checker, jar = exchange()
    message = jar.add_macs(BODY, 2.0)
    assert checker.valid_mac1(message)
    assert checker.valid_mac2(message, SOURCE, 2.0)
    assert not checker.valid_mac2(CookieJar(OURS).add_macs(BODY, 2.0), SOURCE, 2.0)


@pytest.mark.known_bug("Cookie MAC without the source port")
@pytest.mark.parametrize(
    "elsewhere", [SOURCE._replace(port=4001), SOURCE._replace(ip=b"\xc0\x00\x02\x02"), SOURCE._replace(ip=bytes(16))]
)
def test_a_cookie_is_bound_to_address_and_port(elsewhere: Endpoint) -> None:
    """known-bugs.md: cookie MAC without the source port (gotatun)."""
    checker, jar = exchange()
    message = jar.add_macs(BODY, 2.0)
    assert checker.valid_mac2(message, SOURCE, 2.0)
    assert not checker.valid_mac2(message, elsewhere, 2.0)


def test_a_cookie_is_believed_for_120_s() -> None:
    checker, jar = exchange(1.0)
    message = jar.add_macs(BODY, 120.9)
    assert checker.valid_mac2(message, SOURCE, 1.0 + paper.COOKIE_SECRET_MAX_AGE - 0.1)
    assert not checker.valid_mac2(message, SOURCE, 1.0 + paper.COOKIE_SECRET_MAX_AGE)


def test_a_cookie_is_good_for_the_senders_next_try_whenever_it_was_made() -> None:
    checker = CookieChecker(OURS, random.Random(1).randbytes)
    for at in range(1, 400):
        jar = CookieJar(OURS)
        reply = checker.make_reply(jar.add_macs(BODY, at), SOURCE, at)
        jar.consume_reply(CookieReply.unpack(reply), at)
        later = at + 2 * paper.REKEY_TIMEOUT - 0.1
        checker.make_reply(BODY + bytes(32), SOURCE, later)
        assert checker.valid_mac2(jar.add_macs(BODY, later), SOURCE, later), at


def test_a_stored_cookie_is_used_for_120_s() -> None:
    _, jar = exchange(1.0)
    assert any(jar.add_macs(BODY, 1.0 + paper.COOKIE_SECRET_MAX_AGE - 0.1)[-16:])
    assert not any(jar.add_macs(BODY, 1.0 + paper.COOKIE_SECRET_MAX_AGE)[-16:])


def test_a_cookie_reply_is_bound_to_the_last_mac1_and_taken_once() -> None:
    checker, jar = CookieChecker(OURS, random.Random(1).randbytes), CookieJar(OURS)
    first = checker.make_reply(jar.add_macs(BODY, 1.0), SOURCE, 1.0)
    second_message = jar.add_macs(BODY[:-1] + b"\x01", 1.0)
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        jar.consume_reply(CookieReply.unpack(first), 1.0)
    second = CookieReply.unpack(checker.make_reply(second_message, SOURCE, 1.0))
    jar.consume_reply(second, 1.0)
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        jar.consume_reply(second, 1.0)


def test_a_cookie_reply_to_nothing() -> None:
    reply = CookieChecker(OURS, random.Random(1).randbytes).make_reply(BODY + bytes(32), SOURCE, 1.0)
    with pytest.raises(RemoteProtocolError, match=events.BAD_COOKIE_REPLY):
        CookieJar(OURS).consume_reply(CookieReply.unpack(reply), 1.0)


@pytest.mark.parametrize("kind", ["initiation", "response"])
def test_a_cookie_reply_answers_a_message_in_flight_and_no_session(kind: str) -> None:
    """Authentic or not: what names a running session is refused, and the cookie that is there stays."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(0.015 if kind == "initiation" else 0.025)
    us, them = (near, far) if kind == "initiation" else (far, near)
    message = next(packet.data for packet in world.wire if packet.sender == us.name)
    assert them.tunnel._checker is not None
    reply = them.tunnel._checker.make_reply(message, us.address, them.now)
    world.run(10)
    assert near.delivered == []
    assert far.delivered == [b"x"]
    us.tunnel.events()
    us.tunnel.receive_datagram(reply, them.address, us.now)
    assert us.tunnel.events() == [events.Dropped(events.UNKNOWN_INDEX, them.address)]


def initiations(number: int, to: Site) -> list[bytes]:
    """The first messages of as many new peers of the site."""
    messages = []
    for seed in range(number):
        other = Site(World(1000 + seed), "other", b"\x0a\x00\x00\x63")
        assert other.tunnel.public_key is not None
        assert to.tunnel.public_key is not None
        to.tunnel.add_peer(other.tunnel.public_key, to.now)
        other.peer = other.tunnel.add_peer(to.tunnel.public_key, other.now)
        other.tunnel.up(other.now)
        other.tunnel.handshake_wanted(other.peer, other.now)
        [datagram] = other.tunnel.datagrams_to_send()
        messages.append(datagram.data)
    return messages


@pytest.mark.known_bug("A global limiter")
def test_under_load_each_source_is_limited_by_itself() -> None:
    """known-bugs.md: a global limiter lets one attacker push everyone into cookie mode (gotatun)."""
    _, near, far = two_sites()
    far.tunnel._context.activity = lambda _peer: events.Activity()
    flood = [Endpoint(b"\xc0\x00\x02\x01", 1), Endpoint(b"\xc0\x00\x02\x02", 2)]
    messages = initiations(9, far)
    far_key = far.tunnel.public_key
    assert far.tunnel._checker is not None
    assert far_key is not None
    reasons: dict[Endpoint, list[str]] = {source: [] for source in flood}
    for number, message in enumerate(messages):
        source = flood[0] if number < 7 else flood[1]
        reply = far.tunnel._checker.make_reply(message, source, far.now)
        cookie = crypto.xopen(cookie_key(far_key), reply[8:32], reply[32:], message[-32:-16])
        assert cookie is not None
        with_mac2 = message[:-16] + crypto.keyed_mac(cookie, message[:-16])
        far.tunnel.receive_datagram(with_mac2, source, far.now, under_load=True)
        reasons[source] += [event.reason for event in far.tunnel.events() if isinstance(event, events.Dropped)]
    assert reasons == {flood[0]: [events.RATE_LIMITED] * (7 - paper.SOURCE_HANDSHAKES_BURST), flood[1]: []}
    assert near.peer


def test_a_cookie_reply_goes_where_the_message_came_from() -> None:
    _, near, far = two_sites()
    near.tunnel.handshake_wanted(near.peer, near.now)
    [initiation] = near.tunnel.datagrams_to_send()
    source = Endpoint(b"\xc0\x00\x02\x07", 7, 0, b"\x0a\x00\x00\x02", 4)
    assert far.tunnel.receive_datagram(initiation.data, source, far.now, under_load=True) is None
    [reply] = far.tunnel.datagrams_to_send()
    assert (reply.data[0], reply.peer, reply.endpoint) == (COOKIE_REPLY, None, source)
    assert len(reply.data) < len(initiation.data)


def test_burst_then_20_a_second() -> None:
    limiter = RateLimiter()
    allowed = [limiter.allow(SOURCE.ip, 1.0) for _ in range(10)]
    assert allowed == [True] * paper.SOURCE_HANDSHAKES_BURST + [False] * 5
    in_one_second = sum(limiter.allow(SOURCE.ip, 1.0 + step / 1000) for step in range(1, 1001))
    assert in_one_second == paper.SOURCE_HANDSHAKES_PER_SECOND


def test_ipv6_sources_are_sites() -> None:
    limiter = RateLimiter()
    site = bytes.fromhex("20010db800000001")
    same_site = [site + number.to_bytes(8, "big") for number in range(paper.SOURCE_HANDSHAKES_BURST + 1)]
    assert [limiter.allow(ip, 1.0) for ip in same_site] == [True] * paper.SOURCE_HANDSHAKES_BURST + [False]
    assert limiter.allow(bytes.fromhex("20010db800000002") + bytes(8), 1.0)


@pytest.mark.known_bug("Memory grows without bound under load")
def test_the_table_is_bounded_and_forgets() -> None:
    """known-bugs.md: memory grows without bound under load (wireguard-go)."""
    limiter = RateLimiter(max_sources=100)
    assert sum(limiter.allow(number.to_bytes(4, "big"), 1.0) for number in range(1000)) == 100
    assert len(limiter) == 100
    assert limiter.allow((5).to_bytes(4, "big"), 1.0)
    deadline = limiter.next_deadline()
    assert deadline is not None
    limiter.forget_idle(deadline)
    assert len(limiter) == 0
    assert limiter.next_deadline() is None


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.3)), max_size=200))
def test_no_source_ever_gets_more_than_its_bucket(requests: list[tuple[int, float]]) -> None:
    limiter, now = RateLimiter(), 1.0
    granted: dict[int, list[float]] = {}
    for source, pause in requests:
        now += pause
        if limiter.allow(bytes([10, 0, 0, source]), now):
            granted.setdefault(source, []).append(now)
    assert granted.keys() == {source for source, _ in requests}, "the first of each is always granted"
    for times in granted.values():
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                allowance = paper.SOURCE_HANDSHAKES_BURST + (times[last] - start) * paper.SOURCE_HANDSHAKES_PER_SECOND
                assert last - first + 1 <= allowance + 1e-6
