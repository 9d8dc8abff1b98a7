"""Handshake messages that come to another shard than the first: behind data, with which the kernel has merged them."""

import socket

import pytest

from tests.fastpath.plane_harness import Far, PlaneHarness, handshake_message, reply, udp_socket, with_mac1
from tests.paper import COOKIE_REPLY, INITIATION, RESPONSE

INDEX = 9
DATA = 300  # bytes: more than a handshake message has, which so may be the last of what is merged


@pytest.mark.parametrize("helpers", [0, 2])
@pytest.mark.parametrize(("kind", "length"), [INITIATION, RESPONSE], ids=["initiation", "response"])
def test_a_handshake_merged_behind_data_is_admitted(kind: int, length: int, helpers: int) -> None:
    with PlaneHarness(shards=4, helpers=helpers) as harness:
        far = Far(harness)
        harness.plane.open_index(INDEX, 1)
        message = handshake_message(kind, length, INDEX)
        far.send_train([far.message(reply(7, DATA)), message], shard=2)
        ((received, source),) = harness.received(1)
        assert received == message
        assert source[1] == far.sock.getsockname()[1]
        assert harness.read_packets(2) == [reply(7, DATA)]
        assert harness.counter("rx_receives") == 1  # so they were merged
        harness.counted(rx_datagrams=2, rx_handshakes=1, rx_other_shard=0)


def test_a_cookie_reply_merged_behind_data_is_looked_at() -> None:
    with PlaneHarness(shards=2) as harness:
        far = Far(harness)
        harness.plane.open_index(INDEX, 1)
        far.send_train([far.message(reply(7, DATA)), handshake_message(*COOKIE_REPLY, INDEX)], shard=1)
        harness.counted(rx_bad_cookie_reply=1)  # by the first shard, which alone opens them


def test_what_no_shard_would_admit_is_refused_where_it_comes() -> None:
    with PlaneHarness(shards=2) as harness:
        far = Far(harness)
        for kind, length in (INITIATION, RESPONSE):
            far.send_datagram(with_mac1(handshake_message(kind, length, INDEX), bytes(32)), 1)
        harness.counted(rx_bad_mac1=2)
        for kind, length in (INITIATION, RESPONSE, COOKIE_REPLY):
            far.send_datagram(handshake_message(kind, length + 1, INDEX), 1)
        far.send_datagram(b"\5\0\0\0" + bytes(100), 1)
        harness.counted(rx_malformed=4, rx_unknown_index=0)
        harness.plane.set_identity(None)
        far.send_datagram(handshake_message(*INITIATION), 1)
        harness.counted(rx_bad_mac1=3, rx_handshakes=0)
        assert harness.messages == []


def test_strays_of_all_shards_are_admitted_in_order() -> None:
    """As many as find room, whatever the first shard is doing: it answers to each sender's load as to its own."""
    each = 8
    with PlaneHarness(shards=8) as harness:
        Far(harness)
        senders = [udp_socket(socket.AF_INET, "127.0.0.1") for _ in range(7)]
        try:
            for number in range(each):
                for shard, sock in enumerate(senders, 1):
                    body = bytes([shard, number, 0, 0])
                    sock.sendto(handshake_message(*INITIATION, body=body), ("127.0.0.1", harness.pairs[shard].port))
            received = harness.received(7 * each)
        finally:
            for sock in senders:
                sock.close()
        for shard in range(1, 8):
            assert [message[5] for message, _ in received if message[4] == shard] == list(range(each))
        harness.counted(rx_handshakes=7 * each, rx_other_shard=0)
