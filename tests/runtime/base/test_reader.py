"""Descriptors in the event loop: an error of a callback is told, and makes nothing end or spin."""

import asyncio
import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from pywg.runtime.base import reader
from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.reader import Reader
from pywg.runtime.base.system import LinkState
from pywg.runtime.net import netlink
from pywg.runtime.net.link import LinkWatcher
from pywg.runtime.net.netlink import Hints, Questions
from pywg.runtime.net.routes import RouteWatcher
from tests.lines import StreamOutput

ODD = [OSError(errno.EIO, "odd"), OSError(errno.EINVAL, "odd"), MemoryError("odd"), KeyError("odd")]


class Harness:
    def __init__(self) -> None:
        self.text = io.StringIO()
        self.log = Log("wg0", Level.ERROR, output=StreamOutput(self.text))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
def harness() -> Harness:
    return Harness()


class Lying(Questions):
    """A netlink socket that is always readable, and of which nothing can be read but an error."""

    def __init__(self) -> None:
        self.fd = os.eventfd(1, os.EFD_NONBLOCK)
        self.reads = 0
        self.error: OSError | None = OSError(errno.EIO, "odd")

    def fileno(self) -> int:
        return self.fd

    def recv(self, _length: int) -> bytes:
        self.reads += 1
        if self.error is not None:
            raise self.error
        os.eventfd_read(self.fd)
        return b"x"

    def setsockopt(self, *_: object) -> None:
        """Takes all."""

    def put(self, *_: object) -> NoReturn:
        raise AssertionError("nothing is asked")

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    sock = Lying()
    monkeypatch.setattr(netlink, "_open", lambda groups: sock)
    yield sock
    sock.close()


def test_what_the_kernel_does_not_take_back_at_once_is_tried_again(harness: Harness) -> None:
    """After `pause`, where there is nobody any more who could be told of a refusal: a daemon that has taken over."""
    calls: list[int] = []

    class Full:
        refusals = 3
        added = 0

        def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
            self.refusals -= 1
            if self.refusals >= 0:
                raise OSError(errno.ENOSPC, "no watches")
            self.added += 1

        def remove_reader(self, fd: int, /) -> None:
            """Nothing was added."""

        def call_soon(self, callback: Callable[[], None], /) -> None:
            callback()

        def call_later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
            calls.append(len(calls))
            later.append(callback)
            return asyncio.TimerHandle(0.0, callback, (), asyncio.SelectorEventLoop())

        def call_exception_handler(self, context: dict[str, object], /) -> None:
            raise AssertionError(context)

    later: list[Callable[[], None]] = []
    loop = Full()
    one = Reader(loop, 0, lambda: None, what="here", log=harness.log)
    with pytest.raises(OSError, match="no watches"):
        one.start()
    one.go_on()
    while later:
        later.pop()()
    assert (loop.added, len(calls)) == (1, 2)
    assert "here: no watches; trying again" in harness.text.getvalue()


@pytest.mark.parametrize("error", ODD, ids=repr)
def test_a_callback_that_fails_is_told_rests_and_is_called_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        fd = os.eventfd(1, os.EFD_NONBLOCK)
        calls: list[int] = []

        def ready() -> None:
            calls.append(1)
            if len(calls) < 3:
                raise error
            os.eventfd_read(fd)

        subject = Reader(loop, fd, ready, what="something", log=harness.log)
        subject.start()
        monkeypatch.setattr(reader, "RETRY_S", 3600.0)
        await harness.until(lambda: len(calls) == 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(calls) == 1
        monkeypatch.setattr(reader, "RETRY_S", 0.0)
        subject.start()
        await harness.until(lambda: len(calls) == 3)
        os.eventfd_write(fd, 1)
        await harness.until(lambda: len(calls) == 4)
        subject.close()
        os.close(fd)
        assert harness.text.getvalue().count("something: ") == 2
        assert "odd" in harness.text.getvalue()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["pause", "close"])
