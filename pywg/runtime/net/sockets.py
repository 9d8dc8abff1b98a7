"""The UDP sockets of a device: IPv4 and IPv6 on the same port, a pair for each shard, as the data plane wants them.

A host without IPv6 (or without IPv4) gets one socket. The sockets stay in the network namespace in which the daemon was
started, wherever its interface goes. This module neither reads nor sends datagrams of the tunnel.
"""

import contextlib
import errno
import functools
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pywg.config.addresses import interface_index, parse_ip
from pywg.errors import BindError
from pywg.runtime.base import failures
from pywg.runtime.base.binding import EVERYWHERE, Binding, is_link_local
from pywg.runtime.base.processors import SHARDS
from pywg.runtime.base.system import SOCKET_BUFFER_LEN
from pywg.runtime.net import kernel, socket_group

PORT_TRIES = 100
"""Free ports that are tried, while the port that is free in one family is taken in the other."""

_HELD_MOST = 1000
"""Datagrams dropped after `hold`: far more than the smallest buffer holds, and bounded, however fast they come."""
_SO_BINDTOIFINDEX = 62
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
IP_PKTINFO = 8
IP_RECVTOS = 13
IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
UDP_GRO = 104
_UDP_GRO_SINCE = (5, 12)
"""The first kernel on which UDP_GRO can be read back, and is sound (wireguard-go has the same gate)."""
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL})
"""Errors of a host that has no such address family, or has it disabled."""

SocketFactory: TypeAlias = Callable[[socket.AddressFamily], socket.socket]
Pair: TypeAlias = tuple[socket.socket | None, socket.socket | None]


@dataclass(slots=True)
class Sockets:
    """See base/system.py."""

    udp4: socket.socket | None
    udp6: socket.socket | None
    port: int
    ifindex: int = 0
    more: list[Pair] = field(default_factory=list)
    """of further shards, each in the group of the first one of its family"""
    trouble: str = ""

    @property
    def fd4(self) -> int:
        return _fileno(self.udp4)

    @property
    def fd6(self) -> int:
        return _fileno(self.udp6)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(_fileno(udp4), _fileno(udp6)) for udp4, udp6 in ((self.udp4, self.udp6), *self.more)]

    @property
    def udp_gro(self) -> bool:
        try:
            return all(sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO) == 1 for sock in self._open())
        except OSError:
            return False

    @property
    def receive_buffer(self) -> int:
        return self._buffer(socket.SO_RCVBUF)

    @property
    def send_buffer(self) -> int:
        return self._buffer(socket.SO_SNDBUF)

    def _buffer(self, option: int) -> int:
        lengths = []
        for sock in self._open():
            with contextlib.suppress(OSError):
                # The kernel shows twice of what it was asked for, and keeps half for its own.
                lengths.append(sock.getsockopt(socket.SOL_SOCKET, option) // 2)
        return min(lengths, default=SOCKET_BUFFER_LEN)

    def _open(self) -> list[socket.socket]:
        return [sock for pair in ((self.udp4, self.udp6), *self.more) for sock in pair if sock is not None]

    def set_mark(self, fwmark: int) -> None:
        marked = []
        try:
            for sock in self._open():
                old = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, signed_mark(fwmark))
                marked.append((sock, old))
        except OSError as error:
            for sock, old in marked:
                _try_option(sock, socket.SOL_SOCKET, socket.SO_MARK, old)
            raise _mark_error(error, fwmark) from error

    def hold(self) -> None:
        for sock in self._open():
            _try_option(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def use(self) -> None:
        for sock in self._open():
            with contextlib.suppress(OSError):
                for _ in range(_HELD_MOST):
                    sock.recv(1)
            _set_buffer(sock, socket.SO_RCVBUF, SO_RCVBUFFORCE)

    def close(self) -> None:
        for sock in self._open():
            sock.close()


def new_socket(family: socket.AddressFamily) -> socket.socket:
    """A UDP socket of `family`."""
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)


