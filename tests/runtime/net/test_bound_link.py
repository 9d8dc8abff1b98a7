"""The device that the sockets are bound to, gone and back, on the virtual clock."""

import errno
import io
from collections.abc import Callable

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.bound_link import BoundLink
from pywg.runtime.net.routes import DEBOUNCE_S, RECHECK_S, RouteWatcher
from tests.lines import StreamOutput
from tests.runtime.device_harness import FakeTimers
from tests.runtime.route_harness import FakeDevice, FakeKernel, FakeLoop, refusal


class Harness(FakeDevice):
    """A device without peers, and its watcher; `index` is what the bound device's name stands for, 0 for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = FakeTimers()
        self.loop = FakeLoop(self.timers)
        self.kernel = FakeKernel()
        self.text = io.StringIO()
        self.index = 7
        self.bound_ifindex = 7
        self.can_rebind = True
        self.rebound = 0
        self.look_through(self._index_of)

    def look_through(self, index_of: Callable[[bytes], int]) -> None:
        log = Log("wg0", Level.INFO, output=StreamOutput(self.text))
        self.watcher = RouteWatcher(
            self,
            log,
            bound=BoundLink(self, "eth7", log, index_of=index_of),
            open_hints=self.kernel.listen,
            open_questions=lambda: self.kernel,
        )
        self.watcher.start(self.loop)

    def _index_of(self, name: bytes) -> int:
        assert name == b"eth7"
        if not self.index:
            raise refusal(errno.ENODEV)
        return self.index

    def rebind(self) -> bool:
        self.rebound += 1
        if self.can_rebind:
            self.bound_ifindex = self.index
        return self.can_rebind

    def hint(self) -> None:
        if self.loop.reader is not None:
            self.loop.reader()


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_same_device_is_left_alone(harness: Harness) -> None:
    for _ in range(3):
        harness.hint()
        harness.timers.advance(DEBOUNCE_S)
    assert (harness.rebound, harness.text.getvalue()) == (0, "")


def test_gone_and_back_with_another_index(harness: Harness) -> None:
    harness.index = 0
    for _ in range(3):
        harness.hint()
        harness.timers.advance(1)
    assert harness.rebound == 0
    assert harness.text.getvalue().count("is gone") == 1
    harness.index = 9
    for _ in range(3):
        harness.hint()
    harness.timers.advance(DEBOUNCE_S)
    assert (harness.rebound, harness.bound_ifindex) == (1, 9)
    assert harness.text.getvalue().count("INFO: ") == 1
    assert harness.timers.pending() == []


def test_back_between_two_looks(harness: Harness) -> None:
    harness.index = 9
    harness.hint()
    harness.timers.advance(DEBOUNCE_S)
    assert harness.rebound == 1


def test_again_while_its_address_is_not_there(harness: Harness) -> None:
    harness.index, harness.can_rebind = 9, False
    harness.hint()
    harness.timers.advance(DEBOUNCE_S + 3 * RECHECK_S)
    assert harness.rebound == 4
    harness.can_rebind = True
    harness.timers.advance(10 * RECHECK_S)
    assert harness.rebound == 5
    assert harness.timers.pending() == []


def test_nothing_to_bind_while_the_interface_is_down(harness: Harness) -> None:
    harness.index, harness.bound_ifindex = 9, 0
    harness.hint()
    harness.timers.advance(1)
    assert harness.rebound == 0


def test_close_while_a_look_is_due(harness: Harness) -> None:
    harness.index = 9
    harness.hint()
    harness.watcher.close()
    harness.watcher.close()
    harness.timers.advance(1)
    assert (harness.rebound, harness.loop.reader) == (0, None)


def test_a_look_that_fails_is_not_the_last(harness: Harness) -> None:
    asked = 0

    def index_of(_name: bytes) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise MemoryError
        return 9

    harness.look_through(index_of)
    harness.hint()
    harness.timers.advance(DEBOUNCE_S + RECHECK_S)
    assert harness.rebound == 1


def test_peers_are_looked_at_through_the_new_sockets(harness: Harness) -> None:
    """A source that the old device had is not right on the new one."""
    harness.add(1, "192.0.2.1", "198.51.100.1", 7)
    harness.kernel.routes["192.0.2.1"] = 9
    harness.index = 9
    harness.hint()
    harness.timers.advance(DEBOUNCE_S)
    assert harness.cleared == [1]
    assert [attributes["RTA_OIF"] for _, _, attributes in harness.kernel.asked] == [9]


def test_without_rtnetlink_it_says_so(harness: Harness) -> None:
    def refuse(*_: object) -> FakeKernel:
        raise refusal(errno.EPERM)

    text = io.StringIO()
    log = Log("wg0", Level.WARNING, output=StreamOutput(text))
    watcher = RouteWatcher(harness, log, bound=BoundLink(harness, "eth7", log), open_hints=refuse)
    watcher.start(FakeLoop(FakeTimers()))
    watcher.close()
    assert "eth7 can't be followed" in text.getvalue()
