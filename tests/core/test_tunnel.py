"""The tunnel's configuration surface: keys, peers, interface state, and what each does to what is under way."""

import pytest

from pywg.core import events
from pywg.core.events import (
    Activity,
    DropStaged,
    Endpoint,
    HandshakeIndexClosed,
    KeepaliveWanted,
    KeypairRetired,
    SendingKeypairChanged,
    SourceCleared,
)
from pywg.core.tunnel import Tunnel
from pywg.dataplane.crypto.secret import Secret
from pywg.errors import LocalProtocolError
from tests import paper
from tests.simulation import INITIATION, RESPONSE, Site, World, introduce, two_sites


def new_tunnel() -> Tunnel:
    world = World()
    return Tunnel(random=world.random.randbytes, wall_ns=lambda: 10**18, activity=lambda peer: Activity())


def test_peers_are_numbered_and_never_again() -> None:
    tunnel = new_tunnel()
    first = tunnel.add_peer(b"\x01" * 32, 1.0)
    tunnel.remove_peer(first, 1.0)
    assert tunnel.peer_by_key(b"\x01" * 32) is None
    second = tunnel.add_peer(b"\x01" * 32, 1.0)
    assert second != first
    assert tunnel.peer_by_key(b"\x01" * 32) == second


def test_what_the_caller_may_not_do() -> None:
    tunnel = new_tunnel()
    tunnel.set_private_key(Secret(b"\x01" * 32), 1.0)
    assert tunnel.public_key is not None
    tunnel.add_peer(b"\x02" * 32, 1.0)
    with pytest.raises(LocalProtocolError, match="there is a peer"):
        tunnel.add_peer(b"\x02" * 32, 1.0)
    with pytest.raises(LocalProtocolError, match="our own"):
        tunnel.add_peer(tunnel.public_key, 1.0)
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        tunnel.add_peer(b"\x02" * 31, 1.0)
    with pytest.raises(LocalProtocolError, match="no peer 99"):
        tunnel.remove_peer(99, 1.0)


@pytest.mark.dropin("10")
@pytest.mark.known_bug("Self-peer")
def test_a_private_key_whose_public_key_a_peer_has() -> None:
    """Known bug of wireguard-go: self-peer key-change deadlock."""
    other = new_tunnel()
    other.set_private_key(Secret(b"\x07" * 32), 1.0)
    tunnel = new_tunnel()
    tunnel.set_private_key(Secret(b"\x01" * 32), 1.0)
    before = tunnel.public_key
    assert other.public_key is not None
    peer = tunnel.add_peer(other.public_key, 1.0)
    with pytest.raises(LocalProtocolError, match="remove it first"):
        tunnel.set_private_key(Secret(b"\x07" * 32), 1.0)
    assert tunnel.public_key == before
    tunnel.remove_peer(peer, 1.0)
    tunnel.set_private_key(Secret(b"\x07" * 32), 1.0)
    assert tunnel.public_key == other.public_key


@pytest.mark.dropin("10")
def test_private_keys_are_used_clamped() -> None:
    clamped, loose = new_tunnel(), new_tunnel()
    clamped.set_private_key(Secret(b"\xf8" + b"\xff" * 30 + b"\x7f"), 1.0)
    loose.set_private_key(Secret(b"\xff" * 32), 1.0)
    assert clamped.public_key == loose.public_key


def test_a_peer_under_removal_retires_everything() -> None:
    world, near, _far = two_sites()
    near.send(b"x")
    world.run(10)
    near.tunnel.rekey_wanted(near.peer, near.now)
    world.run(6)
    near.tunnel.rekey_wanted(near.peer, near.now)
    near.pump()
    assert len(near.keypairs) == 2
    assert len(near.open_indices) == 1
    near.tunnel.remove_peer(near.peer, near.now)
    near.pump()
    assert near.keypairs == {}
    assert near.open_indices == set()
    assert near.sending is None
    assert len(near.tunnel._context.indices) == 0
    assert near.tunnel.next_deadline() is None


