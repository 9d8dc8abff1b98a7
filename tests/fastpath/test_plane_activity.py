"""What the plane tells of a peer: what the timers hang on (core/timers), and its traffic in bytes."""

import pytest

from pywg._fastpath import ACTIVITY, now
from tests.fastpath.plane_harness import Bed, Far, addr_of, raw_packet, reply

UNANSWERED, OWED, TRAVERSAL, DATA_SENT = range(4)


def activity(bed: Bed) -> list[bool]:
    """Which of the four fields are set."""
    return [value != 0 for value in bed.plane.activity(1)]


def send_and_receive(bed: Bed, far: Far) -> None:
    bed.write(raw_packet(60))
    far.open()


def receive(bed: Bed, far: Far, text: bytes = b"data") -> None:
    """A packet from the peer; `text` b"" is a keepalive."""
    before = bed.plane.counters()
    far.send(reply(1) if text else b"")
    if text:
        bed.read(1)
    else:
        bed.until(lambda: bed.counter("rx_keepalives") > before["rx_keepalives"], "a keepalive")


def test_new_peer_and_new_session_know_nothing() -> None:
    with Bed() as bed:
        Far(bed)
        assert bed.plane.activity(1) == (0.0, 0.0, 0.0, 0.0)
        assert bed.plane.peer_stats(1) == (0, 0)


def test_data_sent_waits_for_an_answer() -> None:
    with Bed() as bed:
        far = Far(bed)
        before = now()
        send_and_receive(bed, far)
        unanswered, owed, traversal, data_sent = bed.plane.activity(1)
        assert before <= unanswered <= now()
        assert owed == 0
        assert before <= traversal <= now()
        assert before <= data_sent <= now()


def test_first_data_without_an_answer_is_what_counts() -> None:
    with Bed() as bed:
        far = Far(bed)
        send_and_receive(bed, far)
        first = bed.plane.activity(1)
        send_and_receive(bed, far)
        second = bed.plane.activity(1)
        assert second[UNANSWERED] == first[UNANSWERED]
        assert second[TRAVERSAL] > first[TRAVERSAL]
        assert second[DATA_SENT] > first[DATA_SENT]


@pytest.mark.parametrize("text", [b"data", b""], ids=["data", "keepalive"])
def test_whatever_is_received_is_an_answer(text: bytes) -> None:
    with Bed() as bed:
        far = Far(bed)
        send_and_receive(bed, far)
        receive(bed, far, text)
        assert activity(bed)[UNANSWERED] is False


def test_data_received_owes_an_answer_and_a_keepalive_does_not() -> None:
    """Known bug elsewhere: keepalives that answer keepalives."""
    with Bed() as bed:
        far = Far(bed)
        receive(bed, far, b"")
        assert activity(bed) == [False, False, True, False]
        before = now()
        receive(bed, far)
        owed = bed.plane.activity(1)[OWED]
        assert before <= owed <= now()
        receive(bed, far)
        assert bed.plane.activity(1)[OWED] == owed


@pytest.mark.parametrize("how", ["data", "keepalive", "handshake"])
def test_whatever_is_sent_is_an_answer(how: str) -> None:
    with Bed() as bed:
        far = Far(bed)
        receive(bed, far)
        assert activity(bed)[OWED] is True
        if how == "data":
            send_and_receive(bed, far)
        elif how == "keepalive":
            assert bed.plane.send_keepalive(1)
        else:
            assert bed.plane.send_to_peer(1, b"hello")
        assert activity(bed)[OWED] is False


def test_keepalive_waits_for_no_answer() -> None:
    with Bed() as bed:
        Far(bed)
        assert bed.plane.send_keepalive(1)
        assert activity(bed) == [False, False, True, False]


def test_data_that_waits_for_a_session_was_wanted_to_be_sent() -> None:
    with Bed() as bed:
        Far(bed, session=False)
        bed.write(raw_packet(60))
        bed.until(lambda: activity(bed)[DATA_SENT], "noticed")
        assert activity(bed) == [False, False, False, True]