def open_sockets(
    port: int,
    fwmark: int,
    *,
    udp_gro: bool = True,
    binding: Binding = EVERYWHERE,
    shards: int = 1,
    factory: SocketFactory = new_socket,
) -> Sockets:
    """Both sockets on `port`, or the one that `binding` asks for; 0 chooses a port that both families have free.

    `shards`: so many of each. Where that can't be had, there is one of each, and `trouble` says why.
    Raises BindError with the errno of the call that failed: EADDRINUSE, EACCES (a privileged port), EPERM (the mark),
    EADDRNOTAVAIL or ENODEV (the binding), EAFNOSUPPORT (no family at all).
    """
    opening = _Opening(fwmark, udp_gro, binding, factory)
    for _ in range(PORT_TRIES if port == 0 else 1):
        sockets = Sockets(None, None, port)
        try:
            sockets.udp4 = opening.open_one(socket.AF_INET, port)
            sockets.port = _port_of(sockets.udp4, port)
            sockets.udp6 = opening.open_one(socket.AF_INET6, sockets.port)
            sockets.port = _port_of(sockets.udp6, sockets.port)
            if sockets.udp4 is None and sockets.udp6 is None:
                text = "this host has neither IPv4 nor IPv6 that UDP sockets could be opened for"
                raise BindError(errno.EAFNOSUPPORT, text)
            sockets.ifindex = opening.ifindex
            if shards > 1:
                _add_shards(sockets, opening, shards)
        except BaseException as error:  # for a lack of memory too: the port is free again at once
            sockets.close()
            if sockets.port and isinstance(error, BindError) and error.errno == errno.EADDRINUSE:
                refused = error
                continue
            raise
        return sockets
    raise refused


def _add_shards(sockets: Sockets, opening: "_Opening", shards: int) -> None:
    """Puts each socket into a group of `shards`; where one can't be, none is, and `sockets.trouble` says why."""
    formed: list[tuple[socket.socket, list[socket.socket]]] = []
    try:
        for first in (sockets.udp4, sockets.udp6):
            if first is not None:
                another = functools.partial(opening.open_another, first, sockets.port)
                formed.append((first, socket_group.form(first, shards, another)))
    except BaseException as error:
        for first, joined in formed:
            socket_group.dissolve(first, joined)
        if not isinstance(error, OSError):
            raise
        why = error.strerror if isinstance(error, BindError) else f"{error.strerror}{failures.advice(error.errno or 0)}"
        sockets.trouble = f"UDP port {sockets.port} can't be shared by {shards} sockets, so one thread receives: {why}"
        return
    more = {first.family: joined for first, joined in formed}
    none = [None] * (shards - 1)
    sockets.more = list(zip(more.get(socket.AF_INET, none), more.get(socket.AF_INET6, none), strict=True))


def adopt_sockets(pairs: Sequence[tuple[int, int]]) -> Sockets:
    """The sockets of another process of ours, with all that is set of them: (IPv4, IPv6) of each shard. Takes all over.

    Raises BindError for descriptors of anything else, and they stay the caller's.
    """
    found: list[socket.socket | None] = []
    try:
        for pair in pairs:
            for fd, family in zip(pair, (socket.AF_INET, socket.AF_INET6), strict=True):
                found.append(None if fd < 0 else _udp_of_other(fd, family))
        return _adopted(list(zip(found[::2], found[1::2], strict=True)))
    except BaseException:
        for sock in found:
            if sock is not None:
                sock.detach()
        raise


