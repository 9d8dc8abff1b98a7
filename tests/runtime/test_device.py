"""What a configuration change does, field by field. dropin: 8 to 14, 18."""

import errno

import pytest

from pywg._native.secret import Secret
from pywg.config.model import ZERO_KEY, PeerChange
from pywg.errors import UapiError
from tests.runtime.device_bed import Bed, Pair, clamped, peer_key, prefix, public


def zero_key() -> bytes:
    return bytes(bytearray(32))


def allowed(bed: Bed, key: bytes) -> list[str]:
    return [f"{'.'.join(map(str, ip))}/{cidr}" for ip, cidr in bed.peer(key).allowed_ips]


# The private key


def test_a_new_device_shows_nothing():
    status = Bed().device.status()
    assert (status.private_key, status.listen_port, status.fwmark, status.peers) == (None, 0, 0, [])


def test_private_keys_are_clamped_and_taken():
    bed, given = Bed(), bytes(bytearray([0xFF]) * 32)
    bed.set(private_key=given)
    expected = bytes([0xF8]) + b"\xff" * 30 + b"\x7f"
    assert bed.device.status().private_key == expected
    assert bed.plane.identity == public(expected)
    assert not any(given), "the caller's copy must be wiped"


def test_zeros_clear_the_private_key():
    bed = Bed()
    bed.set(private_key=clamped(1))
    bed.set(private_key=zero_key())
    assert bed.device.status().private_key is None
    assert bed.plane.identity is None


def test_a_private_key_that_is_a_peers_removes_that_peer():
    bed = Bed()
    bed.set(PeerChange(peer_key(1)), PeerChange(public(clamped(9))), PeerChange(peer_key(2)))
    bed.set(private_key=clamped(9))
    assert [peer.public_key for peer in bed.peers()] == [peer_key(1), peer_key(2)]
    assert len(bed.plane.peers) == 2


def test_a_peer_with_our_own_key_is_ignored():
    bed = Bed()
    own = public(clamped(9))
    bed.set(PeerChange(own, allowed_ips=[prefix("10.0.0.0/8")]), PeerChange(peer_key(1)), private_key=clamped(9))
    bed.set(PeerChange(own))
    assert [peer.public_key for peer in bed.peers()] == [peer_key(1)]


def test_a_new_private_key_expires_the_sessions_and_the_same_one_does_not():
    pair = Pair()
    pair.handshake()
    assert pair.a.plane.peers[1].sending is not None
    pair.a.set(private_key=clamped(1))
    assert pair.a.plane.peers[1].sending is not None
    pair.a.set(private_key=clamped(7))
    assert pair.a.plane.peers[1].sending is None


# Peers


def test_peers_stay_in_the_order_they_were_added():
    bed = Bed()
    keys = [peer_key(number) for number in (5, 1, 9, 3)]
    bed.set(*(PeerChange(key) for key in keys))
    bed.set(PeerChange(keys[2], persistent_keepalive=1))
    assert [peer.public_key for peer in bed.peers()] == keys
    bed.set(PeerChange(keys[0], remove=True), PeerChange(keys[0]))
    assert [peer.public_key for peer in bed.peers()] == [*keys[1:], keys[0]]


def test_every_field_of_a_peer_is_shown():
    bed, key = Bed(), peer_key(1)
    bed.set(
        PeerChange(
            key,
            preshared_key=bytes(bytearray(range(32))),
            endpoint=(bytes([192, 0, 2, 9]), 51820, 0),
            persistent_keepalive=25,
            allowed_ips=[prefix("10.0.0.0/8"), prefix("192.168.0.0/16")],
        )
    )
    peer = bed.peer(key)
    assert peer.preshared_key == bytes(range(32))
    assert isinstance(peer.preshared_key, Secret)
    assert peer.endpoint == (bytes([192, 0, 2, 9]), 51820, 0)
    assert (peer.persistent_keepalive, peer.last_handshake_ns, peer.tx_bytes, peer.rx_bytes) == (25, 0, 0, 0)
    assert allowed(bed, key) == ["10.0.0.0/8", "192.168.0.0/16"]


def test_what_a_change_leaves_out_stays():
    bed, key = Bed(), peer_key(1)
    bed.set(
        PeerChange(
            key,
            preshared_key=bytes(bytearray(range(32))),
            endpoint=(bytes(4), 1, 0),
            persistent_keepalive=25,
            allowed_ips=[prefix("10.0.0.0/8")],
        ),
        private_key=clamped(1),
        listen_port=7,
        fwmark=8,
    )
    before = bed.device.status()
    bed.set(PeerChange(key))
    assert bed.device.status() == before


