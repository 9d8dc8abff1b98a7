"""Two cores over a simulated network: every timer, loss, both roles, hours of protocol time. See tests/sim.py.

The expected times are the paper's (tests/paper.py); the network's delay is 10 ms each way where a test says nothing
else.
"""

import itertools

import pytest

from pywg._native.secret import Secret
from pywg.core import events
from pywg.core.events import (
    DropStaged,
    EndpointMoved,
    HandshakeCompleted,
    HandshakeGivenUp,
    KeepaliveWanted,
    KeypairDerived,
    KeypairRetired,
    SendingKeypairChanged,
    SourceCleared,
)
from tests import paper
from tests.sim import COOKIE_REPLY, INITIATION, KEEPALIVE, RESPONSE, START, TRANSPORT, Endpoint, two_sites

SLACK = 0.5


def test_the_first_packet_starts_a_session_and_arrives() -> None:
    world, near, far = two_sites()
    near.send(b"hello")
    world.run(1)
    assert far.delivered == [b"hello"]
    assert world.sent(near, INITIATION) == [0.0]
    assert len(world.sent(far, RESPONSE)) == 1
    assert [type(event) for _, event in near.happened(KeypairDerived, SendingKeypairChanged, HandshakeCompleted)] == [
        KeypairDerived,
        SendingKeypairChanged,
        HandshakeCompleted,
    ]
    [(_, derived)] = far.happened(KeypairDerived)
    assert isinstance(derived, KeypairDerived)
    assert not derived.initiator
    assert not derived.confirmed
    assert near.tunnel.peer_state(near.peer).last_handshake_wall_ns > 0


@pytest.mark.parametrize("preshared_key", [None, b"\x33" * 32], ids=["no psk", "psk"])
def test_data_flows_both_ways(preshared_key: bytes | None) -> None:
    world, near, far = two_sites(preshared_key=preshared_key)
    near.send(b"ping")
    world.after(0.5, lambda: far.send(b"pong"))
    world.run(1)
    assert (near.delivered, far.delivered) == ([b"pong"], [b"ping"])


def test_a_responder_sends_nothing_before_the_initiators_first_packet() -> None:
    world, near, far = two_sites()
    near.send(b"first")
    world.run(0.015)  # the initiation has arrived, the response is on its way
    far.send(b"too early")
    world.run(0.001)
    assert not world.sent(far, TRANSPORT)
    assert far.sending is None
    world.run(1)
    assert near.delivered == [b"too early"]


def test_a_session_without_data_is_confirmed_by_a_keepalive() -> None:
    world, near, far = two_sites()
    near.tunnel.rekey_wanted(near.peer, near.now)
    world.run(1)
    assert far.keepalives_received == 1
    assert far.sending is not None


def test_an_unanswered_initiation_is_sent_again_with_jitter_and_given_up_after_90_s() -> None:
    world, near, far = two_sites()
    far.reachable = False
    near.send(b"anyone?")
    world.run(200)
    sent = world.sent(near, INITIATION)
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert len(sent) == paper.REKEY_ATTEMPT_TIME / paper.REKEY_TIMEOUT
    assert all(paper.REKEY_TIMEOUT <= gap <= paper.REKEY_TIMEOUT + paper.REKEY_TIMEOUT_JITTER for gap in gaps)
    assert len({round(gap, 6) for gap in gaps}) > len(gaps) / 2
    [given_up] = near.times(HandshakeGivenUp)
    assert paper.REKEY_ATTEMPT_TIME <= given_up <= paper.REKEY_ATTEMPT_TIME * 1.07
    assert near.times(DropStaged) == [given_up]
    assert near.staged == []
    world.run(paper.KEY_ZEROING_TIME)
    assert len(world.sent(near, INITIATION)) == len(sent)
    assert near.open_indices == set()  # the residue of the handshake is gone too


def test_new_data_starts_again_after_giving_up() -> None:
    world, near, far = two_sites()
    far.reachable = False
    near.send(b"lost")
    world.run(200)
    far.reachable = True
    near.send(b"found")
    world.run(1)
    assert far.delivered == [b"found"]


def test_new_data_while_trying_resets_the_attempt_time() -> None:
    world, near, far = two_sites()
    far.reachable = False
    near.send(b"first")
    world.after(60, lambda: near.send(b"second"))
    world.run(300)
    [given_up] = near.times(HandshakeGivenUp)
    assert given_up >= 60 + paper.REKEY_ATTEMPT_TIME - paper.REKEY_TIMEOUT


