"""What 10,000 peers cost a packet, against one, by the processor time of the data plane's threads alone.

    python -m bench.stages.peers [--peers N] [--rounds N] [--frames N]

Four tunnels of two planes each, in one process and over loopback, carry superframes in turns. One knows a single peer;
in "known" all traffic is of one of many. In "active" each superframe is of another peer of many, so that nothing of it
is in a cache when its turn comes. What that costs is told against "few", where each superframe is of another peer of
eight: there too no two superframes in a row are of one peer, which the cipher and the sends would have together. A
socket pair is the TUN: what a real one costs besides would only make the ratios smaller. Each round's ratios are of
neighbours in time; told are their quartiles over all rounds.
"""

import argparse
import contextlib
import os
import random
import select
import socket
import statistics
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import report
from bench.tunnel.command import prioritised
from pywg._fastpath import Plane, now
from pywg.runtime.net.sockets import open_sockets

VNET_HDR_LEN, IP_LEN, TCP_LEN = 10, 20, 20
SEGMENTS, SEGMENT_LEN = 45, 1380
ON_THEIR_WAY = 16
"""Superframes at once: few enough for the buffers."""
BUFFER_LEN = 8 << 20
SOURCE_AT = VNET_HDR_LEN + 12
WITHIN_S = 20
FEW = 8
NICE = -15
COLUMNS = ("us", "known / one", "few / one", "active / few")


def addresses(number: int) -> tuple[bytes, bytes]:
    """Source and destination of a peer's packets. Their sum is the same for all, and so are the checksums."""
    return struct.pack("!HH", 0x0A41, 0xFFFF - number), struct.pack("!HH", 0x0A40, number)


def superframe() -> bytearray:
    """A virtio header and a TCP superframe of peer 0, as a TUN with TSO hands it out."""
    pair, length = b"".join(addresses(0)), TCP_LEN + SEGMENTS * SEGMENT_LEN
    ip = struct.pack("!BBHHHBBH", 0x45, 0, IP_LEN + length, 1, 0x4000, 64, 6, 0) + pair
    partial = sum(struct.unpack("!6H", pair + struct.pack("!BBH", 0, 6, length)))
    partial = (partial & 0xFFFF) + (partial >> 16)
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 1, 5 << 4, 0x10, 65535, partial, 0)
    header = struct.pack("<BBHHHH", 1, 1, IP_LEN + TCP_LEN, SEGMENT_LEN, IP_LEN, 16)
    return bytearray(header + ip + tcp + random.Random(1).randbytes(SEGMENTS * SEGMENT_LEN))


