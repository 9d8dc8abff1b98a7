"""A system that has no random numbers for a moment, in the middle of anything: nothing stays half done."""

import random

import pytest

from pywg.core import events
from tests.simulation import Site, World, introduce

CALLS = range(1, 15)
"""More random numbers than two sites take for two sessions."""


class Failing(random.Random):
    """Its randbytes() fails once: with the call number `failing`."""

    failing = 0
    calls = 0

    def randbytes(self, n: int) -> bytes:
        self.calls += 1
        if self.calls == self.failing:
            raise OSError(5, "Input/output error")
        return super().randbytes(n)


def _two_sites() -> tuple[World, Failing, Site, Site]:
    world = World()
    world.random = failing = Failing(1)
    near, far = Site(world, "near", bytes([10, 0, 0, 1])), Site(world, "far", bytes([10, 0, 0, 2]))
    return world, failing, near, far


def _run(world: World, seconds: float) -> int:
    """As the event loop does, which tells an error and goes on. How many there were."""
    errors, end = 0, world.now + seconds
    while True:
        try:
            world.run(end - world.now)
        except OSError:
            errors += 1
        else:
            return errors


@pytest.mark.parametrize("number", CALLS)
def test_a_session_comes_all_the_same_and_no_index_is_lost(number: int) -> None:
    world, failing, near, far = _two_sites()
    introduce(near, far)
    failing.calls, failing.failing = 0, number
    errors = 0
    for turn in range(3):
        for site in (near, far):
            site.plane.write(site.peer, b"\x45" + bytes([turn]) + bytes(18))
        errors += _run(world, 60)
    failed_late = failing.calls < number
    assert errors == 0 if failed_late else errors <= 1
    assert near.delivered
    assert far.delivered
    for site in (near, far):
        in_use = {*site.keypairs, *site.open_indices}
        assert len(site.tunnel._context.indices) == len(in_use)
        site.tunnel.remove_peer(site.peer, site.now)
        assert len(site.tunnel._context.indices) == 0


@pytest.mark.parametrize("number", [1, 2])
def test_the_next_try_comes_by_itself(number: int) -> None:
    """No further packet has to ask for it."""
    world, failing, near, far = _two_sites()
    introduce(near, far)
    failing.calls, failing.failing = 0, number
    near.plane.write(near.peer, b"\x45" + bytes(19))
    assert _run(world, 10) == 1
    assert len(far.delivered) == 1


def test_what_an_error_kept_from_being_sent_goes_with_its_peer() -> None:
    _, failing, near, far = _two_sites()
    introduce(near, far)
    failing.calls, failing.failing = (
        0,
        3,
    )  # an index, an ephemeral key, and the time of the next try, which is no matter
    near.tunnel.handshake_wanted(near.peer, near.now)
    near.tunnel.remove_peer(near.peer, near.now)
    assert near.tunnel.datagrams_to_send() == []


@pytest.mark.parametrize("number", [1, 2])
def test_no_timer_is_lost_when_another_peers_fails(number: int) -> None:
    _, failing, near, _ = _two_sites()
    near.tunnel.up(near.now)
    peers = [near.tunnel.add_peer(bytes([at]) * 32, near.now) for at in (9, 25)]
    for peer in peers:
        near.plane.add_peer(peer)
        near.tunnel.handshake_wanted(peer, near.now)
    assert {one.peer for one in near.tunnel.datagrams_to_send()} == set(peers)
    now = near.now + 6
    failing.calls, failing.failing = 0, number
    with pytest.raises(OSError, match="Input"):
        near.tunnel.handle_deadline(now)
    sent = {one.peer for one in near.tunnel.datagrams_to_send()}
    while (deadline := near.tunnel.next_deadline()) is not None and deadline < now + 6:
        near.tunnel.handle_deadline(max(deadline, now))
        sent |= {one.peer for one in near.tunnel.datagrams_to_send()}
        if sent == set(peers):
            break
    assert sent == set(peers)
    assert not [event for event in near.tunnel.events() if isinstance(event, events.HandshakeGivenUp)]
