"""The contract of a data plane, held by the one in native code and by the model that tests have in its place.

mypy compares their types with `DataPlane`; here are their members, their signatures, and what they do.
"""

import errno
import inspect
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from pywg._fastpath import HANDSHAKE_WANTED, Plane, now
from pywg.dataplane.crypto.secret import Secret
from pywg.runtime.device.plane import Addr, DataPlane, KeypairState
from tests import paper
from tests.fake_plane import FakePlane

Both: TypeAlias = Plane | FakePlane
KEY = bytes(32)
NOBODY = 77
SOMEWHERE: Addr = (bytes([127, 0, 0, 1]), 9, 0, bytes([127, 0, 0, 1]), 1)


@pytest.fixture(params=[Plane, FakePlane])
def plane(request: pytest.FixtureRequest) -> Iterator[Both]:
    """With peers 1 and 2."""
    plane: Both = request.param()
    plane.add_peer(1, b"\x01" * 32)
    plane.add_peer(2, b"\x02" * 32)
    yield plane
    plane.close()


def as_the_device_sees_them(plane: Plane, fake: FakePlane) -> tuple[DataPlane, DataPlane]:
    """For mypy, which fails where one of the two is no DataPlane."""
    return plane, fake


def members(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def parameters(call: Callable[..., object]) -> list[tuple[str, object, object]]:
    """(name, kind, default) but for `self`."""
    found = inspect.signature(call).parameters.values()
    return [(one.name, one.kind, one.default) for one in found if one.name != "self"]


def test_the_model_has_every_member_of_the_plane() -> None:
    assert {"drain", "attach_tun", "threads", "heartbeats"} <= members(Plane)
    assert members(Plane) - set(dir(FakePlane())) == set()


def test_the_device_asks_for_nothing_else() -> None:
    assert members(DataPlane) - members(Plane) == set()


METHODS = sorted(name for name in members(Plane) if callable(getattr(Plane, name)))


def test_methods_are_found() -> None:
    assert {"drain", "attach_tun", "install_keypair"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_called_in_the_same_way(name: str) -> None:
    assert parameters(getattr(FakePlane, name)) == parameters(getattr(Plane, name))


@pytest.mark.parametrize("what", ["counters", "offloads", "memory"])
def test_what_is_shown_has_the_same_names(what: str) -> None:
    plane = Plane()
    named = getattr(plane, what)().keys()
    plane.close()
    assert named
    assert getattr(FakePlane(), what)().keys() == named


NAMING: dict[str, Callable[[Both, int], object]] = {
    "remove_peer": lambda plane, peer: plane.remove_peer(peer),
    "set_endpoint": lambda plane, peer: plane.set_endpoint(peer, SOMEWHERE),
    "endpoint": lambda plane, peer: plane.endpoint(peer),
    "clear_source": lambda plane, peer: plane.clear_source(peer),
    "allow_many": lambda plane, peer: plane.allow_many(peer, []),
    "disallow": lambda plane, peer: plane.disallow(peer, bytes(4), 0),
    "clear_allowed": lambda plane, peer: plane.clear_allowed(peer),
    "allowed_ips": lambda plane, peer: plane.allowed_ips(peer),
    "open_index": lambda plane, peer: plane.open_index(5, peer),
    "install_keypair": lambda plane, peer: install(plane, peer, 6),
    "use_keypair": lambda plane, peer: plane.use_keypair(peer, None),
    "withdraw_keypair": lambda plane, peer: plane.withdraw_keypair(peer, 5),
    "send_keepalive": lambda plane, peer: plane.send_keepalive(peer),
    "send_staged": lambda plane, peer: plane.send_staged(peer),
    "drop_staged": lambda plane, peer: plane.drop_staged(peer),
    "hold_endpoint": lambda plane, peer: plane.hold_endpoint(peer, SOMEWHERE, 3.0),
    "send_to_peer": lambda plane, peer: plane.send_to_peer(peer, bytes(148)),
    "handshake_received": lambda plane, peer: plane.handshake_received(peer, SOMEWHERE, 148),
    "carried_keypairs": lambda plane, peer: frozen(plane).carried_keypairs(peer),
    "restore_keypair": lambda plane, peer: restore(plane, peer, 8),
    "carried_activity": lambda plane, peer: plane.carried_activity(peer),
    "restore_activity": lambda plane, peer: plane.restore_activity(peer, (0,) * 7),
    "activity": lambda plane, peer: plane.activity(peer),
    "peer_stats": lambda plane, peer: plane.peer_stats(peer),
}


def test_every_method_that_names_a_peer_is_asked_about() -> None:
    naming = {name for name in METHODS if "peer" in inspect.signature(getattr(FakePlane, name)).parameters}
    assert naming - {"add_peer"} == NAMING.keys()


@pytest.mark.parametrize("name", NAMING)
def test_a_peer_that_is_not_there_is_a_key_error(plane: Both, name: str) -> None:
    with pytest.raises(KeyError):
        NAMING[name](plane, NOBODY)
    NAMING[name](plane, 1)


def test_a_peer_is_added_once(plane: Both) -> None:
    with pytest.raises(ValueError, match="1"):
        plane.add_peer(1)


def install(plane: Both, peer: int, index: int, *, confirmed: bool = True) -> None:
    plane.install_keypair(peer, index, 9, KEY, KEY, initiator=confirmed, created_at=now(), confirmed=confirmed)


NO_STATE = "keypair|window|time to come|index|frozen|in use"


def frozen(plane: Both) -> Both:
    plane.thaw()
    plane.freeze()
    return plane


def carried(plane: Both, peer: int) -> list[KeypairState]:
    return list(map(KeypairState._make, plane.carried_keypairs(peer)))


def restore(
    plane: Both, peer: int, index: int, *, counter: int = 5, window: bytes = bytes(1032), birth: int = 1
) -> None:
    state = KeypairState(index, 9, Secret(length=64), True, False, birth, counter, window, True, False)
    plane.restore_keypair(peer, state)


def test_what_is_no_state_of_a_keypair_is_refused(plane: Both) -> None:
    too_far = paper.REJECT_AFTER_MESSAGES + 1
    ahead = int(now() * 1e9) + 3600 * 10**9
    for wrong in (
        {"counter": too_far},
        {"window": too_far.to_bytes(8, "little") + bytes(1024)},
        {"window": bytes(1031)},
    ):
        with pytest.raises(ValueError, match=NO_STATE):
            restore(plane, 1, 8, **wrong)
    with pytest.raises(ValueError, match=NO_STATE):
        restore(plane, 1, 8, birth=ahead)
    with pytest.raises(ValueError, match=NO_STATE):
        plane.restore_activity(1, (0, 0, ahead, 0, 0, 0, 0))
    restore(plane, 1, 8)
    with pytest.raises(ValueError, match=NO_STATE):
        restore(plane, 2, 8)
    with pytest.raises(ValueError, match=NO_STATE):
        plane.carried_keypairs(1)


def test_a_frozen_plane_tells_what_it_had_and_a_thawed_one_has_it_again(plane: Both) -> None:
    restore(plane, 1, 8, counter=7)
    install(plane, 1, 6)
    install(plane, 2, 5, confirmed=False)
    plane.use_keypair(1, 6)
    plane.freeze()
    with pytest.raises(ValueError, match=NO_STATE):
        plane.freeze()
    (before, current), (next_one,) = carried(plane, 1), carried(plane, 2)
    assert [
        (one.local_index, one.next_counter, one.sending, one.unconfirmed) for one in (before, current, next_one)
    ] == [
        (8, 7, False, False),
        (6, 0, True, False),
        (5, 0, False, True),
    ]
    plane.set_endpoint(1, SOMEWHERE)
    assert not plane.send_keepalive(1)
    assert not plane.send_to_peer(1, bytes(148))
    assert plane.send_error == errno.EAGAIN
    plane.thaw()
    plane.freeze()
    assert carried(plane, 1)[1].sending


def test_an_address_moves_to_the_last_peer_that_it_was_given_to(plane: Both) -> None:
    prefix, other = (bytes([10, 0, 0, 0]), 8), (bytes(16), 0)
    plane.allow_many(1, [prefix, other])
    plane.allow_many(2, [prefix])
    assert (plane.allowed_ips(1), plane.allowed_ips(2)) == ([other], [prefix])
    plane.disallow(1, *prefix)
    assert plane.allowed_ips(2) == [prefix], "it is another peer's"
    plane.disallow(2, *prefix)
    plane.clear_allowed(1)
    assert plane.allowed_ips(1) == plane.allowed_ips(2) == []


def test_where_a_peer_is(plane: Both) -> None:
    assert plane.endpoint(1) is None
    plane.handshake_received(1, SOMEWHERE, 148)
    assert plane.endpoint(1) == SOMEWHERE
    assert plane.peer_stats(1) == (0, 148)
    plane.clear_source(1)
    assert plane.endpoint(1) == (*SOMEWHERE[:3], b"", 0)
    plane.set_endpoint(1, None)
    assert plane.endpoint(1) is None


def test_why_a_message_did_not_leave(plane: Both) -> None:
    assert not plane.send_to_peer(1, bytes(148))
    assert plane.send_error == errno.EDESTADDRREQ
    plane.set_endpoint(1, SOMEWHERE)
    assert not plane.send_to_peer(1, bytes(148))
    assert plane.send_error == errno.EAFNOSUPPORT
    assert plane.peer_stats(1) == (0, 0)


def test_a_keypair_is_used_by_its_peer_alone(plane: Both) -> None:
    install(plane, 1, 5)
    for peer, index in ((2, 5), (1, 6)):
        with pytest.raises(KeyError):
            plane.use_keypair(peer, index)
    plane.use_keypair(1, 5)
    plane.retire_keypair(5)
    plane.retire_keypair(5)
    with pytest.raises(KeyError):
        plane.use_keypair(1, 5)


def test_a_keypair_that_waits_can_be_withdrawn(plane: Both) -> None:
    assert not plane.withdraw_keypair(1, 5), "there is none"
    install(plane, 1, 5, confirmed=False)
    assert not plane.withdraw_keypair(1, 5)
    assert plane.withdraw_keypair(1, 5), "it waits no longer: for all the plane knows, a packet has confirmed it"


def happened(plane: Both) -> list[tuple[int, int, int]]:
    return plane.drain(64)[1]


@pytest.mark.parametrize("ask", ["send_keepalive", "send_staged"])
def test_without_a_session_a_keepalive_asks_for_one_and_nothing_staged_does_not(plane: Both, ask: str) -> None:
    assert not getattr(plane, ask)(1)
    assert happened(plane) == [], "it is nowhere"
    plane.set_endpoint(1, SOMEWHERE)
    assert not getattr(plane, ask)(1)
    assert happened(plane) == ([(1, HANDSHAKE_WANTED, 0)] if ask == "send_keepalive" else [])
    assert happened(plane) == []


def test_what_nobody_has_heard_of_is_no_activity(plane: Both) -> None:
    assert plane.activity(1) == (0.0, 0.0, 0.0, 0.0)
    plane.handshake_received(1, SOMEWHERE, 148)
    unanswered, owed, traversal, data_sent = plane.activity(1)
    assert (unanswered, owed, data_sent) == (0.0, 0.0, 0.0)
    assert traversal > 0.0
