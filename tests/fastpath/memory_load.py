"""Fills every buffer that a data plane has and prints what that took: a process of its own for test_plane_memory.

Output: one JSON object of {step: [bytes of anonymous memory more than before the plane, Plane.memory()]}.
"""

import json
import re
from pathlib import Path

from pywg._fastpath import now
from tests.fastpath.handshake_senders import fill_queue
from tests.fastpath.packets import ADDRESSES4, Tcp, cut, gso_vnet
from tests.fastpath.plane_harness import Addr, Far, PlaneHarness, addr_of, raw_packet, reply

PEERS = 500
KEYPAIRS = 3
LARGE = raw_packet(60_000)
Taken = dict[str, tuple[int, dict[str, int]]]


def anonymous() -> int:
    """Resident bytes that are no file's: what was allocated and touched."""
    found = re.search(r"^RssAnon:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def fill_buffers(harness: PlaneHarness, far: Far) -> None:
    """Superframes out, trains of datagrams in, and more handshake messages than the queue takes."""
    big = Tcp(payload=bytes(60_000))
    segments = cut(big, 1300)
    for _ in range(200):
        harness.write(big.unfinished(), gso_vnet(big, 1300))
        for _ in segments:
            far.receive()
    for _ in range(50):
        for number in range(10):
            far.send_train([far.message(reply(number, 1300)) for _ in range(40)])
        harness.read(400)
    for _ in fill_queue(harness):
        pass


def add_peers(harness: PlaneHarness, addr: Addr) -> None:
    """With all the keypairs that a peer can have, one allowed IP each, and none that seals."""
    keys = bytes(32)
    for peer in range(PEERS):
        harness.plane.add_peer(peer)
        harness.plane.set_endpoint(peer, addr)
        harness.plane.allow_many(peer, [(peer.to_bytes(4, "big"), 32)])
        harness.plane.open_index(peer << 8, peer)
        for number in range(1, 1 + KEYPAIRS):
            index = peer << 8 | number
            harness.plane.install_keypair(
                peer, index, index, keys, keys, initiator=True, created_at=now(), confirmed=True
            )


def stage(harness: PlaneHarness) -> None:
    """To peers without a keypair to seal with, until no more is kept."""
    for peer in range(PEERS):
        harness.plane.allow_many(peer, [(ADDRESSES4[1], 32)])
        for _ in range(100):
            harness.write(LARGE)
        harness.drain()
        if harness.counter("tx_staged_dropped"):
            return
    raise AssertionError("the limit was never reached")


def measure() -> Taken:
    taken: Taken = {}
    before = anonymous()
    with PlaneHarness() as harness:

        def note(step: str) -> None:
            taken[step] = anonymous() - before, harness.plane.memory()

        note("start")
        far = Far(harness, PEERS)
        fill_buffers(harness, far)
        note("load")
        add_peers(harness, addr_of(far.sock))
        note("peers")
        stage(harness)
        note("staged")
    return taken


if __name__ == "__main__":
    print(json.dumps(measure()))
