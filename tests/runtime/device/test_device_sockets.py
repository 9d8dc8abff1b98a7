"""The device's sockets: port, mark, up and down, and what becomes of the sessions meanwhile. dropin: 8 to 14, 18."""

import errno
from collections.abc import Callable

import pytest

from pywg._fastpath import HANDSHAKE_WANTED
from pywg.config.model import PeerChange
from pywg.errors import UapiError
from tests.fake_plane import FakePlane
from tests.runtime.device_harness import DeviceHarness, Pair, clamped, peer_key

# Shards


def sharded(shards: int) -> DeviceHarness:
    def make(now: Callable[[], float]) -> FakePlane:
        plane = FakePlane(now=now)
        plane.shards = shards
        return plane

    return DeviceHarness(make_plane=make)


def test_every_shard_has_its_sockets() -> None:
    harness = sharded(4)
    harness.device.up()
    sockets = harness.in_use
    assert len(harness.plane.more_pairs) == 3
    assert list(harness.device.udp_descriptors()) == sockets.pairs
    assert harness.device.stats()["shards"] == 4
    harness.set(listen_port=sockets.port + 1)
    assert harness.in_use is not sockets
    assert len(harness.plane.more_pairs) == 3
    harness.device.down()
    assert list(harness.device.udp_descriptors()) == []


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_all_sessions_of_a_peer_come_to_one_shard(shards: int) -> None:
    """By the receiver index that we choose, for initiations here; a new one for each."""
    harness = sharded(shards)
    harness.set(private_key=clamped(1), listen_port=1)
    harness.device.up()
    indices: dict[int, set[int]] = {}
    for number in range(1, 10):
        harness.set(PeerChange(peer_key(number), endpoint=(bytes([192, 0, 2, number]), 2, 0)))
        for _ in range(3):
            harness.timers.advance(6)
            harness.report(number, HANDSHAKE_WANTED)
    for peer, data in harness.plane.sent:
        indices.setdefault(peer, set()).add(int.from_bytes(data[4:8], "little"))
    assert len(indices) == 9
    for peer, drawn in indices.items():
        assert len(drawn) >= 3
        assert {index % shards for index in drawn} == {peer % shards}


# Port and mark


def test_port_and_mark_of_a_device_that_is_down_are_had_at_once() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=51820, fwmark=0xCA6C)
    assert harness.sockets is None
    (held,) = harness.opened
    assert (held.open, held.held, held.port, held.mark) == (True, True, 51820, 0xCA6C)
    assert (harness.device.status().listen_port, harness.device.status().fwmark) == (51820, 0xCA6C)
    harness.device.up()
    assert harness.sockets is held
    assert len(harness.opened) == 1


@pytest.mark.dropin("9", "13")
def test_a_taken_port_is_refused_while_the_device_is_down() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5, fwmark=6)
    harness.taken_ports.add(99)
    before = harness.device.status()
    with pytest.raises(UapiError) as caught:
        harness.set(PeerChange(peer_key(2)), listen_port=99, fwmark=7)
    assert caught.value.errno == errno.EADDRINUSE
    assert harness.device.status() == before
    harness.device.up()
    assert (harness.in_use.port, harness.in_use.mark) == (5, 6)


def test_a_refused_mark_is_refused_while_the_device_is_down() -> None:
    harness = DeviceHarness()
    harness.refuse_mark = True
    with pytest.raises(UapiError) as caught:
        harness.set(fwmark=7)
    assert caught.value.errno == errno.EPERM
    assert harness.device.status().fwmark == 0
    harness.refuse_mark = False
    harness.set(fwmark=7)
    assert harness.device.status().fwmark == 7
    assert not any(sockets.open for sockets in harness.opened), "no port was asked for"


def test_a_port_that_is_held_is_another_ones_after_the_next() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.set(listen_port=6)
    assert [sockets.port for sockets in harness.opened if sockets.open] == [6]
    harness.set(listen_port=0)
    assert [sockets.port for sockets in harness.opened if sockets.open] == []
    assert harness.device.status().listen_port == 0
    harness.device.up()
    assert harness.in_use.port >= 40000


def test_the_port_asked_for_again_is_had_again() -> None:
    """After down it is free for others. Who asks for it wants it."""
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.device.up()
    harness.device.down()
    assert not harness.opened[0].open
    harness.taken_ports.add(5)
    harness.set(PeerChange(peer_key(1)))  # asks for no port
    with pytest.raises(UapiError):
        harness.set(listen_port=5)
    harness.taken_ports.clear()
    harness.set(listen_port=5)
    assert harness.opened[-1].held


