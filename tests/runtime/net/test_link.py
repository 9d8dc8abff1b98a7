"""Following an interface: what is heard, and that nothing is missed. dropin: 5, 12."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.base.system import LinkState
from pywg.runtime.net.link import LinkWatcher
from pywg.runtime.net.tun import open_tun
from tests.lines import StreamOutput
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside, unique

LOG = Log("wg0", Level.SILENT, output=StreamOutput())
pytestmark = pytest.mark.netns
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _requirements() -> None:
    require_root()
    require_tool("ip")


class Watched:
    """A TUN, a watcher on it, and what it said so far."""

    def __init__(self) -> None:
        self.tun = open_tun("wg0")
        self.states: list[LinkState] = []
        self.gone = 0
        self.watcher = LinkWatcher(self.tun.fd, self.states.append, self._on_gone, LOG)

    def _on_gone(self) -> None:
        self.gone += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def until_state(self, up: bool, mtu: int, *, here: bool = True) -> None:
        await self.until(lambda: self.states[-1:] == [LinkState(up, mtu, here)])


def watched(test: Callable[[Watched], Awaitable[None]]) -> None:
    """Runs the coroutine `test(watched)` in a namespace and a loop of its own."""

    async def main() -> None:
        subject = Watched()
        subject.watcher.start(asyncio.get_running_loop())
        try:
            await test(subject)
        finally:
            subject.watcher.close()
            subject.tun.close()

    run_inside(lambda: asyncio.run(main()))


def test_the_first_state_is_told_before_anything_else_is_waited_for() -> None:
    async def test(subject: Watched) -> None:
        await asyncio.sleep(0)
        assert subject.states == [LinkState(False, 1420)]

    watched(test)


@pytest.mark.dropin("12")
def test_up_down_and_mtu() -> None:
    async def test(subject: Watched) -> None:
        ip("link", "set", "wg0", "up")
        await subject.until_state(True, 1420)
        ip("link", "set", "wg0", "mtu", "1280")
        await subject.until_state(True, 1280)
        ip("link", "set", "wg0", "down")
        await subject.until_state(False, 1280)

    watched(test)


def test_the_same_state_is_told_once_and_others_are_not_ours() -> None:
    async def test(subject: Watched) -> None:
        await subject.until_state(False, 1420)
        ip("link", "add", "other0", "type", "veth")
        ip("link", "set", "other0", "up")
        ip("link", "set", "wg0", "txqueuelen", "100")
        ip("link", "set", "wg0", "up")
        await subject.until_state(True, 1420)
        assert subject.states == [LinkState(False, 1420), LinkState(True, 1420)]

    watched(test)


def test_a_renamed_interface_is_followed() -> None:
    async def test(subject: Watched) -> None:
        ip("link", "set", "wg0", "name", "wg9")
        ip("link", "set", "wg9", "mtu", "1300", "up")
        await subject.until_state(True, 1300)

    watched(test)


@pytest.mark.dropin("12")
def test_an_interface_in_another_namespace_is_followed() -> None:
    async def test(subject: Watched) -> None:
        namespace = unique("pywg-link-")
        ip("netns", "add", namespace)
        try:
            ip("link", "set", "wg0", "up")
            await subject.until_state(True, 1420)
            ip("link", "set", "wg0", "netns", namespace)
            await subject.until_state(False, 1420, here=False)
            ip("link", "add", "wg0", "type", "veth")  # a stranger with its old name
            ip("link", "set", "wg0", "up")
            ip("-n", namespace, "link", "set", "wg0", "mtu", "1350", "up")
            await subject.until_state(True, 1350, here=False)
            assert subject.gone == 0
            ip("-n", namespace, "link", "del", "wg0")
            await subject.until(lambda: subject.gone == 1)
        finally:
            ip("netns", "del", namespace)

    watched(test)


@pytest.mark.dropin("5")
def test_deletion_is_told_once() -> None:
    async def test(subject: Watched) -> None:
        ip("link", "del", "wg0")
        await subject.until(lambda: subject.gone > 0)
        ip("link", "add", "other0", "type", "veth")
        await asyncio.sleep(0)
        assert subject.gone == 1

    watched(test)


def test_a_storm_of_changes_ends_with_the_truth() -> None:
    async def test(subject: Watched) -> None:
        for mtu in range(1300, 1340):
            ip("link", "set", "wg0", "mtu", str(mtu))
        ip("link", "set", "wg0", "up")
        await subject.until_state(True, 1339)

    watched(test)
