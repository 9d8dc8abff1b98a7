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
from collections.abc import Sequence
from dataclasses import dataclass, field

from pywg.config.interface import INTERFACE_NAME_MAX, interface_name_fault
from pywg.errors import TunError
from pywg.runtime.base.failures import advice, needing
from pywg.runtime.base.processors import SHARDS
from pywg.runtime.net.tun_device import (
    IFF_MULTI_QUEUE,
    IFF_NO_PI,
    IFF_PERSIST,
    IFF_TUN,
    IFF_TUN_EXCL,
    IFF_VNET_HDR,
    OneQueueError,
    attach,
    attach_error,
    exists,
    identity,
    open_node,
)

DEFAULT_MTU = 1420
"""The MTU of wireguard-go and of the kernel: 1500 less the headers of IPv6, UDP and WireGuard."""
VNET_HDR_LEN = 10
"""Bytes of struct virtio_net_hdr without mergeable buffers."""
VNET_TUNNEL_HDR_LEN = 24
"""Bytes of struct virtio_net_hdr_v1_hash_tunnel."""
_TUNSETOFFLOAD = 0x400454D0
_TUNGETVNETHDRSZ = 0x800454D7
_TUNSETVNETHDRSZ = 0x400454D8
_SIOCSIFMTU = 0x8922
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_USO4, _TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
_TUN_F_UDP_TUNNEL_GSO, _TUN_F_UDP_TUNNEL_GSO_CSUM = 0x80, 0x100
_TCP_OFFLOADS = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
_UDP_OFFLOADS = _TUN_F_USO4 | _TUN_F_USO6
_TUNNEL_OFFLOADS = _TUN_F_UDP_TUNNEL_GSO | _TUN_F_UDP_TUNNEL_GSO_CSUM


@dataclass(slots=True)
class Tun:
    """See base/system.py."""

    fd: int
    name: str
    vnet_hdr_len: int
    uso: bool
    tunnels: bool
    more: list[int] = field(default_factory=list)
    """of further queues"""
    trouble: str = ""
    persistent: bool = False

    @property
    def fds(self) -> list[int]:
        return [self.fd, *self.more]

    def close(self) -> None:
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)
        self.fd = -1
        self.more = []


def open_tun(name: str, *, offload: bool = True, tunnels: bool = True, queues: int = 1) -> Tun:
    """Makes interface `name` (or a numbered one, when it contains %d), down, with DEFAULT_MTU.

    `queues`: so many, or fewer, and then `trouble` says why. Raises TunError that says what is missing and what to do.
    """
    check_name(name)
    why = ""
    if queues > 1:
        try:
            return _open(name, offload, tunnels, queues)
        except (OneQueueError, TunError) as error:  # with one, what can't be had is had, or is the right error
            why = str(error.strerror if isinstance(error, TunError) else error)
    try:
        tun = _open(name, offload, tunnels, 1)
    except TunError as error:
        if error.errno != errno.EINVAL:
            raise
        from pywg.runtime.net import tun_queues  # noqa: PLC0415 - few daemons have shards

        raise tun_queues.one_queue_error(error, name, queues, why) from error
    _add(tun, queues, [], why)
    return tun


def _open(name: str, offload: bool, tunnels: bool, queues: int) -> Tun:
    """Raises TunError, and OneQueueError where more are wanted; then nothing is open."""
    fd = open_node()
    more: list[int] = []
    fewer = others = ""
    try:
        if queues > 1:
            from pywg.runtime.net import tun_queues  # noqa: PLC0415 - few daemons have shards

            flags = tun_queues.flags_for(name)
            _attach(fd, name, offload, flags)
            owner = tun_queues.close_to_others(fd) if flags & IFF_TUN_EXCL else None
            more, fewer, others = tun_queues.open_further(fd, queues, here=True, owner=owner)
        else:
            _attach(fd, name, offload, 0)
        with needing(f"the kernel's word on what {name} is"):
            tun = _describe(fd, offload, tunnels)
        _set_mtu(tun.name, DEFAULT_MTU)
    except BaseException:
        for one in (*more, fd):
            os.close(one)
        raise
    _add(tun, queues, more, fewer, others)
    return tun


def _add(tun: Tun, queues: int, more: list[int], fewer: str, others: str = "") -> None:
    """Gives it these queues, and says what is not as it was asked for, or is to be known: `queues` were wanted."""
    tun.more = more
    number = len(tun.fds)
    tun.trouble = f"{tun.name} has {number} of {queues} queues: {fewer}" if number < queues else others


def take_tun(fd: int, *, offload: bool = True, tunnels: bool = True, queues: int = 1) -> Tun:
    """Takes over a TUN that another program made, with the name, MTU and flags that it has. Raises TunError.

    `queues`: with further ones if it has IFF_MULTI_QUEUE; where there are fewer then, `trouble` says why.
    """
    try:
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        tun = _describe(fd, offload, tunnels)
    except TunError:
        raise
    except OSError as error:
        what = "is not open" if error.errno == errno.EBADF else "is not a TUN interface"
        raise TunError(error.errno or errno.EIO, f"WG_TUN_FD={fd} {what}: {error.strerror}") from error
    if queues > 1:
        from pywg.runtime.net import tun_queues  # noqa: PLC0415 - few daemons have shards

        try:
            _add(tun, queues, *tun_queues.open_further(fd, queues, here=False))
        except OneQueueError as reason:
            _add(tun, queues, [], str(reason))
    return tun


