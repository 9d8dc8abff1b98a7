"""Two shards, step by step: each takes the time when its batch begins, so that of the other may be ahead."""

import os
import select
import socket

import pytest

from pywg._fastpath import HANDSHAKE_WANTED
from tests.fastpath.plane_harness import Far, PlaneHarness, raw_packet
from tests.native import shards

MS = 10**6


@pytest.mark.parametrize("earlier", [-MS, 0, 1, MS])
def test_a_loop_is_seen_whichever_batch_began_first(earlier: int) -> None:
    assert shards.loop_is_seen(earlier)


def test_what_was_seen_of_a_loop_long_ago_is_forgotten() -> None:
    assert not shards.loop_is_seen(-1001 * MS)


@pytest.mark.parametrize("earlier", [-MS, 0, 1, MS])
def test_two_shards_do_not_ask_for_a_session_at_once(earlier: int) -> None:
    assert not shards.asks_again(earlier)


def test_a_session_is_asked_for_again_a_second_later() -> None:
    assert shards.asks_again(-1001 * MS)


@pytest.mark.parametrize("its_own", [True, False])
def test_a_shard_receives_from_its_own_sockets_alone(its_own: bool) -> None:
    """Its last poll() was of one that has been replaced since by the first shard's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"a datagram", sock.getsockname())
        assert shards.receives_from(sock.fileno(), its_own) == its_own


def test_a_plane_freezes_when_no_shard_has_a_socket_left() -> None:
    with PlaneHarness(shards=2) as harness:
        harness.plane.detach_tun()
        fd4, fd6 = harness.pairs[1].fd4, harness.pairs[1].fd6
        harness.plane.attach_sockets(-1, -1, more=[(fd4, fd6)])
        with pytest.raises(ValueError, match="detach"):
            harness.plane.freeze()
        harness.plane.attach_sockets(-1, -1)
        harness.plane.freeze()


def test_so_many_strays_find_room_and_one_wakes_for_all() -> None:
    kick = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        room = shards.ROOM_FOR_STRAYS
        messages = [b"%d" % number for number in range(room + 2)]
        assert shards.leave_strays(messages, kick) == (room, messages[:room])
        assert os.eventfd_read(kick) == 1
        assert shards.leave_strays([], kick) == (0, [])
        assert not select.select([kick], [], [], 0)[0]
    finally:
        os.close(kick)


@pytest.mark.parametrize("gone", [[], [1], [3, 1, 5], [5, 4], [2, 3], [1, 2, 3, 4, 5]])
def test_peers_that_go_leave_the_others_events_in_order(gone: list[int]) -> None:
    with PlaneHarness() as harness:
        for peer in range(1, 7):
            Far(harness, peer, session=False, prefixes=[(bytes([10, 9, 0, peer]), 32)])
            packet = bytearray(raw_packet(60))
            packet[16:20] = bytes([10, 9, 0, peer])
            harness.write(bytes(packet))
        harness.until(lambda: harness.counter("tx_packets") == 6, "all read")
        harness.plane.add_peer(9)  # it has none
        for peer in (9, *gone):
            harness.plane.remove_peer(peer)
        harness.drain()
        wanted = [peer for peer, flags, _ in harness.happened if flags & HANDSHAKE_WANTED]
        assert wanted == [peer for peer in range(1, 7) if peer not in gone]
        Far(harness, 8, session=False, prefixes=[(bytes([10, 9, 0, 8]), 32)])
        harness.forget()
        packet[16:20] = bytes([10, 9, 0, 8])
        harness.write(bytes(packet))
        harness.heard(8, HANDSHAKE_WANTED)
