"""Why there is no handshake: each cause is a line at the default level, once; strangers can't fill a log."""

import errno
from collections.abc import Callable

import pytest

from pywg.config.model import PeerChange
from pywg.runtime.base.log import LIMIT_BURST, key_name, peer_name
from pywg.runtime.device.handshake_log import UNKNOWN_KEYS
from tests.runtime.device_harness import DeviceHarness, Pair, clamped, peer_key, prefix, public

TO_B = "192.0.2.2:2"


def _lose(pair: Pair) -> None:
    pair.a.plane.sent.clear()
    pair.b.plane.sent.clear()


def _attempts(pair: Pair, seconds: float, *, deliver: bool = False, data: bool = False) -> None:
    """`a` has data for `b`, once or again and again, and what is sent arrives or is lost."""
    pair.a.report(1, 1)
    for _ in range(int(seconds)):
        if data:
            pair.a.report(1, 1)
        pair.carry() if deliver else _lose(pair)
        pair.timers.advance(1)


def _fails_to_send(error: int) -> Callable[[Pair], None]:
    def cause(pair: Pair) -> None:
        pair.a.plane.refuses_with = error
        _attempts(pair, 30)

    return cause


def _is_refused(error: int) -> Callable[[Pair], None]:
    def cause(pair: Pair) -> None:
        pair.a.refusals.code = error
        _attempts(pair, 300, data=True)

    return cause


def _nobody_answers(pair: Pair) -> None:
    _attempts(pair, 300)


def _nobody_answers_while_data_comes(pair: Pair) -> None:
    _attempts(pair, 300, data=True)


def _another_preshared_key(pair: Pair) -> None:
    pair.b.set(PeerChange(pair.a_key, preshared_key=bytes(range(32))))
    _attempts(pair, 300, deliver=True)


def _clock_gone_back(pair: Pair) -> None:
    """`a` was started anew, or it would count on from its last timestamp, and its clock is an hour behind."""
    pair.handshake()
    pair.timers.advance(10)
    again = DeviceHarness(pair.timers, pair.a.address)
    again.clock_offset = -3600.0
    again.set(
        PeerChange(pair.b_key, endpoint=(pair.b.address, 2, 0), allowed_ips=[prefix("10.2.0.0/16")]),
        private_key=clamped(1),
        listen_port=1,
    )
    again.device.up()
    pair.a = again
    _attempts(pair, 80, deliver=True)


def _unknown_public_key(pair: Pair) -> None:
    pair.b.set(PeerChange(pair.a_key, remove=True))
    _attempts(pair, 80, deliver=True)


def _no_private_key(pair: Pair) -> None:
    pair.a.set(private_key=bytes(32))
    _attempts(pair, 30, data=True)


def _malformed_public_key(pair: Pair) -> None:
    pair.a.set(PeerChange(pair.b_key, remove=True), PeerChange(bytes(32), endpoint=(pair.b.address, 2, 0)))
    pair.a.report(2, 1)
    pair.timers.advance(120)


CAUSES = {
    "no route": (
        _fails_to_send(errno.ENETUNREACH),
        f"sending to {TO_B} fails: Network is unreachable (no route leads there)",
    ),
    "no IPv6": (_fails_to_send(errno.EAFNOSUPPORT), "there is no socket of that family: it is off on this host"),
    "filtered here": (_fails_to_send(errno.EPERM), "Operation not permitted (a packet filter of this host drops it)"),
    "prohibited here": (_fails_to_send(errno.EACCES), "Permission denied (a route or a packet filter of this host"),
    "no neighbour": (_fails_to_send(errno.EHOSTUNREACH), f"sending to {TO_B} fails: No route to host"),
    "refused": (
        _is_refused(errno.ECONNREFUSED),
        f"{TO_B} refuses what is sent there: Connection refused (no program listens on that port there)",
    ),
    "host down": (_is_refused(errno.EHOSTUNREACH), "the host is down, or a firewall rejects"),
    "no answer": (_nobody_answers, f"no answer from {TO_B} for 90 s: check the endpoint, the firewalls"),
    "no answer, data": (_nobody_answers_while_data_comes, f"no answer from {TO_B} for 90 s: check"),
    "other preshared key": (
        _another_preshared_key,
        f"the answer from {TO_B} does not authenticate: has the other end another preshared key?",
    ),
    "clock": (_clock_gone_back, "its initiations from 192.0.2.1:1 are older than one before: has its clock gone back?"),
    "unknown key": (
        _unknown_public_key,
        f"initiation from 192.0.2.1:1 under the unknown public key {key_name(public(clamped(1)))}",
    ),
    "no private key": (_no_private_key, "no handshake without a private key, and none is set"),
    "malformed key": (_malformed_public_key, "no handshake: nobody can have its public key, which is malformed"),
}
AT_THE_OTHER_END = {"clock", "unknown key"}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_a_line_at_the_default_level_once(name: str) -> None:
    cause, expected = CAUSES[name]
    pair = Pair()
    cause(pair)
    said = pair.b if name in AT_THE_OTHER_END else pair.a
    (line,) = said.lines("ERROR")
    assert expected in line
    if name == "malformed key":
        assert line.startswith(f"{peer_name(bytes(32))}: ")
    elif name != "unknown key":
        assert line.startswith(f"{peer_name(pair.a_key if said is pair.b else pair.b_key)}: ")


