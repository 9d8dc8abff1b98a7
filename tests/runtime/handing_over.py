"""A daemon that hands over, as far as the one that comes can see it: what it says and gives, as a test likes.

All of it is said in advance, which a socket pair keeps: no second process or thread is needed.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from pywg.runtime.base import namespaces
from pywg.runtime.base.parcel import MEMFD_FLAGS, Writer
from pywg.runtime.daemon import handover, take_over
from pywg.runtime.device.carried import DeviceState, write

EMPTY = DeviceState(None, 0, 0, 0, False, False, 1420, [])
LENGTH = 1 << 16


def contents(*states: DeviceState) -> bytes:
    """Of a parcel with these interfaces."""
    text = Writer()
    for state in states:
        write(state, text)
    return b"".join(bytes(memoryview(part)) for part in text.parts)


def hello(
    names: Sequence[bytes] = (b"wg0",),
    *,
    form: int = handover.FORMAT,
    length: int = LENGTH,
    group: bytes = b"",
    given: bytes = b"",
    environment: bytes = b"",
    monitors: int = 0,
    vnet_hdr_len: int = 10,
    count: int | None = None,
    queues: int | None = None,
    keeps_flows: bool = False,
) -> bytes:
    """The first message, without descriptors. The first so many `monitors` of the interfaces have a socket.

    `queues`: of each interface, which the second format says, with `keeps_flows`.
    """
    text = Writer()
    text.put(handover.FACTS, length, namespaces.of_this_thread(), 1, len(names) if count is None else count)
    for part in (group, given, environment):
        text.put_bytes(part)
    for number, name in enumerate(names):
        text.put_bytes(name)
        text.put(handover.TUN, vnet_hdr_len, 1, 0, number < monitors)
        if queues is not None:
            text.put(handover.QUEUES, queues, keeps_flows)
    facts = b"".join(map(bytes, text.parts))
    return handover.HELLO + handover.HEAD.pack(form, len(facts)) + facts


def asking(listener: socket.socket) -> socket.socket:
    """The connection of a new daemon. Others but look whether a daemon is there."""
    while True:
        client, _ = listener.accept()
        if client.recv(64) == b"handover=1\n\n":
            return client
        client.close()


@dataclass
class Goer:
    """The daemon that goes. What it gives away is copies, as over any socket."""

    asked: socket.socket
    said: socket.socket
    parcel: int
    own: list[int] = field(default_factory=list)
    port: int = 0
    """of the UDP sockets that are together; 0: there is none yet"""

    def any_file(self) -> int:
        """A descriptor that is nothing in particular."""
        self.own.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        return self.own[-1]

    def udp(self, family: socket.AddressFamily = socket.AF_INET, *, together: bool = False) -> int:
        """A bound UDP socket that does not block.

        `together`: at one port, as all pairs of an interface; of a port that another program has in this family, at
        any other.
        """
        address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            if together:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                sock.bind((address, self.port if together else 0))
            except OSError:
                sock.bind((address, 0))
            if together:
                self.port = self.port or sock.getsockname()[1]
            self.own.append(sock.detach())
        return self.own[-1]

    def say(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """In one message, with these descriptors."""
        given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
        self.said.sendmsg([data], given)

    def fill(self, data: bytes) -> None:
        """What the parcel is to have in it: it may be written before the other end gives it a length."""
        os.pwrite(self.parcel, data, 0)

    def heard(self) -> bytes:
        """What the other end has said until now."""
        with contextlib.suppress(BlockingIOError):
            return self.said.recv(1 << 12, socket.MSG_DONTWAIT)
        return b""


@contextlib.contextmanager
def goer() -> Iterator[Goer]:
    """One that `take_over.Taking` will ask, whichever interface it names."""
    asked, said = socket.socketpair()
    one = Goer(asked, said, os.memfd_create("pywg", MEMFD_FLAGS))
    try:
        with said, asked, pytest.MonkeyPatch.context() as patch:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            patch.setattr(take_over, "connect", lambda _interface: asked)
            patch.setattr(take_over, "_ENDS_WITHIN_MS", 0)  # it is this process, which does not end
            yield one
    finally:
        for fd in (one.parcel, *one.own):
            os.close(fd)


def descriptors() -> set[int]:
    """Those of this process."""
    return {int(one) for one in os.listdir("/proc/self/fd")}