def test_update_only_creates_nobody():
    bed = Bed()
    bed.set(PeerChange(peer_key(1), update_only=True, persistent_keepalive=3), PeerChange(peer_key(2)))
    bed.set(PeerChange(peer_key(2), update_only=True, persistent_keepalive=3))
    assert [(peer.public_key, peer.persistent_keepalive) for peer in bed.peers()] == [(peer_key(2), 3)]


def test_remove():
    bed = Bed()
    bed.set(PeerChange(peer_key(1), preshared_key=clamped(3), allowed_ips=[prefix("10.0.0.0/8")]))
    secret = bed.peers()[0].preshared_key
    bed.set(PeerChange(peer_key(1), remove=True), PeerChange(peer_key(2), remove=True))
    assert bed.peers() == []
    assert bed.plane.peers == {}
    assert not secret, "its key must be wiped"


def test_replace_peers_removes_those_that_are_not_given():
    bed = Bed()
    bed.set(PeerChange(peer_key(1), persistent_keepalive=9), PeerChange(peer_key(2)))
    bed.set(PeerChange(peer_key(3)), PeerChange(peer_key(1)), replace_peers=True)
    assert [(p.public_key, p.persistent_keepalive) for p in bed.peers()] == [(peer_key(3), 0), (peer_key(1), 0)]


def test_removing_a_peer_with_a_session_retires_it():
    pair = Pair()
    pair.handshake()
    pair.a.set(PeerChange(pair.b_key, remove=True))
    assert pair.a.plane.keypairs == pair.a.plane.indices == {}
    pair.timers.advance(600)
    assert pair.carry() == 0


def test_preshared_key_of_zeros_is_none():
    bed, key = Bed(), peer_key(1)
    bed.set(PeerChange(key, preshared_key=clamped(3)))
    bed.set(PeerChange(key, preshared_key=zero_key()))
    assert bytes(bed.peer(key).preshared_key) == ZERO_KEY


def test_preshared_keys_must_agree():
    pair = Pair()
    pair.a.set(PeerChange(pair.b_key, preshared_key=clamped(3)))
    pair.b.set(PeerChange(pair.a_key, preshared_key=clamped(4)))
    pair.a.report(1, 1)
    pair.carry()
    assert pair.a.plane.keypairs == {}
    pair.b.set(PeerChange(pair.a_key, preshared_key=clamped(3)))
    pair.timers.advance(6)
    pair.carry()
    assert len(pair.a.plane.keypairs) == 1


# Allowed IPs


def test_an_allowed_ip_moves():
    bed = Bed()
    bed.set(PeerChange(peer_key(1), allowed_ips=[prefix("10.0.0.0/8"), prefix("11.0.0.0/8")]))
    bed.set(PeerChange(peer_key(2), allowed_ips=[prefix("10.0.0.0/8")]))
    assert allowed(bed, peer_key(1)) == ["11.0.0.0/8"]
    assert allowed(bed, peer_key(2)) == ["10.0.0.0/8"]


def test_allowed_ips_are_added_replaced_and_removed_in_order():
    bed, key = Bed(), peer_key(1)
    bed.set(PeerChange(key, allowed_ips=[prefix("10.0.0.0/8")]))
    bed.set(PeerChange(key, allowed_ips=[prefix("11.0.0.0/8")]))
    assert allowed(bed, key) == ["10.0.0.0/8", "11.0.0.0/8"]
    changes = [prefix("12.0.0.0/8"), prefix("-12.0.0.0/8"), prefix("13.0.0.0/8"), prefix("-14.0.0.0/8")]
    bed.set(PeerChange(key, replace_allowed_ips=True, allowed_ips=changes))
    assert allowed(bed, key) == ["13.0.0.0/8"]


def test_an_allowed_ip_is_taken_only_from_its_owner():
    bed = Bed()
    bed.set(PeerChange(peer_key(1), allowed_ips=[prefix("10.0.0.0/8")]), PeerChange(peer_key(2)))
    bed.set(PeerChange(peer_key(2), allowed_ips=[prefix("-10.0.0.0/8")]))
    assert allowed(bed, peer_key(1)) == ["10.0.0.0/8"]


# Port and mark


