"""Sticky sources are dropped when the way back has changed, and kept when it hasn't. dropin: 15."""

import asyncio
import errno
import io
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pywg.runtime.log import Level, Log
from pywg.runtime.netlink import decode
from pywg.runtime.routes import AGAIN, CALM, REST, SETTLE, TURN, RouteWatcher
from tests.runtime.device_bed import TimerEntry, Timers
from tests.runtime.namespace import ip, run_inside
from tests.support import require_root, require_tool

RTM_GETADDR, RTM_GETROUTE = 22, 26
PATIENCE = 5.0


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class FakeDevice:
    """Peers by id: where they are, and by what address and interface of ours."""

    def __init__(self) -> None:
        self.fwmark = 0
        self.bound_ifindex = 0
        self.addrs: dict[int, tuple[bytes, int, int, bytes, int] | None] = {}
        self.cleared: list[int] = []
        self.checks = 0
        self.looked_at = 0

    def add(self, peer: int, remote: str, local: str = "", ifindex: int = 0, scope: int = 0) -> None:
        self.addrs[peer] = (packed(remote), 51820, scope, packed(local) if local else b"", ifindex)

    def peers(self) -> list[int]:
        self.checks += 1
        self.looked_at = 0
        return list(self.addrs)

    def endpoint(self, peer: int) -> tuple[bytes, int, int, bytes, int] | None:
        self.looked_at += 1
        return self.addrs.get(peer)

    def clear_source(self, peer: int) -> None:
        self.cleared.append(peer)
        addr = self.addrs[peer]
        assert addr is not None
        self.addrs[peer] = (*addr[:3], b"", 0)


class Answer(dict[str, int]):
    """A decoded message."""

    def get_attr(self, name: str) -> int | None:
        return self.get(name)


