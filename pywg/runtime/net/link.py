"""Follows one TUN interface: up or down, its MTU, its deletion, also after a move to another network namespace.

Nothing is parsed out of a notification. A message of rtnetlink's link group is a hint that something changed
somewhere; what is true now is then asked for. So no order of messages, and no overflow of the socket, can leave a
wrong state, and since the subscription comes before the first question nothing is missed.
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
from pywg.runtime.net.netlink import Hints, Questions, messages, number
from pywg.runtime.net.tun import tun_name

RECHECK_S = 1.0
"""Seconds from a look that failed to the next."""
_RTMGRP_LINK = 1
_RTM_GETLINK = 18
_RTM_GETNSID = 90
_IFF_UP = 1
TUNGETDEVNETNS = 0x54E3
SIOCGSKNS = 0x894C


class LinkWatcher:
    """Calls `changed(state)` for the first state and each new one, and `gone()` once when the interface is deleted.

    A state that couldn't be asked for, or was told in vain as `changed` raised, is looked for again.
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

    def start(self, loop: Loop) -> None:
        """Subscribes; the first state is told in the loop's next turn.

        Raises TunError when the kernel has no rtnetlink for us.
        """
        try:
            self._questions = Questions()
            # All namespaces: the interface may be moved to another, and is then heard of from there.
            self._hints = Hints(_RTMGRP_LINK, loop, self._on_hint, self._log, all_namespaces=True)
        except OSError as error:
            code = error.errno or errno.EIO
            text = f"link changes can't be followed (rtnetlink): {error.strerror}{advice(code)}"
            raise TunError(code, text) from error
        self._loop = loop
        loop.call_soon(self._look)

    def close(self) -> None:
        """Idempotent; nothing is called afterwards."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
            code = error.errno if isinstance(error, OSError) else None
            if code in (errno.EBADFD, errno.EBADF):
                self.close()
                self._gone()
            elif code != errno.ENODEV:  # that is between two namespaces, or renamed this moment: its end is a hint
                tell(self._log, "the interface's state", error)
                if self._loop is not None:
                    self._again = self._loop.call_later(RECHECK_S, self._look)


def read_state(tun_fd: int, questions: Questions) -> LinkState:
    """The present state of the interface behind `tun_fd`, in whichever namespace it is.

    OSError EBADFD: the interface was deleted; ENODEV: it is on the move. `questions` asks in this namespace.
    """
    attributes: dict[str, object] = {"IFLA_IFNAME": os.fsencode(tun_name(tun_fd))}
    namespace = _namespace_of(tun_fd, questions)
    if namespace is not None:
        attributes["IFLA_IF_NETNSID"] = namespace
    link = questions.ask(_RTM_GETLINK, messages().link, {}, attributes)
    return LinkState(bool(link["flags"] & _IFF_UP), number(link, "IFLA_MTU"), namespace is None)


def _namespace_of(tun_fd: int, questions: Questions) -> int | None:
    """The id, as seen from here, of the namespace the interface was moved to.

    None when it is in ours (or can't be told).
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
        answer = questions.ask(_RTM_GETNSID, messages().namespace, {}, {"NETNSA_FD": fd})
    finally:
        os.close(fd)
    namespace = number(answer, "NETNSA_NSID")
    if namespace >> 31:  # NETNSA_NSID_NOT_ASSIGNED, -1
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return namespace


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
