"""Linux as a System whose interface is in another network namespace, which another process has made for it.

The UDP sockets, and what watches routes to the peers, are in the namespace of the daemon. The interface is up with its
MTU before the daemon has it, and nobody there has the right to change it: so there is nothing to watch.
"""

from collections.abc import Callable

from pywg.runtime.base.log import Log
from pywg.runtime.base.reader import Loop
from pywg.runtime.base.system import LinkState
from pywg.runtime.daemon.linux import Linux


class InterfaceElsewhere(Linux):
    """See base/system.py. `raw4` and `raw6` are raw sockets in its namespace, this object's; -1 for none."""

    def __init__(self, *, mtu: int, raw4: int, raw6: int) -> None:
        self._mtu = mtu
        self._raw = raw4, raw6

    def link_watcher(  # type: ignore[override]
        self, _tun_fd: int, changed: Callable[[LinkState], None], _gone: Callable[[], None], _log: Log
    ) -> "_UpForGood":
        return _UpForGood(self._mtu, changed)

    def unreachables(self, _log: Log) -> "_Given":  # type: ignore[override]
        return _Given(*self._raw)


class _UpForGood:
    def __init__(self, mtu: int, changed: Callable[[LinkState], None]) -> None:
        self._state = LinkState(up=True, mtu=mtu)
        self._changed = changed

    def start(self, loop: Loop) -> None:
        loop.call_soon(lambda: self._changed(self._state))

    def close(self) -> None:
        pass


class _Given:
    def __init__(self, fd4: int, fd6: int) -> None:
        self.fd4 = fd4
        self.fd6 = fd6

    def close(self) -> None:
        """They end with the process."""