@dataclass
class FakeKernel:
    """Answers to routes by destination (an interface's index, or an errno), and the addresses that are assigned."""

    routes: dict[str, int | OSError] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asked: list[tuple[int, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    taken: int = 0
    closed: int = 0
    cost: Callable[[], None] = lambda: None

    def put(self, question: bytearray, form: Any) -> Answer:
        message = decode(form, bytes(question))
        kind, attributes = message["header"]["type"], dict(message["attrs"])
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

    def fileno(self) -> int:
        return 99

    def take_all(self) -> None:
        self.taken += 1

    def close(self) -> None:
        self.closed += 1


def refusal(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FakeLoop:
    """One descriptor and the virtual clock."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.reader: Callable[[], None] | None = None

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        assert fd == 99
        self.reader = callback

    def remove_reader(self, fd: int) -> None:
        assert fd == 99
        self.reader = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerEntry:
        return self._timers.call_later(delay, callback)


class Bed:
    """A watcher with everything around it fake. Asking takes `cost` seconds of its clock."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.loop = FakeLoop(self.timers)
        self.device = FakeDevice()
        self.kernel = FakeKernel()
        self.text = io.StringIO()
        self.work = 0.0
        self.watcher = RouteWatcher(
            self.device,
            Log("wg0", Level.DEBUG, stream=self.text),
            open_hints=lambda groups: self.kernel,
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
        self.timers.advance(SETTLE)
        return self.device.cleared


V4 = ("192.0.2.1", "198.51.100.1")
V6 = ("2001:db8::1", "2001:db8:1::1")


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_the_same_way_keeps_the_source(bed, remote, local):
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = 7
    assert bed.check() == []


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_another_interface_drops_it(bed, remote, local):
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = 8
    assert bed.check() == [1]
    assert "peer 1" in bed.text.getvalue()


@pytest.mark.parametrize(
    "code", [errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ENODEV], ids=errno.errorcode.get
)
@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_no_way_drops_it(bed, remote, local, code):
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = refusal(code)
    assert bed.check() == [1]


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOBUFS, errno.EPROTO, errno.EPERM], ids=errno.errorcode.get)
def test_a_question_that_failed_says_nothing(bed, code):
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = refusal(code)
    assert bed.check() == []


def test_an_ipv6_address_that_is_gone_drops_it(bed):
    """The kernel says by which way, whether or not the source is ours: that is another question."""
    bed.device.add(1, *V6, 7)
    bed.kernel.routes[V6[0]] = 7
    bed.kernel.gone.add(V6[1])
    assert bed.check() == [1]


def test_an_ipv6_address_is_asked_for_once_a_check(bed):
    for peer in range(20):
        bed.device.add(peer, *V6, 7)
    bed.kernel.routes[V6[0]] = 7
    bed.check()
    assert len(bed.kernel.questions(RTM_GETADDR)) == 1
    assert len(bed.kernel.questions(RTM_GETROUTE)) == 20
    bed.kernel.gone.add(V6[1])
    assert bed.check() == list(range(20))


def test_the_route_is_asked_for_as_the_socket_sends(bed):
    bed.device.add(1, *V4, 7)
    bed.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    bed.device.fwmark = 0xCA6C
    bed.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert bed.check() == []
    (kind4, route4, attributes4), (kind_address, address, _), (kind6, route6, attributes6) = bed.kernel.asked
    assert (kind4, kind_address, kind6) == (RTM_GETROUTE, RTM_GETADDR, RTM_GETROUTE)
    assert (route4["family"], route4["dst_len"], route4["src_len"]) == (socket.AF_INET, 32, 32)
    assert attributes4 == {"RTA_DST": V4[0], "RTA_SRC": V4[1], "RTA_MARK": 0xCA6C}
    assert (address["family"], address["index"]) == (socket.AF_INET6, 9)
    assert (route6["family"], route6["dst_len"], route6["src_len"]) == (socket.AF_INET6, 128, 128)
    assert attributes6 == {"RTA_DST": "fe80::1", "RTA_SRC": "fe80::2", "RTA_MARK": 0xCA6C, "RTA_OIF": 9}


def test_the_route_is_asked_for_by_the_device_that_the_sockets_are_bound_to(bed):
    bed.device.add(1, *V4, 7)
    bed.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    bed.device.bound_ifindex = 7
    bed.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert bed.check() == []
    assert [attributes["RTA_OIF"] for attributes in bed.kernel.questions(RTM_GETROUTE)] == [7, 9]


def test_a_new_mark_is_in_the_next_check(bed):
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.check()
    bed.device.fwmark = 5
    bed.check()
    assert [attributes.get("RTA_MARK") for attributes in bed.kernel.questions(RTM_GETROUTE)] == [None, 5]


def test_every_peer_is_looked_at(bed):
    """wireguard-go stops at the first peer without a source."""
    bed.device.add(1, V4[0])
    bed.device.addrs[2] = None
    bed.device.add(3, *V4, 7)
    bed.device.add(4, *V6, 7)
    bed.device.add(5, "192.0.2.5", V4[1], 7)
    bed.kernel.routes = {V4[0]: 8, V6[0]: 8, "192.0.2.5": 7}
    assert bed.check() == [3, 4]


def test_many_hints_are_one_check(bed):
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    assert bed.loop.reader is None, "what comes meanwhile waits in the socket, and wakes nobody"
    bed.timers.advance(SETTLE / 2)
    assert bed.kernel.asked == []
    bed.timers.advance(SETTLE / 2)
    assert (len(bed.kernel.asked), bed.kernel.taken) == (1, 1)
    assert bed.timers.pending() == []
    bed.check()
    assert len(bed.kernel.asked) == 2


def test_a_drop_is_followed_by_one_more_look(bed):
    """A packet that was on its way brings the old source back, and no hint comes of it."""
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    assert bed.check() == [1]
    bed.device.add(1, *V4, 7)
    bed.timers.advance(AGAIN)
    assert bed.device.cleared == [1, 1]
    bed.device.add(1, *V4, 7)
    bed.timers.advance(100)
    assert bed.device.cleared == [1, 1]
    assert bed.check() == [1]


def test_a_hint_before_that_look_is_followed_at_once(bed):
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    bed.check()
    bed.device.add(1, *V4, 9)
    assert bed.check() == [1]
    assert len(bed.timers.pending()) == 1


def test_ten_thousand_peers_leave_the_loop_its_time(bed):
    cost, count = 0.0001, 10_000
    bed.costly(cost)
    for peer in range(count):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    turns, asked = [], 0
    while bed.timers.pending():
        before, work = bed.timers.now, bed.work
        bed.timers.advance(bed.timers.pending()[0] - before)
        turns.append((bed.timers.now - before, bed.work - work))
        asked = len(bed.kernel.asked)
    assert asked == count
    assert all(work <= TURN + cost for _, work in turns)
    assert all(rest >= REST * TURN * 0.99 for rest, _ in turns[1:])
    bed.hint()
    (next_check,) = bed.timers.pending()
    assert next_check - bed.timers.now == pytest.approx(CALM * cost * count)


def test_peers_that_come_and_go_between_the_turns(bed):
    bed.costly(TURN)
    for peer in range(3):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    bed.hint()
    bed.timers.advance(SETTLE)
    assert bed.device.cleared == [0]
    del bed.device.addrs[1]
    bed.device.add(9, *V4, 7)
    bed.timers.advance(REST * TURN * 2)
    assert bed.device.cleared == [0, 2], "the new one is as new as its route"


def test_closed_in_the_middle(bed):
    bed.costly(TURN)
    for peer in range(3):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    bed.timers.advance(SETTLE)
    bed.watcher.close()
    bed.watcher.close()
    assert bed.kernel.closed == 2
    bed.timers.advance(10)
    assert len(bed.kernel.asked) == 1
    assert bed.loop.reader is None


def test_without_rtnetlink_it_says_so_and_the_daemon_lives():
    text = io.StringIO()

    def refuse(groups: int) -> FakeKernel:
        raise refusal(errno.EPROTONOSUPPORT)

    kernel = FakeKernel()
    watcher = RouteWatcher(
        FakeDevice(), Log("wg0", Level.WARNING, stream=text), open_hints=refuse, open_questions=lambda: kernel
    )
    watcher.start(FakeLoop(Timers()))
    assert "route changes can't be followed" in text.getvalue()
    assert kernel.closed == 1
    watcher.close()


# With a kernel

LOCAL = {4: "10.9.0.1", 6: "fd00:9::1"}
OTHER = {4: "10.9.0.9", 6: "fd00:9::9"}
PEER = {4: "10.9.0.2", 6: "fd00:9::2"}
MARK = 0x77


def with_links(test: Callable[[FakeDevice, int, int], object]) -> None:
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
        watcher = RouteWatcher(device, Log("wg0", Level.DEBUG))
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
def test_kernel_address_removed(family):
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
def test_kernel_way_changes(family, change):
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
def test_kernel_more_hints_than_the_socket_holds(tmp_path):
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
