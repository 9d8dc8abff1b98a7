"""The watcher of routes: checks sticky sources when routes, rules, addresses or links change.

Before them it checks the device that the sockets are bound to.

The data plane answers a peer from the address that the peer spoke to. The watcher drops that source, and the routing
table chooses again, when the address is no longer ours, or when the route to the peer leaves by another interface than
the one on which the peer was heard, or by none. The kernel's WireGuard looks at each packet (send4 and send6 in
drivers/net/wireguard/socket.c). Here the kernel owns the sockets, so the watcher asks the same questions when rtnetlink
hints that an answer may have changed. It parses no hint, so it can misread none, and lost hints are hints too. All this
is about the namespace of the UDP sockets, in which the daemon was started, wherever its interface is.
"""

import errno
import functools
import socket
import time
from collections import deque
from collections.abc import Callable

from pywg.core.events import Endpoint
from pywg.runtime.base.clock import TimerHandle, cancel
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, tell
from pywg.runtime.base.system import Sources
from pywg.runtime.net import rtmessages
from pywg.runtime.net.bound_link import BoundLink
from pywg.runtime.net.netlink import Form, Hints, Message, Questions, number

DEBOUNCE_S = 0.05
"""Seconds from the first hint to the check, so that one check finds what changes together."""
RECHECK_S = 1.0
"""Seconds from a check that dropped a source to one more: a packet on its way may have brought it back. Also from a
check that failed, or that found the device that the sockets are bound to without its address."""
SLICE_S = 0.002
"""Seconds of checking at a time."""
DUTY_CYCLE = 1 / 4
"""Share of the event loop's time while a check goes on; the rest is for other work."""
BACKOFF = 4
"""The next check waits for at least so many times the work of the last: routes that never rest cost an eighth of a
CPU, however many peers there are."""

_RTM_GETADDR = 22
_RTM_GETROUTE = 26
_DESTINATION = 16 + 12 + 4
"""Offset of the first attribute's value in a question for a route: after nlmsghdr, rtmsg and rtattr."""
_GROUPS = (
    0x1  # RTMGRP_LINK: the kernel sends no message about the routes of a link that goes down
    | 0x10  # RTMGRP_IPV4_IFADDR
    | 0x40  # RTMGRP_IPV4_ROUTE
    | 0x80  # RTMGRP_IPV4_RULE
    | 0x100  # RTMGRP_IPV6_IFADDR
    | 0x400  # RTMGRP_IPV6_ROUTE
    | 0x40000  # RTNLGRP_IPV6_RULE
)
_WRONG = frozenset(
    {
        errno.EINVAL,  # IPv4: the source is not our address; or a blackhole
        errno.EADDRNOTAVAIL,  # IPv6: the source is not our address
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EACCES,  # a route that prohibits
        errno.ENODEV,  # the interface of a link-local address is gone
    }
)
"""Errors by which the kernel says that a source is wrong. Others, such as no memory, say nothing about it."""


