"""What a configuration change does, field by field. dropin: 8 to 14, 18."""

import pytest

from pywg.config.model import ZERO_KEY, PeerChange
from pywg.dataplane.crypto.secret import Secret
from tests.runtime.device_harness import DeviceHarness, Pair, clamped, peer_key, prefix, public


def zero_key() -> bytes:
    return bytes(bytearray(32))


def allowed(harness: DeviceHarness, key: bytes) -> list[str]:
    return [f"{'.'.join(map(str, ip))}/{cidr}" for ip, cidr in harness.peer(key).allowed_ips]


# The private key


@pytest.mark.known_bug("Nil dereference")
@pytest.mark.dropin("8")
def test_a_new_device_shows_nothing() -> None:
    status = DeviceHarness().device.status()
    assert (status.private_key, status.listen_port, status.fwmark, status.peers) == (None, 0, 0, [])


def test_private_keys_are_clamped_and_taken() -> None:
    harness, given = DeviceHarness(), bytes(bytearray([0xFF]) * 32)
    harness.set(private_key=given)
    expected = bytes([0xF8]) + b"\xff" * 30 + b"\x7f"
    assert harness.device.status().private_key == expected
    assert harness.plane.identity == public(expected)
    assert not any(given), "the caller's copy must be wiped"


@pytest.mark.dropin("9")
def test_zeros_clear_the_private_key() -> None:
    harness = DeviceHarness()
    harness.set(private_key=clamped(1))
    harness.set(private_key=zero_key())
    assert harness.device.status().private_key is None
    assert harness.plane.identity is None


@pytest.mark.known_bug("Self-peer")
@pytest.mark.dropin("10")
def test_a_private_key_that_is_a_peers_removes_that_peer() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1)), PeerChange(public(clamped(9))), PeerChange(peer_key(2)))
    harness.set(private_key=clamped(9))
    assert [peer.public_key for peer in harness.peers()] == [peer_key(1), peer_key(2)]
    assert len(harness.plane.peers) == 2


@pytest.mark.known_bug("Self-peer")
@pytest.mark.dropin("10")
def test_a_peer_with_our_own_key_is_ignored() -> None:
    harness = DeviceHarness()
    own = public(clamped(9))
    harness.set(PeerChange(own, allowed_ips=[prefix("10.0.0.0/8")]), PeerChange(peer_key(1)), private_key=clamped(9))
    harness.set(PeerChange(own))
    assert [peer.public_key for peer in harness.peers()] == [peer_key(1)]


@pytest.mark.dropin("10")
def test_a_new_private_key_expires_the_sessions_and_the_same_one_does_not() -> None:
    pair = Pair()
    pair.handshake()
    assert pair.a.plane.peers[1].sending is not None
    pair.a.set(private_key=clamped(1))
    assert pair.a.plane.peers[1].sending is not None
    pair.a.set(private_key=clamped(7))
    assert pair.a.plane.peers[1].sending is None


# Peers


@pytest.mark.dropin("8")
def test_peers_stay_in_the_order_they_were_added() -> None:
    harness = DeviceHarness()
    keys = [peer_key(number) for number in (5, 1, 9, 3)]
    harness.set(*(PeerChange(key) for key in keys))
    harness.set(PeerChange(keys[2], persistent_keepalive=1))
    assert [peer.public_key for peer in harness.peers()] == keys
    harness.set(PeerChange(keys[0], remove=True), PeerChange(keys[0]))
    assert [peer.public_key for peer in harness.peers()] == [*keys[1:], keys[0]]


@pytest.mark.dropin("8")
def test_every_field_of_a_peer_is_shown() -> None:
    harness, key = DeviceHarness(), peer_key(1)
    harness.set(
        PeerChange(
            key,
            preshared_key=bytes(bytearray(range(32))),
            endpoint=(bytes([192, 0, 2, 9]), 51820, 0),
            persistent_keepalive=25,
            allowed_ips=[prefix("10.0.0.0/8"), prefix("192.168.0.0/16")],
        )
    )
    peer = harness.peer(key)
    assert peer.preshared_key == bytes(range(32))
    assert isinstance(peer.preshared_key, Secret)
    assert peer.endpoint == (bytes([192, 0, 2, 9]), 51820, 0)
    assert (peer.persistent_keepalive, peer.last_handshake_ns, peer.tx_bytes, peer.rx_bytes) == (25, 0, 0, 0)
    assert allowed(harness, key) == ["10.0.0.0/8", "192.168.0.0/16"]