class Tunnel:
    """Two planes that know the same peers. Use as a context manager."""

    def __init__(self, peers: int) -> None:
        self._stack = contextlib.ExitStack()
        self._planes = [Plane(), Plane()]
        sockets = [open_sockets(0, 0), open_sockets(0, 0)]
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        self.goes, self.came = pairs[0][1], pairs[1][1]
        for side, plane in enumerate(self._planes):
            self._stack.callback(sockets[side].close)
            for end in pairs[side]:
                self._stack.enter_context(end)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_LEN)
            pairs[side][0].setblocking(False)
            plane.attach_tun(pairs[side][0].fileno(), vnet_hdr_len=VNET_HDR_LEN, uso=True)
            plane.attach_sockets(sockets[side].fd4, sockets[side].fd6)
            there = (bytes([127, 0, 0, 1]), sockets[1 - side].port, 0, b"", 0)
            for number in range(peers):
                self._add(plane, side, number, there)
        for plane in self._planes:
            self._stack.callback(plane.close)

    def _add(self, plane: Plane, side: int, number: int, there: tuple[bytes, int, int, bytes, int]) -> None:
        keys = [random.Random(2 * number + way).randbytes(32) for way in range(2)]
        index = 2 * number * 2_654_435_761 % (1 << 32)
        plane.add_peer(number, number.to_bytes(32, "big"))
        plane.allow_many(number, [(addresses(number)[1 - side], 32)])
        plane.set_endpoint(number, there)
        plane.install_keypair(
            number,
            index | side,
            index | 1 - side,
            keys[side],
            keys[1 - side],
            initiator=side == 0,
            created_at=now(),
            confirmed=True,
        )
        plane.use_keypair(number, index | side)

    def __enter__(self) -> "Tunnel":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def carry(self, numbers: Sequence[int], frame: bytearray) -> float:
        """Sends a superframe of each of these peers, and takes all that comes. Processor seconds of the planes."""
        allowed = threading.Semaphore(ON_THEIR_WAY)

        def write() -> None:
            for number in numbers:
                allowed.acquire()
                frame[SOURCE_AT : SOURCE_AT + 8] = b"".join(addresses(number))
                self.goes.send(frame)

        room = bytearray(1 << 17)
        writer = threading.Thread(target=write)
        before = _cpu_s()
        writer.start()
        received = frames = 0
        while frames < len(numbers):
            if not select.select([self.came], [], [], WITHIN_S)[0]:
                raise TimeoutError(f"{frames} of {len(numbers)} superframes came: {self._planes[1].counters()}")
            received += self.came.recv_into(room) - VNET_HDR_LEN - IP_LEN - TCP_LEN
            while frames < received // (SEGMENTS * SEGMENT_LEN):
                frames += 1
                allowed.release()
        writer.join()
        return _cpu_s() - before


def _cpu_s() -> float:
    """Processor seconds of all planes' threads so far."""
    tasks = Path("/proc/self/task").iterdir()
    ours = (task for task in tasks if (task / "comm").read_text().startswith("pywg-"))
    return sum(int((task / "schedstat").read_text().split()[0]) for task in ours) / 1e9


def measure(peers: int, rounds: int, frames: int) -> dict[str, list[float]]:
    """Microseconds a packet of one peer, and the ratios that COLUMNS names, of each round."""
    frame = superframe()
    found: dict[str, list[float]] = {name: [] for name in COLUMNS}
    with Tunnel(1) as one, Tunnel(peers) as known, Tunnel(FEW) as few, Tunnel(peers) as active:
        of_few, of_many = _turns(FEW, frames), _turns(peers, frames)
        for number in range(rounds):
            first = [0] * frames
            ways = [("one", one, first), ("known", known, first), ("few", few, next(of_few))]
            ways.append(("active", active, next(of_many)))
            spent = {name: tunnel.carry(numbers, frame) for name, tunnel, numbers in ways[:: 1 - number % 2 * 2]}
            if number:  # the first one warms up
                found["us"].append(spent["one"] / frames / SEGMENTS * 1e6)
                found["known / one"].append(spent["known"] / spent["one"])
                found["few / one"].append(spent["few"] / spent["one"])
                found["active / few"].append(spent["active"] / spent["few"])
    return found


def _turns(peers: int, frames: int) -> Iterator[list[int]]:
    """Lists of peers, in an order that is no order, each peer once before any comes again."""
    order = list(range(peers))
    random.Random(1).shuffle(order)
    at = 0
    while True:
        yield [order[(at + i) % peers] for i in range(frames)]
        at += frames


def main() -> int:
    """Measures and tells."""
    parser = argparse.ArgumentParser(prog="bench.stages.peers", description="What many peers cost a packet.")
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--frames", type=int, default=500, help="superframes of a round")
    given = parser.parse_args()
    with prioritised(NICE) if os.geteuid() == 0 else contextlib.nullcontext():
        found = measure(given.peers, given.rounds, given.frames)
    rows = [[name, *(f"{value:.3f}" for value in statistics.quantiles(of, n=4))] for name, of in found.items()]
    print(f"{given.peers} peers; us: of processor time a packet, of one peer")
    print(report.table(["", "quarter", "median", "three quarters"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