def adopt_tun(fds: Sequence[int], *, vnet_hdr_len: int, uso: bool, tunnels: bool) -> Tun:
    """A TUN that another process of ours serves, with its header and offloads as they are: all its queues.

    Asks, and sets nothing. Raises TunError, and the descriptors stay the caller's.
    """
    if len(fds) not in SHARDS:
        raise TunError(errno.EINVAL, f"{len(fds)} queues of a TUN were handed over")
    names = [_checked(fd, vnet_hdr_len, tunnels, several=len(fds) > 1) for fd in fds]
    if names != names[:1] * len(fds) or (len(fds) > 1 and not _together(fds)):
        raise TunError(errno.EINVAL, f"queues of {names[0]} were handed over with those of another TUN")
    return Tun(fds[0], names[0], vnet_hdr_len, uso=uso, tunnels=tunnels, more=list(fds[1:]))


def _together(fds: Sequence[int]) -> bool:
    from pywg.runtime.net import tun_queues  # noqa: PLC0415 - few daemons have shards

    return tun_queues.together(fds)


def _checked(fd: int, vnet_hdr_len: int, tunnels: bool, *, several: bool) -> str:
    """The name of the TUN behind `fd`. Raises TunError when it is not as it was said to be."""
    try:
        name, flags = identity(fd)
        here = struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))[0] if flags & IFF_VNET_HDR else 0
    except OSError as error:
        raise TunError(error.errno or errno.EIO, f"what was handed over is no TUN: {error.strerror}") from error
    if os.get_blocking(fd):
        raise TunError(errno.EINVAL, f"{name} was handed over with a descriptor on which a read would wait")
    if not flags & IFF_TUN or here != vnet_hdr_len or (tunnels and here != VNET_TUNNEL_HDR_LEN):
        raise TunError(errno.EINVAL, f"{name} was handed over with another header than it has")
    if several and not flags & IFF_MULTI_QUEUE:
        raise TunError(errno.EINVAL, f"{name} was handed over with more queues than it has")
    return name


def check_name(name: str) -> None:
    """Raises TunError when the name isn't one for an interface."""
    if interface_name_fault(name):
        text = f"{name!r} can't be an interface name: 1 to {INTERFACE_NAME_MAX} bytes, no space, colon or slash"
        raise TunError(errno.EINVAL, text)


def offload_support(fd: int) -> tuple[bool, bool, bool]:
    """Whether the kernel takes (TSO, USO, both in UDP tunnels) on a TUN with a virtio header.

    The best that it takes is on afterwards.
    """
    tso = _set_offload(fd, _TCP_OFFLOADS)
    uso = tso and _set_offload(fd, _TCP_OFFLOADS | _UDP_OFFLOADS)
    return tso, uso, uso and _set_offload(fd, _TCP_OFFLOADS | _UDP_OFFLOADS | _TUNNEL_OFFLOADS)


def _attach(fd: int, name: str, offload: bool, flags: int) -> None:
    """Makes the interface (TUNSETIFF), without the virtio header where the kernel refuses it."""
    flags |= IFF_TUN | IFF_NO_PI
    for wanted in (flags | IFF_VNET_HDR, flags) if offload else (flags,):
        try:
            attach(fd, name, wanted)
        except OSError as error:
            if error.errno == errno.EINVAL and wanted != flags and not exists(name):
                continue
            raise attach_error(error, name) from error
        return


def _describe(fd: int, offload: bool, tunnels: bool) -> Tun:
    """An attached TUN as the kernel describes it. Switches its offloads on."""
    name, flags = identity(fd)
    persistent = bool(flags & IFF_PERSIST)
    if not flags & IFF_TUN:  # IFF_NO_PI can't be checked: TUNGETIFF has another meaning for that bit
        raise TunError(
            errno.EINVAL, f"{name} is a TAP interface: it must be TUN, without packet information (IFF_NO_PI)"
        )
    if not flags & IFF_VNET_HDR:
        return Tun(fd, name, 0, uso=False, tunnels=False, persistent=persistent)
    if offload and tunnels and _set_tunnels(fd):
        return Tun(fd, name, VNET_TUNNEL_HDR_LEN, uso=True, tunnels=True, persistent=persistent)
    vnet_hdr_len = _set_header_len(fd, VNET_HDR_LEN)
    accepted = next((wanted for wanted in _wishes(offload) if _set_offload(fd, wanted)), 0)
    return Tun(fd, name, vnet_hdr_len, uso=bool(accepted & _UDP_OFFLOADS), tunnels=False, persistent=persistent)


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


def _set_mtu(name: str, mtu: int) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, _SIOCSIFMTU, struct.pack("16si20x", os.fsencode(name), mtu))
    except OSError as error:
        code = error.errno or errno.EIO
        raise TunError(code, f"the MTU of {name} can't be set to {mtu}: {error.strerror}{advice(code)}") from error
