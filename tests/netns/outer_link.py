"""The encrypted side: captures the datagrams of a site, and injects others as a stranger would."""

import base64
import contextlib
import hashlib
import random
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.tunnel.site import LINK, LISTEN_PORT, Site, poll
from tests.paper import LABEL_MAC1, REKEY_TIMEOUT

UDP_HEADER_LEN = 8
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
KEEPALIVE_LEN = 32
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_AT_ONCE, _AT_ONCE_LEN = 16, 1 << 16
"""Datagrams, and bytes of them: what fits into the smallest buffer that a daemon has, the default one."""
_SO_RCVBUFFORCE = 33
_UDP = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Outer:
    """A datagram on the outer link: sent by the site it was captured at, or received. `tos` is the whole byte."""

    outgoing: bool
    tos: int
    source: str
    target: str
    message: bytes


class Link:
    """The WireGuard datagrams on a site's outer link while the block lasts, both ways, IPv4 and IPv6.

    A veth delivers at once: what was sent before is there. With `unsegmented` False the link is left as it is, and a
    train of datagrams in one send is one here, too.
    """

    def __init__(self, site: Site, *, port: int = LISTEN_PORT, unsegmented: bool = True) -> None:
        self._port = port
        if unsegmented:
            site.namespace.run("ethtool", "-K", LINK, "gso", "off", "tx-udp-segmentation", "off", "gro", "off")
        self._socket = site.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        self._socket.bind((LINK, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._seen: list[Outer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def datagrams(self) -> list[Outer]:
        """All so far, in order."""
        while True:
            try:
                packet, address = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return list(self._seen)
            if found := self._parse(packet, address[2] == _PACKET_OUTGOING):
                self._seen.append(found)

    def sent(self, kind: int | None = None) -> list[Outer]:
        """What the site sent, all or the messages of one type."""
        return [one for one in self.datagrams() if one.outgoing and kind in (None, one.message[0])]

    def received(self, kind: int | None = None) -> list[Outer]:
        """What the site received, all or the messages of one type."""
        return [one for one in self.datagrams() if not one.outgoing and kind in (None, one.message[0])]

    def _parse(self, packet: bytes, outgoing: bool) -> Outer | None:
        if len(packet) >= 28 and packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
            family, tos, udp = socket.AF_INET, packet[1], (packet[0] & 15) * 4
            source, target = packet[12:16], packet[16:20]
        elif len(packet) >= 48 and packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_UDP:
            family, tos, udp = socket.AF_INET6, (packet[0] & 15) << 4 | packet[1] >> 4, 40
            source, target = packet[8:24], packet[24:40]
        else:
            return None
        ports = struct.unpack_from("!HH", packet, udp)
        if self._port not in ports or len(packet) <= udp + 8:
            return None
        return Outer(
            outgoing, tos, socket.inet_ntop(family, source), socket.inet_ntop(family, target), packet[udp + 8 :]
        )


@contextlib.contextmanager
def held_back(victim: Site) -> Iterator[Link]:
    """What is sent to the site while the block lasts is seen on its link, and never reaches its daemon."""
    rule = f"udp dport {LISTEN_PORT} drop"
    table = ["table inet held_back {", "chain in { type filter hook input priority 0;", rule, "}", "}", ""]
    with Link(victim, unsegmented=False) as link:
        victim.namespace.run("nft", "-f", "-", stdin="\n".join(table))
        try:
            yield link
        finally:
            victim.namespace.run("nft", "delete", "table", "inet", "held_back")


def hold_back(victim: Site, kind: int, act: Callable[[], object]) -> bytes:
    """The one message of this type that `act` makes the other site send: genuine, and not seen by the victim."""
    with held_back(victim) as link:
        act()
        poll(lambda: link.received(kind) != [], f"a message of type {kind} on the link")
        (one,) = link.received(kind)
        return one.message


class UdpCounters:
    """What the kernel counts of the IPv4 UDP sockets of a site's namespace, by its own names (/proc/net/snmp)."""

    def __init__(self, site: Site) -> None:
        with site.namespace.entered():
            self._file = open("/proc/thread-self/net/snmp")  # noqa: SIM115 - tells of that namespace until it is closed

    def close(self) -> None:
        self._file.close()

    def read(self, *names: str) -> int:
        """The sum of these counters now."""
        self._file.seek(0)
        titles, values = (line.split() for line in self._file if line.startswith("Udp:"))
        return sum(int(values[titles.index(name)]) for name in names)


class Stranger:
    """Sends datagrams to a site from the other one's host, with the source port of its daemon unless told otherwise.

    `send` returns once a socket's owner in the victim's namespace has taken as many: what a test then does not see is
    known to have been refused, and not lost on its way.
    """

    def __init__(self, host: Site, victim: Site, *, source: str | None = None) -> None:
        self._target = (victim.outer(4), 0)
        self._socket = host.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._socket.bind((source or host.outer(4), 0))
        self._counters = UdpCounters(victim)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        self._counters.close()

    def send(self, *messages: bytes, source_port: int = LISTEN_PORT) -> None:
        """Sends datagrams of 0 to 65,507 bytes, a few at a time; the kernel fragments them. TimeoutError: not all came.

        The UDP checksum 0 says "none".
        """
        pending = list(messages)
        while pending:
            wanted, room = self._taken(), _AT_ONCE_LEN
            for _ in range(_AT_ONCE):
                if not pending or len(pending[0]) > room:
                    break
                message = pending.pop(0)
                room -= len(message)
                wanted += 1
                header = _UDP.pack(source_port, LISTEN_PORT, UDP_HEADER_LEN + len(message), 0)
                self._socket.sendto(header + message, self._target)
            self._until_taken(wanted)

    def _until_taken(self, count: int) -> None:
        poll(lambda: self._taken() >= count, "the victim takes all datagrams", every_s=0.0005)

    def _taken(self) -> int:
        return self._counters.read("InDatagrams")


def initiation(public_key: str) -> bytes:
    """An initiation for the owner of this key, in wg's base64, with a good mac1: what it holds nobody can open."""
    key = hashlib.blake2s(LABEL_MAC1.encode() + base64.b64decode(public_key)).digest()
    message = struct.pack("<I", INITIATION) + secrets.token_bytes(112)
    return message + hashlib.blake2s(message, key=key, digest_size=16).digest() + bytes(16)


def junk(kind: int, length: int) -> bytes:
    """A datagram of `length` bytes that starts like a message of type `kind` and goes on with noise."""
    noise = random.Random(kind << 20 | length).randbytes(length)
    return (bytes([kind, 0, 0, 0]) + noise[4:])[:length]


def two_initiations(site: Site, link: Link, send: Callable[[], object]) -> list[bytes]:
    """The first two that leave the site, whose `link` this is, for what `send` asks for again and again: no sooner one
    after the other than the paper says."""
    before, began = len(link.sent(INITIATION)), time.monotonic()

    def tried_again() -> bool:
        send()
        return len(link.sent(INITIATION)) >= before + 2

    poll(tried_again, f"{site.name} tries a second time", every_s=0.1)
    assert time.monotonic() - began >= REKEY_TIMEOUT
    return [one.message for one in link.sent(INITIATION)[before:]]
