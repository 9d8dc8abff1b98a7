"""UDP through the tunnel, checked byte by byte."""

import random
import socket
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from bench.tunnel.site import Site

SO_RCVBUFFORCE = 33  # socket(7); not in the socket module
MAX_PAYLOAD_LEN = 65_507
ARRIVES_WITHIN_S = 10.0
PORT = 9000
_WINDOW = 8  # what fits into a daemon's default socket buffer even at 9000 bytes each
_NOISE = random.Random(9000).randbytes(4 * MAX_PAYLOAD_LEN)


def payload(size: int, number: int = 0) -> bytes:
    """`size` bytes that differ with size and number."""
    start = (size * 31 + number * 257) % (len(_NOISE) - MAX_PAYLOAD_LEN)
    return _NOISE[start : start + size]


class Wire:
    """Datagrams from one site's inner address to the other's, over IP version `family`."""

    def __init__(self, sender: Site, receiver: Site, family: int = 4) -> None:
        self._target = (receiver.inner(family), PORT)
        self._namespace = sender.namespace
        self._kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self._receiver = receiver.namespace.socket(self._kind, socket.SOCK_DGRAM)
        self._sender = sender.namespace.socket(self._kind, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._receiver.bind(self._target)
        self._sender.bind((sender.inner(family), 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sender.close()
        self._receiver.close()

    @property
    def sender(self) -> socket.socket:
        """The sending socket, to set options."""
        return self._sender

    def send(self, data: bytes) -> None:
        """Sends one datagram."""
        self._sender.sendto(data, self._target)

    def send_from(self, address: str, data: bytes) -> None:
        """Sends one datagram from another address of the sender's host."""
        with self._namespace.socket(self._kind, socket.SOCK_DGRAM) as other:
            other.bind((address, 0))
            other.sendto(data, self._target)

    def receive(self, count: int, within_s: float = ARRIVES_WITHIN_S) -> list[bytes]:
        """The next `count` datagrams; fewer when the next one does not come within that many seconds."""
        received: list[bytes] = []
        self._receiver.settimeout(within_s)
        try:
            while len(received) < count:
                received.append(self._receiver.recv(MAX_PAYLOAD_LEN + 1))
        except TimeoutError:
            pass
        return received

    def check(self, payloads: Iterable[bytes]) -> None:
        """Sends all payloads, a window at a time, and asserts that exactly these arrive, in order."""
        pending = list(payloads)
        for start in range(0, len(pending), _WINDOW):
            window = pending[start : start + _WINDOW]
            for one in window:
                self.send(one)
            assert_same(self.receive(len(window)), window)

    def check_alive(self, tag: bytes = b"alive") -> None:
        """Asserts that a datagram arrives, and that it is the next one: nothing sent before it is still to come.

        It is sent up to three times: after a flood of other datagrams the kernel may have had no room for the first.
        One that was late is none of the next test's.
        """
        for attempt in range(3):
            self.send(tag)
            if received := self.receive(1, within_s=ARRIVES_WITHIN_S if attempt == 2 else 1.0):
                received += self.receive(attempt, within_s=1.0)
                assert_same(received, [tag] * len(received))
                return
        raise AssertionError("three datagrams were sent, and none arrived")

    def settle(self) -> None:
        """Takes all that was sent before and is still to come, which may be late, and none of which is looked at."""
        end = b"the end of all before"
        self.send(end)
        while received := self.receive(1):
            if received == [end]:
                return
        raise AssertionError("the last datagram has not arrived")


def assert_same(received: Sequence[bytes], sent: Sequence[bytes]) -> None:
    """Equality of two lists of datagrams, with a message that fits on a screen."""
    if list(received) != list(sent):
        lengths = [len(one) for one in received], [len(one) for one in sent]
        wrong = [index for index, (a, b) in enumerate(zip(received, sent, strict=False)) if a != b]
        raise AssertionError(f"received lengths {lengths[0]}, sent lengths {lengths[1]}, different content at {wrong}")
