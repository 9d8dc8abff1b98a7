"""Network namespaces, each known by the number of its file in /proc, as `ls -l /proc/self/ns/net` shows it."""

import contextlib
import os


def of_this_thread() -> int:
    """Of the calling thread; 0 where that can't be told."""
    return _number("/proc/thread-self/ns/net")


def of_process(pid: int) -> int:
    """Of a process; 0 where that can't be told: it has ended, or is another user's."""
    return _number(f"/proc/{pid}/ns/net")


def _number(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_ino
    return 0
