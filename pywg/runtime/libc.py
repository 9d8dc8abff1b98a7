"""The two calls of libc that Python's standard library lacks: prctl(2) and inotify(7)."""

import ctypes
import os

_PR_SET_DUMPABLE = 4
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
_IN_ATTRIB = 0x4
_IN_MOVE_SELF = 0x800
_IN_DELETE_SELF = 0x400

_libc = ctypes.CDLL(None, use_errno=True)


def forbid_dumps() -> None:
    """No core file, no ptrace and no /proc/PID/mem for this process' peers: prctl(PR_SET_DUMPABLE, 0)."""
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _raise()


def watch_file(path: str) -> int:
    """A non-blocking descriptor, the caller's, that becomes readable when `path` is deleted, moved or loses a link."""
    fd: int = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
    if fd < 0:
        _raise()
    if _libc.inotify_add_watch(fd, os.fsencode(path), _IN_ATTRIB | _IN_MOVE_SELF | _IN_DELETE_SELF) < 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise OSError(code, os.strerror(code), path)
    return fd


def _raise() -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
