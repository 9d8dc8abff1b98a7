"""The TUN interface: made, or taken over from WG_TUN_FD, and handed to the data plane as a descriptor.

See Linux Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h. With the virtio header the kernel passes
packets of up to 64 KiB, unsegmented and without a checksum. A kernel that lacks a part of it gets a simpler form.
Superframes in UDP tunnels (VXLAN, Geneve) need a longer header, and Linux 6.17.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from pywg.config.interface import INTERFACE_NAME_MAX, interface_name_fault
from pywg.errors import TunError
from pywg.runtime.base.failures import advice, needing
from pywg.runtime.base.in_use import name_taken
from pywg.runtime.base.libc import CAP_NET_ADMIN, permitted_capabilities

DEFAULT_MTU = 1420
"""The MTU of wireguard-go and of the kernel: 1500 less the headers of IPv6, UDP and WireGuard."""
VNET_HDR_LEN = 10
"""Bytes of struct virtio_net_hdr without mergeable buffers."""
VNET_TUNNEL_HDR_LEN = 24
"""Bytes of struct virtio_net_hdr_v1_hash_tunnel."""
_DEVICE = "/dev/net/tun"

_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUNSETIFF = 0x400454CA
TUNGETIFF = 0x800454D2
_TUNSETOFFLOAD = 0x400454D0
_TUNGETVNETHDRSZ = 0x800454D7
_TUNSETVNETHDRSZ = 0x400454D8
_SIOCSIFMTU = 0x8922
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_USO4, _TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
_TUN_F_UDP_TUNNEL_GSO, _TUN_F_UDP_TUNNEL_GSO_CSUM = 0x80, 0x100
_TCP_OFFLOADS = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
_UDP_OFFLOADS = _TUN_F_USO4 | _TUN_F_USO6
_TUNNEL_OFFLOADS = _TUN_F_UDP_TUNNEL_GSO | _TUN_F_UDP_TUNNEL_GSO_CSUM

_IFREQ_LEN = 40


@dataclass(slots=True)
class Tun:
    """See base/system.py."""

    fd: int
    name: str
    vnet_hdr_len: int
    uso: bool
    tunnels: bool

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_tun(name: str, *, offload: bool = True, tunnels: bool = True) -> Tun:
    """Makes interface `name` (or a numbered one, when it contains %d), down, with DEFAULT_MTU.

    Raises TunError that says what is missing and what to do.
    """
    check_name(name)
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _device_error(error) from error
    try:
        _attach(fd, name, offload)
        with needing(f"the kernel's word on what {name} is"):
            tun = _describe(fd, offload, tunnels)
        _set_mtu(tun.name, DEFAULT_MTU)
    except BaseException:
        os.close(fd)
        raise
    return tun


def device_fault() -> str:
    """Why no interface can be made: one line, what is wrong, a colon, and what to do. Empty when /dev/net/tun opens."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return str(_device_error(error).strerror)
    return ""


def take_tun(fd: int, *, offload: bool = True, tunnels: bool = True) -> Tun:
    """Takes over a TUN that another program made, with the name, MTU and flags that it has. Raises TunError."""
    try:
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        return _describe(fd, offload, tunnels)
    except TunError:
        raise
    except OSError as error:
        what = "is not open" if error.errno == errno.EBADF else "is not a TUN interface"
        raise TunError(error.errno or errno.EIO, f"WG_TUN_FD={fd} {what}: {error.strerror}") from error


def adopt_tun(fd: int, *, vnet_hdr_len: int, uso: bool, tunnels: bool) -> Tun:
    """A TUN that another process of ours serves, with its header and offloads as they are. Asks, and sets nothing.

    Raises TunError, and the descriptor stays the caller's.
    """
    try:
        name, flags = _ifreq(fd)
        here = struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))[0] if flags & _IFF_VNET_HDR else 0
    except OSError as error:
        raise TunError(error.errno or errno.EIO, f"what was handed over is no TUN: {error.strerror}") from error
    if os.get_blocking(fd):
        raise TunError(errno.EINVAL, f"{name} was handed over with a descriptor on which a read would wait")
    if not flags & _IFF_TUN or here != vnet_hdr_len or (tunnels and here != VNET_TUNNEL_HDR_LEN):
        raise TunError(errno.EINVAL, f"{name} was handed over with another header than it has")
    return Tun(fd, name, vnet_hdr_len, uso=uso, tunnels=tunnels)


def check_name(name: str) -> None:
    """Raises TunError when the name isn't one for an interface."""
    if interface_name_fault(name):
        text = f"{name!r} can't be an interface name: 1 to {INTERFACE_NAME_MAX} bytes, no space, colon or slash"
        raise TunError(errno.EINVAL, text)


def tun_name(fd: int) -> str:
    """The interface's present name. Raises OSError EBADFD when the interface was deleted."""
    return _ifreq(fd)[0]


def offload_support(fd: int) -> tuple[bool, bool, bool]:
    """Whether the kernel takes (TSO, USO, both in UDP tunnels) on a TUN with a virtio header.

    The best that it takes is on afterwards.
    """
    tso = _set_offload(fd, _TCP_OFFLOADS)
    uso = tso and _set_offload(fd, _TCP_OFFLOADS | _UDP_OFFLOADS)
    return tso, uso, uso and _set_offload(fd, _TCP_OFFLOADS | _UDP_OFFLOADS | _TUNNEL_OFFLOADS)


