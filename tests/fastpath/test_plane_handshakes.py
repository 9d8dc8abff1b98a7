"""Inbound: which handshake messages the control plane gets to see (paper sections 5.3, 5.4.4, 5.4.7), and how many."""

import errno
import hashlib
import random
import select
import socket

import pytest

from pywg._fastpath import CONFIRMED, HANDSHAKE_WANTED, UNDER_LOAD, now
from tests.fastpath.handshake_senders import fill_queue
from tests.fastpath.plane_harness import (
    IDENTITY,
    Far,
    PlaneHarness,
    handshake_message,
    raw_packet,
    reply,
    with_mac1,
)
from tests.paper import COOKIE_REPLY, INITIATION, LABEL_MAC1, RESPONSE

RING = 4096  # the kernel's MAX_QUEUED_INCOMING_HANDSHAKES
LOADED_AT = RING // 8
SECRET = bytes(reversed(range(32)))


def initiation(number: int = 0) -> bytes:
    """A message with a good mac1 that says which one it is; what it holds is the core's to judge."""
    return handshake_message(*INITIATION, body=number.to_bytes(4, "little"))


def flood(harness: PlaneHarness, far: Far, messages: list[bytes]) -> None:
    """Sends them all, none of which may get lost before the plane has it."""
    seen = harness.counter("rx_datagrams")
    for start in range(0, len(messages), 64):
        for message in messages[start : start + 64]:
            far.send_datagram(message)
        seen += len(messages[start : start + 64])
        harness.counted(rx_datagrams=seen)


# ---- which


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_initiation_with_our_mac1_comes_through(family: socket.AddressFamily) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=family)
        far.send_datagram(initiation(7))
        [(data, source)] = harness.received(1)
        assert data == initiation(7)
        host, port = far.sock.getsockname()[:2]
        ip = socket.inet_pton(family, host)
        assert source == (ip, port, 0, ip, socket.if_nametoindex("lo"))
        assert harness.plane.peer_stats(1) == (0, 0)
        assert harness.plane.activity(1) == (0, 0, 0, 0)


def test_mac1_of_anything_else_is_refused() -> None:
    good = initiation()
    tail = len(good) - 32
    bad = [
        good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
        for at in (*range(4, 8), 20, tail - 1, *range(tail, tail + 16))
        for bit in range(8)
    ]
    bad.append(with_mac1(good, bytes(32)))
    bad.append(good[:tail] + bytes(16) + good[-16:])
    plain = hashlib.blake2s(good[:tail], key=hashlib.blake2s(LABEL_MAC1.encode()).digest(), digest_size=16).digest()
    bad.append(good[:tail] + plain + good[-16:])
    with PlaneHarness() as harness:
        far = Far(harness)
        flood(harness, far, bad)
        harness.counted(rx_bad_mac1=len(bad))
        far.send_datagram(good)
        assert [data for data, _ in harness.received(1)] == [good]


def test_mac2_does_not_matter_while_there_is_no_load() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        messages = [initiation(i)[:-16] + random.Random(i).randbytes(16) for i in range(10)]
        flood(harness, far, messages)
        assert [data for data, _ in harness.received(10)] == messages