def test_a_callback_that_fails_may_pause_or_close_first(harness: Harness, what: str) -> None:
    async def main() -> None:
        fd = os.eventfd(1, os.EFD_NONBLOCK)
        calls: list[int] = []

        def ready() -> None:
            calls.append(1)
            getattr(subject, what)()
            raise OSError(errno.EIO, "odd")

        subject = Reader(asyncio.get_running_loop(), fd, ready, what="something", log=harness.log)
        subject.start()
        await harness.until(lambda: bool(calls))
        subject.close()
        await asyncio.sleep(0)
        os.close(fd)
        assert len(calls) == 1

    asyncio.run(main())


def test_a_listener_that_can_not_read_tells_and_listens_on(harness: Harness, lying: Lying) -> None:
    async def main() -> None:
        heard: list[int] = []

        def take() -> None:
            heard.append(1)
            hints.take_all()

        hints = Hints(1, asyncio.get_running_loop(), take, harness.log)
        await harness.until(lambda: len(heard) == 2)
        assert lying.reads == 2  # one a call: such an error is not taken for a lost hint
        lying.error = BlockingIOError()
        await harness.until(lambda: len(heard) >= 3)
        hints.close()
        assert "rtnetlink: odd" in harness.text.getvalue()

    asyncio.run(main())


def test_the_state_of_the_interface_is_asked_for_again(
    harness: Harness, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel had no memory to tell, and where what is told was not taken."""
    monkeypatch.setattr("pywg.runtime.net.link.RECHECK_S", 0.001)
    errors = [OSError(errno.ENOBUFS, "odd"), OSError(errno.EPROTO, "odd")]
    told: list[LinkState] = []

    def read_state(_fd: int, _questions: object) -> LinkState:
        if errors:
            raise errors.pop(0)
        return LinkState(up=True, mtu=1420)

    def changed(state: LinkState) -> None:
        told.append(state)
        if len(told) == 1:
            raise MemoryError

    monkeypatch.setattr("pywg.runtime.net.link.read_state", read_state)

    async def main() -> None:
        lying.error = BlockingIOError()
        watcher = LinkWatcher(0, changed, lambda: None, harness.log)
        watcher.start(asyncio.get_running_loop())
        await harness.until(lambda: len(told) == 2)
        watcher.close()
        assert told == [LinkState(up=True, mtu=1420)] * 2
        assert "the interface's state: odd" in harness.text.getvalue()
        assert "the interface's state: MemoryError" in harness.text.getvalue()

    asyncio.run(main())


class Sources:
    fwmark = bound_ifindex = 0

    def __init__(self) -> None:
        self.asked = 0

    def peers(self) -> list[int]:
        self.asked += 1
        if self.asked == 1:
            raise MemoryError
        return []

    def endpoint(self, peer: int) -> None:
        raise KeyError(peer)

    def clear_source(self, peer: int) -> None:
        raise KeyError(peer)

    def rebind(self) -> bool:
        return True


@pytest.mark.parametrize("readable", [True, False])
def test_routes_are_watched_on(harness: Harness, lying: Lying, monkeypatch: pytest.MonkeyPatch, readable: bool) -> None:
    monkeypatch.setattr("pywg.runtime.net.routes.RECHECK_S", 0.001)
    monkeypatch.setattr("pywg.runtime.net.routes.DEBOUNCE_S", 0.001)
    if readable:
        lying.error = BlockingIOError()
    sources = Sources()

    async def main() -> None:
        watcher = RouteWatcher(sources, harness.log, open_questions=lambda: lying)
        watcher.start(asyncio.get_running_loop())
        await harness.until(lambda: sources.asked >= 3)
        watcher.close()
        assert "route changes: MemoryError" in harness.text.getvalue()
        assert ("rtnetlink: odd" in harness.text.getvalue()) == (not readable)

    asyncio.run(main())
