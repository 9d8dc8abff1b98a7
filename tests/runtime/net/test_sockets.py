"""The UDP sockets: one port for both families, whatever the host has of them. dropin: 13, 14."""

import errno
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pywg.errors import BindError
from pywg.runtime.net.sockets import PORT_TRIES, Sockets, new_socket, open_sockets
from tests.descriptors import own_descriptors
from tests.requirements import require_root

V4, V6 = socket.AF_INET, socket.AF_INET6
IP_PKTINFO, IP_MTU_DISCOVER, UDP_GRO = 8, 10, 104


def without(missing: socket.AddressFamily) -> Callable[[socket.AddressFamily], socket.socket]:
    def factory(family: socket.AddressFamily) -> socket.socket:
        if family == missing:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return new_socket(family)

    return factory


def both(sockets: Sockets) -> tuple[socket.socket, socket.socket]:
    """Of a host with both families."""
    assert sockets.udp4 is not None
    assert sockets.udp6 is not None
    return sockets.udp4, sockets.udp6


class TakenPort(socket.socket):
    def bind(self, address: object) -> None:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@pytest.mark.dropin("13")
def test_both_families_get_the_same_free_port() -> None:
    sockets = open_sockets(0, 0)
    try:
        udp4, udp6 = both(sockets)
        assert sockets.port > 0
        assert udp4.getsockname()[1] == udp6.getsockname()[1] == sockets.port
        assert (sockets.fd4, sockets.fd6) == (udp4.fileno(), udp6.fileno())
    finally:
        sockets.close()


def test_close_is_idempotent_and_frees_the_port() -> None:
    sockets = open_sockets(0, 0)
    sockets.close()
    sockets.close()
    again = open_sockets(sockets.port, 0)
    assert again.port == sockets.port
    again.close()


def test_held_sockets_take_next_to_no_memory_and_what_came_is_dropped() -> None:
    sockets = open_sockets(0, 0)
    try:
        _, udp6 = both(sockets)
        full = udp6.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        sockets.hold()
        with socket.socket(V6, socket.SOCK_DGRAM) as sender:
            for _ in range(1000):
                sender.sendto(b"early", ("::1", sockets.port))
            assert udp6.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 4608
            sockets.use()
            assert udp6.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == full
            with pytest.raises(BlockingIOError):
                udp6.recv(100)
            sender.sendto(b"in time", ("::1", sockets.port))
            assert udp6.recv(100) == b"in time"
    finally:
        sockets.close()


def test_options_the_data_plane_relies_on() -> None:
    sockets = open_sockets(0, 0)
    try:
        udp4, udp6 = both(sockets)
        for sock in (udp4, udp6):
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 0
        assert udp4.getsockopt(socket.IPPROTO_IP, IP_PKTINFO) == 1
        assert udp4.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == 0
        assert udp6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == 1
        assert udp6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    finally:
        sockets.close()


@pytest.mark.parametrize("udp_gro", [True, False])
def test_udp_gro_is_a_switch(udp_gro: bool) -> None:
    probe = new_socket(V4)
    try:
        probe.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        supported = probe.getsockopt(socket.IPPROTO_UDP, UDP_GRO)
    except OSError:
        supported = 0
    finally:
        probe.close()
    sockets = open_sockets(0, 0, udp_gro=udp_gro)
    try:
        for sock in both(sockets):
            on = sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO) if supported else 0
            assert on == (supported if udp_gro else 0)
        assert sockets.udp_gro == bool(udp_gro and supported)
    finally:
        sockets.close()


@pytest.mark.dropin("13")
@pytest.mark.known_bug("Port reported as 0")
@pytest.mark.parametrize(("missing", "index"), [(V6, 1), (V4, 0)])
def test_a_host_with_one_family_works_and_reports_its_port(missing: socket.AddressFamily, index: int) -> None:
    sockets = open_sockets(0, 0, factory=without(missing))
    try:
        pair = (sockets.udp4, sockets.udp6)
        there = pair[1 - index]
        assert there is not None
        assert pair[index] is None
        assert (sockets.fd4, sockets.fd6)[index] == -1
        assert sockets.port == there.getsockname()[1] > 0
    finally:
        sockets.close()