def test_what_a_change_leaves_out_stays() -> None:
    harness, key = DeviceHarness(), peer_key(1)
    harness.set(
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
    before = harness.device.status()
    harness.set(PeerChange(key))
    assert harness.device.status() == before


def test_update_only_creates_nobody() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), update_only=True, persistent_keepalive=3), PeerChange(peer_key(2)))
    harness.set(PeerChange(peer_key(2), update_only=True, persistent_keepalive=3))
    assert [(peer.public_key, peer.persistent_keepalive) for peer in harness.peers()] == [(peer_key(2), 3)]


def test_remove() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), preshared_key=clamped(3), allowed_ips=[prefix("10.0.0.0/8")]))
    secret = harness.peers()[0].preshared_key
    assert isinstance(secret, Secret)
    harness.set(PeerChange(peer_key(1), remove=True), PeerChange(peer_key(2), remove=True))
    assert harness.peers() == []
    assert harness.plane.peers == {}
    assert not secret, "its key must be wiped"


def test_replace_peers_removes_those_that_are_not_given() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), persistent_keepalive=9), PeerChange(peer_key(2)))
    harness.set(PeerChange(peer_key(3)), PeerChange(peer_key(1)), replace_peers=True)
    assert [(p.public_key, p.persistent_keepalive) for p in harness.peers()] == [(peer_key(3), 0), (peer_key(1), 0)]


def test_removing_a_peer_with_a_session_retires_it() -> None:
    pair = Pair()
    pair.handshake()
    pair.a.set(PeerChange(pair.b_key, remove=True))
    assert pair.a.plane.keypairs == {}
    assert pair.a.plane.indices == {}
    pair.timers.advance(600)
    assert pair.carry() == 0


def test_preshared_key_of_zeros_is_none() -> None:
    harness, key = DeviceHarness(), peer_key(1)
    harness.set(PeerChange(key, preshared_key=clamped(3)))
    harness.set(PeerChange(key, preshared_key=zero_key()))
    assert bytes(harness.peer(key).preshared_key) == ZERO_KEY


def test_preshared_keys_must_agree() -> None:
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


def test_an_allowed_ip_moves() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), allowed_ips=[prefix("10.0.0.0/8"), prefix("11.0.0.0/8")]))
    harness.set(PeerChange(peer_key(2), allowed_ips=[prefix("10.0.0.0/8")]))
    assert allowed(harness, peer_key(1)) == ["11.0.0.0/8"]
    assert allowed(harness, peer_key(2)) == ["10.0.0.0/8"]


def test_allowed_ips_are_added_replaced_and_removed_in_order() -> None:
    harness, key = DeviceHarness(), peer_key(1)
    harness.set(PeerChange(key, allowed_ips=[prefix("10.0.0.0/8")]))
    harness.set(PeerChange(key, allowed_ips=[prefix("11.0.0.0/8")]))
    assert allowed(harness, key) == ["10.0.0.0/8", "11.0.0.0/8"]
    changes = [prefix("12.0.0.0/8"), prefix("-12.0.0.0/8"), prefix("13.0.0.0/8"), prefix("-14.0.0.0/8")]
    harness.set(PeerChange(key, replace_allowed_ips=True, allowed_ips=changes))
    assert allowed(harness, key) == ["13.0.0.0/8"]


def test_an_allowed_ip_is_taken_only_from_its_owner() -> None:
    harness = DeviceHarness()
    harness.set(PeerChange(peer_key(1), allowed_ips=[prefix("10.0.0.0/8")]), PeerChange(peer_key(2)))
    harness.set(PeerChange(peer_key(2), allowed_ips=[prefix("-10.0.0.0/8")]))
    assert allowed(harness, peer_key(1)) == ["10.0.0.0/8"]


# Sessions as get shows them


def test_a_handshake_is_shown_and_counted() -> None:
    pair = Pair()
    pair.handshake()
    a, b = pair.a.peer(pair.b_key), pair.b.peer(pair.a_key)
    assert a.last_handshake_ns == int((1_700_000_000 + pair.timers.now) * 1e9)
    assert b.last_handshake_ns > 0
    assert [end.device.stats()["handshakes"] for end in (pair.a, pair.b)] == [1, 1]
    assert (a.tx_bytes, a.rx_bytes) == (148 + 32, 92)
    assert (b.tx_bytes, b.rx_bytes) == (92, 148 + 32)
    assert b.endpoint == (pair.a.address, 1, 0)


