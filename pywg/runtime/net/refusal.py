"""Refusals of an endpoint that doesn't answer: its host, or a router on the way, refuses datagrams with ICMP.

The kernel tells that of connected sockets. The device's sockets aren't connected, and with IP_RECVERR on them a refusal
would be an error of the next packet to any peer, at the will of an attacker that forges ICMP. So each question sends an
empty datagram, which no WireGuard answers, from a connected socket of its own, with the mark and the binding of the
device's. A refusal that comes back within PATIENCE_S is the pending error of that socket.
"""

import contextlib
import errno
import socket
from collections.abc import Callable

from pywg.config.addresses import V4_LEN, format_ip
from pywg.core.events import Endpoint
from pywg.runtime.base.binding import EVERYWHERE, Binding
from pywg.runtime.base.clock import CallLater
from pywg.runtime.net.sockets import bind_device, new_socket, signed_mark, target

PATIENCE_S = 1.0
"""Seconds from a question to its answer."""
MOST_QUESTIONS = 16
"""Questions at one time; further ones are left out."""

IP_RECVERR = 11
IPV6_RECVERR = 25


class Refusals:
    """See base/system.py. A question is forgotten after PATIENCE_S."""

    def __init__(self, call_later: CallLater, *, binding: Binding = EVERYWHERE) -> None:
        self._call_later = call_later
        self._binding = binding
        self._open: set[socket.socket] = set()

    def ask(self, endpoint: Endpoint, fwmark: int, told: Callable[[int], None]) -> None:
        if len(self._open) >= MOST_QUESTIONS:
            return
        with contextlib.suppress(OSError):  # what fails here fails for the sockets in use too, and is told there
            sock = self._connected(endpoint, fwmark)
            self._open.add(sock)
            self._call_later(PATIENCE_S, lambda: self._look(sock, told))

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def _connected(self, endpoint: Endpoint, fwmark: int) -> socket.socket:
        four = len(endpoint.ip) == V4_LEN
        family = socket.AF_INET if four else socket.AF_INET6
        sock = new_socket(family)
        try:
            if fwmark:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, signed_mark(fwmark))
            ifindex = bind_device(sock, self._binding)
            if self._binding.address(family):
                sock.bind(target(self._binding, family, 0, ifindex))
            level, option = (socket.IPPROTO_IP, IP_RECVERR) if four else (socket.IPPROTO_IPV6, IPV6_RECVERR)
            sock.setsockopt(level, option, 1)  # errors that may pass too, such as an unreachable network
            ip = format_ip(endpoint.ip)
            sock.connect((ip, endpoint.port) if four else (ip, endpoint.port, 0, endpoint.scope_id))
            sock.send(b"")
        except BaseException:
            sock.close()
            raise
        return sock

    def _look(self, sock: socket.socket, told: Callable[[int], None]) -> None:
        if sock not in self._open:
            return
        self._open.remove(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sock.close()
        if error not in (0, errno.EMSGSIZE):
            told(error)