def test_signals_about_a_peer_that_is_gone_are_ignored() -> None:
    world, near, _far = two_sites()
    near.send(b"x")
    world.run(10)  # until another initiation may be sent
    gone = near.peer

    def signal() -> None:
        near.tunnel.handshake_wanted(gone, near.now)
        near.tunnel.rekey_wanted(gone, near.now)
        near.tunnel.keypair_confirmed(gone, 1, near.now)
        near.tunnel.activity_started(gone, near.now)
        near.tunnel.handle_deadline(near.now + 1000)

    signal()
    assert near.tunnel.events() != [], "while the peer is there they are not"
    assert near.tunnel.datagrams_to_send() != []
    near.tunnel.remove_peer(gone, near.now)
    near.tunnel.events()
    signal()
    assert near.tunnel.events() == []
    assert near.tunnel.datagrams_to_send() == []


def test_a_new_private_key_expires_the_sessions_for_sending() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(10)
    near.tunnel.set_private_key(Secret(b"\x55" * 32), near.now)
    near.pump()
    assert near.sending is None
    far.send(b"still comes in")
    world.run(1)
    assert near.delivered == [b"still comes in"]
    near.send(b"who are you?")
    world.run(1)
    assert far.drops() == [events.UNKNOWN_PEER]
    assert near.tunnel.public_key is not None
    far.tunnel.remove_peer(far.peer, far.now)
    far.pump()
    far.peer = far.tunnel.add_peer(near.tunnel.public_key, far.now)
    world.run(8)
    assert far.delivered[-1] == b"who are you?"


def test_an_unconfirmed_session_of_the_old_key_does_not_send() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(0.015)
    far.tunnel.set_private_key(Secret(b"\x55" * 32), far.now)
    world.run(1)
    assert far.delivered == [b"x"]
    assert far.sending is None


def test_down_closes_everything_and_ignores_signals() -> None:
    world, near, _far = two_sites()
    near.send(b"x")
    world.run(10)
    near.tunnel.rekey_wanted(near.peer, near.now)
    near.tunnel.datagrams_to_send()
    near.tunnel.events()
    near.tunnel.down(near.now)
    kinds = [type(event) for event in near.tunnel.events()]
    assert kinds == [HandshakeIndexClosed, SendingKeypairChanged, KeypairRetired, DropStaged]
    near.tunnel.handshake_wanted(near.peer, near.now)
    assert near.tunnel.datagrams_to_send() == []
    assert near.tunnel.next_deadline() is None


def test_without_a_private_key_nothing_is_sent_and_nothing_waits() -> None:
    world = World()
    site = Site(world, "near", b"\x0a\x00\x00\x01")
    site.tunnel.set_private_key(None, site.now)
    site.peer = site.tunnel.add_peer(b"\x02" * 32, site.now)
    site.tunnel.up(site.now)
    site.send(b"x")
    world.run(100)
    assert world.wire == []
    assert site.tunnel.public_key is None
    site.remote = Endpoint(b"\x0a\x00\x00\x02", 51820)
    site.tunnel.set_private_key(Secret(b"\x01" * 32), site.now)
    site.send(b"x")
    world.run(1)
    assert len(world.sent(site, INITIATION)) == 1, "with a key there is a handshake"


def test_turning_persistent_keepalive_on_sends_one_at_once() -> None:
    tunnel = new_tunnel()
    tunnel.set_private_key(Secret(b"\x01" * 32), 1.0)
    peer = tunnel.add_peer(b"\x02" * 32, 1.0)
    tunnel.set_persistent_keepalive(peer, 25, 1.0)
    assert tunnel.events() == []  # the interface is down
    tunnel.up(1.0)
    assert tunnel.events() == [KeepaliveWanted(peer)]
    tunnel.set_persistent_keepalive(peer, 20, 1.0)
    assert tunnel.events() == []
    tunnel.set_persistent_keepalive(peer, 0, 1.0)
    tunnel.set_persistent_keepalive(peer, 20, 1.0)
    assert tunnel.events() == [KeepaliveWanted(peer)]


def test_initiations_are_at_least_5_s_apart_and_none_that_is_wanted_is_lost() -> None:
    world, near, _far = two_sites()
    near.reachable = False
    for _ in range(20):
        near.tunnel.handshake_wanted(near.peer, near.now)
        world.run(0.5)
    sent = world.sent(near, INITIATION)
    assert len(sent) == 2
    assert sent[1] - sent[0] >= paper.REKEY_TIMEOUT