def _udp_of_other(fd: int, family: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise BindError(error.errno or errno.EIO, "what was handed over is no socket") from error
    if (sock.family, sock.type, sock.proto) != (family, socket.SOCK_DGRAM, socket.IPPROTO_UDP) or os.get_blocking(fd):
        sock.detach()
        raise BindError(errno.EINVAL, "what was handed over is no UDP socket")
    return sock


def _adopted(pairs: list[Pair]) -> Sockets:
    if len(pairs) not in SHARDS:
        raise BindError(errno.EINVAL, f"UDP sockets of {len(pairs)} shards were handed over")
    places = [[None if sock is None else _place(sock) for sock in pair] for pair in pairs]
    if places != places[:1] * len(pairs):
        raise BindError(errno.EINVAL, "UDP sockets of one group that are bound to different places were handed over")
    (udp4, udp6), *more = pairs
    ports = {_port_of(sock, 0) for sock in (udp4, udp6) if sock is not None}
    if len(ports) != 1:
        raise BindError(errno.EINVAL, "UDP sockets of different ports were handed over")
    one = udp4 or udp6
    return Sockets(udp4, udp6, ports.pop(), 0 if one is None else _bound_ifindex(one), more)


def _place(sock: socket.socket) -> tuple[object, int]:
    """The address that a socket is bound to, and the device."""
    return _name_of(sock), _bound_ifindex(sock)


def _bound_ifindex(sock: socket.socket) -> int:
    """The index of the device that a socket is bound to; 0 for none, and on Linux before 5.0, which says its name."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)
    return 0


def _port_of(sock: socket.socket | None, asked: int) -> int:
    """The port of a bound socket; `asked` where there is none. Raises BindError."""
    return asked if sock is None else int(_name_of(sock)[1])


def _name_of(sock: socket.socket) -> tuple[Any, ...]:
    """The address of a bound socket. Raises BindError."""
    try:
        name: tuple[Any, ...] = sock.getsockname()
    except OSError as error:
        text = f"the number of a UDP port can't be had: {error.strerror}{failures.advice(error.errno or errno.EIO)}"
        raise BindError(error.errno or errno.EIO, text) from error
    return name


def _fileno(sock: socket.socket | None) -> int:
    return -1 if sock is None else sock.fileno()


@dataclass(slots=True)
class _Opening:
    """Options of both sockets."""

    fwmark: int
    udp_gro: bool
    binding: Binding
    factory: SocketFactory
    ifindex: int = 0

    def open_one(self, family: socket.AddressFamily, port: int, *, shared: bool = False) -> socket.socket | None:
        """One bound socket; None when the host lacks the family, or the binding doesn't want it.

        `shared`: beside others of its group, which have the port already.
        """
        if not self.binding.opens(family):
            return None
        try:
            sock = self.factory(family)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                return None
            raise BindError(error.errno or errno.EIO, f"a UDP socket can't be opened: {error.strerror}") from error
        try:
            _set_options(sock, family, self.udp_gro)
            if self.fwmark:
                _mark(sock, self.fwmark)
            self.ifindex = bind_device(sock, self.binding)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket_group.SO_REUSEPORT, 1)
            sock.bind(target(self.binding, family, port, self.ifindex))
        except BaseException as error:
            sock.close()
            if isinstance(error, BindError) or not isinstance(error, OSError):
                raise
            if error.errno in _NO_FAMILY and not self.binding.address(family):
                return None
            raise _bind_error(error, family, port, self.binding) from error
        return sock

    def open_another(self, first: socket.socket, port: int) -> socket.socket:
        """One more socket in the place of `first`, which lets it. Raises BindError."""
        sock = self.open_one(first.family, port, shared=True)
        if sock is None:
            raise BindError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        try:
            if _place(sock) != _place(first):
                raise BindError(errno.ENODEV, f"device {self.binding.device} has been replaced meanwhile")
        except BaseException:
            sock.close()
            raise
        return sock


def _set_options(sock: socket.socket, family: socket.AddressFamily, udp_gro: bool) -> None:
    if family == socket.AF_INET6:
        _need_option(sock, socket.IPPROTO_IPV6, "IPV6_V6ONLY", socket.IPV6_V6ONLY, 1)
        _need_option(sock, socket.IPPROTO_IPV6, "IPV6_RECVPKTINFO", socket.IPV6_RECVPKTINFO, 1)
        _try_option(sock, socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)  # ECN
    else:
        _need_option(sock, socket.IPPROTO_IP, "IP_PKTINFO", IP_PKTINFO, 1)
        _try_option(sock, socket.IPPROTO_IP, IP_RECVTOS, 1)  # ECN
        # Like the kernel's WireGuard, leave DF clear: a path with a smaller MTU then costs fragments, never a silent
        # black hole.
        _need_option(sock, socket.IPPROTO_IP, "IP_MTU_DISCOVER", IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    _set_buffer(sock, socket.SO_RCVBUF, SO_RCVBUFFORCE)
    _set_buffer(sock, socket.SO_SNDBUF, SO_SNDBUFFORCE)
    if udp_gro and kernel.release() >= _UDP_GRO_SINCE:
        _try_option(sock, socket.IPPROTO_UDP, UDP_GRO, 1)


def _set_buffer(sock: socket.socket, option: int, forced: int) -> None:
    _try_option(sock, socket.SOL_SOCKET, option)  # up to net.core.*mem_max
    _try_option(sock, socket.SOL_SOCKET, forced)  # past it, with CAP_NET_ADMIN


def _need_option(sock: socket.socket, level: int, name: str, option: int, value: int) -> None:
    """Sets an option without which the data plane would not do what it should. Raises BindError."""
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        text = f"a UDP socket can't have {name}: {error.strerror}{failures.advice(error.errno or errno.EIO)}"
        raise BindError(error.errno or errno.EIO, text) from error


def _try_option(sock: socket.socket, level: int, option: int, value: int = SOCKET_BUFFER_LEN) -> None:
    """Sets an option that makes things faster and isn't needed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(level, option, value)


def bind_device(sock: socket.socket, binding: Binding) -> int:
    """Binds an unbound socket to the device of `binding`. Returns the device's index, 0 without one.

    Raises BindError: ENODEV, or EPERM (Linux before 5.7 wants CAP_NET_RAW).
    """
    device = binding.device
    if not device:
        return 0
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(device) + b"\0")
    except OSError as error:
        text = f"device {device}, which the UDP sockets are to be bound to, can't be had: {error.strerror}"
        raise BindError(error.errno or errno.EIO, text) from error
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)
    except OSError:  # Linux before 5.0
        return interface_index(os.fsencode(device))