def test_a_host_without_any_family_says_so() -> None:
    def factory(family: socket.AddressFamily) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "no")

    with pytest.raises(BindError, match="neither IPv4 nor IPv6") as caught:
        open_sockets(0, 0, factory=factory)
    assert caught.value.errno == errno.EAFNOSUPPORT


@pytest.mark.parametrize("family", [V4, V6])
def test_a_taken_port_is_named_and_nothing_stays_open(family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        if family == V6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::" if family == V6 else "", 0))
        port = other.getsockname()[1]
        before = own_descriptors(settled=True)
        with pytest.raises(BindError, match=f"UDP port {port} ") as caught:
            open_sockets(port, 0)
        assert caught.value.errno == errno.EADDRINUSE
        assert own_descriptors() == before


class Poor(socket.socket):
    """One of several that lack memory at one call of them all."""

    until = 0

    def setsockopt(self, *arguments: Any) -> None:
        self._count()
        super().setsockopt(*arguments)

    def bind(self, address: Any) -> None:
        self._count()
        super().bind(address)

    def getsockname(self) -> Any:
        self._count()
        return super().getsockname()

    def _count(self) -> None:
        type(self).until -= 1
        if type(self).until == 0:
            raise MemoryError


@pytest.mark.parametrize("shards", [1, 2])
def test_a_lack_of_memory_closes_at_once_what_was_opened(shards: int) -> None:
    """While the error is at hand, whose traceback has all of it: else the port would be taken for as long."""

    def fails(nth: int) -> bool:
        class Mine(Poor):
            until = nth

        def factory(family: socket.AddressFamily) -> socket.socket:
            opened.append(Mine(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            return opened[-1]

        opened: list[socket.socket] = []
        left: list[socket.socket] = []
        try:
            sockets = open_sockets(0, 0, shards=shards, factory=factory)
        except MemoryError:
            left += [sock for sock in opened if sock.fileno() >= 0]
        else:
            assert (len(sockets.pairs), sockets.trouble) == (shards, "")
            sockets.close()
            return False
        assert left == [], nth
        return True

    assert next(nth for nth in itertools.count(1) if not fails(nth)) > 20


@pytest.mark.dropin("13")
def test_a_free_port_is_chosen_again_while_the_other_family_has_it() -> None:
    tries: list[socket.AddressFamily] = []

    def factory(family: socket.AddressFamily) -> socket.socket:
        tries.append(family)
        taken = family == V6 and tries.count(V6) < 4
        return (TakenPort if taken else socket.socket)(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    sockets = open_sockets(0, 0, factory=factory)
    sockets.close()
    assert tries.count(V6) == tries.count(V4) == 4


@pytest.mark.dropin("13")
def test_it_gives_up_after_100_ports() -> None:
    opened: list[socket.socket] = []

    def factory(family: socket.AddressFamily) -> socket.socket:
        opened.append((TakenPort if family == V6 else socket.socket)(family, socket.SOCK_DGRAM))
        return opened[-1]

    with pytest.raises(BindError) as caught:
        open_sockets(0, 0, factory=factory)
    assert caught.value.errno == errno.EADDRINUSE
    assert len(opened) == 2 * PORT_TRIES == 200
    assert all(sock.fileno() == -1 for sock in opened)


@pytest.mark.dropin("14")
@pytest.mark.netns
@pytest.mark.parametrize("mark", [1, 0xCA6C, 0xFFFFFFFF])
def test_mark_on_both_sockets_and_changed_later(mark: int) -> None:
    require_root()
    sockets = open_sockets(0, mark)
    try:
        for new in (mark, 7, 0):
            if new != mark:
                sockets.set_mark(new)
            for sock in both(sockets):
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF == new
    finally:
        sockets.close()


def refusing(call: str, code: int, *options: tuple[int, int]) -> Callable[[socket.AddressFamily], socket.socket]:
    """A factory of sockets that refuse `call`: of setsockopt, with these options (level, number) alone."""

    class Refusing(socket.socket):
        pass

    def refuse(self: socket.socket, *arguments: object) -> object:
        if not options or arguments[:2] in options:
            raise OSError(code, os.strerror(code))
        return getattr(super(Refusing, self), call)(*arguments)

    setattr(Refusing, call, refuse)
    return lambda family: Refusing(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


CAP_NET_ADMIN, MEMORY, KERNEL, PROFILE = "CAP_NET_ADMIN", "free some memory", "this kernel doesn't know", "has to allow"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EPERM, CAP_NET_ADMIN),
        (errno.ENOMEM, MEMORY),
        (errno.ENOBUFS, MEMORY),
        (errno.ENOPROTOOPT, KERNEL),
        (errno.EIO, ""),
    ],
    ids=errno.errorcode.get,
)
def test_a_mark_that_is_refused_gets_the_advice_for_its_errno(code: int, advice: str) -> None:
    with pytest.raises(BindError, match="fwmark 0x7 can't be set") as caught:
        open_sockets(0, 7, factory=refusing("setsockopt", code, (socket.SOL_SOCKET, socket.SO_MARK)))
    sockets = open_sockets(0, 0, factory=refusing("setsockopt", code, (socket.SOL_SOCKET, socket.SO_MARK)))
    try:
        with pytest.raises(BindError) as later:
            sockets.set_mark(7)
    finally:
        sockets.close()
    for error in (caught.value, later.value):
        assert error.errno == code
        assert str(error.strerror).endswith(os.strerror(code)) == (not advice)
        assert advice in str(error.strerror)
        assert (CAP_NET_ADMIN in str(error.strerror)) == (code == errno.EPERM)


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), "IPV6_V6ONLY"),
        ((socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO), "IPV6_RECVPKTINFO"),
        ((socket.IPPROTO_IP, IP_PKTINFO), "IP_PKTINFO"),
        ((socket.IPPROTO_IP, IP_MTU_DISCOVER), "IP_MTU_DISCOVER"),
    ],
)
@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOPROTOOPT, KERNEL), (errno.EPERM, PROFILE)], ids=errno.errorcode.get
)
def test_an_option_that_is_needed_and_refused_is_named(
    option: tuple[int, int], name: str, code: int, advice: str
) -> None:
    before = own_descriptors(settled=True)
    with pytest.raises(BindError, match=f"can't have {name}: {os.strerror(code)}; .*{advice}") as caught:
        open_sockets(0, 0, factory=refusing("setsockopt", code, option))
    assert caught.value.errno == code
    assert CAP_NET_ADMIN not in str(caught.value)
    assert own_descriptors() == before


