"""Two cores over a simulated network at its worst: replays, load, roaming, clock jumps, loss, a day's time."""

import pytest

from pywg.core import events
from pywg.core.events import (
    CookieReceived,
    Endpoint,
    HandshakeCompleted,
    HandshakeGivenUp,
    KeepaliveWanted,
    KeypairDerived,
)
from pywg.dataplane.crypto.secret import Secret
from tests import paper
from tests.simulation import COOKIE_REPLY, INITIATION, KEEPALIVE, RESPONSE, START, two_sites

SLACK = 0.5


def test_replayed_initiations_are_refused() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(10)
    initiation = next(packet.data for packet in world.wire if packet.kind == INITIATION)
    keypairs = dict(far.keypairs)
    far.receive(initiation, Endpoint(b"\x0a\x00\x00\x63", 1))
    assert far.drops() == [events.REPLAYED_INITIATION]
    assert far.keypairs == keypairs
    assert far.remote == near.address
    assert len(world.sent(far, RESPONSE)) == 1


def test_a_replayed_response_changes_nothing() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(10)
    response = next(packet.data for packet in world.wire if packet.kind == RESPONSE)
    near.tunnel.receive_datagram(response, far.address, near.now)
    assert near.tunnel.events() == [events.Dropped(events.UNKNOWN_INDEX, far.address)]


def test_initiations_of_one_peer_are_answered_once_per_20_ms() -> None:
    world, near, far = two_sites()
    near.tunnel.rekey_wanted(near.peer, near.now)
    [first] = near.tunnel.datagrams_to_send()
    world.now += 10
    near.tunnel.rekey_wanted(near.peer, near.now)
    [second] = near.tunnel.datagrams_to_send()
    far.receive(first.data, near.address)
    world.now += 1 / paper.INITIATIONS_PER_SECOND - 0.001
    far.receive(second.data, near.address)
    assert far.drops() == [events.INITIATION_FLOOD]
    world.now += 0.002
    far.receive(second.data, near.address)
    assert len(far.happened(KeypairDerived)) == 2


@pytest.mark.dropin("20")
def test_cookie_exchange_under_load() -> None:
    world, near, far = two_sites()
    far.under_load = True
    near.send(b"x")
    world.run(4)
    assert [packet.kind for packet in world.wire] == [INITIATION, COOKIE_REPLY]
    assert far.asked_for_cookies == 1
    assert far.keypairs == {}
    world.run(4)
    assert far.delivered == [b"x"]
    assert world.wire[2].kind == INITIATION
    assert any(world.wire[2].data[-16:])


def test_a_cookie_is_used_for_120_s() -> None:
    world, near, far = two_sites()
    far.under_load = True
    near.send(b"x")
    world.run(10)
    far.under_load = False
    for _ in range(22):
        near.tunnel.rekey_wanted(near.peer, near.now)
        world.run(6)
    with_cookie = [packet.at - START for packet in world.wire if packet.kind == INITIATION and any(packet.data[-16:])]
    without = [packet.at - START for packet in world.wire if packet.kind == INITIATION and not any(packet.data[-16:])]
    assert with_cookie[-1] < paper.COOKIE_SECRET_MAX_AGE + SLACK
    assert with_cookie[-1] > paper.COOKIE_SECRET_MAX_AGE - 10
    assert without[1] >= paper.COOKIE_SECRET_MAX_AGE


def test_a_response_under_load_needs_a_cookie_too() -> None:
    world, near, far = two_sites()
    near.under_load = True
    near.send(b"x")
    world.run(1)
    assert [packet.kind for packet in world.wire] == [INITIATION, RESPONSE, COOKIE_REPLY]
    world.run(8)
    assert far.delivered == [b"x"]  # the second response carried the cookie


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams on a cookie reply")
def test_cookie_replies_move_no_endpoint() -> None:
    """Known bug of gotatun: roams on a cookie reply."""
    world, near, far = two_sites()
    far.under_load = True
    near.send(b"x")
    world.run(0.015)
    [reply] = [packet.data for packet in world.wire if packet.kind == COOKIE_REPLY]
    near.receive(reply, Endpoint(b"\x0a\x00\x00\x63", 1))
    assert near.drops() == []
    assert near.happened(CookieReceived) != []
    assert near.remote == far.address


