"""How long a keypair may be used, and when a new one is asked for (paper sections 6.1 and 6.2).

`created_at` in the past stands for time that went by.
"""

import pytest

from pywg._fastpath import HANDSHAKE_WANTED, REKEY_WANTED
from tests.fastpath.packets import Udp, gso_vnet
from tests.fastpath.plane_harness import Far, PlaneHarness, raw_packet, reply
from tests.paper import (
    RECEIVER_REKEY_TIME,
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
)

SLACK = 4.0  # a slow machine's time between the install and the packet


def _begin_another_session(harness: PlaneHarness, far: Far) -> None:
    far.local_index += 1
    far.install()
    harness.plane.use_keypair(1, far.local_index)


def _seals_only_with_a_new_session(harness: PlaneHarness, far: Far) -> None:
    """A packet asks for a handshake and waits, nothing is sent; a new session sends it as its first."""
    harness.write(raw_packet(60))
    harness.heard(1, HANDSHAKE_WANTED)
    assert not harness.plane.send_keepalive(1)
    assert not harness.plane.send_staged(1)
    assert far.is_silent()
    assert harness.plane.peer_stats(1) == (0, 0)
    _begin_another_session(harness, far)
    assert harness.plane.send_staged(1)
    assert far.receive() == far.expect(0, raw_packet(60))


@pytest.mark.parametrize("age", [0, REKEY_AFTER_TIME, REJECT_AFTER_TIME - SLACK])
def test_young_keypair_seals_and_opens(age: float) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=age)
        harness.write(raw_packet(60))
        assert far.receive() == far.expect(0, raw_packet(60))
        assert harness.plane.send_keepalive(1)
        assert far.receive() == far.expect(1, b"")
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("age", [REJECT_AFTER_TIME, REJECT_AFTER_TIME + 0.5, 3 * REJECT_AFTER_TIME])
def test_keypair_past_reject_after_time_does_not_seal(age: float, initiator: bool) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=age, initiator=initiator)
        _seals_only_with_a_new_session(harness, far)


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("age", [REJECT_AFTER_TIME, 3 * REJECT_AFTER_TIME])
def test_keypair_past_reject_after_time_does_not_open(age: float, initiator: bool) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=age, initiator=initiator, confirmed=False)
        harness.forget()
        far.send(reply(1))
        far.send(b"")
        harness.counted(rx_expired=2, rx_packets=0, rx_keepalives=0)
        harness.drain()
        assert harness.happened == []
        assert harness.tun_is_empty()
        assert harness.plane.peer_stats(1) == (0, 0)
        assert harness.plane.activity(1) == (0, 0, 0, 0)


@pytest.mark.parametrize("keepalive", [False, True])
def test_initiator_that_sends_wants_a_new_session_at_120_s(keepalive: bool) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=REKEY_AFTER_TIME)
        if keepalive:
            assert harness.plane.send_keepalive(1)
        else:
            harness.write(raw_packet(60))
        harness.heard(1, REKEY_WANTED)
        assert far.open().counter == 0  # the old keypair goes on
        assert not harness.flags_of(1) & HANDSHAKE_WANTED


@pytest.mark.parametrize(
    ("initiator", "age"),
    [(True, REKEY_AFTER_TIME - SLACK), (False, REKEY_AFTER_TIME + 1), (False, REJECT_AFTER_TIME - SLACK)],
)
def test_others_that_send_do_not(initiator: bool, age: float) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=age, initiator=initiator)
        for counter in range(5):
            harness.write(raw_packet(60))
            assert far.open().counter == counter
        harness.drain()
        assert not harness.flags_of(1) & REKEY_WANTED


def test_rekey_is_not_asked_for_with_every_packet() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=REKEY_AFTER_TIME)
        asked = 0
        for counter in range(200):
            harness.write(raw_packet(60))
            assert far.open().counter == counter
            harness.drain()
            asked += sum(flags & REKEY_WANTED != 0 for _, flags, _ in harness.happened)
            harness.happened.clear()
        assert 1 <= asked < 50


@pytest.mark.parametrize("text", [reply(1), b""], ids=["data", "keepalive"])
def test_initiator_that_receives_wants_a_new_session_at_165_s(text: bytes) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=RECEIVER_REKEY_TIME)
        far.send(text)
        harness.heard(1, REKEY_WANTED)
        harness.counted(rx_expired=0)


@pytest.mark.parametrize(
    ("initiator", "age"),
    [(True, RECEIVER_REKEY_TIME - SLACK), (True, REKEY_AFTER_TIME), (False, RECEIVER_REKEY_TIME + 1)],
)
def test_others_that_receive_do_not(initiator: bool, age: float) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, age=age, initiator=initiator)
        for number in range(5):
            far.send(reply(number))
        assert harness.read(5) == [reply(number) for number in range(5)]
        harness.drain()
        assert not harness.flags_of(1) & REKEY_WANTED


