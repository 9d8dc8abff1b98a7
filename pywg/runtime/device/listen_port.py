"""A device's listen port and mark. The operator gets them, or an error, at once, also while the device is down.

    down    a port that was asked for by number is held: the sockets are open, and what they receive is dropped. It is
            given up when the interface, once up, is set down again, as the kernel's WireGuard and wireguard-go do
    up      the sockets are in use; where they can't be had, it tries again each BIND_RETRY_S, and the log says so

The kernel chooses for port 0 when the interface is set up. This module knows no socket call and no event loop.
"""

import errno
from collections.abc import Callable

from pywg.errors import BindError, UapiError
from pywg.runtime.base.clock import CallLater, TimerHandle, cancel
from pywg.runtime.base.log import Log
from pywg.runtime.base.system import Sockets

BIND_RETRY_S = 1.0
"""Seconds between two attempts to open the sockets of an interface that is up."""

OpenSockets = Callable[[int, int], Sockets]
"""(port, fwmark) -> open sockets; raises BindError."""


class ListenPort:
    """Calls `attach(sockets, first)` to bring sockets into use, in place of those before unless they are the first.

    Calls `try_again` when the device is to call `up` again.
    """

    def __init__(
        self,
        *,
        open_sockets: OpenSockets,
        attach: Callable[[Sockets, bool], None],
        try_again: Callable[[], None],
        call_later: CallLater,
        log: Log,
    ) -> None:
        self.number = 0
        """The port that a get operation shows: of the sockets, or of those to be opened; 0 for any."""
        self.fwmark = 0
        self._open_sockets = open_sockets
        self._attach = attach
        self._try_again = try_again
        self._call_later = call_later
        self._log = log
        self._asked = 0
        self._wanted_up = False
        self.sockets: Sockets | None = None
        """Open sockets, whether in use or held."""
        self._retry: TimerHandle | None = None
        self._trouble = ""

    @property
    def in_use(self) -> bool:
        """Whether there are sockets that `attach` got."""
        return self._wanted_up and self.sockets is not None

    @property
    def asked(self) -> int:
        """The number that was asked for; 0 for any."""
        return self._asked

    def resume(self, number: int, asked: int, fwmark: int, sockets: Sockets | None, *, up: bool) -> None:
        """Goes on with what another process has had. Nothing gets the sockets from here."""
        self.number, self._asked, self.fwmark, self.sockets, self._wanted_up = number, asked, fwmark, sockets, up

    def resolve(self, number: int | None, fwmark: int | None) -> Sockets | None:
        """New sockets, open beside the present ones, where a change asks for them (None: it doesn't mention that).

        None when the present ones stay; a new mark is then on them. Raises UapiError, and nothing has changed.
        """
        mark = self.fwmark if fwmark is None else fwmark
        sockets = self.sockets
        try:
            if number is not None and (number or self._wanted_up) and (sockets is None or number != sockets.port):
                return self._open_sockets(number, mark)
            if mark != self.fwmark:
                if sockets is not None:
                    sockets.set_mark(mark)
                else:
                    self._open_sockets(0, mark).close()
        except BindError as error:
            raise UapiError(str(error.strerror), errno=error.errno or errno.EIO) from error
        return None

    def apply(self, number: int | None, fwmark: int | None, sockets: Sockets | None) -> None:
        """Applies the same change, with the sockets that `resolve` returned for it. Can't fail."""
        if fwmark is not None:
            self.fwmark = fwmark
        if number is not None:
            self.number = self._asked = number
        if sockets is not None:
            self._take(sockets)
        elif number == 0 and not self._wanted_up:
            self._close_sockets()

    def up(self) -> None:
        """The interface is up: brings the held sockets into use, or new ones."""
        self._wanted_up = True
        cancel(self._retry)
        held, self.sockets = self.sockets, None
        if held is not None:
            held.use()
            self._take(held)
            return
        try:
            sockets = self._open_again()
        except BindError as error:
            trouble = str(error.strerror)
            if trouble != self._trouble:
                self._log.error(f"{trouble}; trying again each {BIND_RETRY_S:g} s")
            self._trouble = trouble
            self._retry = self._call_later(BIND_RETRY_S, self._try_again)
            return
        if self._trouble:
            self._log.error(f"UDP port {sockets.port} is open now")
        self._take(sockets)

    def down(self) -> None:
        """The interface is down: closes sockets in use, which no thread may use any more. Held sockets stay."""
        if not self._wanted_up:
            return
        self._wanted_up = False
        self._trouble = ""
        cancel(self._retry)
        self._close_sockets()

    def rebind(self) -> bool:
        """Opens the sockets again, beside the present ones and on the same port. False when they can't be had."""
        if self.sockets is None:
            return True
        try:
            sockets = self._open_sockets(self.sockets.port, self.fwmark)
        except BindError as error:
            self._log.debug(str(error.strerror))
            return False
        self._take(sockets)
        return True

    def close(self) -> None:
        """Goes down, and holds nothing. Idempotent."""
        self.down()
        self._close_sockets()

    def _take(self, sockets: Sockets) -> None:
        old, self.sockets = self.sockets, sockets
        self.number = sockets.port
        if self._wanted_up:
            self._trouble = ""
            cancel(self._retry)
            self._attach(sockets, old is None)
            self._log.debug(f"UDP port {sockets.port}")
        else:
            sockets.hold()
        if old is not None:
            old.close()

    def _open_again(self) -> Sockets:
        """Sockets on the port of before; on any, if another program has it and the operator named no number."""
        try:
            return self._open_sockets(self.number, self.fwmark)
        except BindError as error:
            if self._asked or not self.number or error.errno != errno.EADDRINUSE:
                raise
        return self._open_sockets(0, self.fwmark)

    def _close_sockets(self) -> None:
        if self.sockets is not None:
            self.sockets.close()
            self.sockets = None
