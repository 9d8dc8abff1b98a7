"""Calls of libc that Python's standard library lacks, and read(2) of a pipe.

prctl(2), syscall(2), capget(2), capset(2), unshare(2), setns(2), mount(2), umount2(2), inotify(7), signalfd(2),
timerfd_create(2), madvise(2), and mallopt(3), which glibc has.
"""

import contextlib
import ctypes
import mmap
import os
import struct
from collections.abc import Iterable

CAP_SETGID = 6
CAP_SETUID = 7
CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_CHROOT = 18
CAP_SYS_ADMIN = 21

_READ_TRIES = 4
_PR_SET_DUMPABLE = 4
_CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, the calling thread
_CAPABILITY_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: bits 0 to 31, then bits 32 to 63
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
_IN_ATTRIB = 0x4
_IN_MOVE_SELF = 0x800
_IN_DELETE_SELF = 0x400
_SIGSET_LEN = 128  # glibc's; the kernel reads the first 8 bytes
_SFD_NONBLOCK = 0o4000
_SFD_CLOEXEC = 0o2000000
_SIGINFO = struct.Struct("=Iii116x")
"""signalfd_siginfo, as far as it is read: number, errno, code."""
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_M_TOP_PAD = -2
_TOP_PAD = 16 << 10

_libc = ctypes.CDLL(None, use_errno=True)


def read_pipe(fd: int, most: int) -> bytes:
    """os.read(), tried again where the kernel refuses it, which has no reason to. Raises OSError if it goes on so."""
    for _ in range(_READ_TRIES - 1):
        with contextlib.suppress(OSError):
            return os.read(fd, most)
    return os.read(fd, most)


def forbid_dumps() -> None:
    """Forbids core files, and to other processes ptrace and /proc/PID/mem: prctl(PR_SET_DUMPABLE, 0)."""
    prctl(_PR_SET_DUMPABLE, 0)


def prctl(option: int, *arguments: int) -> int:
    """The result of prctl(2). Raises OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl(option, *map(ctypes.c_ulong, padded)))


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """The result of a system call without a function in libc; a buffer or None stands for a pointer. Raises OSError."""
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *passed))


def permitted_capabilities() -> int:
    """The capabilities that the calling thread may use, bit n for capability n: capget(2). Raises OSError."""
    data = ctypes.create_string_buffer(_CAPABILITY_SETS.size)
    _checked(_libc.capget(ctypes.create_string_buffer(_CAPABILITY_HEADER), data))
    _, low, _, _, high, _ = _CAPABILITY_SETS.unpack(data.raw)
    return int(low | high << 32)


def set_capabilities(kept: int) -> None:
    """Makes those of `kept` effective and permitted for the calling thread, and none inheritable: capset(2).

    Raises OSError.
    """
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = _CAPABILITY_SETS.pack(low, low, 0, high, high, 0)
    _checked(_libc.capset(ctypes.create_string_buffer(_CAPABILITY_HEADER), ctypes.create_string_buffer(data)))


def unshare(flags: int) -> None:
    """unshare(2), of the calling thread. Raises OSError."""
    _checked(_libc.unshare(ctypes.c_int(flags)))


def set_namespace(fd: int, kind: int) -> None:
    """setns(2), of the calling thread. Raises OSError."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    texts = [os.fsencode(text) for text in (source, target, kind)]
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), data.encode()))


def unmount(target: str, flags: int) -> None:
    """umount2(2). Raises OSError."""
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)))


def watch_file(path: str) -> int:
    """A non-blocking descriptor, the caller's, that becomes readable when `path` is deleted, moved or loses a link."""
    fd = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
    try:
        _checked(_libc.inotify_add_watch(fd, os.fsencode(path), _IN_ATTRIB | _IN_MOVE_SELF | _IN_DELETE_SELF))
    except BaseException:
        os.close(fd)
        raise
    return fd


def spare_memory() -> None:
    """Has malloc() of glibc take little more from the system than it gives: mallopt(3). Other libcs are left alone.

    It takes 128 KiB more at a time otherwise, and writes zeros to what calloc() gives of that, which would cost nothing
    until it is used. What it maps apart stays what is 128 KiB or more: it raises that by itself no more.
    """
    with contextlib.suppress(AttributeError):
        _libc.mallopt(_M_TOP_PAD, _TOP_PAD)


def give_back_zeros(one: object) -> None:
    """Gives the pages of an object that hold nothing but zeros back to the system: madvise(2).

    It gives zeros again where they are used. Nobody writes to the object meanwhile.
    """
    size, zeros = mmap.PAGESIZE, bytes(mmap.PAGESIZE)
    begin = -(-id(one) // size) * size
    end = (id(one) + type(one).__basicsize__) // size * size
    for page in range(begin, end + 1, size):
        if page < end and ctypes.string_at(page, size) == zeros:
            continue
        if page > begin:
            _libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(page - begin), mmap.MADV_DONTNEED)
        begin = page + size


def lock_memory(mapping: mmap.mmap) -> bool:
    """mlock(2) of all of it; False where the system refuses that (RLIMIT_MEMLOCK)."""
    first = ctypes.c_char.from_buffer(mapping)
    return bool(_libc.mlock(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(mapping))) == 0)


def signalfd(signals: Iterable[int]) -> int:
    """A non-blocking descriptor, the caller's, that becomes readable when one of these comes; all are blocked already.

    Raises OSError.
    """
    mask = sum(1 << (number - 1) for number in signals).to_bytes(8, "little")
    sigset = ctypes.create_string_buffer(mask, _SIGSET_LEN)
    return _checked(_libc.signalfd(-1, sigset, _SFD_NONBLOCK | _SFD_CLOEXEC))


def read_signals(fd: int) -> list[tuple[int, bool]]:
    """(number, whether a process has sent it, and not the kernel) of those that wait in a signalfd. Raises OSError."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while data := os.read(fd, _SIGINFO.size):
            number, _, code = _SIGINFO.unpack(data)
            found.append((number, code <= 0))
    return found


def timerfd_create(clock: int) -> int:
    """A non-blocking descriptor, the caller's, that becomes readable when its timer expires. Raises OSError."""
    return _checked(_libc.timerfd_create(clock, _TFD_NONBLOCK | _TFD_CLOEXEC))


def timerfd_set_at(fd: int, at: float) -> None:
    """Sets the timer to expire once, at `at` seconds of its clock; at once if past, never for 0. Raises OSError."""
    seconds, nanoseconds = divmod(max(int(at * 1e9), 1) if at else 0, 1_000_000_000)
    value = struct.pack("@llll", 0, 0, seconds, nanoseconds)  # struct itimerspec: no interval
    _checked(_libc.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.create_string_buffer(value, len(value)), None))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