def test_options_that_only_make_it_faster_may_be_refused() -> None:
    optional = [(socket.SOL_SOCKET, option) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF, 32, 33)]
    optional += [(socket.IPPROTO_IP, socket.IP_RECVTOS), (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS)]
    optional += [(socket.IPPROTO_UDP, UDP_GRO)]
    sockets = open_sockets(0, 0, factory=refusing("setsockopt", errno.ENOMEM, *optional))
    try:
        sockets.hold()
        sockets.use()
        assert sockets.port > 0
    finally:
        sockets.close()


def test_what_can_not_be_asked_of_a_socket_is_one_error_or_none() -> None:
    before = own_descriptors(settled=True)
    with pytest.raises(BindError, match=r"the number of a UDP port can't be had: .*; free some memory") as caught:
        open_sockets(0, 0, factory=refusing("getsockname", errno.ENOBUFS))
    assert caught.value.errno == errno.ENOBUFS
    assert own_descriptors() == before
    sockets = open_sockets(0, 0, factory=refusing("getsockopt", errno.ENOMEM))
    try:
        assert sockets.receive_buffer > 0
        assert sockets.send_buffer > 0
        assert not sockets.udp_gro
        with pytest.raises(BindError, match=r"fwmark 0x7 can't be set: .*; free some memory"):
            sockets.set_mark(7)
    finally:
        sockets.close()


def test_a_mark_that_one_socket_refuses_is_on_none() -> None:
    require_root()

    class Refusing(socket.socket):
        def setsockopt(self, *arguments: object) -> None:
            if arguments[:2] == (socket.SOL_SOCKET, socket.SO_MARK) and self.family == V6:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            super().setsockopt(*arguments)  # type: ignore[call-overload]

    sockets = open_sockets(0, 0, factory=lambda family: Refusing(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
    try:
        with pytest.raises(BindError):
            sockets.set_mark(7)
        assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) for sock in both(sockets)] == [0, 0]
    finally:
        sockets.close()
