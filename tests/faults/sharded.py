"""A tunnel as in running.py whose near daemon has two shards, and what has to go on then: packets by each, both ways.

What a peer sends comes to the shard that its number says, and a peer that is added anew has the next number. What
leaves is in the shard that the program of the TUN chooses by its flow.
"""

import contextlib
import re
import socket
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.tunnel.site import LISTEN_PORT, poll
from tests.faults.running import PORT, RECOVERS_WITHIN_S, Outcome, Running
from tests.netns.dropin import hexkey
from tests.processes import descriptors

SHARDS = 2
_FLOWS = 8
_ITS_LINE = re.compile(r"can't be shared by 2 sockets, so one thread receives: \S")


class Sharded(Running):
    """See Running. One pair of sockets is what the daemon may go on with, if it says so, until they are opened anew."""

    def __init__(self) -> None:
        super().__init__("pywg", "--shards", str(SHARDS))
        self._flows: list[socket.socket] = []
        self._alone = False

    def fault(self, *call: Any, **options: Any) -> Outcome:
        """See Running."""
        self._alone = False
        outcome = super().fault(*call, **options)
        if self._alone and not any(map(_ITS_LINE.search, outcome.tells)):
            return replace(outcome, faults=(*outcome.faults, "one shard receives without a word"))
        return outcome

    def descriptors(self) -> tuple[list[int], list[int]]:
        """Of the daemon's queues of the TUN, and of the UDP sockets that have its port.

        For a second it may have another one, by which it asks why a peer doesn't answer (runtime/net/refusal.py).
        """
        udp = {line.split()[9] for line in self._udp_sockets()}
        targets = descriptors(self.near.pid)
        queues = [fd for fd, target in targets.items() if target == "/dev/net/tun"]
        return queues, [fd for fd, target in targets.items() if target.removeprefix("socket:").strip("[]") in udp]

    def flows(self, data: bytes = bytes(4)) -> None:
        """A packet of each flow to the far site."""
        for sock in self._flows:
            with contextlib.suppress(OSError):
                sock.sendto(data, (self._lab.far.inner(4), PORT))

    def packets(self, count: int = 8) -> None:
        """See Running."""
        super().packets(count)
        self.flows()

    def _join(self) -> None:
        for sock in self._flows:
            sock.close()
        self._flows = [self.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(_FLOWS)]
        for port, sock in enumerate(self._flows, PORT + 1):
            sock.setblocking(False)
            sock.bind((self.near.inner(4), port))
        super()._join()

    def until_all_carry(self) -> None:
        """Packets that are sent from now on arrive: what comes by each shard, and each flow."""
        self._until_it_carries()

    def _until_it_carries(self) -> None:
        super()._until_it_carries()
        self._alone = len(self._udp_sockets()) < 2 * SHARDS

        def whole() -> bool:
            if len(self._udp_sockets()) < 2 * SHARDS:
                self.port()
            return len(self._udp_sockets()) == 2 * SHARDS

        poll(whole, "each shard has sockets", RECOVERS_WITHIN_S)
        far = self._lab.far
        for _ in range(SHARDS):
            self._ask(f"set=1\npublic_key={hexkey(far.keys.public)}\nremove=true")
            self._ask(self._near_peer())
            super()._until_it_carries()
            self._until_flows_carry()

    def _until_flows_carry(self) -> None:
        sock, number = self._sockets[1], struct.pack("=Q", time.monotonic_ns())
        arrived: set[int] = set()

        def carry() -> bool:
            self.flows(number)
            while (came := _received(sock)) is not None:
                data, port = came
                if data == number:
                    arrived.add(port)
            return len(arrived - {PORT}) == _FLOWS

        poll(carry, "packets of each flow arrive", RECOVERS_WITHIN_S, every_s=0.02)

    def _udp_sockets(self) -> list[str]:
        """The daemon's, as /proc has them."""
        net, port = Path(f"/proc/{self.near.pid}/net"), f"{LISTEN_PORT:04X}"
        lines = [line for name in ("udp", "udp6") for line in _lines(net / name)]
        return [line for line in lines if line.split()[1].endswith(f":{port}")]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()[1:]


def _received(sock: socket.socket) -> tuple[bytes, int] | None:
    try:
        data, source = sock.recvfrom(1 << 16)
    except OSError:
        return None
    return data, source[1]