@pytest.mark.parametrize(
    ("kind", "length"), [INITIATION, RESPONSE, COOKIE_REPLY], ids=["initiation", "response", "cookie"]
)
def test_handshake_messages_have_one_length(kind: int, length: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.open_index(9, 1)
        others = [n for n in (*range(36, 200), 1000, 65507) if n != length]
        flood(harness, far, [handshake_message(kind, n, 9) for n in others])
        harness.counted(rx_malformed=len(others))
        far.send_datagram(handshake_message(kind, length, 9))
        if kind == COOKIE_REPLY[0]:
            harness.counted(rx_bad_cookie_reply=1)  # it was looked at
        else:
            assert [data for data, _ in harness.received(1)] == [handshake_message(kind, length, 9)]


@pytest.mark.parametrize(
    ("kind", "length"), [INITIATION, RESPONSE, COOKIE_REPLY], ids=["initiation", "response", "cookie"]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_reserved_bytes_have_to_be_zero(kind: int, length: int, at: int) -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.open_index(9, 1)
        message = bytearray(handshake_message(kind, length, 9))
        message[at] = 1
        changed = bytes(message) if kind == COOKIE_REPLY[0] else with_mac1(bytes(message))
        far.send_datagram(changed)
        harness.counted(rx_malformed=1)


def test_response_has_to_name_a_handshake_in_flight() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        response = handshake_message(*RESPONSE, 9)
        far.send_datagram(response)
        harness.counted(rx_unknown_index=1)
        harness.plane.open_index(9, 1)
        far.send_datagram(response)
        assert [data for data, _ in harness.received(1)] == [response]
        harness.plane.close_index(9)
        far.send_datagram(response)
        harness.counted(rx_unknown_index=2)
        far.send_datagram(handshake_message(*RESPONSE, far.local_index))  # of a keypair
        harness.counted(rx_unknown_index=3)


def test_response_needs_its_mac1() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.open_index(9, 1)
        far.send_datagram(with_mac1(handshake_message(*RESPONSE, 9), bytes(32)))
        harness.counted(rx_bad_mac1=1)


def test_peer_has_one_handshake_at_a_time() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.open_index(9, 1)
        harness.plane.open_index(10, 1)
        far.send_datagram(handshake_message(*RESPONSE, 9))
        harness.counted(rx_unknown_index=1)
        far.send_datagram(handshake_message(*RESPONSE, 10))
        harness.received(1)


def test_index_that_became_a_keypair_takes_no_response_any_more() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        harness.plane.open_index(far.local_index, 1)
        far.install()
        harness.plane.close_index(far.local_index)  # the core closes it after the keypair is there
        far.send_datagram(handshake_message(*RESPONSE, far.local_index))
        harness.counted(rx_unknown_index=1)
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


def test_closing_what_is_not_open_does_nothing() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.close_index(4711)
        harness.plane.close_index(far.local_index)
        far.send(reply(1))
        assert harness.read(1) == [reply(1)]


def test_without_an_identity_no_handshake_message_is_let_through() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.open_index(9, 1)
        harness.plane.set_identity(None)
        everything = [initiation(), handshake_message(*RESPONSE, 9), handshake_message(*COOKIE_REPLY, 9)]
        zero_key = hashlib.blake2s(initiation()[:-32], key=bytes(32), digest_size=16).digest()
        everything.append(initiation()[:-32] + zero_key + bytes(16))
        flood(harness, far, everything)
        harness.dropped(len(everything))
        harness.drain()
        assert harness.messages == []
        harness.plane.set_identity(IDENTITY)
        far.send_datagram(initiation())
        harness.received(1)


def test_identity_changes_at_run_time() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        harness.plane.set_identity(SECRET)
        far.send_datagram(initiation())
        harness.counted(rx_bad_mac1=1)
        far.send_datagram(with_mac1(initiation(), SECRET))
        harness.received(1)


# ---- how many


def test_messages_arrive_in_order_a_few_at_a_time() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        flood(harness, far, [initiation(i) for i in range(300)])
        for limit in (1, 7, 64):
            before = len(harness.messages)
            harness.drain(limit)
            assert len(harness.messages) == before + limit
        harness.received(300)  # event_fd stays readable until all are taken
        assert [data for data, _ in harness.messages] == [initiation(i) for i in range(300)]
        assert harness.plane.drain()[:2] == ([], [])


def test_drain_takes_so_many_peers_at_a_time() -> None:
    with PlaneHarness() as harness:
        prefixes = {peer: bytes([10, 4, peer, 1]) for peer in range(100)}
        sock = None
        for peer, ip in prefixes.items():
            sock = Far(harness, peer, prefixes=[(ip, 32)], session=False, sock=sock).sock
        for ip in prefixes.values():
            harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), ip))
        harness.until(lambda: harness.counter("tx_packets") == 100, "all staged")
        harness.drain(10)
        assert len(harness.happened) == 40
        harness.heard(99, HANDSHAKE_WANTED)
        assert sorted(harness.happened) == [(peer, HANDSHAKE_WANTED, 0) for peer in prefixes]