def test_a_taken_port_is_refused_while_it_is_tried_for() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.device.up()
    harness.device.down()
    harness.taken_ports.add(5)
    harness.device.up()
    with pytest.raises(UapiError):
        harness.set(listen_port=5)
    harness.set(fwmark=9)
    harness.taken_ports.clear()
    harness.timers.advance(2)
    assert (harness.in_use.port, harness.in_use.mark) == (5, 9)


def test_a_port_that_was_chosen_and_is_taken_meanwhile_becomes_another() -> None:
    harness = DeviceHarness()
    harness.device.up()
    port = harness.in_use.port
    harness.device.down()
    harness.taken_ports.add(port)
    harness.device.up()
    assert harness.in_use.port == harness.device.status().listen_port != port


def test_sockets_that_are_held_are_bound_anew_with_their_device() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    (old,) = harness.opened
    old.open = False  # as another device's, whose port is another
    assert harness.device.rebind()
    assert (harness.opened[-1].port, harness.opened[-1].held) == (5, True)


def test_what_is_held_is_given_up_at_the_end() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.device.close()
    assert not harness.opened[0].open


def test_a_free_port_is_reported_and_kept() -> None:
    harness = DeviceHarness()
    harness.device.up()
    port = harness.in_use.port
    assert harness.device.status().listen_port == port > 0
    harness.device.down()
    harness.device.up()
    assert harness.in_use.port == port


def test_the_port_changes_without_losing_a_session() -> None:
    pair = Pair()
    pair.handshake()
    before = dict(pair.a.plane.keypairs)
    pair.a.set(listen_port=777)
    assert pair.a.in_use.port == pair.a.device.status().listen_port == 777
    assert pair.a.plane.keypairs == before
    assert "detach_sockets" not in pair.a.plane.calls
    assert pair.a.plane.peers[1].sources_cleared == 1


def test_the_mark_changes_on_the_open_sockets() -> None:
    pair = Pair()
    pair.handshake()
    pair.a.set(fwmark=5)
    assert (pair.a.in_use.port, pair.a.in_use.mark, pair.a.device.status().fwmark) == (1, 5, 5)
    assert pair.a.plane.keypairs
    assert pair.a.plane.peers[1].sources_cleared == 1
    pair.a.set(fwmark=0)
    assert pair.a.in_use.mark == 0


def test_a_source_that_was_dropped_comes_back_with_the_next_handshake() -> None:
    """By the same way as before: the response has to leave from where the initiation went."""
    pair = Pair()
    pair.handshake()
    way = pair.b.device.endpoint(1)
    assert way == (pair.a.address, 1, 0, pair.b.address, 1)
    pair.b.device.clear_source(1)
    assert pair.b.device.endpoint(1) == (pair.a.address, 1, 0, b"", 0)
    pair.timers.advance(130)
    pair.a.report(1, 1)
    pair.carry()
    assert pair.b.device.endpoint(1) == way


def test_a_peer_that_is_gone_has_no_way_and_no_source() -> None:
    pair = Pair()
    pair.b.set(PeerChange(pair.a_key, remove=True))
    assert pair.b.device.peers() == []
    assert pair.b.device.endpoint(1) is None
    pair.b.device.clear_source(1)


def test_the_same_port_again_changes_nothing() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.device.up()
    harness.set(listen_port=5, fwmark=0)
    assert len(harness.opened) == 1


def test_rebinding_keeps_port_mark_and_sessions() -> None:
    pair = Pair()
    pair.handshake()
    before, old = dict(pair.a.plane.keypairs), pair.a.in_use
    pair.a.set(fwmark=5)
    old.open = False  # as another device's, whose port is another
    assert pair.a.device.rebind()
    assert pair.a.sockets is not old
    assert (pair.a.in_use.port, pair.a.in_use.mark) == (old.port, 5)
    assert pair.a.plane.keypairs == before
    assert "detach_sockets" not in pair.a.plane.calls


def test_rebinding_that_fails_leaves_the_sockets_that_there_are() -> None:
    harness = DeviceHarness()
    assert harness.device.rebind(), "nothing to do while the interface is down"
    harness.set(listen_port=5)
    harness.device.up()
    old = harness.sockets
    assert not harness.device.rebind()
    assert harness.sockets is old


def test_port_0_takes_another_free_port() -> None:
    harness = DeviceHarness()
    harness.set(listen_port=5)
    harness.device.up()
    harness.set(listen_port=0)
    assert harness.in_use.port == harness.device.status().listen_port >= 40000


