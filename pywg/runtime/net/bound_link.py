"""The device that the UDP sockets are bound to. When one of its name comes back, they are opened again."""

import os
from collections.abc import Callable

from pywg.config.addresses import interface_index
from pywg.runtime.base.log import Log
from pywg.runtime.base.system import Sources


class BoundLink:
    """Keeps `bound` on the device called `name`. RouteWatcher calls `look` when links or addresses change."""

    def __init__(
        self, bound: Sources, name: str, log: Log, *, index_of: Callable[[bytes], int] = interface_index
    ) -> None:
        self._bound = bound
        self.name = name
        self._log = log
        self._index_of = index_of
        self._there = True

    def look(self) -> bool:
        """False when the device is there and its address is not yet: the caller looks again."""
        try:
            index = self._index_of(os.fsencode(self.name))
        except OSError:
            index = 0
        if self._there and not index:
            self._log.warning(f"device {self.name} is gone: nothing is sent or received until it is back")
        self._there = bool(index)
        if not index or self._bound.bound_ifindex in (0, index):
            return True
        if not self._bound.rebind():
            return False
        self._log.info(f"device {self.name} is back: the UDP sockets are bound to it again")
        return True
