"""Control of tests/faults/inject.c: which system calls of a running program fail, and how many were seen.

A program under the injector runs as ever, a few microseconds slower a call. Rules are turned on and off while it runs.
x86-64 alone: the numbers of system calls are its.
"""

import ctypes
import mmap
import os
import platform
import shlex
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

SUPPORTED = platform.machine() == "x86_64"
SOURCE = Path(__file__).with_name("inject.c")
BUILT = SOURCE.parents[2] / "build" / "faults" / "inject"
MOST_RULES, _ARGUMENTS, _CALLS, _NAME_LEN = 16, 2, 512, 16

NUMBERS = {
    "read": 0, "write": 1, "close": 3, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
    "ioctl": 16, "pwrite64": 18, "readv": 19, "writev": 20, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33,
    "socket": 41, "connect": 42, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "bind": 49,
    "listen": 50, "getsockname": 51, "socketpair": 53, "setsockopt": 54, "getsockopt": 55, "clone": 56, "wait4": 61,
    "uname": 63, "fcntl": 72, "flock": 73, "ftruncate": 77, "chdir": 80, "mkdir": 83, "unlink": 87, "readlink": 89,
    "chmod": 90, "setsid": 112, "setgroups": 116, "setresuid": 117, "setresgid": 119, "capget": 125, "capset": 126,
    "statfs": 137, "mlock": 149, "pivot_root": 155, "prctl": 157, "chroot": 161, "mount": 165, "umount2": 166,
    "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "epoll_wait": 232, "epoll_ctl": 233,
    "inotify_add_watch": 254, "openat": 257, "newfstatat": 262, "unlinkat": 263, "ppoll": 271, "unshare": 272,
    "epoll_pwait": 281, "timerfd_create": 283, "timerfd_settime": 286, "accept4": 288, "eventfd2": 290,
    "epoll_create1": 291, "dup3": 292, "pipe2": 293, "inotify_init1": 294, "recvmmsg": 299, "prlimit64": 302,
    "sendmmsg": 307, "seccomp": 317, "getrandom": 318, "memfd_create": 319, "bpf": 321, "io_uring_setup": 425,
    "clone3": 435, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip
"""System calls by name. Without exit, execve and those of signal frames: there is nobody to tell of their failure."""

ANY, TUN, UDP, NETLINK, UNIX, EVENT, EPOLL, TIMER, OTHER, PARCEL = range(10)
"""What a descriptor is."""
Arguments: TypeAlias = tuple[tuple[int, int], ...]
"""(index, low 32 bits) of at most two arguments that a call has."""


class _Argument(ctypes.Structure):
    _fields_ = (("at", ctypes.c_uint32), ("mask", ctypes.c_uint32), ("value", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _fields_ = (
        ("active", ctypes.c_uint32),
        ("number", ctypes.c_int32),
        ("code", ctypes.c_int32),
        ("every", ctypes.c_uint32),
        ("skip", ctypes.c_uint64),
        ("most", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("thread", ctypes.c_char * _NAME_LEN),
        ("arguments", _Argument * _ARGUMENTS),
        ("matched", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
    )


class _Control(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("listener", ctypes.c_int32),
        ("attending", ctypes.c_uint32),
        ("spared", ctypes.c_uint32),
        ("rules", _Rule * MOST_RULES),
        ("calls", ctypes.c_uint64 * _CALLS),
    )


class Rule:
    """A rule while it holds: how many calls it matched, and how many of these failed."""

    def __init__(self, place: "ctypes.Structure") -> None:
        self._place = place

    @property
    def matched(self) -> int:
        return int(self._place.matched)

    @property
    def failed(self) -> int:
        return int(self._place.failed)


class Injector:
    """A control file. `command` is what a program's command line is to begin with."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="pywg-faults-")  # noqa: SIM115 - until close()
        self._file.truncate(ctypes.sizeof(_Control))
        self._map = mmap.mmap(self._file.fileno(), ctypes.sizeof(_Control))
        self._control = _Control.from_buffer(self._map)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self._control
        self._file.close()

    @property
    def path(self) -> str:
        return self._file.name

    @property
    def command(self) -> tuple[str, ...]:
        numbers = ",".join(str(number) for number in NUMBERS.values())
        return (str(build()), self.path, numbers)

    def spare(self, pid: int) -> None:
        """No call of this process fails, whatever it is called; 0: of none."""
        self._control.spared = pid

    def calls(self) -> dict[str, int]:
        """Calls so far, by name, whether or not any rule matches them."""
        return {name: int(self._control.calls[number]) for name, number in NUMBERS.items()}

    @contextmanager
    def failing(
        self,
        call: str,
        code: int,
        *,
        every: int = 1,
        skip: int = 0,
        most: int = 0,
        kind: int = ANY,
        thread: str = "",
        arguments: tuple[tuple[int, int], ...] = (),
    ) -> Iterator[Rule]:
        """While the block lasts, one in `every` of these calls fails with errno `code`.

        Not the first `skip` of them, and not more than `most` (0: any number). Only with a descriptor of that `kind` in
        the first argument, only in threads whose name begins with `thread`, only with these `arguments`, (index, low 32
        bits). A `code` of 0: the call does nothing and returns 0.
        """
        place = next(rule for rule in self._control.rules if not rule.active)
        ctypes.memset(ctypes.addressof(place), 0, ctypes.sizeof(place))
        place.number, place.code, place.every, place.skip, place.most = NUMBERS[call], code, every, skip, most
        place.kind, place.thread = kind, thread.encode()
        for argument, (at, value) in zip(place.arguments, arguments, strict=False):
            argument.at, argument.value, argument.mask = at, value, 0xFFFFFFFF
        place.active = 1
        try:
            yield Rule(place)
        finally:
            place.active = 0


@cache
def build() -> Path:
    """The program, built anew where its source has changed."""
    if not BUILT.exists() or BUILT.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        partial = BUILT.with_suffix(f".{os.getpid()}")
        compiler = shlex.split(sysconfig.get_config_var("CC"))
        subprocess.run([*compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", partial, SOURCE], check=True)
        partial.rename(BUILT)
    return BUILT
