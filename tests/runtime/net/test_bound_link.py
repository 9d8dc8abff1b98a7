"""The device that the sockets are bound to, gone and back, on the virtual clock."""

import errno
import io
from collections.abc import Callable

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.bound_link import BoundLink
from pywg.runtime.net.routes import DEBOUNCE_S, RECHECK_S, RouteWatcher
from tests.runtime.device_harness import Timers
from tests.runtime.route_harness import FakeDevice, FakeKernel, FakeLoop, refusal


class Bed(FakeDevice):
    """A device without peers, and its watcher; `index` is what the bound device's name stands for, 0 for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.loop = FakeLoop(self.timers)
        self.kernel = FakeKernel()
        self.text = io.StringIO()
        self.index = 7
        self.bound_ifindex = 7
        self.can_rebind = True
        self.rebound = 0
        self.look_through(self._index_of)

    def look_through(self, index_of: Callable[[bytes], int]) -> None:
        log = Log("wg0", Level.INFO, stream=self.text)
        self.watcher = RouteWatcher(
            self,
            log,
            bound=BoundLink(self, "eth7", log, index_of=index_of),
            open_hints=lambda groups: self.kernel,
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
def bed() -> Bed:
    return Bed()


def test_same_device_is_left_alone(bed: Bed) -> None:
    for _ in range(3):
        bed.hint()
        bed.timers.advance(DEBOUNCE_S)
    assert (bed.rebound, bed.text.getvalue()) == (0, "")


def test_gone_and_back_with_another_index(bed: Bed) -> None:
    bed.index = 0
    for _ in range(3):
        bed.hint()
        bed.timers.advance(1)
    assert bed.rebound == 0
    assert bed.text.getvalue().count("is gone") == 1
    bed.index = 9
    for _ in range(3):
        bed.hint()
    bed.timers.advance(DEBOUNCE_S)
    assert (bed.rebound, bed.bound_ifindex) == (1, 9)
    assert bed.text.getvalue().count("INFO: ") == 1
    assert bed.timers.pending() == []


def test_back_between_two_looks(bed: Bed) -> None:
    bed.index = 9
    bed.hint()
    bed.timers.advance(DEBOUNCE_S)
    assert bed.rebound == 1


def test_again_while_its_address_is_not_there(bed: Bed) -> None:
    bed.index, bed.can_rebind = 9, False
    bed.hint()
    bed.timers.advance(DEBOUNCE_S + 3 * RECHECK_S)
    assert bed.rebound == 4
    bed.can_rebind = True
    bed.timers.advance(10 * RECHECK_S)
    assert bed.rebound == 5
    assert bed.timers.pending() == []


def test_nothing_to_bind_while_the_interface_is_down(bed: Bed) -> None:
    bed.index, bed.bound_ifindex = 9, 0
    bed.hint()
    bed.timers.advance(1)
    assert bed.rebound == 0


def test_close_while_a_look_is_due(bed: Bed) -> None:
    bed.index = 9
    bed.hint()
    bed.watcher.close()
    bed.watcher.close()
    bed.timers.advance(1)
    assert (bed.rebound, bed.loop.reader) == (0, None)


def test_a_look_that_fails_is_not_the_last(bed: Bed) -> None:
    asked = 0

    def index_of(_name: bytes) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise MemoryError
        return 9

    bed.look_through(index_of)
    bed.hint()
    bed.timers.advance(DEBOUNCE_S + RECHECK_S)
    assert bed.rebound == 1


def test_peers_are_looked_at_through_the_new_sockets(bed: Bed) -> None:
    """A source that the old device had is not right on the new one."""
    bed.add(1, "192.0.2.1", "198.51.100.1", 7)
    bed.kernel.routes["192.0.2.1"] = 9
    bed.index = 9
    bed.hint()
    bed.timers.advance(DEBOUNCE_S)
    assert bed.cleared == [1]
    assert [attributes["RTA_OIF"] for _, _, attributes in bed.kernel.asked] == [9]


def test_without_rtnetlink_it_says_so(bed: Bed) -> None:
    def refuse(_groups: int) -> FakeKernel:
        raise refusal(errno.EPERM)

    text = io.StringIO()
    log = Log("wg0", Level.WARNING, stream=text)
    watcher = RouteWatcher(bed, log, bound=BoundLink(bed, "eth7", log), open_hints=refuse)
    watcher.start(FakeLoop(Timers()))
    watcher.close()
    assert "eth7 can't be followed" in text.getvalue()
