"""A route watcher with everything around it fake: the device, the kernel, the loop."""

import errno
import io
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pywg.core.events import Endpoint
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.reader import Loop, Reader
from pywg.runtime.net.netlink import Hints, Questions
from pywg.runtime.net.routes import DEBOUNCE_S, RouteWatcher
from tests.lines import StreamOutput
from tests.runtime.device_harness import FakeTimer, FakeTimers

RTM_GETADDR, RTM_GETROUTE = 22, 26


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class FakeDevice:
    """Peers by id: where they are, and by what address and interface of ours."""

    def __init__(self) -> None:
        self.fwmark = 0
        self.bound_ifindex = 0
        self.addrs: dict[int, Endpoint | None] = {}
        self.cleared: list[int] = []
        self.checks = 0
        self.looked_at = 0

    def add(self, peer: int, remote: str, local: str = "", ifindex: int = 0, scope: int = 0) -> None:
        self.addrs[peer] = Endpoint(packed(remote), 51820, scope, packed(local) if local else b"", ifindex)

    def peers(self) -> list[int]:
        self.checks += 1
        self.looked_at = 0
        return list(self.addrs)

    def endpoint(self, peer: int) -> Endpoint | None:
        self.looked_at += 1
        return self.addrs.get(peer)

    def rebind(self) -> bool:
        return True

    def clear_source(self, peer: int) -> None:
        self.cleared.append(peer)
        addr = self.addrs[peer]
        assert addr is not None
        self.addrs[peer] = Endpoint(*addr[:3])


class Answer(dict[str, int]):
    """A decoded message."""

    def get_attr(self, name: str) -> int | None:
        return self.get(name)


@dataclass
class FakeKernel(Hints, Questions):
    """Answers to routes by destination (an interface's index, or an errno), and the addresses that are assigned."""

    routes: dict[str, int | OSError] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asked: list[tuple[int, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    taken: int = 0
    closed: int = 0
    cost: Callable[[], None] = lambda: None

    def listen(self, _groups: int, loop: Loop, heard: Callable[[], None], log: Log) -> "FakeKernel":
        self._reader = Reader(loop, 99, heard, what="rtnetlink", log=log)
        self._reader.start()
        return self

    def put(self, question: bytearray, form: Any) -> Answer:
        message = form.decode(bytes(question))
        kind, attributes = message.kind, message.attributes
        self.asked.append((kind, message, attributes))
        self.cost()
        if kind == RTM_GETADDR:
            if attributes["IFA_ADDRESS"] in self.gone:
                raise refusal(errno.EADDRNOTAVAIL)
            return Answer()
        route = self.routes[str(attributes["RTA_DST"])]
        if isinstance(route, OSError):
            raise route
        return Answer({"RTA_OIF": route})

    def questions(self, kind: int) -> list[dict[str, Any]]:
        return [attributes for asked, _, attributes in self.asked if asked == kind]

    def take_all(self) -> None:
        self.taken += 1

    def close(self) -> None:
        self.closed += 1
        if self.closed == 1 and hasattr(self, "_reader"):
            self._reader.close()


def refusal(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeLoop:
    """One descriptor and the virtual clock."""

    def __init__(self, timers: FakeTimers) -> None:
        self._timers = timers
        self.reader: Callable[[], None] | None = None

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        assert fd == 99
        self.reader = callback

    def remove_reader(self, fd: int) -> None:
        assert fd == 99
        self.reader = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        return self._timers.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._timers.call_later(0.0, callback)

    def call_exception_handler(self, context: dict[str, Exception]) -> NoReturn:
        raise AssertionError(context)


class RouteHarness:
    """A watcher with everything around it fake. Asking takes `cost` seconds of its clock."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.loop = FakeLoop(self.timers)
        self.device = FakeDevice()
        self.kernel = FakeKernel()
        self.text = io.StringIO()
        self.work = 0.0
        self.watcher = RouteWatcher(
            self.device,
            Log("wg0", Level.DEBUG, output=StreamOutput(self.text)),
            open_hints=self.kernel.listen,
            open_questions=lambda: self.kernel,
            now=lambda: self.work,
        )
        self.watcher.start(self.loop)

    def costly(self, seconds: float) -> None:
        def cost() -> None:
            self.work += seconds

        self.kernel.cost = cost

    def hint(self) -> None:
        assert self.loop.reader is not None, "it doesn't listen"
        self.loop.reader()

    def check(self) -> list[int]:
        """The peers whose sources were dropped because of one hint."""
        self.device.cleared.clear()
        self.hint()
        self.timers.advance(DEBOUNCE_S)
        return self.device.cleared
