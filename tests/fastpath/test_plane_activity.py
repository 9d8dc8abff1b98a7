"""What the plane tells of a peer: what the timers hang on (core/timers), and its traffic in bytes."""

import pytest

from pywg._fastpath import ACTIVITY, now
from tests.fastpath.plane_harness import Far, PlaneHarness, addr_of, raw_packet, reply

UNANSWERED, OWED, TRAVERSAL, DATA_SENT = range(4)


def activity(harness: PlaneHarness) -> list[bool]:
    """Which of the four fields are set."""
    return [value != 0 for value in harness.plane.activity(1)]


def send_and_receive(harness: PlaneHarness, far: Far) -> None:
    harness.write(raw_packet(60))
    far.open()


def receive(harness: PlaneHarness, far: Far, text: bytes = b"data") -> None:
    """A packet from the peer; `text` b"" is a keepalive."""
    before = harness.plane.counters()
    far.send(reply(1) if text else b"")
    if text:
        harness.read(1)
    else:
        harness.counted(rx_keepalives=before["rx_keepalives"] + 1)


def test_new_peer_and_new_session_know_nothing() -> None:
    with PlaneHarness() as harness:
        Far(harness)
        assert harness.plane.activity(1) == (0.0, 0.0, 0.0, 0.0)
        assert harness.plane.peer_stats(1) == (0, 0)


def test_data_sent_waits_for_an_answer() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        before = now()
        send_and_receive(harness, far)
        unanswered, owed, traversal, data_sent = harness.plane.activity(1)
        assert before <= unanswered <= now()
        assert owed == 0
        assert before <= traversal <= now()
        assert before <= data_sent <= now()


def test_first_data_without_an_answer_is_what_counts() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        send_and_receive(harness, far)
        first = harness.plane.activity(1)
        send_and_receive(harness, far)
        second = harness.plane.activity(1)
        assert second[UNANSWERED] == first[UNANSWERED]
        assert second[TRAVERSAL] > first[TRAVERSAL]
        assert second[DATA_SENT] > first[DATA_SENT]


@pytest.mark.parametrize("text", [b"data", b""], ids=["data", "keepalive"])
def test_whatever_is_received_is_an_answer(text: bytes) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        send_and_receive(harness, far)
        receive(harness, far, text)
        assert activity(harness)[UNANSWERED] is False


def test_data_received_owes_an_answer_and_a_keepalive_does_not() -> None:
    """Known bug elsewhere: keepalives that answer keepalives."""
    with PlaneHarness() as harness:
        far = Far(harness)
        receive(harness, far, b"")
        assert activity(harness) == [False, False, True, False]
        before = now()
        receive(harness, far)
        owed = harness.plane.activity(1)[OWED]
        assert before <= owed <= now()
        receive(harness, far)
        assert harness.plane.activity(1)[OWED] == owed


@pytest.mark.parametrize("how", ["data", "keepalive", "handshake"])
def test_whatever_is_sent_is_an_answer(how: str) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        receive(harness, far)
        assert activity(harness)[OWED] is True
        if how == "data":
            send_and_receive(harness, far)
        elif how == "keepalive":
            assert harness.plane.send_keepalive(1)
        else:
            assert harness.plane.send_to_peer(1, b"hello")
        assert activity(harness)[OWED] is False


def test_keepalive_waits_for_no_answer() -> None:
    with PlaneHarness() as harness:
        Far(harness)
        assert harness.plane.send_keepalive(1)
        assert activity(harness) == [False, False, True, False]


def test_data_that_waits_for_a_session_was_wanted_to_be_sent() -> None:
    with PlaneHarness() as harness:
        Far(harness, session=False)
        harness.write(raw_packet(60))
        harness.until(lambda: activity(harness)[DATA_SENT], "noticed")
        assert activity(harness) == [False, False, False, True]


def test_dropped_packets_are_no_activity() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send_datagram(far.message(reply(1))[:-1] + b"?")
        harness.counted(rx_forged=1)
        harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 0, 0, 99])))
        harness.counted(tx_no_peer=1)
        assert activity(harness) == [False] * 4


def test_authentic_handshake_message_counts_as_received() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        send_and_receive(harness, far)
        before = now()
        harness.plane.handshake_received(1, addr_of(far.sock), 92)
        unanswered, owed, traversal, _ = harness.plane.activity(1)
        assert (unanswered, owed) == (0, 0)
        assert traversal >= before
        assert harness.plane.peer_stats(1)[1] == 92


# ---- the event


def test_first_activity_is_told_without_asking() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.forget()
        send_and_receive(harness, far)
        harness.heard(1, ACTIVITY)


def test_activity_is_told_once_until_it_was_read() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        receive(harness, far)
        harness.heard(1, ACTIVITY)
        harness.forget()
        # Both fields start anew, several times: nobody asked.
        for _ in range(3):
            send_and_receive(harness, far)
            receive(harness, far)
        assert harness.plane.send_keepalive(1)
        harness.drain()
        assert not harness.flags_of(1) & ACTIVITY
        assert activity(harness)[:2] == [False, False]
        receive(harness, far)
        harness.heard(1, ACTIVITY)


def test_reading_arms_the_event_only_when_nothing_is_pending() -> None:
    """Who has something to wait for is not woken as well."""
    with PlaneHarness() as harness:
        far = Far(harness)
        send_and_receive(harness, far)
        harness.heard(1, ACTIVITY)
        harness.forget()
        assert activity(harness)[UNANSWERED]
        for _ in range(3):
            receive(harness, far)
            send_and_receive(harness, far)
        harness.drain()
        assert not harness.flags_of(1) & ACTIVITY
        receive(harness, far, b"")
        assert activity(harness)[:2] == [False, False]
        send_and_receive(harness, far)
        harness.heard(1, ACTIVITY)


@pytest.mark.parametrize("sent", [True, False])
def test_keepalives_tell_nothing(sent: bool) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.forget()
        if sent:
            assert harness.plane.send_keepalive(1)
        else:
            receive(harness, far, b"")
        harness.drain()
        assert not harness.flags_of(1) & ACTIVITY
        receive(harness, far)
        harness.heard(1, ACTIVITY)


def test_each_peer_tells_its_own() -> None:
    with PlaneHarness() as harness:
        first = Far(harness, 1)
        second = Far(harness, 2, prefixes=[])
        harness.forget()
        send_and_receive(harness, first)
        harness.heard(1, ACTIVITY)
        assert not harness.flags_of(2)
        second.send(raw_packet(60))  # not its source, and authentic all the same
        harness.heard(2, ACTIVITY)


# ---- bytes


@pytest.mark.dropin("18")
def test_bytes_are_those_on_the_wire() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        sent = received = 0
        for length in (20, 60, 61, 1000, 1419, 1420):
            harness.write(raw_packet(length))
            sent += len(far.receive())
            message = far.message(reply(1, max(24, length)))
            far.send_datagram(message)
            harness.read(1)
            received += len(message)

            def counted(expected: tuple[int, int] = (sent, received)) -> bool:
                return harness.plane.peer_stats(1) == expected

            harness.until(counted, "counted")
        assert harness.plane.send_keepalive(1)
        assert harness.plane.send_to_peer(1, bytes(148))
        assert harness.plane.peer_stats(1) == (sent + 32 + 148, received)
        harness.plane.handshake_received(1, addr_of(far.sock), 92)
        assert harness.plane.peer_stats(1) == (sent + 32 + 148, received + 92)
