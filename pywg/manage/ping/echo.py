"""ICMP echo (RFC 792, RFC 4443) to one address: raw sockets for root, datagram sockets where the system allows them.

A reply counts when it comes from the address and has the random token that the request had.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from typing import Final, NamedTuple, Self

from pywg.config.addresses import V4_LEN, format_ip
from pywg.errors import DeviceError
from pywg.runtime.net.sockets import signed_mark

HEADER_LEN: Final = 8
TOKEN_LEN: Final = 8
SMALLEST: Final = TOKEN_LEN
"""Bytes of data: the token."""

_REQUEST: Final = {4: 8, 6: 128}
_REPLY: Final = {4: 0, 6: 129}
_HEADER: Final = struct.Struct("!BBHHH")
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_IP_RECVERR, _IPV6_RECVERR, _IPV6_DONTFRAG = 11, 25, 62
_MSG_ERRQUEUE: Final = 0x2000
_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1
_REPLY_LEN: Final = 1 << 16
_IP_HEADER: Final = {4: 20, 6: 40}


class Reply(NamedTuple):
    """An answer, or an error about a request."""

    sequence: int
    """-1 for an error"""
    seconds: float
    """since the request"""
    fault: str = ""


class Echo:
    """A socket for echoes to `ip`, through `interface` if one is given. Raises DeviceError when it can't be had.

    `whole`: packets are never cut on the way (DF), and a smaller path MTU that the kernel remembers is not obeyed.
    """

    def __init__(
        self, ip: bytes, *, interface: str = "", mark: int = 0, scope_id: int = 0, whole: bool = False
    ) -> None:
        self.version = 4 if len(ip) == V4_LEN else 6
        self.address = format_ip(ip)
        self._token = os.urandom(TOKEN_LEN)
        self._id = int.from_bytes(os.urandom(2), "big")
        self._sent: dict[int, float] = {}
        self._socket, self._raw = _open(self.version)
        try:
            self._prepare(interface, mark, whole=whole)
            self._socket.connect((self.address, 0) if self.version == 4 else (self.address, 0, 0, scope_id))
        except OSError as error:
            self._socket.close()
            raise _failed(f"{self.address} can't be pinged", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For select(2)."""
        return self._socket.fileno()

    @property
    def overhead(self) -> int:
        """Bytes of a packet besides its data."""
        return _IP_HEADER[self.version] + HEADER_LEN

    def send(self, sequence: int, data_len: int) -> str:
        """Sends a request with so many bytes of data. Returns why it could not leave; empty when it has left."""
        data = self._token + bytes(max(data_len - TOKEN_LEN, 0))
        request = _HEADER.pack(_REQUEST[self.version], 0, 0, self._id, sequence & 0xFFFF) + data
        if self._raw and self.version == 4:
            request = request[:2] + _checksum(request).to_bytes(2, "big") + request[4:]
        self._sent[sequence & 0xFFFF] = time.monotonic()
        try:
            self._socket.send(request)
        except OSError as error:
            return "larger than the MTU" if error.errno == errno.EMSGSIZE else error.strerror or str(error)
        return ""

    def receive(self, within_s: float) -> Reply | None:
        """The next answer or error; None when there is none in that time."""
        until = time.monotonic() + within_s
        while True:
            if not select.select([self._socket], [], [], max(until - time.monotonic(), 0))[0]:
                return None
            try:
                data = self._socket.recv(_REPLY_LEN, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError as error:
                self._drop_errors()
                fault = "larger than the path takes" if error.errno == errno.EMSGSIZE else error.strerror or str(error)
                return Reply(-1, 0.0, fault)
            now = time.monotonic()
            sequence = self._sequence_of(data)
            if sequence is not None and sequence in self._sent:
                return Reply(sequence, now - self._sent.pop(sequence))

    def _sequence_of(self, data: bytes) -> int | None:
        """None: not an answer to us. A raw IPv4 socket gives the IP header, too."""
        if self._raw and self.version == 4 and data:
            data = data[(data[0] & 0xF) * 4 :]
        if len(data) < HEADER_LEN + TOKEN_LEN or data[0] != _REPLY[self.version]:
            return None
        if data[HEADER_LEN : HEADER_LEN + TOKEN_LEN] != self._token:
            return None
        return int(_HEADER.unpack_from(data)[4])

    def _drop_errors(self) -> None:
        """They would make the socket readable for ever."""
        with contextlib.suppress(OSError):
            while True:
                self._socket.recvmsg(1, 512, _MSG_ERRQUEUE | socket.MSG_DONTWAIT)

    def _prepare(self, interface: str, mark: int, *, whole: bool) -> None:
        sock = self._socket
        if interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(interface) + b"\0")
        if mark:
            with contextlib.suppress(PermissionError):  # then the route without the mark is as near as it gets
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, signed_mark(mark))
        if self.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            if whole:
                sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            if whole:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
        if self._raw:
            self._take_replies_alone()

    def _take_replies_alone(self) -> None:
        """Other ICMP messages of that address would fill the buffer."""
        with contextlib.suppress(OSError):
            if self.version == 4:
                self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _REPLY[4]) & 0xFFFFFFFF))
            else:
                blocked = bytearray(b"\xff" * 32)
                word = _REPLY[6] // 32
                struct.pack_into("=I", blocked, word * 4, ~(1 << (_REPLY[6] % 32)) & 0xFFFFFFFF)
                self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER, bytes(blocked))


def _open(version: int) -> tuple[socket.socket, bool]:
    """(socket, whether it is a raw one). Raises DeviceError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        try:
            return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol), kind == socket.SOCK_RAW
        except OSError as error:
            if kind == socket.SOCK_DGRAM:
                raise _failed("no socket for pings can be had", error) from error
    raise AssertionError("the last attempt returns or raises")


def _failed(what: str, error: OSError) -> DeviceError:
    code = error.errno or errno.EIO
    text = f"{what}: {error.strerror}"
    if code in (errno.EPERM, errno.EACCES):
        text += "; run as root, or allow pings to users: sysctl -w net.ipv4.ping_group_range='0 2147483647'"
    return DeviceError(code, text)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