def _attach(fd: int, name: str, offload: bool) -> None:
    """Makes the interface (TUNSETIFF), without the virtio header where the kernel refuses it."""
    flags = _IFF_TUN | _IFF_NO_PI
    for wanted in (flags | _IFF_VNET_HDR, flags) if offload else (flags,):
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), wanted))
        except OSError as error:
            if error.errno == errno.EINVAL and wanted != flags and not _exists(name):
                continue
            raise _attach_error(error, name) from error
        return


def _describe(fd: int, offload: bool, tunnels: bool) -> Tun:
    """An attached TUN as the kernel describes it. Switches its offloads on."""
    name, flags = _ifreq(fd)
    if not flags & _IFF_TUN:  # IFF_NO_PI can't be checked: TUNGETIFF has another meaning for that bit
        raise TunError(
            errno.EINVAL, f"{name} is a TAP interface: it must be TUN, without packet information (IFF_NO_PI)"
        )
    if not flags & _IFF_VNET_HDR:
        return Tun(fd, name, 0, uso=False, tunnels=False)
    if offload and tunnels and _set_tunnels(fd):
        return Tun(fd, name, VNET_TUNNEL_HDR_LEN, uso=True, tunnels=True)
    vnet_hdr_len = _set_header_len(fd, VNET_HDR_LEN)
    accepted = next((wanted for wanted in _wishes(offload) if _set_offload(fd, wanted)), 0)
    return Tun(fd, name, vnet_hdr_len, uso=bool(accepted & _UDP_OFFLOADS), tunnels=False)


def _wishes(offload: bool) -> tuple[int, ...]:
    """Sets of offloads without UDP tunnels, best first; USO came with Linux 6.2."""
    return (_TCP_OFFLOADS | _UDP_OFFLOADS, _TCP_OFFLOADS, 0) if offload else (0,)


def _set_tunnels(fd: int) -> bool:
    """All offloads, with the header that they need. False: the kernel refuses one of both."""
    return _set_header_len(fd, VNET_TUNNEL_HDR_LEN) == VNET_TUNNEL_HDR_LEN and _set_offload(
        fd, _TCP_OFFLOADS | _UDP_OFFLOADS | _TUNNEL_OFFLOADS
    )


def _set_header_len(fd: int, wanted: int) -> int:
    """The length of the virtio header afterwards: where the kernel refuses, it stays, and serves as well."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", wanted))
    length: int = struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))[0]
    return length


def _set_offload(fd: int, offloads: int) -> bool:
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _TUNSETOFFLOAD, offloads)
        return True
    return False


def _ifreq(fd: int) -> tuple[str, int]:
    """(name, flags) of an attached TUN."""
    name, flags = struct.unpack("16sH22x", fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ_LEN)))
    return os.fsdecode(name.rstrip(b"\0")), flags


def _set_mtu(name: str, mtu: int) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCSIFMTU, struct.pack("16si20x", os.fsencode(name), mtu))
    except OSError as error:
        code = error.errno or errno.EIO
        raise TunError(code, f"the MTU of {name} can't be set to {mtu}: {error.strerror}{advice(code)}") from error


def _exists(name: str) -> bool:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name) > 0
    return False


def _device_error(error: OSError) -> TunError:
    code = error.errno or errno.EIO
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        text = (
            f"{_DEVICE} is missing: load the driver with `modprobe tun`, or make the node with "
            f"`mkdir -p /dev/net && mknod {_DEVICE} c 10 200`"
        )
    elif os.path.isdir(_DEVICE):
        text = (
            f"{_DEVICE} is a directory, as a container engine makes one where the host has no such device: load the "
            f"driver on the host with `modprobe tun`, and start the container anew with `--device {_DEVICE}`"
        )
    elif code in (errno.EACCES, errno.EPERM):
        text = f"{_DEVICE} can't be opened ({error.strerror}): run as root, or allow this device to the container"
    else:
        text = f"{_DEVICE} can't be opened: {error.strerror}{advice(code)}"
    return TunError(code, text)


def _attach_error(error: OSError, name: str) -> TunError:
    code = error.errno or errno.EIO
    if code in (errno.EPERM, errno.EACCES):
        text = f"interface {name} can't be made ({error.strerror}): {_what_is_missing()}"
    elif code == errno.EBUSY or _exists(name):
        text = name_taken(name)
    else:
        text = f"interface {name} can't be made: {error.strerror}{advice(code)}"
    return TunError(code, text)


def _what_is_missing() -> str:
    """One line for what is missing. Root may be of a user namespace, without the capability, or behind a profile."""
    if os.geteuid() != 0:
        return "run as root, or with CAP_NET_ADMIN"
    if not permitted_capabilities() >> CAP_NET_ADMIN & 1:
        return (
            "this root has no CAP_NET_ADMIN: a container gets it with `--cap-add NET_ADMIN`, a unit with "
            "AmbientCapabilities="
        )
    if _in_user_namespace():
        return (
            "root of a user namespace may do so only in a network namespace that belongs to it: start it with one of "
            "its own (`unshare --user --map-root-user --net`), or with CAP_NET_ADMIN in the user namespace that owns "
            "this one"
        )
    return "the profile of the container or of this program (seccomp, AppArmor, SELinux) has to allow this"


def _in_user_namespace() -> bool:
    with contextlib.suppress(OSError), open("/proc/self/uid_map") as uid_map:
        return uid_map.read().split() != ["0", "0", "4294967295"]
    return False