def test_data_that_comes_too_early_for_an_initiation_is_not_forgotten() -> None:
    world, near, far = two_sites()
    near.send(b"x")
    world.run(0.015)  # far has answered, and may send no initiation for 5 s; its answer is lost
    near.reachable = False
    far.send(b"waits")
    world.run(2)
    near.reachable = True
    near.tunnel.down(near.now)  # so that near forgets its own attempt, and all depends on far
    near.pump()
    near.tunnel.up(near.now)
    world.run(10)
    assert near.delivered == [b"waits"]


@pytest.mark.dropin("15")
@pytest.mark.known_bug("Stale source")
def test_retries_forget_the_sticky_source() -> None:
    """Known bug of wireguard-go: stale source after failover or suspend."""
    world, near, far = two_sites()
    far.reachable = False
    near.send(b"x")
    world.run(12)
    retries = world.sent(near, INITIATION)[1:]
    assert near.times(SourceCleared) == retries


def test_ten_thousand_peers_cost_no_scan() -> None:
    tunnel = new_tunnel()
    tunnel.set_private_key(Secret(b"\x01" * 32), 1.0)
    tunnel.up(1.0)
    peers = [tunnel.add_peer(number.to_bytes(32, "little"), 1.0) for number in range(2, 10_002)]
    asked: list[int] = []

    def activity(peer: int) -> Activity:
        asked.append(peer)
        return Activity()

    tunnel._context.activity = activity
    for peer in peers[:10]:
        tunnel.set_persistent_keepalive(peer, 10, 1.0)
    asked.clear()
    tunnel.handle_deadline(11.0)
    assert sorted(asked) == peers[:10]


def test_what_a_status_report_needs() -> None:
    world = World()
    near, far = Site(world, "near", b"\x0a\x00\x00\x01"), Site(world, "far", b"\x0a\x00\x00\x02")
    introduce(near, far, preshared_key=b"\x05" * 32)
    near.tunnel.set_persistent_keepalive(near.peer, 25, near.now)
    state = near.tunnel.peer_state(near.peer)
    assert state.public_key == far.tunnel.public_key
    assert state.preshared_key == b"\x05" * 32
    assert state.last_handshake_wall_ns == 0
    assert state.persistent_keepalive == 25
    near.send(b"x")
    world.run(1)
    assert near.tunnel.peer_state(near.peer).last_handshake_wall_ns == pytest.approx(near.wall_ns() - 0.98e9, abs=1000)


def test_an_authentic_message_names_its_peer() -> None:
    _, near, far = two_sites()
    near.tunnel.handshake_wanted(near.peer, near.now)
    [initiation] = near.tunnel.datagrams_to_send()
    assert far.tunnel.receive_datagram(initiation.data, near.address, far.now) == far.peer
    [response] = far.tunnel.datagrams_to_send()
    assert response.data[0] == RESPONSE
    assert near.tunnel.receive_datagram(response.data, far.address, near.now) == near.peer


def test_handshake_secrets_are_wiped() -> None:
    """What a pending handshake holds is zeros once it is over, and the static key's own secret once the key changes."""
    _, near, far = two_sites()
    near.tunnel.handshake_wanted(near.peer, near.now)
    [initiation] = near.tunnel.datagrams_to_send()
    pending = near.tunnel._peers[near.peer].handshake
    assert pending.chaining_key is not None
    assert pending.ephemeral_private is not None
    assert pending._static_shared is not None
    chaining_key, ephemeral = memoryview(pending.chaining_key), memoryview(pending.ephemeral_private)
    shared = memoryview(pending._static_shared)
    assert any(chaining_key)
    assert any(ephemeral)
    far.tunnel.receive_datagram(initiation.data, near.address, far.now)
    [response] = far.tunnel.datagrams_to_send()
    near.tunnel.receive_datagram(response.data, far.address, near.now)
    assert not any(chaining_key)
    assert not any(ephemeral)
    assert any(shared)
    near.tunnel.set_private_key(Secret(b"\x01" * 32), near.now)
    assert not any(shared)
