"""Raw ICMP sockets, through which the data plane tells inner senders that no peer takes their packets.

The kernel chooses the source of these messages as for its own errors: the address of this host on its route to the
sender. A message that is written to the TUN instead, from one of our IPv4 addresses, would be a martian to the kernel,
and dropped.
"""

import contextlib
import socket
import struct

from pywg.runtime.base.log import Log

_SOL_RAW = 255
_ICMP_FILTER = 1  # linux/icmp.h
_ICMPV6_FILTER = 1  # linux/icmpv6.h
_NOTHING_IN = 0xFFFFFFFF  # of both filters, each set bit is a type that is not received
_INTERNETWORK_CONTROL = 0xC0  # the TOS of Linux's own ICMP errors


class Unreachables:
    """See base/system.py. The sockets need CAP_NET_RAW to be opened, and only send."""

    def __init__(self, log: Log) -> None:
        self._sockets: list[socket.socket] = []
        self.fd4 = self._open(socket.AF_INET, socket.IPPROTO_ICMP, log)
        self.fd6 = self._open(socket.AF_INET6, socket.IPPROTO_ICMPV6, log)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _open(self, family: socket.AddressFamily, protocol: int, log: Log) -> int:
        with contextlib.ExitStack() as stack:
            try:
                kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                sock = stack.enter_context(socket.socket(family, kind, protocol))
                if family == socket.AF_INET:
                    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", _NOTHING_IN))
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _INTERNETWORK_CONTROL)
                else:
                    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *[_NOTHING_IN] * 8))
            except OSError as error:
                log.debug(f"ICMP errors come from the dead destination's address (no raw socket: {error.strerror})")
                return -1
            stack.pop_all()
        self._sockets.append(sock)
        return sock.fileno()
