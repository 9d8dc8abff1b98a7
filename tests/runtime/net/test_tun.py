"""The TUN interface: what is made, what is taken over, and what is said when it can't be had. dropin: 3."""

import errno
import fcntl
import os
import re
import struct
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pywg.errors import TunError
from pywg.runtime.net import tun_device
from pywg.runtime.net.tun import DEFAULT_MTU, open_tun, take_tun
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import ip, run_inside

TUNSETIFF, TUNSETOFFLOAD, TUNGETVNETHDRSZ, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x800454D7, 0x400454D8
TUN_F_UDP_TUNNEL_GSO = 0x80
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 1, 2, 0x1000, 0x4000

RELEASE = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])

in_namespace = pytest.mark.netns


def raw_tun(name: str, flags: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


@pytest.mark.parametrize("name", ["", "sixteen-bytes-xx", "a b", "a/b", "a:b", ".", "..", "a\nb", "ä" * 8, "a\0"])
def test_names_the_kernel_would_refuse(name: str) -> None:
    with pytest.raises(TunError, match="can't be an interface name"):
        open_tun(name)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOENT, "modprobe tun.*mknod /dev/net/tun c 10 200"),
        (errno.ENODEV, "modprobe tun"),
        (errno.EACCES, "run as root"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_device_node_that_cant_be_opened(monkeypatch: pytest.MonkeyPatch, code: int, advice: str) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TunError, match=advice) as caught:
        open_tun("wg0")
    assert caught.value.errno == code
    assert "\n" not in str(caught.value.strerror)


def test_no_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(tun_device, "_DEVICE", "/dev/null")
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    before = own_descriptors(settled=True)
    with pytest.raises(TunError, match="run as root, or with CAP_NET_ADMIN") as caught:
        open_tun("wg0")
    assert caught.value.errno == errno.EPERM
    assert own_descriptors() == before


@pytest.mark.dropin("3")
@pytest.mark.parametrize("fd_of", ["closed", "file"])
def test_an_inherited_descriptor_that_is_no_tun(tmp_path: Path, fd_of: str) -> None:
    with open(tmp_path / "file", "w") as file:
        fd = 987 if fd_of == "closed" else file.fileno()
        with pytest.raises(TunError, match=f"WG_TUN_FD={fd} is not"):
            take_tun(fd)


@in_namespace
def test_a_new_interface() -> None:
    require_root()
    require_tool("ip")

    def test() -> None:
        made = open_tun("wg0")
        shown = ip("-d", "link", "show", "wg0")
        assert f"mtu {DEFAULT_MTU} " in shown
        assert "state DOWN" in shown
        assert "tun type tun pi off vnet_hdr on" in shown
        assert (made.name, made.vnet_hdr_len) == ("wg0", 24 if made.tunnels else 10)
        assert made.tunnels or RELEASE < (6, 17)
        assert not os.get_blocking(made.fd)
        made.close()
        made.close()
        assert "wg0" not in ip("link")

    run_inside(test)


@in_namespace
def test_offloads_can_be_switched_off() -> None:
    require_root()
    require_tool("ip")

    def test() -> None:
        made = open_tun("wg0", offload=False)
        assert "vnet_hdr off" in ip("-d", "link", "show", "wg0")
        assert (made.vnet_hdr_len, made.uso, made.tunnels) == (0, False, False)
        made.close()

    run_inside(test)


@in_namespace
@pytest.mark.parametrize("taken", [False, True])
def test_tunnels_can_be_switched_off(taken: bool) -> None:
    require_root()

    def test() -> None:
        fd = raw_tun("wg0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        if taken:
            other = take_tun(fd)
            made = take_tun(fd, tunnels=False)
            assert other.tunnels or RELEASE < (6, 17)
        else:
            os.close(fd)
            made = open_tun("wg0", tunnels=False)
        assert (made.vnet_hdr_len, made.uso, made.tunnels) == (10, True, False)
        made.close()

    run_inside(test)


@in_namespace
@pytest.mark.parametrize("refused", ["offload", "length"])
def test_a_kernel_without_tunnels(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """The other offloads are on, and the header is the short one."""
    require_root()
    real = fcntl.ioctl

    def ioctl(fd: int, request: int, arg: Any = 0) -> Any:
        tunnel_length = request == TUNSETVNETHDRSZ and arg == struct.pack("i", 24)
        if tunnel_length if refused == "length" else request == TUNSETOFFLOAD and arg & TUN_F_UDP_TUNNEL_GSO:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, request, arg)

    def test() -> None:
        monkeypatch.setattr(fcntl, "ioctl", ioctl)
        made = open_tun("wg0")
        assert (made.vnet_hdr_len, made.uso, made.tunnels) == (10, True, False)
        assert struct.unpack("i", real(made.fd, TUNGETVNETHDRSZ, bytes(4))) == (10,)
        made.close()

    run_inside(test)


@in_namespace
def test_a_numbered_name() -> None:
    require_root()

    def test() -> None:
        first, second = open_tun("wg%d"), open_tun("wg%d")
        assert (first.name, second.name) == ("wg0", "wg1")
        first.close()
        second.close()

    run_inside(test)


@in_namespace
def test_a_name_that_is_taken() -> None:
    require_root()
    require_tool("ip")

    def test() -> None:
        made = open_tun("wg0")
        ip("link", "add", "other0", "type", "veth")
        before = own_descriptors(settled=True)
        for name in ("wg0", "other0"):
            with pytest.raises(TunError, match=f"the name {name} is taken") as caught:
                open_tun(name)
            assert "ip link del" not in str(caught.value)
        assert own_descriptors() == before
        made.close()

    run_inside(test)


@pytest.mark.dropin("3")
@in_namespace
def test_an_inherited_interface_keeps_its_name_and_mtu() -> None:
    require_root()
    require_tool("ip")

    def test() -> None:
        fd = raw_tun("given0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        ip("link", "set", "given0", "mtu", "1300", "name", "renamed0")
        taken = take_tun(fd)
        assert (taken.name, taken.vnet_hdr_len) == ("renamed0", 24 if taken.tunnels else 10)
        assert "mtu 1300" in ip("link", "show", "renamed0")
        assert not os.get_blocking(fd)
        taken.close()

    run_inside(test)


@pytest.mark.dropin("3")
@in_namespace
def test_an_inherited_tap_is_refused() -> None:
    require_root()

    def test() -> None:
        fd = raw_tun("given0", IFF_TAP | IFF_NO_PI)
        with pytest.raises(TunError, match="given0 is a TAP interface"):
            take_tun(fd)
        os.close(fd)

    run_inside(test)
