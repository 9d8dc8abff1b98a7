"""The watcher of one TUN interface: up or down, its MTU, its deletion, also after a move to another network namespace.

The watcher parses no notification. A message of rtnetlink's link group is a hint that something changed somewhere, and
the watcher then asks for the present state. So no order of messages, and no overflow of the socket, can leave a wrong
state. The subscription comes before the first question, so that nothing is missed.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Callable

from pywg.errors import TunError
from pywg.runtime.base.clock import TimerHandle, cancel
from pywg.runtime.base.failures import advice
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop, tell
from pywg.runtime.base.system import LinkState
from pywg.runtime.net import rtmessages
from pywg.runtime.net.netlink import Hints, Questions, number
from pywg.runtime.net.tun_device import TUNGETDEVNETNS, identity

RECHECK_S = 1.0
"""Seconds from a look that failed to the next look."""
_RTMGRP_LINK = 1
_RTM_GETLINK = 18
_RTM_GETNSID = 90
_IFF_UP = 1
SIOCGSKNS = 0x894C


class LinkWatcher:
    """Calls `changed(state)` for the first state and each new one, and `gone()` once when the interface is deleted.

    It looks again for a state that the kernel did not tell, or for which `changed` raised.
    """

    def __init__(self, tun_fd: int, changed: Callable[[LinkState], None], gone: Callable[[], None], log: Log) -> None:
        self._tun_fd = tun_fd
        self._changed = changed
        self._gone = gone
        self._log = log
        self._loop: Loop | None = None
        self._again: TimerHandle | None = None
        self._state: LinkState | None = None
        self._hints: Hints | None = None
        self._questions: Questions | None = None
        self._told_away = False

    def start(self, loop: Loop) -> None:
        """Subscribes. The first state comes in the event loop's next turn.

        Raises TunError when the kernel has no rtnetlink for this process.
        """
        try:
            self._questions = Questions()
            # All namespaces: the operator may move the interface to another, and the hints then come from there.
            self._hints = Hints(_RTMGRP_LINK, loop, self._on_hint, self._log, all_namespaces=True)
        except OSError as error:
            code = error.errno or errno.EIO
            text = f"link changes can't be followed (rtnetlink): {error.strerror}{advice(code)}"
            raise TunError(code, text) from error
        self._loop = loop
        loop.call_soon(self._look)

    def close(self) -> None:
        """Calls nothing afterwards. Idempotent."""
        cancel(self._again)
        for end in (self._hints, self._questions):
            if end is not None:
                end.close()
        self._hints = self._questions = None

    def _on_hint(self) -> None:
        if self._hints is not None:
            try:
                self._hints.take_all()
            finally:
                self._look()

    def _look(self) -> None:
        if self._questions is None:
            return
        cancel(self._again)
        try:
            state = read_state(self._tun_fd, self._questions)
            if state != self._state:
                self._changed(state)
                self._state = state
            self._told_away = False
        except Exception as error:  # noqa: BLE001 - no error may end the watcher
            code = error.errno if isinstance(error, OSError) else None
            if code in (errno.EBADFD, errno.EBADF):
                self.close()
                self._gone()
            elif code == errno.ENODEV:
                self._not_here()
            else:
                tell(self._log, "the interface's state", error)
                if self._loop is not None:
                    self._again = self._loop.call_later(RECHECK_S, self._look)

    def _not_here(self) -> None:
        """The interface is on its way between namespaces, or just renamed: the end of that is a hint.

        Or it is in another namespace, and this process has no privilege to look there.
        """
        if _may_not_ask(self._tun_fd) and not self._told_away:
            self._told_away = True
            if self._state is not None:  # inner senders are to be told nothing in this namespace
                self._state = self._state._replace(here=False)
                self._changed(self._state)
            self._log.error(
                "the interface is in another network namespace, where it can't be followed without CAP_NET_ADMIN: "
                "the tunnel stays as it is until the interface comes back"
            )


def read_state(tun_fd: int, questions: Questions) -> LinkState:
    """The present state of the interface behind `tun_fd`, in any namespace. `questions` asks in this one.

    Raises OSError: EBADFD when the interface was deleted, ENODEV while it moves.
    """
    attributes: dict[str, object] = {"IFLA_IFNAME": os.fsencode(identity(tun_fd)[0])}
    namespace = _namespace_of(tun_fd, questions)
    if namespace is not None:
        attributes["IFLA_IF_NETNSID"] = namespace
    link = questions.ask(_RTM_GETLINK, rtmessages.LINK, {}, attributes)
    return LinkState(bool(link["flags"] & _IFF_UP), number(link, "IFLA_MTU"), namespace is None)


def _namespace_of(tun_fd: int, questions: Questions) -> int | None:
    """The id, as seen from here, of the namespace that the interface was moved to.

    None when it is in ours, or when the kernel doesn't tell.
    """
    try:
        fd = fcntl.ioctl(tun_fd, TUNGETDEVNETNS)
    except OSError as error:
        if error.errno in (errno.EBADFD, errno.EBADF):
            raise
        return None  # Linux before 5.5, or no privilege over that namespace
    try:
        if _same_namespace(fd, questions.socket):
            return None
        answer = questions.ask(_RTM_GETNSID, rtmessages.NAMESPACE, {}, {"NETNSA_FD": fd})
    finally:
        os.close(fd)
    namespace = number(answer, "NETNSA_NSID")
    if namespace >> 31:  # NETNSA_NSID_NOT_ASSIGNED, -1
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return namespace


def _may_not_ask(tun_fd: int) -> bool:
    """Whether this process has no right to learn in which namespace the interface is."""
    try:
        os.close(fcntl.ioctl(tun_fd, TUNGETDEVNETNS))
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _same_namespace(fd: int, sock: socket.socket) -> bool:
    """Whether `fd` names the network namespace that `sock` lives in."""
    try:
        own = fcntl.ioctl(sock, SIOCGSKNS)
    except OSError:
        return True
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(own))
    finally:
        os.close(own)