def test_port_and_mark_of_a_device_that_is_down_are_remembered():
    bed = Bed()
    bed.set(listen_port=51820, fwmark=0xCA6C)
    assert bed.sockets is None
    assert (bed.device.status().listen_port, bed.device.status().fwmark) == (51820, 0xCA6C)
    bed.device.up()
    assert (bed.sockets.port, bed.sockets.mark) == (51820, 0xCA6C)


def test_a_free_port_is_reported_and_kept():
    bed = Bed()
    bed.device.up()
    port = bed.sockets.port
    assert bed.device.status().listen_port == port > 0
    bed.device.down()
    bed.device.up()
    assert bed.sockets.port == port


def test_the_port_changes_without_losing_a_session():
    pair = Pair()
    pair.handshake()
    before = dict(pair.a.plane.keypairs)
    pair.a.set(listen_port=777)
    assert pair.a.sockets.port == pair.a.device.status().listen_port == 777
    assert pair.a.plane.keypairs == before
    assert "detach_sockets" not in pair.a.plane.calls
    assert pair.a.plane.peers[1].sources_cleared == 1


def test_the_mark_changes_on_the_open_sockets():
    pair = Pair()
    pair.handshake()
    pair.a.set(fwmark=5)
    assert (pair.a.sockets.port, pair.a.sockets.mark, pair.a.device.status().fwmark) == (1, 5, 5)
    assert pair.a.plane.keypairs
    assert pair.a.plane.peers[1].sources_cleared == 1
    pair.a.set(fwmark=0)
    assert pair.a.sockets.mark == 0


def test_a_source_that_was_dropped_comes_back_with_the_next_handshake():
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


def test_a_peer_that_is_gone_has_no_way_and_no_source():
    pair = Pair()
    pair.b.set(PeerChange(pair.a_key, remove=True))
    assert pair.b.device.peers() == []
    assert pair.b.device.endpoint(1) is None
    pair.b.device.clear_source(1)


def test_the_same_port_again_changes_nothing():
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.set(listen_port=5, fwmark=0)
    assert len(bed.opened) == 1


def test_rebinding_keeps_port_mark_and_sessions():
    pair = Pair()
    pair.handshake()
    before, old = dict(pair.a.plane.keypairs), pair.a.sockets
    pair.a.set(fwmark=5)
    old.open = False  # as another device's, whose port is another
    assert pair.a.device.rebind()
    assert pair.a.sockets is not old
    assert (pair.a.sockets.port, pair.a.sockets.mark) == (old.port, 5)
    assert pair.a.plane.keypairs == before
    assert "detach_sockets" not in pair.a.plane.calls


def test_rebinding_that_fails_leaves_the_sockets_that_there_are():
    bed = Bed()
    assert bed.device.rebind(), "nothing to do while the interface is down"
    bed.set(listen_port=5)
    bed.device.up()
    old = bed.sockets
    assert not bed.device.rebind()
    assert bed.sockets is old


def test_port_0_takes_another_free_port():
    bed = Bed()
    bed.set(listen_port=5)
    bed.device.up()
    bed.set(listen_port=0)
    assert bed.sockets.port == bed.device.status().listen_port >= 40000


def test_a_taken_port_refuses_the_whole_change():
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
    assert (bed.sockets.port, bed.sockets.mark) == (5, 6)


def test_a_refused_mark_refuses_the_whole_change():
    bed = Bed()
    bed.device.up()
    bed.sockets.refuse_mark = True
    with pytest.raises(UapiError) as caught:
        bed.set(PeerChange(peer_key(2)), fwmark=7)
    assert caught.value.errno == errno.EPERM
    assert bed.device.status().fwmark == 0
    assert bed.peers() == []


# Up and down


def test_up_sends_the_keepalives_that_are_due_and_only_those():
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


def test_a_keepalive_from_0_to_n_is_sent_at_once():
    pair = Pair()
    pair.handshake()
    before = pair.a.plane.peers[1].keepalives
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=25))
    assert pair.a.plane.peers[1].keepalives == before + 1
    pair.a.set(PeerChange(pair.b_key, persistent_keepalive=30))
    assert pair.a.plane.peers[1].keepalives == before + 1


def test_a_peer_that_is_changed_while_up_sends_what_waited_for_it():
    bed = Bed()
    bed.device.up()
    bed.set(PeerChange(peer_key(1)), private_key=clamped(1))
    assert bed.plane.peers[1].staged_sent == 1


