"""Sticky sources are dropped when the way back has changed, and kept when it hasn't. dropin: 15."""

import errno
import io
import socket

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.routes import BACKOFF, DEBOUNCE_S, DUTY_CYCLE, RECHECK_S, SLICE_S, RouteWatcher
from tests.lines import StreamOutput
from tests.runtime.device_harness import FakeTimers
from tests.runtime.route_harness import (
    RTM_GETADDR,
    RTM_GETROUTE,
    FakeDevice,
    FakeKernel,
    FakeLoop,
    RouteHarness,
    refusal,
)

pytestmark = pytest.mark.dropin("15")

V4 = ("192.0.2.1", "198.51.100.1")
V6 = ("2001:db8::1", "2001:db8:1::1")


@pytest.fixture
def harness() -> RouteHarness:
    return RouteHarness()


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_the_same_way_keeps_the_source(harness: RouteHarness, remote: str, local: str) -> None:
    harness.device.add(1, remote, local, 7)
    harness.kernel.routes[remote] = 7
    assert harness.check() == []


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_another_interface_drops_it(harness: RouteHarness, remote: str, local: str) -> None:
    harness.device.add(1, remote, local, 7)
    harness.kernel.routes[remote] = 8
    assert harness.check() == [1]
    assert "peer 1" in harness.text.getvalue()


@pytest.mark.parametrize(
    "code", [errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ENODEV], ids=errno.errorcode.get
)
@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_no_way_drops_it(harness: RouteHarness, remote: str, local: str, code: int) -> None:
    harness.device.add(1, remote, local, 7)
    harness.kernel.routes[remote] = refusal(code)
    assert harness.check() == [1]


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOBUFS, errno.EPROTO, errno.EPERM], ids=errno.errorcode.get)
def test_a_question_that_failed_says_nothing(harness: RouteHarness, code: int) -> None:
    harness.device.add(1, *V4, 7)
    harness.kernel.routes[V4[0]] = refusal(code)
    assert harness.check() == []


def test_an_ipv6_address_that_is_gone_drops_it(harness: RouteHarness) -> None:
    """The kernel says by which way, whether or not the source is ours: that is another question."""
    harness.device.add(1, *V6, 7)
    harness.kernel.routes[V6[0]] = 7
    harness.kernel.gone.add(V6[1])
    assert harness.check() == [1]


def test_an_ipv6_address_is_asked_for_once_a_check(harness: RouteHarness) -> None:
    for peer in range(20):
        harness.device.add(peer, *V6, 7)
    harness.kernel.routes[V6[0]] = 7
    harness.check()
    assert len(harness.kernel.questions(RTM_GETADDR)) == 1
    assert len(harness.kernel.questions(RTM_GETROUTE)) == 20
    harness.kernel.gone.add(V6[1])
    assert harness.check() == list(range(20))


def test_the_route_is_asked_for_as_the_socket_sends(harness: RouteHarness) -> None:
    harness.device.add(1, *V4, 7)
    harness.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    harness.device.fwmark = 0xCA6C
    harness.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert harness.check() == []
    (kind4, route4, attributes4), (kind_address, address, _), (kind6, route6, attributes6) = harness.kernel.asked
    assert (kind4, kind_address, kind6) == (RTM_GETROUTE, RTM_GETADDR, RTM_GETROUTE)
    assert (route4["family"], route4["dst_len"], route4["src_len"]) == (socket.AF_INET, 32, 32)
    assert attributes4 == {"RTA_DST": V4[0], "RTA_SRC": V4[1], "RTA_MARK": 0xCA6C}
    assert (address["family"], address["index"]) == (socket.AF_INET6, 9)
    assert (route6["family"], route6["dst_len"], route6["src_len"]) == (socket.AF_INET6, 128, 128)
    assert attributes6 == {"RTA_DST": "fe80::1", "RTA_SRC": "fe80::2", "RTA_MARK": 0xCA6C, "RTA_OIF": 9}


def test_the_route_is_asked_for_by_the_device_that_the_sockets_are_bound_to(harness: RouteHarness) -> None:
    harness.device.add(1, *V4, 7)
    harness.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    harness.device.bound_ifindex = 7
    harness.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert harness.check() == []
    assert [attributes["RTA_OIF"] for attributes in harness.kernel.questions(RTM_GETROUTE)] == [7, 9]


def test_a_new_mark_is_in_the_next_check(harness: RouteHarness) -> None:
    harness.device.add(1, *V4, 7)
    harness.kernel.routes[V4[0]] = 7
    harness.check()
    harness.device.fwmark = 5
    harness.check()
    assert [attributes.get("RTA_MARK") for attributes in harness.kernel.questions(RTM_GETROUTE)] == [None, 5]


