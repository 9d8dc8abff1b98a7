"""The device node /dev/net/tun: descriptors attached to an interface (TUNSETIFF), and what is said where that fails.

See Linux include/uapi/linux/if_tun.h.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct

from pywg.errors import TunError
from pywg.runtime.base.failures import advice
from pywg.runtime.base.in_use import name_taken
from pywg.runtime.base.libc import CAP_NET_ADMIN, permitted_capabilities

IFF_TUN = 0x0001
IFF_MULTI_QUEUE = 0x0100
IFF_PERSIST = 0x0800
"""The interface stays when nobody has it open; of one that is there, and no flag to ask for."""
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000
"""The interface is to be a new one."""
TUNGETIFF = 0x800454D2
TUNGETDEVNETNS = 0x54E3
_TUNSETIFF = 0x400454CA
_IFREQ = struct.Struct("16sH22x")
_DEVICE = "/dev/net/tun"


class OneQueueError(Exception):
    """Why an interface has to do with one queue."""


def open_node() -> int:
    """A descriptor that is attached to nothing yet, and non-blocking. Raises TunError that says what to do."""
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _device_error(error) from error


def device_fault() -> str:
    """Why no interface can be made: one line, what is wrong, a colon, and what to do. Empty when /dev/net/tun opens."""
    try:
        os.close(open_node())
    except TunError as error:
        return str(error.strerror)
    return ""


def attach(fd: int, name: str, flags: int) -> None:
    """Makes `fd` a queue of interface `name`, which the kernel makes if there is none. Raises OSError."""
    fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(os.fsencode(name), flags))


def identity(fd: int) -> tuple[str, int]:
    """(name, flags) of the interface behind a descriptor, wherever it is now. Raises OSError EBADFD: it was deleted."""
    name, flags = _IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size)))
    return os.fsdecode(name.rstrip(b"\0")), flags


def exists(name: str) -> bool:
    """Whether this network namespace has an interface of that name."""
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


def attach_error(error: OSError, name: str) -> TunError:
    """The error of a start for that of `attach`: what is missing, and what to do."""
    code = error.errno or errno.EIO
    if code in (errno.EPERM, errno.EACCES):
        text = f"interface {name} can't be made ({error.strerror}): {_what_is_missing()}"
    elif code == errno.EBUSY or (code == errno.EINVAL and exists(name)):
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