def target(binding: Binding, family: socket.AddressFamily, port: int, ifindex: int) -> tuple[object, ...]:
    """The address for bind(2)."""
    address = binding.address(family)
    if family == socket.AF_INET6:
        return address or "::", port, 0, ifindex if address and is_link_local(parse_ip(address)) else 0
    return address, port


def signed_mark(mark: int) -> int:
    """The mark as an int, which setsockopt takes; the kernel reads the same 32 bits."""
    return mark - (1 << 32) if mark >> 31 else mark


def _mark(sock: socket.socket, fwmark: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, signed_mark(fwmark))
    except OSError as error:
        raise _mark_error(error, fwmark) from error


def _mark_error(error: OSError, fwmark: int) -> BindError:
    code = error.errno or errno.EIO
    advice = "; it needs CAP_NET_ADMIN" if code in (errno.EPERM, errno.EACCES) else failures.advice(code)
    return BindError(code, f"fwmark {fwmark:#x} can't be set: {error.strerror}{advice}")


def _bind_error(error: OSError, family: socket.AddressFamily, port: int, binding: Binding) -> BindError:
    name = "IPv6" if family == socket.AF_INET6 else "IPv4"
    advice = {
        errno.EADDRINUSE: "another program has it: choose another listen port",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "the address has to be there, and on that device if one is asked for",
    }.get(error.errno or 0, "") or failures.advice(error.errno or 0).removeprefix("; ")
    place = f"{binding.address(family) or name}" + (f", device {binding.device}" if binding.device else "")
    text = f"UDP port {port} ({place}) can't be opened: {error.strerror}"
    return BindError(error.errno or errno.EIO, f"{text}; {advice}" if advice else text)
