"""Sticky sources are dropped when the way back has changed, and kept when it hasn't. dropin: 15."""

import errno
import io
import socket

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.net.routes import BACKOFF, DEBOUNCE_S, DUTY_CYCLE, RECHECK_S, SLICE_S, RouteWatcher
from tests.runtime.device_harness import Timers
from tests.runtime.route_harness import (
    RTM_GETADDR,
    RTM_GETROUTE,
    Bed,
    FakeDevice,
    FakeKernel,
    FakeLoop,
    packed,
    refusal,
)

pytestmark = pytest.mark.dropin("15")

V4 = ("192.0.2.1", "198.51.100.1")
V6 = ("2001:db8::1", "2001:db8:1::1")


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_the_same_way_keeps_the_source(bed: Bed, remote: str, local: str) -> None:
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = 7
    assert bed.check() == []


@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_another_interface_drops_it(bed: Bed, remote: str, local: str) -> None:
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = 8
    assert bed.check() == [1]
    assert "peer 1" in bed.text.getvalue()


@pytest.mark.parametrize(
    "code", [errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ENODEV], ids=errno.errorcode.get
)
@pytest.mark.parametrize(("remote", "local"), [V4, V6])
def test_no_way_drops_it(bed: Bed, remote: str, local: str, code: int) -> None:
    bed.device.add(1, remote, local, 7)
    bed.kernel.routes[remote] = refusal(code)
    assert bed.check() == [1]


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENOBUFS, errno.EPROTO, errno.EPERM], ids=errno.errorcode.get)
def test_a_question_that_failed_says_nothing(bed: Bed, code: int) -> None:
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = refusal(code)
    assert bed.check() == []


def test_an_ipv6_address_that_is_gone_drops_it(bed: Bed) -> None:
    """The kernel says by which way, whether or not the source is ours: that is another question."""
    bed.device.add(1, *V6, 7)
    bed.kernel.routes[V6[0]] = 7
    bed.kernel.gone.add(V6[1])
    assert bed.check() == [1]


def test_an_ipv6_address_is_asked_for_once_a_check(bed: Bed) -> None:
    for peer in range(20):
        bed.device.add(peer, *V6, 7)
    bed.kernel.routes[V6[0]] = 7
    bed.check()
    assert len(bed.kernel.questions(RTM_GETADDR)) == 1
    assert len(bed.kernel.questions(RTM_GETROUTE)) == 20
    bed.kernel.gone.add(V6[1])
    assert bed.check() == list(range(20))


def test_the_route_is_asked_for_as_the_socket_sends(bed: Bed) -> None:
    bed.device.add(1, *V4, 7)
    bed.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    bed.device.fwmark = 0xCA6C
    bed.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert bed.check() == []
    (kind4, route4, attributes4), (kind_address, address, _), (kind6, route6, attributes6) = bed.kernel.asked
    assert (kind4, kind_address, kind6) == (RTM_GETROUTE, RTM_GETADDR, RTM_GETROUTE)
    assert route4 == (socket.AF_INET, 32, 32, *bytes(6))
    assert attributes4 == {"RTA_DST": packed(V4[0]), "RTA_SRC": packed(V4[1]), "RTA_MARK": 0xCA6C}
    assert address == (socket.AF_INET6, 0, 0, 0, 9)
    assert route6 == (socket.AF_INET6, 128, 128, *bytes(6))
    assert attributes6 == {"RTA_DST": packed("fe80::1"), "RTA_SRC": packed("fe80::2"), "RTA_MARK": 0xCA6C, "RTA_OIF": 9}


def test_the_route_is_asked_for_by_the_device_that_the_sockets_are_bound_to(bed: Bed) -> None:
    bed.device.add(1, *V4, 7)
    bed.device.add(2, "fe80::1", "fe80::2", 9, scope=9)
    bed.device.bound_ifindex = 7
    bed.kernel.routes = {V4[0]: 7, "fe80::1": 9}
    assert bed.check() == []
    assert [attributes["RTA_OIF"] for attributes in bed.kernel.questions(RTM_GETROUTE)] == [7, 9]


