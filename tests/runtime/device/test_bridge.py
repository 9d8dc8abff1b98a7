"""The way between core and plane: nothing is left behind, nothing is sent before its key is there, one timer."""

import errno
import random
import typing

import pytest

from pywg._fastpath import REKEY_WANTED, ROUTING_LOOP, TUN_GONE, UNDER_LOAD
from pywg.config.model import PeerChange
from pywg.constants import COOKIE_SECRET_MAX_AGE
from pywg.core import events
from pywg.core.events import Endpoint
from pywg.runtime.base.log import LIMIT_BURST, peer_name
from pywg.runtime.device.bridge import DRAIN_LIMIT
from pywg.runtime.device.plane import Addr
from tests.cookies import Responder
from tests.runtime.device_harness import DeviceHarness, Pair, clamped, peer_key


def test_the_responders_keypair_is_there_before_its_response_leaves() -> None:
    pair = Pair()
    pair.a.report(1, 1)
    ((_, initiation),) = pair.a.plane.sent
    pair.b.plane.calls.clear()
    pair.b.plane.receive(initiation, (pair.a.address, 1, 0, b"", 0))
    pair.b.poll()
    assert pair.b.plane.calls == ["install_keypair", "send_to_peer"]


def test_the_plane_is_told_of_authentic_messages_alone_and_before_the_answer() -> None:
    """Of a replay from elsewhere, a forged response and a cookie reply it hears nothing, so that they move no one."""
    pair = Pair()
    elsewhere = (bytes([198, 51, 100, 9]), 9, 0, pair.b.address, 1)
    told: list[tuple[int, Addr, int]] = []
    handshake_received = pair.b.plane.handshake_received

    def tell(peer: int, addr: Addr, n: int) -> None:
        told.append((peer, addr, n))
        pair.b.plane.calls.append("handshake_received")
        handshake_received(peer, addr, n)

    pair.b.plane.handshake_received = tell  # type: ignore[method-assign]
    pair.a.report(1, 1)
    ((_, initiation),) = pair.a.plane.sent
    pair.b.plane.calls.clear()
    home = (pair.a.address, 1, 0, pair.b.address, 1)
    pair.b.plane.receive(initiation, home)
    pair.b.poll()
    assert pair.b.plane.calls == ["handshake_received", "install_keypair", "send_to_peer"]
    assert told == [(1, home, len(initiation))]
    ((_, response),) = pair.b.plane.sent
    reply = Responder(pair.a_key, random.Random(1).randbytes).make_reply(response, Endpoint(*home))
    for message in (initiation, flipped(initiation), flipped(response), reply):
        pair.b.plane.receive(message, elsewhere)
        pair.b.poll()
    assert len(told) == 1
    assert pair.b.device.endpoint(1) == home
    assert any("cookie reply received" in line for line in pair.b.lines("DEBUG")), "it was a good one"
    pair.timers.advance(10)
    pair.a.report(1, 1)
    pair.b.plane.receive(pair.a.plane.sent[-1][1], elsewhere)
    pair.b.poll()
    assert told[1:] == [(1, elsewhere, len(initiation))]
    assert pair.b.device.endpoint(1) == elsewhere


def flipped(message: bytes) -> bytes:
    return message[:40] + bytes([message[40] ^ 1]) + message[41:]


def test_every_event_of_the_core_has_a_handler() -> None:
    handled = DeviceHarness().device._bridge._handlers
    assert set(handled) == set(typing.get_args(events.Event))


