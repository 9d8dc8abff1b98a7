"""A timer on CLOCK_BOOTTIME. A sleep is a clock that is further than the timer is: virtual here, as in a real one."""

import asyncio
import errno
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pywg.runtime.base import clock
from pywg.runtime.base.clock import TimerHandle
from pywg.runtime.base.libc import timerfd_create, timerfd_set_at
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.reader import RETRY_S
from pywg.runtime.daemon import boot_timer
from pywg.runtime.daemon.boot_timer import LONGEST_SLEEP_S, BootTimer
from tests.lines import StreamOutput
from tests.requirements import require_root, require_tool

LOG = Log("wg0", Level.SILENT, output=StreamOutput())
pytestmark = pytest.mark.dropin("time")


class FakeLoop:
    """The descriptor's callback, to be called by the test, and a call_later of its own."""

    def __init__(self) -> None:
        self.fd = -1
        self.reader: Callable[[], None] | None = None
        self.called: list[tuple[float, Callable[[], None]]] = []
        self.errors: list[Exception] = []

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.fd, self.reader = fd, callback

    def remove_reader(self, fd: int) -> None:
        assert fd == self.fd
        self.reader = None

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.called.append((0.0, callback))

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Handle":
        self.called.append((delay, callback))
        return Handle()

    def call_exception_handler(self, context: dict[str, Exception]) -> None:
        self.errors.append(context["exception"])


class Handle:
    def cancel(self) -> None:
        """Nothing is called by itself here."""