def test_a_new_mark_is_in_the_next_check(bed: Bed) -> None:
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.check()
    bed.device.fwmark = 5
    bed.check()
    assert [attributes.get("RTA_MARK") for attributes in bed.kernel.questions(RTM_GETROUTE)] == [None, 5]


def test_every_peer_is_looked_at(bed: Bed) -> None:
    """wireguard-go stops at the first peer without a source."""
    bed.device.add(1, V4[0])
    bed.device.addrs[2] = None
    bed.device.add(3, *V4, 7)
    bed.device.add(4, *V6, 7)
    bed.device.add(5, "192.0.2.5", V4[1], 7)
    bed.kernel.routes = {V4[0]: 8, V6[0]: 8, "192.0.2.5": 7}
    assert bed.check() == [3, 4]


def test_many_hints_are_one_check(bed: Bed) -> None:
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    assert bed.loop.reader is None, "what comes meanwhile waits in the socket, and wakes nobody"
    bed.timers.advance(DEBOUNCE_S / 2)
    assert bed.kernel.asked == []
    bed.timers.advance(DEBOUNCE_S / 2)
    assert (len(bed.kernel.asked), bed.kernel.taken) == (1, 1)
    assert bed.timers.pending() == []
    bed.check()
    assert len(bed.kernel.asked) == 2


def test_a_drop_is_followed_by_one_more_look(bed: Bed) -> None:
    """A packet that was on its way brings the old source back, and no hint comes of it."""
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    assert bed.check() == [1]
    bed.device.add(1, *V4, 7)
    bed.timers.advance(RECHECK_S)
    assert bed.device.cleared == [1, 1]
    bed.device.add(1, *V4, 7)
    bed.timers.advance(100)
    assert bed.device.cleared == [1, 1]
    assert bed.check() == [1]


def test_a_hint_before_that_look_is_followed_at_once(bed: Bed) -> None:
    bed.device.add(1, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    bed.check()
    bed.device.add(1, *V4, 9)
    assert bed.check() == [1]
    assert len(bed.timers.pending()) == 1


def test_ten_thousand_peers_leave_the_loop_its_time(bed: Bed) -> None:
    cost, count = 0.0001, 10_000
    bed.costly(cost)
    for peer in range(count):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    slices, asked = [], 0
    while bed.timers.pending():
        before, work = bed.timers.now, bed.work
        bed.timers.advance(bed.timers.pending()[0] - before)
        slices.append((bed.timers.now - before, bed.work - work))
        asked = len(bed.kernel.asked)
    assert asked == count
    assert all(work <= SLICE_S + cost for _, work in slices)
    assert all(rest >= (1 / DUTY_CYCLE - 1) * SLICE_S * 0.99 for rest, _ in slices[1:])
    bed.hint()
    (next_check,) = bed.timers.pending()
    assert next_check - bed.timers.now == pytest.approx(BACKOFF * cost * count)


def test_peers_that_come_and_go_between_the_slices(bed: Bed) -> None:
    bed.costly(SLICE_S)
    for peer in range(3):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 8
    bed.hint()
    bed.timers.advance(DEBOUNCE_S)
    assert bed.device.cleared == [0]
    del bed.device.addrs[1]
    bed.device.add(9, *V4, 7)
    bed.timers.advance((1 / DUTY_CYCLE - 1) * SLICE_S * 2)
    assert bed.device.cleared == [0, 2], "the new one is as new as its route"


def test_closed_in_the_middle(bed: Bed) -> None:
    bed.costly(SLICE_S)
    for peer in range(3):
        bed.device.add(peer, *V4, 7)
    bed.kernel.routes[V4[0]] = 7
    bed.hint()
    bed.timers.advance(DEBOUNCE_S)
    bed.watcher.close()
    bed.watcher.close()
    assert bed.kernel.closed == 2
    bed.timers.advance(10)
    assert len(bed.kernel.asked) == 1
    assert bed.loop.reader is None


def test_without_rtnetlink_it_says_so_and_the_daemon_lives() -> None:
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