@pytest.mark.dropin("9", "13")
def test_a_taken_port_refuses_the_whole_change() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1)), private_key=clamped(1), listen_port=5, fwmark=6)
    harness.device.up()
    before = harness.device.status()
    harness.taken_ports.add(99)
    with pytest.raises(UapiError, match="UDP port 99") as caught:
        harness.set(PeerChange(peer_key(2)), private_key=clamped(2), listen_port=99, fwmark=7, replace_peers=True)
    assert caught.value.errno == errno.EADDRINUSE
    assert harness.device.status() == before
    assert harness.device.status().private_key == clamped(1)
    assert (harness.in_use.port, harness.in_use.mark) == (5, 6)


@pytest.mark.dropin("9", "14")
def test_a_refused_mark_refuses_the_whole_change() -> None:
    harness = DeviceHarness()
    harness.device.up()
    harness.in_use.refuse_mark = True
    with pytest.raises(UapiError) as caught:
        harness.set(PeerChange(peer_key(2)), fwmark=7)
    assert caught.value.errno == errno.EPERM
    assert harness.device.status().fwmark == 0
    assert harness.peers() == []


# Up and down


def _harness_whose_port_was_taken_while_it_was_down(port: int) -> DeviceHarness:
    harness = DeviceHarness()
    harness.set(listen_port=port)
    harness.device.up()
    harness.device.down()
    harness.taken_ports.add(port)
    return harness


def test_up_sends_the_keepalives_that_are_due_and_only_those() -> None:
    harness = DeviceHarness()
    harness.set(
        PeerChange(peer_key(1), endpoint=(bytes(4), 1, 0), persistent_keepalive=25),
        PeerChange(peer_key(2), endpoint=(bytes(4), 2, 0)),
        private_key=clamped(1),
    )
    assert harness.plane.peers[1].keepalives == 0
    harness.device.up()
    assert [peer.keepalives for peer in harness.plane.peers.values()] == [1, 0]
    harness.poll()
    assert [(peer, data[0]) for peer, data in harness.plane.sent] == [(1, 1)]


def test_a_keepalive_from_0_to_n_is_sent_at_once() -> None:
    pair = Pair()
    pair.handshake()
    before = pair.a.plane.peers[1].keepalives
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=25))
    assert pair.a.plane.peers[1].keepalives == before + 1
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=30))
    assert pair.a.plane.peers[1].keepalives == before + 1


def test_a_peer_that_is_changed_while_up_sends_what_waited_for_it() -> None:
    harness = DeviceHarness()
    harness.device.up()
    harness.set(PeerChange(peer_key(1)), private_key=clamped(1))
    assert harness.plane.peers[1].staged_sent == 1


@pytest.mark.dropin("12")
def test_down_closes_the_sockets_and_wipes_the_sessions() -> None:
    pair = Pair()
    pair.handshake()
    pair.a.plane.peers[1].staged = [b"data"] * 3
    pair.a.device.down()
    assert pair.a.sockets is None
    assert pair.a.plane.keypairs == {}
    assert pair.a.plane.peers[1].staged == []
    pair.timers.advance(600)
    assert pair.a.plane.sent == []
    assert len(pair.a.peers()) == 1


def test_up_again_makes_a_new_session() -> None:
    pair = Pair()
    pair.handshake()
    pair.a.device.down()
    pair.a.device.up()
    pair.timers.advance(1)
    pair.a.report(1, 1)
    assert pair.carry() == 3
    assert len(pair.a.plane.keypairs) == 1


def test_up_and_down_twice_is_once() -> None:
    harness = DeviceHarness()
    harness.device.up()
    harness.device.up()
    assert len(harness.opened) == 1
    harness.device.down()
    harness.device.down()
    assert harness.sockets is None


@pytest.mark.dropin("13")
def test_a_bind_that_fails_on_up_is_logged_once_and_tried_again() -> None:
    harness = _harness_whose_port_was_taken_while_it_was_down(99)
    harness.device.up()
    harness.timers.advance(10)
    assert harness.sockets is None
    assert harness.text.getvalue().count("UDP port 99 (IPv4) can't be opened") == 1
    harness.taken_ports.clear()
    harness.timers.advance(2)
    assert harness.in_use.port == 99
    assert harness.timers.pending() == []
    assert harness.text.getvalue().count("ERROR: (wg0)") == 2
    assert "UDP port 99 is open now" in harness.text.getvalue()


def test_a_bind_that_fails_is_over_with_another_port_or_down() -> None:
    harness = _harness_whose_port_was_taken_while_it_was_down(99)
    harness.device.up()
    harness.set(listen_port=98)
    assert harness.in_use.port == 98
    harness.device.down()
    harness.taken_ports.add(98)
    harness.device.up()
    harness.device.down()
    harness.taken_ports.clear()
    harness.timers.advance(10)
    assert harness.sockets is None
