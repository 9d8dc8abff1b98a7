"""Network namespaces, each known by the number of its file in /proc, as `ls -l /proc/self/ns/net` shows it."""

import contextlib
import errno
import fcntl
import os

_NS_GET_USERNS = 0xB701


def of_this_thread() -> int:
    """Of the calling thread; 0 where that can't be told."""
    return _number("/proc/thread-self/ns/net")


def of_process(pid: int, *, thread: int = 0) -> int:
    """Of a process, or one of its threads; 0 where that can't be told: it has ended, or is another user's."""
    return _number(f"/proc/{pid}/task/{thread}/ns/net" if thread else f"/proc/{pid}/ns/net")


def is_ours() -> bool:
    """Whether the network namespace of the calling thread belongs to its user namespace, or to one inside that.

    Then the thread's capabilities hold there: ioctl_ns(2).
    """
    with open("/proc/thread-self/ns/net", "rb") as namespace:
        try:
            os.close(fcntl.ioctl(namespace, _NS_GET_USERNS))
        except OSError as error:
            return error.errno != errno.EPERM
    return True


def _number(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_ino
    return 0