class Harness:
    """`now` is the protocol's clock; what the timerfd is set to is in `set`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.set: list[float] = []
        self.came: list[str] = []
        self.loop = FakeLoop()
        monkeypatch.setattr(clock, "now", lambda: self.now)
        monkeypatch.setattr(boot_timer, "timerfd_set_at", lambda _fd, at: self.set.append(at))
        self.timer = BootTimer(self.loop, LOG)

    def later(self, delay: float, name: str) -> TimerHandle:
        return self.timer.call_later(delay, lambda: self.came.append(name))

    def expire(self, now: float) -> list[str]:
        self.now = now
        self.came.clear()
        assert self.loop.reader is not None
        self.loop.reader()
        return self.came


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    harness = Harness(monkeypatch)
    yield harness
    harness.timer.close()


def test_the_last_is_what_it_is_set_to(harness: Harness) -> None:
    harness.later(10, "ten")
    harness.later(30, "thirty")
    harness.later(5, "five")
    assert harness.set == [1010, 1030, 1005]
    assert harness.expire(1005) == ["five"]
    assert harness.expire(1030) == []


def test_what_fell_due_in_a_sleep_comes_at_once(harness: Harness) -> None:
    harness.later(120, "rekey")
    assert harness.expire(1000 + 3600) == ["rekey"]


def test_too_early_is_not_due(harness: Harness) -> None:
    """As after the timer before it expired, in the same turn of the loop."""
    harness.later(10, "ten")
    assert harness.expire(1009) == []
    assert harness.expire(1010) == ["ten"]
    assert harness.set == [1010, 1010]


def test_cancelled(harness: Harness) -> None:
    harness.later(5, "never").cancel()
    assert harness.expire(1005) == []
    harness.later(6, "once")
    assert harness.expire(1011) == ["once"]
    assert harness.expire(1012) == []


def test_a_callback_that_fails_does_not_stop_the_timer(harness: Harness) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    harness.timer.call_later(1, fail)
    assert harness.expire(1001) == []
    assert [type(error) for error in harness.loop.errors] == [ZeroDivisionError]
    harness.later(9, "after it")
    assert harness.expire(1010) == ["after it"]


def test_a_timerfd_that_can_not_be_set_is_the_loops_until_it_can(harness: Harness) -> None:
    refused: list[float] = []

    def refuse(_fd: int, at: float) -> None:
        refused.append(at)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    patch = pytest.MonkeyPatch()
    patch.setattr(boot_timer, "timerfd_set_at", refuse)
    harness.later(5, "five")
    assert refused == [1005]
    (delay, callback), *_ = harness.loop.called
    assert delay == 5
    harness.now = 1005
    callback()
    assert harness.came == ["five"]
    harness.later(3600, "later")
    delay, callback = harness.loop.called[-1]
    assert delay == LONGEST_SLEEP_S
    patch.undo()
    callback()
    assert harness.set[-1] == 4605


def test_a_timerfd_that_can_not_be_read_rests(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.later(5, "five")
    monkeypatch.setattr(os, "read", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "odd")))
    assert harness.loop.reader is not None
    harness.loop.reader()
    assert harness.loop.reader is None
    delay, start = harness.loop.called[-1]
    assert delay == RETRY_S
    monkeypatch.undo()
    monkeypatch.setattr(clock, "now", lambda: 1005.0)
    start()
    assert harness.loop.reader is not None
    harness.loop.reader()
    assert harness.came == ["five"]


def test_a_callback_may_close_and_set(harness: Harness) -> None:
    def set_again() -> None:
        harness.later(0, "again")

    harness.timer.call_later(1, set_again)
    harness.expire(1001)
    assert harness.expire(1001) == ["again"]
    harness.timer.call_later(1, harness.timer.close)
    harness.expire(1002)
    assert harness.loop.reader is None


def test_without_a_timerfd_it_is_the_loops_and_no_sleep_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_clock: int) -> int:
        raise OSError

    monkeypatch.setattr(boot_timer, "timerfd_create", refuse)
    monkeypatch.setattr(clock, "now", lambda: 1000.0)
    loop = FakeLoop()
    timer = BootTimer(loop, LOG)
    for delay in (3.0, 3600.0):
        timer.call_later(delay, print)
    timer.close()
    assert [delay for delay, _ in loop.called] == [3.0, LONGEST_SLEEP_S]


def test_the_descriptor_is_readable_when_the_time_has_come_or_is_past() -> None:
    fd = timerfd_create(time.CLOCK_BOOTTIME)
    try:
        timerfd_set_at(fd, clock.now() + 3600)
        assert not select.select([fd], [], [], 0)[0]
        timerfd_set_at(fd, 0)
        assert not select.select([fd], [], [], 0)[0]
        for at in (clock.now() - 3600, 1e-9, clock.now() + 0.01):
            timerfd_set_at(fd, at)
            assert select.select([fd], [], [], 20)[0]
            assert os.read(fd, 8)
    finally:
        os.close(fd)


def test_in_a_real_loop() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        timer = BootTimer(loop, LOG)
        came: list[int] = []
        done = loop.create_future()

        def first() -> None:
            came.append(1)
            timer.call_later(0.005, last)

        def last() -> None:
            came.append(2)
            done.set_result(None)

        timer.call_later(3600, lambda: came.append(0))
        timer.call_later(0.01, first)
        await asyncio.wait_for(done, 20)
        timer.close()
        return came

    assert asyncio.run(main()) == [1, 2]


@pytest.mark.netns
def test_clock_of_a_machine_that_has_been_up_for_30_years() -> None:
    """In a time namespace: timers and the data plane's clock have its offset, and their arithmetic holds."""
    require_root()
    require_tool("unshare")
    offset = 1_000_000_000
    command = ["unshare", "--time", "--boottime", str(offset), "--"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.xfail("this kernel has no time namespaces")
    program = f"""
import select, time
from pywg import _fastpath
from pywg.runtime.base import clock
from pywg.runtime.base.clock import TimerHandle
from pywg.runtime.base.libc import timerfd_create, timerfd_set_at
assert clock.now() > {offset}
assert abs(_fastpath.now() - clock.now()) < 20
fd = timerfd_create(clock.CLOCK)
timerfd_set_at(fd, clock.now() + 3600)
assert not select.select([fd], [], [], 0)[0]
timerfd_set_at(fd, clock.now() + 0.01)
assert select.select([fd], [], [], 20)[0]
"""
    subprocess.run([*command, sys.executable, "-c", program], check=True, timeout=60)
