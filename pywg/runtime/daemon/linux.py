"""Linux as a System: the one module of the daemon that knows net/ and confine/."""

from pywg.runtime.base.log import Log
from pywg.runtime.base.system import Sources, System
from pywg.runtime.confine.identity import may_become
from pywg.runtime.confine.sandbox import Sandbox
from pywg.runtime.net import kernel
from pywg.runtime.net.bound_link import BoundLink
from pywg.runtime.net.link import LinkWatcher
from pywg.runtime.net.refusal import Refusals
from pywg.runtime.net.routes import RouteWatcher
from pywg.runtime.net.sockets import adopt_sockets, open_sockets
from pywg.runtime.net.steering import spread, spread_already
from pywg.runtime.net.tun import adopt_tun, open_tun, take_tun
from pywg.runtime.net.unreachable import Unreachables


class Linux:
    """See base/system.py."""

    open_tun = staticmethod(open_tun)
    take_tun = staticmethod(take_tun)
    adopt_tun = staticmethod(adopt_tun)
    spread = staticmethod(spread)
    spread_already = staticmethod(spread_already)
    open_sockets = staticmethod(open_sockets)
    adopt_sockets = staticmethod(adopt_sockets)
    link_watcher = LinkWatcher
    refusals = Refusals
    unreachables = Unreachables
    sandbox = Sandbox
    may_become = staticmethod(may_become)

    def route_watcher(self, sources: Sources, log: Log, *, device: str) -> RouteWatcher:
        return RouteWatcher(sources, log, bound=BoundLink(sources, device, log) if device else None)

    def keep_flows(self, fd: int) -> None:
        from pywg.runtime.net.tun_steering import keep_flows  # noqa: PLC0415 - few daemons have shards

        keep_flows(fd)

    def damages_equal_tail(self) -> bool:
        return kernel.damages_equal_tail(kernel.release())


LINUX: System = Linux()
