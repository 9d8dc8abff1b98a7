"""Follows the device that the UDP sockets are bound to: when one of its name comes back, they are opened again."""

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from pywg.config.addresses import interface_index
from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import tell
from pywg.runtime.net.netlink import Hints, Listener

DEBOUNCE_S = 0.05
"""Seconds from a hint to the look: a device is made, named, addressed and set up in one go."""
RECHECK_S = 1.0
"""Seconds to the next attempt, where the device is there and its address is not yet."""

_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR


class Bound(Protocol):
    """What is bound: the device."""

    @property
    def bound_ifindex(self) -> int:
        """The index of what the sockets are bound to; 0: there are none, or they are bound to none."""

    def rebind(self) -> bool:
        """Opens the sockets again, on the same port. False: that can't be now."""


class BoundLink:
    """Keeps `bound` on the device called `name`, from `start` to `close`. Without rtnetlink it says so, and rests."""

    def __init__(
        self,
        bound: Bound,
        name: str,
        log: Log,
        *,
        open_hints: Callable[[int], Hints] = Hints,
        index_of: Callable[[bytes], int] = interface_index,
    ) -> None:
        self._bound = bound
        self._name = name
        self._log = log
        self._open_hints = open_hints
        self._index_of = index_of
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._there = True

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listens for changes."""
        try:
            hints = self._open_hints(_GROUPS)
        except OSError as error:
            self._log.warning(f"device {self._name} can't be followed (rtnetlink): {error.strerror}")
            return
        self._loop = loop
        self._listener = Listener(hints, loop, self._on_hint, self._log)

    def close(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _on_hint(self) -> None:
        if self._listener is not None:
            self._look_in(DEBOUNCE_S)
            self._listener.take_all()

    def _look_in(self, seconds: float) -> None:
        """A look that is due already is soon enough: hints without end don't put it off."""
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the end
            tell(self._log, f"device {self._name}", error)
            self._look_in(RECHECK_S)

    def _follow(self) -> None:
        try:
            index = self._index_of(os.fsencode(self._name))
        except OSError:
            index = 0
        if self._there and not index:
            self._log.warning(f"device {self._name} is gone: nothing is sent or received until it is back")
        self._there = bool(index)
        bound = self._bound.bound_ifindex
        if index and bound and index != bound:
            if self._bound.rebind():
                self._log.info(f"device {self._name} is back: the UDP sockets are bound to it again")
            else:
                self._look_in(RECHECK_S)
