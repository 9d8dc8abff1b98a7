"""Fills every buffer that a data plane has and prints what that took: a process of its own for test_plane_memory.

Output: one JSON object of {step: [bytes of anonymous memory more than before the plane, Plane.memory()]}.
"""

import json
import re
from pathlib import Path

from pywg._fastpath import now
from tests.fastpath.handshake_senders import fill_queue
from tests.fastpath.packets import ADDRESSES4, Tcp, cut, gso_vnet
from tests.fastpath.plane_harness import Addr, Bed, Far, addr_of, raw_packet, reply

PEERS = 500
KEYPAIRS = 3
LARGE = raw_packet(60_000)
Taken = dict[str, tuple[int, dict[str, int]]]


def anonymous() -> int:
    """Resident bytes that are no file's: what was allocated and touched."""
    found = re.search(r"^RssAnon:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def fill_buffers(bed: Bed, far: Far) -> None:
    """Superframes out, trains of datagrams in, and more handshake messages than the queue takes."""
    big = Tcp(payload=bytes(60_000))
    segments = cut(big, 1300)
    for _ in range(200):
        bed.write(big.unfinished(), gso_vnet(big, 1300))
        for _ in segments:
            far.receive()
    for _ in range(50):
        for number in range(10):
            far.send_train([far.message(reply(number, 1300)) for _ in range(40)])
        bed.read(400)
    for _ in fill_queue(bed):
        pass


def add_peers(bed: Bed, addr: Addr) -> None:
    """With all the keypairs that a peer can have, one allowed IP each, and none that seals."""
    keys = bytes(32)
    for peer in range(PEERS):
        bed.plane.add_peer(peer)
        bed.plane.set_endpoint(peer, addr)
        bed.plane.allow_many(peer, [(peer.to_bytes(4, "big"), 32)])
        bed.plane.open_index(peer << 8, peer)
        for number in range(1, 1 + KEYPAIRS):
            index = peer << 8 | number
            bed.plane.install_keypair(peer, index, index, keys, keys, initiator=True, created_at=now(), confirmed=True)


def stage(bed: Bed) -> None:
    """To peers without a keypair to seal with, until no more is kept."""
    for peer in range(PEERS):
        bed.plane.allow_many(peer, [(ADDRESSES4[1], 32)])
        for _ in range(100):
            bed.write(LARGE)
        bed.drain()
        if bed.counter("tx_staged_dropped"):
            return
    raise AssertionError("the limit was never reached")


def measure() -> Taken:
    taken: Taken = {}
    before = anonymous()
    with Bed() as bed:

        def note(step: str) -> None:
            taken[step] = anonymous() - before, bed.plane.memory()

        note("start")
        far = Far(bed, PEERS)
        fill_buffers(bed, far)
        note("load")
        add_peers(bed, addr_of(far.sock))
        note("peers")
        stage(bed)
        note("staged")
    return taken


if __name__ == "__main__":
    print(json.dumps(measure()))