def test_dropped_packets_are_no_activity() -> None:
    with Bed() as bed:
        far = Far(bed)
        far.send_datagram(far.message(reply(1))[:-1] + b"?")
        bed.counted(rx_forged=1)
        bed.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 0, 0, 99])))
        bed.counted(tx_no_peer=1)
        assert activity(bed) == [False] * 4


def test_authentic_handshake_message_counts_as_received() -> None:
    with Bed() as bed:
        far = Far(bed)
        send_and_receive(bed, far)
        before = now()
        bed.plane.handshake_received(1, addr_of(far.sock), 92)
        unanswered, owed, traversal, _ = bed.plane.activity(1)
        assert (unanswered, owed) == (0, 0)
        assert traversal >= before
        assert bed.plane.peer_stats(1)[1] == 92


# ---- the event


def test_first_activity_is_told_without_asking() -> None:
    with Bed() as bed:
        far = Far(bed)
        bed.forget()
        send_and_receive(bed, far)
        bed.heard(1, ACTIVITY)


def test_activity_is_told_once_until_it_was_read() -> None:
    with Bed() as bed:
        far = Far(bed)
        receive(bed, far)
        bed.heard(1, ACTIVITY)
        bed.forget()
        # Both fields start anew, several times: nobody asked.
        for _ in range(3):
            send_and_receive(bed, far)
            receive(bed, far)
        assert bed.plane.send_keepalive(1)
        bed.drain()
        assert not bed.flags_of(1) & ACTIVITY
        assert activity(bed)[:2] == [False, False]
        receive(bed, far)
        bed.heard(1, ACTIVITY)


def test_reading_arms_the_event_only_when_nothing_is_pending() -> None:
    """Who has something to wait for is not woken as well."""
    with Bed() as bed:
        far = Far(bed)
        send_and_receive(bed, far)
        bed.heard(1, ACTIVITY)
        bed.forget()
        assert activity(bed)[UNANSWERED]
        for _ in range(3):
            receive(bed, far)
            send_and_receive(bed, far)
        bed.drain()
        assert not bed.flags_of(1) & ACTIVITY
        receive(bed, far, b"")
        assert activity(bed)[:2] == [False, False]
        send_and_receive(bed, far)
        bed.heard(1, ACTIVITY)


@pytest.mark.parametrize("sent", [True, False])
def test_keepalives_tell_nothing(sent: bool) -> None:
    with Bed() as bed:
        far = Far(bed)
        bed.forget()
        if sent:
            assert bed.plane.send_keepalive(1)
        else:
            receive(bed, far, b"")
        bed.drain()
        assert not bed.flags_of(1) & ACTIVITY
        receive(bed, far)
        bed.heard(1, ACTIVITY)


def test_each_peer_tells_its_own() -> None:
    with Bed() as bed:
        first = Far(bed, 1)
        second = Far(bed, 2, prefixes=[])
        bed.forget()
        send_and_receive(bed, first)
        bed.heard(1, ACTIVITY)
        assert not bed.flags_of(2)
        second.send(raw_packet(60))  # not its source, and authentic all the same
        bed.heard(2, ACTIVITY)


# ---- bytes


@pytest.mark.dropin("18")
def test_bytes_are_those_on_the_wire() -> None:
    with Bed() as bed:
        far = Far(bed)
        sent = received = 0
        for length in (20, 60, 61, 1000, 1419, 1420):
            bed.write(raw_packet(length))
            sent += len(far.receive())
            message = far.message(reply(1, max(24, length)))
            far.send_datagram(message)
            bed.read(1)
            received += len(message)

            def counted(expected: tuple[int, int] = (sent, received)) -> bool:
                return bed.plane.peer_stats(1) == expected

            bed.until(counted, "counted")
        assert bed.plane.send_keepalive(1)
        assert bed.plane.send_to_peer(1, bytes(148))
        assert bed.plane.peer_stats(1) == (sent + 32 + 148, received)
        bed.plane.handshake_received(1, addr_of(far.sock), 92)
        assert bed.plane.peer_stats(1) == (sent + 32 + 148, received + 92)
