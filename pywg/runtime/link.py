"""Follows one TUN interface: up or down, its MTU, its deletion, also after a move to another network namespace.

Nothing is parsed out of a notification. A message of rtnetlink's link group is a hint that something changed
somewhere; what is true now is then asked for. So no order of messages, and no overflow of the socket, can leave a
wrong state, and since the subscription comes before the first question nothing is missed.

This speaks rtnetlink (rtnetlink(7), include/uapi/linux/if_link.h) through the standard library. It takes two messages,
and a daemon that has to be ready soon, and small, imports no netlink library for them.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from pywg.errors import TunError
from pywg.runtime.tun import tun_name

_SOL_NETLINK = 270
_NETLINK_LISTEN_ALL_NSID = 8
_RTMGRP_LINK = 1
_NLMSG_ERROR = 2
_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_RTM_NEWNSID = 88
_RTM_GETNSID = 90
_NLM_F_REQUEST = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_TARGET_NETNSID = 46
_NETNSA_NSID = 1
_NETNSA_FD = 3
_IFF_UP = 1
_TUNGETDEVNETNS = 0x54E3
_SIOCGSKNS = 0x894C

_NLMSGHDR = struct.Struct("=IHHII")
_IFINFOMSG = struct.Struct("=BxHiII")
_RTATTR = struct.Struct("=HH")
_RTGENMSG = bytes(4)
_HINTS_A_WAKE_UP = 256


class LinkState(NamedTuple):
    """What the kernel says now."""

    up: bool
    mtu: int


class LinkWatcher:
    """Calls `changed(state)` for the first state and each new one, and `gone()` once when the interface is deleted."""

    def __init__(self, tun_fd: int, changed: Callable[[LinkState], None], gone: Callable[[], None]) -> None:
        self._tun_fd = tun_fd
        self._changed = changed
        self._gone = gone
        self._state: LinkState | None = None
        self._hints: socket.socket | None = None
        self._questions = _netlink()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Subscribes, then reads the first state. Raises TunError when the kernel has no rtnetlink for us."""
        try:
            hints = _netlink(groups=_RTMGRP_LINK, nonblocking=True)
        except OSError as error:
            raise TunError(
                error.errno or errno.EIO, f"link changes can't be followed (rtnetlink): {error.strerror}"
            ) from error
        # Hear of the interface in the namespace it may be moved to. Without the privilege, hints come from this
        # namespace only.
        with contextlib.suppress(OSError):
            hints.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, 1)
        self._hints = hints
        self._loop = loop
        loop.add_reader(hints.fileno(), self._on_hint)
        self._look()

    def close(self) -> None:
        """Idempotent; nothing is called afterwards."""
        if self._hints is not None and self._loop is not None:
            self._loop.remove_reader(self._hints.fileno())
            self._hints.close()
            self._hints = None
        self._questions.close()

    def _on_hint(self) -> None:
        if self._hints is None:
            return
        for _ in range(_HINTS_A_WAKE_UP):
            try:
                self._hints.recv(1)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: hints were lost, which is a hint too
                break
        self._look()

    def _look(self) -> None:
        try:
            state = read_state(self._tun_fd, self._questions)
        except OSError as error:
            if error.errno in (errno.EBADFD, errno.EBADF):
                self.close()
                self._gone()
            return  # between two namespaces, or renamed this moment: its end is another hint
        if state is not None and state != self._state:
            self._state = state
            self._changed(state)


def read_state(tun_fd: int, questions: socket.socket) -> LinkState | None:
    """The present state of the interface behind `tun_fd`, in whichever namespace it is; None when that can't be asked.

    OSError EBADFD: the interface was deleted; ENODEV: it is on the move. `questions` is an rtnetlink socket of this
    namespace.
    """
    name = os.fsencode(tun_name(tun_fd))
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name + b"\0")
    namespace = _namespace_of(tun_fd, questions)
    if namespace is not None:
        body += _attribute(_IFLA_TARGET_NETNSID, struct.pack("=i", namespace))
    kind, reply = _ask(questions, _RTM_GETLINK, body)
    if kind != _RTM_NEWLINK:
        return None
    flags: int = _IFINFOMSG.unpack_from(reply)[3]
    mtu = _find(reply[_IFINFOMSG.size :], _IFLA_MTU)
    if mtu is None:
        return None
    return LinkState(bool(flags & _IFF_UP), struct.unpack("=I", mtu)[0])


def _namespace_of(tun_fd: int, questions: socket.socket) -> int | None:
    """The id, as seen from here, of the namespace the interface was moved to.

    None when it is in ours (or can't be told).
    """
    try:
        fd = fcntl.ioctl(tun_fd, _TUNGETDEVNETNS)
    except OSError as error:
        if error.errno in (errno.EBADFD, errno.EBADF):
            raise
        return None  # Linux before 5.5, or no privilege over that namespace
    try:
        if _same_namespace(fd, questions):
            return None
        _, reply = _ask(questions, _RTM_GETNSID, _RTGENMSG + _attribute(_NETNSA_FD, struct.pack("=I", fd)))
    finally:
        os.close(fd)
    found = _find(reply[len(_RTGENMSG) :], _NETNSA_NSID)
    number: int = -1 if found is None else struct.unpack("=i", found)[0]
    if number < 0:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return number


def _same_namespace(fd: int, sock: socket.socket) -> bool:
    """Whether `fd` names the network namespace that `sock` lives in."""
    try:
        own = fcntl.ioctl(sock, _SIOCGSKNS)
    except OSError:
        return True
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(own))
    finally:
        os.close(own)


def _netlink(*, groups: int = 0, nonblocking: bool = False) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | (socket.SOCK_NONBLOCK if nonblocking else 0)
    sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    return sock


def _ask(questions: socket.socket, kind: int, body: bytes) -> tuple[int, bytes]:
    """(type, payload) of the one message that answers. Raises OSError with the kernel's errno."""
    questions.send(_NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, _NLM_F_REQUEST, 0, 0) + body)
    reply = questions.recv(1 << 16)
    length, answered, _, _, _ = _NLMSGHDR.unpack_from(reply)
    payload = reply[_NLMSGHDR.size : length]
    if answered == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", payload)[0]
        raise OSError(code, os.strerror(code))
    return answered, payload


def _attribute(kind: int, value: bytes) -> bytes:
    return _RTATTR.pack(_RTATTR.size + len(value), kind) + value + bytes(-len(value) % 4)


def _find(attributes: bytes, kind: int) -> bytes | None:
    """The value of the first attribute of this kind."""
    while len(attributes) >= _RTATTR.size:
        length, found = _RTATTR.unpack_from(attributes)
        if length < _RTATTR.size:
            return None
        if found == kind:
            return attributes[_RTATTR.size : length]
        attributes = attributes[(length + 3) & ~3 :]
    return None