def test_a_handshake_that_works_is_no_line() -> None:
    pair = Pair()
    _attempts(pair, 400, deliver=True, data=True)
    assert pair.a.plane.keypairs
    for harness in (pair.a, pair.b):
        assert harness.lines("ERROR") == harness.lines("WARNING") == []
        assert harness.refusals.asked == []


def test_no_answer_names_the_key_that_the_other_end_has_to_know() -> None:
    pair = Pair()
    _nobody_answers(pair)
    assert f"and ours there ({key_name(pair.a_key)})" in pair.a.lines("ERROR")[0]


@pytest.mark.parametrize("name", [name for name in CAUSES if name not in ("unknown key", "no private key")])
def test_the_cause_is_told_to_a_client_too(name: str) -> None:
    cause, expected = CAUSES[name]
    pair = Pair()
    assert pair.a.device.troubles() == pair.b.device.troubles() == []
    cause(pair)
    told = pair.b if name in AT_THE_OTHER_END else pair.a
    (trouble,) = told.device.troubles()
    assert expected in trouble.trouble
    if name not in ("clock", "malformed key"):
        assert trouble.initiations_unanswered >= 4
        assert trouble.unanswered_seconds >= 25


def test_unanswered_initiations_are_counted_past_a_giving_up_and_until_an_answer() -> None:
    pair = Pair()
    _attempts(pair, 12)
    (trouble,) = pair.a.device.troubles()
    assert (trouble.public_key, trouble.initiations_unanswered, trouble.trouble) == (pair.b_key, 3, "")
    assert trouble.unanswered_seconds == 12
    _attempts(pair, 300)
    assert "handshake given up" in "".join(pair.a.lines("DEBUG"))
    (trouble,) = pair.a.device.troubles()
    assert trouble.initiations_unanswered > 20
    assert trouble.unanswered_seconds == 312
    _attempts(pair, 10, deliver=True)
    assert pair.a.device.troubles() == []


def test_what_is_told_has_no_part_of_our_key() -> None:
    """Monitors are told too, and don't learn it. The log, which is root's, names it: see below."""
    pair = Pair()
    _nobody_answers(pair)
    (trouble,) = pair.a.device.troubles()
    assert trouble.trouble.endswith("its public key here, and ours there")
    pair.a.set(PeerChange(pair.b_key, remove=True))
    assert pair.a.device.troubles() == []


# Once more when it is over


@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EPERM])
def test_sending_that_works_again_is_said(error: int) -> None:
    pair = Pair()
    _fails_to_send(error)(pair)
    pair.a.plane.refuses_with = 0
    _attempts(pair, 10, deliver=True)
    assert [line.split(": ", 1)[1] for line in pair.a.lines("ERROR")[1:]] == [f"sending to {TO_B} works again"]
    assert pair.a.plane.keypairs


@pytest.mark.parametrize("cause", [_nobody_answers, _is_refused(errno.ECONNREFUSED), _another_preshared_key])
def test_a_handshake_that_works_again_is_said(cause: Callable[[Pair], None]) -> None:
    pair = Pair()
    cause(pair)
    pair.b.set(PeerChange(pair.a_key, preshared_key=bytes(32)))
    _attempts(pair, 10, deliver=True)
    assert pair.a.lines("ERROR")[1:] == [f"{peer_name(pair.b_key)}: handshake with {TO_B} works again"]
    pair.timers.advance(1000)
    _attempts(pair, 10, deliver=True)
    assert len(pair.a.lines("ERROR")) == 2


def test_another_errno_is_another_line() -> None:
    pair = Pair()
    for error in (errno.ENETUNREACH, errno.EPERM, errno.EPERM, errno.ENETUNREACH):
        pair.timers.advance(100)
        _fails_to_send(error)(pair)
    assert [line.split("fails: ")[1].split(" (")[0] for line in pair.a.lines("ERROR")] == [
        "Network is unreachable",
        "Operation not permitted",
        "Network is unreachable",
    ]


def test_another_endpoint_is_another_story_and_the_same_is_not() -> None:
    pair = Pair()
    _nobody_answers(pair)
    pair.a.set(PeerChange(pair.b_key, endpoint=(pair.b.address, 2, 0)))
    _nobody_answers(pair)
    assert len(pair.a.lines("ERROR")) == 1
    pair.a.set(PeerChange(pair.b_key, endpoint=(pair.b.address, 3, 0)))
    _nobody_answers(pair)
    assert len(pair.a.lines("ERROR")) == 2
    assert "192.0.2.2:3" in pair.a.lines("ERROR")[1]


def test_time_while_the_interface_was_down_is_no_attempt() -> None:
    pair = Pair()
    _attempts(pair, 10)
    pair.a.device.down()
    pair.timers.advance(1000)
    pair.a.device.up()
    _attempts(pair, 10)
    assert pair.a.lines("ERROR") == []


def test_a_peer_that_went_away_by_itself_is_no_error() -> None:
    """Its endpoint is where it once spoke from: nobody has said that it answers there."""
    pair = Pair()
    pair.handshake()
    pair.timers.advance(200)
    for _ in range(300):
        pair.b.report(1, 1)
        _lose(pair)
        pair.timers.advance(1)
    assert pair.b.lines("ERROR") == []
    assert [line for line in pair.b.lines("INFO") if "no answer from 192.0.2.1:1" in line]
    assert pair.b.refusals.asked == []


def test_endpoints_are_asked_now_and_then() -> None:
    pair = Pair()
    _nobody_answers(pair)
    assert 1 <= len(pair.a.refusals.asked) <= 3
    assert pair.a.refusals.asked[0][:2] == (pair.b.address, 2)


# What strangers can do


def test_one_copy_of_an_initiation_is_no_trouble() -> None:
    pair = Pair()
    pair.a.report(1, 1)
    ((_, initiation),) = pair.a.plane.sent
    for _ in range(2):
        pair.b.plane.receive(initiation, (pair.a.address, 1, 0, b"", 0))
        pair.b.poll()
    assert pair.b.lines("ERROR") == []
    assert pair.b.device.stats()["counter_handshake_replayed_initiation"] == 1


def test_a_flood_of_unknown_keys_is_a_handful_of_lines() -> None:
    harness, there = DeviceHarness(), public(clamped(2))
    harness.set(private_key=clamped(2), listen_port=2)
    harness.device.up()
    for number in range(3 * UNKNOWN_KEYS):
        stranger = DeviceHarness(harness.timers)
        stranger.set(PeerChange(there, endpoint=(bytes(4), 2, 0)), private_key=clamped(10 + number % 200))
        stranger.device.up()
        stranger.report(1, 1)
        for _, data in stranger.plane.sent:
            harness.plane.receive(data, (bytes([10, 0, 0, 1]), 5, 0, b"", 0))
            harness.poll()
    assert harness.device.stats()["counter_handshake_unknown_peer"] == 3 * UNKNOWN_KEYS
    lines = harness.lines("ERROR")
    assert len(lines) == LIMIT_BURST
    assert len(set(lines)) == LIMIT_BURST


def test_a_thousand_peers_in_trouble_are_a_handful_of_lines() -> None:
    harness = DeviceHarness()
    harness.set(
        *(PeerChange(peer_key(number), endpoint=(bytes([10, 0, 0, 1]), 9, 0)) for number in range(1, 1001)),
        private_key=clamped(1),
    )
    harness.device.up()
    harness.plane.refuses_with = errno.ENETUNREACH
    for number in range(1, 1001):
        harness.report(number, 1)
    assert harness.plane.calls.count("send_to_peer") == 1000
    assert len(harness.lines("ERROR")) == LIMIT_BURST
    harness.timers.advance(85)
    assert LIMIT_BURST < len(harness.lines("ERROR")) <= 10 * (LIMIT_BURST + 1), "the others follow, a few at a time"


# At debug each step


def test_each_step_is_a_line_at_debug() -> None:
    pair = Pair()
    _attempts(pair, 12)
    pair.a.plane.refuses_with = errno.EAGAIN
    pair.timers.advance(5)
    pair.a.plane.refuses_with = 0
    pair.timers.advance(5)
    pair.carry()
    name = f"{peer_name(pair.b_key)}: "
    steps = [line.removeprefix(name) for line in pair.a.lines("DEBUG") if line.startswith(name)]
    assert steps == [
        f"initiation sent to {TO_B}, try 1",
        f"initiation sent to {TO_B}, try 2",
        f"initiation sent to {TO_B}, try 3",
        f"sending to {TO_B} fails: Resource temporarily unavailable",
        f"initiation sent to {TO_B}, try 5",
        f"response received from {TO_B}",
        "handshake completed",
    ]
    name = f"{peer_name(pair.a_key)}: "
    steps = [line.removeprefix(name) for line in pair.b.lines("DEBUG") if line.startswith(name)]
    assert steps == ["initiation received from 192.0.2.1:1", "response sent to 192.0.2.1:1", "handshake completed"]
    assert not [line for line in pair.a.lines("DEBUG") if "peer 1" in line]


def test_the_end_of_an_attempt_is_a_line_at_debug() -> None:
    pair = Pair()
    _nobody_answers(pair)
    assert f"{peer_name(pair.b_key)}: no answer to 18 initiations: handshake given up" in pair.a.lines("DEBUG")