def test_event_fd_is_quiet_when_there_is_nothing() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        far.send_datagram(initiation())
        harness.received(1)
        harness.drain()
        assert not select.select([harness.plane.event_fd], [], [], 0)[0]


def test_flood_of_messages_is_bounded_and_loses_no_event() -> None:
    """Known bug elsewhere: memory grew without bound under load. Many sources that have cookies fill the queue."""
    with PlaneHarness() as harness:
        far = Far(harness, 1, confirmed=False)
        lively = Far(harness, 2, prefixes=[(bytes([10, 5, 0, 0]), 16)], session=False)
        sent = list(fill_queue(harness))
        assert harness.counter("rx_handshakes") == RING
        far.send(reply(1))  # and traffic goes on
        assert harness.read(1) == [reply(1)]
        harness.write(raw_packet(60).replace(bytes([10, 0, 0, 2]), bytes([10, 5, 0, 1])))
        harness.heard(1, CONFIRMED)
        harness.heard(lively.peer, HANDSHAKE_WANTED)
        harness.received(RING)
        harness.drain()
        assert len(harness.messages) == RING
        at = iter(sent)
        assert all(data in at for data, _ in harness.messages), "in the order they came"


@pytest.mark.dropin("20")
def test_under_load_from_an_eighth_of_the_ring_and_for_a_second() -> None:
    with PlaneHarness() as harness:
        far = Far(harness)
        flood(harness, far, [initiation(i) for i in range(LOADED_AT)])
        harness.drain(0)
        assert not harness.device_flags & UNDER_LOAD
        flood(harness, far, [initiation(LOADED_AT)])
        last = now()
        harness.drain(0)
        assert harness.device_flags & UNDER_LOAD
        harness.received(LOADED_AT + 1)

        def calm() -> bool:
            harness.drain()
            return not harness.device_flags & UNDER_LOAD

        harness.until(calm, "the load is over")
        assert now() - last > 0.9


# ---- the other direction


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_handshake_messages_are_sent_as_they_are(family: socket.AddressFamily) -> None:
    with PlaneHarness() as harness:
        far = Far(harness, family=family, session=False)
        for length in (148, 92, 64, 0, 1400):
            message = random.Random(length).randbytes(length)
            assert harness.plane.send_to_peer(1, message)
            assert far.receive() == message


def test_what_can_not_be_sent_says_so() -> None:
    with PlaneHarness() as harness:
        far = Far(harness, session=False)
        endpoint = harness.plane.endpoint(1) or pytest.fail("none")
        assert not harness.plane.send_to_peer(1, bytes(65508))
        assert harness.plane.send_error == errno.EMSGSIZE
        harness.counted(tx_message_too_long=1)
        harness.plane.set_endpoint(1, (bytes(4), 0, 0, b"", 0))
        assert not harness.plane.send_to_peer(1, b"port 0")
        assert harness.plane.send_error == errno.EINVAL
        harness.plane.set_endpoint(1, (bytes([255] * 4), 9, 0, b"", 0))
        assert not harness.plane.send_to_peer(1, b"broadcast")
        assert harness.plane.send_error == errno.EACCES
        harness.plane.set_endpoint(1, None)
        assert not harness.plane.send_to_peer(1, b"nowhere")
        assert harness.plane.send_error == errno.EDESTADDRREQ
        harness.plane.set_endpoint(1, endpoint)
        harness.plane.detach_sockets()
        assert not harness.plane.send_to_peer(1, b"hello")
        assert harness.plane.send_error == errno.EAFNOSUPPORT
        assert harness.plane.peer_stats(1) == (0, 0)
        assert far.is_silent()
