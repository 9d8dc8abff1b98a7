"""Sticky sources in a namespace: what the kernel says when routes, rules, links and addresses change. dropin: 15."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.routes import RouteWatcher
from tests.lines import StreamOutput
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside
from tests.runtime.route_harness import FakeDevice

pytestmark = pytest.mark.dropin("15")

PATIENCE = 30.0
LOCAL = {4: "10.9.0.1", 6: "fd00:9::1"}
OTHER = {4: "10.9.0.9", 6: "fd00:9::9"}
PEER = {4: "10.9.0.2", 6: "fd00:9::2"}
MARK = 0x77


def with_links(test: Callable[[FakeDevice, int, int], Awaitable[None]]) -> None:
    """Runs the coroutine in a namespace with two links. Peers 4 and 6 came in by the first link, peers 40 and 60 too,
    but to the other address of it."""
    require_root()
    require_tool("ip")

    async def main() -> None:
        for name, addresses in (("one0", ("10.9.0.1/24", "10.9.0.9/24", "fd00:9::1/64", "fd00:9::9/64")), ("two0", ())):
            ip("link", "add", name, "type", "veth", "peer", f"{name}p")
            for end in (f"{name}p", name):  # without addresses that come later, by themselves, and are hints
                ip("link", "set", end, "addrgenmode", "none", "up")
            for address in addresses:
                ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        ip("address", "add", "10.8.0.1/24", "dev", "two0")
        ip("address", "add", "fd00:8::1/64", "dev", "two0", "nodad")
        one, two = socket.if_nametoindex("one0"), socket.if_nametoindex("two0")
        device = FakeDevice()
        for family in (4, 6):
            device.add(family, PEER[family], LOCAL[family], one)
            device.add(family * 10, PEER[family], OTHER[family], one)
        watcher = RouteWatcher(device, Log("wg0", Level.DEBUG, output=StreamOutput()))
        watcher.start(asyncio.get_running_loop())
        try:
            await test(device, one, two)
        finally:
            watcher.close()

    run_inside(lambda: asyncio.run(main()))


async def checked(device: FakeDevice) -> list[int]:
    """Waits for the end of a check that begins from now on, and says whose sources are dropped by then."""
    before = device.checks
    async with asyncio.timeout(PATIENCE):
        while device.checks == before or device.looked_at < len(device.addrs):
            await asyncio.sleep(0.002)
    return sorted(set(device.cleared))


@pytest.mark.netns
@pytest.mark.parametrize("family", [4, 6])
def test_kernel_address_removed(family: int) -> None:
    async def test(device: FakeDevice, one: int, two: int) -> None:
        ip("address", "add", "10.8.0.2/24", "dev", "two0")
        assert await checked(device) == []
        ip("address", "del", LOCAL[family] + {4: "/24", 6: "/64"}[family], "dev", "one0")
        if family == 4:  # the second one of a subnet goes with the first
            ip("address", "add", "10.9.0.9/24", "dev", "one0")
        assert await checked(device) == [family]

    with_links(test)


@pytest.mark.netns
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("change", ["route", "unreachable", "rule", "link"])
def test_kernel_way_changes(family: int, change: str) -> None:
    def ip_(*words: str) -> None:
        ip(f"-{family}", *words)

    async def test(device: FakeDevice, one: int, two: int) -> None:
        if change == "route":
            ip_("route", "add", PEER[family], "dev", "two0")
        elif change == "unreachable":
            ip_("route", "add", "unreachable", PEER[family])
        elif change == "rule":
            ip_("route", "add", PEER[family], "dev", "two0", "table", "77")
            assert await checked(device) == []
            ip_("rule", "add", "fwmark", str(MARK), "table", "77")
            assert await checked(device) == []
            device.fwmark = MARK
            ip_("rule", "add", "fwmark", str(MARK + 1), "table", "77")
        else:
            if family == 4:  # IPv4 routes end without a word, and the words of the IPv6 ones would do as a hint
                Path("/proc/sys/net/ipv6/conf/one0/disable_ipv6").write_text("1")
                assert await checked(device) == [6, 60]
                await checked(device)  # the one more look after a drop
            ip("link", "set", "one0", "down")
            assert set(await checked(device)) >= {family, family * 10}
            return
        assert await checked(device) == [family, family * 10]

    with_links(test)


@pytest.mark.netns
def test_kernel_more_hints_than_the_socket_holds(tmp_path: Path) -> None:
    """What decides is among those that are lost."""
    batch = tmp_path / "batch"
    changes = [f"route add 172.{16 + n // 256}.{n % 256}.0/24 dev two0" for n in range(3000)]
    changes.insert(2500, f"route add {PEER[4]} dev two0")
    batch.write_text("\n".join(changes))

    async def test(device: FakeDevice, one: int, two: int) -> None:
        ip("-batch", str(batch))
        assert await checked(device) == [4, 40]
        ip("route", "flush", "dev", "two0", "root", "172.16.0.0/12")
        await checked(device)
        device.add(6, PEER[6], LOCAL[6], two)
        ip("-6", "route", "add", "fd00:11::/64", "dev", "two0")
        assert await checked(device) == [4, 6, 40]

    with_links(test)