def test_a_roaming_peer_is_shown_where_it_is() -> None:
    pair = Pair()
    pair.handshake()
    moved = (bytes([198, 51, 100, 7]), 4500, 0, b"", 0)
    pair.a.write(1)
    ((_, data),) = pair.a.plane.sent
    pair.b.plane.receive(data, moved)
    pair.b.poll()
    assert pair.b.peer(pair.a_key).endpoint == moved[:3]


def test_an_endpoint_that_is_cleared_is_the_next_that_speaks() -> None:
    """The session stays: what comes in its name is taken, and tells where the peer is."""
    pair = Pair()
    pair.handshake()
    before = pair.b.peer(pair.a_key)
    assert before.endpoint is not None
    pair.b.set(PeerChange(pair.a_key, clear_endpoint=True))
    cleared = pair.b.peer(pair.a_key)
    assert (cleared.endpoint, cleared.last_handshake_ns) == (None, before.last_handshake_ns)
    pair.a.write(1)
    ((_, data),) = pair.a.plane.sent
    pair.b.plane.receive(data, (*before.endpoint, b"", 0))
    pair.b.poll()
    after = pair.b.peer(pair.a_key)
    assert (after.endpoint, after.last_handshake_ns) == (before.endpoint, before.last_handshake_ns)
    pair.b.set(PeerChange(pair.a_key, clear_endpoint=True, endpoint=(bytes(4), 1, 0)))
    assert pair.b.peer(pair.a_key).endpoint == (bytes(4), 1, 0)


def test_a_peer_is_tried_elsewhere_and_is_there_when_it_answers() -> None:
    pair = Pair()
    pair.handshake()
    there = (bytes([198, 51, 100, 7]), 4500, 0)
    before = pair.a.peer(pair.b_key)
    pair.timers.advance(6)
    pair.carry()
    pair.a.set(PeerChange(pair.b_key, probe_endpoint=there))
    ((probe, to),) = pair.a.plane.sent_elsewhere
    assert to[:3] == there
    assert pair.a.peer(pair.b_key) == before
    assert pair.a.device.troubles() == []
    pair.b.plane.receive(probe, to)
    pair.b.poll()
    ((_, response),) = pair.b.plane.sent
    pair.a.plane.receive(response, to)
    pair.a.poll()
    assert pair.a.peer(pair.b_key).endpoint == there
    assert "hold_endpoint" in pair.a.plane.calls


def test_mtu_reaches_the_plane_and_the_stats() -> None:
    harness = DeviceHarness()
    harness.device.set_mtu(1380)
    assert harness.plane.mtu == harness.device.stats()["mtu"] == 1380


def test_stats_name_offloads_counters_and_dropped_messages() -> None:
    pair = Pair()
    pair.a.plane.receive(b"\x01" + bytes(147), (bytes(4), 9, 0, b"", 0))
    pair.a.poll()
    pair.a.plane.counted["rx_bad_mac1"] = 3
    stats = pair.a.device.stats()
    assert (stats["up"], stats["peers"], stats["sockets_open"]) == (1, 1, 1)
    assert (stats["receive_buffer"], stats["send_buffer"]) == (7 << 20, 7 << 20)
    assert (stats["offload_udp_gso4"], stats["offload_udp_gro"]) == (0, 1)
    assert stats["memory_ceiling"] == 1 << 20
    assert stats["counter_rx_bad_mac1"] == 3
    assert stats["counter_handshake_bad_mac1"] == 1


def test_close_wipes_every_key() -> None:
    pair = Pair()
    pair.a.set(PeerChange(pair.b_key, preshared_key=clamped(3)))
    private, preshared = pair.a.device.status().private_key, pair.a.peers()[0].preshared_key
    assert isinstance(private, Secret)
    assert isinstance(preshared, Secret)
    pair.a.device.close()
    assert not private
    assert not preshared
    assert pair.a.plane.identity is None
    assert pair.a.sockets is None
    pair.a.device.on_plane_ready()
    assert pair.a.timers.pending() == pair.b.timers.pending()


def test_ten_thousand_peers_in_one_change() -> None:
    harness = DeviceHarness()
    number = range(10_000)
    harness.device.up()
    harness.set(*(PeerChange(b"\x09" + i.to_bytes(31, "big"), allowed_ips=[]) for i in number), private_key=clamped(1))
    assert len(harness.peers()) == len(harness.plane.peers) == 10_000
    harness.set(replace_peers=True)
    assert harness.plane.peers == {}
