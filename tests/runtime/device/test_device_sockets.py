"""The device's sockets: port, mark, up and down, and what becomes of the sessions meanwhile. dropin: 8 to 14, 18."""

import errno

import pytest

from pywg.config.model import PeerChange
from pywg.errors import UapiError
from tests.runtime.device_harness import Bed, Pair, clamped, peer_key

# Port and mark


def test_port_and_mark_of_a_device_that_is_down_are_had_at_once() -> None:
    bed = Bed()
    bed.set(listen_port=51820, fwmark=0xCA6C)
    assert bed.sockets is None
    (held,) = bed.opened
    assert (held.open, held.held, held.port, held.mark) == (True, True, 51820, 0xCA6C)
    assert (bed.device.status().listen_port, bed.device.status().fwmark) == (51820, 0xCA6C)
    bed.device.up()
    assert bed.sockets is held
    assert len(bed.opened) == 1


@pytest.mark.dropin("9", "13")
def test_a_taken_port_is_refused_while_the_device_is_down() -> None:
    bed = Bed()
    bed.set(listen_port=5, fwmark=6)
    bed.taken_ports.add(99)
    before = bed.device.status()
    with pytest.raises(UapiError) as caught:
        bed.set(PeerChange(peer_key(2)), listen_port=99, fwmark=7)
    assert caught.value.errno == errno.EADDRINUSE
    assert bed.device.status() == before
    bed.device.up()
    assert (bed.in_use.port, bed.in_use.mark) == (5, 6)


def test_a_refused_mark_is_refused_while_the_device_is_down() -> None:
    bed = Bed()
    bed.refuse_mark = True
    with pytest.raises(UapiError) as caught:
        bed.set(fwmark=7)
    assert caught.value.errno == errno.EPERM
    assert bed.device.status().fwmark == 0
    bed.refuse_mark = False
    bed.set(fwmark=7)
    assert bed.device.status().fwmark == 7
    assert not any(sockets.open for sockets in bed.opened), "no port was asked for"


def test_a_port_that_is_held_is_another_ones_after_the_next() -> None:
    bed = Bed()
    bed.set(listen_port=5)
    bed.set(listen_port=6)
    assert [sockets.port for sockets in bed.opened if sockets.open] == [6]
    bed.set(listen_port=0)
    assert [sockets.port for sockets in bed.opened if sockets.open] == []
    assert bed.device.status().listen_port == 0
    bed.device.up()
    assert bed.in_use.port >= 40000


def test_the_port_asked_for_again_is_had_again() -> None:
    """After down it is free for others. Who asks for it wants it."""
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.device.down()
    assert not bed.opened[0].open
    bed.taken_ports.add(5)
    bed.set(PeerChange(peer_key(1)))  # asks for no port
    with pytest.raises(UapiError):
        bed.set(listen_port=5)
    bed.taken_ports.clear()
    bed.set(listen_port=5)
    assert bed.opened[-1].held


def test_a_taken_port_is_refused_while_it_is_tried_for() -> None:
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.device.down()
    bed.taken_ports.add(5)
    bed.device.up()
    with pytest.raises(UapiError):
        bed.set(listen_port=5)
    bed.set(fwmark=9)
    bed.taken_ports.clear()
    bed.timers.advance(2)
    assert (bed.in_use.port, bed.in_use.mark) == (5, 9)


def test_a_port_that_was_chosen_and_is_taken_meanwhile_becomes_another() -> None:
    bed = Bed()
    bed.device.up()
    port = bed.in_use.port
    bed.device.down()
    bed.taken_ports.add(port)
    bed.device.up()
    assert bed.in_use.port == bed.device.status().listen_port != port


def test_sockets_that_are_held_are_bound_anew_with_their_device() -> None:
    bed = Bed()
    bed.set(listen_port=5)
    (old,) = bed.opened
    old.open = False  # as another device's, whose port is another
    assert bed.device.rebind()
    assert (bed.opened[-1].port, bed.opened[-1].held) == (5, True)


def test_what_is_held_is_given_up_at_the_end() -> None:
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.close()
    assert not bed.opened[0].open


def test_a_free_port_is_reported_and_kept() -> None:
    bed = Bed()
    bed.device.up()
    port = bed.in_use.port
    assert bed.device.status().listen_port == port > 0
    bed.device.down()
    bed.device.up()
    assert bed.in_use.port == port


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
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.set(listen_port=5, fwmark=0)
    assert len(bed.opened) == 1


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
    bed = Bed()
    assert bed.device.rebind(), "nothing to do while the interface is down"
    bed.set(listen_port=5)
    bed.device.up()
    old = bed.sockets
    assert not bed.device.rebind()
    assert bed.sockets is old


