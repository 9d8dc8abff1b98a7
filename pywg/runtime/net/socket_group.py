"""Several sockets on one UDP port (SO_REUSEPORT), and which of them gets a datagram: one socket of each family a shard.

The kernel asks a program of ours (SO_ATTACH_REUSEPORT_CBPF) for the index in the group, in the order in which sockets
joined: the first one is 0. It sees what the UDP header is followed by; of datagrams that were merged (UDP_GRO), the
first. Transport data goes by the low bits of its receiver index, which is ours to choose, so that all sessions of a
peer go to one shard. All else goes to shard 0: handshakes, cookies, and what is no message at all. A handshake that was
merged behind data comes to the shard of the data, which hands it on.

That is for speed and no more: nothing is safe because a datagram comes to the right shard. Anyone chooses the bits of
what they send; and where the kernel has no memory to run the program, it chooses by a hash.

Another process of the *same user* may join a group, with SO_REUSEPORT, or give it another program, and so take
datagrams away, encrypted as they are. It could as well end this process. A process of any other user gets EADDRINUSE.
"""

import contextlib
import socket
from collections.abc import Callable

from pywg.runtime.base import classic_bpf
from pywg.runtime.base.classic_bpf import AND, JUMP_EQUAL, LOAD, RETURN, RETURN_A, SHIFT_RIGHT, Instruction

SO_REUSEPORT = socket.SO_REUSEPORT
SO_ATTACH_REUSEPORT_CBPF = 51

_TRANSPORT_DATA = 0x04000000
"""Type and reserved bytes of a message, as a load takes them: the first byte is the highest."""


def steering(size: int) -> list[Instruction]:
    """The program for a group of `size` sockets. A load past the end of a short datagram ends it with 0."""
    return [
        (LOAD, 0, 0, 0),
        (JUMP_EQUAL, 0, 4, _TRANSPORT_DATA),
        (LOAD, 0, 0, 4),  # the receiver index, little-endian: its low byte is the high one here
        (SHIFT_RIGHT, 0, 0, 24),
        (AND, 0, 0, size - 1),
        (RETURN_A, 0, 0, 0),
        (RETURN, 0, 0, 0),
    ]


def form(first: socket.socket, size: int, another: Callable[[], socket.socket]) -> list[socket.socket]:
    """The sockets of a group of `size` around `first`, which is bound and in none; itself is not among them.

    `another` binds one to the same place, with SO_REUSEPORT. `first` was bound without: so no socket of before is in
    the group, and another program's would have been an error. Raises OSError, and then `first` is alone as before.
    """
    joined: list[socket.socket] = []
    try:
        first.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
        while len(joined) < size - 1:
            joined.append(another())
            if len(joined) == 1:  # at once: from now on no handshake goes elsewhere than to `first`
                _steer(first, size)
    except BaseException:
        dissolve(first, joined)
        raise
    return joined


def dissolve(first: socket.socket, joined: list[socket.socket]) -> None:
    """Closes the sockets that joined, and has no further one join."""
    for sock in joined:
        sock.close()
    with contextlib.suppress(OSError):
        first.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 0)


def _steer(member: socket.socket, size: int) -> None:
    program = classic_bpf.program(steering(size))
    member.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program.header)
