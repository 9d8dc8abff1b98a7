"""Facts of the ways to the endpoints, outside the tunnel: by datagrams that are never cut, and by pings.

A datagram of the path's MTU, of zeros, goes to the endpoint's own port: WireGuard counts it as malformed and does
nothing, and firewalls judge it as they do the tunnel's. What comes back is ICMP, which the kernel tells connected
sockets. Where the endpoint's host answers pings, those find what swallows large packets without a word.
"""

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Final

from pywg.config.addresses import V4_LEN, format_ip
from pywg.config.model import SockAddr
from pywg.errors import DeviceError
from pywg.manage.doctor.facts import Path, Route
from pywg.manage.ping.echo import Echo
from pywg.manage.ping.fit import largest
from pywg.runtime.net.sockets import signed_mark

_IP_MTU_DISCOVER, _IP_MTU, _IP_RECVERR = 10, 14, 11
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_RECVERR = 23, 24, 25
_DO: Final = 2
_ROUND_S: Final = 0.3
_ROUNDS: Final = 4
_PING_S: Final = 1.0
_SMALL: Final = 68
_UDP: Final = 8
_WHY: Final = {
    errno.ECONNREFUSED: "no program listens on that port there",
    errno.EHOSTUNREACH: "no host answers there, or a firewall forbids it",
    errno.ENETUNREACH: "a router has no way there",
    errno.EACCES: "a firewall there forbids it",
    errno.EPERM: "a packet filter of this host drops it",
}


class _Probe:
    """One endpoint. Raises OSError."""

    def __init__(self, place: SockAddr, mark: int) -> None:
        ip, port, scope = place
        self.four = len(ip) == V4_LEN
        self.socket = socket.socket(socket.AF_INET if self.four else socket.AF_INET6, socket.SOCK_DGRAM)
        self.refusal, self.here, self.sent_at = 0, False, 0
        try:
            if mark:
                with contextlib.suppress(PermissionError):
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, signed_mark(mark))
            level = socket.IPPROTO_IP if self.four else socket.IPPROTO_IPV6
            self.socket.setsockopt(level, _IP_MTU_DISCOVER if self.four else _IPV6_MTU_DISCOVER, _DO)
            self.socket.setsockopt(level, _IP_RECVERR if self.four else _IPV6_RECVERR, 1)
            address = format_ip(ip)
            self.socket.connect((address, port) if self.four else (address, port, 0, scope))
        except OSError:
            self.socket.close()
            raise

    @property
    def mtu(self) -> int:
        """Of the path, as far as the kernel knows."""
        level, option = (socket.IPPROTO_IP, _IP_MTU) if self.four else (socket.IPPROTO_IPV6, _IPV6_MTU)
        return self.socket.getsockopt(level, option)

    def send(self) -> bool:
        """Sends a datagram of the MTU, unless one of that size was sent. Whether there is something to wait for."""
        with contextlib.suppress(OSError):
            if self.refusal or self.sent_at == self.mtu:
                return False
        try:
            self.sent_at = self.mtu
            self.socket.send(bytes(self.sent_at - (20 if self.four else 40) - _UDP))
        except OSError as error:
            return self._failed(error.errno or errno.EIO, here=True)
        return True

    def look(self) -> None:
        """Takes what was told about it."""
        with contextlib.suppress(OSError):
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._failed(error, here=False)

    def _failed(self, error: int, *, here: bool) -> bool:
        if error == errno.EMSGSIZE:
            return True  # the kernel knows a smaller one
        self.refusal, self.here = error, here
        return False


def gather(routes: Mapping[SockAddr, Route], mark: int, *, not_through: int = 0) -> dict[SockAddr, Path]:
    """The paths to endpoints whose routes are known. Those through interface `not_through` are not tried."""
    paths = {place: Path(route) for place, route in routes.items()}
    probes = {}
    for place, route in routes.items():
        if not route.fault and (not not_through or route.index != not_through):
            try:
                probes[place] = _Probe(place, mark)
            except OSError as error:
                paths[place].refusal, paths[place].refused_here = _why(error.errno or errno.EIO), True
    try:
        _exchange(list(probes.values()))
        for place, probe in probes.items():
            path = paths[place]
            if probe.refusal:
                path.refusal, path.refused_here = _why(probe.refusal), probe.here
            with contextlib.suppress(OSError):
                path.mtu = probe.mtu
                told = path.mtu < path.route.mtu
                path.mtu_from = "told by a router on the way" if told else f"the MTU of {path.route.interface}"
    finally:
        for probe in probes.values():
            probe.socket.close()
    for place, probe in probes.items():
        if not probe.refusal:
            _ping(place, mark, paths[place])
    return paths


def _exchange(probes: list[_Probe]) -> None:
    for _ in range(_ROUNDS):
        waiting = [probe for probe in probes if probe.send()]
        if not waiting:
            return
        until = time.monotonic() + _ROUND_S
        while waiting and (left := until - time.monotonic()) > 0:
            poller = select.poll()
            for probe in waiting:
                poller.register(probe.socket, select.POLLERR)
            told = {fd for fd, _ in poller.poll(left * 1000)}
            for probe in [probe for probe in waiting if probe.socket.fileno() in told]:
                probe.look()
                waiting.remove(probe)


def _ping(place: SockAddr, mark: int, path: Path) -> None:
    """Finds a smaller MTU by pings, where a small one is answered and one of the MTU is not."""
    if path.mtu <= _SMALL:
        return
    with contextlib.suppress(DeviceError, OSError), Echo(place[0], mark=mark, scope_id=place[2], whole=True) as echo:
        low = max(_SMALL, echo.overhead + 8)
        rtt = _answered(echo, low, 1, _PING_S)
        if rtt is None:
            return
        patience = min(max(4 * rtt, 0.1), _PING_S)
        sequence = 1

        def passes(size: int) -> bool:
            nonlocal sequence
            sequence += 1
            return _answered(echo, size, sequence, patience) is not None

        fits = largest(passes, low, path.mtu)
        if fits == path.mtu:
            path.mtu_from = "a ping of that size was answered"
        elif fits:
            path.mtu, path.mtu_from = fits, "larger pings are lost, and no router says so"


def _answered(echo: Echo, size: int, sequence: int, within_s: float) -> float | None:
    """The round trip in seconds of a packet of that size; None without an answer."""
    if echo.send(sequence, size - echo.overhead):
        return None
    until = time.monotonic() + within_s
    while reply := echo.receive(max(until - time.monotonic(), 0)):
        if reply.sequence == sequence:
            return reply.seconds
        if reply.fault:
            return None
    return None


def _why(error: int) -> str:
    text = os.strerror(error)
    return f"{text} ({_WHY[error]})" if error in _WHY else text
