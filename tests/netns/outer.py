"""The encrypted side: captures the datagrams that reach a site, and injects others as a stranger would."""

import random
import socket
import struct
from types import TracebackType
from typing import Self

from bench.tunnel.site import LINK, LISTEN_PORT, Site

ETH_P_IP = 0x0800
IPV4_HEADER_LEN = 20
UDP_HEADER_LEN = 8
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
_UDP = struct.Struct("!HHHH")


class Capture:
    """The WireGuard messages that arrive at a site over IPv4 while the block lasts, as the wire carried them."""

    def __init__(self, site: Site) -> None:
        self._socket = site.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._socket.bind((LINK, ETH_P_IP))
        self._socket.setblocking(False)
        self._messages: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def messages(self, kind: int | None = None) -> list[bytes]:
        """All messages so far, or those of one type. A veth delivers at once: what was sent before is there."""
        while True:
            try:
                packet = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            if packet[9] == socket.IPPROTO_UDP and _UDP.unpack_from(packet, IPV4_HEADER_LEN)[1] == LISTEN_PORT:
                self._messages.append(packet[IPV4_HEADER_LEN + UDP_HEADER_LEN :])
        return [message for message in self._messages if kind is None or message[:1] == bytes([kind])]


class Stranger:
    """Sends datagrams to a site from the other one's host, with the source port of its daemon unless told otherwise."""

    def __init__(self, host: Site, victim: Site, *, source: str | None = None) -> None:
        self._target = (victim.outer(4), 0)
        self._socket = host.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._socket.bind((source or host.outer(4), 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes, source_port: int = LISTEN_PORT) -> None:
        """Sends one datagram of 0 to 65,507 bytes; the kernel fragments it. The UDP checksum 0 says "none"."""
        header = _UDP.pack(source_port, LISTEN_PORT, UDP_HEADER_LEN + len(data), 0)
        self._socket.sendto(header + data, self._target)


def junk(kind: int, length: int) -> bytes:
    """A datagram of `length` bytes that starts like a message of type `kind` and goes on with noise."""
    noise = random.Random(kind << 20 | length).randbytes(length)
    return (bytes([kind, 0, 0, 0]) + noise[4:])[:length]