def test_port_0_takes_another_free_port() -> None:
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.set(listen_port=0)
    assert bed.in_use.port == bed.device.status().listen_port >= 40000


@pytest.mark.dropin("9", "13")
def test_a_taken_port_refuses_the_whole_change() -> None:
    bed = Bed()
    bed.set(PeerChange(peer_key(1)), private_key=clamped(1), listen_port=5, fwmark=6)
    bed.device.up()
    before = bed.device.status()
    bed.taken_ports.add(99)
    with pytest.raises(UapiError, match="UDP port 99") as caught:
        bed.set(PeerChange(peer_key(2)), private_key=clamped(2), listen_port=99, fwmark=7, replace_peers=True)
    assert caught.value.errno == errno.EADDRINUSE
    assert bed.device.status() == before
    assert bed.device.status().private_key == clamped(1)
    assert (bed.in_use.port, bed.in_use.mark) == (5, 6)


@pytest.mark.dropin("9", "14")
def test_a_refused_mark_refuses_the_whole_change() -> None:
    bed = Bed()
    bed.device.up()
    bed.in_use.refuse_mark = True
    with pytest.raises(UapiError) as caught:
        bed.set(PeerChange(peer_key(2)), fwmark=7)
    assert caught.value.errno == errno.EPERM
    assert bed.device.status().fwmark == 0
    assert bed.peers() == []


# Up and down


def _bed_whose_port_was_taken_while_it_was_down(port: int) -> Bed:
    bed = Bed()
    bed.set(listen_port=port)
    bed.device.up()
    bed.device.down()
    bed.taken_ports.add(port)
    return bed


def test_up_sends_the_keepalives_that_are_due_and_only_those() -> None:
    bed = Bed()
    bed.set(
        PeerChange(peer_key(1), endpoint=(bytes(4), 1, 0), persistent_keepalive=25),
        PeerChange(peer_key(2), endpoint=(bytes(4), 2, 0)),
        private_key=clamped(1),
    )
    assert bed.plane.peers[1].keepalives == 0
    bed.device.up()
    assert [peer.keepalives for peer in bed.plane.peers.values()] == [1, 0]
    bed.poll()
    assert [(peer, data[0]) for peer, data in bed.plane.sent] == [(1, 1)]


def test_a_keepalive_from_0_to_n_is_sent_at_once() -> None:
    pair = Pair()
    pair.handshake()
    before = pair.a.plane.peers[1].keepalives
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=25))
    assert pair.a.plane.peers[1].keepalives == before + 1
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=30))
    assert pair.a.plane.peers[1].keepalives == before + 1


def test_a_peer_that_is_changed_while_up_sends_what_waited_for_it() -> None:
    bed = Bed()
    bed.device.up()
    bed.set(PeerChange(peer_key(1)), private_key=clamped(1))
    assert bed.plane.peers[1].staged_sent == 1


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
    bed = Bed()
    bed.device.up()
    bed.device.up()
    assert len(bed.opened) == 1
    bed.device.down()
    bed.device.down()
    assert bed.sockets is None


@pytest.mark.dropin("13")
def test_a_bind_that_fails_on_up_is_logged_once_and_tried_again() -> None:
    bed = _bed_whose_port_was_taken_while_it_was_down(99)
    bed.device.up()
    bed.timers.advance(10)
    assert bed.sockets is None
    assert bed.text.getvalue().count("UDP port 99 (IPv4) can't be opened") == 1
    bed.taken_ports.clear()
    bed.timers.advance(2)
    assert bed.in_use.port == 99
    assert bed.timers.pending() == []
    assert bed.text.getvalue().count("ERROR: (wg0)") == 2
    assert "UDP port 99 is open now" in bed.text.getvalue()


def test_a_bind_that_fails_is_over_with_another_port_or_down() -> None:
    bed = _bed_whose_port_was_taken_while_it_was_down(99)
    bed.device.up()
    bed.set(listen_port=98)
    assert bed.in_use.port == 98
    bed.device.down()
    bed.taken_ports.add(98)
    bed.device.up()
    bed.device.down()
    bed.taken_ports.clear()
    bed.timers.advance(10)
    assert bed.sockets is None