def test_a_flood_is_taken_in_portions() -> None:
    harness = DeviceHarness()
    harness.set(private_key=clamped(1))
    harness.device.up()
    for _ in range(3 * DRAIN_LIMIT):
        harness.plane.receive(bytes(148), (bytes(4), 9, 0, b"", 0))
    harness.device.on_plane_ready()
    assert len(harness.plane.messages) == 2 * DRAIN_LIMIT


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "no random numbers")])
def test_an_error_about_one_peer_costs_another_none_of_its_events(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = DeviceHarness()
    harness.set(*(PeerChange(peer_key(number)) for number in (1, 2, 3)), private_key=clamped(1))
    harness.device.up()
    tunnel = harness.device._tunnel
    told: list[object] = []

    def wanted(peer: int, now: float) -> None:
        told.append(peer)
        if peer == 1:
            raise error

    def received(data: bytes, source: Endpoint, now: float) -> None:
        told.append(data)
        if data == b"a":
            raise error

    monkeypatch.setattr(tunnel, "rekey_wanted", wanted)
    monkeypatch.setattr(tunnel, "receive_datagram", received)
    for peer in (1, 2, 3):
        harness.plane.report(peer, REKEY_WANTED)
    harness.plane.messages += [(data, (bytes(4), 1, 0, b"", 0)) for data in (b"a", b"b")]
    harness.plane.state = TUN_GONE
    with pytest.raises(type(error)):
        harness.poll()
    assert told == [1, 2, 3, b"a", b"b"]
    assert harness.tun_gone == 1


def test_retransmission_is_timed_and_given_up() -> None:
    pair = Pair()
    pair.a.report(1, 1)
    pair.a.plane.peers[1].staged = [b"data"]
    assert len(pair.a.plane.sent) == 1
    pair.timers.advance(5.4)
    assert len(pair.a.plane.sent) == 2
    pair.timers.advance(120)
    assert 18 <= len(pair.a.plane.sent) <= 20  # paper, 6.4: every 5 s, for 90 s
    assert pair.a.plane.peers[1].staged == []


def test_at_most_one_timer_waits() -> None:
    pair = Pair()
    pair.handshake()
    assert len(pair.timers.pending()) <= 2  # one for each of the two
    for _ in range(50):
        pair.timers.advance(7)
        pair.carry()
        assert len(pair.timers.pending()) <= 2


def test_a_timer_that_comes_too_early_changes_nothing() -> None:
    pair = Pair()
    pair.handshake()
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=3600))
    sent, (at, *_) = len(pair.a.plane.calls), pair.timers.pending()
    pair.a.device._bridge._on_timer()
    assert len(pair.a.plane.calls) == sent
    assert pair.timers.pending()[0] == at


def test_an_idle_device_has_no_timer() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), endpoint=(bytes(4), 1, 0)), private_key=clamped(1))
    harness.device.up()
    assert harness.timers.pending() == []
    harness.set(PeerChange(peer_key(1), persistent_keepalive=9))
    assert len(harness.timers.pending()) == 1


def test_the_deleted_interface_is_reported() -> None:
    harness = DeviceHarness()
    harness.plane.state = 1
    harness.poll()
    assert harness.tun_gone == 1


def test_under_load_the_plane_asks_for_cookies_and_the_core_does_not() -> None:
    """What comes through has been looked at, or came before the load: it is answered in either case."""
    pair = Pair()
    pair.a.report(1, 1)
    ((_, initiation),) = pair.a.plane.sent
    pair.b.plane.state = UNDER_LOAD
    pair.b.plane.receive(initiation, (pair.a.address, 1, 0, pair.b.address, 3))
    pair.b.poll()
    ((to, response),) = pair.b.plane.sent
    assert (to, response[0], len(response)) == (1, 2, 92)


def test_secrets_of_cookies_are_forgotten_when_the_load_is_over() -> None:
    """The plane is asked as long as it has any, and not when there was no load."""
    harness = DeviceHarness()
    harness.timers.advance(1000)
    assert harness.plane.calls.count("forget_cookies") == 0
    harness.plane.state, harness.plane.cookie_secrets = UNDER_LOAD, 1
    harness.poll()
    harness.timers.advance(COOKIE_SECRET_MAX_AGE - 1)
    assert harness.plane.calls.count("forget_cookies") == 0
    harness.timers.advance(1)
    assert harness.plane.calls.count("forget_cookies") == 1
    harness.plane.cookie_secrets = 0
    harness.timers.advance(COOKIE_SECRET_MAX_AGE)
    assert harness.plane.calls.count("forget_cookies") == 2
    harness.timers.advance(1000)
    assert harness.plane.calls.count("forget_cookies") == 2


def test_the_plane_knows_its_peers_keys_for_their_cookie_replies() -> None:
    pair = Pair()
    assert pair.a.plane.peers[1].public_key == pair.b_key


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 31])
def test_signs_of_life_of_a_peer_that_is_gone_are_ignored(flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    pair.a.set(PeerChange(pair.b_key, remove=True))
    monkeypatch.setattr(pair.a.plane, "endpoint", lambda _peer: None)
    pair.a.report(1, flags, 12345)
    assert pair.a.plane.sent == []
    monkeypatch.undo()
    pair.a.set(PeerChange(pair.b_key, endpoint=(pair.b.address, 2, 0)))
    pair.a.report(2, 1)
    assert len(pair.a.plane.sent) == 1, "those of the peer that it has become are not"


def test_a_routing_loop_is_told_and_not_too_often() -> None:
    pair = Pair()
    pair.handshake()
    for _ in range(100):
        pair.a.report(1, ROUTING_LOOP)
    lines = [line for line in pair.a.text.getvalue().splitlines() if "routing loop" in line]
    assert len(lines) == LIMIT_BURST
    assert all("WARNING" in line and f"{peer_name(pair.b_key)} " in line for line in lines)
