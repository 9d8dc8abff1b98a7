"""The device that the sockets are bound to, gone and back, on the virtual clock."""

import errno
import io

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.bound_link import DEBOUNCE_S, RECHECK_S, BoundLink
from tests.runtime.device_bed import Bed as DeviceBed
from tests.runtime.device_bed import Timers
from tests.runtime.route_bed import FakeKernel, FakeLoop, refusal


class Bed:
    """A watcher; `index` is what the device's name stands for, 0 for nothing."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.loop = FakeLoop(self.timers)
        self.kernel = FakeKernel()
        self.text = io.StringIO()
        self.index = 7
        self.bound_ifindex = 7
        self.can_rebind = True
        self.rebound = 0
        self.link = BoundLink(
            self,
            "eth7",
            Log("wg0", Level.INFO, stream=self.text),
            open_hints=lambda groups: self.kernel,
            index_of=self._index_of,
        )
        self.link.start(self.loop)

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
        assert self.loop.reader is not None
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
    bed.link.close()
    bed.link.close()
    bed.timers.advance(1)
    assert (bed.rebound, bed.kernel.closed, bed.loop.reader) == (0, 1, None)


def test_without_rtnetlink_it_says_so() -> None:
    def refuse(_groups: int) -> FakeKernel:
        raise refusal(errno.EPERM)

    text = io.StringIO()
    link = BoundLink(DeviceBed().device, "eth7", Log("wg0", Level.WARNING, stream=text), open_hints=refuse)
    link.start(FakeLoop(Timers()))
    link.close()
    assert "eth7 can't be followed" in text.getvalue()