def test_a_rekey_gives_up_too() -> None:
    """known-bugs.md: a rekey never gives up (tailscale-rs)."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    far.reachable = False
    world.after(paper.REKEY_AFTER_TIME, lambda: near.send(b"old"))
    world.run(paper.REKEY_AFTER_TIME + 400)
    [given_up] = near.times(HandshakeGivenUp)
    # The data sent at 121 s starts it, and once more when nothing has come back for 15 s.
    assert given_up < 121 + paper.NEW_HANDSHAKE_TIMEOUT + paper.REKEY_ATTEMPT_TIME * 1.07
    assert world.sent(near, INITIATION)[-1] < given_up


def test_a_late_response_still_counts_after_giving_up() -> None:
    world, near, _far = two_sites()
    world.delay = (60.0, 60.0)
    near.send(b"x")
    world.run(260)
    assert near.times(HandshakeGivenUp)[0] < near.times(HandshakeCompleted)[0]
    assert near.happened(HandshakeCompleted)


def test_the_initiator_rekeys_at_120_s_when_it_sends() -> None:
    world, near, far = two_sites()
    world.every(1, lambda: near.send(b"tick"), START + 130)
    world.run(140)
    assert len(world.sent(near, INITIATION)) == 2
    assert world.sent(near, INITIATION)[1] == pytest.approx(paper.REKEY_AFTER_TIME, abs=1 + SLACK)
    assert world.sent(far, INITIATION) == []
    assert len(far.delivered) == 131


def test_the_responder_does_not_rekey_what_it_sends() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    world.every(1, lambda: far.send(b"tick"), START + 160)
    world.run(160)
    assert world.sent(far, INITIATION) == []
    assert len(near.delivered) == 160


def test_an_initiator_that_only_receives_rekeys_at_165_s() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(158)  # so that no keepalive of its own, a packet sent, falls between 120 s and 165 s
    world.every(1, lambda: far.send(b"tick"), START + 175)
    world.run(20)
    assert len(world.sent(near, INITIATION)) == 2
    assert world.sent(near, INITIATION)[1] == pytest.approx(paper.RECEIVER_REKEY_TIME, abs=1 + SLACK)
    assert world.sent(far, INITIATION) == []


def test_either_side_may_be_the_next_initiator() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(200)  # nobody sent, the session is too old for both
    far.send(b"y")
    world.run(1)
    assert near.delivered == [b"y"]
    assert len(world.sent(far, INITIATION)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_both_sides_at_once(seed: int) -> None:
    world, near, far = two_sites(seed)
    near.send(b"from near")
    far.send(b"from far")
    world.run(12)
    assert near.delivered == [b"from far"]
    assert far.delivered == [b"from near"]


def test_a_new_handshake_15_s_after_unanswered_data() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(30)
    far.reachable = False
    near.send(b"into the void")
    world.run(40)
    second = world.sent(near, INITIATION)[1]
    lower = 30 + paper.NEW_HANDSHAKE_TIMEOUT
    assert lower <= second <= lower + paper.REKEY_TIMEOUT_JITTER
    assert near.times(SourceCleared)[0] == second


def test_answered_data_starts_no_handshake() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    world.every(5, lambda: (near.send(b"ask"), far.send(b"answer")), START + 100)
    world.run(115)
    assert len(world.sent(near, INITIATION)) == 1
    assert world.sent(far, INITIATION) == []


def test_a_passive_keepalive_after_10_s() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(5)
    sent_before = len(world.sent(far, TRANSPORT))
    world.run(30)
    keepalives = world.sent(far, TRANSPORT)[sent_before:]
    assert keepalives == pytest.approx([paper.KEEPALIVE_TIMEOUT], abs=SLACK)


def test_a_passive_keepalive_is_in_time_while_data_is_unanswered() -> None:
    """The core hears of the first activity only: what comes after it must be looked for."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(100)
    near.send(b"unanswered from 100 on")
    world.after(1, lambda: far.send(b"so near owes from 101 on"))
    world.run(50)
    last = world.sent(near, TRANSPORT)[-1]
    assert last == pytest.approx(101 + paper.KEEPALIVE_TIMEOUT, abs=SLACK)