class RouteWatcher:
    """Keeps the sources of a device right, from `start` to `close`. Logs a failure of rtnetlink, and never raises."""

    def __init__(
        self,
        sources: Sources,
        log: Log,
        *,
        bound: BoundLink | None = None,
        open_hints: Callable[[int, Loop, Callable[[], None], Log], Hints] = Hints,
        open_questions: Callable[[], Questions] = Questions,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sources = sources
        self._log = log
        self._bound = bound
        self._open_hints = open_hints
        self._open_questions = open_questions
        self._now = now
        self._loop: Loop | None = None
        self._hints: Hints | None = None
        self._questions: Questions | None = None
        self._timer: TimerHandle | None = None
        self._pending: deque[int] = deque()
        self._ours: dict[tuple[bytes, int], bool] = {}
        self._routes: dict[tuple[bytes, int], bytearray] = {}
        self._debounce_s = DEBOUNCE_S
        self._worked = 0.0
        self._dropped = False
        self._unbound = False
        self._last_look = False

    def start(self, loop: Loop) -> None:
        """Subscribes. Without rtnetlink, a source stays until sending from it fails."""
        try:
            self._questions = self._open_questions()
            self._hints = self._open_hints(_GROUPS, loop, self._on_hint, self._log)
        except OSError as error:
            what = "route changes" if self._bound is None else f"route changes and device {self._bound.name}"
            self._log.warning(f"{what} can't be followed (rtnetlink): {error.strerror}")
            self.close()
            return
        self._loop = loop

    def close(self) -> None:
        """Does nothing afterwards. Idempotent."""
        cancel(self._timer)
        for end in (self._hints, self._questions):
            if end is not None:
                end.close()
        self._hints = self._questions = None

    # When: hint -> debounce -> slices of one check -> listening again, and perhaps one more check

    def _call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Sets the one step that comes next."""
        cancel(self._timer)
        if self._loop is not None:
            self._timer = self._loop.call_later(delay, functools.partial(self._go_on, callback))

    def _go_on(self, callback: Callable[[], None]) -> None:
        """Takes the next step. An error ends this check, and not the watcher."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - no error may end the watcher
            tell(self._log, "route changes", error)
            self._pending.clear()
            self._call_later(RECHECK_S, self._begin)

    def _on_hint(self) -> None:
        if self._hints is None:
            return
        self._hints.pause()
        self._last_look = False
        self._call_later(self._debounce_s, self._begin)

    def _look_again(self) -> None:
        self._last_look = True
        self._begin()

    def _begin(self) -> None:
        if self._hints is None:
            return
        self._hints.pause()
        try:
            self._hints.take_all()
        except OSError as error:  # the check goes on all the same, and its rate is bounded
            tell(self._log, "rtnetlink", error)
        self._unbound = self._bound is not None and not self._bound.look()
        self._pending.extend(self._sources.peers())
        self._ours.clear()
        self._routes.clear()
        self._worked = 0.0
        self._dropped = False
        self._slice()

    def _slice(self) -> None:
        began = self._now()
        worked = 0.0
        while self._pending and worked < SLICE_S:
            self._check(self._pending.popleft())
            worked = self._now() - began
        self._worked += worked
        if self._pending:
            self._call_later(worked * (1 / DUTY_CYCLE - 1), self._slice)
        else:
            self._end()

    def _end(self) -> None:
        self._debounce_s = max(DEBOUNCE_S, BACKOFF * self._worked)
        if self._hints is not None:
            self._hints.resume()
        if self._unbound:
            self._call_later(max(RECHECK_S, self._debounce_s), self._begin)
        elif self._dropped and not self._last_look:
            self._call_later(max(RECHECK_S, self._debounce_s), self._look_again)

    # What: one peer

    def _check(self, peer: int) -> None:
        addr = self._sources.endpoint(peer)
        if addr is not None and addr[3] and not self._holds(addr):
            self._log.debug(f"peer {peer}: the way back has changed, its source is dropped")
            self._sources.clear_source(peer)
            self._dropped = True

    def _holds(self, addr: Endpoint) -> bool:
        """Whether a datagram to `addr` can leave from its local address, and leaves by its local interface."""
        ip, _, scope, local_ip, local_ifindex = addr
        try:
            return self._is_ours(local_ip, scope) and self._interface_to(ip, scope, local_ip) == local_ifindex
        except OSError as error:
            return error.errno not in _WRONG

    def _interface_to(self, ip: bytes, scope: int, local_ip: bytes) -> int:
        """The index of the interface by which a packet would leave. Raises OSError when there is no route."""
        question = self._routes.get((local_ip, scope))
        if question is None:
            question = self._routes[local_ip, scope] = self._route_question(scope, local_ip)
        question[_DESTINATION : _DESTINATION + len(ip)] = ip
        return number(self._put(question, rtmessages.ROUTE), "RTA_OIF")

    def _route_question(self, scope: int, local_ip: bytes) -> bytearray:
        """A question for a route; its destination is filled in later, as encoding takes longer than all the rest."""
        family = socket.AF_INET if len(local_ip) == 4 else socket.AF_INET6
        bits = len(local_ip) * 8
        attributes: dict[str, object] = {
            "RTA_DST": socket.inet_ntop(family, bytes(len(local_ip))),
            "RTA_SRC": socket.inet_ntop(family, local_ip),
        }
        if self._sources.fwmark:
            attributes["RTA_MARK"] = self._sources.fwmark
        if interface := scope or self._sources.bound_ifindex:
            attributes["RTA_OIF"] = interface
        fields = {"family": family, "dst_len": bits, "src_len": bits}
        return rtmessages.ROUTE.encode(_RTM_GETROUTE, fields, attributes)

    def _is_ours(self, local_ip: bytes, scope: int) -> bool:
        """Whether the address is assigned. For IPv4, the question for the route asks this too."""
        if len(local_ip) == 4:
            return True
        key = local_ip, scope
        if key not in self._ours:
            self._ours[key] = self._is_assigned(local_ip, scope)
        return self._ours[key]

    def _is_assigned(self, local_ip: bytes, scope: int) -> bool:
        form = rtmessages.ADDRESS
        attributes: dict[str, object] = {"IFA_ADDRESS": socket.inet_ntop(socket.AF_INET6, local_ip)}
        try:
            self._put(form.encode(_RTM_GETADDR, {"family": socket.AF_INET6, "index": scope}, attributes), form)
        except OSError as error:
            return error.errno not in _WRONG
        return True

    def _put(self, question: bytearray, form: Form) -> Message:
        if self._questions is None:
            raise OSError(errno.EBADF, "closed")
        return self._questions.put(question, form)
