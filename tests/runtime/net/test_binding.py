"""Sockets on one address or one device: what may be asked for, and what the kernel makes of it. dropin: 13."""

import errno
import socket

import pytest

from pywg.config.addresses import interface_index
from pywg.errors import BindError, ConfigError
from pywg.runtime.base.binding import EVERYWHERE, Binding, read_binding
from pywg.runtime.daemon.options import read_options
from pywg.runtime.net.sockets import open_sockets
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside
from tests.runtime.net.test_sockets import both

V4, V6 = socket.AF_INET, socket.AF_INET6
SO_BINDTODEVICE = 25


@pytest.mark.parametrize(
    ("addresses", "device", "expected"),
    [
        ([], "", EVERYWHERE),
        (["192.0.2.1"], "", Binding(((V4, "192.0.2.1"),))),
        (["2001:db8::1"], "eth0", Binding(((V6, "2001:db8::1"),), "eth0")),
        (["::1", "127.0.0.1"], "", Binding(((V6, "::1"), (V4, "127.0.0.1")))),
        (["fe80::1%eth0"], "", Binding(((V6, "fe80::1"),), "eth0")),
        (["fe80::1%eth0"], "eth0", Binding(((V6, "fe80::1"),), "eth0")),
        (["fe80::1"], "eth0", Binding(((V6, "fe80::1"),), "eth0")),
        ([], "a-vrf.blue", Binding((), "a-vrf.blue")),
    ],
)
def test_what_can_be_asked_for(addresses: list[str], device: str, expected: Binding) -> None:
    assert read_binding(addresses, device) == expected


@pytest.mark.parametrize(
    ("addresses", "device"),
    [
        (["192.0.2.1", "192.0.2.2"], ""),
        (["::1", "::2"], ""),
        (["192.0.2.01"], ""),
        (["192.0.2.1/24"], ""),
        (["[::1]"], ""),
        (["a.host.name"], ""),
        ([""], ""),
        (["192.0.2.1%eth0"], ""),
        (["fe80::1"], ""),
        (["fe80::1%"], ""),
        (["febf::1"], ""),
        (["fe80::1%eth0"], "eth1"),
        (["fe80::1%sixteen-letters-"], ""),
        (["fe80::1%a/b"], ""),
        (["fe80::1%a b"], ""),
        ([], "sixteen-letters-"),
        ([], "a/b"),
        ([], "a b"),
        ([], "a\0b"),
        ([], ".."),
    ],
)
def test_what_can_not(addresses: list[str], device: str) -> None:
    with pytest.raises(ConfigError):
        read_binding(addresses, device)


def test_options() -> None:
    environ = {"PYWG_LISTEN_ADDRESS": "192.0.2.1, 2001:db8::1", "PYWG_BIND_DEVICE": "eth0"}
    assert read_options("wg0", {}).binding == EVERYWHERE
    assert read_options("wg0", environ).binding == read_binding(["192.0.2.1", "2001:db8::1"], "eth0")
    wins = read_options("wg0", environ, listen_addresses=["::1"], bind_device="eth1")
    assert wins.binding == read_binding(["::1"], "eth1")
    with pytest.raises(ConfigError, match=r"192\.0\.2\.300"):
        read_options("wg0", {"PYWG_LISTEN_ADDRESS": "192.0.2.300"})


@pytest.mark.parametrize(("address", "index"), [("127.0.0.1", 0), ("::1", 1)])
def test_one_address_is_one_socket(address: str, index: int) -> None:
    sockets = open_sockets(0, 0, binding=read_binding([address], ""))
    try:
        pair = (sockets.udp4, sockets.udp6)
        sock = pair[index]
        assert sock is not None
        assert sock.getsockname()[:2] == (address, sockets.port)
        assert pair[1 - index] is None
        assert sockets.ifindex == 0
    finally:
        sockets.close()


def test_an_address_of_each_family() -> None:
    sockets = open_sockets(0, 0, binding=read_binding(["::1", "127.0.0.1"], ""))
    try:
        udp4, udp6 = both(sockets)
        assert udp4.getsockname() == ("127.0.0.1", sockets.port)
        assert udp6.getsockname()[:2] == ("::1", sockets.port)
    finally:
        sockets.close()


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_an_address_that_is_not_there(address: str) -> None:
    """Not taken for a family that isn't there, which would be no error."""
    before = own_descriptors(settled=True)
    with pytest.raises(BindError, match=address) as caught:
        open_sockets(0, 0, binding=read_binding([address], ""))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert own_descriptors() == before


def test_a_device_that_is_not_there() -> None:
    before = own_descriptors(settled=True)
    with pytest.raises(BindError, match="no-such-device") as caught:
        open_sockets(0, 0, binding=read_binding([], "no-such-device"))
    assert caught.value.errno == errno.ENODEV
    assert own_descriptors() == before


@pytest.mark.netns
def test_a_device_and_a_link_local_address_on_it() -> None:
    require_root()
    require_tool("ip")

    def test() -> None:
        ip("link", "set", "lo", "up")
        ip("link", "add", "one0", "type", "veth", "peer", "two0")
        for name, address in (("one0", "10.9.0.1/24"), ("two0", "10.9.1.1/24")):
            ip("address", "add", address, "dev", name)
            ip("address", "add", "fe80::9/64", "dev", name, "nodad")
            ip("link", "set", name, "up")
        index = interface_index(b"two0")
        sockets = open_sockets(0, 7, binding=read_binding(["fe80::9%two0", "10.9.1.1"], ""))
        beside = open_sockets(sockets.port, 0, binding=read_binding([], "one0"))
        assert sockets.ifindex == index != beside.ifindex
        udp4, udp6 = both(sockets)
        assert udp6.getsockname() == ("fe80::9", sockets.port, 0, index)
        assert udp4.getsockname()[0] == "10.9.1.1"
        for sock in (udp4, udp6):
            assert sock.getsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, 16).rstrip(b"\0") == b"two0"
        sockets.close()
        beside.close()

    run_inside(test)