def test_keepalives_never_answer_keepalives() -> None:
    """known-bugs.md: keepalives answer keepalives (gotatun)."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(100)
    assert len(world.sent(near, TRANSPORT)) + len(world.sent(far, TRANSPORT)) == 2  # the data and one keepalive
    assert near.keepalives_received == 1


def test_data_makes_a_passive_keepalive_needless() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.after(9, lambda: far.send(b"an answer"))
    world.run(15)
    assert near.keepalives_received == 0


def test_persistent_keepalive() -> None:
    world, near, _far = two_sites()
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    world.run(101)
    assert world.sent(near, INITIATION) == [0.0]
    assert world.sent(near, TRANSPORT) == pytest.approx([0.02, 25.02, 50.02, 75.02, 100.02], abs=0.1)
    near.tunnel.set_persistent_keepalive(near.peer, 0, near.now)
    world.run(100)
    assert len(world.sent(near, TRANSPORT)) == 5


def test_persistent_keepalive_waits_while_there_is_traffic() -> None:
    world, near, far = two_sites()
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    world.every(5, lambda: (near.send(b"a"), far.send(b"b")), START + 60)
    world.run(80)
    assert far.keepalives_received <= 1  # the one that was sent at once; the next is due at 85


def test_persistent_keepalive_keeps_trying_a_dead_peer_for_ever() -> None:
    world, near, far = two_sites()
    far.reachable = False
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    world.run(3600)
    far.reachable = True
    world.run(60)
    assert near.happened(HandshakeCompleted)


def test_up_sends_the_persistent_keepalives() -> None:
    world, near, _far = two_sites()
    near.tunnel.down(near.now)
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    world.run(50)
    assert world.wire == []
    near.tunnel.up(near.now)
    world.run(1)
    assert near.happened(HandshakeCompleted)


def test_keys_are_wiped_540_s_after_the_last_session() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(paper.KEY_ZEROING_TIME - 1)
    assert near.keypairs
    assert far.keypairs
    world.run(2)
    assert near.keypairs == far.keypairs == {}
    assert near.sending is far.sending is None
    assert near.times(KeypairRetired) == pytest.approx([paper.KEY_ZEROING_TIME], abs=SLACK)


def test_rotation_keeps_the_previous_keypair_for_what_is_on_its_way() -> None:
    world, near, _far = two_sites()
    near.send(b"x")
    world.run(10)
    old = near.sending
    near.tunnel.rekey_wanted(near.peer, near.now)
    world.run(10)
    assert near.sending != old
    assert old in near.keypairs
    assert len(near.keypairs) == 2
    near.tunnel.rekey_wanted(near.peer, near.now)
    world.run(10)
    assert old not in near.keypairs
    assert len(near.keypairs) == 2


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


def test_cookie_exchange_under_load() -> None:
    world, near, far = two_sites()
    far.under_load = True
    near.send(b"x")
    world.run(4)
    assert [packet.kind for packet in world.wire] == [INITIATION, COOKIE_REPLY]
    assert far.drops() == [events.BAD_MAC2]
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


def test_cookie_replies_move_no_endpoint() -> None:
    """known-bugs.md: roams on a cookie reply (gotatun)."""
    world, near, far = two_sites()
    far.under_load = True
    near.send(b"x")
    world.run(0.015)
    [reply] = [packet.data for packet in world.wire if packet.kind == COOKIE_REPLY]
    near.receive(reply, Endpoint(b"\x0a\x00\x00\x63", 1))
    assert near.drops() == []
    assert near.happened(EndpointMoved) == []
    assert near.remote == far.address


def test_roaming_by_transport_data_is_remembered_by_the_core() -> None:
    """known-bugs.md: roams only on handshakes (gotatun). The data plane moves; the core must not move back."""
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    near.address = Endpoint(b"\x0a\x00\x00\x09", 4444)
    near.send(b"from elsewhere")
    world.run(1)
    assert far.remote == near.address
    assert far.tunnel.peer_state(far.peer).endpoint == near.address


def test_roaming_by_handshake() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(200)
    near.address = Endpoint(b"\x0a\x00\x00\x09", 4444)
    near.send(b"from elsewhere")
    world.run(1)
    assert far.happened(EndpointMoved)[-1][1] == EndpointMoved(far.peer, near.address)
    assert far.delivered[-1] == b"from elsewhere"


def test_a_changed_preshared_key_takes_effect_with_the_next_handshake() -> None:
    """known-bugs.md: a PSK change is ignored (gotatun)."""
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


@pytest.mark.parametrize("jump", [20.0, 200.0, 86_400.0, 1e7])
def test_a_suspended_machine_recovers(jump: float) -> None:
    """known-bugs.md: clock jump panics (gotatun); stale source after suspend (wireguard-go)."""
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


@pytest.mark.parametrize("jump_ns", [-86_400 * 10**9, 86_400 * 10**9, -1, -30 * 10**6])
def test_a_wall_clock_that_jumps_makes_no_handshake_fail(jump_ns: int) -> None:
    """known-bugs.md: a clock far in the future makes a key unusable. Not while the process lives."""
    world, near, _far = two_sites()
    near.wall_offset_ns += max(0, -jump_ns)
    near.send(b"x")
    world.run(10)
    near.wall_offset_ns += jump_ns
    for number in range(5):
        near.tunnel.rekey_wanted(near.peer, near.now)
        world.run(6)
        assert len(near.happened(HandshakeCompleted)) == 2 + number


def test_a_stopped_wall_clock_makes_no_handshake_fail() -> None:
    world, near, _far = two_sites()
    near.wall_ns = lambda: 10**18  # type: ignore[method-assign]
    near.tunnel._context.wall_ns = near.wall_ns
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


def test_24_hours() -> None:
    """known-bugs.md: memory grows without bound after days (wireguard-go): indices, deadlines and events stay few."""
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