def test_down_closes_the_sockets_and_wipes_the_sessions():
    pair = Pair()
    pair.handshake()
    pair.a.plane.peers[1].staged = 3
    pair.a.device.down()
    assert pair.a.sockets is None
    assert pair.a.plane.keypairs == {}
    assert pair.a.plane.peers[1].staged == 0
    pair.timers.advance(600)
    assert pair.a.plane.sent == []
    assert len(pair.a.peers()) == 1


def test_up_again_makes_a_new_session():
    pair = Pair()
    pair.handshake()
    pair.a.device.down()
    pair.a.device.up()
    pair.timers.advance(1)
    pair.a.report(1, 1)
    assert pair.carry() == 2
    assert len(pair.a.plane.keypairs) == 1


def test_up_and_down_twice_is_once():
    bed = Bed()
    bed.device.up()
    bed.device.up()
    assert len(bed.opened) == 1
    bed.device.down()
    bed.device.down()
    assert bed.sockets is None


def test_a_bind_that_fails_on_up_is_logged_once_and_tried_again():
    bed = Bed()
    bed.taken_ports.add(99)
    bed.set(listen_port=99)
    bed.device.up()
    bed.timers.advance(10)
    assert bed.sockets is None
    assert bed.text.getvalue().count("UDP port 99 (IPv4) can't be opened") == 1
    bed.taken_ports.clear()
    bed.timers.advance(2)
    assert bed.sockets.port == 99
    assert bed.timers.pending() == []


def test_a_bind_that_fails_is_over_with_another_port_or_down():
    bed = Bed()
    bed.taken_ports.add(99)
    bed.set(listen_port=99)
    bed.device.up()
    bed.set(listen_port=98)
    assert bed.sockets.port == 98
    bed.device.down()
    bed.set(listen_port=99)
    bed.device.up()
    bed.device.down()
    bed.taken_ports.clear()
    bed.timers.advance(10)
    assert bed.sockets is None


# Sessions as get shows them


def test_a_handshake_is_shown_and_counted():
    pair = Pair()
    pair.handshake()
    a, b = pair.a.peer(pair.b_key), pair.b.peer(pair.a_key)
    assert a.last_handshake_ns == int((1_700_000_000 + pair.timers.now) * 1e9)
    assert b.last_handshake_ns > 0
    assert (a.tx_bytes, a.rx_bytes) == (148, 92)
    assert (b.tx_bytes, b.rx_bytes) == (92, 148)
    assert b.endpoint == (pair.a.address, 1, 0)


def test_a_roaming_peer_is_shown_where_it_is():
    pair = Pair()
    pair.handshake()
    moved = (bytes([198, 51, 100, 7]), 4500, 0, b"", 0)
    pair.b.plane.peers[1].addr = moved
    pair.b.report(1, 16)
    assert pair.b.peer(pair.a_key).endpoint == moved[:3]


def test_mtu_reaches_the_plane_and_the_stats():
    bed = Bed()
    bed.device.set_mtu(1380)
    assert bed.plane.mtu == bed.device.stats()["mtu"] == 1380


def test_stats_name_offloads_counters_and_dropped_messages():
    pair = Pair()
    pair.a.plane.receive(b"\x01" + bytes(147), (bytes(4), 9, 0, b"", 0))
    pair.a.poll()
    stats = pair.a.device.stats()
    assert (stats["up"], stats["peers"], stats["sockets_open"]) == (1, 1, 1)
    assert (stats["offload_udp_gso4"], stats["offload_udp_gso6"], stats["offload_udp_gro"]) == (1, 0, 1)
    assert stats["memory_ceiling"] == 1 << 20
    assert stats["counter_bad_mac1"] == 3
    assert stats["counter_handshake_bad_mac1"] == 1


def test_close_wipes_every_key():
    pair = Pair()
    pair.a.set(PeerChange(pair.b_key, preshared_key=clamped(3)))
    private, preshared = pair.a.device.status().private_key, pair.a.peers()[0].preshared_key
    pair.a.device.close()
    assert not private
    assert not preshared
    assert pair.a.plane.identity is None
    assert pair.a.sockets is None
    pair.a.device.on_plane_ready()
    assert pair.a.timers.pending() == pair.b.timers.pending()


def test_ten_thousand_peers_in_one_change():
    bed = Bed()
    number = range(10_000)
    bed.device.up()
    bed.set(*(PeerChange(b"\x09" + i.to_bytes(31, "big"), allowed_ips=[]) for i in number), private_key=clamped(1))
    assert len(bed.peers()) == len(bed.plane.peers) == 10_000
    bed.set(replace_peers=True)
    assert bed.plane.peers == {}
