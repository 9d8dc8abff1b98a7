"""Two planes back to back over loopback: superframes go into one TUN and come out of the other.

The whole path of a byte but for the kernel's TUN and the wire: segment, seal, send, receive, open, coalesce. With more
threads it scales where there are processors for them; on two it shows what a hop costs.
"""

import select
import socket
import threading
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pywg._fastpath import Plane, now
from pywg.runtime.net.sockets import open_sockets

FRAMES = 200
ON_THEIR_WAY = 24
"""Superframes at once: few enough for the buffers."""
VNET_HDR_LEN = 10
BUFFER_LEN = 4 << 20
EVERYWHERE = [(bytes(4), 0)]
KEYS = {"a": bytes([1]) * 32, "b": bytes([2]) * 32}


class _Tunnel:
    """Two planes with `helpers` each, and the kernel's end of the TUN of either."""

    def __init__(self, helpers: int) -> None:
        self.planes = {name: Plane(helpers=helpers) for name in "ab"}
        self.sockets = {name: open_sockets(0, 0) for name in "ab"}
        pairs = {name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for name in "ab"}
        self.plane_ends = {name: pair[0] for name, pair in pairs.items()}
        self.tuns = {name: pair[1] for name, pair in pairs.items()}
        for name, other in ("ab", "ba"):
            for end in pairs[name]:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_LEN)
            self.plane_ends[name].setblocking(False)
            plane = self.planes[name]
            plane.attach_tun(self.plane_ends[name].fileno(), vnet_hdr_len=VNET_HDR_LEN, uso=True)
            plane.attach_sockets(self.sockets[name].fd4, self.sockets[name].fd6)
            plane.add_peer(1)
            plane.allow_many(1, EVERYWHERE)
            plane.set_endpoint(1, (bytes([127, 0, 0, 1]), self.sockets[other].port, 0, b"", 0))
            plane.install_keypair(
                1,
                ord(name),
                ord(other),
                KEYS[name],
                KEYS[other],
                initiator=name == "a",
                created_at=now(),
                confirmed=True,
            )
            plane.use_keypair(1, ord(name))

    def close(self) -> None:
        for plane in self.planes.values():
            plane.close()
        for sockets in self.sockets.values():
            sockets.close()
        for end in (*self.plane_ends.values(), *self.tuns.values()):
            end.close()


@pytest.fixture(params=[0, 1, 2, 4, 8])
def tunnel(request: pytest.FixtureRequest) -> Iterator[_Tunnel]:
    one = _Tunnel(request.param)
    yield one
    one.close()


def bench_plane(benchmark: BenchmarkFixture, tunnel: _Tunnel, superframe: tuple[bytes, bytes]) -> None:
    """200 superframes of 45 full packets one way, by the number of helpers at each end."""
    header, packet = superframe
    payload_len = len(packet) - 40
    room = bytearray(1 << 17)
    came, goes = tunnel.tuns["b"], tunnel.tuns["a"]
    benchmark.extra_info["bits"] = FRAMES * payload_len * 8

    def transfer() -> int:
        allowed = threading.Semaphore(ON_THEIR_WAY)

        def write() -> None:
            for _ in range(FRAMES):
                allowed.acquire()
                goes.send(header + packet)

        writer = threading.Thread(target=write)
        writer.start()
        received = frames = 0
        while frames < FRAMES:
            assert select.select([came], [], [], 10)[0], tunnel.planes["b"].counters()
            received += came.recv_into(room) - VNET_HDR_LEN - 40
            while frames < received // payload_len:
                frames += 1
                allowed.release()
        writer.join()
        return received

    assert benchmark(transfer) == FRAMES * payload_len
