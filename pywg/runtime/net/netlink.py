"""rtnetlink(7) for the runtime: questions with their answers, and hints that something has changed.

Layouts and numbers are those of linux/netlink.h, linux/rtnetlink.h, linux/if_link.h and linux/net_namespace.h.
"""

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, NamedTuple

from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, Reader

LINK: Final = Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
ADDRESS: Final = Struct("=4Bi")
"""struct ifaddrmsg: family, length of the prefix, flags, scope, index."""
ROUTE: Final = Struct("=8BI")
"""struct rtmsg: family, bits of destination and of source, TOS, table, protocol, scope, type, flags."""
NAMESPACE: Final = Struct("=B3x")
"""struct rtgenmsg: family."""

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 18, 22, 26, 90
IFLA_IFNAME, IFLA_MTU, IFLA_TARGET_NETNSID = 3, 4, 46
IFA_ADDRESS = 1
RTA_DST, RTA_SRC, RTA_OIF, RTA_MARK = 1, 2, 4, 16
NETNSA_NSID, NETNSA_FD = 1, 3
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE = 0x1, 0x10, 0x40, 0x80
RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE, RTMGRP_IPV6_RULE = 0x100, 0x400, 0x40000

_HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = Struct("=HH")  # struct nlattr: length, type
_ERROR: Final = Struct("=i")  # the first of struct nlmsgerr
_ALIGNED = 4
_TYPE_MASK = 0x3FFF
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_REPLY_LEN = 1 << 16
_HINTS_A_WAKE_UP = 1024
"""More than a socket buffer of the default length holds: after so many, what is left is newer than the wake-up."""


class Message(NamedTuple):
    """One message: its fixed fields in the order of their form, and its attributes by their numbers."""

    fields: tuple[int, ...]
    attributes: dict[int, bytes]

    def number(self, attribute: int) -> int:
        """A 32-bit attribute, unsigned. Raises OSError EPROTO when it isn't there, or has another length."""
        value = self.attributes.get(attribute, b"")
        if len(value) != 4:
            raise OSError(errno.EPROTO, f"an rtnetlink message without attribute {attribute}")
        return int.from_bytes(value, sys.byteorder)


class Questions:
    """Asks the kernel, in the network namespace where this was made, one thing at a time."""

    def __init__(self) -> None:
        """Raises OSError when the kernel has no rtnetlink for us."""
        self._socket = _open(groups=0)
        self._sequence = 0

    @property
    def socket(self) -> socket.socket:
        """What the questions go through, to ask which namespace that is."""
        return self._socket

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def ask(self, kind: int, form: Struct, fields: tuple[int, ...], attributes: Mapping[int, bytes | int]) -> Message:
        """The one message that answers `kind` (RTM_GET...), of the same form. A number is a 32-bit attribute.

        Raises OSError with the kernel's errno; EPROTO when it didn't answer, or not in this form.
        """
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.send(encode(kind, self._sequence, form.pack(*fields), attributes))
        while True:  # rtnetlink answers while the question is being sent, so there is nothing to wait for
            try:
                data = self._socket.recv(_REPLY_LEN)
            except BlockingIOError as error:
                raise OSError(errno.EPROTO, "no answer from rtnetlink") from error
            if len(data) < _HEADER.size or _HEADER.unpack_from(data)[3] != self._sequence:
                continue  # to a question that was given up
            if _HEADER.unpack_from(data)[1] == _NLMSG_ERROR:
                (code,) = decode(_ERROR, data).fields
                raise OSError(-code, os.strerror(-code))
            return decode(form, data)


class Hints:
    """Hears that something in some multicast groups has changed. What it is has to be asked for."""

    def __init__(self, groups: int, *, all_namespaces: bool = False) -> None:
        """`groups` is a mask of RTMGRP_... Raises OSError when the kernel has no rtnetlink for us.

        `all_namespaces`: also of namespaces that have an id in this one. Without the privilege, of this one only.
        """
        self._socket = _open(groups)
        if all_namespaces:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)

    def fileno(self) -> int:
        """Readable when there is a hint; -1 when closed."""
        return self._socket.fileno()

    def take_all(self) -> None:
        """Takes all that there are. Hints that were lost (ENOBUFS) were hints too. Raises OSError for other errors."""
        for _ in range(_HINTS_A_WAKE_UP):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


class Listener:
    """Hints in an event loop: `heard()` is called when there are some, until `close`. It takes them, or pauses.

    An error that it raises is told, and it is called again a little later.
    """

    def __init__(self, hints: Hints, loop: Loop, heard: Callable[[], None], log: Log) -> None:
        """Listens from now on; `hints` is closed with it."""
        self._hints: Hints | None = hints
        self._reader = Reader(loop, hints.fileno(), heard, what="rtnetlink", log=log)
        self.resume()

    def take_all(self) -> None:
        """See Hints.take_all."""
        if self._hints is not None:
            self._hints.take_all()

    def pause(self) -> None:
        """However many more come, they wait in the socket."""
        self._reader.pause()

    def resume(self) -> None:
        """After `pause`. What has waited is heard at once."""
        self._reader.start()

    def close(self) -> None:
        """Idempotent; nothing is called afterwards."""
        self._reader.close()
        if self._hints is not None:
            self._hints.close()
            self._hints = None


def encode(kind: int, sequence: int, fixed: bytes, attributes: Mapping[int, bytes | int]) -> bytes:
    """A question of type `kind`; its attributes are in the order given."""
    body = bytearray(fixed)
    for attribute, value in attributes.items():
        data = value.to_bytes(4, sys.byteorder) if isinstance(value, int) else value
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), attribute) + data + bytes(-len(data) % _ALIGNED)
    return _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST, sequence, 0) + body


def decode(form: Struct, data: bytes) -> Message:
    """One message. Raises OSError EPROTO when `data` isn't one of this form."""
    try:
        fields = form.unpack_from(data, _HEADER.size)
        attributes: dict[int, bytes] = {}
        at = _HEADER.size + form.size
        while form is not _ERROR and at < len(data):
            length, attribute = _ATTRIBUTE.unpack_from(data, at)
            if not _ATTRIBUTE.size <= length <= len(data) - at:
                raise struct.error("an attribute that isn't all there")
            attributes[attribute & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
            at += length + -length % _ALIGNED
    except struct.error as error:
        raise OSError(errno.EPROTO, f"an rtnetlink message that can't be read: {error}") from error
    return Message(fields, attributes)


def _open(groups: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock
