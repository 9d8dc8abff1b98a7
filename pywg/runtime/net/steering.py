"""Receive packet steering of a TUN: on which processors the kernel receives what is written to it.

Without, the thread that writes a packet receives it as well, TCP and all. With it the kernel sends each flow to a
processor of its own, by a hash of addresses and ports, and the writer goes on. See Linux
Documentation/networking/scaling.rst.

The setting is a file of sysfs. What is mounted at /sys may show another network namespace, with an interface of the
same name in it. So the file is looked for in a mount of this namespace's own, which no path leads to and which is gone
afterwards. That takes CAP_SYS_ADMIN.
"""

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterable

from pywg.runtime.base.libc import syscall

# The same numbers on every architecture.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 2, 4, 8
_NAME = ctypes.create_string_buffer(b"sysfs")


def spread(interface: str, processors: Collection[int] = ()) -> int:
    """Has the kernel receive what is written to `interface`, by any of its queues, on these processors; on all that
    this process may use, where none is named.

    How many those are. Raises OSError where that can't be had.
    """
    processors = processors or os.sched_getaffinity(0)
    with contextlib.ExitStack() as opened:
        folder = _own_sysfs()
        opened.callback(os.close, folder)
        queues = os.open(f"class/net/{interface}/queues", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        opened.callback(os.close, queues)
        for queue in os.listdir(queues):
            if queue.startswith("rx-"):
                _set(f"{queue}/rps_cpus", queues, mask(processors))
    return len(processors)


def spread_already(interface: str) -> int:
    """On how many processors the kernel receives what is written to `interface`; 0: where it is written.

    Raises OSError where that can't be seen.
    """
    with contextlib.ExitStack() as opened:
        folder = _own_sysfs()
        opened.callback(os.close, folder)
        path = f"class/net/{interface}/queues/rx-0/rps_cpus"
        setting = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        opened.callback(os.close, setting)
        return int(os.read(setting, 4096).replace(b",", b""), 16).bit_count()


def _set(path: str, folder: int, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def mask(processors: Iterable[int]) -> str:
    """The processors as the kernel writes them: 32 to a number, the last ones first."""
    bits = sum(1 << number for number in set(processors))
    words = [bits >> at & 0xFFFFFFFF for at in range(0, max(bits.bit_length(), 1), 32)]
    return ",".join(f"{word:08x}" for word in reversed(words))


def _own_sysfs() -> int:
    """A mount of the sysfs of this thread's network namespace, as a descriptor, which is the caller's."""
    context = syscall(_FSOPEN, _NAME, _FSOPEN_CLOEXEC)
    try:
        syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
        return syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(context)