@pytest.mark.dropin("16")
@pytest.mark.known_bug("Roams only on handshakes")
def test_roaming_by_transport_data() -> None:
    """Known bug of gotatun. The data plane moves; the core does not know, and must not move it back."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    near.address = Endpoint(b"\x0a\x00\x00\x09", 4444)
    near.send(b"from elsewhere")
    world.run(1)
    assert far.remote == near.address
    far.send(b"to elsewhere")
    far.tunnel.rekey_wanted(far.peer, far.now)
    world.run(10)
    assert near.delivered == [b"to elsewhere"]
    assert far.remote == near.address


def test_roaming_by_handshake() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(200)
    near.address = Endpoint(b"\x0a\x00\x00\x09", 4444)
    near.send(b"from elsewhere")
    world.run(1)
    assert far.remote == near.address
    assert far.delivered[-1] == b"from elsewhere"


@pytest.mark.known_bug("A PSK change is ignored")
def test_a_changed_preshared_key_takes_effect_with_the_next_handshake() -> None:
    """Known bug of gotatun: a PSK change is ignored."""
    world, near, far = two_sites()
    near.send(b"no psk")
    world.run(6)
    near.tunnel.set_preshared_key(near.peer, Secret(b"\x01" * 32))
    near.send(b"the old session goes on")
    world.run(1)
    assert far.delivered[-1] == b"the old session goes on"
    near.tunnel.rekey_wanted(near.peer, near.now)
    world.run(1)
    assert near.drops() == [events.BAD_RESPONSE]
    far.tunnel.set_preshared_key(far.peer, Secret(b"\x01" * 32))
    world.run(10)
    assert len(near.happened(HandshakeCompleted)) == 2


@pytest.mark.dropin("time")
@pytest.mark.known_bug("Stale source")
@pytest.mark.parametrize("jump", [20.0, 200.0, 86_400.0, 1e7])
def test_a_suspended_machine_recovers(jump: float) -> None:
    """Known bugs: a clock jump panics (gotatun); a stale source after suspend (wireguard-go)."""
    world, near, far = two_sites()
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    near.send(b"x")
    world.run(10)
    near.clock_offset += jump
    near.wall_offset_ns += int(jump * 1e9)
    world.run(30)
    near.send(b"awake")
    world.run(10)
    assert far.delivered[-1] == b"awake"


@pytest.mark.dropin("time")
@pytest.mark.known_bug("Clock jump panics")
@pytest.mark.known_bug("A clock far in the future")
@pytest.mark.parametrize("jump_ns", [-86_400 * 10**9, 86_400 * 10**9, -1, -30 * 10**6])
def test_a_wall_clock_that_jumps_makes_no_handshake_fail(jump_ns: int) -> None:
    """Known limit of the protocol: a clock far in the future makes a key unusable. Not while the process lives."""
    world, near, _far = two_sites()
    near.wall_offset_ns += max(0, -jump_ns)
    near.send(b"x")
    world.run(10)
    near.wall_offset_ns += jump_ns
    for number in range(5):
        near.tunnel.rekey_wanted(near.peer, near.now)
        world.run(6)
        assert len(near.happened(HandshakeCompleted)) == 2 + number


@pytest.mark.dropin("time")
@pytest.mark.known_bug("Clock jump panics")
def test_a_stopped_wall_clock_makes_no_handshake_fail() -> None:
    world, near, _far = two_sites()
    near.tunnel._context.wall_ns = lambda: 10**18
    for number in range(5):
        near.tunnel.rekey_wanted(near.peer, near.now)
        world.run(6)
        assert len(near.happened(HandshakeCompleted)) == 1 + number


@pytest.mark.parametrize("seed", range(6))
def test_a_terrible_network_delivers_only_what_was_sent(seed: int) -> None:
    world, near, far = two_sites(seed)
    world.loss, world.duplication, world.delay = 0.3, 0.3, (0.001, 2.0)
    numbers = iter(range(10**6))
    sent: dict[str, list[bytes]] = {"near": [], "far": []}

    def talk() -> None:
        for site in (near, far):
            data = b"%d" % next(numbers)
            sent[site.name].append(data)
            site.send(data)

    world.every(3, talk, START + 1500)
    world.run(1600)
    for site, other in ((near, "far"), (far, "near")):
        assert len(site.delivered) == len(set(site.delivered))
        assert set(site.delivered) <= set(sent[other])
        assert len(site.delivered) > 0.5 * len(sent[other])
        assert len(site.keypairs) <= 3


@pytest.mark.dropin("time")
@pytest.mark.known_bug("Memory grows without bound after days")
def test_24_hours() -> None:
    """Known bug of wireguard-go: memory grows for days. Indices, deadlines and events stay few."""
    world, near, far = two_sites()
    world.loss = 0.02
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    world.every(60, lambda: near.send(b"tick"), START + 86_400)
    world.every(95, lambda: far.send(b"tock"), START + 86_400)
    world.run(86_400)
    assert len(far.delivered) > 0.97 * 1440
    assert len(near.delivered) > 0.97 * 909
    assert len(near.happened(HandshakeCompleted)) == pytest.approx(86_400 / paper.REKEY_AFTER_TIME, rel=0.35)
    for site in (near, far):
        assert len(site.tunnel._context.indices) == len(site.keypairs) + len(site.open_indices) <= 4
        assert len(site.tunnel._deadlines._heap) <= 100
        assert site.happened(HandshakeGivenUp) == []


def test_an_idle_tunnel_asks_for_nothing() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    assert near.tunnel.next_deadline() is not None
    assert far.tunnel.next_deadline() is not None
    world.run(paper.KEY_ZEROING_TIME + 60)
    assert near.tunnel.next_deadline() is None
    assert far.tunnel.next_deadline() is None


def test_down_wipes_and_up_starts_again() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    near.tunnel.down(near.now)
    near.pump()
    assert near.keypairs == {}
    assert near.open_indices == set()
    assert near.sending is None
    assert near.tunnel.next_deadline() is None
    near.tunnel.up(near.now)
    near.send(b"again")  # at once: the limit of one initiation in 5 s starts anew
    world.run(1)
    assert far.delivered == [b"x", b"again"]


def test_the_keepalive_that_confirms_a_session_is_asked_for_once() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(5)
    assert len(near.happened(KeepaliveWanted)) == 1
    assert far.happened(KeepaliveWanted) == []
    assert far.delivered == [b"x"]
    assert KEEPALIVE not in far.staged


@pytest.mark.parametrize("delay", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_initiations_that_cross_cross_once(seed: int, delay: float) -> None:
    """However long a message takes: both hosts send at once, again and again, and the second attempt is one of one end.

    With jitter alone, two ends behind a satellite begin at once for minutes, each answering what the other gave up.
    """
    world, near, far = two_sites(seed)
    world.delay = (delay, delay)
    for site in (near, far):
        world.every(1.0, lambda site=site: site.send(b"x"), world.now + 30)  # type: ignore[misc]
    world.run(30)
    first = [near.times(HandshakeCompleted)[0], far.times(HandshakeCompleted)[0]]
    assert max(first) <= paper.REKEY_TIMEOUT + paper.REKEY_TIMEOUT_JITTER + 4 * delay
    assert near.delivered
    assert far.delivered