def test_every_peer_is_looked_at(harness: RouteHarness) -> None:
    """wireguard-go stops at the first peer without a source."""
    harness.device.add(1, V4[0])
    harness.device.addrs[2] = None
    harness.device.add(3, *V4, 7)
    harness.device.add(4, *V6, 7)
    harness.device.add(5, "192.0.2.5", V4[1], 7)
    harness.kernel.routes = {V4[0]: 8, V6[0]: 8, "192.0.2.5": 7}
    assert harness.check() == [3, 4]


def test_many_hints_are_one_check(harness: RouteHarness) -> None:
    harness.device.add(1, *V4, 7)
    harness.kernel.routes[V4[0]] = 7
    harness.hint()
    assert harness.loop.reader is None, "what comes meanwhile waits in the socket, and wakes nobody"
    harness.timers.advance(DEBOUNCE_S / 2)
    assert harness.kernel.asked == []
    harness.timers.advance(DEBOUNCE_S / 2)
    assert (len(harness.kernel.asked), harness.kernel.taken) == (1, 1)
    assert harness.timers.pending() == []
    harness.check()
    assert len(harness.kernel.asked) == 2


def test_a_drop_is_followed_by_one_more_look(harness: RouteHarness) -> None:
    """A packet that was on its way brings the old source back, and no hint comes of it."""
    harness.device.add(1, *V4, 7)
    harness.kernel.routes[V4[0]] = 8
    assert harness.check() == [1]
    harness.device.add(1, *V4, 7)
    harness.timers.advance(RECHECK_S)
    assert harness.device.cleared == [1, 1]
    harness.device.add(1, *V4, 7)
    harness.timers.advance(100)
    assert harness.device.cleared == [1, 1]
    assert harness.check() == [1]


def test_a_hint_before_that_look_is_followed_at_once(harness: RouteHarness) -> None:
    harness.device.add(1, *V4, 7)
    harness.kernel.routes[V4[0]] = 8
    harness.check()
    harness.device.add(1, *V4, 9)
    assert harness.check() == [1]
    assert len(harness.timers.pending()) == 1


def test_ten_thousand_peers_leave_the_loop_its_time(harness: RouteHarness) -> None:
    cost, count = 0.0001, 10_000
    harness.costly(cost)
    for peer in range(count):
        harness.device.add(peer, *V4, 7)
    harness.kernel.routes[V4[0]] = 7
    harness.hint()
    slices, asked = [], 0
    while harness.timers.pending():
        before, work = harness.timers.now, harness.work
        harness.timers.advance(harness.timers.pending()[0] - before)
        slices.append((harness.timers.now - before, harness.work - work))
        asked = len(harness.kernel.asked)
    assert asked == count
    assert all(work <= SLICE_S + cost for _, work in slices)
    assert all(rest >= (1 / DUTY_CYCLE - 1) * SLICE_S * 0.99 for rest, _ in slices[1:])
    harness.hint()
    (next_check,) = harness.timers.pending()
    assert next_check - harness.timers.now == pytest.approx(BACKOFF * cost * count)


def test_peers_that_come_and_go_between_the_slices(harness: RouteHarness) -> None:
    harness.costly(SLICE_S)
    for peer in range(3):
        harness.device.add(peer, *V4, 7)
    harness.kernel.routes[V4[0]] = 8
    harness.hint()
    harness.timers.advance(DEBOUNCE_S)
    assert harness.device.cleared == [0]
    del harness.device.addrs[1]
    harness.device.add(9, *V4, 7)
    harness.timers.advance((1 / DUTY_CYCLE - 1) * SLICE_S * 2)
    assert harness.device.cleared == [0, 2], "the new one is as new as its route"


def test_closed_in_the_middle(harness: RouteHarness) -> None:
    harness.costly(SLICE_S)
    for peer in range(3):
        harness.device.add(peer, *V4, 7)
    harness.kernel.routes[V4[0]] = 7
    harness.hint()
    harness.timers.advance(DEBOUNCE_S)
    harness.watcher.close()
    harness.watcher.close()
    assert harness.kernel.closed == 2
    harness.timers.advance(10)
    assert len(harness.kernel.asked) == 1
    assert harness.loop.reader is None


def test_without_rtnetlink_it_says_so_and_the_daemon_lives() -> None:
    text = io.StringIO()

    def refuse(*_: object) -> FakeKernel:
        raise refusal(errno.EPROTONOSUPPORT)

    kernel = FakeKernel()
    watcher = RouteWatcher(
        FakeDevice(),
        Log("wg0", Level.WARNING, output=StreamOutput(text)),
        open_hints=refuse,
        open_questions=lambda: kernel,
    )
    watcher.start(FakeLoop(FakeTimers()))
    assert "route changes can't be followed" in text.getvalue()
    assert kernel.closed == 1
    watcher.close()


# With a kernel
