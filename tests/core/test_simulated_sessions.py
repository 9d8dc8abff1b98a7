"""Two cores over a simulated network: sessions, roles, and every timer. See tests/simulation.py.

The expected times are the paper's (tests/paper.py); the network's delay is 10 ms each way unless a test says otherwise.
"""

import itertools

import pytest

from pywg.core.events import (
    DropStaged,
    HandshakeCompleted,
    HandshakeGivenUp,
    KeypairDerived,
    KeypairRetired,
    SendingKeypairChanged,
    SourceCleared,
)
from tests import paper
from tests.simulation import INITIATION, RESPONSE, START, TRANSPORT, two_sites

pytestmark = pytest.mark.dropin("17")

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
    assert not derived.initiator
    assert near.tunnel.peer_state(near.peer).last_handshake_wall_ns > 0


@pytest.mark.parametrize("preshared_key", [None, b"\x33" * 32], ids=["no psk", "psk"])
def test_data_flows_both_ways(preshared_key: bytes | None) -> None:
    world, near, far = two_sites(preshared_key=preshared_key)
    near.send(b"ping")
    world.after(0.5, lambda: far.send(b"pong"))
    world.run(1)
    assert (near.delivered, far.delivered) == ([b"pong"], [b"ping"])


def test_a_late_first_packet_does_not_take_back_to_an_older_session() -> None:
    world, near, far = two_sites()
    near.send(b"late")
    world.run(0.015)  # the response is on its way
    far.reachable = False
    world.run(6)
    [old] = far.keypairs
    first = next(packet.data for packet in world.wire if packet.kind == TRANSPORT)
    far.reachable = True
    far.send(b"mine")
    world.run(0.5)
    newest = far.sending
    assert newest not in (None, old)
    far.receive(first, near.address)
    assert far.delivered == [b"late"]
    assert far.sending == newest
    far.send(b"after")
    world.run(0.5)
    assert near.delivered == [b"mine", b"after"]
    assert far.sending == newest


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


@pytest.mark.known_bug("A rekey never gives up")
def test_a_rekey_gives_up_too() -> None:
    """Known bug of tailscale-rs: a rekey never gives up."""
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
    world.every(5, lambda: near.send(b"ask"), START + 100)
    world.every(5, lambda: far.send(b"answer"), START + 100)
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


@pytest.mark.known_bug("Keepalives answer keepalives")
def test_keepalives_never_answer_keepalives() -> None:
    """Known bug of gotatun: keepalives answer keepalives."""
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
    assert near.delivered == [b"an answer"]
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
    world.every(5, lambda: near.send(b"a"), START + 60)
    world.every(5, lambda: far.send(b"b"), START + 60)
    world.run(69)
    assert len(far.delivered) == len(near.delivered) == 13
    assert far.keepalives_received == 0
    world.run(27)  # a passive one at 70 answers the last data, and 25 s later nothing else has been sent
    assert far.keepalives_received == 2


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


def test_nothing_wakes_a_site_after_its_passive_keepalive() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(1)
    assert far.tunnel.next_deadline() == pytest.approx(START + paper.KEEPALIVE_TIMEOUT, abs=SLACK)
    world.run(paper.KEEPALIVE_TIMEOUT)
    assert near.keepalives_received == 1
    assert far.tunnel.next_deadline() == pytest.approx(START + 3 * paper.REJECT_AFTER_TIME, abs=SLACK)
