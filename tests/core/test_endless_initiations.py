"""Initiations that are never completed, by strangers and by a peer that has a good key: nothing is kept of them.

PYWG_LONG=1: a million.
"""

import gc
import os
import sys

import pytest

from pywg.constants import INITIATIONS_PER_SECOND
from pywg.core import events
from pywg.core.events import Endpoint
from tests.simulation import Site, World, introduce

COUNT = 1_000_000 if os.environ.get("PYWG_LONG") == "1" else 1_000
MAY_GROW = 200
"""Blocks of memory, of a million that there would be of one thing kept of each."""
INDICES_OF_A_PEER = 4
"""One handshake in flight and three keypairs."""


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("known", [True, False], ids=["a peer", "strangers"])
def test_initiations_that_are_never_completed(known: bool) -> None:
    world = World()
    victim, far = Site(world, "victim", bytes([10, 0, 0, 1])), Site(world, "far", bytes([10, 0, 0, 2]))
    introduce(victim, far)
    assert victim.tunnel.public_key is not None
    source = Endpoint(bytes([10, 0, 0, 3]), 1)
    sender = far
    answered = dropped = 0
    blocks = 0
    for number in range(COUNT):
        if number % 1000 == 0 and not known:
            sender = Site(World(number + 2), "stranger", bytes([10, 0, 0, 4]))
            sender.peer = sender.tunnel.add_peer(victim.tunnel.public_key, sender.now)
            sender.remote = victim.address
            sender.tunnel.up(sender.now)
        world.now += 1 / INITIATIONS_PER_SECOND
        message = _initiation(sender, number)
        victim.tunnel.receive_datagram(message, source, victim.now)
        happened = victim.tunnel.events()
        dropped += sum(isinstance(one, events.Dropped) for one in happened)
        answered += len(victim.tunnel.datagrams_to_send())
        if number == COUNT // 2:
            blocks = _blocks()
    grown = _blocks() - blocks
    assert (answered, dropped) == ((COUNT, 0) if known else (0, COUNT))
    assert len(victim.tunnel._context.indices) <= INDICES_OF_A_PEER
    assert len(victim.tunnel.peers()) == 1
    assert grown < MAY_GROW
    print(f"{COUNT}: {grown:+} blocks of memory")


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def _initiation(sender: Site, number: int) -> bytes:
    """A new one, with a greater timestamp, whenever it is asked for."""
    sender.wall_offset_ns = (number + 1) << 30
    sender.tunnel._peers[sender.peer].last_sent_handshake = float("-inf")
    sender.tunnel.handshake_wanted(sender.peer, sender.now)
    sender.tunnel.events()
    (datagram,) = sender.tunnel.datagrams_to_send()
    return datagram.data