@pytest.mark.dropin("17")
@pytest.mark.known_bug("Reject-After-Messages not enforced")
def test_last_counters_before_reject_after_messages() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        for counter in (REJECT_AFTER_MESSAGES, REJECT_AFTER_MESSAGES + 1, 2**64 - 1):
            far.send(reply(1), counter)
        harness.counted(rx_replayed=3)
        far.send(reply(2), 0)
        far.send(reply(3), REJECT_AFTER_MESSAGES - 1)
        assert harness.read(2) == [reply(2), reply(3)]
        far.send(reply(4), 1)
        harness.counted(rx_replayed=4)


def _used(harness: PlaneHarness, first_counter: int, *, initiator: bool = True) -> Far:
    """A peer with a session that has `first_counter` messages behind it."""
    far = Far(harness, session=False)
    far.install(initiator=initiator, first_counter=first_counter)
    harness.plane.use_keypair(1, far.local_index)
    return far


@pytest.mark.dropin("17")
@pytest.mark.known_bug("Reject-After-Messages not enforced")
@pytest.mark.parametrize("first_counter", [REJECT_AFTER_MESSAGES - 1, REJECT_AFTER_MESSAGES, 2**64 - 1])
def test_keypair_at_reject_after_messages_does_not_seal(first_counter: int) -> None:
    with PlaneHarness() as harness:
        far = _used(harness, first_counter)
        _seals_only_with_a_new_session(harness, far)


@pytest.mark.dropin("17")
@pytest.mark.known_bug("Reject-After-Messages not enforced")
@pytest.mark.known_bug("A nonce could wrap")
def test_counters_end_before_reject_after_messages() -> None:
    """Superframes up to the end: each counter once and in order, none too large, and then a new session is wanted."""
    packet = Udp(payload=bytes(44 * 1300))
    with PlaneHarness() as harness:
        counter = REJECT_AFTER_MESSAGES - 2**15 - 2**12
        far = _used(harness, counter)
        while True:
            sent = harness.counter("tx_datagrams")
            harness.write(packet.unfinished(), gso_vnet(packet, 1300))

            def sent_or_staged(expected: int = sent + 44) -> bool:
                return harness.counter("tx_datagrams") == expected or _asked(harness)

            harness.until(sent_or_staged, "sent or staged")
            if _asked(harness):
                break
            for _ in range(44):
                assert far.open().counter == counter
                counter += 1
            assert counter <= REJECT_AFTER_MESSAGES
        assert far.is_silent()
        assert counter > REJECT_AFTER_MESSAGES - 8 * (2**12 + 128) - 44  # COUNTERS_TO_SPARE in peer.pxd


def _asked(harness: PlaneHarness) -> bool:
    harness.drain()
    return bool(harness.flags_of(1) & HANDSHAKE_WANTED)


@pytest.mark.parametrize("initiator", [True, False])
def test_either_end_wants_a_new_session_after_rekey_after_messages(initiator: bool) -> None:
    with PlaneHarness() as harness:
        far = _used(harness, REKEY_AFTER_MESSAGES - 2, initiator=initiator)
        harness.write(raw_packet(60))
        assert far.open().counter == REKEY_AFTER_MESSAGES - 2
        harness.drain()
        assert not harness.flags_of(1) & REKEY_WANTED
        harness.write(raw_packet(60))
        harness.heard(1, REKEY_WANTED)
        assert far.open().counter == REKEY_AFTER_MESSAGES - 1  # the old keypair goes on


def test_previous_keypair_still_opens() -> None:
    """Paper section 6.3: packets of the previous session may still be on the way."""
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send(reply(1))
        late = far.message(reply(2))
        old_index = far.local_index
        _begin_another_session(harness, far)
        far.send(reply(3), 0)
        far.send_datagram(late)
        assert harness.read(3) == [reply(1), reply(3), reply(2)]
        harness.plane.retire_keypair(old_index)
        far.send_datagram(late)
        harness.counted(rx_unknown_index=1)
        harness.write(raw_packet(60))
        assert far.open().counter == 0


def test_retired_keypair_in_use_seals_no_more() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.retire_keypair(far.local_index)
        harness.plane.retire_keypair(far.local_index)
        harness.plane.retire_keypair(12345)
        harness.write(raw_packet(60))
        harness.heard(1, HANDSHAKE_WANTED)
        assert far.is_silent()
        with pytest.raises(KeyError):
            harness.plane.use_keypair(1, far.local_index)


def test_keypair_of_another_peer_can_not_be_used() -> None:
    with PlaneHarness() as harness:
        first, second = Far(harness, 1), Far(harness, 2)
        with pytest.raises(KeyError):
            harness.plane.use_keypair(1, second.local_index)
        harness.plane.open_index(77, 1)
        with pytest.raises(KeyError):
            harness.plane.use_keypair(1, 77)
        harness.write(raw_packet(60, 6))
        assert second.open().counter == 0
        assert first.is_silent()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_are_32_bytes(length: int) -> None:
    with PlaneHarness() as harness:
        Far(harness, session=False)
        for keys in ((bytes(length), bytes(32)), (bytes(32), bytes(length))):
            with pytest.raises(ValueError, match="32 bytes"):
                harness.plane.install_keypair(1, 5, 6, *keys, initiator=True, created_at=0.0, confirmed=True)
